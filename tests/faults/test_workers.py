"""Workers are killed in mid-frame, one or all of them; frames that kill their worker are rejected, and no others."""

from __future__ import annotations

import resource
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream.config import PhotometerSettings, Recipe
from stream.errors import Reason
from stream.instruments import OPTICAM_MX
from stream.messages import FrameMeasured, FrameRejected
from tests.faults.comparison import differences, outcomes_of
from tests.faults.conftest import Report, names
from tests.faults.whole_night import SEED, SimulatedNight, Watch, kill_all, put
from tests.night.waiting import wait_until

pytestmark = pytest.mark.faults

_ROUNDS = 12
_LONGEST_S = 0.06
POISON = '''
"""A photometer that fails like C libraries do: over two frames its process dies, over a third there is no memory."""

import ctypes
import os
import signal

import numpy as np

VICTIMS = {victims!r}


class Poison:
    def measure(self, stamps):
        how = VICTIMS.get((stamps.facts.key, stamps.facts.time_mjd_utc))
        if how == "segfault":
            ctypes.string_at(0)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out
        if how == "greedy":
            np.ones((1 << 20, 1 << 20))
        n_sources = len(stamps.xy)
        return np.ones(n_sources), np.ones(n_sources)
'''


def kill_workers(night: SimulatedNight, root: Path, n_rounds: int) -> tuple[list[str], int]:
    """Kill one worker and all of them in turn, while they measure; return what differs, and the number of kills."""
    random = np.random.default_rng(SEED)
    share = len(night.frames) // n_rounds
    n_killed = n_put = 0
    with Watch(root / "frames", root / "out", night.catalogs) as watch:
        for number in range(n_rounds):
            frames = night.frames[n_put : n_put + share] if number < n_rounds - 1 else night.frames[n_put:]
            wait_until(lambda: len(watch.workers()) == 2, 30.0, "the start of two workers")
            put(frames, watch.folder)
            threading.Event().wait(random.uniform(0.0, _LONGEST_S))
            pids = watch.workers()
            n_killed += kill_all(pids if number % 2 else pids[:1])
            n_put += len(frames)
            # Frames that a killed worker held are tried alone: only the next kill over one of them would be its end.
            watch.wait(n_put)
        assert watch.stop().status == 0
    return differences(watch.out, night.undisturbed), n_killed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_that_are_killed_again_and_again_lose_no_frame(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    wrong, n_killed = kill_workers(night, tmp_path, _ROUNDS)
    assert n_killed >= _ROUNDS
    report("kill -9 of workers", tmp_path / "out", n_faults=n_killed, n_in=len(night.frames), wrong=wrong)


@pytest.mark.slow
def test_all_workers_killed_at_once_lose_no_frame(night: SimulatedNight, tmp_path: Path) -> None:
    wrong, n_killed = kill_workers(night, tmp_path, 2)
    assert (wrong, n_killed) == ([], 3)


def write_poison(night: SimulatedNight, folder: Path) -> tuple[list[str], Path]:
    """Write the photometer and the recipe that asks for it; return the names of its three victims, and the recipe."""
    victims = [night.frames[index].name for index in (40, 80, 120)]
    outcomes = outcomes_of(night.undisturbed)
    times: dict[tuple[str, float], str] = {}
    for name, how in zip(victims, ("segfault", "killed", "greedy"), strict=True):
        outcome = outcomes[name]
        assert isinstance(outcome, FrameMeasured)
        times[outcome.key, outcome.time_mjd_utc] = how
    (folder / "poison.py").write_text(POISON.format(victims=times))
    usual = Recipe(instrument=OPTICAM_MX())
    photometers = (*usual.photometers, PhotometerSettings(kind="poison:Poison"))
    recipe = folder / "recipe.toml"
    recipe.write_text(msgspec.structs.replace(usual, photometers=photometers).to_toml())
    return victims, recipe


def test_a_frame_that_crashes_its_worker_is_rejected_after_the_second_time(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    frames = night.frames[:150]
    victims, recipe = write_poison(night, tmp_path)
    watch = Watch(
        tmp_path / "frames",
        tmp_path / "out",
        night.catalogs,
        ("--recipe", str(recipe)),
        environment={"PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parents[2]}"},
    )
    put(frames, watch.folder)
    with watch:
        watch.wait(len(frames))
        assert watch.stop().status == 0
        log = watch.log()
    with watch:  # the same command goes on, and does not try them again
        wait_until(lambda: len(watch.workers()) == 2, 30.0, "the start of two workers")
        assert watch.stop().status == 0
    found = outcomes_of(watch.out)
    crashed, killed, greedy = (found[name] for name in victims)
    for outcome, name in ((crashed, victims[0]), (killed, victims[1])):
        assert isinstance(outcome, FrameRejected)
        assert (outcome.reason, outcome.sentence) == (
            Reason.CRASHED_WORKER,
            f"{name}: 2 workers died over this frame",
        )
    assert isinstance(greedy, FrameRejected)
    assert greedy.reason is Reason.OWN_PART_FAILED
    assert (log.count("ended with status -11"), log.count("ended with status -9")) == (2, 2)
    assert watch.log()[len(log) :].count("ended with status") == 0
    wrong = differences(watch.out, night.undisturbed, names(frames), rejected=victims)
    report("frames that crash their worker", watch.out, n_faults=3, n_in=len(frames), wrong=wrong)


def write_huge(frame: Path, path: Path) -> None:
    """Write a frame of 40,000 x 40,000 pixels: 3.2 GB, all of them zero, that take no place on the disk."""
    content = frame.read_bytes()
    header = content[: content.index(b"END".ljust(80)) // 2880 * 2880 + 2880]
    for axis in ("NAXIS1", "NAXIS2"):
        start = header.index(axis.ljust(8).encode() + b"=")
        header = header[:start] + f"{axis:<8}= {40_000:>20}".ljust(80).encode() + header[start + 80 :]
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 2 * 40_000**2 + 2880)


@pytest.mark.slow
def test_a_frame_that_does_not_fit_into_memory_is_rejected(night: SimulatedNight, tmp_path: Path) -> None:
    frames = night.frames[:30]
    limit = 3 << 30
    watch = Watch(
        tmp_path / "frames",
        tmp_path / "out",
        night.catalogs,
        prepare=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    watch.folder.mkdir()
    write_huge(frames[0], watch.folder / "huge.fit")
    with watch:
        put(frames, watch.folder)
        counts = watch.wait(len(frames) + 1)
        assert watch.stop().status == 0
    assert (counts.n_measured, counts.n_rejected) == (len(frames), 1)
    rejected = outcomes_of(watch.out)["huge.fit"]
    assert isinstance(rejected, FrameRejected)
    assert rejected.reason in (Reason.WRONG_SHAPE, Reason.INTERNAL_ERROR, Reason.UNREADABLE), msgspec.to_builtins(
        rejected
    )
    assert "huge.fit" in rejected.sentence
    paths = [*names(frames), "huge.fit"]
    assert differences(watch.out, night.undisturbed, paths, rejected=["huge.fit"]) == []
