"""What a viewer has chosen, as the address of the page says it: a link restores the view."""

from __future__ import annotations

import math
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from server.looks import Look
from server.timing_looks import KINDS, TimingChoices, detrending_of, text_of
from stream.analysis.choice import parse_source_name
from stream.analysis.periodogram import Normalisation
from stream.errors import ConfigurationError

TABS = ("spectra", *KINDS, "conditions", "focus", "photometers", "frame", "take away")
_LONGEST = 200
_TIMING_TEXTS = {
    "detrend": "trend",
    "unit": "normalisation",
    "reference": "reference",
    "period": "period",
    "epoch": "epoch",
    "axes": "axes",
}


@dataclass(frozen=True, slots=True)
class ViewState:
    """One viewer's choices.

    Attributes
    ----------
    look : Look
    tab : str
        One of `TABS`.
    key : str
        Of the field; empty for the first.
    x, y : str
        Columns of the conditions.
    timing : TimingChoices
        Of spectra, folds, lags and transits.
    focus : tuple of str
        Stars whose widths are looked at, as ``1:g#3``; none for target and comparison stars.
    """

    look: Look = field(default_factory=Look)
    tab: str = TABS[0]
    key: str = ""
    x: str = ""
    y: str = ""
    timing: TimingChoices = field(default_factory=TimingChoices)
    focus: tuple[str, ...] = ()

    def curve_look(self) -> Look:
        """What is wanted of the light curves: with power spectra where they are seen."""
        if self.tab != TABS[0]:
            return replace(self.look, spectra=False)
        timing = self.timing
        return replace(
            self.look,
            detrending=detrending_of(timing.trend),
            normalisation=Normalisation(timing.normalisation),
            sampling=timing.sampling,
        )

    def query(self) -> str:
        """Query of the address that restores this state; empty for that of a new page."""
        look, new = self.look, Look()
        fields: dict[str, str] = {}
        if look.span_ms is not None:
            fields |= {"from": f"{look.span_ms[0]:.0f}", "to": f"{look.span_ms[1]:.0f}"}
        elif not math.isinf(look.window_s):
            fields["window"] = f"{look.window_s:g}"
        fields |= {name: f"{width:g}" for name, width in (("bin", look.bin_s), ("mean", look.mean_s)) if width}
        fields |= {"check": "1"} if look.check else {}
        fields |= {"trend": text_of(look.trend)} if look.trend != new.trend else {}
        fields |= {"scale": look.scale} if look.scale != new.scale else {}
        fields |= {"photometer": look.label} if look.label else {}
        fields |= {"tab": self.tab} if self.tab != TABS[0] else {}
        fields |= {name: text for name, text in (("key", self.key), ("x", self.x), ("y", self.y)) if text}
        fields |= {"focus": ";".join(self.focus)} if self.focus else {}
        return urllib.parse.urlencode(fields | _timing_fields(self.timing))


def _timing_fields(timing: TimingChoices) -> dict[str, str]:
    new = TimingChoices()
    shown = {name: getattr(timing, attribute) for name, attribute in _TIMING_TEXTS.items()}
    fields = {name: text for name, text in shown.items() if text != getattr(new, _TIMING_TEXTS[name])}
    fields |= {"bins": str(timing.n_bins)} if timing.n_bins != new.n_bins else {}
    lengths = (("segment", timing.segment_s), ("slide", timing.window_s))
    fields |= {name: f"{length_s:g}" for name, length_s in lengths if length_s}
    toggles = (("sampling", timing.sampling), ("model", timing.model), ("overlay", timing.overlaid))
    return fields | {name: "1" for name, is_on in toggles if is_on}


def parse_state(arguments: Mapping[str, Sequence[bytes]]) -> tuple[ViewState, tuple[str, ...]]:
    """Read the arguments of a request; what makes no sense is left out, with a sentence each.

    Parameters
    ----------
    arguments : mapping of str to sequence of bytes
        As the server has them; the last of several counts.
    """
    texts = {name: values[-1].decode("utf-8", "replace")[:_LONGEST] for name, values in arguments.items() if values}
    state, sentences = ViewState(), []
    for names, change in _CHANGES:
        given = [texts[name] for name in names if name in texts]
        if len(given) < len(names):
            continue
        try:
            state = change(state, *given)
        except ConfigurationError as problem:
            sentences.append(f"the address asks for what there is not: {problem}")
    return state, tuple(sentences)


def finite_number(name: str, text: str) -> float:
    """A number that stands in an address.

    Raises
    ------
    ConfigurationError
        If it is none, or not finite; the sentence names the argument and the text.
    """
    try:
        value = float(text)
    except ValueError as error:
        raise ConfigurationError(f"{name} ({text!r}) must be a number") from error
    if not math.isfinite(value):
        raise ConfigurationError(f"{name} ({text!r}) must be a finite number")
    return value


def _with_look(state: ViewState, **changes: Any) -> ViewState:
    return replace(state, look=replace(state.look, **changes))


def _with_timing(state: ViewState, **changes: Any) -> ViewState:
    return replace(state, timing=replace(state.timing, **changes))


def _with_focus(state: ViewState, text: str) -> ViewState:
    names = tuple(filter(None, text.split(";")))
    for name in names:
        found = parse_source_name(name)
        if found.key is None or found.number is None:
            raise ConfigurationError(f"focus ({name!r}) must be key and number of a star, as 1:g#2")
    return replace(state, focus=names)


def _with_bins(state: ViewState, text: str) -> ViewState:
    number = finite_number("bins", text)
    if number != int(number):
        raise ConfigurationError(f"bins ({text!r}) must be a whole number")
    return _with_timing(state, n_bins=int(number))


def _with_span(state: ViewState, low: str, high: str) -> ViewState:
    return _with_look(state, span_ms=(finite_number("from", low), finite_number("to", high)))


def _with_tab(state: ViewState, text: str) -> ViewState:
    if text not in TABS:
        raise ConfigurationError(f"tab ({text!r}) must be one of {', '.join(TABS)}")
    return replace(state, tab=text)


_CHANGES: tuple[tuple[tuple[str, ...], Callable[..., ViewState]], ...] = (
    (("window",), lambda state, text: _with_look(state, window_s=finite_number("window", text))),
    (("from", "to"), _with_span),
    (("bin",), lambda state, text: _with_look(state, bin_s=finite_number("bin", text))),
    (("mean",), lambda state, text: _with_look(state, mean_s=finite_number("mean", text))),
    (("check",), lambda state, text: _with_look(state, check=text == "1")),
    (("trend",), lambda state, text: _with_look(state, trend=detrending_of(text))),
    (("scale",), lambda state, text: _with_look(state, scale=text)),
    (("photometer",), lambda state, text: _with_look(state, label=text)),
    (("tab",), _with_tab),
    (("key",), lambda state, text: replace(state, key=text)),
    (("x",), lambda state, text: replace(state, x=text)),
    (("y",), lambda state, text: replace(state, y=text)),
    (("focus",), _with_focus),
    (("detrend",), lambda state, text: _with_timing(state, trend=text)),
    (("unit",), lambda state, text: _with_timing(state, normalisation=text)),
    (("reference",), lambda state, text: _with_timing(state, reference=text)),
    (("period",), lambda state, text: _with_timing(state, period=text)),
    (("epoch",), lambda state, text: _with_timing(state, epoch=text)),
    (("bins",), _with_bins),
    (("segment",), lambda state, text: _with_timing(state, segment_s=finite_number("segment", text))),
    (("slide",), lambda state, text: _with_timing(state, window_s=finite_number("slide", text))),
    (("axes",), lambda state, text: _with_timing(state, axes=text)),
    (("overlay",), lambda state, text: _with_timing(state, overlaid=text == "1")),
    (("sampling",), lambda state, text: _with_timing(state, sampling=text == "1")),
    (("model",), lambda state, text: _with_timing(state, model=text == "1")),
)
