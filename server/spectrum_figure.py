"""What pictures of power spectra have in common: axes that are logarithmic or linear, ticks, and how far they reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from bokeh.models import CrosshairTool, CustomJSTicker, Range1d, Span
from bokeh.plotting import figure

from server import theme
from server.followed_range import FollowedRange
from server.light_curve_panel import whole_number_formatter
from server.spectrum_views import SpectrumView

MIN_STRIP_PX = 130
_LOWEST_PERCENTILE = 5.0
_RANGE_CHANGE = 0.04
_LOG_HEADROOM, _LINEAR_HEADROOM = 30.0, 1.25
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


@dataclass(frozen=True, slots=True)
class SpectrumAxes:
    """Which axes are logarithmic.

    Attributes
    ----------
    frequency, power : str
        ``log`` or ``linear``.
    """

    frequency: str = "log"
    power: str = "log"

    def frequencies(self) -> FollowedRange:
        """An axis of frequency that follows what is drawn."""
        return FollowedRange(Range1d(1e-3, 1.0), tolerance=_RANGE_CHANGE, is_log=self.frequency == "log")

    def powers(self) -> FollowedRange:
        """An axis of power that follows what is drawn."""
        return FollowedRange(Range1d(1e-6, 1.0), tolerance=_RANGE_CHANGE, is_log=self.power == "log")

    def show_frequencies(self, shown: FollowedRange, spectra: Iterable[SpectrumView]) -> None:
        """Let an axis reach over the frequencies of all spectra that have any."""
        ends = [spectrum.columns["frequency"][[0, -1]] for spectrum in spectra if has_points(spectrum)]
        if ends:
            low, high = min(float(end[0]) for end in ends), max(float(end[1]) for end in ends)
            shown.show((low / 1.1, high * 1.1) if self.frequency == "log" else (0.0, 1.02 * high))

    def show_powers(self, shown: FollowedRange, spectra: Iterable[SpectrumView]) -> None:
        """Let an axis reach from the noise to above the peaks of all spectra that have any."""
        drawn = [spectrum for spectrum in spectra if has_points(spectrum)]
        if not drawn:
            return
        low = min(float(np.percentile(spectrum.columns["power"], _LOWEST_PERCENTILE)) for spectrum in drawn)
        high = max(max(spectrum.peak_power, float(np.max(spectrum.columns["power"]))) for spectrum in drawn)
        alarm = max(spectrum.alarm_level for spectrum in drawn)
        if self.power == "log":
            shown.show((low, max(high * _LOG_HEADROOM, 2.0 * alarm)))
        else:
            shown.show((0.0, max(high * _LINEAR_HEADROOM, 1.1 * alarm)))


AXES = {
    "log": SpectrumAxes(),
    "semilog": SpectrumAxes(frequency="linear"),
    "linear": SpectrumAxes(frequency="linear", power="linear"),
}
"""By what stands in an address."""


def spectrum_figure(axes: SpectrumAxes, frequencies: FollowedRange, powers: FollowedRange, *, name: str) -> figure:
    """A figure for power against frequency, with nothing in it yet."""
    plot = figure(
        sizing_mode="stretch_both",
        min_height=MIN_STRIP_PX,
        stylesheets=[theme.STRIP_STYLE],
        x_range=frequencies.limits,
        y_range=powers.limits,
        x_axis_type=axes.frequency,
        y_axis_type=axes.power,
        tools="xpan,xwheel_zoom,box_zoom,reset",
        active_drag="box_zoom",
        active_scroll=None,
        toolbar_location="above",
        name=name,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.min_border_right = 8
    plot.xaxis.formatter = whole_number_formatter()
    if axes.frequency == "log":
        plot.xaxis.ticker = CustomJSTicker(major_code=FEW_TICKS)
    plot.yaxis.ticker.desired_num_ticks = 4
    return plot


def add_cursor(plot: figure, cursor: Span) -> None:
    """Let a line through all pictures follow the mouse."""
    plot.add_tools(CrosshairTool(overlay=cursor))


def has_points(spectrum: SpectrumView) -> bool:
    """Whether there is anything to be drawn."""
    return len(spectrum.columns["frequency"]) > 0
