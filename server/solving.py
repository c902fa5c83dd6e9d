"""Where what takes long is computed: on a thread beside the feed's, so that no viewer waits for another's spectrum."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")

MOST_AT_ONCE = 1_000
"""Frames of a key up to which what is not there yet is computed at once."""
RENEWAL = math.inf
"""The size of work whose older result will do for a while, however small it is."""


class Solver:
    """Does small work where it is asked for and the rest on one thread of its own, in order.

    Parameters
    ----------
    most_at_once : float
        The size of the largest work that is done at once.
    """

    def __init__(self, most_at_once: float = math.inf) -> None:
        self._most_at_once = most_at_once
        self._executor: ThreadPoolExecutor | None = None

    def order(
        self, size: float, work: Callable[_Given, _Found], *given: _Given.args, **named: _Given.kwargs
    ) -> Future[_Found]:
        """Have some work done that must not touch what others change; small work is done when this returns.

        Parameters
        ----------
        size : float
            Frames; `RENEWAL` where an older result is shown meanwhile, so that no point that comes waits for it.
        """
        if size > self._most_at_once:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="solver")
            return self._executor.submit(work, *given, **named)
        done: Future[_Found] = Future()
        try:
            done.set_result(work(*given, **named))
        except Exception as error:  # noqa: BLE001 it is raised where the result is taken
            done.set_exception(error)
        return done

    def stop(self) -> None:
        """Let go of the thread; what it is at is not waited for."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
