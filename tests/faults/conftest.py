"""The night that all fault injections share, reduced once without any fault."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.comparison import n_closed
from tests.faults.figures import FaultFigures, save
from tests.faults.whole_night import SimulatedNight, reduce_undisturbed, simulate

N_IMAGES = 80

Report = Callable[..., None]


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> SimulatedNight:
    """80 frames of each of three keys, and what they give undisturbed."""
    root = tmp_path_factory.mktemp("night")
    return reduce_undisturbed(simulate(root / "simulated", N_IMAGES), root)


@pytest.fixture
def report() -> Report:
    """Keeps the figures of a test: ``report(what, out, n_faults=.., n_in=.., wrong=[..])``; fails where some differ."""
    started = time.monotonic()

    def keep(what: str, out: Path, *, n_faults: int, n_in: int, wrong: list[str], remark: str = "") -> None:
        seconds = time.monotonic() - started
        n_different = len({sentence.partition(":")[0] for sentence in wrong})
        day, (load, *_) = time.strftime("%Y-%m-%d"), os.getloadavg()
        save(FaultFigures(what, n_faults, n_in, n_closed(out), n_different, seconds, remark, day, load))
        assert not wrong, "\n".join(wrong[:20])

    return keep


def names(frames: tuple[Path, ...]) -> list[str]:
    """Paths of frames relative to their folder."""
    return [path.name for path in frames]
