"""Tables of the ledger, and how outcomes become rows and rows outcomes.

Fluxes of all sources of a frame are one BLOB, the columns of the table of sources one after the other: a light curve
is read with ``substr``, and a night of 100,000 frames stays a table of 100,000 rows.
"""

from __future__ import annotations

import math
import operator
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from stream.messages import Catalog, FrameMeasured, FrameRejected, FrameToMeasure, SourceFluxes

_CATALOG = msgspec.msgpack.Decoder(Catalog)

LEDGER_FILE = "night.db"
SCHEMA_VERSION = 2

SCALAR_FIELDS: tuple[str, ...] = tuple(
    field
    for field in FrameMeasured.__struct_fields__
    if field not in ("frame_id", "path", "key", "recipe_hash", "sources", "sequence", "labels")
)
"""Fields of `FrameMeasured` that are columns of the table of outcomes under their own names."""

_SCALARS = operator.attrgetter(*SCALAR_FIELDS)
_COLUMN_TYPES = {"catalog_version": "TEXT", "calibration_version": "TEXT", "n_aligned": "INTEGER", "flags": "INTEGER"}

_OUTCOME_COLUMNS = (
    "sequence",
    "set_id",
    "frame_id",
    "key",
    "state",
    "reason",
    "sentence",
    *SCALAR_FIELDS,
    "sources",
    "committed_unix_s",
)

TABLES = f"""
CREATE TABLE IF NOT EXISTS night (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS measurement_set (
    set_id INTEGER PRIMARY KEY,
    recipe_hash TEXT NOT NULL,
    recipe TEXT NOT NULL,
    created_unix_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS catalog (
    set_id INTEGER NOT NULL REFERENCES measurement_set,
    key TEXT NOT NULL,
    version TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (set_id, key));
CREATE TABLE IF NOT EXISTS frame (
    frame_id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    key TEXT,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    arrived_unix_s REAL NOT NULL,
    time_mjd_utc REAL);
CREATE TABLE IF NOT EXISTS outcome (
    sequence INTEGER PRIMARY KEY,
    set_id INTEGER NOT NULL REFERENCES measurement_set,
    frame_id INTEGER NOT NULL REFERENCES frame,
    key TEXT,
    state TEXT NOT NULL CHECK (state IN ('measured', 'rejected')),
    reason TEXT,
    sentence TEXT,
    {", ".join(f"{field} {_COLUMN_TYPES.get(field, 'REAL')}" for field in SCALAR_FIELDS)},
    committed_unix_s REAL NOT NULL,
    sources BLOB,
    UNIQUE (set_id, frame_id));
CREATE INDEX IF NOT EXISTS outcome_by_time ON outcome (set_id, key, time_mjd_utc);
CREATE INDEX IF NOT EXISTS outcome_by_state ON outcome (set_id, state, reason, key);
CREATE TABLE IF NOT EXISTS status (one INTEGER PRIMARY KEY CHECK (one = 1), content BLOB NOT NULL);
"""

INSERT_FRAME = """
INSERT INTO frame (path, key, size_bytes, mtime_ns, arrived_unix_s, time_mjd_utc) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO NOTHING
"""

UPDATE_FRAME = "UPDATE frame SET key = ?, size_bytes = ?, mtime_ns = ?, time_mjd_utc = ? WHERE frame_id = ?"
UPDATE_FILE = "UPDATE frame SET size_bytes = ?, mtime_ns = ? WHERE frame_id = ?"
UPDATE_TIME = "UPDATE frame SET mtime_ns = ? WHERE path = ?"

INSERT_SET = "INSERT INTO measurement_set (set_id, recipe_hash, recipe, created_unix_s) VALUES (?, ?, ?, ?)"

INSERT_OUTCOME = f"""
INSERT INTO outcome ({", ".join(_OUTCOME_COLUMNS)}) VALUES ({", ".join("?" * len(_OUTCOME_COLUMNS))})
ON CONFLICT (set_id, frame_id) DO NOTHING
"""

SELECT_OUTCOMES = f"""
SELECT outcome.sequence, outcome.frame_id, frame.path, outcome.key, outcome.state, outcome.reason, outcome.sentence,
       measurement_set.recipe_hash, outcome.sources, {", ".join(f"outcome.{field}" for field in SCALAR_FIELDS)}
FROM outcome JOIN frame USING (frame_id) JOIN measurement_set USING (set_id)
"""


@dataclass(frozen=True, slots=True)
class UnfinishedFrame:
    """A frame of the ledger without a terminal state, and what the header told when it arrived."""

    frame: FrameToMeasure
    key: str | None
    time_mjd_utc: float | None
    arrived_unix_s: float


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """How many frames are in which state.

    Attributes
    ----------
    by_key : dict
        Measured frames of each key.
    by_reason : dict
        Rejected frames of each reason.
    """

    n_frames: int
    n_measured: int
    n_rejected: int
    n_pending: int
    by_key: dict[str, int]
    by_reason: dict[str, int]


def outcome_row(
    outcome: FrameMeasured | FrameRejected, sequence: int, set_id: int, now_unix_s: float
) -> tuple[object, ...]:
    """Values of one row of the table of outcomes; SQLite stores NaN as NULL."""
    head = (sequence, set_id, outcome.frame_id, outcome.key)
    if isinstance(outcome, FrameRejected):
        nothing = (None,) * len(SCALAR_FIELDS)
        return (*head, "rejected", str(outcome.reason), outcome.sentence, *nothing, None, now_unix_s)
    return (*head, "measured", None, None, *_SCALARS(outcome), outcome.sources, now_unix_s)


def outcome_of_row(row: Sequence[object], labels: tuple[str, ...]) -> FrameMeasured | FrameRejected:
    """Rebuild the message that was committed from a row of `SELECT_OUTCOMES`."""
    sequence, frame_id, path, key, state, reason, sentence, recipe_hash, sources, *scalars = row
    fields: dict[str, object] = {"sequence": sequence, "frame_id": frame_id, "path": path, "key": key}
    if state == "rejected":
        return msgspec.convert(fields | {"reason": reason, "sentence": sentence}, FrameRejected)
    for name, value in zip(SCALAR_FIELDS, scalars, strict=True):
        fields[name] = math.nan if value is None else value
    rest = {"recipe_hash": recipe_hash, "sources": sources, "labels": labels}
    return msgspec.convert(fields | rest, FrameMeasured)


def explain(error: Exception, path: Path) -> str:
    """What SQLite says, with the way out where the file is damaged."""
    is_damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError | sqlite3.IntegrityError | sqlite3.ProgrammingError
    )
    return f"{error}: opticam-live repair {path.parent} rebuilds it" if is_damaged else str(error)


_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
)


def is_passing(error: sqlite3.Error) -> bool:
    """Whether the same statement may succeed later: the disk is full, or another program holds the file."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code in _PASSING or code & 0xFF in _PASSING[:3]


def connect_to_read(path: str, *, immutable: bool) -> sqlite3.Connection:
    """Open a ledger that this process never writes; `immutable` is for folders that nobody can write."""
    uri = f"file:{path}?mode=ro" + ("&immutable=1" if immutable else "")
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)


def newest_set(connection: sqlite3.Connection) -> int:
    """Number of the newest set of measurements, 0 if there is none."""
    row = connection.execute("SELECT COALESCE(MAX(set_id), 0) FROM measurement_set").fetchone()
    return int(row[0])


def read_catalogs(connection: sqlite3.Connection, set_id: int) -> dict[str, Catalog]:
    """Catalogs of a set of measurements, by key."""
    rows = connection.execute("SELECT key, content FROM catalog WHERE set_id = ? ORDER BY key", (set_id,))
    return {key: _CATALOG.decode(content) for key, content in rows}


def last_calibrations(connection: sqlite3.Connection, set_id: int) -> dict[str, str]:
    """Version of the masters that the newest measured frame of each key was calibrated with; empty for none."""
    rows = connection.execute(
        "SELECT key, calibration_version FROM outcome WHERE sequence IN (SELECT MAX(sequence) FROM outcome"
        " WHERE set_id = ? AND state = 'measured' GROUP BY key)",
        (set_id,),
    )
    return {key: version or "" for key, version in rows}


def count_outcomes(connection: sqlite3.Connection, set_id: int) -> LedgerCounts:
    """Frames by state, in a set of measurements."""
    (n_frames,) = connection.execute("SELECT COUNT(*) FROM frame").fetchone()
    by_key: dict[str, int] = {}
    by_reason: dict[str, int] = {}
    rows = connection.execute(
        "SELECT state, reason, key, COUNT(*) FROM outcome WHERE set_id = ? GROUP BY state, reason, key", (set_id,)
    )
    for state, reason, key, n in rows:
        counts, name = (by_key, key) if state == "measured" else (by_reason, reason)
        counts[name] = counts.get(name, 0) + n
    n_measured, n_rejected = sum(by_key.values()), sum(by_reason.values())
    return LedgerCounts(n_frames, n_measured, n_rejected, n_frames - n_measured - n_rejected, by_key, by_reason)


def light_curves(names: tuple[str, str], rows: Sequence[Sequence[object]], n_sources: int) -> SourceFluxes:
    """Columns from rows: frame_id, four scalars, frame flags, and as bytes the fluxes with errors and source flags."""
    scalars = np.array([row[1:5] for row in rows], dtype=np.float64).reshape(-1, 4).T
    frame_flags = np.array([row[5] for row in rows], dtype=np.int64)
    blocks = b"".join(part for row in rows for part in row[6:] if isinstance(part, bytes))
    sources = np.frombuffer(blocks, dtype="<f8").reshape(len(rows), 3, n_sources)
    return SourceFluxes(
        key=names[0],
        label=names[1],
        time_mjd_utc=scalars[0],
        time_bmjd_tdb=scalars[1],
        exposure_s=scalars[2],
        airmass=scalars[3],
        flux=sources[:, 0].astype(np.float64),
        flux_err=sources[:, 1].astype(np.float64),
        flags=sources[:, 2].astype(np.int64) | frame_flags[:, np.newaxis],
        frame_ids=np.array([row[0] for row in rows], dtype=np.int64),
    )
