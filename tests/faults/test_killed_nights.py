"""The night process is killed at random moments, again and again, and started by the same command."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.faults.comparison import differences
from tests.faults.conftest import Report
from tests.faults.whole_night import SEED, SimulatedNight, Watch, put

pytestmark = pytest.mark.faults

_N_KILLS = 20
_AT_THE_START = 30
_LONGEST_START_S, _LONGEST_WORK_S = 2.0, 0.15


def kill_somewhere(watch: Watch, n_before: int, random: np.random.Generator) -> None:
    """Kill the night while it starts, or once it has measured something, a moment later."""
    if random.random() < 0.4:
        threading.Event().wait(random.uniform(0.05, _LONGEST_START_S))
    else:
        watch.wait(n_before + 1, 60.0)
        threading.Event().wait(random.uniform(0.0, _LONGEST_WORK_S))
    watch.kill()


def survive_kills(night: SimulatedNight, root: Path, n_kills: int) -> list[str]:
    """Kill a night so often, with frames coming all the time; return what differs in the end."""
    random = np.random.default_rng(SEED)
    watch = Watch(root / "frames", root / "out")
    put(night.frames[:_AT_THE_START], watch.folder)
    waiting = list(night.frames[_AT_THE_START:])
    share = max(len(waiting) // (n_kills + 1), 1)
    for _ in range(n_kills):
        n_before = watch.n_outcomes()
        watch.start()
        put(waiting[:share], watch.folder)
        del waiting[:share]
        kill_somewhere(watch, n_before, random)
    with watch:
        put(waiting, watch.folder)
        watch.wait(len(night.frames))
        assert watch.stop().status == 0
    return differences(watch.out, night.undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_night_that_is_killed_twenty_times_measures_every_frame_once(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    wrong = survive_kills(night, tmp_path, _N_KILLS)
    report(
        "kill -9 of the night at random moments",
        tmp_path / "out",
        n_faults=_N_KILLS,
        n_in=len(night.frames),
        wrong=wrong,
    )


def test_a_night_that_is_killed_three_times_measures_every_frame_once(night: SimulatedNight, tmp_path: Path) -> None:
    assert survive_kills(night, tmp_path, 3) == []
