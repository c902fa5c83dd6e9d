"""From a closed file to a drawn point, seen by the browser, at 3 keys x 10 Hz with two other viewers on the page."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.page_load import BUDGET_S, measure_page_load
from tests.browser.chromium import chromium

pytestmark = pytest.mark.clock

N_VIEWERS, SECONDS = 2, 10.0
_SPIN_S = 0.004


class Stretch:
    """How many times as long as alone some milliseconds of work take on this machine while the block lasts.

    A frame passes through five processes, each of which waits for its turn: where a turn comes three times as late, so
    does the point.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._found: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Stretch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def factor(self) -> float:
        """At least 1; exceeded in one case of a hundred, as the latency that it is for."""
        return max(1.0, float(np.percentile(self._found, 99)))

    def _run(self) -> None:
        while not self._stopping.wait(0.05):
            wall_s, core_s = time.perf_counter(), time.thread_time()
            while time.thread_time() - core_s < _SPIN_S:
                sum(range(200))
            self._found.append((time.perf_counter() - wall_s) / _SPIN_S)


def test_points_are_drawn_within_the_budget_and_none_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with chromium():
        pass  # skipped, or failed, where there is none
    with Stretch() as stretch:
        found = measure_page_load(tmp_path, n_viewers=N_VIEWERS, seconds=SECONDS)
    p99_s = float(np.quantile(found.drawn_s, 0.99))
    with capsys.disabled():
        sys.stdout.write(f"\n{found.sentence()}; work took {stretch.factor:.1f} times as long as alone\n")
    assert found.n_measured == found.n_written == len(found.drawn_s)
    assert found.rate > 29.0 or stretch.factor > 2.0
    assert p99_s < BUDGET_S * stretch.factor
