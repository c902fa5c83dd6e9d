"""What a night finds in the ledger of an earlier run: its set of measurements, its folder, files to look at again."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stream.config import Recipe, recipe_differences, recipe_from_toml
from stream.errors import ConfigurationError, Reason, RecipeMismatchError
from stream.frame_names import file_of
from stream.night.folder_scan import mtime_ns_of

REOPENED_FOR = frozenset({Reason.DISAPPEARED, Reason.EMPTY, Reason.NOT_FITS, Reason.TRUNCATED, Reason.UNREADABLE})
"""Reasons of rejection that a file which is completed later, or is back, may refute."""

FileStamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds of a file."""

SAME_TIME_NS = 2_000_000_000
"""Copies between file systems keep modification times to two seconds at worst."""

_REASONS = ", ".join(f"'{reason}'" for reason in sorted(REOPENED_FOR))
_GONE = f"outcome.reason = '{Reason.DISAPPEARED}'"
# A file that was not there is another one as soon as it is, whatever its size and time.
_SIZE = f"CASE WHEN {_GONE} THEN -1 ELSE frame.size_bytes END"
_TIME = f"CASE WHEN {_GONE} THEN -1 ELSE frame.mtime_ns END"
_SELECT_REOPENABLE = f"""
SELECT frame.path, frame.frame_id, {_SIZE}, {_TIME} FROM outcome JOIN frame USING (frame_id)
WHERE outcome.set_id = ? AND outcome.state = 'rejected' AND outcome.reason IN ({_REASONS})
"""
_SELECT_KNOWN = f"""
SELECT frame.frame_id, {_SIZE}, {_TIME}, outcome.state FROM frame LEFT JOIN outcome
    ON outcome.frame_id = frame.frame_id AND outcome.set_id = ? WHERE frame.path = ?
"""
_SELECT_FINAL_FILES = f"""
SELECT path, size_bytes, mtime_ns FROM frame WHERE NOT EXISTS
    (SELECT 1 FROM outcome WHERE outcome.frame_id = frame.frame_id AND outcome.reason IN ({_REASONS}))
"""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as it was when it arrived.

    Attributes
    ----------
    frame_id : int
        Its number in the ledger.
    size_bytes, mtime_ns : int
        Negative for one that was gone when it was to be read.
    state : str or None
        Of its frame: measured, rejected, or none yet.
    """

    frame_id: int
    size_bytes: int
    mtime_ns: int
    state: str | None = "rejected"


@dataclass(frozen=True, slots=True)
class SetToUse:
    """A set of measurements; one that `is_new` is not in the ledger yet."""

    set_id: int
    is_new: bool


def choose_set(
    connection: sqlite3.Connection, recipe: Recipe, path: Path, *, remeasure: bool, catalogs: Mapping[str, str]
) -> SetToUse:
    """Choose the set of measurements that a night with `recipe` goes on with.

    With `remeasure` that is a new one, unless the newest was begun by an earlier `remeasure` with the same recipe and
    catalogs and is not finished.

    Raises
    ------
    RecipeMismatchError
        If the newest set belongs to another recipe and `remeasure` is not asked for.
    """
    row = connection.execute(
        "SELECT set_id, recipe_hash, recipe FROM measurement_set ORDER BY set_id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return SetToUse(1, True)
    set_id, stored_hash, text = row
    if remeasure:
        goes_on = set_id > 1 and stored_hash == recipe.hash() and _is_unfinished(connection, set_id, catalogs)
        return SetToUse(set_id, False) if goes_on else SetToUse(set_id + 1, True)
    # Not by the hash alone: a setting that came with a later version has a default which measures as it was before.
    if stored_hash != recipe.hash() and (differences := recipe_differences(recipe_from_toml(text, str(path)), recipe)):
        raise RecipeMismatchError(
            f"{path.parent} belongs to a night with another recipe ({'; '.join(differences)}): take another folder, "
            "or --remeasure to start a second set of measurements"
        )
    return SetToUse(set_id, False)


def _is_unfinished(connection: sqlite3.Connection, set_id: int, catalogs: Mapping[str, str]) -> bool:
    rows = connection.execute("SELECT key, version FROM catalog WHERE set_id = ?", (set_id,))
    if any(catalogs.get(key, version) != version for key, version in rows):
        return False
    (n_frames,) = connection.execute("SELECT COUNT(*) FROM frame").fetchone()
    (n_closed,) = connection.execute("SELECT COUNT(*) FROM outcome WHERE set_id = ?", (set_id,)).fetchone()
    return bool(n_closed < n_frames)


def reopenable_files(connection: sqlite3.Connection, set_id: int) -> dict[str, KnownFile]:
    """Files whose rejection a later completion may refute, by path."""
    return {path: KnownFile(*rest) for path, *rest in connection.execute(_SELECT_REOPENABLE, (set_id,))}


def reopenable_file(connection: sqlite3.Connection, set_id: int, path: str) -> KnownFile | None:
    """The same for one path; None if it is not there or not reopenable."""
    row = connection.execute(_SELECT_REOPENABLE + " AND frame.path = ?", (set_id, path)).fetchone()
    return None if row is None else KnownFile(*row[1:])


def known_frame(connection: sqlite3.Connection, set_id: int, path: str) -> KnownFile | None:
    """What the ledger says of the file of a frame; None if it does not know the frame."""
    row = connection.execute(_SELECT_KNOWN, (set_id, path)).fetchone()
    return None if row is None else KnownFile(*row)


def refuse_other_folder(connection: sqlite3.Connection, folder: Path, path: Path) -> list[tuple[int, str]]:
    """Make sure that a folder other than the night's own holds its files: a folder may be moved, not exchanged.

    Files that are gone are passed over, unless all are; so are those that were not complete when they were seen.

    Returns
    -------
    list of tuple of int and str
        Modification time, nanoseconds, and path of the frames whose file lost the fractions of its time by the move.

    Raises
    ------
    ConfigurationError
        If a file has another size or modification time than the ledger says, or none is there.
    """
    row = connection.execute("SELECT value FROM night WHERE name = 'folder'").fetchone()
    if row is None or row[0] == str(folder):
        return []
    belongs = f"{path.parent} belongs to the frames of {row[0]}: take another output folder for those of {folder}"
    n_known = n_there = 0
    moved: list[tuple[int, str]] = []
    for name, size_bytes, mtime_ns in connection.execute(_SELECT_FINAL_FILES):
        n_known += 1
        try:
            found = file_of(folder / name).stat()
        except OSError:
            continue
        n_there += 1
        if found.st_size != size_bytes or abs(mtime_ns_of(found) - mtime_ns) > SAME_TIME_NS:
            raise ConfigurationError(f"{belongs} ({name} is another file there)")
        if mtime_ns_of(found) != mtime_ns:
            moved.append((mtime_ns_of(found), name))
    if n_known and not n_there:
        raise ConfigurationError(f"{belongs} (none of its {n_known} files is there)")
    return moved
