"""Carries the alerts of a running night: what is judged in, and out to ledger, log and the observer's command.

`note_arrival`, `note_outcomes` and `judge` are called by the broker's loop and never wait; disks and light curves are
looked at on a thread.
"""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stream.alerts import Alert, AlertSettings
from stream.errors import LedgerError, OpticamLiveError
from stream.messages import FrameArrived, FrameMeasured, FrameRejected, NightStatus
from stream.night.alert_command import AlertCommand
from stream.night.alert_frames import Star
from stream.night.alert_stars import StarFinder
from stream.night.alerts import AlertWatch, DiskRoom
from stream.night.ledger import Ledger, LedgerReader

_STARS_EVERY_S = 1.0
_DISKS_EVERY_S = 10.0
_DISK_RATE_S, _LEAST_RATE_S = 600.0, 120.0
_LEARNT_OUTCOMES = 1000

_log = logging.getLogger("stream.alerts")


class AlertDesk:
    """The alerts of one run of a night.

    Parameters
    ----------
    out, folder : Path
        Folders of the outputs and of the frames.
    ledger : Ledger
        Alerts are written to it, in the thread that calls `judge`.
    settings : AlertSettings
    live : bool
        As of `AlertWatch`.
    command : AlertCommand or None
        Told of every alert.

    Attributes
    ----------
    on_alert : callable
        Told of every alert when it begins and when it ends, in the thread that calls `judge`.
    """

    def __init__(
        self,
        out: Path,
        folder: Path,
        *,
        ledger: Ledger,
        settings: AlertSettings,
        live: bool = True,
        command: AlertCommand | None = None,
    ) -> None:
        self._out, self._folder, self._ledger, self._command = out, folder, ledger, command
        alerts = ledger.alerts()
        last_number = max((alert.number for alert in alerts), default=0)
        restored = [alert for alert in alerts if alert.is_open]
        self._watch = AlertWatch(settings, live=live, restored=restored, last_number=last_number)
        self._unsaved: list[Alert] = []
        self._stars: Mapping[str, tuple[Star, ...]] | None = None
        self._rooms: tuple[DiskRoom, ...] = ()
        # One alert is enough where both are on one disk.
        folders = {path.stat().st_dev: path for path in (out, folder)}
        self._disks = [_DiskRate(path) for path in folders.values()]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_around, name="alerts", daemon=True)
        self.on_alert: Callable[[Alert], None] = lambda alert: None

    def start(self) -> None:
        """Learn from an earlier run what is usual, and start to look."""
        reader = LedgerReader(self._out)
        try:
            self._watch.learn(reader.outcomes_since(max(0, reader.last_sequence() - _LEARNT_OUTCOMES)))
        finally:
            reader.close()
        if self._command is not None:
            self._command.start()
        self._thread.start()

    def note_arrival(self, frame_id: int, arrival: FrameArrived) -> None:
        """Note a frame that has just arrived."""
        self._watch.note_arrival(frame_id, arrival, time.monotonic())

    def note_outcomes(self, outcomes: Sequence[FrameMeasured | FrameRejected]) -> None:
        """Judge frames that were committed just now."""
        self._watch.note_outcomes(outcomes, time.monotonic(), time.time())

    def judge(self, status: NightStatus) -> None:
        """Judge the health of the night, then tell of all that was raised or ended since the last call."""
        stars, self._stars = self._stars, None
        if stars is not None:
            self._watch.change_stars(stars, status.unix_s)
        rooms, self._rooms = self._rooms, ()
        self._watch.tick(status, time.monotonic(), rooms)
        self._tell()

    def finish(self) -> None:
        """End all alerts and the thread: the night is stopped. Safe to call twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._watch.finish(time.time())
        self._tell()
        if self._command is not None:
            self._command.stop()

    def close(self) -> None:
        """End thread and command, whatever happened; alerts that are open stay so for the next run."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        if self._command is not None:
            self._command.stop()

    def _tell(self) -> None:
        changed = self._watch.board.take_changes()
        for alert in changed:
            _log.warning("alert %s: %s", "raised" if alert.is_open else "ended", alert.line(time.time()))
            self.on_alert(alert)
            if self._command is not None:
                self._command.tell(alert)
        self._unsaved += changed
        if self._unsaved:
            try:
                self._ledger.save_alerts(self._unsaved)
                self._unsaved.clear()
            except LedgerError as problem:
                # A full disk is what an alert is about: frames decide whether the night can go on.
                _log.warning("alerts are not kept yet: %s", problem)

    def _look_around(self) -> None:
        finder: StarFinder | None = None
        next_disks_s = 0.0
        try:
            while not self._stopping.wait(_STARS_EVERY_S):
                try:
                    finder = finder or StarFinder(self._out)
                    stars = finder.look()
                    self._stars = stars if stars is not None else self._stars
                except OpticamLiveError as problem:
                    _log.info("target and comparison stars are not watched: %s", problem)
                except Exception:  # noqa: BLE001  (told in the log)
                    # The night must not end because nobody looks at its stars.
                    _log.exception("target and comparison stars are not watched")
                now_s = time.monotonic()
                if now_s >= next_disks_s:
                    next_disks_s = now_s + _DISKS_EVERY_S
                    self._rooms = tuple(room for disk in self._disks if (room := disk.room(now_s)))
        finally:
            if finder is not None:
                finder.close()


class _DiskRate:
    """Room on the disk of a folder, and how fast it becomes less."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._free: deque[tuple[float, int]] = deque()

    def room(self, now_s: float) -> DiskRoom | None:
        """Room now; None where the folder cannot be asked, as while its disk is not mounted."""
        try:
            free_bytes = shutil.disk_usage(self._folder).free
        except OSError:
            self._free.clear()
            return None
        self._free.append((now_s, free_bytes))
        while self._free[0][0] < now_s - _DISK_RATE_S:
            self._free.popleft()
        then_s, then_bytes = self._free[0]
        lasts_s = math.inf
        if now_s - then_s >= _LEAST_RATE_S and free_bytes < then_bytes:
            lasts_s = free_bytes * (now_s - then_s) / (then_bytes - free_bytes)
        return DiskRoom(str(self._folder), free_bytes, lasts_s)
