"""Rebuilds the ledger of a night that can no longer be read as a whole: what can is kept, the rest is measured again.

The damaged file is never written to: a new one is made beside it, and takes its place when it is complete. The old one
stays in ``OUT/damaged-1`` (2, 3, ...), with whatever belongs to it.

A row is kept only if it makes sense: its frame and its set of measurements are there, a measurement has the catalog
that it names and as many fluxes as that has sources. SQLite keeps no checksums of its pages: a bit that was turned
within the fluxes of a row leaves no trace, neither here nor for anybody else.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream.config import Recipe, load_recipe, recipe_from_toml
from stream.errors import ConfigurationError, LedgerError, NightError
from stream.measure.catalog import load_catalog, with_version
from stream.messages import ENCODER, Catalog, FrameArrived, FrameMeasured
from stream.night import ledger_schema as schema
from stream.night.ledger_alerts import TABLE as ALERT_TABLE
from stream.night.night_folder import CATALOG_FOLDER, RECIPE_FILE
from stream.night.salvage import readable_rows, whole_file

_PROBLEMS_SHOWN = 3
_CATALOG = msgspec.msgpack.Decoder(Catalog)
_BESIDE = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class RepairedLedger:
    """What a repair kept.

    Attributes
    ----------
    problems : tuple of str
        What was wrong, in sentences; none where the ledger was sound, and nothing was done.
    recipe, folder
        Those of the night, to go on with.
    n_frames, n_outcomes : int
        Rows that were kept: frames, and outcomes of all sets of measurements.
    kept_at : Path or None
        Folder of the damaged file.
    """

    problems: tuple[str, ...]
    recipe: Recipe
    folder: Path
    n_frames: int
    n_outcomes: int
    kept_at: Path | None


def repair_ledger(out: Path, folder: Path | None = None) -> RepairedLedger:
    """Put a ledger in the place of a damaged one, with all rows that can be read.

    The caller holds the `NightFolder`: no night may run. Frames without a row, or without an outcome, are those that
    the next run of the night measures.

    Parameters
    ----------
    folder : Path, optional
        Folder of the frames; where the ledger still tells, it need not be given.

    Raises
    ------
    LedgerError
        If the ledger is of another version, or the new one cannot be written.
    NightError
        If neither the ledger nor ``night.toml`` tells the recipe, or nobody tells the folder.
    """
    path = out / schema.LEDGER_FILE
    problems = find_damage(path)
    new = path.with_name(f"{schema.LEDGER_FILE}.new")
    for ending in _BESIDE:
        new.with_name(new.name + ending).unlink(missing_ok=True)
    try:
        rows = _read(path)
        recipe, found = _recipe_of(rows, out), _folder_of(rows, folder, out)
        if not problems:
            n_outcomes = len(rows.outcomes)
            return RepairedLedger((), recipe, found, len(rows.frames), n_outcomes, None)
        rows = _sensible(rows, recipe, _catalogs_on_paper(out / CATALOG_FOLDER))
        _write(new, rows, found)
        kept_at = _exchange(path, new)
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"ledger {path} cannot be repaired: {error}") from error
    return RepairedLedger(problems, recipe, found, len(rows.frames), len(rows.outcomes), kept_at)


def find_damage(path: Path) -> tuple[str, ...]:
    """What is wrong with a ledger, in sentences; none if it is sound. Does not see bits turned within numbers."""
    if not path.is_file():
        return (f"there is no {path.name}",)
    try:
        with closing(_connect(path)) as connection:
            found = [text for (text,) in connection.execute(f"PRAGMA integrity_check({_PROBLEMS_SHOWN})")]
            if found == ["ok"]:
                found = [
                    f"a row of table {row[0]} refers to table {row[2]}, where its partner is missing"
                    for row in connection.execute("PRAGMA foreign_key_check").fetchmany(_PROBLEMS_SHOWN)
                ]
    except sqlite3.DatabaseError as error:
        return (str(error),)
    return tuple(" ".join(text.removeprefix("*** in database main ***").split()) for text in found)


@dataclass(slots=True)
class _Rows:
    """Rows of a ledger, by their numbers; columns by name."""

    folder: str | None
    sets: dict[int, dict[str, object]]
    catalogs: list[dict[str, object]]
    frames: dict[int, dict[str, object]]
    outcomes: dict[int, dict[str, object]]
    alerts: list[dict[str, object]]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, schema.SCHEMA_VERSION):
        connection.close()
        raise LedgerError(f"ledger {path} has version {version}: version {schema.SCHEMA_VERSION} is required")
    return connection


def _read(path: Path) -> _Rows:
    """All rows that SQLite can read; none where the file is gone or is no database any more."""
    nothing = _Rows(None, {}, [], {}, {}, [])
    if not path.is_file():
        return nothing
    try:
        with whole_file(path) as readable, closing(_connect(readable)) as connection:
            rows = {
                table: readable_rows(connection, table, readable.stat().st_size)
                for table in ("measurement_set", "catalog", "frame", "outcome", "alert")
            }
            named = None
            with suppress(sqlite3.DatabaseError):
                named = connection.execute("SELECT value FROM night WHERE name = 'folder'").fetchone()
    except sqlite3.DatabaseError:
        return nothing
    return _Rows(
        folder=str(named[0]) if named is not None else None,
        sets=_by_number(rows["measurement_set"], "set_id"),
        catalogs=rows["catalog"],
        frames=_by_number(rows["frame"], "frame_id"),
        outcomes=_by_number(rows["outcome"], "sequence"),
        alerts=rows["alert"],
    )


def _by_number(rows: list[dict[str, object]], column: str) -> dict[int, dict[str, object]]:
    return {number: row for row in rows if isinstance(number := row[column], int)}


def _recipe_of(rows: _Rows, out: Path) -> Recipe:
    """Recipe of the newest set of measurements: from the ledger, else from the file that tells it too."""
    newest = max((_int(row["set_id"]) for row in rows.outcomes.values()), default=0)
    last = max(rows.sets, default=0)
    if last and last >= newest:
        with suppress(ConfigurationError):
            return recipe_from_toml(str(rows.sets[last]["recipe"]), str(out / schema.LEDGER_FILE))
    try:
        return load_recipe(out / RECIPE_FILE)
    except ConfigurationError as error:
        raise NightError(
            f"{out} cannot be repaired: neither {schema.LEDGER_FILE} nor {RECIPE_FILE} tells the recipe ({error})"
        ) from error


def _folder_of(rows: _Rows, given: Path | None, out: Path) -> Path:
    folder = given.resolve() if given is not None else Path(rows.folder) if rows.folder else None
    if folder is None:
        raise NightError(f"{schema.LEDGER_FILE} of {out} no longer tells where the frames are: --folder is required")
    if not folder.is_dir():
        raise ConfigurationError(f"folder {folder} does not exist")
    return folder


def _catalogs_on_paper(folder: Path) -> dict[str, Catalog]:
    """Catalogs of ``OUT/cat``, by version."""
    found = {}
    for path in sorted(folder.glob("*_catalog.ecsv")):
        with suppress(ConfigurationError):
            catalog = load_catalog(path)
            found[catalog.version] = catalog
    return found


def _sensible(rows: _Rows, recipe: Recipe, on_paper: dict[str, Catalog]) -> _Rows:
    """The rows that make sense together."""
    sets = _sensible_sets(rows, recipe)
    catalogs = _sensible_catalogs(rows, sets, on_paper)
    frames = {number: row for number, row in rows.frames.items() if _is_frame(row)}
    labels = {number: recipe_from_toml(str(row["recipe"]), "ledger").labels() for number, row in sets.items()}
    outcomes: dict[int, dict[str, object]] = {}
    closed: set[tuple[object, object]] = set()
    for sequence, row in sorted(rows.outcomes.items()):
        frame, set_id = frames.get(_int(row["frame_id"])), _int(row["set_id"])
        key = (set_id, row["frame_id"])
        if frame is None or set_id not in sets or key in closed:
            continue
        if _is_outcome(row, frame, sets[set_id], catalogs=catalogs, labels=labels[set_id]):
            outcomes[sequence] = row
            closed.add(key)
    packed: list[dict[str, object]] = [
        {"set_id": set_id, "key": one.key, "version": one.version, "content": ENCODER.encode(one)}
        for (set_id, _), one in catalogs.items()
    ]
    return _Rows(rows.folder, sets, packed, frames, outcomes, rows.alerts)


def _sensible_sets(rows: _Rows, recipe: Recipe) -> dict[int, dict[str, object]]:
    """Sets with a recipe; the newest one has `recipe` where its own row is gone."""
    sets = {}
    for number, row in rows.sets.items():
        with suppress(ConfigurationError):
            recipe_from_toml(str(row["recipe"]), "ledger")
            sets[number] = row
    newest = max((_int(row["set_id"]) for row in rows.outcomes.values()), default=1)
    if newest not in sets and newest > max(sets, default=0):
        columns: tuple[object, ...] = (newest, recipe.hash(), recipe.to_toml(), time.time())
        sets[newest] = dict(zip(("set_id", "recipe_hash", "recipe", "created_unix_s"), columns, strict=True))
    return sets


def _sensible_catalogs(
    rows: _Rows, sets: dict[int, dict[str, object]], on_paper: dict[str, Catalog]
) -> dict[tuple[int, str], Catalog]:
    """Catalogs by set and key: those of the ledger, and those on paper that measurements name."""
    found: dict[tuple[int, str], Catalog] = {}
    for row in rows.catalogs:
        with suppress(msgspec.DecodeError, TypeError, ValueError):
            catalog = _CATALOG.decode(row["content"])  # type: ignore[arg-type]
            set_id = _int(row["set_id"])
            if with_version(catalog).version == catalog.version and set_id in sets:
                found[set_id, catalog.key] = catalog
    for row in rows.outcomes.values():
        named = on_paper.get(str(row["catalog_version"]))
        set_id = _int(row["set_id"])
        if named is not None and named.key == row["key"] and set_id in sets:
            found.setdefault((set_id, named.key), named)
    return found


def _is_frame(row: dict[str, object]) -> bool:
    with suppress(msgspec.ValidationError):
        msgspec.convert({name: value for name, value in row.items() if name != "frame_id"}, FrameArrived)
        return True
    return False


def _is_outcome(
    row: dict[str, object],
    frame: dict[str, object],
    its_set: dict[str, object],
    *,
    catalogs: dict[tuple[int, str], Catalog],
    labels: tuple[str, ...],
) -> bool:
    """Whether a row can be read back as what became of its frame."""
    head = (row["sequence"], row["frame_id"], frame["path"], row["key"], row["state"], row["reason"], row["sentence"])
    scalars = (row[name] for name in schema.SCALAR_FIELDS)
    try:
        outcome = schema.outcome_of_row((*head, its_set["recipe_hash"], row["sources"], *scalars), labels)
        if not isinstance(outcome, FrameMeasured):
            return True
        catalog = catalogs.get((_int(row["set_id"]), outcome.key))
        if catalog is None or catalog.version != outcome.catalog_version:
            return False
        return outcome.source_table().shape[1] == catalog.n_sources
    except (msgspec.ValidationError, ValueError, TypeError):
        return False


def _write(path: Path, rows: _Rows, folder: Path) -> None:
    """Write a whole ledger; it is complete and on the disk when this returns."""
    tables = {
        "measurement_set": list(rows.sets.values()),
        "catalog": rows.catalogs,
        "frame": list(rows.frames.values()),
        "outcome": list(rows.outcomes.values()),
        "alert": rows.alerts,
    }
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(schema.TABLES + ALERT_TABLE)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO night VALUES ('folder', ?)", (str(folder),))
        for table, entries in tables.items():
            _insert(connection, table, entries)
        connection.execute("COMMIT")
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise LedgerError(f"the disk of {path.parent} does not keep what is written to it: {verdict}")


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, object]]) -> None:
    """Insert rows by the columns that both ledgers have; a row that breaks a rule of the table is left out."""
    known = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
    for row in rows:
        columns = [name for name in row if name in known]
        places = ", ".join("?" * len(columns))
        with suppress(sqlite3.IntegrityError):
            connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", [row[name] for name in columns]
            )


def _exchange(path: Path, new: Path) -> Path:
    """Put the new ledger in the place of the damaged one, which is kept; at no moment is there neither of them."""
    number = 1
    while (kept_at := path.parent / f"damaged-{number}").exists():
        number += 1
    kept_at.mkdir()
    for ending in _BESIDE[:2]:
        old = path.with_name(path.name + ending)
        if old.exists():
            shutil.copy2(old, kept_at / old.name)
    # The log of changes first: it belongs to the old file, and would be applied to the new one.
    for ending in _BESIDE[1:]:
        path.with_name(path.name + ending).unlink(missing_ok=True)
    new.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return kept_at


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
