"""A night of 100,000 frames: what it costs to store, to open, to read and to go on with.

The first frames are measured by a real night. The rows up to 100,000 are written through the real ledger, as a worker
would have them written, by copying measurements and giving them times of their own and fluxes with new noise. Then the
real night goes on in the same folder.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.camera import N_CAMERAS, SETTINGS, Cameras
from benchmarks.clocks import core_seconds, least_seconds
from benchmarks.running import ProcessUse, RunningNight, answer_time, end, n_outcomes, start
from benchmarks.sections import Section
from benchmarks.service import WARM_UP_FRAMES, LatencySeries, LiveNight
from benchmarks.sinks import CommitBench
from benchmarks.viewers import Viewers
from simulator.settings import key_of_filter
from stream.messages import FrameArrived, FrameMeasured
from stream.night.ledger import LEDGER_FILE, Ledger, LedgerReader
from stream.night.night_folder import read_run_file
from stream.timestamps import SECONDS_PER_DAY

SHORT, LONG = 1_000, 100_000
_AT_ONCE = 1_000
_PROBED_ROWS = 300
_PASSES = 5
_NOISE = 0.005
_LIVE_RATE = 30.0
_FRAMES_TO_SETTLE = 20  # of each camera


@dataclass(frozen=True, slots=True)
class LedgerCost:
    """What a ledger of some length costs.

    Attributes
    ----------
    commit_ms : float
        Core time of one more row, arrival and outcome, three to a transaction.
    bytes_per_frame : float
        Size of the file, the write-ahead log included, over its rows.
    open_ms, light_curve_ms, page_s : float
        Wall time: a reader opened and the catalogs read; light curves of all sources of a key with one photometer,
        read; `opticam-live serve` from the command to the answer to its first request.
    """

    n_rows: int
    commit_ms: float
    bytes_per_frame: float
    open_ms: float
    light_curve_ms: float
    page_s: float


@dataclass(frozen=True, slots=True)
class LongNight:
    """The same measurements on a short and a long night."""

    ledgers: Sequence[LedgerCost]
    live: Sequence[tuple[int, LatencySeries]]
    """Rows in the ledger when a live series ended, and the series."""
    looks: Sequence[Look] = ()
    """What it costs the page to be looked at, then."""


@dataclass(frozen=True, slots=True)
class Look:
    """Core time of the process of the page while one viewer looks at a live night, beyond that without a viewer.

    Attributes
    ----------
    alone_ms, core_ms : float
        Core time a second without and with the viewer, milliseconds.
    refreshes_per_s : float
        How often the viewer was sent an update and had drawn it.
    """

    n_rows: int
    alone_ms: float
    core_ms: float
    refreshes_per_s: float

    @property
    def refresh_ms(self) -> float:
        """Core time of one refresh, milliseconds; NaN if there was none."""
        return (self.core_ms - self.alone_ms) / self.refreshes_per_s if self.refreshes_per_s else math.nan


def lengthen(out: Path, n_rows: int) -> None:
    """Fill the ledger of a night that has ended up to `n_rows` rows, whole exposures, through the ledger itself."""
    reader = LedgerReader(out)
    recipe, last = reader.recipe(), reader.last_sequence()
    known = [
        outcome
        for outcome in reader.outcomes_since(max(0, last - _AT_ONCE), _AT_ONCE)
        if isinstance(outcome, FrameMeasured)
    ]
    reader.close()
    ledger = Ledger(out, recipe)
    try:
        rows = _continued(known, last // N_CAMERAS, N_CAMERAS * (n_rows // N_CAMERAS) - last)
        while batch := list(islice(rows, _AT_ONCE)):
            entered = ledger.enter([arrival for arrival, _ in batch])
            ledger.commit(
                [
                    msgspec.structs.replace(message, frame_id=frame.frame_id)
                    for frame, (_, message) in zip(entered, batch, strict=True)
                ]
            )
    finally:
        ledger.close()


def _continued(
    known: Sequence[FrameMeasured], first_exposure: int, n_rows: int
) -> Iterator[tuple[FrameArrived, FrameMeasured]]:
    """Arrivals and measurements of the exposures that follow; their names are those that the camera would give."""
    generator = np.random.default_rng(71)
    by_key = {name: [one for one in known if one.key == key_of_filter(name)] for name in SETTINGS.filters}
    for number in range(n_rows):
        index, name = first_exposure + number // N_CAMERAS, SETTINGS.filters[number % N_CAMERAS]
        source = by_key[name][number // N_CAMERAS % len(by_key[name])]
        time_mjd = by_key[name][-1].time_mjd_utc + (1 + number // N_CAMERAS) * SETTINGS.cadence_s / SECONDS_PER_DAY
        table = source.source_table().copy()
        table[len(table) - 2 * len(source.labels) :: 2] *= 1.0 + _NOISE * generator.standard_normal(table.shape[1])
        path = SETTINGS.file_name(name, index)
        yield (
            FrameArrived(path, 527_040, number, time.time(), source.key, time_mjd),
            msgspec.structs.replace(
                source,
                path=path,
                time_mjd_utc=time_mjd,
                time_bmjd_tdb=source.time_bmjd_tdb + time_mjd - source.time_mjd_utc,
                sources=table.astype("<f8").tobytes(),
            ),
        )


def cost_of(out: Path) -> LedgerCost:
    """Measure the ledger of a night that has ended; rows are added to a copy of it."""
    n_rows = n_outcomes(out)
    size = sum(path.stat().st_size for path in out.glob(f"{LEDGER_FILE}*"))
    reader = LedgerReader(out)
    recipe, key = reader.recipe(), key_of_filter(SETTINGS.filters[0])
    messages = [one for one in reader.outcomes_since(n_rows - _PROBED_ROWS) if isinstance(one, FrameMeasured)]
    label = recipe.default_label()
    curve_ms = 1000.0 * least_seconds(lambda: reader.source_fluxes(key, label), _PASSES)
    reader.close()
    page_s = min(_seconds_to_page(out) for _ in range(2))
    copy = out.with_name(f"{out.name}-copy")
    copy.mkdir()
    shutil.copy(out / LEDGER_FILE, copy)
    with CommitBench(copy, recipe) as ledger:
        commit = min(core_seconds(lambda: ledger.commit(messages, _PROBED_ROWS)) for _ in range(_PASSES))
    shutil.rmtree(copy)
    return LedgerCost(
        n_rows,
        1000.0 * commit / _PROBED_ROWS,
        size / n_rows,
        1000.0 * least_seconds(lambda: _open(out), _PASSES),
        curve_ms,
        page_s,
    )


def measure_long_night(cameras: Cameras, root: Path, *, live_frames: int, n_rows: int = LONG) -> LongNight:
    """A night of about `SHORT` frames, live; the same lengthened to `n_rows`, live again."""
    folder, out = root / "long", root / "long-out"
    folder.mkdir(parents=True)
    live, ledgers, looks = [], [], []
    for length in (SHORT, n_rows):
        rows = length - live_frames
        if n_outcomes(out):
            lengthen(out, rows - WARM_UP_FRAMES)
        with RunningNight(folder, out, 2, page=True) as night:
            writer = LiveNight(night, cameras, first_exposure=n_outcomes(out) // N_CAMERAS)
            writer.fill_up(rows)
            series = writer.measure(_LIVE_RATE, live_frames)
            live.append((n_outcomes(out), series))
            looks.append(_look_at(night, writer, series, live_frames))
        ledgers.append(cost_of(out))
    return LongNight(ledgers, live, looks)


def _look_at(night: RunningNight, writer: LiveNight, alone: LatencySeries, n_frames: int) -> Look:
    """Go on with the night under the eyes of a viewer."""
    with Viewers(read_run_file(night.out).page or "", 1) as viewers:
        writer.measure(_LIVE_RATE, N_CAMERAS * _FRAMES_TO_SETTLE)  # what is made when it is first looked at
        n_before = viewers.n_updates
        series = writer.measure(_LIVE_RATE, n_frames)
        refreshes = (viewers.n_updates - n_before) / n_frames * _LIVE_RATE
    alone_ms, core_ms = (_LIVE_RATE * one.core_ms["page"] for one in (alone, series))
    return Look(n_outcomes(night.out), alone_ms, core_ms, refreshes)


def _open(out: Path) -> None:
    reader = LedgerReader(out)
    reader.catalogs()
    reader.close()


def _seconds_to_page(out: Path) -> float:
    """From the command to the answer of its server; the page is ended again."""
    started = time.perf_counter()
    process = start(["serve", str(out), "--port", "0"])
    try:
        return answer_time(process) - started
    finally:
        end(process)


def ledger_section(night: LongNight) -> Section:
    """The table of what the ledger costs."""
    texts = (
        f"The ledger of a night of three cameras, six sources each. Rows beyond the first {SHORT} were put in through "
        "the real ledger, as copies of measurements with times of their own and new noise; nothing else was made up. "
        "*commit*: core time of one more row, arrival and outcome, three to a transaction. *open*: a reader and its "
        "catalogs. *light curves*: all sources of one key with one photometer. *page*: from the command "
        "`opticam-live serve` to the answer to the first request. All but the commit are wall time.",
    )
    columns = ("rows", "commit ms", "bytes a frame", "open ms", "light curves ms", "page s")
    rows = tuple(
        (
            f"{cost.n_rows}",
            f"{cost.commit_ms:.3f}",
            f"{cost.bytes_per_frame:.0f}",
            f"{cost.open_ms:.1f}",
            f"{cost.light_curve_ms:.1f}",
            f"{cost.page_s:.2f}",
        )
        for cost in night.ledgers
    )
    return Section("Length of the night: the ledger", texts, columns, rows)


def memory_section(night: LongNight) -> Section:
    """The table of memory and core time of the processes."""
    texts = (
        "Processes of a live night at 30 frames/s, at the end of a series, on those two nights: resident memory, MB, "
        "shared pages included (of the workers the larger), and core time a frame, milliseconds (of the workers "
        "together). No browser looks at the page.",
    )
    columns = ("rows", "process", "memory MB", "core ms a frame")
    rows = []
    for n_rows, series in night.live:
        for use in _largest_of_each(series.memory):
            rows.append((f"{n_rows}", use.role, f"{use.memory_mb:.0f}", f"{series.core_ms[use.role]:.2f}"))
    return Section("Length of the night: the processes", texts, columns, tuple(rows), n_words=2)


def look_section(night: LongNight) -> Section:
    """The table of what a refresh costs the page."""
    texts = (
        "The process of the page on those two nights at 30 frames/s, without a viewer and with one that takes all that "
        "it is sent and says at once that it is drawn: core time a second, milliseconds. *refresh* is the difference "
        "over the number of updates that were sent to it.",
    )
    columns = ("rows", "nobody looks", "one viewer", "refreshes/s", "refresh ms")
    rows = tuple(
        (
            f"{look.n_rows}",
            f"{look.alone_ms:.0f}",
            f"{look.core_ms:.0f}",
            f"{look.refreshes_per_s:.1f}",
            f"{look.refresh_ms:.1f}",
        )
        for look in night.looks
    )
    return Section("Length of the night: a refresh of the page", texts, columns, rows)


def _largest_of_each(uses: Sequence[ProcessUse]) -> list[ProcessUse]:
    roles = dict.fromkeys(use.role for use in uses)
    return [max((use for use in uses if use.role == role), key=lambda use: use.memory_mb) for role in roles]
