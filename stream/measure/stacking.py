"""The stacked picture of a field: frames aligned to the first of them, resampled, their median taken.

Resampling is for finding faint sources and for looking at; nothing is measured on the picture that can be measured on
the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stream.config import Recipe
from stream.measure.alignment import Alignment, AlignmentStars, match_and_refine, refine
from stream.measure.centroids import centre_stars
from stream.measure.detection import DetectedSources, detect_sources, find_hot_pixels, mend_pixels
from stream.measure.exposure import Exposure
from stream.measure.psf import FWHM_PER_SIGMA, SMALLEST_SIGMA_PX, psf_from_stars
from stream.measure.transform import Transform

_PSF_STARS = 30
_PSF_ITERATIONS = 4
_FAR_FEWER = 2


@dataclass(frozen=True, slots=True)
class StackedField:
    """Frames of one key brought together.

    Attributes
    ----------
    frames : tuple of Exposure
        Those that match the reference frame, which is the first.
    alignments : tuple of Alignment
        From the reference frame to each of them.
    hot_pixels : array of bool, shape of the frames
    picture : array, shape of the frames
        Median of the resampled frames less their sky, electrons.
    stars : AlignmentStars
        The stars of the reference frame that the others were aligned on.
    """

    frames: tuple[Exposure, ...]
    alignments: tuple[Alignment, ...]
    hot_pixels: NDArray[np.bool_]
    picture: NDArray[np.float32]
    stars: AlignmentStars

    @property
    def sigma_px(self) -> float:
        """Width of the stars on the reference frame."""
        return self.stars.window_sigma_px


def stack_frames(
    frames: Sequence[Exposure], recipe: Recipe, bad_pixels: NDArray[np.bool_] | None = None
) -> StackedField | None:
    """Align and stack frames of one key and shape; None if none of them shows a star.

    `bad_pixels`, of the shape of the frames, join the hot pixels that the frames show.

    The first frame in time is the reference, unless another one shows more than twice as many sources. Frames that
    do not match the reference are left out.
    """
    ordered = sorted(frames, key=lambda frame: (frame.facts.time_mjd_utc, frame.name))
    hot = find_hot_pixels([_without_sky(frame) for frame in ordered])
    if bad_pixels is not None:
        hot |= bad_pixels
    found = [detect_sources(frame.electrons(), recipe.detection, bad_pixels=hot) for frame in ordered]
    chosen = _choose_reference(found)
    if chosen is None:
        return None
    reference = ordered[chosen]
    stars = _stars_of_reference(reference, found[chosen], hot, recipe.alignment.n_stars)
    if stars is None:
        return None
    kept, alignments = [], []
    for number in [chosen, *(number for number in range(len(ordered)) if number != chosen)]:
        alignment = _align_to(stars, ordered[number], found[number], hot, recipe)
        if alignment is not None:
            kept.append(ordered[number])
            alignments.append(alignment)
    if not kept or kept[0] is not reference:
        return None
    resampled = [resample(frame, item.transform, hot) for frame, item in zip(kept, alignments, strict=True)]
    resampled[0] = np.nan_to_num(resampled[0])  # the reference frame covers every pixel
    picture = np.nanmedian(resampled, axis=0).astype(np.float32)
    return StackedField(tuple(kept), tuple(alignments), hot, picture, stars)


def _choose_reference(found: Sequence[DetectedSources]) -> int | None:
    counts = [len(sources.xy) for sources in found]
    if not any(counts):
        return None
    first = next(number for number, count in enumerate(counts) if count)
    most = max(range(len(counts)), key=lambda number: counts[number])
    return most if counts[most] > _FAR_FEWER * counts[first] else first


def _stars_of_reference(
    reference: Exposure, sources: DetectedSources, hot: NDArray[np.bool_], n_stars: int
) -> AlignmentStars | None:
    """Centre the detected stars; the window is widened or narrowed until it has the width of the stars."""
    bright = slice(0, _PSF_STARS)
    sizes = np.sqrt(sources.semi_major_sigma_px[bright] * sources.semi_minor_sigma_px[bright])
    sigma = max(float(np.median(sizes)), SMALLEST_SIGMA_PX)
    for _ in range(_PSF_ITERATIONS):
        centres = centre_stars(reference, sources.xy[: 2 * n_stars], sigma, hot)
        if not centres.good[bright].any():
            break
        first_stars = centres.good & (np.arange(len(centres.good)) < _PSF_STARS)
        sigma = max(psf_from_stars(centres, first_stars, sigma).fwhm_px / FWHM_PER_SIGMA, SMALLEST_SIGMA_PX)
    centres = centre_stars(reference, sources.xy[: 2 * n_stars], sigma, hot)
    good = np.flatnonzero(centres.good)
    if not len(good):
        return None
    brightest = good[np.argsort(-centres.flux[good], kind="stable")][:n_stars]
    return AlignmentStars(centres.xy[brightest], centres.flux[brightest], sigma, FWHM_PER_SIGMA * sigma)


def _align_to(
    stars: AlignmentStars, frame: Exposure, found: DetectedSources, hot: NDArray[np.bool_], recipe: Recipe
) -> Alignment | None:
    identity = Transform.identity(frame.shape)
    alignment = refine(frame, stars, identity, settings=recipe.alignment, bad_pixels=hot)
    if alignment is not None or not len(found.xy):
        return alignment
    return match_and_refine(frame, (stars,), found.xy, settings=recipe.alignment, bad_pixels=hot)


def _without_sky(frame: Exposure) -> NDArray[np.float32]:
    electrons = frame.electrons()
    finite = np.isfinite(electrons)
    sky = np.median(electrons[finite]) if finite.any() else np.float32(0.0)
    return np.where(finite, electrons - sky, np.float32(0.0))


def resample(frame: Exposure, transform: Transform, hot: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Bring a frame onto the pixels of the reference frame; NaN where it does not reach."""
    image = mend_pixels(_without_sky(frame), hot)
    if transform == Transform.identity(frame.shape):
        return image
    cosine, sine = transform.cosine, transform.sine
    corner = transform.apply(np.zeros((1, 2)))[0]
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray(
        ndimage.affine_transform(image, matrix, offset=corner[::-1], order=1, mode="constant", cval=np.nan)
    )
