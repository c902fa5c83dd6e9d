"""A whole night with faults of all kinds at random, seeded: every frame ends once, and nothing piles up.

The short form takes some minutes at most; ``FAULTS_FRAMES=100000`` is the form of a night: an eight-hour night at full
speed.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from stream.messages import FrameRejected
from tests.faults.comparison import differences, outcomes_of
from tests.faults.conftest import Report
from tests.faults.resources import Held, held_by
from tests.faults.test_folders import original
from tests.faults.whole_night import SEED, SimulatedNight, Watch, kill_all
from tests.night.processes import counts_of
from tests.night.waiting import wait_until

pytestmark = pytest.mark.faults

N_FRAMES = int(os.environ.get("FAULTS_FRAMES", "900"))
_ROUNDS = 200 if N_FRAMES > 20_000 else 9
_DISTURBED_SHARE = 0.75  # faults until here; what is held is compared over the rest
_TRUNCATED_EVERY = max(N_FRAMES // 12, 1)
_MORE_MB, _MORE_FILES = 30.0, 8


@dataclass
class MixedNight:
    """A night that is fed and disturbed by turns.

    Attributes
    ----------
    truncated : dict
        Files that stay half until the end, with the frame that they are.
    """

    watch: Watch
    frames: tuple[Path, ...]
    random: np.random.Generator
    made: list[str] = field(default_factory=list)
    truncated: dict[str, Path] = field(default_factory=dict)
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
        way = ("slow writer", "interrupted copy", "renamed file")[int(self.random.integers(3))]
        self.injected[way] += 1
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
        faults: tuple[Callable[[], None], ...] = (self.kill_one, self.kill_workers, self.stop_one, self.kill_night)
        faults[int(self.random.integers(len(faults)))]()

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

    def complete_half(self) -> list[str]:
        """Complete every other truncated file once all were rejected; return those that stay as they are."""
        self.watch.wait(len(self.made), 120.0)
        for name, frame in list(self.truncated.items())[::2]:
            with (self.watch.folder / name).open("ab") as file:
                file.write(frame.read_bytes()[20_000:])
            del self.truncated[name]

        def all_completed() -> bool:
            counts = counts_of(self.watch.out)
            return counts is not None and counts.n_rejected == len(self.truncated)

        wait_until(all_completed, 60.0, "the measurement of completed files")
        return list(self.truncated)


def run_disturbed(mixed: MixedNight) -> tuple[list[str], list[Held]]:
    """Run the night to its end; return the frames that stay truncated, and what was held around the quiet part."""
    share = N_FRAMES // _ROUNDS
    held: list[Held] = []
    with mixed.watch:
        for number in range(_ROUNDS):
            mixed.feed(share if number < _ROUNDS - 1 else N_FRAMES - len(mixed.made))
            if number < _DISTURBED_SHARE * _ROUNDS:
                mixed.disturb()
            elif not held:
                mixed.catch_up()
                held.append(held_by(mixed.watch.running.pid))
            mixed.catch_up()
        rejected = mixed.complete_half()
        held.append(held_by(mixed.watch.running.pid))
        assert mixed.watch.stop().status == 0
    return rejected, held


@pytest.mark.timeout(7200)
def test_a_night_with_faults_of_all_kinds_measures_every_frame_once(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    watch = Watch(tmp_path / "frames", tmp_path / "out", night.catalogs)
    mixed = MixedNight(watch, night.frames, np.random.default_rng(SEED))
    watch.folder.mkdir()
    rejected, held = run_disturbed(mixed)
    outcomes = outcomes_of(watch.out)
    wrong = differences(watch.out, night.undisturbed, mixed.made, rejected=rejected, original=original)
    for name in rejected:
        outcome = outcomes[name]
        assert isinstance(outcome, FrameRejected)
        assert outcome.reason == "TRUNCATED"
    injected = ", ".join(f"{n} {what}" for what, n in sorted(mixed.injected.items()))
    before, after = held
    remark = (
        f"{injected}; {before.memory_mb:.0f} MB and {before.n_files} open files before the last quarter, "
        f"{after.memory_mb:.0f} MB and {after.n_files} after it"
    )
    n_faults = sum(mixed.injected.values())
    report(
        f"a mixed night of {N_FRAMES} frames", watch.out, n_faults=n_faults, n_in=N_FRAMES, wrong=wrong, remark=remark
    )
    assert after.n_files <= before.n_files + _MORE_FILES
    assert after.memory_mb <= before.memory_mb + _MORE_MB
