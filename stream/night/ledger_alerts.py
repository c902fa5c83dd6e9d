"""Alerts in the ledger: one row each, from its start on; it is completed when the alert ends.

Nights of before there were alerts get the table when they are resumed, and read as nights without any.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence

import msgspec

from stream.alerts import Alert

_TEXTS = ("kind", "subject", "sentence", "ended")
_FIELDS = Alert.__struct_fields__
_COLUMNS = ", ".join(
    "number INTEGER PRIMARY KEY" if field == "number" else f"{field} {'TEXT NOT NULL' if field in _TEXTS else 'REAL'}"
    for field in _FIELDS
)
TABLE = f"CREATE TABLE IF NOT EXISTS alert ({_COLUMNS})"
_REPLACE = f"REPLACE INTO alert ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})"


def write_alerts(connection: sqlite3.Connection, alerts: Sequence[Alert]) -> None:
    """Write alerts within a transaction of the caller's; SQLite stores NaN as NULL."""
    connection.executemany(_REPLACE, [msgspec.structs.astuple(alert) for alert in alerts])


def read_alerts(connection: sqlite3.Connection, limit: int) -> tuple[Alert, ...]:
    """Alerts, newest first: the newest `limit`, and all that are open."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alert'").fetchone() is None:
        return ()
    rows = connection.execute(
        f"SELECT {', '.join(_FIELDS)} FROM alert WHERE until_unix_s IS NULL"
        " OR number > (SELECT COALESCE(MAX(number), 0) FROM alert) - ? ORDER BY number DESC",
        (limit,),
    )
    return tuple(
        msgspec.convert(
            {name: math.nan if value is None else value for name, value in zip(_FIELDS, row, strict=True)}, Alert
        )
        for row in rows
    )
