"""The power spectra: one a key beside its light curve, on one axis of frequency."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from bokeh.core.properties import value
from bokeh.layouts import column
from bokeh.models import (
    Column,
    ColumnDataSource,
    CrosshairTool,
    CustomJSTicker,
    Div,
    HoverTool,
    Label,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from server import theme
from server.curve_views import CurveView
from server.followed_range import FollowedRange
from server.light_curve_panel import whole_number_formatter
from server.night_view import NightView
from server.spectrum_views import SpectrumView
from server.timing_controls import UNITS, TimingControls
from server.timing_looks import TimingChoices

_MIN_STRIP_PX = 130
_LOWEST_PERCENTILE = 5.0
_RANGE_CHANGE = 0.04
_HEADROOM = 30.0
"""Above the peak is its frequency."""
# Bokeh's own ticker falls back to even steps below two decades, and their labels run into each other.
FEW_TICKS = """
const {start, end} = cb_data;
const decades = Math.log10(end / start);
const steps = decades > 2.2 ? [1] : decades > 1.2 ? [1, 3] : decades > 0.6 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
const ticks = [];
for (let power = Math.floor(Math.log10(start)); power <= Math.log10(end); power++)
  for (const step of steps) ticks.push(Number((step * 10 ** power).toPrecision(3)));
return ticks.filter(tick => tick >= start && tick <= end);
"""


class _Spectrum:
    """The power spectrum of one key in one document."""

    def __init__(self, key: str, *, palette: theme.Palette, frequency_range: Range1d, cursor: Span) -> None:
        self.key = key
        self._palette = palette
        self._drawn: SpectrumView | None = None
        nothing: dict[str, list[float]] = {"frequency": [], "power": []}
        self._fine = ColumnDataSource(data=dict(nothing), name=f"spectrum_{key}")
        self._smooth = ColumnDataSource(data=dict(nothing))
        self._window = ColumnDataSource(data=dict(nothing), name=f"window_{key}")
        self._peak = ColumnDataSource(
            data={"frequency": [], "power": [], "text": [], "align": [], "offset": []}, name=f"peak_{key}"
        )
        self._power_range = FollowedRange(Range1d(1e-6, 1.0), tolerance=_RANGE_CHANGE, is_log=True)
        self._noise = Span(location=1e-9, dimension="width", line_color=palette.faint, line_dash="dotted")
        self._alarm = Span(location=1e-9, dimension="width", line_color=palette.comparison, line_dash="dashed")
        self._words = _labels(key, palette)
        self.figure = figure(
            sizing_mode="stretch_both",
            min_height=_MIN_STRIP_PX,
            stylesheets=[theme.STRIP_STYLE],
            x_range=frequency_range,
            y_range=self._power_range.limits,
            x_axis_type="log",
            y_axis_type="log",
            tools="xpan,xwheel_zoom,box_zoom,reset",
            active_drag="box_zoom",
            active_scroll=None,
            toolbar_location="above",
            title=key,
            name=f"power_{key}",
        )
        self._decorate(cursor)
        self._draw(palette.key_colour(key))

    def _decorate(self, cursor: Span) -> None:
        plot = self.figure
        plot.toolbar.logo = None
        plot.toolbar.autohide = True
        plot.min_border_right = 8
        plot.xaxis.formatter = whole_number_formatter()
        plot.xaxis.ticker = CustomJSTicker(major_code=FEW_TICKS)
        plot.yaxis.ticker.desired_num_ticks = 4
        for line in (self._noise, self._alarm, *self._words.values()):
            plot.add_layout(line)
        plot.add_tools(CrosshairTool(overlay=cursor))

    def _draw(self, colour: str) -> None:
        plot = self.figure
        plot.line("frequency", "power", source=self._window, color=self._palette.faint, alpha=0.6, line_width=1)
        line = plot.line("frequency", "power", source=self._fine, color=colour, alpha=0.55, line_width=1)
        plot.step("frequency", "power", source=self._smooth, color=self._palette.text, line_width=1.4, mode="center")
        plot.scatter("frequency", "power", source=self._peak, size=7, color=self._palette.accent)
        plot.text(
            "frequency",
            "power",
            text="text",
            text_align="align",
            x_offset="offset",
            y_offset=-4,
            source=self._peak,
            text_color=self._palette.accent,
            text_font=value(theme.FONT),
            text_font_size="12px",
            text_font_style="bold",
        )
        tooltips = [("frequency", "@frequency{0.00000} Hz"), ("power", "@power{0.00e+0}")]
        plot.add_tools(HoverTool(renderers=[line], tooltips=tooltips, mode="mouse"))

    def show_axes(self, label: str, unit: str) -> None:
        """Label the axes; an empty label of the frequency leaves room for the spectrum."""
        for axis, text in ((self.figure.xaxis[0], label), (self.figure.yaxis[0], unit)):
            if axis.axis_label != text:
                axis.axis_label = text

    def update(self, spectrum: SpectrumView) -> None:
        """Draw a spectrum; the one that is drawn already costs nothing."""
        if spectrum is self._drawn:
            return
        self._drawn = spectrum
        self._fine.data = dict(spectrum.columns)
        self._smooth.data = dict(spectrum.smooth)
        self._peak.data = self._peak_columns(spectrum)
        if spectrum.window or len(self._window.data["power"]):
            self._window.data = dict(spectrum.window) or {"frequency": [], "power": []}
        title = spectrum.sentence or f"{self.key} · {spectrum.peak_text}"
        if self.figure.title.text != title:
            self.figure.title.text = title
        if len(spectrum.columns["power"]):
            low = float(np.percentile(spectrum.columns["power"], _LOWEST_PERCENTILE))
            high = max(spectrum.peak_power, float(np.max(spectrum.columns["power"]))) * _HEADROOM
            high = max(high, 2.0 * spectrum.alarm_level)
            self._show_levels(spectrum)
            self._power_range.show((low, high))

    def _show_levels(self, spectrum: SpectrumView) -> None:
        levels = (
            ("noise", self._noise, spectrum.noise_level, "white noise"),
            ("alarm", self._alarm, spectrum.alarm_level, spectrum.alarm_text),
        )
        for name, line, level, text in levels:
            line.location = level
            self._words[name].update(y=level, text=text)
        self._words["note"].text = spectrum.note

    def _peak_columns(self, spectrum: SpectrumView) -> dict[str, list[object]]:
        if not math.isfinite(spectrum.peak_frequency_hz):
            return {"frequency": [], "power": [], "text": [], "align": [], "offset": []}
        frequency = spectrum.columns["frequency"]
        middle = math.sqrt(float(frequency[0]) * float(frequency[-1]))
        on_the_right = spectrum.peak_frequency_hz > middle
        return {
            "frequency": [spectrum.peak_frequency_hz],
            "power": [spectrum.peak_power],
            "text": [spectrum.peak_label],
            "align": ["right" if on_the_right else "left"],
            "offset": [-8 if on_the_right else 8],
        }


def _labels(key: str, palette: theme.Palette) -> dict[str, Label]:
    """What is written on a spectrum: at its levels, and in the corner what was taken out before."""
    colours = {"noise": palette.faint, "alarm": palette.comparison, "note": palette.text}
    return {
        name: Label(
            name=f"{name}_of_{key}",
            x=6,
            y=4 if name == "note" else 1e-9,
            x_units="screen",
            y_units="screen" if name == "note" else "data",
            text="",
            text_font=theme.FONT,
            text_font_size="10px",
            text_color=colour,
            background_fill_color=palette.panel,
            background_fill_alpha=0.65,
        )
        for name, colour in colours.items()
    }


class PowerSpectrumPanel:
    """All power spectra of one document; strips are added as keys appear.

    Parameters
    ----------
    palette : Palette
    chosen : callable
        Called with the detrending and the normalisation that a viewer chose.
    """

    def __init__(self, palette: theme.Palette, chosen: Callable[[TimingChoices], None]) -> None:
        self._palette = palette
        self._frequency_range = FollowedRange(Range1d(1e-3, 1.0), tolerance=_RANGE_CHANGE, is_log=True)
        self._cursor = Span(dimension="height", line_color=palette.faint, line_alpha=0.6)
        self._strips: dict[str, _Spectrum] = {}
        self._controls = TimingControls("spectra", ("trend", "normalisation", "sampling"), chosen)
        waiting = "<span class='why'>Power spectra appear here with the light curves, from 16 points on.</span>"
        self._waiting = Div(text=waiting, stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width")
        self.root: Column = column(
            self._controls.root,
            self._waiting,
            sizing_mode="stretch_both",
            stylesheets=[theme.STRIPS_SHOWN_STYLE],
            name="spectra",
            spacing=2,
        )

    def update(self, view: NightView, curves: Mapping[str, CurveView] | None, timing: TimingChoices) -> None:
        """Bring the spectra to a snapshot of the night."""
        self._controls.show(timing, view.keys)
        if view.keys.keys() != self._strips.keys():
            self._lay_out(view)
        spectra = {key: curves[key].spectrum for key in self._strips if curves is not None and key in curves}
        unit = UNITS[timing.normalisation]
        for number, strip in enumerate(self._strips.values(), start=1):
            strip.show_axes("frequency / Hz" if number == len(self._strips) else "", unit)
        for key, spectrum in spectra.items():
            self._strips[key].update(spectrum)
        limits = [spectrum.columns["frequency"][[0, -1]] for spectrum in spectra.values() if _has_points(spectrum)]
        if limits:
            low, high = min(float(ends[0]) for ends in limits), max(float(ends[1]) for ends in limits)
            self._frequency_range.show((low / 1.1, high * 1.1))

    def _lay_out(self, view: NightView) -> None:
        for key in view.keys:
            if key not in self._strips:
                self._strips[key] = _Spectrum(
                    key, palette=self._palette, frequency_range=self._frequency_range.limits, cursor=self._cursor
                )
        self._strips = {key: self._strips[key] for key in view.keys}
        self._waiting.visible = not self._strips
        self.root.children = [self._controls.root, self._waiting, *(strip.figure for strip in self._strips.values())]


def _has_points(spectrum: SpectrumView) -> bool:
    return len(spectrum.columns["frequency"]) > 0
