"""When the light curve of a target is solved anew and when it is only extended, and what changed since when."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from server.columns import KeyColumns
from server.solving import RENEWAL, Solver
from stream.analysis.growing import GrowingLightCurve
from stream.analysis.relative import RelativeLightCurve
from stream.errors import OpticamLiveError
from stream.messages import SourceFluxes

_GROWTH_BEFORE_SOLVING = 50
"""A solution stands until the night has grown by one part in so many."""
_SHORTEST_S = 3.0
"""Time between two solutions of a choice: a young night grows by that part with every frame."""
_IDLE_S = 2.0
"""Once no frame has come for so long, all that there are take part in a last solution: that of the batch."""
_COMPUTED = "the light curve of this choice is being computed"

Stars = tuple[int, tuple[int, ...]]
"""Target and comparison stars."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A solution that is being computed."""

    stars: Stars
    n_merges: int
    future: Future[tuple[GrowingLightCurve, str]]


class GrownCurve:
    """One target of one key with one photometer, as the columns of its key grow.

    A solution of a long night is computed by the solver; until it is there, the last one is extended.

    Parameters
    ----------
    columns : KeyColumns
    clock : callable
        Monotonic time, seconds.
    solver : Solver
    """

    def __init__(
        self, columns: KeyColumns, clock: Callable[[], float] = time.monotonic, *, solver: Solver | None = None
    ) -> None:
        self.columns = columns
        self._clock = clock
        self._solver = solver or Solver()
        self._stars: Stars | None = None
        self._growing: GrowingLightCurve | None = None
        self._order: _Order | None = None
        self._problem = ""
        self._n_merges = self._n_solved_merges = -1
        self._changed_s = 0.0
        self._solved_s = -math.inf
        self._starts: list[int] = []

    @property
    def sentence(self) -> str:
        """Why there is no light curve, or not yet that of the present choice."""
        growing = self._growing
        is_other = growing is None or (growing.target, growing.comparisons) != self._stars
        return _COMPUTED if self._order is not None and is_other else self._problem

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
        if (target, comparisons) != self._stars:
            self._stars = (target, comparisons)
            self._forget_order()
            self._solve(len(self.columns))
        self._take_solution()
        self._extend()
        if self._order is None and self._is_due():
            is_there = self._growing is not None and self._growing.n_solved > 0
            self._solve(RENEWAL if is_there else len(self.columns))
            self._take_solution()

    def _extend(self) -> None:
        growing = self._growing
        if growing is None or self.columns.n_merges == self._n_merges:
            return
        self._changed_s = self._clock()
        if growing.curve() is None:
            return
        first = self.columns.first_changed(self._n_merges)
        self._n_merges = self.columns.n_merges
        growing.extend(self.columns.fluxes(), first)
        self._starts.append(first)

    def _is_due(self) -> bool:
        growing, n_frames = self._growing, len(self.columns)
        if growing is None or growing.curve() is None:
            return self.columns.n_merges != self._n_merges
        if n_frames >= growing.n_solved + max(1, growing.n_solved // _GROWTH_BEFORE_SOLVING):
            return growing.n_solved == 0 or self._clock() - self._solved_s >= _SHORTEST_S
        is_solved = self.columns.n_merges == self._n_solved_merges
        return not is_solved and not self._problem and self._clock() - self._changed_s >= _IDLE_S

    def _solve(self, size: float) -> None:
        stars = self._stars
        if stars is None:
            return
        self._solved_s = self._clock()
        future = self._solver.order(size, _solved, stars, self.columns.kept_fluxes())
        self._order = _Order(stars, self.columns.n_merges, future)

    def _take_solution(self) -> None:
        order = self._order
        if order is None or not order.future.done():
            return
        self._order = None
        self._growing, self._problem = order.future.result()
        self._n_merges = self._n_solved_merges = order.n_merges
        self._changed_s = self._clock()
        self._starts.append(0)

    def _forget_order(self) -> None:
        if self._order is not None:
            self._order.future.cancel()
            self._order = None


def _solved(stars: Stars, fluxes: SourceFluxes) -> tuple[GrowingLightCurve, str]:
    """A light curve with scales and weights from all frames, or without and why."""
    growing = GrowingLightCurve(*stars)
    try:
        growing.solve(fluxes)
    except OpticamLiveError as problem:
        return growing, str(problem)
    return growing, ""
