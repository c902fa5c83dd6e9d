"""A night of numbers alone, handed to `AlertWatch` second by second: no frame is simulated, no clock is read."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from stream.alerts import Alert, AlertSettings
from stream.errors import Reason
from stream.messages import (
    SOURCE_COLUMNS,
    FrameArrived,
    FrameMeasured,
    FrameRejected,
    FrameToMeasure,
    NightStatus,
)
from stream.night.alert_frames import Star
from stream.night.alerts import AlertWatch, DiskRoom
from stream.timestamps import unix_to_mjd
from tests.night.ledger_rows import make_measured

START_UNIX_S = 1_700_622_000.0
STARS = {"1:g": (Star(2, True), Star(1, False), Star(3, False))}
QUIET = NightStatus(
    state="live",
    unix_s=START_UNIX_S,
    n_measured=0,
    n_rejected=0,
    n_waiting=0,
    n_queued=0,
    n_in_work=1,
    n_workers=2,
    n_worker_restarts=0,
    frames_per_s=1.0,
    lag_s=0.02,
    last_frame_unix_s=START_UNIX_S,
)
_USUAL = {"transparency": 1.0, "fwhm_px": 4.0, "sky_e_per_px": 100.0}
ROOMY = DiskRoom("/data", 5e11)


@functools.cache
def flagged(key: str, source_flags: tuple[tuple[int, int], ...]) -> FrameMeasured:
    """A measured frame whose sources have these flags."""
    measured = make_measured(FrameToMeasure(1, "1.fit"), 1, key)
    rows = measured.source_table().copy()
    rows[SOURCE_COLUMNS.index("flags")] = 0.0
    for number, flags in source_flags:
        rows[SOURCE_COLUMNS.index("flags"), number - 1] = flags
    return msgspec.structs.replace(measured, flags=0, exposure_s=0.5, sources=rows.tobytes())


@dataclass(slots=True)
class WatchedNight:
    """One key at one frame a `cadence_s`, until told otherwise."""

    settings: AlertSettings = field(default_factory=AlertSettings)
    cadence_s: float = 1.0
    clock_off_s: float = 0.0
    watch: AlertWatch = field(init=False)
    now_s: float = 0.0
    number: int = 0
    told: list[Alert] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = AlertWatch(self.settings)
        self.watch.change_stars(STARS, START_UNIX_S)

    def frame(self, key: str = "1:g", *, source_flags: dict[int, int] | None = None, **changes: Any) -> None:
        """Let a frame of `key` be written, found and measured, and the time of one cadence pass before."""
        self.number += 1
        self.wait(self.cadence_s)
        self.measure(self.arrive(key), key, source_flags or {}, **changes)

    def arrive(self, key: str, late_s: float = 0.05) -> float:
        """Let a frame arrive; returns the middle of its exposure by its header, MJD."""
        unix_s = START_UNIX_S + self.now_s
        mjd = unix_to_mjd(unix_s - 0.25 - self.clock_off_s)
        arrival = FrameArrived(
            f"{self.number}.fit", 100, round((unix_s + late_s) * 1e9), unix_s + late_s + 0.02, key, mjd
        )
        self.watch.note_arrival(self.number, arrival, self.now_s)
        return mjd

    def measure(self, mjd: float, key: str, source_flags: dict[int, int], **changes: Any) -> None:
        """Let a frame be committed."""
        measured = flagged(key, tuple(source_flags.items()))
        self.note(msgspec.structs.replace(measured, frame_id=self.number, time_mjd_utc=mjd, **changes))

    def reject(self, key: str | None = "1:g", reason: Reason = Reason.TRUNCATED) -> None:
        """Let a frame be rejected."""
        self.number += 1
        self.wait(self.cadence_s)
        if key is not None:
            self.arrive(key)
        self.note(FrameRejected(self.number, f"{self.number}.fit", reason, f"{self.number}.fit is short", key))

    def note(self, outcome: FrameMeasured | FrameRejected) -> None:
        """Hand over an outcome."""
        self.watch.note_outcomes([outcome], self.now_s, START_UNIX_S + self.now_s)

    def wait(self, duration_s: float, *, rooms: tuple[DiskRoom, ...] = (ROOMY,), **health: object) -> None:
        """Let time pass, with a look each half second, or four times a cadence where that is long."""
        n_looks = math.ceil(duration_s / max(0.5, 0.25 * self.cadence_s))
        for _ in range(n_looks):
            self.now_s += duration_s / n_looks
            self.tick(rooms=rooms, **health)

    def tick(self, *, rooms: tuple[DiskRoom, ...] = (ROOMY,), **health: object) -> None:
        """One look at the health of the night."""
        status = msgspec.structs.replace(QUIET, unix_s=START_UNIX_S + self.now_s, **health)
        self.watch.tick(status, self.now_s, rooms)
        self.told += self.watch.board.take_changes()

    def frames(self, n: int, **changes: Any) -> None:
        """Let some frames come that are alike, apart from a little noise."""
        random = np.random.default_rng(self.number)
        levels = {name: changes.pop(name, usual) for name, usual in _USUAL.items()}
        for _ in range(n):
            noisy = {name: level * random.normal(1.0, 0.02) for name, level in levels.items()}
            self.frame(**noisy, **changes)

    def raised(self) -> list[str]:
        """Titles of all alerts that were ever raised, in order."""
        return [alert.title for alert in self.told if alert.is_open]

    def open(self) -> list[str]:
        """Titles of those that last."""
        return [alert.title for alert in self.watch.board.open_alerts()]
