"""Many files at once, lost events, folders without events, and a folder that vanishes: the scan finds all."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.comparison import differences
from tests.faults.conftest import Report, names
from tests.faults.whole_night import SimulatedNight, Watch, put
from tests.night.processes import run
from tests.night.waiting import wait_until

pytestmark = pytest.mark.faults

_QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")
_MANY = 20_000


def link_copies(frames: Sequence[Path], folder: Path, n_files: int) -> list[str]:
    """Let so many files appear at once: links to frames, under other names; return those."""
    folder.mkdir(exist_ok=True)
    made = [f"{number:06d}-{frames[number % len(frames)].name}" for number in range(n_files)]
    for name in made:
        os.link(frames[int(name[:6]) % len(frames)], folder / name)
    return made


def original(path: str) -> str:
    """Name of the frame that a copy of `link_copies` is."""
    return path[7:] if path[:6].isdigit() and path[6] == "-" else path


def reduce_many(watch: Watch, n_frames: int) -> None:
    watch.wait(n_frames, 900.0)
    assert watch.stop().status == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_thousand_files_at_the_start_are_all_measured(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    watch = Watch(tmp_path / "frames", tmp_path / "out", night.catalogs)
    made = link_copies(night.frames, watch.folder, _MANY)
    with watch:
        reduce_many(watch, _MANY)
    wrong = differences(watch.out, night.undisturbed, made, original=original)
    report("20,000 files at the start", watch.out, n_faults=1, n_in=_MANY, wrong=wrong)


@pytest.mark.slow
def test_a_thousand_files_at_once_are_all_measured(night: SimulatedNight, tmp_path: Path, report: Report) -> None:
    frames = night.frames[:30]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(frames, watch.folder)
        watch.wait(30)
        made = link_copies(night.frames, watch.folder, 1000)
        reduce_many(watch, 1030)
    paths = [*names(frames), *made]
    wrong = differences(watch.out, night.undisturbed, paths, original=original)
    report("1,000 files at once", watch.out, n_faults=1, n_in=1030, wrong=wrong)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_files_whose_events_were_lost_are_found(night: SimulatedNight, tmp_path: Path, report: Report) -> None:
    """While the night process stands still its queue of events runs over, and the system drops what comes then."""
    n_queued = int(_QUEUED_EVENTS.read_text(encoding="ascii"))
    n_files = n_queued + 2000
    if n_files > 3 * _MANY:
        pytest.skip(f"the queue of events holds {n_queued}")
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(night.frames[:30], watch.folder)
        watch.wait(30)
        watch.running.send_signal(signal.SIGSTOP)
        made = link_copies(night.frames, watch.folder, n_files)
        watch.running.send_signal(signal.SIGCONT)
        reduce_many(watch, 30 + n_files)
    paths = [*names(night.frames[:30]), *made]
    wrong = differences(watch.out, night.undisturbed, paths, original=original)
    remark = f"{n_files - n_queued} files beyond the queue of {n_queued}"
    report("events of files lost", watch.out, n_faults=1, n_in=len(paths), wrong=wrong, remark=remark)


@pytest.mark.slow
def test_a_folder_without_events_is_searched(night: SimulatedNight, tmp_path: Path, report: Report) -> None:
    frames = night.frames[:60]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs, ("--polling",)) as watch:
        put(frames[:30], watch.folder)
        watch.wait(30)
        put(frames[30:], watch.folder)
        reduce_many(watch, 60)
    wrong = differences(watch.out, night.undisturbed, names(frames))
    report("a folder without events", watch.out, n_faults=1, n_in=60, wrong=wrong)


def complaints(out: Path) -> str:
    """What the night waits for, as `status` tells it."""
    result = run("status", out, "--json")
    return str(json.loads(result.stdout)) if result.returncode == 0 else ""


@pytest.mark.slow
@pytest.mark.parametrize("is_another", [False, True])
def test_frames_of_a_folder_that_vanished_are_measured_when_it_is_back(
    night: SimulatedNight, tmp_path: Path, report: Report, is_another: bool
) -> None:
    """As a disk that was unmounted: the folder comes back as it was, or as another one with the same files."""
    frames, away = night.frames[:90], tmp_path / "away"
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(frames[:30], watch.folder)
        watch.wait(30)
        watch.folder.rename(away)
        put(frames[30:60], away)
        wait_until(lambda: "cannot be read" in complaints(watch.out), 30.0, "a complaint about the folder")
        if is_another:
            shutil.copytree(away, watch.folder)
        else:
            away.rename(watch.folder)
        watch.wait(60)
        put(frames[60:], watch.folder)
        reduce_many(watch, 90)
        assert ("is another folder than it was" in watch.log()) == is_another
    wrong = differences(watch.out, night.undisturbed, names(frames))
    what = "a folder that vanished" + (", another in its place" if is_another else "")
    report(what, watch.out, n_faults=1, n_in=90, wrong=wrong)
