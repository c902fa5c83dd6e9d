"""What the scatter of a light curve is made of: photons, sky, dark current, read noise, scintillation, and the rest.

Pure functions of arrays. All noise is relative to the flux of the source unless its name ends in ``_e``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from stream.measure.flux_weights import FluxWeights
from stream.messages import FloatArray

MEAN_SCINTILLATION = 1.5
"""C_Y of a typical site, m^(2/3) s^(1/2): the median that Osborn et al. (2015) found over the major observatories."""
_SCALE_HEIGHT_M = 8000.0
_FEWEST_STARS_TO_FIT = 4
_LOG_SCALE = 0.15


@dataclass(frozen=True, slots=True)
class ScintillationSite:
    """A telescope as scintillation sees it.

    Attributes
    ----------
    aperture_m : float
        Diameter of the telescope, metres.
    height_m : float
        Height of the observatory above sea level, metres.
    coefficient : float
        C_Y of the site, m^(2/3) s^(1/2).
    """

    aperture_m: float
    height_m: float
    coefficient: float = MEAN_SCINTILLATION


def scintillation(site: ScintillationSite, exposure_s: FloatArray, airmass: FloatArray) -> FloatArray:
    """Expected scintillation noise, relative to the flux; the same for every star, and independent between stars.

    ``sigma^2 = 10e-6 C_Y^2 D^(-4/3) t^-1 X^3 exp(-2 h / H)``, H = 8000 m: Young's approximation (1967, AJ 72, 747) as
    modified by Osborn et al. (2015, MNRAS 452, 1707, equation 7). It holds for exposures much longer than the
    turbulence needs to cross the aperture; below about D / 10 m/s it is an upper limit. C_Y varies from night to
    night.

    Parameters
    ----------
    exposure_s, airmass : array, any shapes that broadcast
        Seconds, greater than 0, and relative airmass; NaN gives NaN.

    Raises
    ------
    ValueError
        If the telescope has no aperture.
    """
    if not site.aperture_m > 0.0:
        raise ValueError(f"aperture_m ({site.aperture_m}) must be greater than 0")
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (
            10e-6
            * site.coefficient**2
            * site.aperture_m ** (-4.0 / 3.0)
            / np.asarray(exposure_s, dtype=np.float64)
            * np.asarray(airmass, dtype=np.float64) ** 3
            * math.exp(-2.0 * site.height_m / _SCALE_HEIGHT_M)
        )
        return np.asarray(np.sqrt(variance))


@dataclass(frozen=True, slots=True)
class DetectorNoise:
    """What one pixel of a detector adds to every exposure.

    Attributes
    ----------
    read_noise_e : float
        Electrons.
    dark_current_e_per_s : float
        Electrons per pixel and second.
    """

    read_noise_e: float
    dark_current_e_per_s: float


@dataclass(frozen=True, slots=True)
class NoiseBudget:
    """Parts of the noise of a photometer, relative to the flux, each shape (n_sources,).

    They add in quadrature. `sky` is what the error has beyond the source's photons, dark current and read noise, 0
    where it has nothing; it holds what the background estimate itself adds. NaN where there is no
    positive flux.
    """

    shot: FloatArray
    sky: FloatArray
    dark: FloatArray
    read: FloatArray
    scintillation: FloatArray

    def total(self) -> FloatArray:
        """All parts in quadrature; unknown scintillation (no pointing) counts as none."""
        parts = (self.shot, self.sky, self.dark, self.read, np.nan_to_num(self.scintillation))
        return np.asarray(np.sqrt(sum(part**2 for part in parts)))


def noise_budget(
    flux_e: FloatArray, flux_err_e: FloatArray, *, weights: FluxWeights, exposure_s: float, detector: DetectorNoise
) -> NoiseBudget:
    """Split the errors of fluxes into their parts (CCD equation: Howell 2006, equation 4.6).

    The photons of the source and the noise of each pixel count as the weights of the photometer say. Dark current and
    read noise are known from the detector; what the error has beyond these and the photons is sky. The level of the
    background takes no part, so that an electronic pedestal is not taken for light. Scintillation is left NaN: it
    needs the airmass, see `scintillation`.

    Parameters
    ----------
    flux_e, flux_err_e : array, shape (n_sources,)
        Median flux and median error, electrons.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        flux = np.where(flux_e > 0.0, flux_e, np.nan)
        photons = weights.photons * flux
        background = np.maximum(flux_err_e**2 - photons, 0.0)
        dark = np.minimum(weights.pixels * detector.dark_current_e_per_s * exposure_s, background)
        read = np.minimum(weights.pixels * detector.read_noise_e**2, background - dark)
        return NoiseBudget(
            shot=np.sqrt(photons) / flux,
            sky=np.sqrt(background - dark - read) / flux,
            dark=np.sqrt(dark) / flux,
            read=np.sqrt(read) / flux,
            scintillation=np.full(len(flux), np.nan),
        )


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """``scatter^2 = 1 / F + background_e2 / F^2 + floor^2`` for fluxes F in electrons.

    Attributes
    ----------
    background_e2 : float
        Variance that does not depend on the flux, electrons squared.
    floor : float
        Relative scatter that no star comes below, however bright.
    """

    background_e2: float
    floor: float

    def scatter(self, flux_e: FloatArray) -> FloatArray:
        """Relative scatter at these fluxes, electrons."""
        return np.asarray(np.sqrt(1.0 / flux_e + self.background_e2 / flux_e**2 + self.floor**2))


def fit_noise_floor(flux_e: FloatArray, scatter: FloatArray) -> NoiseFloor | None:
    """Fit background and floor of `NoiseFloor` to the scatter of many stars; None with fewer than four.

    Photon noise is not fitted: the fluxes are electrons. The fit is of logarithms, so that bright and faint stars
    count alike, with a loss that lets variable stars stand out without drawing the curve (soft L1).

    Parameters
    ----------
    flux_e, scatter : array, shape (n_stars,)
        Median flux and relative scatter; stars without a positive and finite pair are left out.
    """
    with np.errstate(invalid="ignore"):
        good = np.isfinite(flux_e) & np.isfinite(scatter) & (flux_e > 0.0) & (scatter > 0.0)
    flux, measured = flux_e[good], scatter[good]
    if len(flux) < _FEWEST_STARS_TO_FIT:
        return None
    shot2 = 1.0 / flux
    excess = np.maximum(measured**2 - shot2, 0.01 * shot2)
    start = [0.5 * math.log(np.median(excess * flux**2)), 0.5 * math.log(excess.min())]

    def residuals(logarithms: FloatArray) -> FloatArray:
        background, floor = np.exp(np.clip(logarithms, -60.0, 60.0))
        model = NoiseFloor(float(background**2), float(floor)).scatter(flux)
        return np.asarray(np.log(measured / model))

    found = optimize.least_squares(residuals, start, loss="soft_l1", f_scale=_LOG_SCALE).x
    background, floor = np.exp(np.clip(found, -60.0, 60.0))
    return NoiseFloor(float(background**2), float(floor))
