"""The reading side of the ledger, for any process at any time, also while the night writes."""

from __future__ import annotations

import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from stream.alerts import Alert
from stream.config import Recipe, recipe_from_toml
from stream.errors import ConfigurationError, LedgerError
from stream.messages import Catalog, FrameMeasured, FrameRejected, NightStatus, SourceFluxes, source_columns
from stream.night import ledger_schema as schema
from stream.night.ledger_alerts import read_alerts
from stream.night.ledger_schema import LEDGER_FILE, LedgerCounts

_STATUS = msgspec.msgpack.Decoder(NightStatus)


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
            raise LedgerError(f"ledger {self._path} cannot be read: {schema.explain(error, self._path)}") from error
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

    def outcome(self, frame_id: int) -> FrameMeasured | FrameRejected | None:
        """What became of one frame; None while it has no outcome."""
        with self._reading() as connection:
            row = connection.execute(
                schema.SELECT_OUTCOMES + " WHERE set_id = ? AND frame_id = ?", (self._set(connection), frame_id)
            ).fetchone()
        return None if row is None else schema.outcome_of_row(row, self.recipe().labels())

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

    def alerts(self, limit: int = 200) -> tuple[Alert, ...]:
        """Alerts of the night, newest first: the newest `limit`, and all that are open."""
        with self._reading() as connection:
            return read_alerts(connection, limit)

    def source_fluxes(self, key: str, label: str, *, newest: int | None = None) -> SourceFluxes:
        """Light curves of all sources of `key` with the photometer `label`, in order of time.

        All frames, or so many of the newest by the time of their exposure. Without a catalog of the key there are no
        frames and no sources. Flux and error are NaN where there is none.

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
                " ORDER BY time_mjd_utc DESC, frame_id DESC LIMIT ?",
                (
                    1 + row_bytes * columns.index(f"{label}_flux"),
                    2 * row_bytes,
                    1 + row_bytes * columns.index("flags"),
                    row_bytes,
                    set_id,
                    key,
                    catalog.version if catalog else "",
                    -1 if newest is None else newest,
                ),
            ).fetchall()
        return schema.light_curves((key, label), rows[::-1], n_sources)

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
            raise LedgerError(f"ledger {self._path} cannot be read: {schema.explain(error, self._path)}") from error
