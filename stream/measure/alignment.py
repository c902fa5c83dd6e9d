"""Alignment: the similarity that carries the catalog onto a frame.

The ladder: the last transform of the key predicts where the brightest catalog stars are; windowed centroids and a
robust least-squares fit do the rest. Where too few stars agree, the peaks around the predictions vote for a common
shift (a jump of the telescope by some tens of pixels). Where that fails too, all sources of the frame are found and
matched to the catalog by their pattern; then the same centroids and the same fit follow. Whichever rung was taken,
the transform comes from the same fit to the same centroids. A frame that no rung can align has no transform: never a
guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from stream.config import AlignmentSettings, DetectionSettings
from stream.errors import FrameRejectedError, Reason
from stream.measure.centroids import StarCentres, centre_stars, sky_subtracted_stamps
from stream.measure.exposure import Exposure
from stream.measure.fit_kernels import SIGMA_OFF, fit_and_clip
from stream.measure.medians import row_medians
from stream.measure.patterns import match_patterns
from stream.measure.psf import Psf, psf_from_stars
from stream.measure.transform import Transform
from stream.messages import FloatArray

_CENTROID_FLOOR_PX = 0.02
_MOVED_SIGNAL_TO_NOISE = 10.0  # fainter stars have centroids that say little of their place
_MAX_PREDICTIONS = 3
_SETTLED_PX = 0.5
_FEWEST_STARS = 3
_FEWEST_MATCHED = 4  # without a prediction: among so many pairs, three stars meet three sources by chance
_FEWEST_SHARE = 0.5
_LARGEST_FLUX_FACTOR = 2.5
_FEWEST_ALIKE = 0.6
_MATCH_RADIUS_FWHM = 2.0
_WIDE_WINDOW = 3.0  # for trailed and badly defocused frames
_VOTERS = 12
_VOTE_HALF_SIDE_PX = 24


@dataclass(frozen=True, slots=True)
class AlignmentStars:
    """The catalog stars that frames are aligned on.

    Attributes
    ----------
    xy : array, shape (n_stars, 2)
        Positions in the catalog, by decreasing flux.
    flux : array, shape (n_stars,)
        Electrons per exposure of the catalog.
    """

    xy: FloatArray
    flux: FloatArray
    window_sigma_px: float
    fwhm_px: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """The transform of one frame and what it rests on.

    `used` marks, among the alignment stars, those that the fit kept; `moved` those that are seen well but lie off
    their place by more than the fit lets a star do; `window_sigma_px` is the width of the window that they were
    centred with.
    """

    transform: Transform
    centres: StarCentres
    used: NDArray[np.bool_]
    moved: NDArray[np.bool_]
    rms_px: float
    window_sigma_px: float

    def psf(self) -> Psf:
        """Point-spread function of the frame, from the stars that the transform rests on."""
        return psf_from_stars(self.centres, self.used, self.window_sigma_px)


def align(
    frame: Exposure,
    stars: AlignmentStars,
    *,
    hint: Transform | None,
    settings: AlignmentSettings,
    detection: DetectionSettings,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> Alignment | None:
    """Find the transform of a frame; None if it cannot be aligned.

    Raises
    ------
    FrameRejectedError
        With `Reason.NO_STARS` if the frame shows no star at all, `Reason.NON_FINITE` if it shows no number at all.
    """
    predicted = hint if hint is not None else Transform.identity(frame.shape)
    wide = replace(stars, window_sigma_px=_WIDE_WINDOW * stars.window_sigma_px)
    for window in (stars, wide):
        alignment = refine(frame, window, predicted, settings=settings, bad_pixels=bad_pixels)
        if alignment is None:
            shifted = vote_for_shift(frame, window, predicted, bad_pixels)
            if shifted is not None:
                alignment = refine(frame, window, shifted, settings=settings, bad_pixels=bad_pixels)
        if alignment is not None:
            return alignment
    from stream.measure.detection import detect_sources  # with scipy.ndimage, which few frames need

    electrons = frame.electrons()
    found = detect_sources(electrons, detection, star_sigma_px=stars.window_sigma_px, bad_pixels=bad_pixels)
    if not len(found.xy):
        if not np.isfinite(electrons).any():
            raise FrameRejectedError(Reason.NON_FINITE, f"{frame.name} has no pixel that is a finite number")
        raise FrameRejectedError(Reason.NO_STARS, f"{frame.name} shows no star above {detection.threshold_sigma} sigma")
    return match_and_refine(frame, (stars, wide), found.xy, settings=settings, bad_pixels=bad_pixels)


def match_and_refine(
    frame: Exposure,
    windows: Sequence[AlignmentStars],
    found_xy: FloatArray,
    *,
    settings: AlignmentSettings,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> Alignment | None:
    """Match the sources found on a frame to the stars, and refine; None if nothing that matches can be trusted."""
    stars = windows[0]
    candidates = match_patterns(
        stars.xy,
        found_xy,
        frame.shape,
        n_control_points=settings.n_control_points,
        radius_px=_MATCH_RADIUS_FWHM * stars.fwhm_px,
    )
    for transform in candidates:
        for window in windows:
            alignment = refine(frame, window, transform, settings=settings, bad_pixels=bad_pixels)
            if alignment is not None and alignment.used.sum() >= min(_FEWEST_MATCHED, len(stars.xy)):
                return alignment
    return None


def refine(
    frame: Exposure,
    stars: AlignmentStars,
    predicted: Transform,
    *,
    settings: AlignmentSettings,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> Alignment | None:
    """Centre the stars where `predicted` puts them and fit the transform to them; None if they do not agree.

    Repeated from the fitted transform while that moves the stars, so that the stars which take part do not depend
    on the prediction.
    """
    alignment = _refine_once(frame, stars, predicted, settings=settings, bad_pixels=bad_pixels)
    for _ in range(_MAX_PREDICTIONS):
        if alignment is None:
            return None
        moved = np.abs(alignment.transform.apply(stars.xy) - predicted.apply(stars.xy)).max()
        if moved < _SETTLED_PX:
            break
        predicted = alignment.transform
        alignment = _refine_once(
            frame, stars, predicted, settings=settings, bad_pixels=bad_pixels, known=alignment.centres
        )
    return alignment


def _refine_once(
    frame: Exposure,
    stars: AlignmentStars,
    predicted: Transform,
    *,
    settings: AlignmentSettings,
    bad_pixels: NDArray[np.bool_] | None,
    known: StarCentres | None = None,
) -> Alignment | None:
    centres = _centres(frame, stars, predicted.apply(stars.xy), bad_pixels=bad_pixels, known=known)
    good = centres.good & _one_star_each(centres, stars)
    if not good.any():
        return None
    scatter = stars.window_sigma_px * math.sqrt(2.0) / np.maximum(centres.signal_to_noise, 1.0)
    weights = 1.0 / (scatter**2 + _CENTROID_FLOOR_PX**2)
    fit = _fit_robustly(_Places(stars.xy, centres.xy, weights, predicted, settings.clip_px), good)
    if fit is None:
        return None
    transform, used = fit.transform, fit.used
    on_frame = _well_inside(transform.apply(stars.xy), frame.shape, 3.0 * stars.window_sigma_px)
    if not _can_be_trusted(stars, centres, used, on_frame):
        return None
    # A cosmic ray may leave a star without the shape of one: whatever is seen well is asked for its place.
    seen = on_frame & ~centres.saturated & (centres.signal_to_noise >= _MOVED_SIGNAL_TO_NOISE)
    moved = seen & ~used & (fit.residuals_px > fit.limits_px)
    rms_px = float(np.sqrt(np.mean(fit.residuals_px[used] ** 2)))
    return Alignment(transform, centres, used, moved, rms_px, stars.window_sigma_px)


def _centres(
    frame: Exposure,
    stars: AlignmentStars,
    guesses: FloatArray,
    *,
    bad_pixels: NDArray[np.bool_] | None,
    known: StarCentres | None,
) -> StarCentres:
    """Centre the stars; those that are `known` near their guesses stay, because a centroid does not depend on them."""
    if known is None:
        return centre_stars(frame, guesses, stars.window_sigma_px, bad_pixels)
    near = known.good & (np.abs(known.xy - guesses).max(axis=1) < stars.window_sigma_px)
    if near.all():
        return known
    others = centre_stars(frame, guesses[~near], stars.window_sigma_px, bad_pixels)
    return known.replaced(~near, others)


def vote_for_shift(
    frame: Exposure, stars: AlignmentStars, predicted: Transform, bad_pixels: NDArray[np.bool_] | None = None
) -> Transform | None:
    """Shift `predicted` by what most of the brightest stars agree on; None if they do not agree.

    The highest peak of the smoothed surroundings of each star is taken for the star.
    """
    from scipy import ndimage

    predictions = predicted.apply(stars.xy)
    guesses = predictions[_well_inside(predictions, frame.shape, 0.0)][:_VOTERS]
    if not len(guesses):
        return None
    middles = np.rint(guesses).astype(np.intp)
    half = max(_VOTE_HALF_SIDE_PX, round(6 * stars.window_sigma_px))
    stamps = sky_subtracted_stamps(frame, middles, half, bad_pixels).electrons
    smooth = ndimage.gaussian_filter1d(
        ndimage.gaussian_filter1d(stamps, stars.window_sigma_px, 1), stars.window_sigma_px, 2
    )
    peaks = smooth.reshape(len(stamps), -1).argmax(axis=1)
    rows, columns = np.divmod(peaks, 2 * half + 1)
    shifts = np.column_stack([columns, rows]) - half + middles - guesses
    agree = np.hypot(*(shifts[:, None, :] - shifts[None, :, :]).transpose(2, 0, 1)) < max(2.0, stars.window_sigma_px)
    votes = agree.sum(axis=1)
    winner = int(votes.argmax())
    if votes[winner] < min(_FEWEST_STARS, len(shifts)):
        return None
    shift = shifts[agree[winner]].mean(axis=0)
    return replace(
        predicted, shift_x_px=predicted.shift_x_px + float(shift[0]), shift_y_px=predicted.shift_y_px + float(shift[1])
    )


@dataclass(frozen=True, slots=True)
class _Places:
    """Where stars stand in the catalog and on the frame; `limit_px` is the farthest that any may lie off."""

    catalog_xy: FloatArray
    frame_xy: FloatArray
    weights: FloatArray
    predicted: Transform
    limit_px: float


@dataclass(frozen=True, slots=True)
class _Fit:
    """A transform, the stars that it rests on, and for all stars how far off they lie and may lie, pixels."""

    transform: Transform
    used: NDArray[np.bool_]
    residuals_px: FloatArray
    limits_px: FloatArray


def _fit_robustly(places: _Places, good: NDArray[np.bool_]) -> _Fit | None:
    """Fit, leave out what lies off, fit again, until the same stars stay.

    One bright star carries most of the weight. Where it lies off (a cosmic ray), it draws the transform and hides: the
    star that disagrees most is therefore asked against a fit to the others alone.
    """
    fit = _fit_and_clip(places, good)
    while fit is not None:
        disagreement = np.where(fit.used, np.sqrt(places.weights) * fit.residuals_px, 0.0)
        worst = int(disagreement.argmax())
        if disagreement[worst] < SIGMA_OFF or fit.used.sum() <= _FEWEST_STARS:
            return fit
        good = good & (np.arange(len(good)) != worst)
        without = _fit_and_clip(places, good)
        if without is None or without.used.sum() < fit.used.sum() - 1:
            return fit
        if without.residuals_px[worst] < without.limits_px[worst]:
            return fit
        fit = without
    return None


def _fit_and_clip(places: _Places, good: NDArray[np.bool_]) -> _Fit | None:
    like = places.predicted
    found, used, residuals, limits = fit_and_clip(
        places.catalog_xy, places.frame_xy, places.weights, good, like.parameters(), places.limit_px
    )
    if not len(found):
        return None
    cosine, sine, shift_x, shift_y = found.tolist()
    return _Fit(Transform(cosine, sine, shift_x, shift_y, like.centre_x, like.centre_y), used, residuals, limits)


def _one_star_each(centres: StarCentres, stars: AlignmentStars) -> NDArray[np.bool_]:
    """False for centroids that fell onto the same star: the fainter catalog star of such a pair is left out."""
    x, y = centres.xy.T
    apart2 = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    close = (apart2 < (0.5 * stars.fwhm_px) ** 2) & centres.good
    return np.asarray(~(close & _pairs(len(x))).any(axis=1))


@cache
def _pairs(n: int) -> NDArray[np.bool_]:
    """Marks each pair of `n` once, in the row of the later one."""
    return np.tri(n, k=-1, dtype=bool)


def _can_be_trusted(
    stars: AlignmentStars, centres: StarCentres, used: NDArray[np.bool_], on_frame: NDArray[np.bool_]
) -> bool:
    """Whether enough stars agree in place and in brightness: a chance pattern agrees in neither.

    Where a faint star is seen, most of the brighter ones must be seen too.
    """
    n_used = int(used.sum())
    if n_used < min(_FEWEST_STARS, len(stars.xy)):
        return False
    expected = on_frame & ~centres.saturated & (stars.flux >= stars.flux[used].min())
    if (used & expected).sum() < _FEWEST_SHARE * expected.sum():
        return False
    ratios = centres.flux[used] / stars.flux[used]
    factor = ratios / row_medians(ratios)
    agree = (factor < _LARGEST_FLUX_FACTOR) & (factor > 1.0 / _LARGEST_FLUX_FACTOR)
    return bool(agree.mean() > _FEWEST_ALIKE)


def _well_inside(xy: FloatArray, shape: tuple[int, int], margin_px: float) -> NDArray[np.bool_]:
    limits = np.array([shape[1], shape[0]]) - 1.0 - margin_px
    return np.asarray(((xy >= margin_px) & (xy <= limits)).all(axis=1))
