"""The whole service: how many frames a second, and how long from a closed file to its row and its message."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.camera import N_CAMERAS, Cameras
from benchmarks.running import ProcessUse, RunningNight, core_by_role, n_outcomes, wait_until
from benchmarks.sections import Section
from server.subscription import Subscription
from stream.messages import FrameMeasured
from stream.night.ledger import LEDGER_FILE

_FIRST_SHARE, _LAST_SHARE = 0.3, 0.95
_WARM_UP = 20  # exposures
WARM_UP_FRAMES = N_CAMERAS * _WARM_UP
_LISTEN_S = 0.02
_BACKLOG_S = 180.0
_LAST_OUTCOME_S = 60.0
_FEW_FOR_THOUSANDTH = 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """A backlog worked off.

    Attributes
    ----------
    night_ms, workers_ms : float
        Core time a frame of the night process (watcher, broker, ledger), and of all workers.
    """

    n_workers: int
    n_frames: int
    frames_per_s: float
    night_ms: float
    workers_ms: float


@dataclass(frozen=True, slots=True)
class LatencySeries:
    """Frames written at one rate, and what became of them.

    Attributes
    ----------
    committed_s, published_s : array, shape (n_frames,)
        From the closed file to its row being written, within the transaction that commits it, and to the message at a
        subscriber, which is published when the row is committed.
    core_ms : mapping
        Core time a frame, by role of the process.
    memory : sequence of ProcessUse
        At the end of the series.
    """

    frames_per_s: float
    committed_s: np.ndarray
    published_s: np.ndarray
    core_ms: Mapping[str, float]
    memory: Sequence[ProcessUse]


def measure_rate(cameras: Cameras, root: Path, n_workers: int, n_frames: int) -> Rate:
    """Let a night reduce frames that are all there; start-up, catalogs and the last frames do not count."""
    folder, out = root / "backlog", root / f"backlog-{n_workers}-workers"
    if not folder.exists():
        folder.mkdir(parents=True)
        cameras.write(folder, range(n_frames // N_CAMERAS))
    with RunningNight(folder, out, n_workers) as night:
        marks = []
        for share in (_FIRST_SHARE, _LAST_SHARE):
            night.wait_for_outcomes(int(share * n_frames), _BACKLOG_S)
            marks.append((time.monotonic(), n_outcomes(out), core_by_role(night.uses())))
    (began_s, first, before), (ended_s, last, after) = marks
    n = last - first
    return Rate(
        n_workers,
        n,
        n / (ended_s - began_s),
        1000.0 * (after["night"] - before["night"]) / n,
        1000.0 * (after["worker"] - before["worker"]) / n,
    )


class LiveNight:
    """A running night that is written to at one rate after the other, and a subscriber to it."""

    def __init__(self, night: RunningNight, cameras: Cameras, first_exposure: int = 0) -> None:
        self._night, self._cameras, self._next = night, cameras, first_exposure

    def warm_up(self) -> None:
        """Write the frames that the catalogs are made of, and some more; a worker's first frames take longer."""
        self._write_and_wait(_WARM_UP)

    def fill_up(self, n_rows: int) -> None:
        """Write frames until the night has about `n_rows` outcomes, at least those of `warm_up`."""
        self._write_and_wait(max(_WARM_UP, (n_rows - n_outcomes(self._night.out)) // N_CAMERAS))

    def measure(self, frames_per_s: float, n_frames: int) -> LatencySeries:
        """Write `n_frames`, three at once, and follow each to its row and its message."""
        exposures = range(self._next, self._next + n_frames // N_CAMERAS)
        self._next = exposures.stop
        n_before, before = n_outcomes(self._night.out), core_by_role(self._night.uses())
        with _Listener(self._night.out) as listener:
            closed = self._cameras.write_paced(self._night.folder, exposures, N_CAMERAS / frames_per_s)
            self._night.wait_for_outcomes(n_before + len(closed), _LAST_OUTCOME_S)
            wait_until(lambda: closed.keys() <= listener.heard.keys(), _LAST_OUTCOME_S, "the last published message")
        uses = self._night.uses()
        committed = _committed(self._night.out)
        return LatencySeries(
            frames_per_s,
            np.array([committed[name] - moment for name, moment in closed.items()]),
            np.array([listener.heard[name] - moment for name, moment in closed.items()]),
            {role: 1000.0 * (core - before[role]) / len(closed) for role, core in core_by_role(uses).items()},
            uses,
        )

    def _write_and_wait(self, n_exposures: int) -> None:
        n_before = n_outcomes(self._night.out)
        closed = self._cameras.write(self._night.folder, range(self._next, self._next + n_exposures))
        self._next += n_exposures
        self._night.wait_for_outcomes(n_before + len(closed))


class _Listener:
    """Hears on a thread of its own what the night publishes; `heard` is when, by name of the file."""

    def __init__(self, out: Path) -> None:
        self._subscription = Subscription(out)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._joined = threading.Event()
        self.heard: dict[str, float] = {}

    def __enter__(self) -> _Listener:
        self._subscription.look()
        self._thread.start()
        # The status of the night comes twice a second: the first message says that nothing will be missed.
        self._joined.wait(_LAST_OUTCOME_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._subscription.close()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            messages = self._subscription.receive(_LISTEN_S)
            now = time.time()
            self.heard.update({message.path: now for message in messages if isinstance(message, FrameMeasured)})
            if messages:
                self._joined.set()


def _committed(out: Path) -> dict[str, float]:
    """When each frame was committed, seconds since 1970, by name of the file."""
    connection = sqlite3.connect(f"file:{out / LEDGER_FILE}?mode=ro", uri=True)
    try:
        return dict(
            connection.execute("SELECT frame.path, outcome.committed_unix_s FROM outcome JOIN frame USING (frame_id)")
        )
    finally:
        connection.close()


def rate_section(rates: Sequence[Rate]) -> Section:
    """The table of rates."""
    texts = (
        "The whole service (`opticam-live watch --no-page`) on a backlog of 512 x 512 16-bit frames of three cameras, "
        "six sources, standard recipe. Start-up, catalogs and the last frames are left out. *night* is the process "
        "of watcher, broker and ledger; core time is milliseconds a frame.",
    )
    rows = tuple(
        (
            f"{rate.n_workers}",
            f"{rate.n_frames}",
            f"{rate.frames_per_s:.0f}",
            f"{rate.workers_ms:.2f}",
            f"{rate.night_ms:.2f}",
            f"{rate.workers_ms + rate.night_ms:.2f}",
        )
        for rate in rates
    )
    columns = ("workers", "frames", "frames/s", "core time, workers", "core time, night", "together")
    return Section("Rate of the whole service", texts, columns, rows)


def latency_section(series: Sequence[LatencySeries]) -> Section:
    """The table of latencies."""
    texts = (
        "The same frames written live, three files at once, to a night with two workers and its page served; the "
        "program that writes the frames runs on the same machine. From the file being closed to its row being written "
        "(the stamp in the row, taken within the transaction: the commit follows some tenths of a millisecond later), "
        "and to the message in another process, which is published when the row is committed; milliseconds. p99.9 of "
        "fewer than a thousand frames is not given. *core* is the core time a frame of all processes of the night, "
        "that of the page included.",
    )
    columns = ("frames/s", "frames", "to", "p50", "p99", "p99.9", "longest", "core ms")
    rows = []
    for one in series:
        total = f"{sum(one.core_ms.values()):.2f}"
        for name, seconds in (("row", one.committed_s), ("message", one.published_s)):
            rows.append((f"{one.frames_per_s:g}", f"{len(seconds)}", name, *_quantiles_ms(seconds), total))
    return Section("From closed file to row and message", texts, columns, tuple(rows), n_words=3)


def _quantiles_ms(seconds: np.ndarray) -> tuple[str, ...]:
    p50, p99, p999 = 1000.0 * np.quantile(seconds, (0.5, 0.99, 0.999))
    thousandth = f"{p999:.1f}" if len(seconds) >= _FEW_FOR_THOUSANDTH else "-"
    return f"{p50:.1f}", f"{p99:.1f}", thousandth, f"{1000.0 * seconds.max():.1f}"
