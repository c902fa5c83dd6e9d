"""When the light curve of a target is solved anew and when it is only extended, and what changed since when."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.columns import KeyColumns
from stream.analysis.growing import GrowingLightCurve
from stream.analysis.relative import RelativeLightCurve
from stream.errors import OpticamLiveError

_GROWTH_BEFORE_SOLVING = 50
"""A solution stands until the night has grown by one part in so many."""
_IDLE_S = 2.0
"""Once no frame has come for so long, all that there are take part in a last solution: that of the batch."""


class GrownCurve:
    """One target of one key with one photometer, as the columns of its key grow.

    Parameters
    ----------
    columns : KeyColumns
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(self, columns: KeyColumns, clock: Callable[[], float] = time.monotonic) -> None:
        self.columns = columns
        self.sentence = ""
        """Why there is no light curve."""
        self._clock = clock
        self._growing: GrowingLightCurve | None = None
        self._n_merges = -1
        self._changed_s = 0.0
        self._starts: list[int] = []

    @property
    def version(self) -> int:
        """Counts the changes."""
        return len(self._starts)

    def first_changed(self, since: int) -> int:
        """The first point that is another than at version `since`."""
        return 0 if since < 0 else min(self._starts[since:], default=len(self.columns))

    def curve(self) -> RelativeLightCurve | None:
        """Return the light curve; it holds until the next frame is added."""
        return None if self._growing is None else self._growing.curve()

    def update(self, target: int, comparisons: tuple[int, ...]) -> None:
        """Bring the light curve of this target up to date with the columns."""
        growing = self._growing
        if growing is None or (growing.target, growing.comparisons) != (target, comparisons):
            growing = self._growing = GrowingLightCurve(target, comparisons)
            self._solve(growing)
            return
        n_frames, now = len(self.columns), self._clock()
        if self.columns.n_merges != self._n_merges:
            first = self.columns.first_changed(self._n_merges)
            enough = n_frames >= growing.n_solved + max(1, growing.n_solved // _GROWTH_BEFORE_SOLVING)
            if enough or growing.curve() is None:
                self._solve(growing)
            else:
                self._n_merges = self.columns.n_merges
                growing.extend(self.columns.fluxes(), first)
                self._starts.append(first)
            self._changed_s = now
        elif n_frames != growing.n_solved and not self.sentence and now - self._changed_s >= _IDLE_S:
            self._solve(growing)

    def _solve(self, growing: GrowingLightCurve) -> None:
        self._n_merges, self._changed_s = self.columns.n_merges, self._clock()
        try:
            growing.solve(self.columns.fluxes())
            self.sentence = ""
        except OpticamLiveError as problem:
            self.sentence = str(problem)
        self._starts.append(0)
