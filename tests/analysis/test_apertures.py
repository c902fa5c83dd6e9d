"""The photometer with the least scatter, and the curve of growth, on light curves whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.analysis.apertures import choose_photometer, comparison_scatter, growth_curve
from stream.errors import AnalysisError
from stream.flags import Flag
from tests.analysis.synthetic import Field

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
    assert curve.correction(1.0) == pytest.approx(shares[-1] / shares[1])
    np.testing.assert_allclose(curve.fraction_err, 0.0, atol=1e-12)


def test_no_curve_of_growth_from_nothing() -> None:
    fluxes = Field(n_frames=20).make()
    with pytest.raises(AnalysisError, match="two apertures or more"):
        growth_curve({1.0: fluxes}, COMPARISONS)
    with pytest.raises(AnalysisError, match="no star has flux in all apertures"):
        growth_curve({1.0: fluxes, 2.0: replace(fluxes, flux=np.full_like(fluxes.flux, np.nan))}, COMPARISONS)
