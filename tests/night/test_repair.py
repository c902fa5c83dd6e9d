"""A damaged ledger is rebuilt from the rows that can be read and make sense together."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream.errors import LedgerError, NightError, Reason
from stream.measure.catalog import save_catalog, with_version
from stream.messages import Catalog, FrameMeasured, FrameRejected
from stream.night.ledger import LEDGER_FILE, Ledger, LedgerReader
from stream.night.night_folder import RECIPE_FILE
from stream.night.repair import RepairedLedger, find_damage, repair_ledger
from tests.night.ledger_rows import RECIPE, make_arrival, make_catalog, make_measured

N_FRAMES = 60
PAGE_BYTES = 4096


def catalog() -> Catalog:
    """A catalog whose version is that of its content."""
    return with_version(make_catalog())


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Outputs of a night of 60 frames, one of them rejected, with catalog and recipe on paper too."""
    out = tmp_path / "out"
    (out / "cat").mkdir(parents=True)
    (tmp_path / "frames").mkdir()
    ledger = Ledger(out, RECIPE, folder=tmp_path / "frames")
    ledger.save_catalog(catalog())
    frames = ledger.enter([make_arrival(number) for number in range(N_FRAMES)])
    outcomes: list[FrameMeasured | FrameRejected] = [
        msgspec.structs.replace(make_measured(frame, number), catalog_version=catalog().version)
        for number, frame in enumerate(frames[1:], 1)
    ]
    outcomes.append(FrameRejected(frames[0].frame_id, frames[0].path, Reason.BAD_TIME, "no time", "1:g"))
    ledger.commit(outcomes)
    ledger.close()
    save_catalog(catalog(), out / "cat" / "1-g_catalog.ecsv")
    (out / RECIPE_FILE).write_text(RECIPE.to_toml())
    return out


def change(out: Path, *statements: str) -> None:
    with closing(sqlite3.connect(out / LEDGER_FILE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def overwrite(out: Path, first: int, n_pages: int = 1) -> None:
    with (out / LEDGER_FILE).open("r+b") as file:
        file.seek(first * PAGE_BYTES)
        file.write(np.random.default_rng(first).bytes(n_pages * PAGE_BYTES))


def outcomes(out: Path) -> list[FrameMeasured | FrameRejected]:
    reader = LedgerReader(out)
    found = reader.outcomes_since(0)
    reader.close()
    return found


def damaged(out: Path) -> RepairedLedger:
    """Repair after a row was made to point nowhere: damage that leaves all else as it is."""
    change(out, "PRAGMA foreign_keys = OFF", "DELETE FROM frame WHERE frame_id = 7")
    return repair_ledger(out)


def test_a_sound_ledger_is_left_alone(night: Path) -> None:
    before = (night / LEDGER_FILE).read_bytes()
    repaired = repair_ledger(night)
    assert (repaired.problems, repaired.n_frames, repaired.n_outcomes) == ((), N_FRAMES, N_FRAMES)
    assert (night / LEDGER_FILE).read_bytes() == before
    assert not list(night.glob("damaged-*"))


def test_rows_beside_the_damaged_pages_are_kept_as_they_were(night: Path) -> None:
    before = {outcome.sequence: outcome for outcome in outcomes(night)}
    n_pages = (night / LEDGER_FILE).stat().st_size // PAGE_BYTES
    overwrite(night, n_pages - 3)
    overwrite(night, n_pages - 6)
    repaired = repair_ledger(night)
    after = outcomes(night)
    assert repaired.problems
    assert repaired.n_outcomes == len(after)
    assert 0 < len(after) < N_FRAMES
    assert after == [before[outcome.sequence] for outcome in after]
    assert find_damage(night / LEDGER_FILE) == ()
    ledger = Ledger(night, RECIPE, folder=repaired.folder)
    assert len(ledger.known_files()) - len(ledger.unfinished()) == len(after)
    ledger.close()


@pytest.mark.parametrize("n_pages", [1, 4, 12])
def test_what_is_left_of_a_file_that_was_cut_off_is_read(night: Path, n_pages: int) -> None:
    path = night / LEDGER_FILE
    os.truncate(path, path.stat().st_size - n_pages * PAGE_BYTES)
    repaired = repair_ledger(night)
    assert repaired.problems == ("database disk image is malformed",)
    assert 0 < repaired.n_frames <= N_FRAMES
    assert len(outcomes(night)) == repaired.n_outcomes < N_FRAMES
    assert sorted(path.name for path in night.glob("night.db*")) == [LEDGER_FILE]


def test_what_is_no_database_any_more_is_begun_anew(night: Path, tmp_path: Path) -> None:
    overwrite(night, 0)
    with pytest.raises(NightError, match="no longer tells where the frames are: --folder is required"):
        repair_ledger(night)
    repaired = repair_ledger(night, tmp_path / "frames")
    assert (repaired.problems, repaired.n_frames) == (("file is not a database",), 0)
    assert repaired.recipe == RECIPE
    (night / RECIPE_FILE).unlink()
    overwrite(night, 0)
    with pytest.raises(NightError, match=r"neither night\.db nor night\.toml tells the recipe"):
        repair_ledger(night, tmp_path / "frames")


def test_an_outcome_whose_frame_is_gone_is_dropped(night: Path) -> None:
    repaired = damaged(night)
    assert repaired.problems[0].startswith("a row of table outcome refers to table frame")
    assert (repaired.n_frames, repaired.n_outcomes) == (N_FRAMES - 1, N_FRAMES - 1)
    assert 7 not in {outcome.frame_id for outcome in outcomes(night)}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE outcome SET sources = substr(sources, 9) WHERE frame_id = 3",
        "UPDATE outcome SET catalog_version = 'another' WHERE frame_id = 3",
        "UPDATE outcome SET flags = 'many' WHERE frame_id = 3",
        "UPDATE outcome SET reason = 'WHIM' WHERE state = 'rejected'",
    ],
)
def test_an_outcome_that_makes_no_sense_is_dropped(night: Path, statement: str) -> None:
    change(night, statement)
    assert damaged(night).n_outcomes == N_FRAMES - 2


def test_a_catalog_that_is_lost_is_taken_from_paper(night: Path) -> None:
    change(night, "UPDATE catalog SET content = x'00'")
    assert damaged(night).n_outcomes == N_FRAMES - 1
    reader = LedgerReader(night)
    assert reader.catalogs() == {"1:g": catalog()}
    reader.close()


def test_without_a_catalog_its_measurements_are_lost(night: Path) -> None:
    change(night, "UPDATE catalog SET content = x'00'")
    (night / "cat" / "1-g_catalog.ecsv").unlink()
    assert damaged(night).n_outcomes == 1  # the rejected one


def test_a_recipe_that_is_lost_is_taken_from_the_folder(night: Path) -> None:
    change(night, "PRAGMA foreign_keys = OFF", "UPDATE measurement_set SET recipe = '['")
    repaired = damaged(night)
    assert (repaired.recipe, repaired.n_outcomes) == (RECIPE, N_FRAMES - 1)


def test_a_ledger_of_another_version_is_no_damage(night: Path) -> None:
    change(night, "PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="has version 99: version 2 is required"):
        repair_ledger(night)


def test_a_damaged_ledger_names_the_way_out(night: Path) -> None:
    overwrite(night, 0)
    with pytest.raises(LedgerError, match=f"opticam-live repair {night} rebuilds it"):
        Ledger(night, RECIPE)
    with pytest.raises(LedgerError, match=f"opticam-live repair {night} rebuilds it"):
        LedgerReader(night)
