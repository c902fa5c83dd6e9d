"""The stacked picture of a field: frames aligned to the first of them, resampled, their median taken.

Resampling is for finding faint sources and for looking at; nothing is measured on the picture that can be measured on
the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stream.config import Recipe
from stream.errors import FrameRejectedError, Reason
from stream.measure.alignment import Alignment, AlignmentStars, align
from stream.measure.centroids import StarCentres, centre_stars
from stream.measure.detection import (
    UNKNOWN_SIGMA_PX,
    DetectedSources,
    detect_sources,
    find_hot_pixels,
    mend_pixels,
)
from stream.measure.exposure import Exposure
from stream.measure.psf import FWHM_PER_SIGMA, SMALLEST_SIGMA_PX, psf_from_stars
from stream.measure.transform import Transform
from stream.messages import FloatArray

_PSF_STARS = 30
_PSF_ITERATIONS = 4
_FAR_FEWER = 2
_COMPARABLE_WIDTH = 1.8
_MOST_CANDIDATES = 5
_CONVINCING_SHARE = 0.5
_FEWEST_VOTING = 3
_WIDE_SIGMA = 2.5


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

    The reference is the first frame in time whose stars are about as many and as sharp as those of the best one, and
    are seen on the other frames too. Frames that do not match the reference are left out.
    """
    ordered = sorted(frames, key=lambda frame: (frame.facts.time_mjd_utc, frame.name))
    hot = _bad_pixels_of(ordered, bad_pixels)
    found = [detect_sources(frame.electrons(), recipe.detection, bad_pixels=hot) for frame in ordered]
    group = _best_group(ordered, found, hot, recipe)
    if group is None:
        return None
    kept = [ordered[number] for number in group.numbers]
    resampled = [resample(frame, item.transform, hot) for frame, item in zip(kept, group.alignments, strict=True)]
    resampled[0] = np.nan_to_num(resampled[0])  # the reference frame covers every pixel
    picture = np.nanmedian(resampled, axis=0).astype(np.float32)
    return StackedField(tuple(kept), tuple(group.alignments), hot, picture, _seen_by_most(group))


def show_sources(frames: Sequence[Exposure], recipe: Recipe, bad_pixels: NDArray[np.bool_] | None = None) -> list[bool]:
    """Whether each of some frames of one key and shape shows any source that is no bad and no hot pixel."""
    hot = _bad_pixels_of(frames, bad_pixels)
    return [len(detect_sources(frame.electrons(), recipe.detection, bad_pixels=hot).xy) > 0 for frame in frames]


def _bad_pixels_of(frames: Sequence[Exposure], known: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    hot = find_hot_pixels([_without_sky(frame) for frame in frames])
    return hot if known is None else hot | known


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A frame that may become the reference; `width_px` is the semi-major sigma of its stars."""

    number: int
    stars: AlignmentStars
    width_px: float


@dataclass(frozen=True, slots=True)
class _Group:
    """Frames that match a reference frame, which is the first of `numbers`."""

    stars: AlignmentStars
    numbers: list[int]
    alignments: list[Alignment]

    @property
    def n_agreeing(self) -> int:
        """Stars of the reference that were found again, summed over the frames."""
        return sum(int(alignment.used.sum()) for alignment in self.alignments)

    def is_convincing(self, n_frames: int) -> bool:
        """Whether most stars of the reference are found again on the others."""
        again = sum(float(alignment.used.mean()) for alignment in self.alignments[1:])
        return again >= _CONVINCING_SHARE * (n_frames - 1)


def _best_group(
    frames: Sequence[Exposure], found: Sequence[DetectedSources], hot: NDArray[np.bool_], recipe: Recipe
) -> _Group | None:
    """The first reference that convinces, else the one that most stars on most frames agree with.

    On a trailed frame cosmic rays may be all that looks like a star: no other frame agrees with them.
    """
    n_frames = sum(len(sources.xy) > 0 for sources in found)
    groups: list[_Group] = []
    for candidate in _candidates(frames, found, hot, recipe):
        group = _group_of(candidate, frames, hot, recipe)
        if group is not None:
            groups.append(group)
            if group.is_convincing(n_frames):
                return group
    return max(groups, key=lambda group: group.n_agreeing, default=None)


def _candidates(
    frames: Sequence[Exposure], found: Sequence[DetectedSources], hot: NDArray[np.bool_], recipe: Recipe
) -> list[_Candidate]:
    """Frames with enough and sharp stars in order of time, then the others by the width of their stars."""
    candidates = []
    for number, (frame, sources) in enumerate(zip(frames, found, strict=True)):
        described = _stars_of_frame(frame, sources, hot, recipe.alignment.n_stars) if len(sources.xy) else None
        if described is not None:
            candidates.append(_Candidate(number, *described))
    most = max((len(candidate.stars.xy) for candidate in candidates), default=0)
    many = [candidate for candidate in candidates if _FAR_FEWER * len(candidate.stars.xy) >= most]
    narrowest = min((candidate.width_px for candidate in many), default=0.0)
    return sorted(
        candidates,
        key=lambda item: (
            item not in many,
            item.width_px if item.width_px > _COMPARABLE_WIDTH * narrowest else 0.0,
            item.number,
        ),
    )[:_MOST_CANDIDATES]


def _group_of(
    candidate: _Candidate, frames: Sequence[Exposure], hot: NDArray[np.bool_], recipe: Recipe
) -> _Group | None:
    """All frames that match a candidate; None if not even it matches itself."""
    numbers: list[int] = []
    alignments: list[Alignment] = []
    for number in [candidate.number, *(number for number in range(len(frames)) if number != candidate.number)]:
        alignment = _align_to(candidate.stars, frames[number], hot, recipe)
        if alignment is not None:
            numbers.append(number)
            alignments.append(alignment)
    return _Group(candidate.stars, numbers, alignments) if numbers and numbers[0] == candidate.number else None


def _seen_by_most(group: _Group) -> AlignmentStars:
    """The stars without what most of the frames do not show: cosmic rays of the reference frame."""
    seen = np.mean([alignment.used for alignment in group.alignments], axis=0) > 0.5
    if len(group.alignments) < _FEWEST_VOTING or not seen.any():
        return group.stars
    return replace(group.stars, xy=group.stars.xy[seen], flux=group.stars.flux[seen])


def _stars_of_frame(
    frame: Exposure, sources: DetectedSources, hot: NDArray[np.bool_], n_stars: int
) -> tuple[AlignmentStars, float] | None:
    """Centre the detected stars, and tell how wide they are along their major axis.

    The window is widened or narrowed until it has the width of the stars, from several beginnings: what is brightest
    may be wider than stars (a shadow) or narrower (cosmic rays). The one that most stars agree with is taken.
    """
    sizes = np.sqrt(sources.semi_major_sigma_px[:_PSF_STARS] * sources.semi_minor_sigma_px[:_PSF_STARS])
    best: tuple[StarCentres, float] | None = None
    for sigma in dict.fromkeys((float(np.median(sizes)), UNKNOWN_SIGMA_PX, _WIDE_SIGMA * UNKNOWN_SIGMA_PX)):
        described = _settle_window(frame, sources.xy[: 2 * n_stars], max(sigma, SMALLEST_SIGMA_PX), hot)
        if best is None or described[0].good.sum() > best[0].good.sum():
            best = described
    if best is None or not best[0].good.any():
        return None
    centres, sigma = best
    good = np.flatnonzero(centres.good)
    brightest = good[np.argsort(-centres.flux[good], kind="stable")][:n_stars]
    width = psf_from_stars(centres, _is_among_first(centres), sigma).semi_major_sigma_px
    return AlignmentStars(centres.xy[brightest], centres.flux[brightest], sigma, FWHM_PER_SIGMA * sigma), width


def _settle_window(
    frame: Exposure, xy: FloatArray, sigma_px: float, hot: NDArray[np.bool_]
) -> tuple[StarCentres, float]:
    """Centre with a window that comes to have the width of the stars; return that width too."""
    for _ in range(_PSF_ITERATIONS):
        centres = centre_stars(frame, xy, sigma_px, hot)
        if not centres.good[:_PSF_STARS].any():
            break
        sigma_px = psf_from_stars(centres, _is_among_first(centres), sigma_px).fwhm_px / FWHM_PER_SIGMA
        sigma_px = max(sigma_px, SMALLEST_SIGMA_PX)
    return centre_stars(frame, xy, sigma_px, hot), sigma_px


def _is_among_first(centres: StarCentres) -> NDArray[np.bool_]:
    """Good ones of the brightest sources, or, where those are bad, of all."""
    first = centres.good & (np.arange(len(centres.good)) < _PSF_STARS)
    return first if first.any() else centres.good


def _align_to(stars: AlignmentStars, frame: Exposure, hot: NDArray[np.bool_], recipe: Recipe) -> Alignment | None:
    try:
        return align(frame, stars, hint=None, settings=recipe.alignment, detection=recipe.detection, bad_pixels=hot)
    except FrameRejectedError as error:
        if error.reason not in (Reason.NO_STARS, Reason.NON_FINITE):
            raise
        return None


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
