"""How often the pages of a server are brought up to date: at once where few look, less often where many do."""

from __future__ import annotations

import time
from collections.abc import Callable

SHORTEST_S = 0.1
"""A point is drawn some hundredths of a second after its frame was measured; more often is seen by nobody."""
LONGEST_S = 2.0
_REST = 3.0
"""All pages together use no more than about one part in so many of a core to find out what is new; telling the browsers
of it takes about as long again."""
_MEMORY = 0.9


class Pace:
    """The time between two updates of one page, by what they cost and by how many pages there are.

    Parameters
    ----------
    clock : callable
        Core time, seconds: what other programs make an update wait is no reason to rest.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._n_pages = 0
        self._cost_s = 0.0

    @property
    def interval_s(self) -> float:
        """Time from the end of an update of a page to its next."""
        return min(max(SHORTEST_S, _REST * self._cost_s * self._n_pages), LONGEST_S)

    def open_page(self) -> None:
        """One page more."""
        self._n_pages += 1

    def close_page(self) -> None:
        """One page less."""
        self._n_pages = max(0, self._n_pages - 1)

    def timed(self, update: Callable[[], None]) -> None:
        """Carry an update out and remember what it cost."""
        started = self._clock()
        update()
        self._cost_s = _MEMORY * self._cost_s + (1.0 - _MEMORY) * (self._clock() - started)
