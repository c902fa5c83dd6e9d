"""The command that an observer has run at an alert: told by JSON on its standard input, never waited for."""

from __future__ import annotations

import logging
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream.alerts import Alert
from stream.errors import ConfigurationError

LOG_FILE = "alert-command.log"
_MOST_WAITING = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """What the command may take.

    Attributes
    ----------
    timeout_s : float
        It is ended, with all that it started, after so many seconds.
    most, within_s : int, float
        At most so many runs within so many seconds.
    leave_s : float
        How long a run may go on when the night is stopped, seconds.
    """

    timeout_s: float = 10.0
    most: int = 20
    within_s: float = 600.0
    leave_s: float = 0.5


def split_command(text: str) -> tuple[str, ...]:
    """Words of a command line, as a shell splits them; no shell runs them.

    Raises
    ------
    ConfigurationError
        If there are none, a quote is not closed, or the program is not found.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigurationError(f"--on-alert {text!r} cannot be split into words: {error}") from error
    if not words:
        raise ConfigurationError("--on-alert is empty: a program with its arguments is required")
    if shutil.which(words[0]) is None:
        raise ConfigurationError(f"--on-alert {text!r}: there is no program {words[0]}")
    return words


class AlertCommand:
    """Runs the command for one alert after the other, on a thread of its own.

    Parameters
    ----------
    words : tuple of str
        Program and arguments.
    out : Path
        Folder of the night; what the command writes is appended to ``log/alert-command.log``.
    """

    def __init__(self, words: tuple[str, ...], out: Path, limits: CommandLimits | None = None) -> None:
        self._words, self._out, self._limits = words, out, limits or CommandLimits()
        self._waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=_MOST_WAITING)
        self._started_s: deque[float] = deque()
        self._leave_at_s = float("inf")
        self._thread = threading.Thread(target=self._run, name="on-alert", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def tell(self, alert: Alert) -> None:
        """Have it run for an alert that began or ended; returns at once."""
        event = "raised" if alert.is_open else "ended"
        content = msgspec.json.encode({"event": event, "night": str(self._out), "title": alert.title, "alert": alert})
        try:
            self._waiting.put_nowait(content)
        except queue.Full:
            _log.warning("--on-alert is not run for %s: %d alerts wait for it already", alert.title, _MOST_WAITING)

    def stop(self) -> None:
        """Let it run for those that wait, as far as there is time, and end it then; safe to call twice."""
        if not self._thread.is_alive():
            return
        self._leave_at_s = time.monotonic() + self._limits.leave_s
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(self._limits.leave_s + 1.0)

    def _run(self) -> None:
        while time.monotonic() < self._leave_at_s:
            content = self._waiting.get()
            if content is None:
                return
            if self._may_run():
                try:
                    self._run_once(content)
                except OSError as error:
                    _log.warning("--on-alert %s cannot be run: %s", shlex.join(self._words), error)

    def _may_run(self) -> bool:
        now_s, limits = time.monotonic(), self._limits
        while self._started_s and self._started_s[0] < now_s - limits.within_s:
            self._started_s.popleft()
        if len(self._started_s) >= limits.most:
            _log.warning("--on-alert is not run: %d runs in %g s are the most", limits.most, limits.within_s)
            return False
        self._started_s.append(now_s)
        return True

    def _run_once(self, content: bytes) -> None:
        log = self._out / "log" / LOG_FILE
        with log.open("ab") as file:
            # Ctrl-C in the terminal is the night's to handle, and all that the command starts is ended with it.
            process = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
            )
        started_s = time.monotonic()
        unsaid: bytes | None = content
        while True:
            try:
                process.communicate(unsaid, timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                unsaid = None
                now_s = time.monotonic()
                if now_s - started_s > self._limits.timeout_s or now_s > self._leave_at_s:
                    _end(process)
                    _log.warning(
                        "--on-alert %s was ended after %.1f s", shlex.join(self._words), time.monotonic() - started_s
                    )
                    return
        if process.returncode:
            _log.warning("--on-alert %s ended with status %d: see %s", self._words[0], process.returncode, log)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=1.0)
