"""Requests that no catalog can fulfil are taken out of the selection."""

from __future__ import annotations

from stream.analysis.requests import without_missing_sources
from stream.messages import Selection
from tests.night.ledger_rows import make_catalog

CATALOGS = {"1:g": make_catalog(), "2:r": make_catalog("2:r")}


def test_what_exists_and_what_may_still_come_stays() -> None:
    selection = Selection(
        targets={"1:g": 3, "3:i": 9},
        comparisons={"2:r": (1, 2)},
        requested_target="50.4,49.8",
        requested_comparisons=("2:r#3", "3:i#12"),
    )
    assert without_missing_sources(selection, CATALOGS) == selection
    assert without_missing_sources(Selection(requested_target="1:g#99"), {}) == Selection(requested_target="1:g#99")


def test_what_does_not_exist_is_taken_out() -> None:
    selection = Selection(
        targets={"1:g": 4, "2:r": 2},
        comparisons={"2:r": (1, 9)},
        requested_target="1:g#99",
        requested_comparisons=("#1", "300,300"),
    )
    expected = Selection(targets={"2:r": 2}, comparisons={"2:r": (1,)}, requested_comparisons=("#1",))
    assert without_missing_sources(selection, CATALOGS) == expected
