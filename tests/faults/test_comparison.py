"""The comparison of two nights sees what it is there for: lost, doubled, changed and unknown frames."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stream.config import OPTIMAL_LABEL
from stream.messages import FrameMeasured
from stream.night.ledger import LEDGER_FILE
from tests.faults.comparison import differences, outcomes_of
from tests.faults.figures import FaultFigures, load, save, table, written_into
from tests.faults.whole_night import SimulatedNight

pytestmark = pytest.mark.faults


@pytest.fixture
def copied(night: SimulatedNight, tmp_path: Path) -> Path:
    """Outputs of the undisturbed night, to be changed."""
    out = tmp_path / "out"
    shutil.copytree(night.undisturbed, out)
    return out


def change(out: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(out / LEDGER_FILE, isolation_level=None)) as connection:
        connection.execute(statement, values)


def test_a_night_does_not_differ_from_itself(night: SimulatedNight, copied: Path) -> None:
    assert differences(copied, night.undisturbed) == []


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("DELETE FROM outcome WHERE frame_id = 5", "has 0 outcomes"),
        ("INSERT INTO frame VALUES (9999, 'more.fit', '1:g', 1, 1, 1.0, 1.0)", "is in the ledger, but not in the"),
        ("UPDATE frame SET path = 'other.fit' WHERE frame_id = 5", "is not in the ledger"),
        ("UPDATE outcome SET flags = flags | 1024 WHERE frame_id = 5", "flags is"),
        ("UPDATE outcome SET time_mjd_utc = time_mjd_utc + 1e-9 WHERE frame_id = 5", "time_mjd_utc is"),
        (
            "UPDATE outcome SET state = 'rejected', reason = 'NO_STARS', sentence = 's' WHERE frame_id = 5",
            "rejected: s",
        ),
    ],
)
def test_frames_that_are_lost_or_changed_are_named(
    night: SimulatedNight, copied: Path, statement: str, sentence: str
) -> None:
    change(copied, statement)
    found = differences(copied, night.undisturbed)
    assert found
    assert any(sentence in one for one in found)


@pytest.mark.parametrize(("of_the_error", "differs"), [(5e-4, False), (2e-3, True), (float("nan"), True)])
def test_fluxes_may_differ_by_a_thousandth_of_their_error(
    night: SimulatedNight, copied: Path, of_the_error: float, differs: bool
) -> None:
    (outcome,) = [one for one in outcomes_of(copied).values() if one.frame_id == 5]
    assert isinstance(outcome, FrameMeasured)
    values = np.array(outcome.source_table())
    row = outcome.columns().index(f"{OPTIMAL_LABEL}_flux")
    values[row, 1] += of_the_error * values[row + 1, 1]
    change(copied, "UPDATE outcome SET sources = ? WHERE frame_id = 5", values.tobytes())
    assert bool(differences(copied, night.undisturbed)) == differs


def test_figures_stand_between_the_marks_of_their_page() -> None:
    day = "2026-11-22"
    figures = [FaultFigures("a", 2, 10, 10, 0, 1.0, "", day, 3), FaultFigures("b", 3, 20, 19, 1, 2.0, "c", day, 1.5)]
    lines = table(figures).splitlines()
    assert lines[-1].startswith(f"Run on {day} on ")
    assert lines[-1].endswith("1.5 to 3.0.")
    assert lines[2:-2] == [
        "| a | 2 | 10 | 10 | 0 | 1 |",
        "| b (c) | 3 | 20 | 19 | 1 | 2 |",
        "| **all** | 5 | 30 | 29 | 1 | 3 |",
    ]
    page = "x\n<!-- figures begin -->\nold\n<!-- figures end -->\ny\n"
    assert written_into(page, figures) == page.replace("old", table(figures))
    with pytest.raises(ValueError, match="lacks the marks"):
        written_into("x", figures)


def test_the_night_of_a_hundred_thousand_frames_has_a_table_of_its_own(tmp_path: Path) -> None:
    long, short = (FaultFigures(f"a mixed night of {n} frames", 1, n, n, 0, 1.0) for n in (100_000, 900))
    for figures in (long, short):
        save(figures, tmp_path)
    assert load(tmp_path) == [short]
    assert load(tmp_path, night=True) == [long]
    page = "<!-- figures begin -->\na\n<!-- figures end --><!-- night begin -->\nb\n<!-- night end -->"
    assert written_into(page, [long], "night") == page.replace("\nb\n", f"\n{table([long])}\n")
