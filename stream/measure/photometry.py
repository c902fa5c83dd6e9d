"""Forced photometry on stamps: every source of the catalog, where the transform says that it is.

Any number of photometers in one pass, on the background of an annulus or of a mesh:

- *aperture*: the exact sum over an ellipse whose axes are a multiple of the point-spread function's (CCD equation:
  Howell 2006, Handbook of CCD Astronomy, 2nd ed., equation 4.6);
- *optimal*: the sum weighted by profile over variance (Naylor 1998, MNRAS 296, 339, equations 9 to 11), with a
  profile that sums to one, so that the flux is the flux of the whole star;
- classes of the user's own (`stream.measure.protocols`), for the photometer, the background, or both.

Pixels are never resampled: apertures move, the image does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import sep
from numpy.typing import NDArray

from stream.config import APERTURE_LABEL, FORCED_PHOTOMETERS, OPTIMAL_LABEL, PhotometerSettings, PhotometrySettings
from stream.flags import NOT_MEASURED, Flag
from stream.measure.apertures import Aperture, aperture_on_frame
from stream.measure.background import LocalBackground, annulus_pixels, clipped_background
from stream.measure.exposure import Exposure
from stream.measure.own_photometry import OwnMeasuring, is_own_kind, read_only
from stream.measure.pixel_variance import PixelVariance
from stream.measure.protocols import BackgroundStamps
from stream.measure.psf import Psf
from stream.measure.stamps import cut_stamps
from stream.messages import FloatArray

_PROFILE_RADIUS_SIGMA = 4.0
_MIN_PROFILE_SEEN = 0.75
_MIN_BACKGROUND_PIXELS = 50
_BACKGROUND_PIXELS_WANTED = 0.5


class Flux(NamedTuple):
    """Flux and standard error of all sources with one photometer, electrons, shape (n_sources,)."""

    flux: FloatArray
    flux_err: FloatArray


@dataclass(frozen=True, slots=True)
class ForcedFluxes:
    """What was measured at given positions; all arrays of shape (n_sources,), NaN where nothing can be.

    Fluxes, errors and backgrounds are electrons; `peak_adu` is the highest pixel of the standard aperture in counts.

    Attributes
    ----------
    fluxes : dict
        `Flux` by the label of the photometer.
    """

    sky_e_per_px: FloatArray
    peak_adu: FloatArray
    fluxes: dict[str, Flux]
    flags: NDArray[np.int64]

    @property
    def aperture_flux(self) -> FloatArray:
        """Flux of the standard forced aperture."""
        return self.fluxes[APERTURE_LABEL].flux

    @property
    def aperture_flux_err(self) -> FloatArray:
        """Error of the standard forced aperture."""
        return self.fluxes[APERTURE_LABEL].flux_err

    @property
    def optimal_flux(self) -> FloatArray:
        """Flux of the standard forced optimal photometer."""
        return self.fluxes[OPTIMAL_LABEL].flux

    @property
    def optimal_flux_err(self) -> FloatArray:
        """Error of the standard forced optimal photometer."""
        return self.fluxes[OPTIMAL_LABEL].flux_err


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
    frame: Exposure,
    positions: FloatArray,
    psf: Psf,
    *,
    geometry: StampGeometry,
    settings: PhotometrySettings,
    photometers: Sequence[PhotometerSettings] = FORCED_PHOTOMETERS,
    bad_pixels: NDArray[np.bool_] | None = None,
    mesh: LocalBackground | None = None,
) -> ForcedFluxes:
    """Measure fluxes at given positions with one or more photometers.

    Positions are not refined. A bad pixel does not count for background and optimal flux; in the aperture the
    optimal profile stands in for it. The same holds for pixels that a cosmic ray hit.

    Parameters
    ----------
    positions : array, shape (n_sources, 2)
        x and y of the sources, pixels, 0-based.
    psf : Psf
        Point-spread function of this frame.
    photometers : sequence of PhotometerSettings
        `PhotometerSettings.forced` is for the caller, who gives the positions.
    bad_pixels : array of bool, shape of the frame, optional
    mesh : LocalBackground, optional
        Background of each source from a mesh over the frame, for the photometers that ask for it.

    Raises
    ------
    FrameRejectedError
        With `Reason.OWN_PART_FAILED` if a photometer or background of the user's own fails.
    """
    place = _Placement.of(positions, frame.shape, geometry.half_side_px)
    stamps = frame.stamps(place.corners, geometry.side_px)
    bad = None if bad_pixels is None else cut_stamps(bad_pixels, place.corners, geometry.side_px, False)
    masked = stamps if bad is None else np.where(bad, np.nan, stamps)
    annulus = clipped_background(
        masked.reshape(len(stamps), geometry.side_px**2)[:, geometry.annulus], settings.annulus_clip_sigma
    )
    standard, *apertures = (
        aperture_on_frame(one, psf, settings, inner_px=geometry.inner_px, half_side_px=geometry.half_side_px)
        for one in (PhotometerSettings(), *photometers)
    )
    core = _Core.cut(stamps, bad, positions - place.middles, psf, standard, max([standard, *apertures]))
    backgrounds = {"annulus": annulus, "mesh": mesh if mesh is not None else annulus}
    core, hit = _without_cosmic_rays(core, frame, place)
    variances = _variances(core, frame, place, backgrounds)
    asked = list(zip(photometers, apertures, strict=True))
    fluxes = _fluxes(core, variances, backgrounds, [one for one in asked if not one[0].is_own])
    stored = frame.stored_stamps(core.corners(place), core.side_px)
    peak_adu = core.peak(stored) / frame.facts.gain_e_per_adu

    flags = np.where(place.whole, 0, int(Flag.NEAR_EDGE)).astype(np.int64)
    enough = max(_MIN_BACKGROUND_PIXELS, _BACKGROUND_PIXELS_WANTED * len(geometry.annulus))
    flags[annulus.n_pixels < enough] |= int(Flag.POOR_BACKGROUND)
    flags[(core.bad & core.in_aperture).any(axis=(1, 2))] |= int(Flag.BAD_PIXEL)
    flags[hit] |= int(Flag.COSMIC_RAY)
    flags[peak_adu >= frame.facts.saturation_adu] |= int(Flag.SATURATED)
    bent = frame.nonlinear_stamps(core.corners(place), core.side_px)
    if bent is not None:
        flags[(bent & core.in_aperture & core.usable).any(axis=(1, 2))] |= int(Flag.NONLINEAR)
    flags |= _reasons_not_measured(core, place, frame.shape, fluxes=fluxes)
    own = [one for one in asked if one[0].is_own]
    if own:
        measuring = _own_measuring(frame, masked, place, positions, psf=psf, geometry=geometry)
        fluxes |= _own_fluxes(measuring, core, frame, place, backgrounds=backgrounds, photometers=own)
        without = ~np.isfinite([fluxes[one.label] for one, _ in own]).all(axis=(0, 1))
        flags[without & ((flags & int(NOT_MEASURED)) == 0)] |= int(Flag.NO_OWN_FLUX)
    for measured in fluxes.values():
        for values in measured:
            values[(flags & int(NOT_MEASURED)) != 0] = np.nan
    return ForcedFluxes(annulus.level, peak_adu, fluxes, flags)


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where the stamps of all sources lie; arrays of shape (n_sources,) or (n_sources, 2).

    `inside` marks sources on the frame, `whole` those whose stamp lies on it altogether.
    """

    middles: NDArray[np.intp]
    corners: NDArray[np.intp]
    inside: NDArray[np.bool_]
    whole: NDArray[np.bool_]

    @classmethod
    def of(cls, positions: FloatArray, shape: tuple[int, int], half_side_px: int) -> _Placement:
        """Put the middle pixel of each stamp nearest to its source."""
        size = np.array([shape[1], shape[0]])
        middles = np.rint(positions).astype(np.intp)
        inside = ((positions > -0.5) & (positions < size - 0.5)).all(axis=1)
        whole = ((middles >= half_side_px) & (middles < size - half_side_px)).all(axis=1)
        return cls(middles, middles - half_side_px, np.asarray(inside), np.asarray(whole))


def _without_cosmic_rays(core: _Core, frame: Exposure, place: _Placement) -> tuple[_Core, NDArray[np.bool_]]:
    """Leave out the pixels that cosmic rays hit; also which sources have one within their standard aperture."""
    rays = frame.cosmic_rays(core.corners(place), core.side_px)
    if rays is None:
        return core, np.zeros(len(core.electrons), dtype=bool)
    hit = np.asarray((rays & core.in_aperture).any(axis=(1, 2)))
    return replace(core, usable=core.usable & ~rays), hit


def _variances(
    core: _Core, frame: Exposure, place: _Placement, backgrounds: dict[str, LocalBackground]
) -> dict[str, PixelVariance]:
    calibration = frame.noise_stamps(core.corners(place), core.side_px)
    return {name: PixelVariance.of(background, calibration) for name, background in backgrounds.items()}


def _fluxes(
    core: _Core,
    variances: dict[str, PixelVariance],
    backgrounds: dict[str, LocalBackground],
    photometers: Sequence[tuple[PhotometerSettings, Aperture]],
) -> dict[str, Flux]:
    """Measure all photometers; the optimal profile stands in for what is missing within an aperture."""
    fluxes = {}
    filled: dict[str, tuple[FloatArray, Flux, FloatArray | None]] = {}
    for photometer, aperture in photometers:
        background, variance_of = backgrounds[photometer.background], variances[photometer.background]
        sky_variance = background.sigma**2
        level_variance = sky_variance / np.maximum(background.n_pixels, 1)
        if photometer.background not in filled:
            data = core.electrons - background.level[:, None, None]
            optimal = Flux(*_optimal(data, core.usable, core.profile, variance_of, level_variance))
            model = optimal.flux[:, None, None] * core.profile
            beyond = variance_of.beyond_photons(np.maximum(model, 0.0), sky_variance)
            filled[photometer.background] = (np.where(core.usable, data, model), optimal, beyond)
        data, optimal, beyond = filled[photometer.background]
        if photometer.kind == "optimal":
            fluxes[photometer.label] = Flux(optimal.flux.copy(), optimal.flux_err.copy())
            continue
        flux = core.sum_aperture(data, aperture)
        area, squared = aperture.area_px, aperture.squared_weights_px
        variance = np.maximum(flux, 0.0) + squared * sky_variance + area**2 * level_variance
        if beyond is not None:
            variance = np.maximum(variance + core.sum_aperture(beyond, aperture), 0.0)
        fluxes[photometer.label] = Flux(flux, np.sqrt(variance))
    return fluxes


def _own_measuring(
    frame: Exposure,
    masked: FloatArray,
    place: _Placement,
    positions: FloatArray,
    *,
    psf: Psf,
    geometry: StampGeometry,
) -> OwnMeasuring:
    """What the user's own parts see: whole stamps, without the pixels that are bad or that a cosmic ray hit."""
    rays = frame.cosmic_rays(place.corners, geometry.side_px)
    electrons = masked if rays is None else np.where(rays, np.nan, masked)
    annulus = np.zeros(geometry.side_px**2, dtype=bool)
    annulus[geometry.annulus] = True
    stamps = BackgroundStamps(
        electrons=read_only(electrons),
        xy=read_only(positions - place.corners),
        annulus=read_only(annulus.reshape(geometry.side_px, geometry.side_px)),
        psf=psf,
        facts=frame.facts,
    )
    return OwnMeasuring(frame.name, stamps, frame.noise_stamps(place.corners, geometry.side_px))


def _own_fluxes(
    measuring: OwnMeasuring,
    core: _Core,
    frame: Exposure,
    place: _Placement,
    *,
    backgrounds: dict[str, LocalBackground],
    photometers: Sequence[tuple[PhotometerSettings, Aperture]],
) -> dict[str, Flux]:
    """Measure the photometers that a class of the user's own takes part in; no flux without its error."""
    backgrounds = backgrounds | measuring.backgrounds([photometer for photometer, _ in photometers])
    variances = _variances(core, frame, place, backgrounds)
    fluxes = _fluxes(core, variances, backgrounds, [one for one in photometers if not is_own_kind(one[0])])
    for photometer, _ in photometers:
        if is_own_kind(photometer):
            fluxes[photometer.label] = Flux(*measuring.flux(photometer, backgrounds[photometer.background]))
    for measured in fluxes.values():
        missing = ~np.isfinite(measured).all(axis=0)
        for values in measured:
            values[missing] = np.nan
    return fluxes


def _reasons_not_measured(
    core: _Core, place: _Placement, shape: tuple[int, int], *, fluxes: dict[str, Flux]
) -> NDArray[np.int64]:
    """Flags of the sources that have no flux: off the frame, or numbers are missing where they are needed."""
    seen = (core.profile * core.usable).sum(axis=(1, 2)) / core.profile.sum(axis=(1, 2))
    lost = ~place.inside | (seen < _MIN_PROFILE_SEEN)
    off_frame = lost & ~place.whole
    missing = (core.non_finite(place.middles, shape) & core.in_aperture).any(axis=(1, 2)) | (lost & place.whole)
    for measured in fluxes.values():
        missing |= ~off_frame & ~np.isfinite(measured).all(axis=0)
    return off_frame * np.int64(Flag.OFF_FRAME) | missing * np.int64(Flag.NON_FINITE)


def _optimal(
    data: FloatArray,
    good: NDArray[np.bool_],
    profile: FloatArray,
    variance_of: PixelVariance,
    level_variance: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Flux and error of the optimally weighted sum.

    The variance of a pixel takes the source from the model, never from the pixel itself: weights that follow the
    noise would bias the flux (Naylor 1998, section 2).
    """
    data = np.where(good, data, 0.0)
    flux = np.zeros(len(data))
    for _ in range(2):
        variance = variance_of.with_source(np.maximum(flux, 0.0)[:, None, None] * profile)
        weights = np.where(good, profile / np.maximum(variance, 1e-12), 0.0)
        norm = np.maximum((weights * profile).sum(axis=(1, 2)), 1e-300)
        flux = (weights * data).sum(axis=(1, 2)) / norm
    level_part = (weights.sum(axis=(1, 2)) / norm) ** 2 * level_variance
    return flux, np.sqrt(1.0 / norm + level_part)


@dataclass(frozen=True, slots=True)
class _Core:
    """The inner part of all stamps, with the profile of a source on each."""

    electrons: FloatArray
    bad: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    profile: FloatArray
    in_aperture: NDArray[np.bool_]
    offsets: FloatArray
    orientation_rad: float

    @classmethod
    def cut(
        cls,
        stamps: FloatArray,
        bad: NDArray[np.bool_] | None,
        offsets: FloatArray,
        psf: Psf,
        standard: Aperture,
        largest: Aperture,
    ) -> _Core:
        """Cut the part that profile and apertures reach; `offsets` are positions from the middle pixel."""
        middle = stamps.shape[1] // 2
        reach = max(largest.major_px, largest.minor_px, _PROFILE_RADIUS_SIGMA * psf.semi_major_sigma_px)
        half = min(math.ceil(reach) + 1, middle)
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
            in_aperture=radius2 <= (standard.major_px / psf.semi_major_sigma_px) ** 2,
            offsets=offsets + half,
            orientation_rad=math.radians(psf.orientation_deg),
        )

    @property
    def side_px(self) -> int:
        """Pixels along one side."""
        return int(self.electrons.shape[1])

    def corners(self, place: _Placement) -> NDArray[np.intp]:
        """Column and row of the first pixel of each of these stamps."""
        return place.middles - self.side_px // 2

    def peak(self, stored: FloatArray | None) -> FloatArray:
        """Highest usable pixel of each aperture, electrons; NaN where there is none.

        Of the pixels before calibration, `stored`, where there are such.
        """
        electrons = self.electrons if stored is None else stored
        highest = np.where(self.in_aperture & self.usable, electrons, -np.inf).max(axis=(1, 2))
        return np.where(np.isfinite(highest), highest, np.nan)

    def sum_aperture(self, data: FloatArray, aperture: Aperture) -> FloatArray:
        """Exact sums over an aperture around each source.

        The stamps are laid one above the other, so that one call does all.
        """
        n, side = len(data), data.shape[1]
        if not n:
            return np.empty(0)
        y = self.offsets[:, 1] + side * np.arange(n)
        tall = np.ascontiguousarray(data.reshape(n * side, side))
        x, angle = self.offsets[:, 0], self.orientation_rad
        sums, _, _ = sep.sum_ellipse(tall, x, y, aperture.major_px, aperture.minor_px, angle, 1.0, subpix=0)
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
