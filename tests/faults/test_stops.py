"""A night that is asked to stop in the middle of its work does so in time, and goes on where it was."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from stream.errors import NightError
from stream.night.night_folder import read_run_file
from tests.faults.comparison import differences
from tests.faults.conftest import Report, names
from tests.faults.test_folders import link_copies, original
from tests.faults.whole_night import SimulatedNight, Watch, put
from tests.night.processes import is_alive, run, worker_pids
from tests.night.waiting import wait_until

pytestmark = pytest.mark.faults

_IN_TIME_S = 5.0


def in_time_s() -> float:
    """How long a night may take to end: five seconds, longer where others keep the cores busy too."""
    own_load = 2.0 * (os.cpu_count() or 1)
    return _IN_TIME_S * max(1.0, os.getloadavg()[0] / own_load)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_night_at_full_work_stops_within_five_seconds_and_goes_on(
    night: SimulatedNight, tmp_path: Path, report: Report, number: signal.Signals
) -> None:
    watch = Watch(tmp_path / "frames", tmp_path / "out", night.catalogs, ("--port", "0"))
    made = link_copies(night.frames, watch.folder, 1500)
    with watch:
        watch.wait(50)
        ended = watch.stop(number)
        assert (ended.status, ended.errors) == (0, "")
        assert ended.took_s < in_time_s()
        assert not any(is_alive(pid) for pid in worker_pids(watch.out))
        assert watch.n_outcomes() < len(made)
    with watch:  # it is not refused, but another one is while it runs
        watch.wait(len(made), 240.0)
        refused = run("watch", watch.folder, "--out", watch.out, "--no-page")
        assert refused.stderr == f"error: {watch.out} is in use by a running night, process {watch.running.pid}\n"
        assert watch.stop().status == 0
    wrong = differences(watch.out, night.undisturbed, made, original=original)
    what, remark = f"{number.name} at full work", f"ended after {ended.took_s:.1f} s"
    report(what, watch.out, n_faults=1, n_in=len(made), wrong=wrong, remark=remark)


@pytest.mark.slow
def test_a_page_that_is_killed_is_served_again_at_its_address_and_the_night_goes_on(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    frames = night.frames[:60]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs, ("--port", "0")) as watch:
        put(frames[:30], watch.folder)
        watch.wait(30)
        address = page_of(watch)
        for n_frames in (40, 50, 60):
            (page,) = pages_of(watch)
            signal_process(page)
            put(frames[n_frames - 10 : n_frames], watch.folder)
            watch.wait(n_frames)
            wait_for_another_page(watch, page)
        assert page_of(watch) == address
        wait_until(lambda: answers(address), 30.0, "an answer of the page")
        assert watch.stop().status == 0
    wrong = differences(watch.out, night.undisturbed, names(frames))
    report("kill -9 of the page", watch.out, n_faults=3, n_in=len(frames), wrong=wrong)


def wait_for_another_page(watch: Watch, gone: int) -> None:
    wait_until(lambda: pages_of(watch) not in ([], [gone]), 30.0, "another page")


def page_of(watch: Watch) -> str:
    """Address of the page, once it is served."""
    found: list[str] = []

    def served() -> bool:
        try:
            address = read_run_file(watch.out).page
        except NightError:
            return False
        found[:] = [address] if address else []
        return bool(found)

    wait_until(served, 60.0, "the page")
    return found[0]


def pages_of(watch: Watch) -> list[int]:
    """Process ids of the page of a night: its children that serve."""
    children = Path(f"/proc/{watch.running.pid}/task/{watch.running.pid}/children").read_text(encoding="ascii")
    pids = [int(pid) for pid in children.split()]
    return [pid for pid in pids if is_alive(pid) and b"\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def signal_process(pid: int) -> None:
    """kill -9 of a process of this test."""
    os.kill(pid, signal.SIGKILL)


def answers(address: str) -> bool:
    """Whether a page is served at an address."""
    try:
        with urllib.request.urlopen(address, timeout=10.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
