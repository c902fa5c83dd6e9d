"""The power spectrum of one key, with its peak, the level of the noise and that of false alarms."""

from __future__ import annotations

import math

from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, HoverTool, Label, Span

from server import theme
from server.fitting import entitle
from server.followed_range import FollowedRange
from server.spectrum_figure import SpectrumAxes, add_cursor, has_points, spectrum_figure
from server.spectrum_views import SpectrumView


class SpectrumStrip:
    """The power spectrum of one key in one document.

    Parameters
    ----------
    key : str
    axes : SpectrumAxes
    palette : Palette
    frequencies : FollowedRange
        Shared with the other keys.
    cursor : Span
        Shared, too.
    """

    def __init__(
        self, key: str, axes: SpectrumAxes, *, palette: theme.Palette, frequencies: FollowedRange, cursor: Span
    ) -> None:
        self.key = key
        self._axes, self._palette = axes, palette
        self._drawn: SpectrumView | None = None
        nothing: dict[str, list[float]] = {"frequency": [], "power": []}
        self._fine = ColumnDataSource(data=dict(nothing), name=f"spectrum_{key}")
        self._smooth = ColumnDataSource(data=dict(nothing))
        self._window = ColumnDataSource(data=dict(nothing), name=f"window_{key}")
        self._peak = ColumnDataSource(
            data={"frequency": [], "power": [], "text": [], "align": [], "offset": []}, name=f"peak_{key}"
        )
        self._powers = axes.powers()
        self._noise = Span(location=1e-9, dimension="width", line_color=palette.faint, line_dash="dotted")
        self._alarm = Span(location=1e-9, dimension="width", line_color=palette.comparison, line_dash="dashed")
        self._words = _labels(key, palette)
        self.figure = spectrum_figure(axes, frequencies, self._powers, name=f"power_{key}")
        self.figure.title.text = key
        for line in (self._noise, self._alarm, *self._words.values()):
            self.figure.add_layout(line)
        add_cursor(self.figure, cursor)
        self._draw(palette.key_colour(key))

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
        tooltips = theme.hover(("frequency", "@frequency{0.00000} Hz"), ("power", "@power{0.00e+0}"))
        plot.add_tools(HoverTool(renderers=[line], tooltips=tooltips, mode="mouse"))

    def show_axes(self, label: str, unit: str) -> None:
        """Label the axes; an empty label of the frequency leaves room for the spectrum."""
        for axis, text in ((self.figure.xaxis[0], label), (self.figure.yaxis[0], unit)):
            if axis.axis_label != text:
                axis.axis_label = text

    def update(self, spectrum: SpectrumView) -> None:
        """Draw a spectrum; the one that is drawn already costs nothing."""
        entitle(self.figure, spectrum.sentence or f"{self.key} · {spectrum.peak_text}")
        if spectrum is self._drawn:
            return
        self._drawn = spectrum
        self._fine.data = dict(spectrum.columns)
        self._smooth.data = dict(spectrum.smooth)
        self._peak.data = self._peak_columns(spectrum)
        if spectrum.window or len(self._window.data["power"]):
            self._window.data = dict(spectrum.window) or {"frequency": [], "power": []}
        if has_points(spectrum):
            self._show_levels(spectrum)
            self._axes.show_powers(self._powers, [spectrum])

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
        low, high = (float(end) for end in spectrum.columns["frequency"][[0, -1]])
        middle = math.sqrt(low * high) if self._axes.frequency == "log" else 0.5 * (low + high)
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
