"""Where timing is computed: on a thread of its own, for those who look at it, no more often than is worth it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from server.correlation_views import correlation_view
from server.dynamic_views import dynamic_view
from server.fold_views import fold_view
from server.lag_views import lag_view
from server.timing_looks import TimingLook
from server.timing_views import KeyStretch, TimingView
from server.transit_views import transit_view
from stream.errors import OpticamLiveError

ATTENTION_S = 5.0
INTERVAL_S = 2.0
REST = 10.0
"""A view is made again after so many times what the last one took, if that is longer."""

Version = tuple[object, ...]
_MAKERS = {
    "dynamic": dynamic_view,
    "lags": lag_view,
    "correlation": correlation_view,
    "fold": fold_view,
    "transit": transit_view,
}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Order:
    """One look: what there is of it, what it was made of, and when it may be made again."""

    asked_s: float
    view: TimingView | None = None
    made_of: Version | None = None
    due_s: float = 0.0
    future: Future[TimingView] | None = None
    started_s: float = 0.0


class TimingDesk:
    """Keeps the views that somebody looks at up to date; one is made at a time.

    Parameters
    ----------
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._orders: dict[TimingLook, _Order] = {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="timing")

    def view(self, look: TimingLook) -> TimingView | None:
        """The newest view of a look, None until there is one; safe on any thread."""
        now = self._clock()
        order = self._orders.setdefault(look, _Order(now))
        order.asked_s = now
        return order.view

    def renew(
        self, version_of: Callable[[TimingLook], Version], stretches_of: Callable[[TimingLook], Sequence[KeyStretch]]
    ) -> None:
        """Take what is done, order what is due, forget what nobody looks at; on the thread of the light curves.

        Parameters
        ----------
        version_of : callable
            Changes with the light curves that a look is made of.
        stretches_of : callable
            Light curves of a look, with arrays that nobody else changes.
        """
        now = self._clock()
        for look, order in list(self._orders.items()):
            if order.future is not None and order.future.done():
                order.view, order.future = order.future.result(), None
                order.due_s = now + max(INTERVAL_S, REST * (now - order.started_s))
            if now - order.asked_s > ATTENTION_S:
                if order.future is None or order.future.cancel():
                    del self._orders[look]
                continue
            if order.future is not None or now < order.due_s:
                continue
            version = version_of(look)
            if version != order.made_of:
                order.made_of, order.started_s = version, now
                previous = None if order.view is None else order.view.kept
                order.future = self._executor.submit(made_view, look, stretches_of(look), previous)

    def stop(self) -> None:
        """Let go of the thread; what it is at is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def made_view(look: TimingLook, stretches: Sequence[KeyStretch], previous: object = None) -> TimingView:
    """Make a view; what cannot be made is one with a sentence."""
    try:
        return _MAKERS[look.kind](stretches, look.choices, previous)
    except OpticamLiveError as problem:
        return TimingView(sentence=str(problem))
    except Exception:  # noqa: BLE001 a panel that stays empty without a word is worse than any error
        _log.exception("the panel of %s could not be made", look.kind)
        return TimingView(sentence=f"{look.kind} could not be computed: see log/serve.log of the night")
