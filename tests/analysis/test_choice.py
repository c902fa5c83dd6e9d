from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.analysis.choice import SourceName, find_source, parse_source_name, resolve_selection
from stream.errors import ConfigurationError
from stream.messages import Catalog, Selection, SourceFluxes
from tests.analysis.synthetic import Field, make_catalog

XY = np.array([[60.0, 80.0], [420.0, 100.0], [300.0, 250.0], [90.0, 400.0], [440.0, 430.0], [200.0, 180.0]])
MOVED = np.array([2, 0, 4, 1, 5, 3])
"""Order of the stars in the second key, and they are shifted there."""


@pytest.fixture
def catalogs() -> dict[str, Catalog]:
    return {"1:g": make_catalog("1:g", XY), "2:r": make_catalog("2:r", XY[MOVED] + [35.0, -22.0])}


def _in_second(number: int) -> int:
    return int(np.flatnonzero(number - 1 == MOVED)[0]) + 1


def _fluxes(n_frames: int = 200, variable: int = 6) -> dict[str, SourceFluxes]:
    levels = np.array(Field().levels)
    return {
        "1:g": Field(n_frames=n_frames, variable=variable).make(),
        "2:r": Field(
            n_frames=n_frames, variable=_in_second(variable), key="2:r", levels=tuple(levels[MOVED].tolist()), seed=2
        ).make(),
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1:g#2", SourceName("1:g#2", "1:g", 2)),
        ("#12", SourceName("#12", None, 12)),
        (" 424,286 ", SourceName("424,286", None, None, 424.0, 286.0)),
        ("424.5, 286.25", SourceName("424.5, 286.25", None, None, 424.5, 286.25)),
        ("2:r@10,20", SourceName("2:r@10,20", "2:r", None, 10.0, 20.0)),
    ],
)
def test_names_of_sources(text: str, name: SourceName) -> None:
    assert parse_source_name(text) == name


@pytest.mark.parametrize("text", ["", "2", "1:g", "1:g#", "1:g#two", "1,2,3", "a,b", "02:04:10 +46:41:23", "1:g#-3"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not understood: 1:g#2 "):
        parse_source_name(text)


def test_source_zero_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sources are numbered from 1"):
        parse_source_name("1:g#0")


@given(st.text(max_size=30))
def test_any_text_is_a_name_or_a_sentence(text: str) -> None:
    try:
        name = parse_source_name(text)
    except ConfigurationError:
        return
    assert (name.number is None) != (name.x is None)


def test_pixel_means_the_nearest_source(catalogs: dict[str, Catalog]) -> None:
    assert find_source(parse_source_name("418,103"), catalogs["1:g"]) == 2
    with pytest.raises(ConfigurationError, match=r"no source of 1:g within 6.0 px of 424,286: the nearest is source 3"):
        find_source(parse_source_name("424,286"), catalogs["1:g"])


def test_request_by_pixel_is_matched_to_the_other_key(catalogs: dict[str, Catalog]) -> None:
    choices = resolve_selection(Selection(requested_target="90,400"), catalogs, _fluxes())
    assert (choices["1:g"].target, choices["2:r"].target) == (4, _in_second(4))
    assert not choices["1:g"].automatic
    assert not choices["2:r"].automatic
    assert f"source {_in_second(4)} of 2:r is source 4 of 1:g" in choices["2:r"].sentences[0]
    # The variable is no comparison star, nor is the target.
    assert set(choices["1:g"].comparisons) == {1, 2, 3, 5}
    assert set(choices["2:r"].comparisons) == {_in_second(number) for number in (1, 2, 3, 5)}
    assert "variable" in choices["1:g"].excluded[6]


def test_request_in_the_second_key_is_matched_back(catalogs: dict[str, Catalog]) -> None:
    choices = resolve_selection(Selection(requested_target=f"2:r#{_in_second(5)}"), catalogs, _fluxes())
    assert choices["1:g"].target == 5


def test_without_a_request_the_variable_is_found_in_all_keys(catalogs: dict[str, Catalog]) -> None:
    choices = resolve_selection(Selection(), catalogs, _fluxes())
    assert (choices["1:g"].target, choices["2:r"].target) == (6, _in_second(6))
    assert choices["1:g"].automatic
    assert choices["2:r"].automatic
    assert any("varies most beyond its noise" in s for c in choices.values() for s in c.sentences)


def test_explicit_targets_go_before_the_request(catalogs: dict[str, Catalog]) -> None:
    selection = Selection(targets={"1:g": 2}, requested_target="1:g#4")
    choices = resolve_selection(selection, catalogs, _fluxes())
    assert (choices["1:g"].target, choices["2:r"].target) == (2, _in_second(2))


def test_explicit_comparisons_go_before_the_requested(catalogs: dict[str, Catalog]) -> None:
    selection = Selection(
        requested_target="1:g#6", comparisons={"1:g": (1, 2)}, requested_comparisons=("1:g#3", "440,430")
    )
    choices = resolve_selection(selection, catalogs, _fluxes())
    assert choices["1:g"].comparisons == (1, 2)
    assert not choices["1:g"].automatic_comparisons
    assert choices["2:r"].comparisons == (_in_second(3), _in_second(5))


def test_a_target_is_no_comparison_star_of_itself(catalogs: dict[str, Catalog]) -> None:
    selection = Selection(targets={"1:g": 2}, comparisons={"1:g": (1, 2)})
    choice = resolve_selection(selection, catalogs, _fluxes())["1:g"]
    assert choice.comparisons == (1,)
    assert "source 2 of 1:g is the target and no longer a comparison star" in choice.sentences


@pytest.mark.parametrize("n_frames", [0, 5])
def test_before_there_are_frames_the_brightest_stands_in(catalogs: dict[str, Catalog], n_frames: int) -> None:
    fluxes = _fluxes(n_frames)
    choices = resolve_selection(Selection(), catalogs, fluxes)
    assert choices["1:g"].target == 1
    assert choices["2:r"].target == _in_second(1)
    assert "the brightest" in choices["1:g"].sentences[0]
    assert len(choices["1:g"].comparisons) == 5
    assert resolve_selection(Selection(), catalogs, {})["1:g"].target == 1


def test_keys_that_cannot_be_matched_choose_for_themselves_and_say_so() -> None:
    random = np.random.default_rng(3)
    catalogs = {
        "1:g": make_catalog("1:g", XY),
        "2:r": make_catalog("2:r", random.uniform(0.0, 512.0, (6, 2))),
    }
    choices = resolve_selection(Selection(requested_target="1:g#3"), catalogs, _fluxes())
    assert choices["1:g"].target == 3
    assert choices["2:r"].automatic
    assert any("not matched" in s and s.endswith("name the target of 2:r") for s in choices["2:r"].sentences)


def test_a_request_waits_for_its_catalog(catalogs: dict[str, Catalog]) -> None:
    choices = resolve_selection(
        Selection(requested_target="3:i#2", requested_comparisons=("3:i#1",)), {"1:g": catalogs["1:g"]}, _fluxes()
    )
    assert "the target 3:i#2 waits for the catalog of 3:i" in choices["1:g"].sentences
    assert "the comparison star 3:i#1 waits for the catalog of 3:i" in choices["1:g"].sentences
    assert choices["1:g"].automatic


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(targets={"1:g": 9}), r"target: number 9 is not in the catalog of 1:g, which has sources 1 to 6"),
        (Selection(requested_target="1:g#9"), r"source 1:g#9: number 9 is not in the catalog of 1:g"),
        (Selection(comparisons={"1:g": (1, 0)}), r"comparison star of 1:g: number 0 is not in the catalog"),
        (Selection(requested_target="5,5"), r"no source of 1:g within 6.0 px of 5,5"),
    ],
)
def test_what_does_not_exist_is_named(catalogs: dict[str, Catalog], selection: Selection, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        resolve_selection(selection, catalogs, _fluxes())


def test_nothing_to_choose_from_is_an_empty_choice() -> None:
    assert resolve_selection(Selection(requested_target="1:g#1"), {}, {}) == {}
    assert resolve_selection(Selection(), {"1:g": make_catalog("1:g", [])}, {}) == {}
