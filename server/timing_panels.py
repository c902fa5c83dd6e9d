"""The panels of timing: fold, lags and transits as strips of points, the dynamic spectrum as a picture."""

from __future__ import annotations

from collections.abc import Callable, Collection
from html import escape
from typing import Any

from bokeh.layouts import column
from bokeh.models import Column, Div, Span

from server import theme
from server.dynamic_picture import DynamicPicture
from server.point_strips import PointStrip, StripAxes
from server.timing_controls import TimingControls
from server.timing_looks import TimingChoices
from server.timing_views import StripView, TimingView

AXES = {
    "fold": StripAxes(
        "fold",
        "linear",
        "phase, two cycles",
        120,
        (("phase", "@x{0.000}"), ("flux", "@y{0.00000}, @lower{0.00000} to @upper{0.00000}"), ("bin", "@text")),
    ),
    "lags": StripAxes(
        "lags",
        "log",
        "frequency / Hz",
        96,
        (("frequency", "@x{0.00000} Hz"), ("value", "@y{0.000}, @lower{0.000} to @upper{0.000}"), ("that is", "@text")),
    ),
    "correlation": StripAxes(
        "correlation",
        "linear",
        "lag / s, positive: late",
        130,
        (("lag", "@x{0.000} s"), ("correlation", "@y{0.000}, @lower{0.000} to @upper{0.000}"), ("of", "@text")),
    ),
    "transit": StripAxes(
        "transit",
        "datetime",
        "UTC, middle of the exposure",
        130,
        (("UTC", "@x{%F %H:%M:%S}"), ("flux", "@y{0.00000}, @lower{0.00000} to @upper{0.00000}")),
    ),
}
Y_LABELS = {"lag": "phase lag / rad", "coherence": "coherence", "correlation": "correlation"}
FIELDS = {
    "dynamic": ("reference", "trend", "normalisation", "window_s"),
    "lags": ("reference", "trend", "segment_s"),
    "correlation": ("reference", "trend"),
    "fold": ("reference", "trend", "n_bins", "period", "epoch"),
    "transit": ("model",),
}


class TimingPanel:
    """One of the panels of one document.

    Parameters
    ----------
    kind : str
        One of `server.timing_looks.KINDS`.
    palette : Palette
    chosen : callable
        Called with the choices that a viewer made.
    """

    def __init__(self, kind: str, palette: theme.Palette, chosen: Callable[[TimingChoices], None]) -> None:
        self._kind = kind
        self._palette = palette
        self._drawn: TimingView | None = None
        self._controls = TimingControls(kind, FIELDS[kind], chosen)
        self._text = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name=f"{kind}_text")
        self._cursor = Span(dimension="height", line_color=palette.faint, line_alpha=0.6)
        self._strips: dict[str, PointStrip] = {}
        self._picture = DynamicPicture(palette) if kind == "dynamic" else None
        self.root: Column = column(
            self._controls.root,
            self._text,
            sizing_mode="stretch_both",
            stylesheets=[theme.STRIPS_SHOWN_STYLE],
            styles={"overflow-y": "auto"},
            name=kind,
            spacing=2,
        )

    def update(self, view: TimingView | None, choices: TimingChoices, keys: Collection[str]) -> None:
        """Bring the panel to a view; None while it is being made: what there was stays, and it says so."""
        self._controls.show(choices, keys)
        if view is None:
            self._drawn = None
            self._say("<span class='why'>computing …</span>")
            return
        if view is self._drawn:
            return
        self._drawn = view
        problem = f"<span class='problem'>{escape(view.sentence)}</span>" if view.sentence else ""
        self._say(problem or f"<span class='why'>{escape(view.text)}</span>")
        self._lay_out(view)
        for strip in view.strips:
            self._strips[strip.name].update(strip)
        if self._picture is not None and view.image is not None:
            self._picture.update(view.image)

    @property
    def is_waiting(self) -> bool:
        """Whether there is nothing yet of what the viewer chose."""
        return self._drawn is None

    def _say(self, text: str) -> None:
        if self._text.text != text:
            self._text.text = text

    def _lay_out(self, view: TimingView) -> None:
        figures: list[Any] = []
        for number, strip in enumerate(view.strips, start=1):
            if strip.name not in self._strips:
                self._strips[strip.name] = self._new_strip(strip)
            self._strips[strip.name].show_axis(number == len(view.strips))
            figures.append(self._strips[strip.name].figure)
        if self._picture is not None and view.image is not None:
            figures.append(self._picture.figure)
        children = [self._controls.root, self._text, *figures]
        if self.root.children != children:
            self.root.children = children

    def _new_strip(self, view: StripView) -> PointStrip:
        strip = PointStrip(view, AXES[self._kind], self._palette, self._cursor)
        strip.figure.yaxis.axis_label = Y_LABELS.get(view.name.partition(" ")[0], "relative flux")
        return strip
