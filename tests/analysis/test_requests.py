"""Requests that no catalog can fulfil are taken out of the selection."""

from __future__ import annotations

import pytest

from stream.analysis.requests import refuse_waiting, without_missing_sources
from stream.errors import ConfigurationError
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


def test_a_complete_night_waits_for_no_key() -> None:
    selection = Selection(targets={"3:i": 1}, requested_target="3:i#2", requested_comparisons=("1:g#1", "3:i#1"))
    assert without_missing_sources(selection, CATALOGS, complete=True) == Selection(requested_comparisons=("1:g#1",))


def test_light_curves_of_another_star_than_the_one_asked_for_are_refused() -> None:
    for selection, role in (
        (Selection(requested_target="7:z#9"), "target 7:z#9"),
        (Selection(requested_target="7:z@40,50", targets={"3:i": 1}), "target 7:z@40,50"),
        (Selection(requested_comparisons=("1:g#1", "7:z#2"), comparisons={"1:g": (2,)}), "comparison star 7:z#2"),
    ):
        with pytest.raises(ConfigurationError, match=f"^{role}: there is no catalog of 7:z, only of 1:g, 2:r$"):
            refuse_waiting(selection, CATALOGS)
    # What was chosen later stands, and without catalogs nothing would be written.
    refuse_waiting(Selection(requested_target="7:z#9", targets={"1:g": 1}), CATALOGS)
    refuse_waiting(Selection(requested_comparisons=("7:z#2",), comparisons={"1:g": (1,), "2:r": (2,)}), CATALOGS)
    refuse_waiting(Selection(requested_target="7:z#9"), {})
