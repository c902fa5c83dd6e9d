"""The widgets above the panels of timing: each panel has those that make a difference to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from bokeh.layouts import row
from bokeh.models import Row, Select, TextInput, Toggle

from server import theme
from server.dynamic_views import LENGTHS_S
from server.timing_looks import TimingChoices

TRENDS = {
    "none": "not detrended",
    "airmass": "airmass",
    "polynomial:1": "straight line",
    "polynomial:2": "polynomial, degree 2",
    "polynomial:3": "polynomial, degree 3",
    "median:60": "running median, 1 min",
    "median:300": "running median, 5 min",
    "median:600": "running median, 10 min",
    "median:1800": "running median, 30 min",
}
AXES_NAMES = {"log": "log axes", "semilog": "linear frequency", "linear": "linear axes"}
UNITS = {"fractional": "(rms/mean)²/Hz", "absolute": "rms²/Hz", "leahy": "Leahy"}
_BINS = {str(n_bins): f"{n_bins} bins" for n_bins in (10, 20, 30, 50, 100)}
_SEGMENTS = {"0": "segments: automatic"} | {f"{length_s:g}": f"segments of {length_s:g} s" for length_s in LENGTHS_S}
_WINDOWS = {"0": "windows: automatic"} | {f"{length_s:g}": f"windows of {length_s:g} s" for length_s in LENGTHS_S}

_SELECTS: Mapping[str, tuple[Mapping[str, str], int]] = {
    "trend": (TRENDS, 140),
    "normalisation": (UNITS, 110),
    "axes": (AXES_NAMES, 112),
    "reference": ({"": "first key"}, 64),
    "n_bins": (_BINS, 80),
    "segment_s": (_SEGMENTS, 146),
    "window_s": (_WINDOWS, 146),
}
_TEXTS = {"period": ("period / s, or 2.1 h", 128), "epoch": ("epoch, BJD or MJD", 142)}
_TOGGLES = {"model": "draw on the light curves", "sampling": "window", "overlaid": "overlaid"}
_READ: Mapping[str, Callable[[str], Any]] = {"n_bins": int, "segment_s": float, "window_s": float}


class TimingControls:
    """Widgets of one panel.

    Parameters
    ----------
    panel : str
        For the names of the widgets.
    fields : collection of str
        Attributes of `TimingChoices`.
    chosen : callable
        Called with the choices that the viewer made.
    """

    def __init__(self, panel: str, fields: Collection[str], chosen: Callable[[TimingChoices], None]) -> None:
        self._chosen = chosen
        self._choices = TimingChoices()
        self._is_showing = False
        style = [theme.WIDGET_STYLE]
        self._widgets: dict[str, Any] = {}
        for name in fields:
            if name in _SELECTS:
                options, width = _SELECTS[name]
                words = name.removesuffix("_s").replace("_", " ")
                widget: Any = Select(title=words, options=list(options.items()), width=width, stylesheets=style)
                widget.on_change("value", self._listener(name, _READ.get(name, str)))
            elif name in _TEXTS:
                words, width = _TEXTS[name]
                widget = TextInput(placeholder=words, width=width, stylesheets=style)
                widget.on_change("value", self._listener(name, str))
            else:
                widget = Toggle(label=_TOGGLES[name], stylesheets=style)
                widget.on_change("active", self._listener(name, bool))
            widget.update(name=f"{panel}_{name}", margin=(2, 3, 2, 3))
            self._widgets[name] = widget
        self.root: Row = row(
            *self._widgets.values(), styles={"flex-wrap": "wrap"}, sizing_mode="stretch_width", spacing=0
        )

    def show(self, choices: TimingChoices, keys: Collection[str]) -> None:
        """Bring the widgets to the choices; what is not on offer is added to what there is."""
        self._is_showing = True
        try:
            for name, widget in self._widgets.items():
                value = getattr(choices, name)
                if isinstance(widget, Toggle):
                    _set(widget, "active", value)
                    continue
                text = f"{value:g}" if isinstance(value, int | float) else value
                if isinstance(widget, Select):
                    _set(widget, "options", self._options(name, text, keys))
                _set(widget, "value", text)
        finally:
            self._is_showing = False
        self._choices = choices

    def _options(self, name: str, text: str, keys: Collection[str]) -> list[tuple[str, str]]:
        options = dict(_SELECTS[name][0])
        if name == "reference":
            # The first key is what an empty choice means.
            options = {("" if number == 0 else key): key for number, key in enumerate(keys)} or options
        return list(({text: text} if text not in options else {}).items()) + list(options.items())

    def _listener(self, name: str, read: Callable[[Any], Any]) -> Callable[[str, object, Any], None]:
        def changed(_attribute: str, _old: object, new: Any) -> None:
            if not self._is_showing:
                self._choices = replace(self._choices, **{name: read(new)})
                self._chosen(self._choices)

        return changed


def _set(widget: Any, attribute: str, value: Any) -> None:
    if getattr(widget, attribute) != value:
        setattr(widget, attribute, value)
