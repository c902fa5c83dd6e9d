"""Reads the rows of a damaged SQLite table: all but those on pages that cannot be read."""

from __future__ import annotations

import sqlite3

_LEAST_ROW_BYTES = 16
_AT_ONCE = 4096


def readable_rows(connection: sqlite3.Connection, table: str, file_bytes: int) -> list[dict[str, object]]:
    """Rows of a table with row numbers, in their order; none where the table itself is gone.

    A range of numbers that cannot be read is halved until what is left is single rows: those are given up.

    Parameters
    ----------
    file_bytes : int
        Size of the file: bounds the number of rows where the table no longer tells its last one.
    """
    try:
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    except sqlite3.DatabaseError:
        return []
    if not columns:
        return []
    rows: list[dict[str, object]] = []
    last = _last_number(connection, table, file_bytes)
    for first in range(0, last + 1, _AT_ONCE):
        found = _read_range(connection, table, first, min(first + _AT_ONCE - 1, last))
        rows += [dict(zip(columns, row, strict=True)) for row in found]
    return rows


def _last_number(connection: sqlite3.Connection, table: str, file_bytes: int) -> int:
    try:
        (last,) = connection.execute(f"SELECT MAX(rowid) FROM {table} NOT INDEXED").fetchone()
    except sqlite3.DatabaseError:
        return file_bytes // _LEAST_ROW_BYTES
    return int(last or 0)


def _read_range(connection: sqlite3.Connection, table: str, first: int, last: int) -> list[tuple[object, ...]]:
    """Rows from `first` to `last`, both included; without indexes, which may be damaged on their own."""
    query = f"SELECT * FROM {table} NOT INDEXED WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
    try:
        return connection.execute(query, (first, last)).fetchall()
    except sqlite3.DatabaseError:
        if first == last:
            return []
    middle = (first + last) // 2
    return [*_read_range(connection, table, first, middle), *_read_range(connection, table, middle + 1, last)]
