"""A small simulated night, and the process that reduces it: started, killed, started again by the same command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from simulator.night import generate_observations
from simulator.settings import NightSettings
from stream.config import Recipe
from stream.instruments import OPTICAM_MX
from stream.night.ledger import LedgerCounts
from stream.night.run import NightOptions, run_night
from stream.night.supervisor import child_environment
from tests.night.processes import command, counts_of, is_alive, wait_for_outcomes, worker_pids
from tests.night.waiting import wait_until

KEYS = ("1:g", "2:r", "3:i")
SEED = 20231122


@dataclass(frozen=True)
class SimulatedNight:
    """Frames of a night in order of exposure, and the outputs of its undisturbed reduction.

    Attributes
    ----------
    catalogs : tuple of Path
        Those that the undisturbed reduction built from the first frames.
    """

    frames: tuple[Path, ...]
    undisturbed: Path
    catalogs: tuple[Path, ...]


def simulate(folder: Path, n_images: int) -> tuple[Path, ...]:
    """Write so many frames of 128 x 128 pixels of each of three keys; return them in order of exposure."""
    settings = NightSettings(seed=SEED, brightness=0.4)
    generate_observations(folder, n_images, circular_aperture=False, binning_scale=16, settings=settings)
    # 231122g200143431o.fit: the number after the filter is that of the exposure.
    return tuple(sorted(folder.glob("*.fit"), key=lambda path: (path.name[7:], path.name)))


def reduce_undisturbed(frames: Sequence[Path], root: Path) -> SimulatedNight:
    """Reduce a night in one go; every frame of it is measured."""
    folder, out = root / "frames", root / "out"
    put(frames, folder)
    counts = run_night(
        NightOptions(folder, out, 2, finite=True), Recipe(instrument=OPTICAM_MX()), stop=threading.Event()
    )
    if (counts.n_measured, counts.n_pending) != (len(frames), 0):
        raise AssertionError(f"the undisturbed night measured {counts.n_measured} of {len(frames)} frames")
    return SimulatedNight(tuple(frames), out, tuple(sorted((out / "cat").glob("*.ecsv"))))


def put(frames: Sequence[Path], folder: Path) -> None:
    """Let frames appear in a folder as cameras do: under another name first."""
    folder.mkdir(exist_ok=True)
    for path in frames:
        shutil.copyfile(path, folder / f"{path.name}.tmp")
        (folder / f"{path.name}.tmp").rename(folder / path.name)


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit status, what it said, and how long it took after it was asked to."""

    status: int
    text: str
    errors: str
    took_s: float


@dataclass
class Watch:
    """``opticam-live watch FOLDER --out OUT`` without a page.

    Attributes
    ----------
    options : tuple of str
        What else stands on the command line.
    environment : mapping
        Variables that differ from those of this process.
    prepare : callable
        Called in the new process before it becomes the night: limits.
    """

    folder: Path
    out: Path
    catalogs: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()
    n_workers: int = 2
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    process: subprocess.Popen[str] | None = None

    def words(self) -> list[str]:
        """The command line."""
        given = [word for path in self.catalogs for word in ("--catalog", str(path))]
        page = [] if "--port" in self.options else ["--no-page"]
        workers = str(self.n_workers)
        return command("watch", self.folder, "--out", self.out, "--workers", workers, *page, *given, *self.options)

    def start(self) -> None:
        """Start it; it may be running again before the workers of a killed one have left."""
        self.folder.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            self.words(),
            env={**child_environment(), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=self.prepare,
        )

    @property
    def running(self) -> subprocess.Popen[str]:
        """The process, which must have been started."""
        if self.process is None:
            raise AssertionError("the night was not started")
        return self.process

    def kill(self) -> None:
        """End it as a power cut would: nothing is written any more."""
        self.running.kill()
        self.running.communicate(timeout=10.0)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 20.0) -> Ended:
        """Ask it to end, and wait for that."""
        started = time.monotonic()
        self.running.send_signal(number)
        return self.wait_for_end(timeout_s, started)

    def wait_for_end(self, timeout_s: float = 20.0, started: float | None = None) -> Ended:
        """Wait until it ends by itself."""
        started = time.monotonic() if started is None else started
        text, errors = self.running.communicate(timeout=timeout_s)
        return Ended(self.running.returncode, text, errors, time.monotonic() - started)

    def wait(self, n_outcomes: int, timeout_s: float = 120.0) -> LedgerCounts:
        """Wait until so many frames have their outcome; fail at once if the night ends before."""

        def done() -> bool:
            if self.running.poll() is not None:
                raise AssertionError(f"the night ended: {self.running.communicate()}")
            return self.n_outcomes() >= n_outcomes

        wait_until(done, timeout_s, f"{n_outcomes} outcomes in {self.out}")
        return wait_for_outcomes(self.out, n_outcomes)

    def n_outcomes(self) -> int:
        """Frames that have their outcome, 0 before there is a ledger."""
        counts = counts_of(self.out)
        return 0 if counts is None else counts.n_measured + counts.n_rejected

    def workers(self) -> list[int]:
        """Process ids of the workers that live and are this night's own."""
        if not (self.out / "log" / "night.log").is_file():
            return []
        return [pid for pid in worker_pids(self.out) if is_alive(pid) and parent_of(pid) == self.running.pid]

    def log(self) -> str:
        """What the night process wrote down."""
        return (self.out / "log" / "night.log").read_text(encoding="utf-8")

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def parent_of(pid: int) -> int:
    """Process id of the parent; 0 where the process is gone."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(status.rpartition(")")[2].split()[1])


def kill_all(pids: Sequence[int], number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to processes of this test; return how many there were."""
    n_sent = 0
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        n_sent += 1
    return n_sent
