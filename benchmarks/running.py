"""A night that runs as a service, in processes of its own, and what these processes use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from stream.errors import LedgerError, NightError
from stream.night.ledger import LedgerReader
from stream.night.night_folder import RUN_FILE
from stream.night.supervisor import child_environment

_LOOK_S = 0.02
_START_S = 60.0
_END_S = 30.0
_PAGE_LINE = b"page: "
_MB = 1024.0
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_ROLES = {"watch": "night", "worker": "worker", "serve": "page"}


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process has used: core time since its start, and memory now, MB (resident, shared pages included)."""

    role: str
    core_s: float
    memory_mb: float


class RunningNight:
    """``opticam-live watch`` on `folder`, ended by SIGINT when the block is left.

    Parameters
    ----------
    page : bool
        With the process of the page; no browser looks at it.
    """

    def __init__(self, folder: Path, out: Path, n_workers: int, *, page: bool = False) -> None:
        self.folder, self.out = folder, out
        page_words = ["--port", "0"] if page else ["--no-page"]
        self._words = ["watch", str(folder), "--out", str(out), "--workers", str(n_workers), *page_words]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningNight:
        self._process = start(self._words)
        wait_until((self.out / RUN_FILE).exists, _START_S, f"the night in {self.out} to run")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            end(self._process)

    def wait_for_outcomes(self, n_frames: int, timeout_s: float = 120.0) -> None:
        """Wait until so many frames are measured or rejected; raises NightError when they are not in time."""
        wait_until(lambda: n_outcomes(self.out) >= n_frames, timeout_s, f"{n_frames} outcomes in {self.out}")

    def uses(self) -> list[ProcessUse]:
        """What the night and all processes that it started have used."""
        if self._process is None:
            return []
        night = self._process.pid
        return [use for pid in (night, *_children(night)) if (use := _use_of(pid)) is not None]


def core_by_role(uses: list[ProcessUse]) -> Mapping[str, float]:
    """Core time, seconds, of all processes of a role together."""
    return {role: sum(use.core_s for use in uses if use.role == role) for role in _ROLES.values()}


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """Run opticam-live with these words in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "opticam_live", *words],
        env=dict(child_environment()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def answer_time(process: subprocess.Popen[bytes]) -> float:
    """When the page that a process serves answered its first request, by `time.perf_counter`.

    Raises
    ------
    NightError
        If the process ended without a page.
    """
    with urllib.request.urlopen(answer_address(process), timeout=_START_S) as answer:
        answer.read()
    return time.perf_counter()


def answer_address(process: subprocess.Popen[bytes]) -> str:
    """Address of the page that a process serves, once it says so; NightError if it ended without a page."""
    for line in process.stdout or ():
        if line.startswith(_PAGE_LINE):
            return line.removeprefix(_PAGE_LINE).decode().strip()
    raise NightError("the page ended before it said where it is")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, as Ctrl-C does, and wait for it; kill it if it does not."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def n_outcomes(out: Path) -> int:
    """Frames of the night that have their outcome; 0 before there is a ledger."""
    try:
        reader = LedgerReader(out)
    except LedgerError:
        return 0
    try:
        return reader.last_sequence()
    finally:
        reader.close()


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Return once `condition` holds; raises NightError after `timeout_s` seconds."""
    deadline, pause = time.monotonic() + timeout_s, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise NightError(f"waited {timeout_s:g} s for {what}, in vain")
        pause.wait(_LOOK_S)


def _children(pid: int) -> list[int]:
    """Process ids of the children, whichever thread started them."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in listing.read_text(encoding="ascii").split()]
    return found


def _use_of(pid: int) -> ProcessUse | None:
    """What a process of the night has used; None if it is none, or has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    role = next((_ROLES[word] for word in words if word in _ROLES), None)
    resident = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
    if role is None or not resident:
        return None
    return ProcessUse(role, (int(stat[11]) + int(stat[12])) / _TICKS_A_SECOND, resident[0] / _MB)
