"""The buttons above the light curves: what is looked at, how it is drawn, and pause."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

from bokeh.layouts import row
from bokeh.models import Div, RadioButtonGroup, Row, Select, Toggle

from server import theme
from server.looks import SCALES, Look, Scale
from server.timing_controls import TRENDS
from server.timing_looks import detrending_of, text_of

WINDOWS: tuple[tuple[str, float], ...] = (("5 min", 300.0), ("30 min", 1800.0), ("night", math.inf))
FREE = "free"
_BINS = {"0": "each point", "1": "1 s bins", "5": "5 s bins", "10": "10 s bins", "30": "30 s bins", "60": "1 min bins"}
_BINS |= {"300": "5 min bins"}
_MEANS = {"0": "no mean", "10": "mean of 10 s", "30": "mean of 30 s", "60": "mean of 1 min", "300": "mean of 5 min"}
_RESTING = (
    "<span class='awaited'>paused: light curves and what is made of them rest; "
    "field, health and conditions go on</span>"
)


class CurveControls:
    """Buttons of one document.

    Parameters
    ----------
    look : Look
        What they show at first.
    changed : callable
        Called with the look that the viewer chose.
    free : callable
        Called when the viewer asks for the stretch that is on the screen to stay.
    """

    def __init__(self, look: Look, changed: Callable[[Look], None], free: Callable[[], None]) -> None:
        self._look = look
        self._changed, self._free = changed, free
        self._is_showing = False
        style = [theme.WIDGET_STYLE]
        self._window = RadioButtonGroup(
            labels=[*(label for label, _window_s in WINDOWS), FREE], stylesheets=style, name="window"
        )
        self.pause = Toggle(label="pause", stylesheets=style, name="pause")
        self._resting = Div(text=_RESTING, visible=False, stylesheets=[theme.TEXT_STYLE], name="resting")
        self._bin = Select(title="bins", options=list(_BINS.items()), stylesheets=style, name="bin", width=104)
        self._mean = Select(
            title="rolling mean", options=list(_MEANS.items()), stylesheets=style, name="mean", width=118
        )
        self._trend = Select(title="trend", options=list(TRENDS.items()), stylesheets=style, name="trend", width=142)
        self._scale = Select(
            title="scale of flux", options=list(SCALES.items()), stylesheets=style, name="scale", width=158
        )
        self._check = Toggle(label="check star", stylesheets=style, name="check")
        self.show(look)
        self._window.on_change("active", self._window_chosen)
        self._bin.on_change("value", lambda _name, _old, new: self._choose(bin_s=float(new)))
        self._mean.on_change("value", lambda _name, _old, new: self._choose(mean_s=float(new)))
        self._trend.on_change("value", lambda _name, _old, new: self._choose(trend=detrending_of(new)))
        self._scale.on_change("value", lambda _name, _old, new: self._choose(scale=new))
        self._check.on_change("active", lambda _name, _old, new: self._choose(check=bool(new)))
        self.root: Row = row(
            self._window,
            self.pause,
            self._bin,
            self._mean,
            self._trend,
            self._scale,
            self._check,
            self._resting,
            styles={"flex-wrap": "wrap"},
            sizing_mode="stretch_width",
            name="curve_controls",
            spacing=0,
        )

    def show(self, look: Look) -> None:
        """Bring the buttons to a look; widths that no button has are added to the choices."""
        self._look = look
        self._is_showing = True
        try:
            lengths = [window_s for _label, window_s in WINDOWS]
            rolling = look.span_ms is None and look.window_s in lengths
            self._window.active = lengths.index(look.window_s) if rolling else len(WINDOWS)
            for select, width_s, word in ((self._bin, look.bin_s, "bins of"), (self._mean, look.mean_s, "mean of")):
                value = f"{width_s:g}"
                if value not in dict(select.options):
                    select.options = [*select.options, (value, f"{word} {value} s")]
                select.value = value
            trend = text_of(look.trend)
            if trend not in dict(self._trend.options):
                self._trend.options = [*self._trend.options, (trend, trend.replace(":", ", "))]
            self._trend.value = trend
            self._scale.value = look.scale if look.scale in get_args(Scale) else "night"
            self._check.active = look.check
        finally:
            self._is_showing = False

    def say_paused(self, n_waiting: int | None) -> None:
        """Label the button of the pause with how many points wait; None while the page runs."""
        label = "pause" if n_waiting is None else f"resume · {n_waiting:,} new"
        if self.pause.label != label:
            self.pause.label = label
            self._resting.visible = n_waiting is not None

    def _window_chosen(self, _name: str, _old: object, active: int | None) -> None:
        if active is None or self._is_showing:
            return
        if active == len(WINDOWS):
            self._free()
        else:
            self._choose(window_s=WINDOWS[active][1], span_ms=None)

    def _choose(self, **changes: Any) -> None:
        if not self._is_showing:
            self._look = replace(self._look, **changes)
            self._changed(self._look)
