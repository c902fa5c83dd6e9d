"""What a viewer wants of the panels of timing: a stretch of light curves, and how it is transformed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from server.looks import Look
from stream.analysis.detrending import Detrending, Trend
from stream.analysis.periodogram import Normalisation
from stream.errors import ConfigurationError

KINDS = ("dynamic", "lags", "correlation", "fold", "transit")
AXES_OF_SPECTRA = ("log", "semilog", "linear")
_MOST_BINS = 500
_LONGEST_S = 86_400.0
_PERIOD = re.compile(r"\s*([0-9.eE+-]+)\s*(s|min|h|d|)\s*")
_SECONDS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_FIRST_JD = 2_400_000.5


@dataclass(frozen=True, slots=True)
class TimingChoices:
    """How light curves are transformed.

    Attributes
    ----------
    trend : str
        ``none``, ``airmass``, ``polynomial:2`` (degree) or ``median:600`` (seconds).
    normalisation : str
        One of `Normalisation`.
    reference : str
        Key whose peak is taken, behind which others are late, whose dynamic spectrum is seen; empty: the first.
    period, epoch : str
        As typed; see `period_s` and `epoch_mjd`. Empty: those of the highest peak.
    n_bins : int
        Of a fold.
    segment_s : float
        Length of the segments of cross spectra; 0: chosen from the light curves.
    window_s : float
        Length of the windows of the dynamic spectrum; 0: chosen from the light curve.
    sampling : bool
        Whether the window function is drawn with the spectra.
    axes : str
        Of the spectra: ``log``, ``semilog`` (linear frequency) or ``linear``.
    overlaid : bool
        Whether the spectra of all keys are drawn in one picture.
    model : bool
        Whether the transits that fit best are drawn on the light curves.

    Raises
    ------
    ConfigurationError
        If one of them is out of its range. What was typed is checked where it is used: the panel shows the sentence.
    """

    trend: str = Trend.NONE.value
    normalisation: str = Normalisation.FRACTIONAL.value
    reference: str = ""
    period: str = ""
    epoch: str = ""
    n_bins: int = 20
    segment_s: float = 0.0
    window_s: float = 0.0
    sampling: bool = False
    model: bool = False
    axes: str = "log"
    overlaid: bool = False

    def __post_init__(self) -> None:
        detrending_of(self.trend)
        if self.normalisation not in tuple(Normalisation):
            raise ConfigurationError(f"normalisation ({self.normalisation}) must be one of {', '.join(Normalisation)}")
        if self.axes not in AXES_OF_SPECTRA:
            raise ConfigurationError(f"axes ({self.axes}) must be one of {', '.join(AXES_OF_SPECTRA)}")
        if not 2 <= self.n_bins <= _MOST_BINS:
            raise ConfigurationError(f"bins of a fold ({self.n_bins}) must be 2 to {_MOST_BINS}")
        for name, length_s in (("segment", self.segment_s), ("window", self.window_s)):
            if not 0.0 <= length_s <= _LONGEST_S:
                raise ConfigurationError(f"{name} ({length_s:g} s) must be 0 to {_LONGEST_S:g} seconds")


@dataclass(frozen=True, slots=True)
class TimingLook:
    """One panel of one viewer; viewers who want the same share the work.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    look : Look
        Of it: photometer and stretch of time.
    choices : TimingChoices
    """

    kind: str
    look: Look = field(default_factory=Look)
    choices: TimingChoices = field(default_factory=TimingChoices)


def timing_look(kind: str, look: Look, choices: TimingChoices) -> TimingLook:
    """The look of a panel, without what makes no difference to it, so that nothing is computed twice."""
    used: dict[str, Any] = {}
    if kind == "transit":
        used = {}
    elif kind == "lags":
        used = {name: getattr(choices, name) for name in ("trend", "reference", "segment_s")}
    elif kind == "correlation":
        used = {name: getattr(choices, name) for name in ("trend", "reference")}
    elif kind == "fold":
        used = {name: getattr(choices, name) for name in ("trend", "reference", "period", "epoch", "n_bins")}
    else:
        used = {name: getattr(choices, name) for name in ("trend", "normalisation", "reference", "window_s")}
    return TimingLook(kind, Look(look.label, look.window_s, look.span_ms), TimingChoices(**used))


def detrending_of(text: str) -> Detrending:
    """Read a trend from its short text, as in an address.

    Raises
    ------
    ConfigurationError
        If it is none of those, or its number is out of range.
    """
    name, _, number = text.partition(":")
    if name not in tuple(Trend):
        raise ConfigurationError(f"detrending ({text!r}) must be none, airmass, polynomial:DEGREE or median:SECONDS")
    trend = Trend(name)
    try:
        if trend is Trend.POLYNOMIAL:
            return Detrending(trend, degree=int(number or "1"))
        if trend is Trend.MEDIAN:
            return Detrending(trend, window_s=float(number or "600"))
    except ValueError as error:
        raise ConfigurationError(f"detrending ({text!r}) must end with a number") from error
    return Detrending(trend)


def text_of(detrending: Detrending) -> str:
    """The short text of a trend, as `detrending_of` reads it."""
    if detrending.trend is Trend.POLYNOMIAL:
        return f"{detrending.trend}:{detrending.degree}"
    return f"{detrending.trend}:{detrending.window_s:g}" if detrending.trend is Trend.MEDIAN else str(detrending.trend)


def period_s(text: str) -> float:
    """Seconds of a typed period: a number, of seconds or with a unit (s, min, h, d).

    Raises
    ------
    ConfigurationError
        If it is none, or not greater than 0.
    """
    found = _PERIOD.fullmatch(text)
    try:
        seconds = float(found[1]) * _SECONDS[found[2]] if found else math.nan
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        raise ConfigurationError(f"period ({text.strip()!r}) must be a number greater than 0, with s, min, h or d")
    return seconds


def epoch_mjd(text: str) -> float:
    """Modified Julian date of a typed epoch: a Julian date, or what is left of it without 2400000.5.

    Raises
    ------
    ConfigurationError
        If it is no such number.
    """
    try:
        day = float(text)
    except ValueError:
        day = math.nan
    if not 0.0 <= day < 2.0 * _FIRST_JD:
        raise ConfigurationError(f"epoch ({text.strip()!r}) must be a Julian date (BJD, JD) or a modified one")
    return day - _FIRST_JD if day >= _FIRST_JD else day
