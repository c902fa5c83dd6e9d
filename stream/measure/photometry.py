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
from numpy.typing import NDArray

from stream.config import APERTURE_LABEL, FORCED_PHOTOMETERS, OPTIMAL_LABEL, PhotometerSettings, PhotometrySettings
from stream.flags import NOT_MEASURED, Flag
from stream.measure.apertures import Aperture, aperture_on_frame
from stream.measure.background import LocalBackground, annulus_pixels
from stream.measure.exposure import Exposure
from stream.measure.own_photometry import OwnMeasuring, is_own_kind, read_only
from stream.measure.pixel_variance import PixelVariance
from stream.measure.protocols import BackgroundStamps
from stream.measure.psf import Psf
from stream.measure.source_core import SourceCore, SourceSquares
from stream.messages import FloatArray

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
    squares = SourceSquares.cut(frame, place.corners, geometry.side_px, bad_pixels)
    annulus = squares.background(geometry.annulus, settings.annulus_clip_sigma)
    standard, *apertures = (
        aperture_on_frame(one, psf, settings, inner_px=geometry.inner_px, half_side_px=geometry.half_side_px)
        for one in (PhotometerSettings(), *photometers)
    )
    largest = max([standard, *apertures])
    core = SourceCore.cut(squares, positions - place.middles, psf, standard=standard, largest=largest)
    backgrounds = {"annulus": annulus, "mesh": mesh if mesh is not None else annulus}
    core, hit = _without_cosmic_rays(core, frame, place)
    variances = _variances(core, frame, place, backgrounds)
    asked = list(zip(photometers, apertures, strict=True))
    fluxes = _fluxes(core, variances, backgrounds, [one for one in asked if not one[0].is_own])
    stored = frame.stored_stamps(place.corners_of(core), core.side_px)
    peak_adu = core.peak(stored) / frame.facts.gain_e_per_adu

    flags = np.where(place.whole, 0, int(Flag.NEAR_EDGE)).astype(np.int64)
    enough = max(_MIN_BACKGROUND_PIXELS, _BACKGROUND_PIXELS_WANTED * len(geometry.annulus))
    flags[annulus.n_pixels < enough] |= int(Flag.POOR_BACKGROUND)
    flags[core.any_within(core.bad)] |= int(Flag.BAD_PIXEL)
    flags[hit] |= int(Flag.COSMIC_RAY)
    flags[peak_adu >= frame.facts.saturation_adu] |= int(Flag.SATURATED)
    bent = frame.nonlinear_stamps(place.corners_of(core), core.side_px)
    if bent is not None:
        flags[core.any_within(bent if core.usable is None else bent & core.usable)] |= int(Flag.NONLINEAR)
    flags |= _reasons_not_measured(core, place, frame.shape, fluxes=fluxes)
    own = [one for one in asked if one[0].is_own]
    if own:
        measuring = _own_measuring(frame, squares.masked(), place, positions, psf=psf, geometry=geometry)
        fluxes |= _own_fluxes(measuring, core, frame, place, backgrounds=backgrounds, photometers=own)
        without = ~np.isfinite([fluxes[one.label] for one, _ in own]).all(axis=(0, 1))
        flags[without & ((flags & int(NOT_MEASURED)) == 0)] |= int(Flag.NO_OWN_FLUX)
    lost = (flags & int(NOT_MEASURED)) != 0
    if lost.any():
        for measured in fluxes.values():
            for values in measured:
                values[lost] = np.nan
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

    def corners_of(self, core: SourceCore) -> NDArray[np.intp]:
        """Column and row of the first pixel of the inner part of each stamp."""
        return self.middles - core.side_px // 2


def _without_cosmic_rays(core: SourceCore, frame: Exposure, place: _Placement) -> tuple[SourceCore, NDArray[np.bool_]]:
    """Leave out the pixels that cosmic rays hit; also which sources have one within their standard aperture."""
    rays = frame.cosmic_rays(place.corners_of(core), core.side_px)
    hit = core.any_within(rays)
    if rays is None:
        return core, hit
    return replace(core, usable=~rays if core.usable is None else core.usable & ~rays), hit


def _variances(
    core: SourceCore, frame: Exposure, place: _Placement, backgrounds: dict[str, LocalBackground]
) -> dict[str, PixelVariance]:
    calibration = frame.noise_stamps(place.corners_of(core), core.side_px)
    return {name: PixelVariance.of(background, calibration) for name, background in backgrounds.items()}


def _fluxes(
    core: SourceCore,
    variances: dict[str, PixelVariance],
    backgrounds: dict[str, LocalBackground],
    photometers: Sequence[tuple[PhotometerSettings, Aperture]],
) -> dict[str, Flux]:
    """Measure all photometers."""
    fluxes: dict[str, Flux] = {}
    for name in dict.fromkeys(photometer.background for photometer, _ in photometers):
        alike = [one for one in photometers if one[0].background == name]
        fluxes |= _fluxes_above(backgrounds[name], core, variances[name], alike)
    return fluxes


def _fluxes_above(
    background: LocalBackground,
    core: SourceCore,
    variance_of: PixelVariance,
    photometers: Sequence[tuple[PhotometerSettings, Aperture]],
) -> dict[str, Flux]:
    """Measure above one background; the optimal profile stands in for what is missing within an aperture."""
    sky_variance = background.sigma**2
    level_variance = sky_variance / np.maximum(background.n_pixels, 1)
    data = core.electrons - background.level[:, None, None]
    optimal = _optimal(data, core, variance_of, level_variance)
    fluxes = {
        photometer.label: Flux(optimal.flux.copy(), optimal.flux_err.copy())
        for photometer, _ in photometers
        if photometer.kind == "optimal"
    }
    sums = [(photometer.label, aperture) for photometer, aperture in photometers if photometer.kind != "optimal"]
    apertures = [aperture for _, aperture in sums]
    beyond = None
    if core.usable is not None or variance_of.calibration is not None:
        model = optimal.flux[:, None, None] * core.profile
        beyond = variance_of.beyond_photons(np.maximum(model, 0.0), sky_variance)
        data = data if core.usable is None else np.where(core.usable, data, model)
    flux = core.sum_apertures(data, apertures)
    area = np.array([[aperture.area_px] for aperture in apertures]).reshape(-1, 1)
    squared = np.array([[aperture.squared_weights_px] for aperture in apertures]).reshape(-1, 1)
    variance = np.maximum(flux, 0.0) + squared * sky_variance + area**2 * level_variance
    if beyond is not None:
        variance = np.maximum(variance + core.sum_apertures(beyond, apertures), 0.0)
    return fluxes | {label: Flux(*pair) for (label, _), *pair in zip(sums, flux, np.sqrt(variance), strict=True)}


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
    core: SourceCore,
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
    core: SourceCore, place: _Placement, shape: tuple[int, int], *, fluxes: dict[str, Flux]
) -> NDArray[np.int64]:
    """Flags of the sources that have no flux: off the frame, or numbers are missing where they are needed."""
    lost = ~place.inside | (core.profile_seen() < _MIN_PROFILE_SEEN)
    off_frame = lost & ~place.whole
    missing = core.any_within(core.missing_on_frame(place.middles, shape)) | (lost & place.whole)
    if fluxes:
        missing |= ~off_frame & ~np.isfinite(list(fluxes.values())).all(axis=(0, 1))
    return off_frame * np.int64(Flag.OFF_FRAME) | missing * np.int64(Flag.NON_FINITE)


def _optimal(data: FloatArray, core: SourceCore, variance_of: PixelVariance, level_variance: FloatArray) -> Flux:
    """Flux and error of the optimally weighted sum.

    The variance of a pixel takes the source from the model, never from the pixel itself: weights that follow the
    noise would bias the flux (Naylor 1998, section 2).

    Parameters
    ----------
    data : array, shape (n_sources, side, side)
        Electrons above the background.
    """
    shape = (len(data), core.side_px**2)
    profile, used = core.profile, core.profile
    if core.usable is not None:
        data, used = np.where(core.usable, data, 0.0), np.where(core.usable, profile, 0.0)
    flux = np.zeros(len(data))
    for _ in range(2):
        # The first time nothing is known of the source, and a plain sky has the same weight everywhere.
        source = np.maximum(flux, 0.0)[:, None, None]
        variance = variance_of.with_source(source * profile if source.any() or variance_of.calibration else source)
        weights = used / np.maximum(variance, 1e-12)
        norm = np.maximum(np.vecdot(weights.reshape(shape), profile.reshape(shape)), 1e-300)
        flux = np.vecdot(weights.reshape(shape), data.reshape(shape)) / norm
    level_part = (weights.reshape(shape).sum(axis=1) / norm) ** 2 * level_variance
    return Flux(flux, np.sqrt(1.0 / norm + level_part))
