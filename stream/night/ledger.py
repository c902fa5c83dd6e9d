"""The ledger: one row for every frame that ever appeared, and exactly one terminal state each.

`Ledger` is the writing side and belongs to the night process alone; `LedgerReader` is read-only and may be opened by
any process at any time, also while the night runs. The file is SQLite in WAL mode: readers never block the writer.
A commit survives the end of the process however it ends; on a power failure the last ones may be missing, and the
same command measures those frames again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from stream.alerts import Alert
from stream.config import Recipe
from stream.errors import LedgerBusyError, LedgerError, NightError, RecipeMismatchError
from stream.messages import (
    ENCODER,
    Catalog,
    FrameArrived,
    FrameMeasured,
    FrameRejected,
    FrameToMeasure,
    NightStatus,
)
from stream.night import ledger_schema as schema
from stream.night import ledger_sets as sets
from stream.night.ledger_alerts import TABLE as ALERT_TABLE
from stream.night.ledger_alerts import read_alerts, write_alerts
from stream.night.ledger_reader import LedgerReader
from stream.night.ledger_schema import LEDGER_FILE, LedgerCounts, UnfinishedFrame
from stream.night.ledger_sets import FileStamp, KnownFile

__all__ = ["LEDGER_FILE", "Ledger", "LedgerCounts", "LedgerReader", "UnfinishedFrame"]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Reopened:
    """A frame that is measured again: the file as it is now, and the state of the outcome that stands until then."""

    arrival: FrameArrived
    state: str


@dataclass(slots=True)
class _Entered:
    """What one batch of arrivals comes to: frames to measure, those among them that had an outcome, and frames whose
    file changed while they are measured."""

    frames: list[FrameToMeasure] = field(default_factory=list)
    reopened: dict[int, _Reopened] = field(default_factory=dict)
    changed: dict[int, FrameArrived] = field(default_factory=dict)


def _stamp_of(arrival: FrameArrived) -> FileStamp:
    return arrival.size_bytes, arrival.mtime_ns


class Ledger:
    """The writing side; one night process holds it at a time.

    Parameters
    ----------
    out : Path
        Folder of the night's outputs; must exist.
    recipe : Recipe
        What the measurements of this night are made with.
    folder : Path or None
        Folder of the frames; kept so that readers find them.
    remeasure : bool
        Start a second set of measurements: every frame is unfinished again, the first set stays stored. The set is
        opened by `begin` or by the first write; until then readers see the former one. The same again goes on with
        a second set that is not finished.
    catalogs : mapping of key to version
        Catalogs that are about to be given to the night.

    Raises
    ------
    ConfigurationError
        If the ledger belongs to another folder of frames.
    RecipeMismatchError
        If the ledger belongs to another recipe; the sentence names the settings that differ.
    LedgerError
        If the file cannot be opened or is not a ledger of this version.

    Attributes
    ----------
    on_busy : callable
        Told in a sentence why nothing can be written now, as the disk is full or another program holds the file; it
        waits, and returns whether to try again. Without it that is a LedgerBusyError at once.
    """

    def __init__(
        self,
        out: Path,
        recipe: Recipe,
        *,
        folder: Path | None = None,
        remeasure: bool = False,
        catalogs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._path, self._recipe = out / LEDGER_FILE, recipe
        self._reopened: dict[int, _Reopened] = {}
        self._changed: dict[int, FrameArrived] = {}
        self.on_busy: Callable[[str], bool] = lambda sentence: False
        try:
            self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
        except sqlite3.Error as error:
            raise LedgerError(f"ledger {self._path} cannot be opened: {error}") from error
        try:
            self._prepare(folder)
            chosen = sets.choose_set(self._connection, recipe, self._path, remeasure=remeasure, catalogs=catalogs)
            self._set_id, self._is_open = chosen.set_id, not chosen.is_new
            if chosen.set_id == 1:
                self.begin()
            row = self._connection.execute("SELECT COALESCE(MAX(sequence), 0) FROM outcome").fetchone()
        except sqlite3.Error as error:
            self._connection.close()
            raise LedgerError(f"ledger {self._path} cannot be used: {schema.explain(error, self._path)}") from error
        except NightError:
            self._connection.close()
            raise
        self._sequence = int(row[0])

    @property
    def last_sequence(self) -> int:
        """Sequence of the newest outcome, 0 before the first."""
        return self._sequence

    def begin(self) -> None:
        """Open the set of measurements, from now on the newest for readers; safe to call twice; raises LedgerError."""
        self._write(lambda: None)

    def enter(self, arrivals: Sequence[FrameArrived]) -> list[FrameToMeasure]:
        """Give each file that was never seen its number; files that the ledger knows are left out.

        A file that is another one since it has its outcome is taken again: it keeps its number, and its old outcome
        until the new one is committed. One that changed before it has its outcome is left to `take_changed`.

        Raises
        ------
        LedgerError
            If it cannot be written; nothing was entered then.
        """
        entered = self._write(lambda: self._enter(arrivals))
        self._reopened |= entered.reopened
        self._changed |= entered.changed
        return entered.frames

    def _enter(self, arrivals: Sequence[FrameArrived]) -> _Entered:
        # Nothing but the file is changed here: what cannot be written is tried again from the start.
        entered = _Entered()
        for arrival in arrivals:
            row = (
                arrival.path,
                arrival.key,
                arrival.size_bytes,
                arrival.mtime_ns,
                arrival.arrived_unix_s,
                arrival.time_mjd_utc,
            )
            cursor = self._connection.execute(schema.INSERT_FRAME, row)
            if cursor.rowcount == 1 and cursor.lastrowid is not None:
                entered.frames.append(FrameToMeasure(cursor.lastrowid, arrival.path))
            else:
                self._reopen(arrival, entered)
        return entered

    def _reopen(self, arrival: FrameArrived, entered: _Entered) -> None:
        """Take a frame again that the ledger knows, if its file is another one."""
        known = sets.known_frame(self._connection, self._set_id, arrival.path)
        if known is None:
            return
        taken = self._reopened.get(known.frame_id)
        stamp = (known.size_bytes, known.mtime_ns) if taken is None else _stamp_of(taken.arrival)
        if stamp == _stamp_of(arrival):
            return
        if known.state is None or taken is not None:
            # Whoever measures it may have read it before it changed.
            entered.changed[known.frame_id] = arrival
            return
        entered.reopened[known.frame_id] = _Reopened(arrival, known.state)
        entered.frames.append(FrameToMeasure(known.frame_id, arrival.path))

    def take_changed(self, outcomes: Sequence[FrameMeasured | FrameRejected]) -> list[FrameArrived]:
        """Arrivals of the files of these frames that changed before their outcome was committed, to be entered now."""
        changed = (self._changed.pop(outcome.frame_id, None) for outcome in outcomes) if self._changed else ()
        return [arrival for arrival in changed if arrival is not None]

    def standing(self, frame_id: int) -> str | None:
        """State of the outcome that the next one of a frame is to replace; None where there is none."""
        reopened = self._reopened.get(frame_id)
        return None if reopened is None else reopened.state

    def reopenable(self) -> dict[str, KnownFile]:
        """Files rejected as incomplete, by path, as they were then."""
        return sets.reopenable_files(self._connection, self._set_id)

    def reopenable_file(self, path: str) -> KnownFile | None:
        """The same for one of them; None if it is none."""
        return sets.reopenable_file(self._connection, self._set_id, path)

    def commit(self, outcomes: Sequence[FrameMeasured | FrameRejected]) -> list[FrameMeasured | FrameRejected]:
        """Store outcomes in one transaction and return them with their sequence.

        A frame that has its terminal state keeps it: a second outcome is dropped and not returned. That of a frame
        which was taken again replaces the first, with a new sequence; but a measurement is not replaced by a
        rejection, which is dropped as well.

        Raises
        ------
        LedgerError
            If it cannot be written; nothing was committed then.
        """
        committed = self._write(lambda: self._commit(outcomes))
        self._sequence += len(committed)
        for outcome in outcomes:
            self._reopened.pop(outcome.frame_id, None)
        return committed

    def _commit(self, outcomes: Sequence[FrameMeasured | FrameRejected]) -> list[FrameMeasured | FrameRejected]:
        committed: list[FrameMeasured | FrameRejected] = []
        for outcome in outcomes:
            self._clear_reopened(outcome)
            sequence = self._sequence + len(committed) + 1
            # As near the commit as a row can say it; the rest of the transaction takes a tenth of a millisecond.
            row = schema.outcome_row(outcome, sequence, self._set_id, time.time())
            if self._connection.execute(schema.INSERT_OUTCOME, row).rowcount == 1:
                committed.append(msgspec.structs.replace(outcome, sequence=sequence))
        return committed

    def _clear_reopened(self, outcome: FrameMeasured | FrameRejected) -> None:
        """Make room for the new outcome of a frame that was taken again, and note the file that it is of."""
        reopened, frame_id = self._reopened.get(outcome.frame_id), outcome.frame_id
        if reopened is None:
            return
        arrival = reopened.arrival
        if reopened.state == "measured" and isinstance(outcome, FrameRejected):
            self._connection.execute(schema.UPDATE_FILE, (*_stamp_of(arrival), frame_id))
            return
        values = (arrival.key, *_stamp_of(arrival), arrival.time_mjd_utc, frame_id)
        self._connection.execute(schema.UPDATE_FRAME, values)
        self._connection.execute("DELETE FROM outcome WHERE set_id = ? AND frame_id = ?", (self._set_id, frame_id))

    def save_catalog(self, catalog: Catalog) -> None:
        """Store the catalog of a key, once for a set of measurements.

        Raises
        ------
        RecipeMismatchError
            If the key has another catalog already.
        LedgerError
            If it cannot be written.
        """
        old = self.catalogs().get(catalog.key)
        if old is not None and old.version != catalog.version:
            raise RecipeMismatchError(
                f"catalog of {catalog.key} is version {catalog.version}, but frames in {self._path.parent} were "
                f"measured with version {old.version}: --remeasure starts a second set of measurements"
            )
        row = (self._set_id, catalog.key, catalog.version, ENCODER.encode(catalog))
        self._write(
            lambda: self._connection.execute("INSERT INTO catalog VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
        )

    def save_status(self, status: NightStatus) -> None:
        """Replace the stored status of the night; raises LedgerError."""
        row = (ENCODER.encode(status),)
        self._write(lambda: self._connection.execute("REPLACE INTO status VALUES (1, ?)", row))

    def save_alerts(self, alerts: Sequence[Alert]) -> None:
        """Store alerts that began or ended; raises LedgerError."""
        self._write(lambda: write_alerts(self._connection, alerts))

    def alerts(self, limit: int = 200) -> tuple[Alert, ...]:
        """Alerts of the night, newest first: the newest `limit`, and all that are open."""
        return read_alerts(self._connection, limit)

    def calibrations(self) -> dict[str, str]:
        """Version of the masters that the newest measured frame of each key was calibrated with."""
        return schema.last_calibrations(self._connection, self._set_id)

    def catalogs(self) -> dict[str, Catalog]:
        """Catalogs of this set of measurements, by key."""
        return schema.read_catalogs(self._connection, self._set_id)

    def counts(self) -> LedgerCounts:
        """Frames by state, in this set of measurements."""
        return schema.count_outcomes(self._connection, self._set_id)

    def known_files(self) -> dict[str, FileStamp]:
        """Size in bytes and modification time in nanoseconds of every file of the ledger, by path."""
        rows = self._connection.execute("SELECT path, size_bytes, mtime_ns FROM frame")
        return {path: (size_bytes, mtime_ns) for path, size_bytes, mtime_ns in rows}

    def unfinished(self) -> list[UnfinishedFrame]:
        """Frames without a terminal state in this set of measurements, in order of time, then path."""
        rows = self._connection.execute(
            "SELECT frame_id, path, key, time_mjd_utc, arrived_unix_s FROM frame WHERE NOT EXISTS"
            " (SELECT 1 FROM outcome WHERE set_id = ? AND outcome.frame_id = frame.frame_id)"
            " ORDER BY time_mjd_utc, path",
            (self._set_id,),
        )
        return [
            UnfinishedFrame(FrameToMeasure(frame_id, path), key, mjd, arrived)
            for frame_id, path, key, mjd, arrived in rows
        ]

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()

    def _prepare(self, folder: Path | None) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, schema.SCHEMA_VERSION):
            raise LedgerError(f"ledger {self._path} has version {version}: version {schema.SCHEMA_VERSION} is required")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        if version == 0:
            self._connection.executescript(schema.TABLES)
            self._connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
        self._connection.execute(ALERT_TABLE)
        if folder is not None:
            moved = sets.refuse_other_folder(self._connection, folder.resolve(), self._path)
            with self._connection:
                self._connection.execute("BEGIN")
                self._connection.executemany(schema.UPDATE_TIME, moved)
            self._connection.execute("REPLACE INTO night VALUES ('folder', ?)", (str(folder.resolve()),))

    def _write(self, body: Callable[[], T]) -> T:
        """Write in one transaction, again while the ledger is busy and `on_busy` says so."""
        while True:
            try:
                return self._write_once(body)
            except LedgerBusyError as error:
                if not self.on_busy(str(error)):
                    raise

    def _write_once(self, body: Callable[[], T]) -> T:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if not self._is_open:
                    row = (self._set_id, self._recipe.hash(), self._recipe.to_toml(), time.time())
                    self._connection.execute(schema.INSERT_SET, row)
                result = body()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # where the disk is full SQLite has rolled back itself
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            kind = LedgerBusyError if schema.is_passing(error) else LedgerError
            raise kind(f"ledger {self._path} cannot be written: {schema.explain(error, self._path)}") from error
        self._is_open = True
        return result
