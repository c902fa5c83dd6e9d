"""The first frames of a key become its catalog: aligned, stacked, searched, measured, frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.config import Recipe
from stream.errors import FrameRejectedError, Reason
from stream.measure.calibration import Calibration, calibrate
from stream.measure.catalog import with_version
from stream.measure.centroids import StarCentres, centre_stars, is_one_pixel_wide
from stream.measure.detection import detect_sources
from stream.measure.exposure import Exposure
from stream.measure.frames import Frame, read_frame
from stream.measure.photometry import StampGeometry, measure_forced_fluxes
from stream.measure.psf import FWHM_PER_SIGMA, Psf, psf_from_stars
from stream.measure.stacking import StackedField, show_sources, stack_frames
from stream.messages import (
    BuildCatalog,
    Catalog,
    CatalogBuilt,
    CatalogNotBuilt,
    FloatArray,
    FrameRejected,
    FrameToMeasure,
)
from stream.night.catalog_files import leave_picture

_MIN_SIGNAL_TO_NOISE = 5.0
_SHAPE_SIGNAL_TO_NOISE = 30.0
_MERGED_FWHM = 1.0
_LEAST_OF_APERTURE, _LEAST_OF_APERTURE_ON_MEAN = 0.7, 1.0
_FAINT_SIGNAL_TO_NOISE = 8.0
_LARGEST_MOVE_SIGMA = 1.2
_SEEN_SIGMA = 2.0


@dataclass(frozen=True, slots=True)
class CatalogBuild:
    """What the first frames of a key gave: the message, and the picture that goes with a catalog.

    The message comes first: frames wait for it, and nobody waits for the files.
    """

    reply: CatalogBuilt | CatalogNotBuilt
    picture: NDArray[np.float32] | None = None

    def leave_picture(self, cat_folder: Path) -> None:
        """Leave the picture, if there is a catalog, to be drawn elsewhere: see `stream.night.catalog_files`."""
        if self.picture is not None and isinstance(self.reply, CatalogBuilt):
            leave_picture(self.reply.catalog, self.picture, cat_folder)


def build_catalog(
    request: BuildCatalog, folder: Path, recipe: Recipe, calibration: Calibration | None = None
) -> CatalogBuild:
    """Build the catalog of a key from its first frames, calibrated.

    Frames that cannot be read are rejected; if there is no catalog, those that show no source are too, and all of
    them if a finder of the user's own fails. The others wait: a later frame may show the stars that they lack. Frames
    that do not match the reference frame are left out of the stack; they are tried against the catalog later, like
    any other.
    """
    frames, rejected = _read_all(request, folder, recipe, calibration)
    bad_pixels = calibration.bad_pixels if calibration is not None else None
    try:
        stacked = stack_frames([frame for _, frame in frames], recipe, bad_pixels) if frames else None
        catalog = catalog_of_stack(request.key, stacked, recipe) if stacked is not None else None
        if stacked is None or catalog is None:
            reply = _not_built(request, frames, rejected, recipe=recipe, bad_pixels=bad_pixels)
            return CatalogBuild(reply)
    except FrameRejectedError as error:  # a finder of the user's own failed
        failed = [_rejection(entry, request.key, error.reason, error.sentence) for entry, _ in frames]
        return CatalogBuild(CatalogNotBuilt(request.key, error.sentence, (*rejected, *failed)))
    return CatalogBuild(CatalogBuilt(catalog, tuple(rejected)), stacked.picture)


def _not_built(
    request: BuildCatalog,
    frames: Sequence[tuple[FrameToMeasure, Exposure]],
    rejected: Sequence[FrameRejected],
    *,
    recipe: Recipe,
    bad_pixels: NDArray[np.bool_] | None,
) -> CatalogNotBuilt:
    with_sources = show_sources([frame for _, frame in frames], recipe, bad_pixels) if frames else []
    without_stars = [
        _rejection(entry, request.key, Reason.NO_STARS, f"{entry.path} shows no stars to measure")
        for (entry, _), shows in zip(frames, with_sources, strict=True)
        if not shows
    ]
    sentence = f"no stars to measure on the first {len(request.frames)} frames of {request.key}"
    if any(with_sources):
        sentence = (
            f"nothing on {len(request.frames)} frames of {request.key} that were tried together is certainly a star"
        )
    return CatalogNotBuilt(request.key, sentence, (*rejected, *without_stars))


def _read_all(
    request: BuildCatalog, folder: Path, recipe: Recipe, calibration: Calibration | None
) -> tuple[list[tuple[FrameToMeasure, Exposure]], list[FrameRejected]]:
    """The frames that can be used, and why the others cannot.

    Where shapes differ, the most frequent one is that of the key: one stray frame must not reject the good ones.
    """
    read: list[tuple[FrameToMeasure, Exposure]] = []
    rejected: list[FrameRejected] = []
    for entry in request.frames:
        try:
            stored = read_frame(folder / entry.path, entry.path, recipe.instrument)
            frame = calibrate(stored, recipe.calibration, calibration)
            _check_content(frame, request.key)
        except FrameRejectedError as error:
            rejected.append(_rejection(entry, request.key, error.reason, error.sentence))
        except MemoryError:
            sentence = f"{entry.path} takes more memory than a worker may have"
            rejected.append(_rejection(entry, request.key, Reason.UNREADABLE, sentence))
        else:
            read.append((entry, frame))
    if not read:
        return [], rejected
    usual = Counter(_size(frame) for _, frame in read).most_common(1)[0][0]
    for entry, frame in read:
        if _size(frame) != usual:
            sentence = f"{frame.name} has {_size(frame)}; most of the first frames of {request.key} have {usual}"
            rejected.append(_rejection(entry, request.key, Reason.WRONG_SHAPE, sentence))
    return [(entry, frame) for entry, frame in read if _size(frame) == usual], rejected


def _size(frame: Exposure) -> str:
    return f"{frame.shape[1]} x {frame.shape[0]} pixels at binning {frame.facts.binning}"


def _rejection(entry: FrameToMeasure, key: str, reason: Reason, sentence: str) -> FrameRejected:
    return FrameRejected(entry.frame_id, entry.path, reason, sentence, key=key)


def _check_content(frame: Exposure, key: str) -> None:
    if frame.facts.key != key:
        raise FrameRejectedError(Reason.BAD_KEYWORD, f"{frame.name} is of key {frame.facts.key}, not of {key}")
    if not np.isfinite(frame.electrons()).any():
        raise FrameRejectedError(Reason.NON_FINITE, f"{frame.name} holds no finite pixel")


def catalog_of_stack(key: str, stacked: StackedField, recipe: Recipe) -> Catalog | None:
    """Find sources on the picture, place and measure them on the frames, number them by flux."""
    reference = stacked.frames[0]
    found = detect_sources(stacked.picture, recipe.detection, star_sigma_px=stacked.sigma_px).xy
    found = found[_inside(found, reference.shape, recipe.detection.border_px)]
    if not len(found):
        return None
    shapes = _centres_on_picture(stacked, found)
    positions = _place_on_frames(stacked, np.where(shapes.good[:, None], shapes.xy, found))
    measured = _flux_on_frames(stacked, positions, recipe)
    flux = measured.flux
    kept = np.isfinite(flux) & (flux > _MIN_SIGNAL_TO_NOISE * measured.error / np.sqrt(measured.n_frames))
    kept &= measured.is_steady & _is_like_a_star(shapes, measured, stacked.sigma_px)
    order = np.argsort(-np.nan_to_num(flux, nan=-np.inf), kind="stable")
    order = order[kept[order]]
    order = _without_twins(order, positions, FWHM_PER_SIGMA * stacked.sigma_px)[: recipe.detection.max_sources]
    if not len(order):
        return None
    reference_psf = stacked.alignments[0].psf()
    psfs = [_psf_of_source(shapes, int(number), stacked.sigma_px) or reference_psf for number in order]
    rows, columns = reference.shape
    return with_version(
        Catalog(
            key=key,
            version="",
            frame_shape=(rows, columns),
            binning=reference.facts.binning,
            exposure_s=reference.facts.exposure_s,
            fwhm_px=reference_psf.fwhm_px,
            pixel_scale_arcsec=reference.facts.pixel_scale_arcsec,
            x=tuple(positions[order, 0].tolist()),
            y=tuple(positions[order, 1].tolist()),
            flux_e=tuple(flux[order].tolist()),
            semi_major_sigma_px=tuple(psf.semi_major_sigma_px for psf in psfs),
            semi_minor_sigma_px=tuple(psf.semi_minor_sigma_px for psf in psfs),
            orientation_deg=tuple(psf.orientation_deg for psf in psfs),
            frames=tuple(frame.name for frame in stacked.frames),
            pointing=reference.facts.pointing,
            hot_pixels=tuple(np.flatnonzero(stacked.hot_pixels).tolist()),
        )
    )


def _psf_of_source(shapes: StarCentres, number: int, sigma_px: float) -> Psf | None:
    """Shape of one source; None where it is too faint to have one of its own."""
    if not shapes.good[number] or shapes.signal_to_noise[number] <= _SHAPE_SIGNAL_TO_NOISE:
        return None
    return psf_from_stars(shapes, np.arange(len(shapes.good)) == number, sigma_px)


def _centres_on_picture(stacked: StackedField, found: FloatArray) -> StarCentres:
    facts = replace(stacked.frames[0].facts, gain_e_per_adu=1.0)
    picture = Frame("stacked picture", stacked.picture, 1.0, 0.0, None, facts, {})
    centres = centre_stars(picture, found, stacked.sigma_px)
    is_near = np.hypot(*(centres.xy - found).T) < _LARGEST_MOVE_SIGMA * stacked.sigma_px
    return replace(centres, good=centres.good & is_near)


def _place_on_frames(stacked: StackedField, guesses: FloatArray) -> FloatArray:
    """Mean of the centroids on the frames, carried back; the guess where a source is too faint for them."""
    total, weight = np.zeros_like(guesses), np.zeros(len(guesses))
    for frame, alignment in zip(stacked.frames, stacked.alignments, strict=True):
        centres = centre_stars(frame, alignment.transform.apply(guesses), stacked.sigma_px, stacked.hot_pixels)
        weights = np.where(centres.good, centres.signal_to_noise**2, 0.0)
        total += weights[:, None] * alignment.transform.undo(centres.xy)
        weight += weights
    placed = total / np.where(weight > 0.0, weight, 1.0)[:, None]
    return np.where((weight > 0.0)[:, None], placed, guesses)


@dataclass(frozen=True, slots=True)
class _StackFlux:
    """Aperture fluxes of the sources over the frames of a stack; arrays of shape (n_sources,).

    `flux` is the median in electrons per exposure of the reference frame, `error` that of a single frame, both NaN
    where none of the `n_frames` gave a number; `is_steady` tells what is seen on most frames: a star, no cosmic ray.
    """

    flux: FloatArray
    error: FloatArray
    n_frames: FloatArray
    is_steady: NDArray[np.bool_]


def _flux_on_frames(stacked: StackedField, positions: FloatArray, recipe: Recipe) -> _StackFlux:
    geometry = StampGeometry.for_fwhm(FWHM_PER_SIGMA * stacked.sigma_px, recipe.photometry)
    fluxes = np.empty((len(stacked.frames), len(positions)))
    errors = np.empty_like(fluxes)
    for number, (frame, alignment) in enumerate(zip(stacked.frames, stacked.alignments, strict=True)):
        measured = measure_forced_fluxes(
            frame,
            alignment.transform.apply(positions),
            alignment.psf(),
            geometry=geometry,
            settings=recipe.photometry,
            bad_pixels=stacked.hot_pixels,
        )
        per_exposure = stacked.frames[0].facts.exposure_s / frame.facts.exposure_s
        fluxes[number] = measured.aperture_flux * per_exposure
        errors[number] = measured.aperture_flux_err * per_exposure
    seen = np.isfinite(fluxes)
    n_frames = np.maximum(seen.sum(axis=0), 1).astype(np.float64)
    # A source at the limit of a stack of many frames is far below 2 sigma on each: ask for half of what it has there.
    least = np.minimum(_SEEN_SIGMA, 0.5 * _MIN_SIGNAL_TO_NOISE / np.sqrt(n_frames))
    is_steady = (seen & (fluxes > least * errors)).sum(axis=0) > 0.5 * n_frames
    flux, error = np.full(len(positions), np.nan), np.full(len(positions), np.nan)
    somewhere = seen.any(axis=0)
    flux[somewhere] = np.nanmedian(fluxes[:, somewhere], axis=0)
    error[somewhere] = np.nanmedian(errors[:, somewhere], axis=0)
    return _StackFlux(flux, error, n_frames, is_steady)


def _is_like_a_star(shapes: StarCentres, measured: _StackFlux, sigma_px: float) -> NDArray[np.bool_]:
    """Whether a source on the picture has a centre, and more than one pixel.

    The bend of the sky at the edge of a shadow fills an aperture, but not the window of a star. On the mean of frames
    a faint star stands out more than the aperture finds on one of them; bright ones may be blends, and stay.
    """
    least = np.where(measured.n_frames > 1, _LEAST_OF_APERTURE_ON_MEAN, _LEAST_OF_APERTURE)
    has_centre = shapes.good | shapes.saturated | (shapes.signal_to_noise > _FAINT_SIGNAL_TO_NOISE)
    has_centre |= shapes.signal_to_noise > least * measured.flux / measured.error
    return has_centre & ~is_one_pixel_wide(shapes, sigma_px)


def _without_twins(order: NDArray[np.intp], positions: FloatArray, radius_px: float) -> NDArray[np.intp]:
    """Drop a source that lies on a brighter one."""
    kept: list[int] = []
    for number in order:
        if not kept or np.hypot(*(positions[kept] - positions[number]).T).min() > _MERGED_FWHM * radius_px:
            kept.append(int(number))
    return np.asarray(kept, dtype=np.intp)


def _inside(xy: FloatArray, shape: tuple[int, int], border_px: float) -> NDArray[np.bool_]:
    limits = np.array([shape[1], shape[0]]) - 1.0 - border_px
    return np.asarray(((xy >= border_px) & (xy <= limits)).all(axis=1))
