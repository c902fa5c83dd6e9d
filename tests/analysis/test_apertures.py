"""The photometer with the least scatter, and the curve of growth, on light curves whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.analysis.apertures import (
    aperture_correction,
    aperture_ladder,
    choose_photometer,
    comparison_scatter,
    growth_curve,
    growth_stars,
)
from stream.config import APERTURE_LABEL, PhotometerSettings, Recipe
from stream.errors import AnalysisError
from stream.flags import Flag
from stream.instruments import OPTICAM_MX
from tests.analysis.synthetic import Field, make_catalog

COMPARISONS = (1, 3, 4)


def test_scatter_is_that_of_the_noise() -> None:
    fluxes = Field(n_frames=400).make()
    expected = np.exp(
        np.mean([np.log(np.median(fluxes.flux_err[:, n - 1] / fluxes.flux[:, n - 1])) for n in COMPARISONS])
    )
    # The others' noise comes on top of each star's own.
    assert expected < comparison_scatter(fluxes, COMPARISONS) < 1.8 * expected


def test_the_quietest_photometer_is_chosen_without_a_look_at_the_target() -> None:
    quiet, noisy = Field(n_frames=300).make(), Field(n_frames=300, noise=2.0).make()
    target = 2
    flattered = noisy.flux.copy()
    flattered[:, target - 1] = np.median(flattered[:, target - 1])  # as quiet as can be
    choice = choose_photometer({"a": replace(noisy, flux=flattered), "b": quiet}, COMPARISONS)
    assert choice.label == "b"
    assert choice.scatter["a"] == pytest.approx(2.0 * choice.scatter["b"], rel=0.2)
    assert "b has the least scatter" in choice.sentence


def test_too_little_to_judge_keeps_the_first() -> None:
    few = Field(n_frames=5).make()
    choice = choose_photometer({"a": few, "b": few}, COMPARISONS)
    assert choice.label == "a"
    assert np.isnan(list(choice.scatter.values())).all()
    assert np.isnan(comparison_scatter(Field(n_frames=300).make(), (1,)))
    with pytest.raises(AnalysisError, match="a photometer is required"):
        choose_photometer({}, COMPARISONS)


def test_the_curve_of_growth_of_a_gaussian() -> None:
    largest = Field(n_frames=100).make()
    radii = np.array([0.6, 1.0, 1.5, 2.5])
    shares = 1.0 - np.exp(-4.0 * np.log(2.0) * radii**2)
    saturated = largest.flags.copy()
    saturated[:, 2] |= int(Flag.SATURATED)
    ladder = {
        float(radius): replace(largest, flux=largest.flux * share / shares[-1], flags=saturated)
        for radius, share in zip(radii, shares, strict=True)
    }
    curve = growth_curve(ladder, COMPARISONS)
    np.testing.assert_allclose(curve.radius_fwhm, radii)
    np.testing.assert_allclose(curve.fraction, shares / shares[-1], rtol=1e-9)
    found = aperture_correction(ladder[1.0], ladder[2.5], COMPARISONS, radius_fwhm=2.5)
    assert found.factor == pytest.approx(shares[-1] / shares[1])
    assert found.factor_err == pytest.approx(0.0, abs=1e-12)
    assert "to the flux within 2.5 FWHM, from stars 1, 3, 4" in found.sentence()
    np.testing.assert_allclose(curve.fraction_err, 0.0, atol=1e-12)


def test_the_error_of_a_correction_is_that_from_star_to_star() -> None:
    found = []
    for seed in range(150):
        large = Field(n_frames=40, seed=seed, noise=0.0).make()
        shares = 0.8 * (1.0 + np.random.default_rng(seed).normal(0.0, 0.01, large.n_sources))
        small = replace(large, flux=large.flux * shares)
        found.append(aperture_correction(small, large, (1, 2, 3, 4), radius_fwhm=2.5))
    pulls = [(one.factor - 1.0 / 0.8) / one.factor_err for one in found]
    errors = np.array([one.factor_err for one in found])
    assert np.std([one.factor for one in found]) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.2)
    assert abs(np.median(pulls)) < 0.3
    alone = aperture_correction(small, large, (1,), radius_fwhm=2.5)
    assert np.isfinite(alone.factor) and np.isnan(alone.factor_err)


def test_stars_of_a_correction_are_bright_and_alone() -> None:
    fluxes = Field(n_frames=40).make()
    flags = fluxes.flags.copy()
    flags[:20, 2] |= int(Flag.SATURATED)
    apart = np.array([[60.0, 80.0], [420.0, 100.0], [300.0, 250.0], [90.0, 400.0], [440.0, 430.0], [200.0, 180.0]])
    catalog = make_catalog("1:g", apart)
    assert growth_stars(fluxes, catalog) == (1, 2, 3, 4, 5, 6)
    assert growth_stars(replace(fluxes, flags=flags), catalog) == (1, 2, 4, 5, 6)
    close = apart.copy()
    close[5] = close[0] + 3.5 * catalog.fwhm_px / np.sqrt(2.0)
    assert growth_stars(fluxes, make_catalog("1:g", close)) == (2, 3, 4, 5)
    with pytest.raises(AnalysisError, match="an aperture correction of 1:g needs a bright star without neighbours"):
        aperture_correction(fluxes, fluxes, (), radius_fwhm=2.5)


def test_the_ladder_is_what_the_recipe_measures_at_forced_places_with_an_annulus() -> None:
    ladder = aperture_ladder(Recipe(instrument=OPTICAM_MX()))
    assert list(ladder) == [0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5]
    assert ladder[1.5] == APERTURE_LABEL
    assert aperture_ladder(Recipe(instrument=OPTICAM_MX(), photometers=(PhotometerSettings(kind="optimal"),))) == {}


def test_no_curve_of_growth_from_nothing() -> None:
    fluxes = Field(n_frames=20).make()
    with pytest.raises(AnalysisError, match="two apertures or more"):
        growth_curve({1.0: fluxes}, COMPARISONS)
    with pytest.raises(AnalysisError, match="no star has flux in all apertures"):
        growth_curve({1.0: fluxes, 2.0: replace(fluxes, flux=np.full_like(fluxes.flux, np.nan))}, COMPARISONS)
