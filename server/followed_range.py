"""Limits of an axis that follow what is drawn, until a viewer zooms; after a reset they follow again."""

from __future__ import annotations

import math

from bokeh.models import Range1d


class FollowedRange:
    """One axis of one document.

    Parameters
    ----------
    limits : Range1d
    tolerance : float
        Changes of up to this share of the length leave the axis alone: one that trembles cannot be read.
    is_log : bool
        Whether the length is one of logarithms.
    """

    def __init__(self, limits: Range1d, *, tolerance: float = 0.0, is_log: bool = False) -> None:
        self.limits = limits
        self._tolerance = tolerance
        self._is_log = is_log
        self._held: tuple[float, float] | None = None

    def show(self, wanted: tuple[float, float]) -> None:
        """Show these limits, unless the viewer has zoomed: then they are those of the next reset."""
        if self._held is not None and not self._is_change(self._held, wanted):
            return
        is_zoomed = self._held is not None and (self.limits.start, self.limits.end) != self._held
        self._held = wanted
        low, high = wanted
        if is_zoomed:
            self.limits.update(reset_start=low, reset_end=high)
        else:
            self.limits.update(start=low, end=high, reset_start=low, reset_end=high)

    def _is_change(self, held: tuple[float, float], wanted: tuple[float, float]) -> bool:
        if self._is_log:
            held, wanted = _logarithms(held), _logarithms(wanted)
        allowed = self._tolerance * abs(wanted[1] - wanted[0])
        return any(abs(new - old) > allowed for new, old in zip(wanted, held, strict=True))


def _logarithms(limits: tuple[float, float]) -> tuple[float, float]:
    return math.log10(limits[0]), math.log10(limits[1])
