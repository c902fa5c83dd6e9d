"""A ledger that cannot be written now is tried again for as long as somebody waits; nothing is written in part."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from stream.errors import LedgerBusyError
from stream.night.ledger import LEDGER_FILE, Ledger
from tests.night.ledger_rows import RECIPE, make_arrival, make_catalog, make_measured


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that does not wait by itself."""
    opened = Ledger(tmp_path, RECIPE)
    opened._connection.execute("PRAGMA busy_timeout = 0")
    yield opened
    opened.close()


def last_page(ledger: Ledger) -> int:
    (n_pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
    return int(n_pages)


def test_a_full_disk_is_waited_for_and_the_whole_batch_is_written(ledger: Ledger) -> None:
    ledger._connection.execute(f"PRAGMA max_page_count = {last_page(ledger)}")
    sentences = []

    def make_room(sentence: str) -> bool:
        sentences.append(sentence)
        assert ledger.counts().n_frames == 0
        if len(sentences) == 3:
            ledger._connection.execute("PRAGMA max_page_count = 100000")
        return True

    ledger.on_busy = make_room
    entered = ledger.enter([make_arrival(number) for number in range(500)])
    assert [frame.frame_id for frame in entered] == list(range(1, 501))
    assert len(sentences) == 3
    assert sentences[0].endswith(f"{LEDGER_FILE} cannot be written: database or disk is full")
    committed = ledger.commit([make_measured(frame, frame.frame_id) for frame in entered])
    assert [outcome.sequence for outcome in committed] == list(range(1, 501))


def test_a_corrected_file_is_taken_again_once_there_is_room(ledger: Ledger) -> None:
    """A batch that could not be written is entered from the start: nothing of the first attempt is remembered."""
    ledger.save_catalog(make_catalog())
    (frame,) = ledger.enter([make_arrival(0)])
    ledger.commit([make_measured(frame, 0)])
    corrected = msgspec.structs.replace(make_arrival(0), mtime_ns=77)
    ledger._connection.execute(f"PRAGMA max_page_count = {last_page(ledger)}")
    sentences = []

    def make_room(sentence: str) -> bool:
        sentences.append(sentence)
        ledger._connection.execute("PRAGMA max_page_count = 100000")
        return True

    ledger.on_busy = make_room
    entered = ledger.enter([corrected, *(make_arrival(number) for number in range(1, 500))])
    assert len(sentences) == 1
    assert (len(entered), entered[0]) == (500, frame)
    assert ledger.commit([make_measured(frame, 1)])[0].sequence == 2


def test_without_anybody_who_waits_a_full_disk_is_an_error_and_nothing_is_written(ledger: Ledger) -> None:
    (frame,) = ledger.enter([make_arrival(1)])
    ledger._connection.execute(f"PRAGMA max_page_count = {last_page(ledger)}")
    with pytest.raises(LedgerBusyError, match="database or disk is full"):
        ledger.enter([make_arrival(number) for number in range(500)])
    ledger._connection.execute("PRAGMA max_page_count = 100000")
    assert ledger.counts().n_frames == 1
    assert ledger.last_sequence == 0
    assert len(ledger.commit([make_measured(frame, 1)])) == 1


def test_a_lock_of_another_program_is_waited_for(ledger: Ledger, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / LEDGER_FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerBusyError, match="database is locked"):
            ledger.enter([make_arrival(1)])

        def let_go(sentence: str) -> bool:
            other.execute("ROLLBACK")
            return True

        ledger.on_busy = let_go
        assert len(ledger.enter([make_arrival(1)])) == 1
