"""A whole night with faults of all kinds at random, seeded: every frame ends once, and nothing piles up.

The short form takes a minute or two; ``FAULTS_FRAMES=100000`` is an eight-hour night at full speed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream.config import PhotometerSettings, Recipe
from stream.errors import Reason
from stream.instruments import OPTICAM_MX
from stream.messages import FrameRejected
from stream.night.ledger import LEDGER_FILE
from tests.faults.comparison import differences, outcomes_of
from tests.faults.conftest import Report
from tests.faults.resources import Held, held_by
from tests.faults.test_clocks import with_time
from tests.faults.test_folders import original
from tests.faults.test_slow_writers import wrong_pixels
from tests.faults.whole_night import SEED, SimulatedNight, Watch, kill_all
from tests.night.processes import counts_of
from tests.night.waiting import wait_until

pytestmark = pytest.mark.faults

N_FRAMES = int(os.environ.get("FAULTS_FRAMES", "900"))
_ROUNDS = max(9, N_FRAMES // 500)
_DISTURBED_SHARE = 0.75  # faults until here; what is held is compared over the rest
_TRUNCATED_EVERY = max(N_FRAMES // 12, 1)
_MORE_MB, _MORE_FILES = 30.0, 8
_WARM_MB = {"night": 0.0, "worker": 200.0}  # a worker that was just started has not met all it needs yet
_POISONOUS = "2001-01-01 00:00:00.000"
POISON = '''
"""A photometer that fails as C libraries do: over frames of another century its process dies."""

import ctypes

import numpy as np


class Poison:
    def measure(self, stamps):
        if stamps.facts.time_mjd_utc < 52000.0:
            ctypes.string_at(0)
        n_sources = len(stamps.xy)
        return np.ones(n_sources), np.ones(n_sources)
'''


@dataclass
class MixedNight:
    """A night that is fed and disturbed by turns.

    Attributes
    ----------
    truncated : dict
        Files that stay half until the end, with the frame that they are.
    wrong : dict
        Files that are to be overwritten in the next round, with what they should be.
    corrected : list
        Those that were overwritten in this round.
    poisonous : list
        Files over which workers die.
    """

    watch: Watch
    frames: tuple[Path, ...]
    random: np.random.Generator
    made: list[str] = field(default_factory=list)
    truncated: dict[str, Path] = field(default_factory=dict)
    wrong: dict[str, Path] = field(default_factory=dict)
    corrected: list[str] = field(default_factory=list)
    poisonous: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)

    def feed(self, n_frames: int) -> None:
        """Let frames appear: most at once, a few as slow writers, interrupted copies and moved files do."""
        first = len(self.made)
        slow = {first + int(place) for place in self.random.choice(n_frames, min(3, n_frames), replace=False)}
        for number in range(first, first + n_frames):
            frame = self.frames[number % len(self.frames)]
            name = f"{number:06d}-{frame.name}"
            self.made.append(name)
            path = self.watch.folder / name
            if number % _TRUNCATED_EVERY == _TRUNCATED_EVERY - 1:
                path.write_bytes(frame.read_bytes()[:20_000])
                self.truncated[name] = frame
                self.injected["truncated file"] += 1
            elif number in slow:
                self._write_slowly(frame, path)
            else:
                os.link(frame, path)

    def _write_slowly(self, frame: Path, path: Path) -> None:
        content = frame.read_bytes()
        size = int(self.random.integers(1, len(content)))
        pause_s = float(self.random.uniform(0.0, 0.4))
        way = ("slow writer", "interrupted copy", "renamed file", "corrected file")[int(self.random.integers(4))]
        self.injected[way] += 1
        if way == "corrected file":
            path.write_bytes(wrong_pixels(content))
            self.wrong[path.name] = frame
            return
        if way == "renamed file":
            hidden = path.with_name(f"{path.name}.tmp")
            shutil.copyfile(frame, hidden)
            hidden.rename(path)
            return
        with path.open("wb") as file:
            file.write(content[:size])
            file.flush()
            if way == "slow writer":
                threading.Event().wait(pause_s)
                file.write(content[size:])
        if way == "interrupted copy":
            threading.Event().wait(pause_s)
            with path.open("ab") as file:
                file.write(content[size:])

    def disturb(self) -> None:
        """Do one of the things that happen to processes, a moment after frames appeared."""
        threading.Event().wait(float(self.random.uniform(0.0, 0.2)))
        faults: tuple[Callable[[], None], ...] = (
            self.kill_one,
            self.kill_workers,
            self.stop_one,
            self.kill_night,
            self.poison,
        )
        faults[int(self.random.integers(len(faults)))]()

    def poison(self) -> None:
        """Let a frame appear that crashes its worker, and the next one."""
        frame = self.frames[len(self.made) % len(self.frames)]
        name = f"{len(self.made):06d}-{frame.name}"
        (self.watch.folder / name).write_bytes(with_time(frame.read_bytes(), _POISONOUS))
        self.made.append(name)
        self.poisonous.append(name)
        self.injected["frame that crashes its worker"] += 1

    def kill_one(self) -> None:
        self.injected["kill -9 of a worker"] += kill_all(self.watch.workers()[:1])

    def kill_workers(self) -> None:
        self.injected["kill -9 of a worker"] += kill_all(self.watch.workers())

    def stop_one(self) -> None:
        self.injected["SIGSTOP of a worker"] += kill_all(self.watch.workers()[-1:], signal.SIGSTOP)

    def kill_night(self) -> None:
        orphans = self.watch.workers()
        self.watch.kill()
        kill_all(orphans, signal.SIGCONT)  # one that was stopped could not see that its night is gone
        self.injected["kill -9 of the night"] += 1
        self.watch.start()

    def catch_up(self) -> None:
        """Wait until all whole frames have their outcome; a worker that is killed then holds none of the former."""
        self.watch.wait(len(self.made) - len(self.truncated), 300.0)
        wait_until(self._is_corrected, 60.0, "the measurement of corrected files")

    def correct(self) -> None:
        """Overwrite the wrong files of the round before."""
        for name, frame in self.wrong.items():
            shutil.copyfile(frame, self.watch.folder / name)
        self.corrected, self.wrong = list(self.wrong), {}

    def _is_corrected(self) -> bool:
        """Whether the ledger has measurements of the files that were overwritten as they are now."""
        query = "SELECT mtime_ns FROM frame WHERE path = ?"
        with closing(sqlite3.connect(f"file:{self.watch.out / LEDGER_FILE}?mode=ro", uri=True)) as ledger:
            times = {name: ledger.execute(query, (name,)).fetchone() for name in self.corrected}
        return all(time == ((self.watch.folder / name).stat().st_mtime_ns,) for name, time in times.items())

    def complete_half(self) -> list[str]:
        """Complete every other truncated file once all were rejected; return those that stay as they are."""
        self.watch.wait(len(self.made), 120.0)
        for name, frame in list(self.truncated.items())[::2]:
            with (self.watch.folder / name).open("ab") as file:
                file.write(frame.read_bytes()[20_000:])
            del self.truncated[name]

        def all_completed() -> bool:
            counts = counts_of(self.watch.out)
            return counts is not None and counts.n_rejected == len(self.truncated) + len(self.poisonous)

        wait_until(all_completed, 60.0, "the measurement of completed files")
        return list(self.truncated)


def watch_with_poison(root: Path, catalogs: tuple[Path, ...]) -> Watch:
    """A night with one photometer more, over which a worker may die."""
    (root / "poison.py").write_text(POISON)
    usual = Recipe(instrument=OPTICAM_MX())
    photometers = (*usual.photometers, PhotometerSettings(kind="poison:Poison"))
    recipe = root / "recipe.toml"
    recipe.write_text(msgspec.structs.replace(usual, photometers=photometers).to_toml())
    environment = {"PYTHONPATH": f"{root}:{Path(__file__).resolve().parents[2]}"}
    return Watch(root / "frames", root / "out", catalogs, ("--recipe", str(recipe)), environment=environment)


def held_by_night(watch: Watch) -> dict[str, Held]:
    """What the night process holds, and the worker that holds most."""
    wait_until(lambda: len(watch.workers()) == watch.n_workers, 30.0, "all workers")
    workers = [held_by(pid) for pid in watch.workers()]
    return {"night": held_by(watch.running.pid), "worker": max(workers, key=lambda held: held.memory_mb)}


def run_disturbed(mixed: MixedNight) -> tuple[list[str], list[dict[str, Held]]]:
    """Run the night to its end; return the frames that stay truncated, and what was held around the quiet part."""
    share = N_FRAMES // _ROUNDS
    held: list[dict[str, Held]] = []
    with mixed.watch:
        for number in range(_ROUNDS):
            mixed.correct()
            mixed.feed(share if number < _ROUNDS - 1 else N_FRAMES - len(mixed.made))
            if number < _DISTURBED_SHARE * _ROUNDS:
                mixed.disturb()
            elif not held:
                mixed.catch_up()
                held.append(held_by_night(mixed.watch))
            mixed.catch_up()
        mixed.correct()
        mixed.catch_up()
        rejected = mixed.complete_half()
        held.append(held_by_night(mixed.watch))
        assert mixed.watch.stop().status == 0
    return rejected, held


@pytest.mark.timeout(7200)
def test_a_night_with_faults_of_all_kinds_measures_every_frame_once(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    watch = watch_with_poison(tmp_path, night.catalogs)
    mixed = MixedNight(watch, night.frames, np.random.default_rng(SEED))
    watch.folder.mkdir()
    truncated, held = run_disturbed(mixed)
    outcomes = outcomes_of(watch.out)
    reasons = dict.fromkeys(truncated, Reason.TRUNCATED) | dict.fromkeys(mixed.poisonous, Reason.CRASHED_WORKER)
    wrong = differences(watch.out, night.undisturbed, mixed.made, rejected=list(reasons), original=original)
    for name, reason in reasons.items():
        outcome = outcomes[name]
        assert isinstance(outcome, FrameRejected)
        assert outcome.reason == reason
    injected = ", ".join(f"{n} {what}" for what, n in sorted(mixed.injected.items()))
    before, after = held
    remark = f"{injected}; before and after the last quarter: " + "; ".join(
        f"{name} {before[name].memory_mb:.0f} and {after[name].memory_mb:.0f} MB, "
        f"{before[name].n_files} and {after[name].n_files} open files"
        for name in before
    )
    n_faults = sum(mixed.injected.values())
    report(
        f"a mixed night of {N_FRAMES} frames", watch.out, n_faults=n_faults, n_in=N_FRAMES, wrong=wrong, remark=remark
    )
    for name in before:
        assert after[name].n_files <= before[name].n_files + _MORE_FILES
        assert after[name].memory_mb <= max(before[name].memory_mb, _WARM_MB[name]) + _MORE_MB
