"""What one viewer wants to see of the light curves; viewers who want the same share the work."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from stream.analysis.detrending import Detrending
from stream.analysis.periodogram import Normalisation
from stream.errors import ConfigurationError

Scale = Literal["night", "shown", "magnitude"]
SCALES: dict[Scale, str] = {
    "night": "relative flux",
    "shown": "flux over its median here",
    "magnitude": "magnitude difference",
}
SHORTEST_S, LONGEST_S = 1e-3, 86_400.0


@dataclass(frozen=True, slots=True)
class Look:
    """A stretch of the night, a photometer, and how points are drawn.

    Attributes
    ----------
    label : str
        Photometer; empty for the one that the recipe puts first.
    window_s : float
        The last so many seconds; infinite for the whole night.
    span_ms : tuple of float or None
        Another stretch, milliseconds since 1970 UTC; goes before `window_s`.
    bin_s : float
        Width of bins that points are averaged in; 0 draws each point.
    mean_s : float
        Width of the rolling mean; 0 for none.
    check : bool
        Whether the first comparison star is drawn over the others.
    trend : Detrending
        What the light curve as drawn is divided by.
    scale : {'night', 'shown', 'magnitude'}
        Flux over its median of the night, over its median of the stretch, or the difference in magnitudes.
    spectra : bool
        Whether power spectra are wanted.
    detrending : Detrending
        Of the power spectra.
    normalisation : Normalisation
        Of the power spectra.
    sampling : bool
        Whether the window function is wanted with them.

    Raises
    ------
    ConfigurationError
        If a number is out of its range.
    """

    label: str = ""
    window_s: float = math.inf
    span_ms: tuple[float, float] | None = None
    bin_s: float = 0.0
    mean_s: float = 0.0
    check: bool = False
    trend: Detrending = field(default_factory=Detrending)
    scale: Scale = "night"
    spectra: bool = True
    detrending: Detrending = field(default_factory=Detrending)
    normalisation: Normalisation = Normalisation.FRACTIONAL
    sampling: bool = False

    def __post_init__(self) -> None:
        """Refuse stretches of nothing, and widths that no night has."""
        if not self.window_s > 0.0:
            raise ConfigurationError(f"window ({self.window_s:g} s) must be greater than 0")
        if self.span_ms is not None and not -math.inf < self.span_ms[0] < self.span_ms[1] < math.inf:
            raise ConfigurationError(f"from ({self.span_ms[0]:g}) must be before to ({self.span_ms[1]:g})")
        for name, width_s in (("bin", self.bin_s), ("mean", self.mean_s)):
            if width_s != 0.0 and not SHORTEST_S <= width_s <= LONGEST_S:
                raise ConfigurationError(f"{name} ({width_s:g} s) must be 0 or {SHORTEST_S:g} to {LONGEST_S:g} seconds")
        if self.scale not in get_args(Scale):
            raise ConfigurationError(f"scale ({self.scale}) must be one of {', '.join(SCALES)}")
