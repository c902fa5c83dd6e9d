from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.analysis.ensemble import fit_for_comparison, robust_scatter, solve_ensemble
from stream.analysis.relative import relative_light_curve
from stream.errors import AnalysisError, ConfigurationError
from stream.flags import Flag
from stream.messages import SourceFluxes
from tests.analysis.synthetic import Field, scaled, with_gap

OTHERS = (1, 2, 3, 4, 5)


def _worst_deviation(curve_flux: np.ndarray, signal: np.ndarray) -> float:
    truth = signal / np.median(signal)
    return float(np.nanmax(np.abs(curve_flux / truth - 1.0)))


def test_without_noise_the_signal_comes_back_exactly_through_clouds() -> None:
    field = Field(variable=6, noise=0.0)
    curve = relative_light_curve(field.make(), 6, OTHERS)
    assert _worst_deviation(curve.flux, field.signal()) < 1e-9
    np.testing.assert_allclose(curve.transparency, field.transparency() / np.median(field.transparency()), rtol=1e-9)


@pytest.mark.parametrize("lost", [slice(200, None), slice(None, 120), slice(10, 290, 2)])
@pytest.mark.parametrize("star", [1, 3])
def test_a_star_that_leaves_the_field_makes_no_step(star: int, lost: slice) -> None:
    field = Field(variable=6, noise=0.0)
    fluxes = with_gap(field.make(), star, lost, int(Flag.OFF_FRAME))
    curve = relative_light_curve(fluxes, 6, OTHERS)
    assert _worst_deviation(curve.flux, field.signal()) < 1e-6
    assert set(curve.n_comparisons.tolist()) == {4, 5}


def test_stars_that_never_share_a_frame_are_linked_through_a_third() -> None:
    field = Field(variable=6, noise=0.0)
    fluxes = with_gap(field.make(), 1, slice(120, None), int(Flag.OFF_FRAME))
    fluxes = with_gap(fluxes, 2, slice(None, 180), int(Flag.OFF_FRAME))
    curve = relative_light_curve(fluxes, 6, (1, 2, 5))
    assert _worst_deviation(curve.flux, field.signal()) < 1e-6


def test_stars_without_any_link_do_not_make_a_step() -> None:
    field = Field(variable=6, noise=0.0)
    fluxes = with_gap(field.make(), 1, slice(200, None), int(Flag.OFF_FRAME))
    fluxes = with_gap(fluxes, 2, slice(None, 200), int(Flag.OFF_FRAME))
    curve = relative_light_curve(fluxes, 6, (1, 2))
    assert np.isfinite(curve.flux[:200]).all()
    assert np.isnan(curve.flux[200:]).all()
    assert (curve.flags[200:] == int(Flag.NO_COMPARISON)).all()
    ratio = curve.flux[:200] / field.signal()[:200]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_scatter_of_a_constant_star_is_its_error() -> None:
    curve = relative_light_curve(Field(n_frames=4000).make(), 5, (1, 2, 3, 4))
    normalised = (curve.flux - 1.0) / curve.flux_err
    assert np.std(normalised) == pytest.approx(1.0, abs=0.04)
    assert np.median(curve.flux) == pytest.approx(1.0)


@pytest.mark.parametrize("comparisons", [(6,), (5, 6)])
def test_the_error_holds_that_of_faint_comparison_stars(comparisons: tuple[int, ...]) -> None:
    curve = relative_light_curve(Field(n_frames=4000).make(), 1, comparisons)
    assert np.std((curve.flux - 1.0) / curve.flux_err) == pytest.approx(1.0, abs=0.04)


def test_weights_bring_the_noise_of_the_best_combination() -> None:
    field = Field(n_frames=2000, levels=(60_000.0, 50_000.0, 4000.0, 3000.0, 2000.0, 1_000_000.0))
    fluxes = field.make()
    curve = relative_light_curve(fluxes, 6, OTHERS)
    variance = np.median((fluxes.flux_err / fluxes.flux)[:, :5] ** 2, axis=0)
    best = np.sqrt(1.0 / (1.0 / variance).sum() + np.median((fluxes.flux_err / fluxes.flux)[:, 5]) ** 2)
    found = robust_scatter(curve.flux[:, None]).whole[0]
    assert found == pytest.approx(best, rel=0.06)


def test_a_wrong_point_of_a_comparison_star_is_left_out() -> None:
    field = Field(variable=6)
    plain = relative_light_curve(field.make(), 6, OTHERS)
    spike = np.ones(300)
    spike[77] = 1.8
    struck = relative_light_curve(scaled(field.make(), 1, spike), 6, OTHERS)
    assert struck.n_comparisons[77] == 4
    assert abs(struck.flux[77] - plain.flux[77]) < 3.0 * plain.flux_err[77]


def test_a_frame_without_comparison_is_nan_with_its_flag() -> None:
    fluxes = Field().make()
    for star in OTHERS:
        fluxes = with_gap(fluxes, star, slice(40, 42), int(Flag.OFF_FRAME))
    curve = relative_light_curve(fluxes, 6, OTHERS)
    assert np.isnan(curve.flux[40:42]).all()
    assert (curve.flags[40:42] == int(Flag.NO_COMPARISON)).all()
    assert np.isfinite(np.delete(curve.flux, [40, 41])).all()
    assert len(curve.flux) == 300


def test_flags_of_the_target_are_kept_and_those_of_a_comparison_are_not() -> None:
    fluxes = Field().make()
    flags = fluxes.flags.copy()
    flags[3, 5], flags[4, 0] = int(Flag.COSMIC_RAY), int(Flag.SATURATED)
    curve = relative_light_curve(replace(fluxes, flags=flags), 6, OTHERS)
    assert curve.flags[3] == int(Flag.COSMIC_RAY)
    assert curve.flags[4] == 0
    assert curve.n_comparisons[4] == 4


@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_few_frames_are_enough_for_a_curve(n_frames: int) -> None:
    curve = relative_light_curve(Field(n_frames=n_frames).make(), 6, (1,))
    assert np.isfinite(curve.flux).all()
    assert curve.weights == (1.0,)


@pytest.mark.parametrize("flag", [Flag.MOVED, Flag.COSMIC_RAY, Flag.SATURATED, Flag.NEAR_EDGE, Flag.POOR_BACKGROUND])
def test_a_comparison_star_takes_no_part_where_it_is_flagged(flag: Flag) -> None:
    fluxes = Field().make()
    clean = relative_light_curve(fluxes, 6, (1, 2, 3))
    fluxes.flux[40:50, 0] *= 1.5
    fluxes.flags[40:50, 0] |= int(flag)
    curve = relative_light_curve(fluxes, 6, (1, 2, 3))
    assert curve.n_comparisons[40:50].tolist() == [2] * 10
    assert (np.delete(curve.n_comparisons, range(40, 50)) == 3).all()
    np.testing.assert_allclose(curve.flux[40:50], clean.flux[40:50], rtol=0.01)


def test_no_frames_are_an_empty_curve() -> None:
    curve = relative_light_curve(Field(n_frames=0).make(), 6, OTHERS)
    assert curve.flux.shape == (0,)
    assert curve.series().time_s.shape == (0,)


def test_time_of_the_series_counts_from_its_origin() -> None:
    curve = relative_light_curve(Field(cadence_s=2.0).make(), 6, OTHERS)
    assert curve.time_scale() == "time_bmjd_tdb"
    np.testing.assert_allclose(curve.series().time_s, 2.0 * np.arange(300), atol=2e-6)
    earlier = curve.series(float(curve.time_bmjd_tdb[0]) - 1.0 / 86400.0)
    np.testing.assert_allclose(earlier.time_s, 2.0 * np.arange(300) + 1.0, atol=2e-6)


@pytest.mark.parametrize(
    ("target", "comparisons", "words"),
    [
        (7, (1,), r"target 7 is not in the catalog of 1:g, which has sources 1 to 6"),
        (6, (0,), r"comparison star 0 is not in the catalog of 1:g"),
        (6, (), r"a relative light curve of 1:g needs at least one comparison star"),
        (2, (1, 2), r"source 2 of 1:g cannot be target and comparison star at once"),
    ],
)
def test_wrong_numbers_are_named(target: int, comparisons: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        relative_light_curve(Field().make(), target, comparisons)


def test_a_target_without_flux_is_an_error_with_its_flux() -> None:
    fluxes = Field(levels=(60_000.0, 50_000.0, -8000.0)).make()
    with pytest.raises(AnalysisError, match=r"source 3 of 1:g has a median flux of -.* electrons"):
        relative_light_curve(fluxes, 3, (1, 2))


def _shuffled(fluxes: SourceFluxes, order: np.ndarray) -> SourceFluxes:
    return replace(fluxes, flux=fluxes.flux[order], flux_err=fluxes.flux_err[order], flags=fluxes.flags[order])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e6))
def test_ensemble_is_the_same_in_any_order_of_frames_and_any_unit(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    fluxes = with_gap(Field(n_frames=60).make(), 1 + seed % 5, slice(30, None), int(Flag.OFF_FRAME))
    order = random.permutation(60)
    mixed = _shuffled(fluxes, order)
    weights = 1.0 / np.arange(1.0, 7.0)
    plain = solve_ensemble(fluxes.flux, fluxes.flux_err, fit_for_comparison(fluxes), weights)
    other = solve_ensemble(scale * mixed.flux, scale * mixed.flux_err, fit_for_comparison(mixed), weights)
    np.testing.assert_allclose(other.transparency, plain.transparency[order], rtol=1e-6)
    np.testing.assert_allclose(other.scale, scale * plain.scale, rtol=1e-6)
