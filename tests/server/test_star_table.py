"""The table of the sources of a key: what it says of each, what its buttons ask for, what others changed."""

from __future__ import annotations

import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from server.choice_changes import what_changed
from server.columns import KeyColumns
from server.night_model import NightModel
from server.selecting import with_comparison_toggled, with_target
from server.star_desk import JudgedStars, StarDesk
from server.star_table import short_flux, star_facts, star_table, why
from stream.analysis.choice import KeyChoice
from stream.analysis.comparisons import choose_comparisons
from stream.errors import ConfigurationError
from stream.messages import FloatArray, Selection, SourceFluxes
from tests.server.fake_night import FLUXES_E, KEYS, catalog_of

KEY = KEYS[0]
AUTOMATIC = KeyChoice(2, (1, 3, 4), True, (), {5: "it is variable", 6: "it is too faint"})
BY_HAND = replace(AUTOMATIC, comparisons=(1, 5), excluded={}, automatic_comparisons=False, automatic=False)
CATALOGS = {KEY: catalog_of(KEY)}


def fluxes_of(scatters: tuple[float, ...], n_frames: int = 400) -> SourceFluxes:
    """Six stars under clouds, each with its own relative scatter; errors are those of the quiet ones."""
    random = np.random.default_rng(11)
    clouds = 1.0 + 0.2 * np.sin(np.arange(n_frames) / 30.0)
    flux = np.array(FLUXES_E) * clouds[:, None] * (1.0 + np.array(scatters) * random.standard_normal((n_frames, 6)))
    times: FloatArray = 61000.0 + np.arange(n_frames) / 86400.0
    zeros = np.zeros((n_frames, 6))
    return SourceFluxes(
        key=KEY,
        label="forced_optimal_annulus",
        time_mjd_utc=times,
        time_bmjd_tdb=times,
        exposure_s=np.ones(n_frames),
        airmass=np.ones(n_frames),
        flux=flux,
        flux_err=zeros + 0.004 * np.array(FLUXES_E),
        flags=zeros.astype(np.int64),
        frame_ids=np.arange(n_frames),
    )


def test_scatter_is_that_against_the_comparison_stars_and_the_variable_stands_out() -> None:
    fluxes = fluxes_of((0.004, 0.03, 0.004, 0.004, 0.05, 0.004))
    facts = star_facts(fluxes, BY_HAND)
    assert [each.flux_e for each in facts] == pytest.approx(FLUXES_E, rel=0.05)
    # Star 5 is half of what the others are compared with: two stars have the weights of their errors.
    assert facts[1].scatter == pytest.approx(math.hypot(0.03, 0.025), rel=0.15)
    assert facts[4].scatter == pytest.approx(0.05, rel=0.25)
    assert facts[2].error == pytest.approx(0.004, rel=0.05)
    weights = [each.weight for each in facts]
    assert sum(weight for weight in weights if math.isfinite(weight)) == pytest.approx(1.0)
    assert [index + 1 for index, weight in enumerate(weights) if math.isfinite(weight)] == [1, 5]
    suggested = choose_comparisons(fluxes, exclude=(2,)).comparisons
    assert {index + 1 for index, each in enumerate(facts) if each.is_suggested} == set(suggested)
    assert why(5, BY_HAND, facts[4]).startswith("taken by hand: ")
    assert "variable" in why(5, BY_HAND, facts[4])
    assert why(3, BY_HAND, facts[2]) == "left out by hand: it would be suggested"


def test_the_words_for_an_automatic_choice_are_those_of_the_choice() -> None:
    facts = star_facts(fluxes_of((0.004,) * 6), AUTOMATIC)
    assert why(2, AUTOMATIC, facts[1]) == "target, chosen automatically"
    assert re.fullmatch(r"suggested: \d+ % of the weight", why(1, AUTOMATIC, facts[0]))
    assert why(5, AUTOMATIC, facts[4]) == "left out: it is variable"
    assert why(1, AUTOMATIC, None) == ""


def test_a_single_comparison_star_and_a_star_never_measured_have_no_scatter() -> None:
    fluxes = fluxes_of((0.004,) * 6)
    fluxes.flux[:, 5] = np.nan
    facts = star_facts(fluxes, replace(BY_HAND, comparisons=(1,)))
    assert math.isnan(facts[0].scatter)
    assert math.isnan(facts[5].flux_e)
    assert math.isfinite(facts[1].scatter)
    text = star_table(replace(BY_HAND, comparisons=(1,)), facts, n_sources=6, press="p", may_change=True)
    assert "<td>–</td>" in text


def test_buttons_ask_for_what_they_say_and_are_off_for_who_only_watches() -> None:
    text = star_table(AUTOMATIC, (), n_sources=6, press="p", may_change=True)
    commands = re.findall(r"data-value='([^']+)' aria-pressed='(\w+)'", text)
    assert ("target 2", "true") in commands
    assert ("out 3", "true") in commands
    assert ("in 6", "false") in commands
    assert not any(command.endswith(" 2") and command != "target 2" for command, _pressed in commands)
    assert "disabled" not in text
    assert star_table(AUTOMATIC, (), n_sources=6, press="p", may_change=False).count(" disabled>") == len(commands)


def test_faint_sources_without_a_part_are_folded_away() -> None:
    text = star_table(replace(AUTOMATIC, comparisons=(1, 40)), (), n_sources=60, press="p", may_change=True)
    shown, folded = text.split("<details>")
    assert ">40c<" in shown
    assert ">41<" in folded
    assert "39 fainter sources" in folded


@pytest.mark.parametrize(
    ("flux_e", "text"), [(71_809.2, "71,809"), (126_276.0, "126 k"), (1.2634e6, "1.26 M"), (math.nan, "–")]
)
def test_short_fluxes(flux_e: float, text: str) -> None:
    assert short_flux(flux_e) == text


def test_a_source_that_does_not_exist_is_a_sentence() -> None:
    choices = {KEY: AUTOMATIC}
    for number in (0, 7):
        with pytest.raises(ConfigurationError, match=rf"^1:g has no source {number}: its catalog has 1 to 6$"):
            with_target(Selection(), CATALOGS, key=KEY, number=number)
        with pytest.raises(ConfigurationError, match=rf"^1:g has no source {number}"):
            with_comparison_toggled(Selection(), CATALOGS, choices, key=KEY, number=number)
    with pytest.raises(ConfigurationError, match=r"^key '9:z' has no catalog: there is 1:g$"):
        with_target(Selection(), CATALOGS, key="9:z", number=1)


def test_who_takes_out_what_somebody_else_took_out_does_not_put_it_back() -> None:
    choices = {KEY: AUTOMATIC}
    out = with_comparison_toggled(Selection(), CATALOGS, choices, key=KEY, number=3, wanted=False).selection
    assert out.comparisons == {KEY: (1, 4)}
    again = with_comparison_toggled(out, CATALOGS, choices, key=KEY, number=3, wanted=False)
    assert again.selection == out
    assert again.sentences == ("1:g: source 3 is no comparison star any more: somebody else changed that before",)
    back = with_comparison_toggled(out, CATALOGS, choices, key=KEY, number=3, wanted=True)
    assert back.selection.comparisons == {KEY: (1, 3, 4)}


def test_what_another_viewer_changed_is_said_and_what_the_program_chose_anew_is_not() -> None:
    before = {KEY: AUTOMATIC}
    assert what_changed(before, {KEY: replace(AUTOMATIC, target=5, comparisons=(1, 2))}) == ()
    assert what_changed(before, {KEY: replace(AUTOMATIC, comparisons=(1, 4), automatic_comparisons=False)}) == (
        "another viewer changed 1:g: source 3 is compared with no more",
    )
    assert what_changed(before, {KEY: replace(BY_HAND, target=6)}) == (
        "another viewer changed 1:g: source 6 is the target now, source 2 no more; "
        "sources 3, 4 are compared with no more; source 5 is compared with now",
    )
    assert what_changed({}, before) == ()


def test_sources_are_judged_once_for_all_who_look_and_again_when_the_choice_changes() -> None:
    model = NightModel("forced_optimal_annulus", clock=lambda: 0.0)
    columns = KeyColumns(KEY, "forced_optimal_annulus", n_sources=6)
    columns.load(fluxes_of((0.004,) * 6))
    model.add_key(CATALOGS[KEY], columns)
    model.refresh()
    with ThreadPoolExecutor(1) as executor:
        desk = StarDesk(executor, clock=lambda: 0.0)

        def judged() -> JudgedStars | None:
            desk.renew(model)
            executor.submit(int).result()
            desk.renew(model)
            return desk.stars(KEY)

        assert judged() is None  # nobody had looked before
        first = judged()
        assert first is not None
        assert len(first.facts) == 6
        assert judged() is first

        model.change_selection(Selection(comparisons={KEY: (1, 3)}))
        model.refresh()
        second = judged()
        assert second is not None
        assert second.choice.comparisons == (1, 3)
        assert math.isnan(second.facts[3].weight)
