"""One frame, in reading order: read, calibrate, align, measure.

`process_frame` is the way of every frame, be it live, replayed or archived. It changes nothing: what it knows of the
night comes in as a `Reference`, what it found goes out as a `FrameMeasurement`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.config import FORCED_PHOTOMETERS, PhotometerSettings, Recipe
from stream.errors import FrameRejectedError, Reason
from stream.flags import Flag
from stream.instruments import LOWEST_ALTITUDE_DEG
from stream.measure import (  # loaded or compiled with the start of a worker, not on its first frame
    ellipse_kernels,  # noqa: F401
    fit_kernels,  # noqa: F401
    stamp_kernels,  # noqa: F401
)
from stream.measure.alignment import Alignment, AlignmentStars, align
from stream.measure.calibration import Calibration, calibrate
from stream.measure.centroids import centre_stars
from stream.measure.exposure import Exposure
from stream.measure.frames import Frame
from stream.measure.medians import row_medians
from stream.measure.mesh import mesh_background
from stream.measure.photometry import ForcedFluxes, StampGeometry, measure_forced_fluxes
from stream.measure.psf import FWHM_PER_SIGMA, SMALLEST_SIGMA_PX, Psf
from stream.measure.transform import Transform
from stream.messages import NOT_KNOWN, Catalog, FloatArray, FrameMeasured, source_columns
from stream.timestamps import SkyPosition, airmass, altitude_deg, barycentric_mjd_tdb, separation_deg

_FARTHEST_TARGET_DEG = 2.0
_FEW_STARS = 3
_LARGE_RESIDUAL_FWHM = 0.15
_CLOUDY = 0.5
_TRAILED = 2.0
_ISOLATION_FWHM = 2.5
_NEIGHBOUR_FLUX_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Reference:
    """What every frame of a key is measured against: its catalog and recipe, as arrays."""

    catalog: Catalog
    recipe_hash: str
    positions: FloatArray
    stars: AlignmentStars
    star_numbers: NDArray[np.intp]
    geometry: StampGeometry
    bad_pixels: NDArray[np.bool_] | None
    target_position: SkyPosition | None
    labels: tuple[str, ...]
    calibration: Calibration | None = None

    @classmethod
    def from_catalog(cls, catalog: Catalog, recipe: Recipe, calibration: Calibration | None = None) -> Reference:
        """Prepare the arrays; positions are catalog pixels, shape (n_sources, 2).

        Bad pixels are the hot ones of the catalog and those that the calibration knows.
        """
        positions, flux = catalog.positions(), np.asarray(catalog.flux_e)
        numbers = _isolated_stars(positions, flux, catalog.fwhm_px)[: recipe.alignment.n_stars]
        bad = np.zeros(catalog.frame_shape, dtype=bool)
        bad.flat[list(catalog.hot_pixels)] = True
        if calibration is not None and calibration.bad_pixels is not None and calibration.bad_pixels.shape == bad.shape:
            bad |= calibration.bad_pixels
        sigma = math.sqrt(float(np.median(catalog.semi_major_sigma_px)) * float(np.median(catalog.semi_minor_sigma_px)))
        return cls(
            catalog=catalog,
            recipe_hash=recipe.hash(),
            positions=positions,
            stars=AlignmentStars(positions[numbers], flux[numbers], sigma, catalog.fwhm_px),
            star_numbers=numbers,
            geometry=StampGeometry.for_fwhm(catalog.fwhm_px, recipe.photometry),
            bad_pixels=bad if bad.any() else None,
            target_position=recipe.target_position or catalog.pointing,
            labels=recipe.labels(),
            calibration=calibration,
        )


@dataclass(frozen=True, slots=True)
class FrameMeasurement:
    """The message of a measured frame, and its transform as a hint for the next frame of the key."""

    message: FrameMeasured
    transform: Transform | None

    def to_message(self, frame_id: int) -> FrameMeasured:
        """The message, with the frame's number in the ledger."""
        return msgspec.structs.replace(self.message, frame_id=frame_id)


def process_frame(
    frame: Frame, reference: Reference, recipe: Recipe, hint: Transform | None = None
) -> FrameMeasurement:
    """Calibrate a frame and measure every source of the catalog on it.

    A hint (the transform of an earlier frame) may save time; it does not move the result.

    Raises
    ------
    FrameRejectedError
        If the frame is of another key or shape than catalog or masters, shows no stars, or holds no numbers.
    """
    started = time.thread_time()
    exposure = calibrate(frame, recipe.calibration, reference.calibration)
    _check_fits_catalog(exposure, reference.catalog)
    _check_target_position(exposure, recipe)
    alignment = align(
        exposure,
        reference.stars,
        hint=hint,
        settings=recipe.alignment,
        detection=recipe.detection,
        bad_pixels=reference.bad_pixels,
    )
    if alignment is None:
        numbers = _unaligned_numbers(reference)
    else:
        psf = alignment.psf()
        fluxes = _measure(exposure, reference, recipe, alignment.transform, psf)
        _check_finite(exposure, fluxes)
        numbers = _aligned_numbers(exposure, reference, alignment, psf=psf, fluxes=fluxes)
    message = _to_message(exposure, reference, recipe, numbers=numbers, core_s=time.thread_time() - started)
    return FrameMeasurement(message, alignment.transform if alignment is not None else None)


def _measure(frame: Exposure, reference: Reference, recipe: Recipe, transform: Transform, psf: Psf) -> ForcedFluxes:
    """Measure with all photometers of the recipe: those that are forced first, then those that follow the source."""
    positions = transform.apply(reference.positions)
    forced = tuple(photometer for photometer in recipe.photometers if photometer.forced)
    free = tuple(photometer for photometer in recipe.photometers if not photometer.forced)
    mesh = None
    if any(photometer.background == "mesh" for photometer in recipe.photometers):
        mesh = mesh_background(
            frame.electrons(),
            positions,
            mesh_px=recipe.detection.mesh_px,
            keep_off_px=reference.geometry.inner_px,
            bad_pixels=reference.bad_pixels,
        )

    def measured(at: FloatArray, photometers: tuple[PhotometerSettings, ...]) -> ForcedFluxes:
        return measure_forced_fluxes(
            frame,
            at,
            psf,
            geometry=reference.geometry,
            settings=recipe.photometry,
            photometers=photometers,
            bad_pixels=reference.bad_pixels,
            mesh=mesh,
        )

    # The standard aperture is always there: transparency is counted in it.
    fluxes = measured(positions, tuple(dict.fromkeys((FORCED_PHOTOMETERS[0], *forced))))
    if not free:
        return fluxes
    window = max(psf.fwhm_px / FWHM_PER_SIGMA, SMALLEST_SIGMA_PX)
    centres = centre_stars(frame, positions, window, reference.bad_pixels)
    offset = np.hypot(*(centres.xy - positions).T)
    found = centres.good & (offset <= recipe.photometry.match_tolerance_fwhm * psf.fwhm_px)
    matched = measured(np.where(found[:, None], centres.xy, positions), free)
    for flux in matched.fluxes.values():
        for values in flux:
            values[~found] = np.nan
    flags = fluxes.flags | np.where(found, matched.flags, int(Flag.NOT_DETECTED))
    return replace(fluxes, fluxes=fluxes.fluxes | matched.fluxes, flags=flags)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What was measured on a frame, apart from what its header says."""

    sources: FloatArray
    flags: Flag
    transform: Transform | None = None
    psf: Psf | None = None
    sky_e_per_px: float = NOT_KNOWN
    transparency: float = NOT_KNOWN
    n_aligned: int = 0
    alignment_rms_px: float = NOT_KNOWN


def _check_fits_catalog(frame: Exposure, catalog: Catalog) -> None:
    if frame.facts.key != catalog.key:
        raise FrameRejectedError(
            Reason.BAD_KEYWORD, f"{frame.name} is of key {frame.facts.key}, the catalog of {catalog.key}"
        )
    if frame.shape != catalog.frame_shape or frame.facts.binning != catalog.binning:
        rows, columns = frame.shape
        raise FrameRejectedError(
            Reason.WRONG_SHAPE,
            f"{frame.name} has {columns} x {rows} pixels at binning {frame.facts.binning}; the catalog of "
            f"{catalog.key} requires {catalog.frame_shape[1]} x {catalog.frame_shape[0]} at {catalog.binning}",
        )


def _check_target_position(frame: Exposure, recipe: Recipe) -> None:
    """Refuse coordinates of the target that cannot be: a wrong unit would shift every time by minutes."""
    target = recipe.target_position
    if target is None:
        return
    words = f"the coordinates of the target (RA {target.ra_deg:.4f}, Dec {target.dec_deg:.4f} degrees) are"
    facts = frame.facts
    altitude = altitude_deg(facts.time_mjd_utc, target, recipe.instrument.site.position())
    if altitude < LOWEST_ALTITUDE_DEG:
        raise FrameRejectedError(
            Reason.BAD_POINTING,
            f"{words} {-altitude:.0f} degrees below the horizon of {recipe.instrument.name} at the time of "
            f"{frame.name}: check them, and whether the right ascension is in hours or degrees",
        )
    if facts.pointing is None:
        return
    apart = separation_deg(facts.pointing, target)
    if apart > max(_FARTHEST_TARGET_DEG, max(frame.shape) * facts.pixel_scale_arcsec / 3600.0):
        names = recipe.instrument.keywords
        raise FrameRejectedError(
            Reason.BAD_POINTING,
            f"{words} {apart:.1f} degrees away from the pointing of {frame.name} (keywords {names.ra}, {names.dec}), "
            "which is outside of its field: check both, and whether a right ascension is in hours or degrees",
        )


def _check_finite(frame: Exposure, fluxes: ForcedFluxes) -> None:
    if (fluxes.flags & int(Flag.NON_FINITE)).all():
        raise FrameRejectedError(Reason.NON_FINITE, f"{frame.name} has pixels that are not finite under every source")


def _unaligned_numbers(reference: Reference) -> _Numbers:
    columns = source_columns(reference.labels)
    sources = np.full((len(columns), reference.catalog.n_sources), np.nan)
    sources[columns.index("flags")] = 0.0
    return _Numbers(sources, Flag.UNALIGNED)


def _aligned_numbers(
    frame: Exposure, reference: Reference, alignment: Alignment, *, psf: Psf, fluxes: ForcedFluxes
) -> _Numbers:
    catalog = reference.catalog
    positions = alignment.transform.apply(reference.positions)
    source_flags = fluxes.flags.copy()
    source_flags[reference.star_numbers[alignment.moved]] |= int(Flag.MOVED)
    # In the order of `source_columns`.
    table = np.array(
        [
            positions[:, 0],
            positions[:, 1],
            fluxes.sky_e_per_px,
            fluxes.peak_adu,
            source_flags,
            *(values for label in reference.labels for values in fluxes.fluxes[label]),
        ],
        dtype="<f8",
    )
    used = reference.star_numbers[alignment.used]
    ratios = fluxes.aperture_flux[used] / reference.stars.flux[alignment.used]
    ratios = ratios[np.isfinite(ratios)] * (catalog.exposure_s / frame.facts.exposure_s)
    transparency = float(row_medians(ratios)) if len(ratios) else NOT_KNOWN
    skies = fluxes.sky_e_per_px[np.isfinite(fluxes.sky_e_per_px)]
    few = len(used) < min(_FEW_STARS, len(reference.star_numbers)) or len(used) < 2
    flags = Flag.GOOD
    if few or alignment.rms_px > _LARGE_RESIDUAL_FWHM * psf.fwhm_px:
        flags |= Flag.POOR_ALIGNMENT
    if transparency < _CLOUDY:
        flags |= Flag.LOW_TRANSPARENCY
    if psf.semi_major_sigma_px > _TRAILED * psf.semi_minor_sigma_px:
        flags |= Flag.TRAILED
    return _Numbers(
        sources=table,
        flags=flags,
        transform=alignment.transform,
        psf=psf,
        sky_e_per_px=float(row_medians(skies)) if len(skies) else NOT_KNOWN,
        transparency=transparency,
        n_aligned=len(used),
        alignment_rms_px=alignment.rms_px,
    )


def _to_message(
    frame: Exposure, reference: Reference, recipe: Recipe, *, numbers: _Numbers, core_s: float
) -> FrameMeasured:
    facts, transform, psf = frame.facts, numbers.transform, numbers.psf
    flags = numbers.flags
    bmjd, air = NOT_KNOWN, NOT_KNOWN
    if reference.target_position is not None:
        site = recipe.instrument.site.position()
        bmjd = barycentric_mjd_tdb(facts.time_mjd_utc, reference.target_position, site)
        air = airmass(altitude_deg(facts.time_mjd_utc, reference.target_position, site))
    else:
        flags |= Flag.NO_POINTING
    if facts.time_resolution_s > facts.exposure_s:
        flags |= Flag.TIME_UNCERTAIN
    return FrameMeasured(
        frame_id=0,
        path=frame.name,
        key=facts.key,
        recipe_hash=reference.recipe_hash,
        catalog_version=reference.catalog.version,
        time_mjd_utc=facts.time_mjd_utc,
        time_bmjd_tdb=bmjd,
        exposure_s=facts.exposure_s,
        airmass=air,
        fwhm_px=psf.fwhm_px if psf else NOT_KNOWN,
        semi_major_sigma_px=psf.semi_major_sigma_px if psf else NOT_KNOWN,
        semi_minor_sigma_px=psf.semi_minor_sigma_px if psf else NOT_KNOWN,
        orientation_deg=psf.orientation_deg if psf else NOT_KNOWN,
        sky_e_per_px=numbers.sky_e_per_px,
        shift_x_px=transform.shift_x_px if transform else NOT_KNOWN,
        shift_y_px=transform.shift_y_px if transform else NOT_KNOWN,
        rotation_deg=transform.rotation_deg if transform else NOT_KNOWN,
        scale=transform.scale if transform else NOT_KNOWN,
        transparency=numbers.transparency,
        n_aligned=numbers.n_aligned,
        alignment_rms_px=numbers.alignment_rms_px,
        flags=int(flags),
        core_s=core_s,
        sources=numbers.sources.astype("<f8", copy=False).tobytes(),
        calibration_version=reference.calibration.version if reference.calibration is not None else "",
        labels=reference.labels,
    )


def _isolated_stars(positions: FloatArray, flux: FloatArray, fwhm_px: float) -> NDArray[np.intp]:
    """Indices, brightest first, of stars without a comparable neighbour; all of them if fewer than three are."""
    distances = np.hypot(*(positions[:, None, :] - positions[None, :, :]).transpose(2, 0, 1))
    np.fill_diagonal(distances, np.inf)
    rivals = (distances < _ISOLATION_FWHM * fwhm_px) & (flux[None, :] > _NEIGHBOUR_FLUX_SHARE * flux[:, None])
    alone = np.flatnonzero(~rivals.any(axis=1))
    return alone if len(alone) >= _FEW_STARS else np.arange(len(flux))
