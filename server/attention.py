"""What somebody looks at: it is kept up to date, and let go some seconds after the last question."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

ATTENTION_S = 5.0

_Look = TypeVar("_Look", bound=Hashable)


class Attention(Generic[_Look]):
    """Looks that somebody asked for lately; `ask` is safe on any thread.

    Parameters
    ----------
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked_s: dict[_Look, float] = {}

    def ask(self, look: _Look) -> None:
        """Somebody looks."""
        self._asked_s[look] = self._clock()

    def __bool__(self) -> bool:
        """Whether anybody has looked lately."""
        oldest = self._clock() - ATTENTION_S
        return any(asked_s >= oldest for asked_s in list(self._asked_s.values()))

    def current(self) -> list[_Look]:
        """The looks of now; the others are forgotten."""
        oldest, looks = self._clock() - ATTENTION_S, list[_Look]()
        for look, asked_s in list(self._asked_s.items()):
            if asked_s >= oldest:
                looks.append(look)
            else:
                self._asked_s.pop(look, None)
        return looks
