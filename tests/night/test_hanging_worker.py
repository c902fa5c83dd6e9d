"""A worker that hangs is found out within two seconds; one that only works hard, or waits for a core, is not ended."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream.messages import AssignFrame, FrameToMeasure
from stream.night.broker_events import (
    CatalogGiven,
    ClockTicked,
    FrameEntered,
    KillWorker,
    Patience,
    Send,
    WorkerHeard,
    WorkerJoined,
)
from stream.night.broker_state import BrokerState
from stream.night.ledger import LEDGER_FILE
from stream.night.supervisor import Supervisor, _Slot
from stream.processes import process_facts
from tests.night.ledger_rows import RECIPE, make_catalog
from tests.night.processes import running, wait_for_outcomes, worker_pids
from tests.night.waiting import wait_until

pytestmark = [
    pytest.mark.clock,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc"),
]

REDISPATCHED_S = 2.0
BUSY_MACHINE_S = 1.5  # what a test allows a machine that does other things


def busy_state() -> BrokerState:
    """A state with two workers that hold frames 1 and 2, at 100 s."""
    state = BrokerState(RECIPE.bootstrap)
    state.handle(CatalogGiven(make_catalog()), 100.0)
    for pid in (11, 12):
        state.handle(WorkerJoined(pid, 1), 100.0)
        state.handle(FrameEntered(FrameToMeasure(pid, f"{pid}.fit"), "1:g", 60000.0 + pid), 100.0)
    return state


def test_silence_hands_a_frame_to_another_worker_in_time() -> None:
    state = busy_state()
    assert state.silent(100.7) == []
    state.handle(WorkerHeard(11), 101.0)
    assert state.silent(101.0) == [12]
    state.handle(WorkerHeard(11), 101.5)
    assert state.handle(ClockTicked(), 100.0 + Patience().silence_s) == []
    instructions = state.handle(ClockTicked(), 100.01 + Patience().silence_s)
    assert instructions[0] == KillWorker(12)
    assert Patience().silence_s + 0.2 < REDISPATCHED_S
    joined = state.handle(WorkerJoined(13, 1), 102.0)
    assert [
        one.message.frame.frame_id for one in joined if isinstance(one, Send) if isinstance(one.message, AssignFrame)
    ] == [12]


def test_a_worker_that_is_seen_at_work_is_not_given_up() -> None:
    state = busy_state()
    for tenth in range(1, 300):
        now_s = 100.0 + 0.1 * tenth
        for pid in (11, 12):
            if pid in state.silent(now_s):
                state.handle(WorkerHeard(pid), now_s)
        assert state.handle(ClockTicked(), now_s) == []


@contextmanager
def program(text: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        try:
            yield process
        finally:
            process.kill()


def test_the_system_tells_who_works(tmp_path: Path) -> None:
    """A call that keeps every other thread waiting looks like silence, and is work."""
    supervisor = Supervisor(tmp_path, 1)
    with (
        program("print(1, flush=True)\nsum(range(10**12))") as busy,
        program("import time\nprint(1, flush=True)\ntime.sleep(60)") as idle,
    ):
        wait_until(lambda: (facts := process_facts(idle.pid)) is not None and facts.state == "S")
        supervisor._slots = [_Slot(1, busy), _Slot(2, idle)]
        assert supervisor.is_working(busy.pid, 100.0)
        assert not supervisor.is_working(idle.pid, 100.0)
        assert not supervisor.is_working(idle.pid, 100.1)
        assert not supervisor.is_working(os.getpid(), 100.1)  # none of its workers
        busy.send_signal(signal.SIGSTOP)
        wait_until(lambda: (facts := process_facts(busy.pid)) is not None and facts.state == "T")
        assert not supervisor.is_working(busy.pid, 100.2)
        assert not supervisor.is_working(busy.pid, 100.3)


def test_frames_of_a_stopped_worker_are_measured_by_another_within_two_seconds(
    simulated_frames: list[Path], tmp_path: Path
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    with running("watch", folder, "--out", out, "--no-page", "--workers", "2"):
        for path in simulated_frames[:24]:
            shutil.copy(path, folder)
        wait_for_outcomes(out, 24)
        hung = worker_pids(out)[1]
        os.kill(hung, signal.SIGSTOP)
        stopped = time.time()
        for path in simulated_frames[24:33]:
            shutil.copy(path, folder)
        counts = wait_for_outcomes(out, 33, timeout_s=20.0)
        log = (out / "log" / "night.log").read_text(encoding="utf-8")
    assert (counts.n_measured, counts.n_rejected) == (33, 0)
    assert f"worker process {hung} is presumed dead: killed" in log
    assert last_commit(out) - stopped < REDISPATCHED_S + BUSY_MACHINE_S


def last_commit(out: Path) -> float:
    """When the last row was committed, seconds since 1970."""
    connection = sqlite3.connect(f"file:{out / LEDGER_FILE}?mode=ro", uri=True)
    try:
        return float(connection.execute("SELECT MAX(committed_unix_s) FROM outcome").fetchone()[0])
    finally:
        connection.close()
