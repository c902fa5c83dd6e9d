"""How long work takes: of the processor, and by the clock on the wall."""

from __future__ import annotations

import time
from collections.abc import Callable


def core_seconds(work: Callable[[], object]) -> float:
    """Core time that a call takes, all threads of the process together."""
    started = time.process_time()
    work()
    return time.process_time() - started


def least_seconds(work: Callable[[], object], passes: int) -> float:
    """Least wall time of several calls."""
    times = []
    for _ in range(passes):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
