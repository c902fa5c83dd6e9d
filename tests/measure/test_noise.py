from __future__ import annotations

import numpy as np
import pytest

from stream.measure.flux_weights import FluxWeights
from stream.measure.noise import (
    DetectorNoise,
    NoiseFloor,
    ScintillationSite,
    fit_noise_floor,
    noise_budget,
    scintillation,
)
from stream.messages import FloatArray


def one(site: ScintillationSite, exposure_s: float, airmass: float) -> float:
    return float(scintillation(site, np.array([exposure_s]), np.array([airmass]))[0])


def test_scintillation_is_the_formula_of_the_paper() -> None:
    # Osborn et al. 2015, equation 7, worked by hand for 1 m at sea level, 1 s at the zenith: sqrt(10e-6) 1.5.
    assert one(ScintillationSite(1.0, 0.0), 1.0, 1.0) == pytest.approx(1.5 * np.sqrt(1e-5), rel=1e-12)
    # And for 2.1 m at 2790 m, 10 s, airmass 1.5.
    expected = np.sqrt(1e-5 * 2.25 * 2.1 ** (-4 / 3) / 10.0 * 1.5**3 * np.exp(-2 * 2790.0 / 8000.0))
    assert one(ScintillationSite(2.1, 2790.0), 10.0, 1.5) == pytest.approx(expected, rel=1e-12)


def test_scintillation_is_one_and_a_half_times_that_of_young() -> None:
    # Young 1967 with the constants of Dravins et al. 1998: 0.09 D[cm]^(-2/3) X^1.5 exp(-h/8000) (2 t)^(-1/2).
    young = 0.09 * 100.0 ** (-2 / 3) * 1.3**1.5 * np.exp(-2000.0 / 8000.0) / np.sqrt(2.0 * 5.0)
    assert one(ScintillationSite(1.0, 2000.0), 5.0, 1.3) / young == pytest.approx(1.5, rel=0.1)


def test_scintillation_scales_with_exposure_and_is_unknown_without_airmass() -> None:
    site = ScintillationSite(0.5, 100.0)
    found = scintillation(site, np.array([1.0, 4.0, 1.0]), np.array([1.2, 1.2, np.nan]))
    assert found[0] == pytest.approx(2.0 * found[1])
    assert np.isnan(found[2])
    with pytest.raises(ValueError, match=r"aperture_m \(0.0\) must be greater than 0"):
        scintillation(ScintillationSite(0.0, 0.0), np.array([1.0]), np.array([1.0]))


def test_the_parts_of_a_budget_make_up_the_error() -> None:
    flux = np.array([1e3, 1e4, 1e5])
    background = 50.0 * (30.0 + 2.0 * 0.5 * 10.0 + 1.2**2)
    error = np.sqrt(flux + background)
    weights = FluxWeights(np.ones(3), np.full(3, 50.0), np.full(3, 2500.0))
    budget = noise_budget(flux, error, weights=weights, exposure_s=10.0, detector=DetectorNoise(1.2, 1.0))
    np.testing.assert_allclose(budget.total(), error / flux)
    np.testing.assert_allclose(budget.shot, 1.0 / np.sqrt(flux))
    np.testing.assert_allclose(budget.read, np.sqrt(50.0) * 1.2 / flux)
    np.testing.assert_allclose(budget.dark, np.sqrt(50.0 * 10.0) / flux)
    np.testing.assert_allclose(budget.sky, np.sqrt(background - 50.0 * 10.0 - 50.0 * 1.2**2) / flux)


def test_a_budget_gives_no_part_more_than_there_is() -> None:
    flux = np.array([1e4, -5.0])
    weights = FluxWeights(np.ones(2), np.full(2, 100.0), np.zeros(2))
    error = np.array([101.0, 3.0])
    budget = noise_budget(flux, error, weights=weights, exposure_s=1.0, detector=DetectorNoise(9.0, 0.0))
    assert budget.sky[0] == 0.0
    assert budget.total()[0] == pytest.approx(101.0 / 1e4)
    assert np.isnan(budget.shot[1])


def stars(floor: NoiseFloor) -> tuple[FloatArray, FloatArray]:
    flux = np.geomspace(1e3, 1e6, 60)
    return flux, floor.scatter(flux) * np.exp(np.random.default_rng(1).normal(0.0, 0.06, 60))


def test_the_fit_finds_background_and_floor() -> None:
    truth = NoiseFloor(background_e2=4e5, floor=2.5e-3)
    found = fit_noise_floor(*stars(truth))
    assert found is not None
    assert found.floor == pytest.approx(truth.floor, rel=0.05)
    assert found.background_e2 == pytest.approx(truth.background_e2, rel=0.15)


def test_variable_stars_do_not_draw_the_fit() -> None:
    flux, scatter = stars(NoiseFloor(background_e2=4e5, floor=2.5e-3))
    scatter[[50, 55, 58]] = 0.05
    scatter[10] = np.nan
    found = fit_noise_floor(flux, scatter)
    assert found is not None
    assert found.floor == pytest.approx(2.5e-3, rel=0.12)


def test_three_stars_are_too_few() -> None:
    assert fit_noise_floor(np.array([1e3, 1e4, 1e5, np.nan]), np.full(4, 0.01)) is None
