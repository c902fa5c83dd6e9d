"""Reads the rows of a damaged SQLite file: all but those on pages that cannot be read."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LEAST_ROW_BYTES = 16
_HEAD_BYTES = 100
_MAGIC = b"SQLite format 3\0"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Path of a file that has all its pages: `path` itself, or while it is needed a copy with zeros at its end.

    SQLite reads nothing at all of a file that was cut off.
    """
    with path.open("rb") as file:
        n_bytes = _length_told(file.read(_HEAD_BYTES))
    if n_bytes <= path.stat().st_size:
        yield path
        return
    padded = path.with_name(f"{path.name}.padded")
    try:
        shutil.copyfile(path, padded)
        with padded.open("r+b") as file:
            file.truncate(n_bytes)
        yield padded
    finally:
        for ending in ("", "-wal", "-shm"):
            padded.with_name(padded.name + ending).unlink(missing_ok=True)


def _length_told(head: bytes) -> int:
    """Bytes that a file has by its own head (page size at byte 16, number of pages at 28); 0 where it has none."""
    if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):
        return 0
    page_bytes = int.from_bytes(head[16:18], "big")
    return (65536 if page_bytes == 1 else page_bytes) * int.from_bytes(head[28:32], "big")


def readable_rows(connection: sqlite3.Connection, table: str, file_bytes: int) -> list[dict[str, object]]:
    """Rows of a table with row numbers, in their order; none where the table itself is gone.

    Behind a page that cannot be read, the next row that can is looked for in steps that double, then halve: a few
    rows beside damage may be passed over.

    Parameters
    ----------
    file_bytes : int
        Size of the file: no row has a number beyond what would fit into it.
    """
    try:
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    except sqlite3.DatabaseError:
        return []
    rows: list[dict[str, object]] = []
    first: int | None = 0
    while columns and first is not None:
        last = first - 1
        # Without indexes, which may be damaged on their own.
        query = f"SELECT rowid, * FROM {table} NOT INDEXED WHERE rowid >= ? ORDER BY rowid"
        try:
            for number, *values in connection.execute(query, (first,)):
                rows.append(dict(zip(columns, values, strict=True)))
                last = number
            break
        except sqlite3.DatabaseError:
            first = _next_readable(connection, table, last + 1, file_bytes // _LEAST_ROW_BYTES)
    return rows


def _next_readable(connection: sqlite3.Connection, table: str, damaged: int, end: int) -> int | None:
    """Number behind `damaged` from which on rows can be read; None if there is none before `end`."""
    step = 1
    while not _is_readable(connection, table, damaged + step):
        if damaged + step > end:
            return None
        step *= 2
    bad, good = damaged + step // 2, damaged + step
    while good - bad > 1:
        middle = (bad + good) // 2
        bad, good = (bad, middle) if _is_readable(connection, table, middle) else (middle, good)
    return good


def _is_readable(connection: sqlite3.Connection, table: str, number: int) -> bool:
    query = f"SELECT * FROM {table} NOT INDEXED WHERE rowid >= ? ORDER BY rowid LIMIT 1"
    try:
        connection.execute(query, (number,)).fetchone()
    except sqlite3.DatabaseError:
        return False
    return True
