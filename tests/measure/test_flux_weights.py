"""Sums of weights against pixels that are weighted one by one, and against the errors that photometry gives."""

from __future__ import annotations

import numpy as np
import pytest
from photutils.aperture import EllipticalAperture

from stream.measure.apertures import Aperture
from stream.measure.flux_weights import WeightsOf, aperture_weights, optimal_weights, pixel_variance
from stream.measure.psf import Psf

PSF = Psf(xx=3.2, xy=0.4, yy=2.5)
FLUX = np.array([1e3, 2e4, 4e5])


@pytest.mark.parametrize(("major", "minor"), [(2.5, 2.5), (6.1, 6.1), (9.0, 4.0)])
def test_an_aperture_has_the_noise_of_its_pixels_and_not_of_its_area(major: float, minor: float) -> None:
    squares = []
    for x, y in np.random.default_rng(4).uniform(24.5, 25.5, (40, 2)):
        mask = EllipticalAperture((x, y), major, minor, theta=0.6).to_mask(method="exact")
        squares.append(float((np.asarray(mask.data) ** 2).sum()))
    found = aperture_weights(Aperture(major, minor))(FLUX, FLUX)
    assert found.pixels == pytest.approx(np.mean(squares), rel=0.01)
    assert found.pixels[0] < 0.98 * Aperture(major, minor).area_px
    assert np.sqrt(found.level) == pytest.approx(np.pi * major * minor)
    np.testing.assert_array_equal(found.photons, 1.0)


def test_optimal_weights_have_the_limits_of_the_paper() -> None:
    """Naylor 1998, section 2: against the sky alone 4 pi sigma^2 pixels, of a bright star all of its photons."""
    weights_of = optimal_weights(PSF)
    faint = weights_of(np.zeros(1), np.ones(1))
    assert faint.pixels[0] == pytest.approx(4.0 * np.pi * np.sqrt(PSF.xx * PSF.yy - PSF.xy**2), rel=1e-3)
    bright = weights_of(np.array([1e9]), np.ones(1))
    assert bright.photons[0] == pytest.approx(1.0, rel=1e-3)


def test_the_variance_of_an_optimal_flux_is_its_cramer_rao_limit() -> None:
    y, x = np.mgrid[-14:15, -14:15].astype(float)
    determinant = PSF.xx * PSF.yy - PSF.xy**2
    profile = np.exp(-0.5 * (PSF.yy * x**2 - 2 * PSF.xy * x * y + PSF.xx * y**2) / determinant)
    profile /= profile.sum()
    limit = [1.0 / (profile**2 / (flux * profile + 30.0)).sum() for flux in FLUX]
    sky = np.full(3, 30.0)
    np.testing.assert_allclose(optimal_weights(PSF)(FLUX, sky).variance(FLUX, sky, np.inf), limit, rtol=2e-3)


@pytest.mark.parametrize("weights_of", [aperture_weights(Aperture(5.0, 4.0)), optimal_weights(PSF)])
def test_the_variance_of_the_pixels_is_found_again_from_the_errors(weights_of: WeightsOf) -> None:
    variance = np.array([12.0, 40.0, 900.0])
    errors = np.sqrt(weights_of(FLUX, variance).variance(FLUX, variance, 900.0))
    np.testing.assert_allclose(
        pixel_variance(FLUX, errors, weights_of=weights_of, n_background=900.0), variance, rtol=1e-6
    )
    missing = pixel_variance(np.full(3, np.nan), errors, weights_of=weights_of, n_background=900.0)
    assert np.isnan(missing).all()
