"""The relative light curves: one strip a key, one above the other, on one axis of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.events import DoubleTap, PointEvent, RangesUpdate, Reset, Tap
from bokeh.layouts import column
from bokeh.models import (
    Column,
    ColumnDataSource,
    CrosshairTool,
    CustomJSTickFormatter,
    DatetimeTickFormatter,
    Div,
    HoverTool,
    Line,
    Range1d,
    Scatter,
    Segment,
    Span,
    Text,
    VSpan,
)
from bokeh.plotting import figure

from server import theme
from server.columns import Columns, change_between
from server.curve_views import CurveView, empty_columns, mjd_of, on_scale
from server.fitting import entitle, fitted, room_of
from server.looks import SCALES, Look
from server.night_view import KeyView, NightView
from server.overlays import Overlay
from stream.notes import Note
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY

TOLERANCE = 0.05
"""How far a drawn point may be from its newest value, in units of its error, before all are drawn again."""
_RANGE_CHANGE = 0.08
_MIN_STRIP_PX = 130
_REACH_PX = 24.0
_MANY_POINTS = 1200
_TITLE_INTERVAL_S = 1.0
_HOVER = theme.hover(
    ("UTC", "@utc_ms{%F %H:%M:%S.%3N}"),
    ("BJD_TDB", "@bjd_tdb{0.0000000}"),
    ("flux", "@flux{0.00000} ± @flux_err{0.00000}"),
    ("flags", "@flags"),
    ("frame", "@frame"),
)


def set_range(limits: Range1d, wanted: tuple[float, float]) -> None:
    """Move the limits of an axis, unless they are nearly right: an axis that trembles cannot be read."""
    span = abs(wanted[1] - wanted[0])
    if (
        abs(limits.start - wanted[0]) > _RANGE_CHANGE * span
        or abs(limits.end - wanted[1]) > _RANGE_CHANGE * span
        or abs(limits.end - limits.start) > (1.0 + 2.0 * _RANGE_CHANGE) * span
    ):
        limits.update(start=wanted[0], end=wanted[1], reset_start=wanted[0], reset_end=wanted[1])


class _Strip:
    """The light curve of one key in one document."""

    def __init__(self, key: str, *, palette: theme.Palette, time_range: Range1d, cursor: Span) -> None:
        self.key = key
        self._palette = palette
        self._sent: Columns = empty_columns()
        self._drawn: CurveView | None = None
        self._titled_about: tuple[object, ...] = ()
        self._title_due_s = 0.0
        self._source = ColumnDataSource(data=dict(self._sent), name=f"light_curve_{key}")
        self._y_range = Range1d(0.9, 1.1)
        self._time_range = time_range
        self.figure = figure(
            sizing_mode="stretch_both",
            min_height=_MIN_STRIP_PX,
            stylesheets=[theme.STRIP_STYLE],
            x_range=time_range,
            y_range=self._y_range,
            x_axis_type="datetime",
            tools="xpan,xwheel_zoom,xbox_zoom,reset",
            active_drag="xbox_zoom",
            active_scroll=None,
            toolbar_location="above",
            title=key,
            name=f"strip_{key}",
            lod_threshold=None,
        )
        self._decorate(cursor)
        self._draw(palette.key_colour(key))

    def _decorate(self, cursor: Span) -> None:
        plot = self.figure
        plot.toolbar.logo = None
        plot.toolbar.autohide = True
        plot.min_border_right = 8
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

    def _draw(self, colour: str) -> None:
        plot = self.figure
        bars = Segment(x0="utc_ms", y0="lower", x1="utc_ms", y1="upper", line_color=colour, line_alpha=0.35)
        plot.add_glyph(self._source, bars)
        self._marks = Scatter(x="utc_ms", y="flux", size=4.5, line_alpha=0.9, line_width=0.8, fill_alpha="fill_alpha")
        self._marks.update(line_color=colour, fill_color=colour)
        self._points = plot.add_glyph(self._source, self._marks)
        over = {"x": "utc_ms", "y": "flux"}
        self._mean = Overlay(plot, f"mean_{self.key}", Line(**over, line_color=self._palette.text, line_width=1.8))
        comparison = self._palette.comparison
        squares = Scatter(**over, size=3, marker="square", line_color=comparison, fill_color=comparison)
        self._check = Overlay(plot, f"check_{self.key}", squares)
        self._model = Overlay(plot, f"model_{self.key}", Line(**over, line_color=self._palette.accent, line_width=2.2))
        formatters = {"@utc_ms": "datetime"}
        plot.add_tools(HoverTool(renderers=[self._points], tooltips=_HOVER, formatters=formatters, mode="mouse"))

    @property
    def top(self) -> float:
        """Upper limit of the axis of flux."""
        return float(self._y_range.end)

    def label_axes(self, time_label: str, flux_label: str) -> None:
        """Label the axes; an empty label of the time leaves room for the curve."""
        time_label = fitted(time_label, room_of(self.figure), font_px=11.0)
        for axis, label in ((self.figure.xaxis[0], time_label), (self.figure.yaxis[0], flux_label)):
            if axis.axis_label != label:
                axis.axis_label = label

    def update(self, key_view: KeyView, curve: CurveView) -> None:
        """Draw a light curve; the one that is drawn already costs nothing."""
        self._say_title(key_view, curve)
        if curve is self._drawn:
            return
        change = change_between(self._sent, curve.columns, tolerance=TOLERANCE)
        if change.kind == "append":
            # As plain numbers: an array is two messages of its own, and there are ten columns.
            fresh = {name: column.tolist() for name, column in change.columns.items()}
            self._source.stream(fresh, rollover=len(curve.columns["frame_id"]))
            self._sent = _after_append(self._sent, change.columns, len(curve.columns["frame_id"]))
        elif change.kind == "replace":
            self._source.data = dict(curve.columns)
            self._sent = curve.columns
        self._mean.show(curve.mean)
        self._check.show(curve.check)
        size = 4.5 if len(self._sent["flux"]) < _MANY_POINTS else 3.0
        if self._marks.size != size:
            self._marks.size = size
        set_range(self._y_range, curve.y_range)
        self._drawn = curve

    def _say_title(self, key_view: KeyView, curve: CurveView) -> None:
        """Say what is shown: another choice at once, other numbers once a second."""
        width_px, now = room_of(self.figure), time.monotonic()
        about = (key_view.choice, key_view.sentence, curve.n_points > 0, width_px)
        if about == self._titled_about and now < self._title_due_s:
            return
        self._titled_about, self._title_due_s = about, now + _TITLE_INTERVAL_S
        entitle(self.figure, _title(key_view, curve))

    def show_model(self, model: Columns, curve: CurveView, look: Look) -> None:
        """Draw a model of the relative flux on the scale of the curve; an empty one takes it away."""
        drawn = self._model.data
        if not model:
            self._model.show({})
            return
        flux = np.asarray(model["flux"]) / curve.trend.at(mjd_of(np.asarray(model["utc_ms"])))
        fresh = {"utc_ms": model["utc_ms"], "flux": on_scale(flux, look, curve.unit)}
        if not all(np.array_equal(fresh[name], drawn.get(name, ())) for name in fresh):
            self._model.show(fresh)

    def frame_at(self, event: PointEvent) -> int | None:
        """Number of the frame whose point was clicked, or of the nearest one within reach of a finger."""
        if not len(self._sent["frame_id"]) or event.x is None or event.y is None:
            return None
        width, height = self.figure.inner_width or 600, self.figure.inner_height or 150
        x_span, y_span = (limits.end - limits.start for limits in (self._time_range, self._y_range))
        x_px = (self._sent["utc_ms"] - event.x) / x_span * width
        y_px = (self._sent["flux"] - event.y) / y_span * height
        distance = np.hypot(x_px, y_px)
        nearest = int(np.argmin(distance))
        return int(self._sent["frame_id"][nearest]) if distance[nearest] <= _REACH_PX else None


def _after_append(sent: Columns, new: Columns, length: int) -> dict[str, Any]:
    """Return what the browser holds after an append, so that the next change is measured against that."""
    return {name: np.concatenate([sent[name], column])[-length:] for name, column in new.items()}


def _title(key_view: KeyView, curve: CurveView) -> str:
    if key_view.sentence:
        return f"{key_view.key} · {key_view.sentence}"
    if key_view.choice is None and key_view.n_frames:
        return f"{key_view.key} · target and comparison stars are being chosen"
    if key_view.choice is None:
        return f"{key_view.key} · waiting for the first measured frames"
    if not curve.n_points:
        return f"{key_view.key} · no point with a flux in this stretch"
    stars = ", ".join(str(number) for number in key_view.choice.comparisons[:8])
    if len(key_view.choice.comparisons) > 8:
        stars += f" and {len(key_view.choice.comparisons) - 8} more"
    choice = f"{curve.n_points:,} points · target {key_view.choice.target} / {stars}"
    choice += "".join(f" · {text}" for text in (curve.check_text, curve.trend.sentence) if text)
    if not math.isfinite(curve.rms):
        return f"{key_view.key} · {choice}"
    return f"{key_view.key} · rms {100.0 * curve.rms:.2f} % · errors {100.0 * curve.typical_err:.2f} % · {choice}"


class LightCurvePanel:
    """All light curves of one document; strips are added as keys appear.

    Parameters
    ----------
    palette : Palette
    zoomed : callable
        Called with the stretch (milliseconds since 1970 UTC) that a viewer zoomed or moved to; None to go back.
    clicked : callable
        Called with the key and the number of the frame whose point was clicked.
    """

    def __init__(
        self,
        palette: theme.Palette,
        zoomed: Callable[[tuple[float, float] | None], None],
        clicked: Callable[[str, int], None],
    ) -> None:
        self._palette = palette
        self._zoomed, self.clicked = zoomed, clicked
        self._notes: list[Overlay] = []
        self.time_range = Range1d(0.0, 1.0, name="time_range")
        self._cursor = Span(dimension="height", line_color=palette.faint, line_alpha=0.6)
        self._strips: dict[str, _Strip] = {}
        self._followed: Look | None = None
        self._waiting = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width")
        self.root: Column = column(self._waiting, sizing_mode="stretch_both", name="curves", spacing=2)

    def stretch_ms(self) -> tuple[float, float]:
        """The stretch of time on the screen."""
        return float(self.time_range.start), float(self.time_range.end)

    def update(self, view: NightView, curves: Mapping[str, CurveView] | None, look: Look) -> bool:
        """Bring the strips to a snapshot of the night; returns whether there are others than before."""
        are_new = view.keys.keys() != self._strips.keys()
        if are_new:
            self._lay_out(view)
        shown = {key: curves[key] for key in self._strips if curves is not None and key in curves}
        self._follow(shown, look)
        for key, curve in shown.items():
            self._strips[key].update(view.keys[key], curve)
        self._show_notes(view.notes)
        if shown:
            for number, strip in enumerate(self._strips.values(), start=1):
                last = number == len(self._strips)
                strip.label_axes(_axis_label(look.label or view.label, shown) if last else "", SCALES[look.scale])
        return are_new

    def _show_notes(self, notes: tuple[Note, ...]) -> None:
        """Draw notes as lines through all strips, with their words in the first."""
        if not notes:
            for overlay in self._notes:
                overlay.show({})
            return
        tops = [next(iter(self._strips.values())).top] * len(notes) if self._strips else []
        at_ms = [(note.time_mjd_utc - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY * 1e3 for note in notes]
        fresh: dict[str, list[Any]] = {"utc_ms": at_ms, "top": tops, "text": [note.text for note in notes]}
        for overlay in self._notes:
            if fresh != overlay.data:
                overlay.show(fresh)

    def show_models(self, models: Mapping[str, Columns], curves: Mapping[str, CurveView], look: Look) -> None:
        """Draw a model on every light curve that has one."""
        for key, strip in self._strips.items():
            if key in curves:
                strip.show_model(models.get(key, {}), curves[key], look)

    def _follow(self, curves: Mapping[str, CurveView], look: Look) -> None:
        """Let the axis of time follow the newest points, or show the stretch that was asked for."""
        limits = look.span_ms
        if limits is None:
            ends = [curve.columns["utc_ms"][[0, -1]] for curve in curves.values() if len(curve.columns["utc_ms"])]
            if not ends:
                return
            first, last = min(float(end[0]) for end in ends), max(float(end[1]) for end in ends)
            first = first if math.isinf(look.window_s) else last - 1e3 * look.window_s
            margin = max(0.015 * (last - first), 500.0)
            start, end = self.stretch_ms()
            # In steps: each move is a message to every viewer, and an axis that creeps cannot be read.
            fits = abs(first - margin - start) <= margin and 0.0 <= end - last <= 2.5 * margin
            if fits and look == self._followed:
                return
            limits = first - margin, last + 2.0 * margin
        self._followed = look
        if limits != self.stretch_ms():
            self.time_range.update(start=limits[0], end=limits[1])

    def _lay_out(self, view: NightView) -> None:
        for key in view.keys:
            if key not in self._strips:
                self._strips[key] = self._new_strip(key)
        self._strips = {key: self._strips[key] for key in view.keys}
        self._waiting.visible = not self._strips
        self.root.children = [self._waiting, *(strip.figure for strip in self._strips.values())]

    def _new_strip(self, key: str) -> _Strip:
        strip = _Strip(key, palette=self._palette, time_range=self.time_range, cursor=self._cursor)
        lines = VSpan(x="utc_ms", line_color=self._palette.accent, line_dash="dashed", line_alpha=0.7)
        words = () if self._strips else (self._words_of_notes(),)
        self._notes.append(Overlay(strip.figure, "" if self._strips else "notes", lines, *words))
        strip.figure.on_event(RangesUpdate, lambda event: self._zoomed((float(event.x0), float(event.x1))))
        strip.figure.on_event(Reset, lambda _event: self._zoomed(None))

        def clicked(event: PointEvent) -> None:
            frame_id = strip.frame_at(event)
            if frame_id is not None:
                self.clicked(key, frame_id)

        # Bokeh takes the second of two clicks within 0.3 s, wherever it was, for a double click and calls it no tap.
        strip.figure.on_event(Tap, clicked)
        strip.figure.on_event(DoubleTap, clicked)
        return strip

    def _words_of_notes(self) -> Text:
        return Text(
            x="utc_ms",
            y="top",
            text="text",
            text_color=self._palette.accent,
            text_font=value(theme.FONT),
            text_font_size="11px",
            text_baseline="top",
            x_offset=4,
            y_offset=2,
        )

    def say(self, text: str) -> None:
        """Show what is awaited, while there is no strip yet."""
        if self._waiting.text != text:
            self._waiting.text = text


def _axis_label(label: str, curves: Mapping[str, CurveView]) -> str:
    days = [curve.columns["utc_ms"][0] for curve in curves.values() if len(curve.columns["utc_ms"])]
    date = "" if not days else f" · night of {np.datetime64(int(min(days)), 'ms').astype('datetime64[D]')}"
    photometer = f" · {label.replace('_', ' ')}" if label else ""
    return f"UTC, middle of the exposure{date}{photometer}"


def whole_number_formatter() -> CustomJSTickFormatter:
    """Format ticks of a frequency axis: 0.01, 0.1, 1 instead of powers of ten."""
    return CustomJSTickFormatter(code="return Number(tick.toPrecision(3)).toString()")
