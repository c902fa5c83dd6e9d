"""Where the sources of a night are judged for the table of the field: once for all viewers, while somebody looks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from server.night_model import NightModel
from server.star_table import StarFacts, star_facts
from stream.analysis.choice import KeyChoice

ATTENTION_S = 5.0
INTERVAL_S = 5.0
_GROWTH = 1.2
_REST = 30.0
"""A key is judged again after so many times what the last time took: the reduction needs the cores more."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JudgedStars:
    """Facts of all sources of a key, and the choice that they were found for."""

    choice: KeyChoice
    facts: tuple[StarFacts, ...]


@dataclass(slots=True)
class _Order:
    asked_s: float
    stars: JudgedStars | None = None
    made_of: KeyChoice | None = None
    n_frames: int = 0
    started_s: float = 0.0
    due_s: float = 0.0
    future: Future[tuple[StarFacts, ...]] | None = None


class StarDesk:
    """Keeps the facts of the sources that somebody looks at up to date.

    Parameters
    ----------
    executor : Executor
        Where they are computed.
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(self, executor: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._executor, self._clock = executor, clock
        self._orders: dict[str, _Order] = {}

    def stars(self, key: str) -> JudgedStars | None:
        """The newest facts of a key, None until there are any; safe on any thread."""
        order = self._orders.setdefault(key, _Order(self._clock()))
        order.asked_s = self._clock()
        return order.stars

    def renew(self, model: NightModel) -> None:
        """Take what is done and order what is due: another choice at once, a grown night now and then.

        On the thread that the model belongs to.
        """
        now = self._clock()
        for key, order in list(self._orders.items()):
            if order.future is not None and order.future.done():
                self._take(key, order)
                order.due_s = now + max(INTERVAL_S, _REST * (now - order.started_s))
            choice = model.choice(key)
            if choice is None or order.future is not None or now - order.asked_s > ATTENTION_S:
                continue
            n_frames = model.n_frames(key)
            if choice is not order.made_of or (n_frames > _GROWTH * order.n_frames and now >= order.due_s):
                order.made_of, order.n_frames, order.started_s = choice, n_frames, now
                order.future = self._executor.submit(star_facts, model.some_fluxes(key), choice)

    def _take(self, key: str, order: _Order) -> None:
        future, order.future = order.future, None
        if future is None or order.made_of is None or future.cancelled():
            return
        try:
            order.stars = JudgedStars(order.made_of, future.result())
        except Exception:  # noqa: BLE001 the numbers of a table must not stop the light curves
            _log.exception("the sources of %s could not be judged", key)
