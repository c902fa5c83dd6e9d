"""The relative light curves: one strip a key, one above the other, on one axis of time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.layouts import column
from bokeh.models import (
    Column,
    ColumnDataSource,
    CrosshairTool,
    CustomJSTickFormatter,
    DataRange1d,
    DatetimeTickFormatter,
    Div,
    HoverTool,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from server import theme
from server.columns import Columns, change_between
from server.night_view import CurveView, KeyView, NightView, empty_columns

TOLERANCE = 0.05
"""How far a drawn point may be from its newest value, in units of its error, before all are drawn again."""
_RANGE_CHANGE = 0.08
_MIN_STRIP_PX = 130
_TOOLTIPS = [
    ("UTC", "@utc_ms{%F %H:%M:%S.%3N}"),
    ("BJD_TDB", "@bjd_tdb{0.0000000}"),
    ("flux", "@flux{0.00000} ± @flux_err{0.00000}"),
    ("flags", "@flags"),
    ("frame", "#@frame_id{0}"),
]


def set_range(limits: Range1d, wanted: tuple[float, float]) -> None:
    """Move the limits of an axis, unless they are nearly right: an axis that trembles cannot be read."""
    span = wanted[1] - wanted[0]
    if (
        abs(limits.start - wanted[0]) > _RANGE_CHANGE * span
        or abs(limits.end - wanted[1]) > _RANGE_CHANGE * span
        or limits.end - limits.start > (1.0 + 2.0 * _RANGE_CHANGE) * span
    ):
        limits.update(start=wanted[0], end=wanted[1], reset_start=wanted[0], reset_end=wanted[1])


class _Strip:
    """The light curve of one key in one document."""

    def __init__(self, key: str, *, palette: theme.Palette, time_range: DataRange1d, cursor: Span) -> None:
        self.key = key
        self._palette = palette
        colour = palette.key_colour(key)
        self._sent: Columns = empty_columns()
        self._source = ColumnDataSource(data=dict(self._sent), name=f"light_curve_{key}")
        self._y_range = Range1d(0.9, 1.1)
        self.figure = figure(
            sizing_mode="stretch_both",
            min_height=_MIN_STRIP_PX,
            stylesheets=[theme.STRIP_STYLE],
            x_range=time_range,
            y_range=self._y_range,
            x_axis_type="datetime",
            tools="xpan,xwheel_zoom,box_zoom,reset",
            active_drag="box_zoom",
            active_scroll=None,
            toolbar_location="above",
            title=key,
            name=f"strip_{key}",
            lod_threshold=None,
        )
        self._decorate(cursor)
        self.figure.segment("utc_ms", "lower", "utc_ms", "upper", source=self._source, color=colour, alpha=0.35)
        points = self.figure.scatter(
            "utc_ms",
            "flux",
            source=self._source,
            size=4.5,
            color=colour,
            fill_alpha="fill_alpha",
            line_alpha=0.9,
            line_width=0.8,
        )
        self.figure.add_tools(
            HoverTool(renderers=[points], tooltips=_TOOLTIPS, formatters={"@utc_ms": "datetime"}, mode="mouse")
        )

    def _decorate(self, cursor: Span) -> None:
        plot = self.figure
        plot.toolbar.logo = None
        plot.toolbar.autohide = True
        plot.min_border_right = 8
        plot.add_layout(Span(location=1.0, dimension="width", line_color=self._palette.grid, line_dash="dashed"))
        plot.add_tools(CrosshairTool(overlay=cursor))
        plot.xaxis.formatter = DatetimeTickFormatter(
            milliseconds="%H:%M:%S.%3N",
            seconds="%H:%M:%S",
            minsec="%H:%M:%S",
            minutes="%H:%M",
            hourmin="%H:%M",
            hours="%H:%M",
            days="%m-%d %H:%M",
        )
        plot.yaxis.ticker.desired_num_ticks = 5
        plot.yaxis.axis_label = "relative flux"

    def show_axis(self, label: str) -> None:
        """Label the axis of time; an empty label leaves room for the curve."""
        if self.figure.xaxis[0].axis_label != label:
            self.figure.xaxis.axis_label = label

    def update(self, key_view: KeyView, curve: CurveView) -> None:
        change = change_between(self._sent, curve.columns, tolerance=TOLERANCE)
        if change.kind == "append":
            self._source.stream(dict(change.columns), rollover=len(curve.columns["frame_id"]))
            self._sent = _after_append(self._sent, change.columns, len(curve.columns["frame_id"]))
        elif change.kind == "replace":
            self._source.data = dict(curve.columns)
            self._sent = curve.columns
        set_range(self._y_range, curve.y_range)
        title = _title(key_view, curve)
        if self.figure.title.text != title:
            self.figure.title.text = title


def _after_append(sent: Columns, new: Columns, length: int) -> dict[str, Any]:
    """Return what the browser holds after an append, so that the next change is measured against that."""
    return {name: np.concatenate([sent[name], column])[-length:] for name, column in new.items()}


def _title(key_view: KeyView, curve: CurveView) -> str:
    if key_view.sentence:
        return f"{key_view.key} · {key_view.sentence}"
    if key_view.choice is None:
        return f"{key_view.key} · waiting for the first measured frames"
    stars = ", ".join(str(number) for number in key_view.choice.comparisons[:8])
    if len(key_view.choice.comparisons) > 8:
        stars += f" and {len(key_view.choice.comparisons) - 8} more"
    choice = f"{curve.n_points:,} points · target {key_view.choice.target} / {stars}"
    if not math.isfinite(curve.rms):
        return f"{key_view.key} · {choice}"
    return f"{key_view.key} · rms {100.0 * curve.rms:.2f} % · errors {100.0 * curve.typical_err:.2f} % · {choice}"


class LightCurvePanel:
    """All light curves of one document; strips are added as keys appear."""

    def __init__(self, palette: theme.Palette) -> None:
        self._palette = palette
        self._time_range = DataRange1d(range_padding=0.02, only_visible=True)
        self._cursor = Span(dimension="height", line_color=palette.faint, line_alpha=0.6)
        self._strips: dict[str, _Strip] = {}
        self._waiting = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width")
        self.root: Column = column(self._waiting, sizing_mode="stretch_both", name="curves", spacing=2)

    def set_window(self, window_s: float) -> None:
        """Follow the last `window_s` seconds; infinite for the whole night."""
        if math.isinf(window_s):
            self._time_range.update(follow=None, follow_interval=None)
        else:
            self._time_range.update(follow="end", follow_interval=1000.0 * window_s)

    def update(self, view: NightView, curves: Mapping[str, CurveView] | None) -> None:
        """Bring the strips to a snapshot of the night."""
        if view.keys.keys() != self._strips.keys():
            self._lay_out(view)
        for key, strip in self._strips.items():
            curve = None if curves is None else curves.get(key)
            if curve is not None:
                strip.update(view.keys[key], curve)
        if self._strips:
            *_, last = self._strips.values()
            last.show_axis(_axis_label(view.label, curves))

    def _lay_out(self, view: NightView) -> None:
        for key in view.keys:
            if key not in self._strips:
                self._strips[key] = _Strip(key, palette=self._palette, time_range=self._time_range, cursor=self._cursor)
        self._strips = {key: self._strips[key] for key in view.keys}
        for strip in self._strips.values():
            strip.show_axis("")
        self._waiting.visible = not self._strips
        self.root.children = [self._waiting, *(strip.figure for strip in self._strips.values())]

    def say(self, text: str) -> None:
        """Show what is awaited, while there is no strip yet."""
        if self._waiting.text != text:
            self._waiting.text = text


def _axis_label(label: str, curves: Mapping[str, CurveView] | None) -> str:
    days = [curve.columns["utc_ms"][0] for curve in (curves or {}).values() if len(curve.columns["utc_ms"])]
    date = "" if not days else f" · night of {np.datetime64(int(min(days)), 'ms').astype('datetime64[D]')}"
    photometer = f" · {label.replace('_', ' ')}" if label else ""
    return f"UTC, middle of the exposure{date}{photometer}"


def whole_number_formatter() -> CustomJSTickFormatter:
    """Format ticks of a frequency axis: 0.01, 0.1, 1 instead of powers of ten."""
    return CustomJSTickFormatter(code="return Number(tick.toPrecision(3)).toString()")
