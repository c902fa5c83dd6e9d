"""Starts the processes of a night, and starts again those that die."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stream.errors import NightError
from stream.night.night_folder import LOG_FOLDER
from stream.page_options import PageAccess
from stream.processes import process_facts

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
_SHORT_LIFE_S = 5.0
_MOST_SHORT_LIVES = 6
_LOOKS_APART_S = 0.4
_AT_WORK, _STOPPED = ("R", "D"), ("T", "t", "Z", "X")
_PAGE_LINE = "page: "
_SERVE = (sys.executable, "-m", "opticam_live", "serve")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Slot:
    """One worker's place, and whoever fills it now."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    n_short_lives: int = 0
    start_again_s: float = 0.0
    joined: bool = False
    last_look: tuple[float, int] = (0.0, 0)


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """A worker that died: its process id and exit status (minus the signal that ended it)."""

    pid: int
    status: int


def child_environment() -> Mapping[str, str]:
    """Environment of child processes: one thread each for numerical libraries, set before these are imported.

    A class of the user's own that this process can import, its children can: folders that a script or a notebook is
    in, or that were added to the search path, are handed on.
    """
    root = str(Path(__file__).resolve().parents[2])
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    roots = (Path(sys.prefix), Path(sys.base_prefix))
    added = [part for part in sys.path if part and not any(Path(part).is_relative_to(each) for each in roots)]
    path = os.pathsep.join(dict.fromkeys((root, *given, *(part for part in added if Path(part).is_dir()))))
    return {**os.environ, **_ONE_THREAD, "PYTHONPATH": path}


@dataclass(slots=True)
class Supervisor:
    """Keeps `n_workers` workers of the night in `out` alive.

    A worker that dies at once, again and again, is started later and later, and in the end the night is stopped
    with a sentence that names its log.
    """

    out: Path
    n_workers: int
    n_restarts: int = 0
    _slots: list[_Slot] = field(default_factory=list)
    _stopping: bool = False

    def start(self) -> None:
        """Start all workers."""
        self._slots = [_Slot(number) for number in range(1, self.n_workers + 1)]
        for slot in self._slots:
            self._start(slot)

    def joined(self, pid: int) -> bool:
        """Note that a worker reported itself; False if it is none of ours."""
        for slot in self._slots:
            if slot.process is not None and slot.process.pid == pid:
                slot.joined = True
                return True
        return False

    def check(self, now_s: float) -> list[WorkerEnded]:
        """Find workers that ended since the last call, and start others in their places.

        Raises
        ------
        NightError
            If workers cannot be started or end as soon as they start.
        """
        ended = []
        for slot in self._slots:
            process = slot.process
            if process is not None and process.poll() is not None:
                ended.append(WorkerEnded(process.pid, process.returncode))
                self._note_end(slot, process, now_s)
            if slot.process is None and not self._stopping and now_s >= slot.start_again_s:
                self._start(slot)
                self.n_restarts += 1
        return ended

    def is_working(self, pid: int, now_s: float) -> bool:
        """Whether the system sees a worker at work: it runs, would run if it had a core, or ran since the last look.

        Looks further apart than a few tenths of a second say nothing about the time between them. One that was
        stopped, or waits for what never comes, does not work.
        """
        slot = next((one for one in self._slots if one.process is not None and one.process.pid == pid), None)
        facts = process_facts(pid) if slot is not None else None
        if slot is None or facts is None:
            return False
        before, slot.last_look = slot.last_look, (now_s, facts.core_ticks)
        has_run = facts.core_ticks > before[1] and now_s - before[0] < _LOOKS_APART_S
        return facts.state in _AT_WORK or (has_run and facts.state not in _STOPPED)

    def kill(self, pid: int) -> None:
        """End a worker at once; `check` reports it."""
        for slot in self._slots:
            if slot.process is not None and slot.process.pid == pid:
                slot.process.kill()

    def stop(self, timeout_s: float) -> None:
        """Wait for the workers to leave; end those that have not left in time."""
        self._stopping = True
        deadline = time.monotonic() + timeout_s
        for slot in self._slots:
            if slot.process is None:
                continue
            if not slot.joined:
                slot.process.kill()  # it holds nothing, and nobody could tell it to leave
            try:
                slot.process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                _log.warning("worker %d did not leave: killed", slot.process.pid)
                slot.process.kill()
                slot.process.wait()
            slot.process = None

    def _start(self, slot: _Slot) -> None:
        log = self.out / LOG_FOLDER / f"worker-{slot.number}.log"
        try:
            with log.open("ab") as file:
                slot.process = subprocess.Popen(
                    [sys.executable, "-m", "opticam_live", "worker", str(self.out)],
                    env=child_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,  # Ctrl-C in the terminal is the night's to handle
                )
        except OSError as error:
            raise NightError(f"worker {slot.number} cannot be started: {error}") from error
        slot.started_s, slot.joined = time.monotonic(), False
        _log.info("worker %d started as process %d", slot.number, slot.process.pid)

    def _note_end(self, slot: _Slot, process: subprocess.Popen[bytes], now_s: float) -> None:
        slot.process = None
        if self._stopping:
            return
        _log.warning("worker %d (process %d) ended with status %d", slot.number, process.pid, process.returncode)
        was_short = not slot.joined and now_s - slot.started_s < _SHORT_LIFE_S
        slot.n_short_lives = slot.n_short_lives + 1 if was_short else 0
        slot.start_again_s = now_s + (0.1 * 2**slot.n_short_lives if was_short else 0.0)
        if slot.n_short_lives >= _MOST_SHORT_LIVES:
            log = self.out / LOG_FOLDER / f"worker-{slot.number}.log"
            raise NightError(f"workers end as soon as they start, with status {process.returncode}: see {log}")


class PageServer:
    """The page's own process: started with the night, started again if it dies.

    Parameters
    ----------
    port : int
        0 takes any that is free.
    access : PageAccess
        Where the page is reached, and by whom.
    """

    def __init__(self, out: Path, port: int, access: PageAccess) -> None:
        self._out, self._port, self._access = out, port, access
        self._log_path = out / LOG_FOLDER / "page.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._start_again_s = 0.0
        self._log_start = 0
        self.address: str | None = None
        self.invitations: list[str] = []
        """Lines with the addresses that let in by a token; for the terminal alone, never for a log."""

    def start(self) -> None:
        """Start the process; `address` is set once the page is served."""
        words = [str(self._out), "--port", str(self._port), *self._access.words()]
        with self._log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*_SERVE, *words, "--parent", str(os.getpid())],
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="page", daemon=True)
        self._reader.start()

    def check(self, now_s: float) -> None:
        """Start the page again if it died.

        Raises
        ------
        NightError
            If it never came up: the sentence is its own, such as that its port is in use.
        """
        if self._process is None:
            if now_s >= self._start_again_s:
                self.start()
            return
        if self._process.poll() is None:
            return
        status = self._process.returncode
        if self._reader is not None:
            self._reader.join(1.0)
        if self.address is None:
            raise NightError(self._last_words() or f"the page ended with status {status}: see {self._log_path}")
        _log.warning("the page (process %d) ended with status %d", self._process.pid, status)
        # Browsers that look at the page find it again at the same address.
        self._port = int(self.address.rstrip("/").rpartition(":")[2])
        self._process, self._start_again_s = None, now_s + 1.0

    def ask_to_end(self) -> None:
        """Tell the process to end, without waiting for it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def stop(self, timeout_s: float) -> None:
        """End the process."""
        self.ask_to_end()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _log.warning("the page did not leave: killed")
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join(1.0)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                text = line.decode("utf-8", "replace").strip()
                if not text.startswith(_PAGE_LINE):
                    self.invitations.append(text)
                else:
                    self.address = text.removeprefix(_PAGE_LINE)

    def _last_words(self) -> str:
        log = self._log_path.read_bytes()[self._log_start :].decode("utf-8", "replace")
        lines = log.strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else ""
