"""When the pages of a server are brought up to date: at once where few look, less often where many do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

PAGES_INTERVAL_S = 0.01
"""How often it is looked for pages whose turn it is; that alone costs next to nothing."""
SHORTEST_S = 0.08
"""A little less than a tenth of a second, so that an update that came late does not put off all that follow it."""
LONGEST_S = 2.0
_REST = 3.0
"""All pages together use no more than about one part in so many of a core to find out what is new; telling the browsers
of it takes about as long again."""
_MEMORY = 0.9


class Paced(Protocol):
    """A page that has its turns."""

    def is_due(self, now_s: float) -> bool:
        """Whether it is its turn, by `time.perf_counter`."""


class Pace:
    """The turns of the pages of a server; the time between two of one page goes by their cost and their number.

    Parameters
    ----------
    clock : callable
        Core time, seconds: what other programs make an update wait is no reason to rest.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._calls: dict[Paced, Callable[[], None]] = {}
        self._called: set[Paced] = set()
        self._cost_s = 0.0

    @property
    def interval_s(self) -> float:
        """Time from the beginning of an update of a page to its next."""
        return min(max(SHORTEST_S, _REST * self._cost_s * len(self._calls)), LONGEST_S)

    def join(self, page: Paced, call: Callable[[], None]) -> None:
        """One page more; `call` is called when its turn comes, and has it `update`."""
        self._calls[page] = call

    def leave(self, page: Paced) -> None:
        """One page less."""
        self._calls.pop(page, None)
        self._called.discard(page)

    def look(self) -> None:
        """Call every page whose turn it is, once."""
        now_s = time.perf_counter()
        for page, call in list(self._calls.items()):
            if page not in self._called and page.is_due(now_s):
                self._called.add(page)
                call()

    def update(self, page: Paced, work: Callable[[], None]) -> None:
        """Carry the update of a page out and remember what it cost."""
        self._called.discard(page)
        started = self._clock()
        work()
        self._cost_s = _MEMORY * self._cost_s + (1.0 - _MEMORY) * (self._clock() - started)
