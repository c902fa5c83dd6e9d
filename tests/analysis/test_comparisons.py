from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.analysis.comparisons import choose_comparisons, choose_target
from stream.errors import ConfigurationError
from stream.flags import Flag
from tests.analysis.synthetic import Field, scaled, with_gap


@pytest.mark.parametrize("variable", range(1, 7))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_variable_of_two_per_cent_is_thrown_out_and_is_the_target(variable: int, seed: int) -> None:
    fluxes = Field(variable=variable, seed=seed).make()
    choice = choose_comparisons(fluxes)
    assert set(choice.comparisons) == set(range(1, 7)) - {variable}
    assert choice.excluded[variable].endswith("is expected of a star of its flux: variable")
    assert choice.sentence.endswith(f"thrown out as variable: {variable}")
    target = choose_target(fluxes, choice)
    assert target.target == variable
    assert target.significant
    assert target.sentence.startswith(f"source {variable} of 1:g varies most beyond its noise")


def test_constant_stars_are_all_kept_and_no_target_is_claimed() -> None:
    kept = 0
    for seed in range(20):
        fluxes = Field(seed=seed).make()
        choice = choose_comparisons(fluxes)
        kept += len(choice.comparisons)
        assert not choose_target(fluxes, choice).significant
    assert kept >= 6 * 20 - 1


def test_weights_follow_the_inverse_variance_of_the_stars() -> None:
    field = Field(n_frames=2000)
    choice = choose_comparisons(field.make())
    level = np.array(field.levels)
    # Mean over the night of the relative variance under the changing transparency.
    expected = 1.0 / np.array([np.median(f * field.transparency() + 2000.0) / f**2 for f in level])
    found = np.array([choice.weights[choice.comparisons.index(number)] for number in range(1, 7)])
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=0.25)
    assert sum(choice.weights) == pytest.approx(1.0)
    assert list(choice.weights) == sorted(choice.weights, reverse=True)


def test_slow_drift_is_thrown_out_though_every_point_is_within_its_noise() -> None:
    field = Field(n_frames=1500)
    drift = 1.0 + 0.015 * np.linspace(-1.0, 1.0, 1500)
    choice = choose_comparisons(scaled(field.make(), 6, drift))
    assert 6 in choice.excluded
    assert "drifts slowly" in choice.excluded[6] or "variable" in choice.excluded[6]
    assert len(choice.comparisons) == 5


def test_target_is_not_looked_at() -> None:
    fluxes = Field().make()
    wild = scaled(fluxes, 3, np.random.default_rng(5).uniform(0.1, 3.0, 300))
    assert choose_comparisons(fluxes, exclude=(3,)) == choose_comparisons(wild, exclude=(3,))
    assert 3 not in choose_comparisons(fluxes, exclude=(3,)).comparisons


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        (Flag.OFF_FRAME, "it leaves the field: unfit on 50 % of the frames"),
        (Flag.SATURATED, "it is saturated: unfit on 50 % of the frames"),
        (Flag.NONLINEAR, "it is too bright for the detector to be linear: unfit on 50 % of the frames"),
        (Flag.NEAR_EDGE, "it is near the edge of the field: unfit on 50 % of the frames"),
    ],
)
def test_stars_that_are_often_unfit_are_named_with_the_reason(flag: Flag, words: str) -> None:
    choice = choose_comparisons(with_gap(Field().make(), 2, slice(150, None), int(flag)))
    assert choice.excluded == {2: words}


def test_saturated_star_keeps_its_flux_and_is_still_thrown_out() -> None:
    fluxes = Field().make()
    flags = fluxes.flags.copy()
    flags[:, 0] = int(Flag.SATURATED)
    choice = choose_comparisons(replace(fluxes, flags=flags))
    assert choice.excluded == {1: "it is saturated: unfit on 100 % of the frames"}


def test_faint_and_negative_stars_are_thrown_out() -> None:
    fluxes = Field(levels=(60_000.0, 40_000.0, 30_000.0, 20_000.0, 90.0, -5000.0)).make()
    choice = choose_comparisons(fluxes)
    assert set(choice.comparisons) == {1, 2, 3, 4}
    assert choice.excluded[5].startswith("it is too faint: its error is ")
    assert choice.excluded[6] == "its median flux is not greater than 0"


def test_one_star_is_compared_with_and_none_is_said() -> None:
    single = Field(levels=(60_000.0, 50_000.0)).make()
    choice = choose_comparisons(single, exclude=(1,))
    assert (choice.comparisons, choice.weights) == ((2,), (1.0,))
    assert "too few stars or frames to tell whether one is variable" in choice.sentence
    none = choose_comparisons(single, exclude=(1, 2))
    assert none.comparisons == ()
    assert none.sentence == "no source of 1:g can serve as a comparison star"


@pytest.mark.parametrize("n_frames", [0, 1, 2, 3, 9])
def test_few_frames_give_the_brightest_and_say_so(n_frames: int) -> None:
    fluxes = Field(n_frames=n_frames).make()
    choice = choose_comparisons(fluxes, exclude=(6,))
    assert set(choice.comparisons) == {1, 2, 3, 4, 5}
    assert ("frames tell no more" in choice.sentence) or ("too few stars or frames" in choice.sentence)
    target = choose_target(fluxes, choice)
    assert not target.significant
    assert "too few to judge by" in target.sentence


def test_first_saturated_star_is_not_the_target_before_there_are_frames() -> None:
    fluxes = Field(n_frames=4).make()
    flags = fluxes.flags.copy()
    flags[:, 0] = int(Flag.SATURATED)
    choice = choose_target(replace(fluxes, flags=flags), ())
    assert choice.target == 2
    assert choice.sentence == "source 2 of 1:g, the brightest unsaturated: 4 frames are too few to judge by"


def test_hundred_stars_with_five_variables() -> None:
    levels = tuple(float(level) for level in np.geomspace(1e6, 3000.0, 100))
    fluxes = Field(n_frames=150, levels=levels).make()
    random = np.random.default_rng(8)
    variables = (3, 10, 22, 35, 41)
    for number in variables:
        fluxes = scaled(fluxes, number, 1.0 + 0.03 * np.sin(np.arange(150) * random.uniform(0.1, 2.0)))
    choice = choose_comparisons(fluxes)
    assert not set(variables) & set(choice.comparisons)
    assert 10 <= len(choice.comparisons) <= 30
    for number in variables:
        assert "variable" in choice.excluded[number] or "drifts" in choice.excluded[number]


def test_all_nan_and_empty_catalog_do_not_crash() -> None:
    fluxes = Field().make()
    nothing = replace(fluxes, flux=np.full_like(fluxes.flux, np.nan), flux_err=np.full_like(fluxes.flux, np.nan))
    assert choose_comparisons(nothing).comparisons == ()
    assert not choose_target(nothing, ()).significant
    empty = Field(levels=()).make()
    assert choose_comparisons(empty).comparisons == ()
    with pytest.raises(ConfigurationError, match="catalog of 1:g has no source"):
        choose_target(empty, ())


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(6)), factor=st.floats(1e-3, 1e3))
def test_choice_depends_neither_on_the_numbering_nor_on_the_gain(order: list[int], factor: float) -> None:
    fluxes = Field(variable=4).make()
    shuffled = replace(fluxes, flux=factor * fluxes.flux[:, order], flux_err=factor * fluxes.flux_err[:, order])
    plain, other = choose_comparisons(fluxes), choose_comparisons(shuffled)
    assert [order[number - 1] + 1 for number in other.comparisons] == list(plain.comparisons)
    np.testing.assert_allclose(other.weights, plain.weights, rtol=1e-5)


def test_stars_on_bad_pixels_are_compared_with() -> None:
    fluxes = Field(n_frames=60, seed=4).make()
    fluxes.flags[:] |= int(Flag.BAD_PIXEL)
    assert len(choose_comparisons(fluxes).comparisons) >= 3


def test_stars_that_are_seldom_fit_are_better_than_none() -> None:
    fluxes = Field(n_frames=60, seed=4).make()
    fluxes.flags[: 60 // 2] |= int(Flag.NEAR_EDGE)
    assert len(choose_comparisons(fluxes).comparisons) >= 2
    fluxes.flags[: 60 - 10] |= int(Flag.NEAR_EDGE)
    assert choose_comparisons(fluxes).comparisons == ()
