"""Forced photometry on stamps: every source of the catalog, where the transform says that it is.

Two photometers in one pass, both on the background of an annulus:

- *aperture*: the exact sum over an ellipse whose axes are a multiple of the point-spread function's (CCD equation:
  Howell 2006, Handbook of CCD Astronomy, 2nd ed., equation 4.6);
- *optimal*: the sum weighted by profile over variance (Naylor 1998, MNRAS 296, 339, equations 9 to 11), with a
  profile that sums to one, so that the flux is the flux of the whole star.

Pixels are never resampled: apertures move, the image does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from stream.config import PhotometrySettings
from stream.flags import Flag
from stream.measure.background import annulus_pixels, clipped_background
from stream.measure.frames import Frame
from stream.measure.psf import FWHM_PER_SIGMA, Psf
from stream.messages import FloatArray

_PROFILE_RADIUS_SIGMA = 4.0
_MIN_PROFILE_SEEN = 0.75
_MIN_BACKGROUND_PIXELS = 50
_BACKGROUND_PIXELS_WANTED = 0.5


@dataclass(frozen=True, slots=True)
class ForcedFluxes:
    """What was measured at the forced positions; all arrays of shape (n_sources,), NaN where nothing can be.

    Fluxes, errors and backgrounds are electrons; `peak_adu` is the highest pixel of the aperture in counts.
    """

    sky_e_per_px: FloatArray
    peak_adu: FloatArray
    aperture_flux: FloatArray
    aperture_flux_err: FloatArray
    optimal_flux: FloatArray
    optimal_flux_err: FloatArray
    flags: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StampGeometry:
    """Sizes that are the same for every frame of a key: fixed by the catalog's FWHM."""

    half_side_px: int
    annulus: NDArray[np.intp]
    inner_px: float

    @classmethod
    def for_fwhm(cls, fwhm_px: float, settings: PhotometrySettings) -> StampGeometry:
        """Stamps that hold the annulus of `settings` for stars of `fwhm_px`."""
        inner, outer = settings.annulus_inner_fwhm * fwhm_px, settings.annulus_outer_fwhm * fwhm_px
        half_side = math.ceil(outer) + 1
        return cls(half_side, annulus_pixels(inner, outer, half_side), inner)

    @property
    def side_px(self) -> int:
        """Pixels along one side of a stamp."""
        return 2 * self.half_side_px + 1


def measure_forced_fluxes(
    frame: Frame,
    positions: FloatArray,
    psf: Psf,
    *,
    geometry: StampGeometry,
    settings: PhotometrySettings,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> ForcedFluxes:
    """Measure aperture and optimal fluxes at given positions.

    Positions are not refined. A bad pixel does not count for background and optimal flux; in the aperture the
    optimal profile stands in for it.

    Parameters
    ----------
    positions : array, shape (n_sources, 2)
        x and y of the sources, pixels, 0-based.
    psf : Psf
        Point-spread function of this frame.
    bad_pixels : array of bool, shape of the frame, optional
    """
    middles = np.rint(positions).astype(np.intp)
    corners = middles - geometry.half_side_px
    stamps = frame.stamps(corners, geometry.side_px)
    bad = _stamps_of(bad_pixels, corners, geometry.side_px)
    flags = np.zeros(len(positions), dtype=np.int64)
    rows, columns = frame.shape
    inside = (
        (positions[:, 0] > -0.5)
        & (positions[:, 1] > -0.5)
        & (positions[:, 0] < columns - 0.5)
        & (positions[:, 1] < rows - 0.5)
    )
    reach = geometry.half_side_px
    whole = (
        (middles[:, 0] >= reach)
        & (middles[:, 1] >= reach)
        & (middles[:, 0] < columns - reach)
        & (middles[:, 1] < rows - reach)
    )
    flags[~whole] |= int(Flag.NEAR_EDGE)

    masked = stamps if bad is None else np.where(bad, np.nan, stamps)
    background = clipped_background(masked.reshape(len(stamps), -1)[:, geometry.annulus], settings.annulus_clip_sigma)
    enough = max(_MIN_BACKGROUND_PIXELS, _BACKGROUND_PIXELS_WANTED * len(geometry.annulus))
    flags[background.n_pixels < enough] |= int(Flag.POOR_BACKGROUND)

    core = _Core.cut(stamps, bad, positions - middles, psf, _aperture_sigmas(psf, settings, geometry))
    data = core.electrons - background.level[:, None, None]
    good = core.usable
    sky_variance = background.sigma**2
    level_variance = sky_variance / np.maximum(background.n_pixels, 1)
    optimal, optimal_err = _optimal(data, good, core.profile, sky_variance, level_variance)
    filled = np.where(good, data, optimal[:, None, None] * core.profile)
    aperture = core.sum_aperture(filled)
    area = core.area_px
    aperture_err = np.sqrt(np.maximum(aperture, 0.0) + area * sky_variance + area**2 * level_variance)

    in_aperture = core.in_aperture
    flags |= np.where((core.bad & in_aperture).any(axis=(1, 2)), int(Flag.BAD_PIXEL), 0)
    peak_e = np.where(in_aperture & good, core.electrons, -np.inf).max(axis=(1, 2))
    gain = frame.facts.gain_e_per_adu
    peak_adu = np.where(np.isfinite(peak_e), peak_e / gain, np.nan)
    flags[peak_adu >= frame.facts.saturation_adu] |= int(Flag.SATURATED)
    non_finite = core.non_finite(middles, frame.shape) & in_aperture
    flags[non_finite.any(axis=(1, 2))] |= int(Flag.NON_FINITE)
    seen = (core.profile * good).sum(axis=(1, 2)) / core.profile.sum(axis=(1, 2))
    lost = ~inside | (seen < _MIN_PROFILE_SEEN)
    flags[lost & ~whole] |= int(Flag.OFF_FRAME)

    unmeasured = lost | non_finite.any(axis=(1, 2)) | ~np.isfinite(background.level)
    flags[lost & whole] |= int(Flag.NON_FINITE)
    for values in (aperture, aperture_err, optimal, optimal_err):
        values[unmeasured] = np.nan
    return ForcedFluxes(background.level, peak_adu, aperture, aperture_err, optimal, optimal_err, flags)


def _aperture_sigmas(psf: Psf, settings: PhotometrySettings, geometry: StampGeometry) -> float:
    """Aperture radius in standard deviations of the profile, within its limits in pixels."""
    radius = settings.aperture_radius_fwhm * psf.fwhm_px
    radius = min(max(radius, settings.aperture_min_px), settings.aperture_max_px, geometry.inner_px)
    return radius / (psf.fwhm_px / FWHM_PER_SIGMA)


def _optimal(
    data: FloatArray,
    good: NDArray[np.bool_],
    profile: FloatArray,
    sky_variance: FloatArray,
    level_variance: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Flux and error of the optimally weighted sum.

    The variance of a pixel takes the source from the model, never from the pixel itself: weights that follow the
    noise would bias the flux (Naylor 1998, section 2).
    """
    data = np.where(good, data, 0.0)
    flux = np.zeros(len(data))
    for _ in range(2):
        variance = sky_variance[:, None, None] + np.maximum(flux, 0.0)[:, None, None] * profile
        weights = np.where(good, profile / np.maximum(variance, 1e-12), 0.0)
        norm = np.maximum((weights * profile).sum(axis=(1, 2)), 1e-300)
        flux = (weights * data).sum(axis=(1, 2)) / norm
    level_part = (weights.sum(axis=(1, 2)) / norm) ** 2 * level_variance
    return flux, np.sqrt(1.0 / norm + level_part)


def _stamps_of(mask: NDArray[np.bool_] | None, corners: NDArray[np.intp], side_px: int) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    rows, columns = mask.shape
    stamps = np.zeros((len(corners), side_px, side_px), dtype=bool)
    for stamp, (x, y) in zip(stamps, corners.tolist(), strict=True):
        left, right = max(x, 0), min(x + side_px, columns)
        low, high = max(y, 0), min(y + side_px, rows)
        if left < right and low < high:
            stamp[low - y : high - y, left - x : right - x] = mask[low:high, left:right]
    return stamps


@dataclass(frozen=True, slots=True)
class _Core:
    """The inner part of all stamps, with the profile of a source on each."""

    electrons: FloatArray
    bad: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    profile: FloatArray
    in_aperture: NDArray[np.bool_]
    offsets: FloatArray
    axes_px: tuple[float, float]
    orientation_rad: float

    @classmethod
    def cut(
        cls, stamps: FloatArray, bad: NDArray[np.bool_] | None, offsets: FloatArray, psf: Psf, aperture_sigmas: float
    ) -> _Core:
        """Cut the part that profile and aperture reach; `offsets` are positions from the middle pixel."""
        middle = stamps.shape[1] // 2
        reach_sigmas = max(aperture_sigmas, _PROFILE_RADIUS_SIGMA)
        half = min(math.ceil(reach_sigmas * psf.semi_major_sigma_px) + 1, middle)
        inner = slice(middle - half, middle + half + 1)
        electrons = stamps[:, inner, inner]
        pixels = np.arange(-half, half + 1, dtype=np.float64)
        dx = pixels[None, :] - offsets[:, :1]
        dy = pixels[None, :] - offsets[:, 1:]
        determinant = psf.xx * psf.yy - psf.xy**2
        radius2 = (psf.yy * dx**2)[:, None, :] + (psf.xx * dy**2)[:, :, None]
        if psf.xy:
            radius2 -= 2.0 * psf.xy * dx[:, None, :] * dy[:, :, None]
        radius2 /= determinant
        profile = np.exp(-0.5 * radius2) / (2.0 * math.pi * math.sqrt(determinant))
        marked = np.zeros(electrons.shape, dtype=bool) if bad is None else bad[:, inner, inner]
        return cls(
            electrons=electrons,
            bad=marked,
            usable=np.isfinite(electrons) & ~marked,
            profile=profile,
            in_aperture=radius2 <= aperture_sigmas**2,
            offsets=offsets + half,
            axes_px=(aperture_sigmas * psf.semi_major_sigma_px, aperture_sigmas * psf.semi_minor_sigma_px),
            orientation_rad=math.radians(psf.orientation_deg),
        )

    @property
    def area_px(self) -> float:
        """Area of the aperture, pixels."""
        return math.pi * self.axes_px[0] * self.axes_px[1]

    def sum_aperture(self, data: FloatArray) -> FloatArray:
        """Exact sums over the apertures: the stamps are laid one above the other, so that one call does all."""
        n, side = len(data), data.shape[1]
        y = self.offsets[:, 1] + side * np.arange(n)
        tall = np.ascontiguousarray(data.reshape(n * side, side))
        major, minor = self.axes_px
        sums, _, _ = sep.sum_ellipse(tall, self.offsets[:, 0], y, major, minor, self.orientation_rad, 1.0, subpix=0)
        return np.asarray(sums, dtype=np.float64)

    def non_finite(self, middles: NDArray[np.intp], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Pixels that lie on the frame but hold no number."""
        missing = ~np.isfinite(self.electrons)
        if not missing.any():
            return missing
        half = self.electrons.shape[1] // 2
        steps = np.arange(-half, half + 1)
        columns = middles[:, :1] + steps
        rows = middles[:, 1:] + steps
        on_frame = ((rows >= 0) & (rows < shape[0]))[:, :, None] & ((columns >= 0) & (columns < shape[1]))[:, None, :]
        return missing & on_frame
