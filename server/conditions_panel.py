"""The conditions of the night: an overview over time, or one measured column against any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from bokeh.events import DoubleTap, PointEvent, Tap
from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    DatetimeTickFormatter,
    Div,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
    Select,
)
from bokeh.plotting import figure

from server import theme
from server.columns import robust_range
from server.conditions import OVERVIEW, QUANTITIES, TIME, ConditionLook, ConditionView
from server.feed import Feed
from server.light_curve_panel import set_range
from server.night_view import NightView
from server.view_state import ViewState

_OVERVIEW = "overview"
_REACH_PX = 24.0
_MIN_HEIGHT_PX, _AXIS_PX = 96, 22
_READING = "<span class='why'>The conditions of the night so far are being read.</span>"
_WAITING = "<span class='why'>Conditions appear here with the first measured frame.</span>"


class _Strip:
    """One quantity of all keys."""

    def __init__(
        self, name: str, x_name: str, keys: Iterable[str], *, palette: theme.Palette, x_range: Range1d
    ) -> None:
        self.name = name
        self._palette = palette
        self._sources: dict[str, ColumnDataSource] = {}
        self._x_range, self._y_range = x_range, Range1d(0.0, 1.0)
        is_time = x_name == TIME
        self.figure = figure(
            sizing_mode="stretch_both",
            min_height=_MIN_HEIGHT_PX,
            x_range=x_range,
            y_range=self._y_range,
            x_axis_type="datetime" if is_time else "linear",
            tools="xpan,box_zoom,reset",
            active_drag="box_zoom",
            toolbar_location="above",
            title=QUANTITIES[name],
            name=f"conditions_{name}",
        )
        # An axis without numbers would have ticks of microseconds.
        self.figure.visible = False
        self.figure.toolbar.logo = None
        self.figure.toolbar.autohide = True
        self.figure.min_border_right = 8
        self.figure.yaxis.ticker.desired_num_ticks = 3
        if is_time:
            self.figure.xaxis.formatter = DatetimeTickFormatter(
                minutes="%H:%M", seconds="%H:%M:%S", minsec="%H:%M:%S", hourmin="%H:%M", hours="%H:%M"
            )
        else:
            self.figure.xaxis.formatter = NumeralTickFormatter(format="0.[0000]")
            self.figure.xaxis.axis_label = QUANTITIES[x_name]
        words = ("key", "$name"), (QUANTITIES[name], "@y{0.0000}"), ("frame", "#@frame_id{0}")
        self._hover = HoverTool(renderers=[], tooltips=theme.hover(*words), mode="mouse")
        # Before the figure is in a document: there each glyph costs a look through all its models.
        for key in keys:
            self._add_key(key)
        self.figure.add_tools(self._hover)

    def update(self, columns: Mapping[str, Mapping[str, Any]]) -> None:
        """Draw the columns of every key."""
        if not self.figure.visible:
            self.figure.visible = True
        for key, fresh in columns.items():
            if key not in self._sources:
                self._add_key(key)
            held = self._sources[key].data
            if not np.array_equal(held["frame_id"], fresh["frame_id"]) or not np.array_equal(held["y"], fresh["y"]):
                self._sources[key].data = dict(fresh)
        values = np.concatenate([fresh["y"] for fresh in columns.values()] or [np.empty(0)])
        if len(values):
            set_range(self._y_range, robust_range(values, np.zeros(1)))

    def leave_axis_to_the_last(self) -> None:
        """Leave the numbers of the shared axis to the last strip: a phone or a laptop has no room."""
        self.figure.xaxis.visible = False
        self.figure.min_height = _MIN_HEIGHT_PX - _AXIS_PX

    def frame_at(self, event: PointEvent) -> tuple[str, int] | None:
        """Key and number of the frame whose point is nearest to a click, within reach of a finger."""
        best: tuple[float, str, int] | None = None
        width, height = self.figure.inner_width or 400, self.figure.inner_height or 100
        x_span, y_span = (limits.end - limits.start or 1.0 for limits in (self._x_range, self._y_range))
        for key, source in self._sources.items():
            if not len(source.data["x"]) or event.x is None or event.y is None:
                continue
            distance = np.hypot(
                (source.data["x"] - event.x) / x_span * width, (source.data["y"] - event.y) / y_span * height
            )
            nearest = int(np.argmin(distance))
            if best is None or distance[nearest] < best[0]:
                best = float(distance[nearest]), key, int(source.data["frame_id"][nearest])
        return None if best is None or best[0] > _REACH_PX else best[1:]

    def _add_key(self, key: str) -> None:
        nothing = {name: np.empty(0) for name in ("x", "y", "frame_id")}
        source = self._sources[key] = ColumnDataSource(data=nothing, name=f"conditions_{self.name}_{key}")
        points = self.figure.scatter("x", "y", source=source, size=3, color=self._palette.key_colour(key), name=key)
        self._hover.renderers = [*self._hover.renderers, points]


class ConditionsPanel:
    """Conditions of one document.

    Parameters
    ----------
    feed : Feed
    palette : Palette
    chosen : callable
        Called with the columns of x and y that a viewer chose; an empty y is the overview.
    clicked : callable
        Called with the key and the number of the frame whose point was clicked.
    """

    def __init__(
        self,
        feed: Feed,
        palette: theme.Palette,
        chosen: Callable[[str, str], None],
        clicked: Callable[[str, int], None],
    ) -> None:
        self._feed, self._palette = feed, palette
        self._chosen, self._clicked = chosen, clicked
        self._strips: dict[str, _Strip] = {}
        self._shown: tuple[str, tuple[str, ...]] | None = None
        self._is_showing = False
        self._x_range = Range1d(0.0, 1.0)
        style = [theme.WIDGET_STYLE]
        self._y = Select(
            title="what is drawn",
            options=[("", _OVERVIEW), *QUANTITIES.items()],
            stylesheets=style,
            name="condition_y",
            width=150,
        )
        self._x = Select(
            title="against what",
            options=[("", "against time"), *((name, f"against {text}") for name, text in QUANTITIES.items())],
            stylesheets=style,
            name="condition_x",
            width=170,
        )
        self._focus = Button(label="seeing", stylesheets=style, name="seeing")
        self._y.on_change("value", lambda _name, _old, new: self._choose(self._x.value, new))
        self._x.on_change("value", lambda _name, _old, new: self._choose(new, self._y.value))
        self._focus.on_click(lambda: self._chosen("", "fwhm_px"))
        self._waiting = Div(text=_WAITING, stylesheets=[theme.TEXT_STYLE])
        self._buttons = row(self._y, self._x, self._focus, styles={"flex-wrap": "wrap"}, sizing_mode="stretch_width")
        self.root: Column = column(
            self._buttons,
            self._waiting,
            sizing_mode="stretch_both",
            stylesheets=[theme.PANEL_SHOWN_STYLE],
            styles={"overflow-y": "auto"},
            spacing=0,
            name="conditions",
        )

    def update(self, view: NightView, state: ViewState) -> None:
        """Bring the strips to what is measured by now."""
        x_name = state.x if state.x in QUANTITIES else TIME
        ys = (state.y,) if state.y in QUANTITIES else OVERVIEW
        look = ConditionLook(x_name, ys, state.look.label or view.label, state.look.span_ms, state.look.window_s)
        if self._shown != (x_name, ys):
            self._lay_out(x_name, ys, view.keys)
        views = self._feed.conditions(look)
        if not views or not any(len(each.strips[ys[0]]["x"]) for each in views.values()):
            text = _READING if any(shown.n_frames for shown in view.keys.values()) else _WAITING
            if self._waiting.text != text:
                self._waiting.text = text
            return
        self._waiting.visible = False
        self._set_x_range(views, x_name, ys)
        for name, strip in self._strips.items():
            strip.update({key: each.strips[name] for key, each in views.items()})

    def _set_x_range(self, views: Mapping[str, ConditionView], x_name: str, ys: tuple[str, ...]) -> None:
        values = np.concatenate([each.strips[ys[0]]["x"] for each in views.values()])
        if x_name != TIME:
            set_range(self._x_range, robust_range(values, np.zeros(1)))
            return
        margin = max(0.015 * float(np.ptp(values)), 500.0)
        set_range(self._x_range, (float(values.min()) - margin, float(values.max()) + margin))

    def _lay_out(self, x_name: str, ys: tuple[str, ...], keys: Iterable[str]) -> None:
        self._shown = (x_name, ys)
        self._is_showing = True
        try:
            self._x.value = "" if x_name == TIME else x_name
            self._y.value = ys[0] if len(ys) == 1 else ""
        finally:
            self._is_showing = False
        self._x_range = Range1d(0.0, 1.0)
        self._strips = {name: _Strip(name, x_name, keys, palette=self._palette, x_range=self._x_range) for name in ys}
        for strip in list(self._strips.values())[:-1]:
            strip.leave_axis_to_the_last()
        for strip in self._strips.values():
            for event in (Tap, DoubleTap):
                strip.figure.on_event(event, self._handler_of(strip))
        self._waiting.visible = True
        self.root.children = [self._buttons, self._waiting, *(strip.figure for strip in self._strips.values())]

    def _handler_of(self, strip: _Strip) -> Callable[[PointEvent], None]:
        def clicked(event: PointEvent) -> None:
            found = strip.frame_at(event)
            if found is not None:
                self._clicked(*found)

        return clicked

    def _choose(self, x: str, y: str) -> None:
        if not self._is_showing:
            # An overview is over time: a column to set against another is one.
            self._chosen(x, y or ("fwhm_px" if x else ""))
