"""The ledger: one row for every frame that ever appeared, and exactly one terminal state each.

`Ledger` is the writing side and belongs to the night process alone; `LedgerReader` is read-only and may be opened by
any process at any time, also while the night runs. The file is SQLite in WAL mode: readers never block the writer.
A commit survives the end of the process however it ends; on a power failure the last ones may be missing, and the
same command measures those frames again.
"""

from __future__ import annotations

import sqlite3
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import msgspec

from stream.config import Recipe, recipe_from_toml
from stream.errors import ConfigurationError, LedgerError, NightError, RecipeMismatchError
from stream.messages import (
    ENCODER,
    Catalog,
    FrameArrived,
    FrameMeasured,
    FrameRejected,
    FrameToMeasure,
    NightStatus,
    SourceFluxes,
    source_columns,
)
from stream.night import ledger_schema as schema
from stream.night import ledger_sets as sets
from stream.night.ledger_schema import LEDGER_FILE, LedgerCounts, UnfinishedFrame
from stream.night.ledger_sets import KnownFile

__all__ = ["LEDGER_FILE", "Ledger", "LedgerCounts", "LedgerReader", "UnfinishedFrame"]

_STATUS = msgspec.msgpack.Decoder(NightStatus)


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
        self._reopened: dict[int, FrameArrived] = {}
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
            raise LedgerError(f"ledger {self._path} cannot be used: {error}") from error
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
        with self._transaction():
            pass

    def enter(self, arrivals: Sequence[FrameArrived]) -> list[FrameToMeasure]:
        """Give each file that was never seen its number; files that the ledger knows are left out.

        A file that was rejected as incomplete and is another one since is taken again: it keeps its number, and its
        old outcome until the new one is committed.

        Raises
        ------
        LedgerError
            If it cannot be written; nothing was entered then.
        """
        entered = []
        with self._transaction():
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
                    entered.append(FrameToMeasure(cursor.lastrowid, arrival.path))
                elif (frame_id := self._reopen(arrival)) is not None:
                    entered.append(FrameToMeasure(frame_id, arrival.path))
        return entered

    def _reopen(self, arrival: FrameArrived) -> int | None:
        known = sets.reopenable_file(self._connection, self._set_id, arrival.path)
        if known is None or (known.size_bytes, known.mtime_ns) == (arrival.size_bytes, arrival.mtime_ns):
            return None
        self._reopened[known.frame_id] = arrival
        return known.frame_id

    def is_reopened(self, frame_id: int) -> bool:
        """Whether the next outcome of a frame replaces the one that it has."""
        return frame_id in self._reopened

    def reopenable(self) -> dict[str, KnownFile]:
        """Files rejected as incomplete, by path, as they were then."""
        return sets.reopenable_files(self._connection, self._set_id)

    def reopenable_file(self, path: str) -> KnownFile | None:
        """The same for one of them; None if it is none."""
        return sets.reopenable_file(self._connection, self._set_id, path)

    def commit(self, outcomes: Sequence[FrameMeasured | FrameRejected]) -> list[FrameMeasured | FrameRejected]:
        """Store outcomes in one transaction and return them with their sequence.

        A frame that has its terminal state keeps it: a second outcome is dropped and not returned. That of a frame
        which was taken again replaces the first, with a new sequence.

        Raises
        ------
        LedgerError
            If it cannot be written; nothing was committed then.
        """
        committed: list[FrameMeasured | FrameRejected] = []
        sequence, now = self._sequence, time.time()
        with self._transaction():
            for outcome in outcomes:
                self._clear_reopened(outcome.frame_id)
                row = schema.outcome_row(outcome, sequence + 1, self._set_id, now)
                if self._connection.execute(schema.INSERT_OUTCOME, row).rowcount == 1:
                    sequence += 1
                    committed.append(msgspec.structs.replace(outcome, sequence=sequence))
        self._sequence = sequence
        for outcome in outcomes:
            self._reopened.pop(outcome.frame_id, None)
        return committed

    def _clear_reopened(self, frame_id: int) -> None:
        arrival = self._reopened.get(frame_id)
        if arrival is not None:
            values = (arrival.key, arrival.size_bytes, arrival.mtime_ns, arrival.time_mjd_utc, frame_id)
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
        with self._transaction():
            self._connection.execute(
                "INSERT INTO catalog VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (self._set_id, catalog.key, catalog.version, ENCODER.encode(catalog)),
            )

    def save_status(self, status: NightStatus) -> None:
        """Replace the stored status of the night; raises LedgerError."""
        with self._transaction():
            self._connection.execute("REPLACE INTO status VALUES (1, ?)", (ENCODER.encode(status),))

    def calibrations(self) -> dict[str, str]:
        """Version of the masters that the newest measured frame of each key was calibrated with."""
        return schema.last_calibrations(self._connection, self._set_id)

    def catalogs(self) -> dict[str, Catalog]:
        """Catalogs of this set of measurements, by key."""
        return schema.read_catalogs(self._connection, self._set_id)

    def counts(self) -> LedgerCounts:
        """Frames by state, in this set of measurements."""
        return schema.count_outcomes(self._connection, self._set_id)

    def known_files(self) -> dict[str, tuple[int, int]]:
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
        if folder is not None:
            sets.refuse_other_folder(self._connection, folder.resolve(), self._path)
            self._connection.execute("REPLACE INTO night VALUES ('folder', ?)", (str(folder.resolve()),))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if not self._is_open:
                    row = (self._set_id, self._recipe.hash(), self._recipe.to_toml(), time.time())
                    self._connection.execute(schema.INSERT_SET, row)
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            self._is_open = True
        except sqlite3.Error as error:
            raise LedgerError(f"ledger {self._path} cannot be written: {error}") from error


class LedgerReader:
    """The reading side, for any process and any of its threads.

    Every answer is of the newest set of measurements, at the moment of the question; or, where a label is given, of
    the newest set that this photometer measured, as it was when the reader was made.

    Raises
    ------
    LedgerError
        If there is no ledger in `out`, or it cannot be read; later also by every method. If no set of measurements
        has a photometer `label`.
    """

    def __init__(self, out: Path, *, label: str | None = None) -> None:
        self._path = out / LEDGER_FILE
        self._set_id: int | None = None
        if not self._path.is_file():
            raise LedgerError(f"{out} holds no night: there is no {LEDGER_FILE} in it")
        try:
            self._connection = self._connect()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise LedgerError(f"ledger {self._path} cannot be read: {error}") from error
        if version != schema.SCHEMA_VERSION:
            self._connection.close()
            raise LedgerError(f"ledger {self._path} has version {version}: version {schema.SCHEMA_VERSION} is required")
        if label is not None:
            self._set_id = self._set_with(label)

    def recipe(self) -> Recipe:
        """Recipe that the measurements were made with."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT recipe FROM measurement_set WHERE set_id = ?", (self._set(connection),)
            ).fetchall()
        if not rows:
            raise LedgerError(f"ledger {self._path} holds no recipe yet")
        return self._recipe_of(rows[0][0])

    def folder(self) -> Path:
        """Folder that the frames are in."""
        with self._reading() as connection:
            row = connection.execute("SELECT value FROM night WHERE name = 'folder'").fetchone()
        if row is None:
            raise LedgerError(f"ledger {self._path} does not say which folder its frames are in")
        return Path(row[0])

    def catalogs(self) -> dict[str, Catalog]:
        """Catalogs that were built so far, by key."""
        with self._reading() as connection:
            return schema.read_catalogs(connection, self._set(connection))

    def status(self) -> NightStatus | None:
        """Health of the night as it was last stored; None before the first second of the night."""
        with self._reading() as connection:
            row = connection.execute("SELECT content FROM status").fetchone()
        return None if row is None else _STATUS.decode(row[0])

    def counts(self) -> LedgerCounts:
        """Frames by state."""
        with self._reading() as connection:
            return schema.count_outcomes(connection, self._set(connection))

    def newest_set(self) -> int:
        """Number of the newest set of measurements; 0 before the first."""
        with self._reading() as connection:
            return schema.newest_set(connection)

    def last_sequence(self) -> int:
        """Sequence of the newest outcome; 0 before the first."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT COALESCE(MAX(sequence), 0) FROM outcome WHERE set_id = ?", (self._set(connection),)
            ).fetchone()
        return int(row[0])

    def outcomes_since(self, sequence: int, limit: int = 10_000) -> list[FrameMeasured | FrameRejected]:
        """Outcomes after `sequence`, in order of sequence, at most `limit`."""
        with self._reading() as connection:
            rows = connection.execute(
                schema.SELECT_OUTCOMES + " WHERE sequence > ? AND set_id = ? ORDER BY sequence LIMIT ?",
                (sequence, self._set(connection), limit),
            ).fetchall()
        labels = self.recipe().labels() if rows else ()
        return [schema.outcome_of_row(row, labels) for row in rows]

    def rejected(self, limit: int = 1000) -> list[FrameRejected]:
        """Rejected frames, newest first, at most `limit`."""
        with self._reading() as connection:
            rows = connection.execute(
                schema.SELECT_OUTCOMES + " WHERE set_id = ? AND state = 'rejected' ORDER BY sequence DESC LIMIT ?",
                (self._set(connection), limit),
            ).fetchall()
        outcomes = (schema.outcome_of_row(row, ()) for row in rows)
        return [outcome for outcome in outcomes if isinstance(outcome, FrameRejected)]

    def frame_path(self, frame_id: int) -> str:
        """Path of a frame, relative to `folder`; LedgerError if there is no such frame."""
        with self._reading() as connection:
            row = connection.execute("SELECT path FROM frame WHERE frame_id = ?", (frame_id,)).fetchone()
        if row is None:
            raise LedgerError(f"ledger {self._path} has no frame {frame_id}")
        return str(row[0])

    def source_fluxes(self, key: str, label: str) -> SourceFluxes:
        """Light curves of all sources of `key` with the photometer `label`, in order of time.

        Without a catalog of the key there are no frames and no sources. Flux and error are NaN where there is none.

        Raises
        ------
        LedgerError
            If `label` is not a photometer.
        """
        labels = self.recipe().labels()
        if label not in labels:
            raise LedgerError(f"label {label!r} is no photometer of the ledger: {', '.join(labels)}")
        columns = source_columns(labels)
        with self._reading() as connection:
            set_id = self._set(connection)
            catalog = schema.read_catalogs(connection, set_id).get(key)
            n_sources = catalog.n_sources if catalog else 0
            row_bytes = 8 * n_sources
            rows = connection.execute(
                "SELECT frame_id, time_mjd_utc, time_bmjd_tdb, exposure_s, airmass, flags,"
                " substr(sources, ?, ?), substr(sources, ?, ?) FROM outcome INDEXED BY outcome_by_time"
                " WHERE set_id = ? AND key = ? AND state = 'measured' AND catalog_version = ?"
                " ORDER BY time_mjd_utc, frame_id",
                (
                    1 + row_bytes * columns.index(f"{label}_flux"),
                    2 * row_bytes,
                    1 + row_bytes * columns.index("flags"),
                    row_bytes,
                    set_id,
                    key,
                    catalog.version if catalog else "",
                ),
            ).fetchall()
        return schema.light_curves((key, label), rows, n_sources)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()

    def _set(self, connection: sqlite3.Connection) -> int:
        return self._set_id if self._set_id is not None else schema.newest_set(connection)

    def _set_with(self, label: str) -> int:
        """The newest set of measurements with this photometer."""
        with self._reading() as connection:
            rows = connection.execute("SELECT set_id, recipe FROM measurement_set ORDER BY set_id DESC").fetchall()
        known: list[str] = []
        for set_id, text in rows:
            labels = self._recipe_of(text).labels()
            if label in labels:
                return int(set_id)
            known += [other for other in labels if other not in known]
        self._connection.close()
        raise LedgerError(f"label {label!r} is no photometer of the ledger: {', '.join(known)}")

    def _recipe_of(self, text: str) -> Recipe:
        try:
            return recipe_from_toml(text, str(self._path))
        except ConfigurationError as error:
            raise LedgerError(f"ledger {self._path} was written by another version: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        address = urllib.parse.quote(str(self._path.resolve()))
        connection = schema.connect_to_read(address, immutable=False)
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.OperationalError:
            # A finished night in a folder that this user cannot write: WAL's index cannot be made, nor is it needed.
            connection.close()
            log = self._path.with_name(LEDGER_FILE + "-wal")
            if log.exists() and log.stat().st_size:
                raise
            connection = schema.connect_to_read(address, immutable=True)
        return connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise LedgerError(f"ledger {self._path} cannot be read: {error}") from error
