"""The ledger: what is written is read back, a second outcome is dropped, a recipe is guarded."""

from __future__ import annotations

import math
import re
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream.config import APERTURE_LABEL, OPTIMAL_LABEL, DetectionSettings, PhotometrySettings
from stream.errors import LedgerError, Reason, RecipeMismatchError
from stream.messages import FrameMeasured, FrameRejected, FrameToMeasure, NightStatus
from stream.night.ledger import LEDGER_FILE, Ledger, LedgerReader
from stream.night.ledger_schema import SCHEMA_VERSION
from tests.night.ledger_rows import RECIPE, make_arrival, make_catalog, make_measured


def reject(frame: FrameToMeasure) -> FrameRejected:
    return FrameRejected(frame.frame_id, frame.path, Reason.TRUNCATED, f"{frame.path} is truncated", "1:g")


def test_what_is_committed_is_read_back_in_order_of_sequence(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE, folder=tmp_path / "frames")
    ledger.save_catalog(make_catalog())
    frames = ledger.enter([make_arrival(number) for number in range(4)])
    outcomes: list[FrameMeasured | FrameRejected] = [
        make_measured(frames[1], 1),
        make_measured(frames[0], 0),
        reject(frames[2]),
    ]
    committed = ledger.commit(outcomes)
    with_reader = LedgerReader(tmp_path)
    read = with_reader.outcomes_since(0)
    assert [outcome.sequence for outcome in committed] == [1, 2, 3]
    assert [type(outcome) for outcome in read] == [FrameMeasured, FrameMeasured, FrameRejected]
    for before, after in zip(committed, read, strict=True):
        for name in before.__struct_fields__:
            was, now = getattr(before, name), getattr(after, name)
            assert was == now or (math.isnan(was) and math.isnan(now)), name
    assert with_reader.outcomes_since(2) == [read[2]]
    assert with_reader.outcomes_since(0, limit=2)[-1].sequence == 2
    assert with_reader.last_sequence() == 3
    assert with_reader.rejected() == [read[2]]
    assert with_reader.folder() == (tmp_path / "frames").resolve()
    assert with_reader.frame_path(frames[3].frame_id) == frames[3].path
    assert with_reader.recipe() == RECIPE
    counts = with_reader.counts()
    assert (counts.n_frames, counts.n_measured, counts.n_rejected, counts.n_pending) == (4, 2, 1, 1)
    assert counts.by_key == {"1:g": 2}
    assert counts.by_reason == {"TRUNCATED": 1}
    with_reader.close()
    ledger.close()


def test_light_curves_are_in_order_of_time_and_join_flags(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE)
    catalog = make_catalog()
    ledger.save_catalog(catalog)
    frames = ledger.enter([make_arrival(number) for number in range(5)])
    ledger.commit([make_measured(frames[number], number) for number in (3, 0, 4, 1)])
    reader = LedgerReader(tmp_path)
    fluxes = reader.source_fluxes("1:g", OPTIMAL_LABEL)
    np.testing.assert_array_equal(fluxes.flux[:, 1], [2000.0, 2001.0, 2003.0, 2004.0])
    np.testing.assert_array_equal(fluxes.flux_err, np.sqrt(fluxes.flux))
    np.testing.assert_array_equal(fluxes.flags[0], [1 | 1 << 10, 1 << 10, 1 << 10])
    np.testing.assert_array_equal(fluxes.frame_ids, [frames[n].frame_id for n in (0, 1, 3, 4)])
    assert np.all(np.isnan(fluxes.time_bmjd_tdb))
    assert fluxes.time_scale() == "time_mjd_utc"
    assert reader.catalogs() == {"1:g": catalog}
    assert not reader.source_fluxes("1:g", APERTURE_LABEL).flux.any()
    assert reader.source_fluxes("2:r", OPTIMAL_LABEL).flux.shape == (0, 0)
    with pytest.raises(LedgerError, match="label 'psf' is no photometer of the ledger: forced_aperture_annulus"):
        reader.source_fluxes("1:g", "psf")
    reader.close()
    ledger.close()


def test_a_frame_keeps_its_first_terminal_state(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE)
    (frame,) = ledger.enter([make_arrival(0)])
    assert ledger.enter([make_arrival(0)]) == []
    assert len(ledger.commit([reject(frame)])) == 1
    assert ledger.commit([make_measured(frame, 0)]) == []
    assert ledger.last_sequence == 1
    assert ledger.counts().by_reason == {"TRUNCATED": 1}
    ledger.close()


def test_a_second_run_finds_the_unfinished_frames_and_goes_on_counting(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE)
    frames = ledger.enter([make_arrival(number) for number in (2, 0, 1)])
    ledger.commit([make_measured(frames[0], 2)])
    ledger.close()
    again = Ledger(tmp_path, RECIPE)
    assert [entry.frame for entry in again.unfinished()] == [frames[1], frames[2]]
    assert again.unfinished()[0].key == "1:g"
    assert again.known_files()[frames[0].path] == (527_040, 2)
    assert again.commit([reject(frames[1])])[0].sequence == 2
    again.close()


def test_a_night_goes_on_whose_recipe_knows_no_setting_of_later_versions(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE)
    ledger.commit([make_measured(frame, number) for number, frame in enumerate(ledger.enter([make_arrival(0)]))])
    ledger.close()
    with closing(sqlite3.connect(tmp_path / "night.db")) as connection, connection:
        older = re.sub(r"\ndeblend_\w+ = \S+", "", RECIPE.to_toml())
        assert older != RECIPE.to_toml()
        connection.execute("UPDATE measurement_set SET recipe = ?, recipe_hash = 'of another version'", (older,))
    again = Ledger(tmp_path, RECIPE)
    assert again.unfinished() == []
    again.close()
    other = msgspec.structs.replace(RECIPE, detection=DetectionSettings(deblend_levels=8))
    with pytest.raises(RecipeMismatchError, match=r"\(detection\.deblend_levels: 32 -> 8\)"):
        Ledger(tmp_path, other)


def test_another_recipe_is_refused_and_remeasure_starts_a_second_set(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE)
    ledger.save_catalog(make_catalog())
    frames = ledger.enter([make_arrival(0)])
    ledger.commit([make_measured(frames[0], 0)])
    ledger.close()
    other = msgspec.structs.replace(RECIPE, photometry=PhotometrySettings(aperture_radius_fwhm=1.25))
    with pytest.raises(RecipeMismatchError, match=r"photometry\.aperture_radius_fwhm: .* -> 1\.25.*--remeasure"):
        Ledger(tmp_path, other)
    second = Ledger(tmp_path, other, remeasure=True)
    assert [entry.frame for entry in second.unfinished()] == frames
    assert second.catalogs() == {}
    second.save_catalog(make_catalog(version="def"))
    with pytest.raises(RecipeMismatchError, match=r"catalog of 1:g is version ghi, but frames .* version def"):
        second.save_catalog(make_catalog(version="ghi"))
    reader = LedgerReader(tmp_path)
    assert reader.recipe() == other
    assert reader.outcomes_since(0) == []
    assert second.commit([reject(frames[0])])[0].sequence == 2
    assert reader.last_sequence() == 2
    reader.close()
    second.close()


def test_the_status_is_replaced(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE)
    reader = LedgerReader(tmp_path)
    assert reader.status() is None
    status = NightStatus("live", 1.0, 2, 3, 4, 5, 6, 7, 8, 9.0, 10.0, math.nan, ("3 of 5 frames",))
    ledger.save_status(msgspec.structs.replace(status, state="stalled"))
    ledger.save_status(status)
    read = reader.status()
    assert read is not None
    assert (read.state, read.awaited) == ("live", ("3 of 5 frames",))
    assert math.isnan(read.last_frame_unix_s)
    reader.close()
    ledger.close()


def test_readers_see_whole_transactions_while_the_night_writes(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE)
    frames = ledger.enter([make_arrival(number) for number in range(400)])
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        reader = LedgerReader(tmp_path)
        while not done.is_set():
            seen.append(reader.counts().n_measured)
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    for start in range(0, 400, 8):
        ledger.commit([make_measured(frames[number], number) for number in range(start, start + 8)])
    done.set()
    thread.join(10.0)
    ledger.close()
    assert seen == sorted(seen)
    assert all(n % 8 == 0 for n in seen)


def test_a_finished_night_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE)
    ledger.save_catalog(make_catalog())
    ledger.close()
    mode = tmp_path.stat().st_mode
    (tmp_path / LEDGER_FILE).chmod(stat.S_IRUSR)
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        reader = LedgerReader(tmp_path)
        assert list(reader.catalogs()) == ["1:g"]
        reader.close()
    finally:
        tmp_path.chmod(mode)


def test_a_ledger_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"holds no night: there is no night\.db in it"):
        LedgerReader(tmp_path)
    path = tmp_path / LEDGER_FILE
    path.write_bytes(b"this is a text and no database" * 40)
    with pytest.raises(LedgerError, match=r"night\.db cannot be used: file is not a database"):
        Ledger(tmp_path, RECIPE)
    with pytest.raises(LedgerError, match=r"night\.db cannot be read: file is not a database"):
        LedgerReader(tmp_path)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match=f"has version 99: version {SCHEMA_VERSION} is required"):
        Ledger(tmp_path, RECIPE)
    with pytest.raises(LedgerError, match=f"has version 99: version {SCHEMA_VERSION} is required"):
        LedgerReader(tmp_path)
