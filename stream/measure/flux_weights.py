"""How the noise of pixels enters a flux: the sums of weights that aperture and optimal photometry stand for.

A flux is ``sum W_i d_i`` over pixels d_i less the level of the background. Its variance is

    F sum W^2 p  +  s^2 sum W^2  +  (sum W)^2 s^2 / n

for F electrons of profile p on pixels of variance s^2, with the background from n pixels: the photons of the source,
the pixels, and the estimate of their level. An aperture has W between 0 and 1; the optimal photometer (Naylor 1998,
MNRAS 296, 339, equation 10) ``W = (p / V) / sum (p^2 / V)`` with ``V = F p + s^2``, which differs from star to star.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stream.measure.apertures import Aperture
from stream.measure.psf import Psf
from stream.messages import FloatArray

_PROFILE_RADIUS_SIGMA = 4.0
_STEPS = 60
_LEAST_VARIANCE, _MOST_VARIANCE = 1e-6, 1e12


@dataclass(frozen=True, slots=True)
class FluxWeights:
    """Sums of the weights of a flux, each shape (n_sources,).

    Attributes
    ----------
    photons : array
        ``sum W^2 p``: variance of the source's photons over its flux; 1 for an aperture.
    pixels : array
        ``sum W^2``: pixels whose noise the flux has.
    level : array
        ``(sum W)^2``: how often the variance of the level of the background is in it.
    """

    photons: FloatArray
    pixels: FloatArray
    level: FloatArray

    def variance(self, flux_e: FloatArray, pixel_variance_e2: FloatArray, n_background: float) -> FloatArray:
        """Variance of fluxes on pixels of this variance, electrons squared, shape (n_sources,)."""
        pixels = self.pixels + self.level / n_background
        return np.asarray(self.photons * np.maximum(flux_e, 0.0) + pixel_variance_e2 * pixels)


WeightsOf = Callable[[FloatArray, FloatArray], FluxWeights]
"""Weights of fluxes (electrons) on pixels of a variance (electrons squared), both of shape (n_sources,)."""


def aperture_weights(aperture: Aperture) -> WeightsOf:
    """Weights of an aperture: the same for every star."""

    def weights(flux_e: FloatArray, pixel_variance_e2: FloatArray) -> FluxWeights:
        same = np.ones(np.shape(flux_e))
        return FluxWeights(same, aperture.squared_weights_px * same, aperture.area_px**2 * same)

    return weights


def optimal_weights(psf: Psf) -> WeightsOf:
    """Weights of the optimal photometer with this profile, for a star in the middle of a pixel."""
    half = math.ceil(_PROFILE_RADIUS_SIGMA * psf.semi_major_sigma_px) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1).astype(np.float64)
    determinant = psf.xx * psf.yy - psf.xy**2
    radius2 = (psf.yy * x**2 - 2.0 * psf.xy * x * y + psf.xx * y**2) / determinant
    profile = np.exp(-0.5 * radius2) / (2.0 * math.pi * math.sqrt(determinant))

    def weights(flux_e: FloatArray, pixel_variance_e2: FloatArray) -> FluxWeights:
        variance = np.maximum(flux_e, 0.0)[:, None] * profile + np.asarray(pixel_variance_e2)[:, None]
        drawn = profile / variance
        drawn /= (drawn * profile).sum(axis=1, keepdims=True)
        return FluxWeights((drawn**2 * profile).sum(axis=1), (drawn**2).sum(axis=1), drawn.sum(axis=1) ** 2)

    return weights


def pixel_variance(
    flux_e: FloatArray, flux_err_e: FloatArray, *, weights_of: WeightsOf, n_background: float
) -> FloatArray:
    """Variance of the pixels that the errors of fluxes were made of, electrons squared, shape (n_sources,).

    Found by bisection, because the optimal weights depend on it. NaN where flux or error are.

    Parameters
    ----------
    flux_e, flux_err_e : array, shape (n_sources,)
        Electrons.
    n_background : float
        Pixels that the level of the background was estimated from; infinite if it is known.
    """
    low = np.full(np.shape(flux_e), math.log(_LEAST_VARIANCE))
    high = np.full(np.shape(flux_e), math.log(_MOST_VARIANCE))
    wanted = np.square(flux_err_e)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        trial = np.exp(middle)
        with np.errstate(invalid="ignore"):
            too_much = weights_of(flux_e, trial).variance(flux_e, trial, n_background) > wanted
        low, high = np.where(too_much, low, middle), np.where(too_much, middle, high)
    known = np.isfinite(flux_e) & np.isfinite(flux_err_e)
    return np.where(known, np.exp(0.5 * (low + high)), np.nan)
