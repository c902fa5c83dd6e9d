"""How long it takes until something answers: wall time, with the programs in the cache of the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import zmq

from benchmarks.clocks import least_seconds
from benchmarks.running import answer_time, end, start
from benchmarks.sample_frames import KEY, SampleFrames
from benchmarks.sections import Section
from stream.errors import NightError
from stream.messages import (
    ENCODER,
    FROM_WORKER,
    AssignFrame,
    FrameMeasured,
    FrameToMeasure,
    StopWorker,
    UseCatalog,
    WorkerReady,
)
from stream.night.night_folder import NightFolder, RunFile
from stream.night.supervisor import child_environment
from stream.night.wire import BrokerWire, make_keys, task_identity

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class StartUp:
    """Seconds, the least of several starts.

    Attributes
    ----------
    help_s : float
        ``opticam-live --help``, to its end.
    worker_ready_s, first_frame_s : float
        From the start of a worker to its first message, and to its first measurement.
    page_s : float
        From the command ``opticam-live watch`` to the answer of its page.
    """

    help_s: float
    worker_ready_s: float
    first_frame_s: float
    page_s: float


def measure_start_up(frames: SampleFrames, root: Path, passes: int) -> StartUp:
    """Start everything `passes` times; `root` is a new folder."""
    workers = [_start_worker(frames, root / f"worker-{number}") for number in range(passes)]
    return StartUp(
        least_seconds(_ask_for_help, passes),
        min(ready for ready, _ in workers),
        min(measured for _, measured in workers),
        min(_start_watch(root / f"watch-{number}") for number in range(passes)),
    )


def start_up_section(times: StartUp) -> Section:
    """The table of start-up times."""
    texts = ("Wall time, seconds, the least of up to three starts, with the programs in the cache of the disk.",)
    rows = (
        ("`opticam-live --help`", f"{times.help_s:.2f}"),
        ("a worker is ready", f"{times.worker_ready_s:.2f}"),
        ("a worker has measured its first frame", f"{times.first_frame_s:.2f}"),
        ("`opticam-live watch`: its page answers", f"{times.page_s:.2f}"),
    )
    return Section("Start-up", texts, ("what", "s"), rows)


def _ask_for_help() -> None:
    subprocess.run(
        [sys.executable, "-m", "opticam_live", "--help"],
        env=dict(child_environment()),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _start_watch(root: Path) -> float:
    (root / "frames").mkdir(parents=True)
    started = time.perf_counter()
    process = start(["watch", str(root / "frames"), "--out", str(root / "out"), "--port", "0"])
    try:
        return answer_time(process) - started
    finally:
        end(process)


def _start_worker(frames: SampleFrames, out: Path) -> tuple[float, float]:
    """Be the broker of one worker: seconds until it is ready, and until it has measured a frame."""
    with NightFolder(out) as home:
        make_keys(home.path)
        home.write_recipe(frames.case.recipe())
        wire = BrokerWire(home.path)
        folder = str(frames.paths[0].parent)
        home.write_run_file(RunFile(os.getpid(), folder, wire.router_endpoint, wire.publisher_endpoint))
        started = time.perf_counter()
        process = start(["worker", str(home.path)])
        try:
            _await(wire, WorkerReady)
            ready_s = time.perf_counter() - started
            frame = FrameToMeasure(1, frames.paths[0].name)
            for message in (UseCatalog(frames.catalog), AssignFrame(frame, KEY, frames.catalog.version)):
                _send(wire, process.pid, ENCODER.encode(message))
            _await(wire, FrameMeasured)
            measured_s = time.perf_counter() - started
            _send(wire, process.pid, ENCODER.encode(StopWorker()))
        finally:
            end(process)
            wire.close()
    return ready_s, measured_s


def _send(wire: BrokerWire, pid: int, content: bytes) -> None:
    wire.router.send_multipart([task_identity(pid), content])


def _await(wire: BrokerWire, kind: type[WorkerReady] | type[FrameMeasured]) -> None:
    """Wait for a message of this kind; raises NightError if none comes."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if wire.router.poll(100, zmq.POLLIN):
            _, content = wire.router.recv_multipart()
            if isinstance(FROM_WORKER.decode(content), kind):
                return
    raise NightError(f"the worker of the benchmark sent no {kind.__name__} within {_PATIENCE_S:g} s")
