"""What is usual for a number that is measured on every frame: running medians at a cost that does not grow."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

_SMOOTHED_FRAMES = 5
_BLOCK_FRAMES = 5
_BLOCK_S = 30.0
_MOST_BLOCK_FRAMES = 300
_MOST_BLOCKS = 80


@dataclass(slots=True)
class UsualLevel:
    """Median of the last five values, and the level of the blocks of half a minute before.

    Parameters
    ----------
    window_s : float
        How far back the usual level looks, seconds; at least three blocks.
    quantile : float
        0.5 for a median; more where what disturbs makes the number smaller.
    """

    window_s: float
    quantile: float = 0.5
    usual: float = math.nan
    """NaN until the first block is complete."""
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=_SMOOTHED_FRAMES))
    _block: list[float] = field(default_factory=list)
    _first_s: float = math.inf
    _last_s: float = -math.inf
    _blocks: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_MOST_BLOCKS))

    def smooth(self, value: float) -> float:
        """Take a finite value and return the median of the last five; NaN before there are three."""
        last = self._last
        last.append(value)
        n = len(last)
        return sorted(last)[n // 2] if n >= 3 else math.nan

    def learn(self, value: float, time_s: float) -> None:
        """Let the usual level follow a value."""
        self._block.append(value)
        if time_s < self._first_s:
            self._first_s = time_s
        if time_s > self._last_s:
            self._last_s = time_s
        n, last = len(self._block), self._last_s
        if n >= _BLOCK_FRAMES and (last - self._first_s >= _BLOCK_S or n >= _MOST_BLOCK_FRAMES):
            self._blocks.append((last, _quantile(self._block, 0.5)))
            self._begin_block()
            while len(self._blocks) > 3 and self._blocks[0][0] < last - self.window_s:
                self._blocks.popleft()
            self.usual = _quantile([level for _time, level in self._blocks], self.quantile)

    def begin_again(self, level: float) -> None:
        """Forget what was usual: this is it from now on."""
        self._begin_block()
        self._blocks.clear()
        self.usual = level

    def _begin_block(self) -> None:
        self._block.clear()
        self._first_s, self._last_s = math.inf, -math.inf


def _quantile(values: list[float], quantile: float) -> float:
    """A value of the list itself: the upper one of two in the middle."""
    ordered = sorted(values)
    return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]
