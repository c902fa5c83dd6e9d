"""Alignment: the similarity that carries the catalog onto a frame.

The ladder: the last transform of the key predicts where the brightest catalog stars are; windowed centroids and a
robust least-squares fit do the rest. Where too few stars agree, the peaks around the predictions vote for a common
shift (a jump of the telescope by some tens of pixels). Where that fails too, all sources of the frame are found and
astroalign (Beroiz, Cabral & Sanchez 2020, A&C 32, 100384) matches them to the catalog; then the same centroids and the
same fit follow. Whichever rung was taken, the transform comes from the same fit to the same centroids. A frame that no
rung can align has no transform: never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stream.config import AlignmentSettings, DetectionSettings
from stream.errors import FrameRejectedError, Reason
from stream.measure.centroids import StarCentres, centre_stars, sky_subtracted_stamps
from stream.measure.detection import detect_sources
from stream.measure.frames import Frame
from stream.measure.psf import Psf, psf_from_stars
from stream.messages import FloatArray

_CENTROID_FLOOR_PX = 0.02
_MAX_FITS = 12
_MAX_PREDICTIONS = 3
_SETTLED_PX = 0.5
_FEWEST_STARS = 3
_FEWEST_SHARE = 0.5
_LARGEST_FLUX_FACTOR = 2.5
_FEWEST_ALIKE = 0.6
_MATCH_RADIUS_FWHM = 2.0
_WIDE_WINDOW = 3.0  # for trailed and badly defocused frames
_VOTERS = 12
_VOTE_HALF_SIDE_PX = 24


@dataclass(frozen=True, slots=True)
class Transform:
    """A similarity from catalog to frame, about the centre of the reference frame.

    ``frame = centre + shift + scale R(rotation) (catalog - centre)``, pixels, 0-based.
    """

    cosine: float
    """scale times cos(rotation)"""
    sine: float
    """scale times sin(rotation)"""
    shift_x_px: float
    shift_y_px: float
    centre_x: float
    centre_y: float

    @classmethod
    def identity(cls, shape: tuple[int, int]) -> Transform:
        """No shift, no rotation, for frames of this shape."""
        return cls(1.0, 0.0, 0.0, 0.0, 0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1))

    @property
    def rotation_deg(self) -> float:
        """Rotation from +x towards +y, -180 to 180."""
        return math.degrees(math.atan2(self.sine, self.cosine))

    @property
    def scale(self) -> float:
        """Pixels of the frame per pixel of the reference frame."""
        return math.hypot(self.cosine, self.sine)

    def apply(self, xy: FloatArray) -> FloatArray:
        """Carry catalog positions, shape (n, 2), onto the frame."""
        dx, dy = xy[:, 0] - self.centre_x, xy[:, 1] - self.centre_y
        x = self.centre_x + self.shift_x_px + self.cosine * dx - self.sine * dy
        y = self.centre_y + self.shift_y_px + self.sine * dx + self.cosine * dy
        return np.column_stack([x, y])

    def undo(self, xy: FloatArray) -> FloatArray:
        """Carry frame positions, shape (n, 2), back onto the catalog."""
        u = xy[:, 0] - self.centre_x - self.shift_x_px
        v = xy[:, 1] - self.centre_y - self.shift_y_px
        square = self.cosine**2 + self.sine**2
        x = self.centre_x + (self.cosine * u + self.sine * v) / square
        y = self.centre_y + (self.cosine * v - self.sine * u) / square
        return np.column_stack([x, y])


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

    `used` marks, among the alignment stars, those that the fit kept; `window_sigma_px` is the width of the window
    that they were centred with.
    """

    transform: Transform
    centres: StarCentres
    used: NDArray[np.bool_]
    rms_px: float
    window_sigma_px: float

    def psf(self) -> Psf:
        """Point-spread function of the frame, from the stars that the transform rests on."""
        return psf_from_stars(self.centres, self.used, self.window_sigma_px)


def align(
    frame: Frame,
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
    electrons = frame.electrons()
    found = detect_sources(electrons, detection, star_sigma_px=stars.window_sigma_px, bad_pixels=bad_pixels)
    if not len(found.xy):
        if not np.isfinite(electrons).any():
            raise FrameRejectedError(Reason.NON_FINITE, f"{frame.name} has no pixel that is a finite number")
        raise FrameRejectedError(Reason.NO_STARS, f"{frame.name} shows no star above {detection.threshold_sigma} sigma")
    return match_and_refine(frame, (stars, wide), found.xy, settings=settings, bad_pixels=bad_pixels)


def match_and_refine(
    frame: Frame,
    windows: Sequence[AlignmentStars],
    found_xy: FloatArray,
    *,
    settings: AlignmentSettings,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> Alignment | None:
    """Match the sources found on a frame to the stars, and refine; None if nothing that matches can be trusted."""
    for transform in match_patterns(windows[0], found_xy, frame.shape, settings.n_control_points):
        for window in windows:
            alignment = refine(frame, window, transform, settings=settings, bad_pixels=bad_pixels)
            if alignment is not None:
                return alignment
    return None


def refine(
    frame: Frame,
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
        alignment = _refine_once(frame, stars, predicted, settings=settings, bad_pixels=bad_pixels)
    return alignment


def _refine_once(
    frame: Frame,
    stars: AlignmentStars,
    predicted: Transform,
    *,
    settings: AlignmentSettings,
    bad_pixels: NDArray[np.bool_] | None,
) -> Alignment | None:
    guesses = predicted.apply(stars.xy)
    centres = centre_stars(frame, guesses, stars.window_sigma_px, bad_pixels)
    good = centres.good & _one_star_each(centres, stars)
    if not good.any():
        return None
    scatter = stars.window_sigma_px * math.sqrt(2.0) / np.maximum(centres.signal_to_noise, 1.0)
    weights = 1.0 / (scatter**2 + _CENTROID_FLOOR_PX**2)
    fit = _fit_robustly(stars.xy, centres.xy, weights, good, predicted, settings.clip_px)
    if fit is None:
        return None
    transform, used = fit
    on_frame = _well_inside(transform.apply(stars.xy), frame.shape, 3.0 * stars.window_sigma_px)
    if not _can_be_trusted(stars, centres, used, on_frame):
        return None
    residuals = np.hypot(*(centres.xy[used] - transform.apply(stars.xy[used])).T)
    return Alignment(transform, centres, used, float(np.sqrt(np.mean(residuals**2))), stars.window_sigma_px)


def vote_for_shift(
    frame: Frame, stars: AlignmentStars, predicted: Transform, bad_pixels: NDArray[np.bool_] | None = None
) -> Transform | None:
    """Shift `predicted` by what most of the brightest stars agree on; None if they do not agree.

    The highest peak of the smoothed surroundings of each star is taken for the star.
    """
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


def fit_similarity(catalog_xy: FloatArray, frame_xy: FloatArray, weights: FloatArray, like: Transform) -> Transform:
    """Weighted least squares of the four parameters of a similarity about the centre of `like`.

    One star gives a shift alone; the rotation and scale are then those of the identity or of a half turn,
    whichever is nearer to `like`.
    """
    total = weights.sum()
    x, y = catalog_xy[:, 0] - like.centre_x, catalog_xy[:, 1] - like.centre_y
    u, v = frame_xy[:, 0] - like.centre_x, frame_xy[:, 1] - like.centre_y
    mean_x, mean_y = (weights @ x) / total, (weights @ y) / total
    mean_u, mean_v = (weights @ u) / total, (weights @ v) / total
    if len(catalog_xy) == 1:
        cosine, sine = (1.0 if like.cosine >= 0.0 else -1.0), 0.0
    else:
        dx, dy, du, dv = x - mean_x, y - mean_y, u - mean_u, v - mean_v
        spread = max(float(weights @ (dx**2 + dy**2)), 1e-12)
        cosine = float(weights @ (dx * du + dy * dv)) / spread
        sine = float(weights @ (dx * dv - dy * du)) / spread
    shift_x = mean_u - (cosine * mean_x - sine * mean_y)
    shift_y = mean_v - (sine * mean_x + cosine * mean_y)
    return Transform(cosine, sine, float(shift_x), float(shift_y), like.centre_x, like.centre_y)


def match_patterns(
    stars: AlignmentStars, found_xy: FloatArray, shape: tuple[int, int], n_control_points: int
) -> list[Transform]:
    """Transforms that may carry the catalog onto the sources found on a frame, likeliest first.

    astroalign draws at random; each of its answers is refitted to all sources that it brings together, so that
    equal frames end with equal transforms.
    """
    import astroalign

    identity = Transform.identity(shape)
    candidates: list[Transform] = []
    for n_points in dict.fromkeys((min(n_control_points, 10), n_control_points, 25)):
        catalog_xy, frame_xy = stars.xy[:n_points], found_xy[:n_points]
        if min(len(catalog_xy), len(frame_xy)) < _FEWEST_STARS:
            candidates += _pairings_of_few(stars.xy, found_xy, identity)
            break
        try:
            match, _ = astroalign.find_transform(catalog_xy, frame_xy, max_control_points=n_points)
        except (astroalign.MaxIterError, ValueError, TypeError):
            continue
        scale, angle = float(match.scale), float(match.rotation)
        centre = np.array([[identity.centre_x, identity.centre_y]])
        shift = match(centre)[0] - centre[0]
        rough = Transform(
            cosine=scale * math.cos(angle),
            sine=scale * math.sin(angle),
            shift_x_px=float(shift[0]),
            shift_y_px=float(shift[1]),
            centre_x=identity.centre_x,
            centre_y=identity.centre_y,
        )
        refitted = _refit_on_neighbours(stars.xy, found_xy, rough, _MATCH_RADIUS_FWHM * stars.fwhm_px)
        candidates.append(refitted)
    return candidates


def _pairings_of_few(catalog_xy: FloatArray, found_xy: FloatArray, identity: Transform) -> list[Transform]:
    """With one or two stars there is no pattern: the brightest sources of both are put onto each other."""
    candidates = []
    if min(len(catalog_xy), len(found_xy)) >= 2:
        for order in ([0, 1], [1, 0]):
            pair = fit_similarity(catalog_xy[:2], found_xy[order], np.ones(2), identity)
            if abs(pair.scale - 1.0) < 0.02:
                candidates.append(pair)
    if len(catalog_xy) == 1:
        candidates.append(fit_similarity(catalog_xy[:1], found_xy[:1], np.ones(1), identity))
    return candidates


def _refit_on_neighbours(catalog_xy: FloatArray, found_xy: FloatArray, rough: Transform, radius_px: float) -> Transform:
    transform = rough
    for _ in range(5):
        distances = np.hypot(*(transform.apply(catalog_xy)[:, None, :] - found_xy[None, :, :]).transpose(2, 0, 1))
        nearest, owner = distances.argmin(axis=1), distances.argmin(axis=0)
        numbers = np.arange(len(catalog_xy))
        mutual = (owner[nearest] == numbers) & (distances[numbers, nearest] < radius_px)
        if mutual.sum() < 2:
            return rough
        refitted = fit_similarity(catalog_xy[mutual], found_xy[nearest[mutual]], np.ones(mutual.sum()), transform)
        if refitted == transform:
            break
        transform = refitted
    return transform


def _fit_robustly(
    catalog_xy: FloatArray,
    frame_xy: FloatArray,
    weights: FloatArray,
    good: NDArray[np.bool_],
    predicted: Transform,
    clip_px: float,
) -> tuple[Transform, NDArray[np.bool_]] | None:
    """Fit, leave out what lies off, fit again, until the same stars stay."""
    offsets = frame_xy - predicted.apply(catalog_xy)
    common = np.median(offsets[good], axis=0)
    used = good & (np.hypot(*(offsets - common).T) < 3.0 * clip_px)
    transform = predicted
    for _ in range(_MAX_FITS):
        if not used.any():
            return None
        transform = fit_similarity(catalog_xy[used], frame_xy[used], weights[used], predicted)
        residuals = np.hypot(*(frame_xy - transform.apply(catalog_xy)).T)
        expected = 5.0 / np.sqrt(weights)
        typical = 1.4826 * float(np.median(residuals[used]))
        kept = good & (residuals < np.minimum(clip_px, np.maximum(expected, 4.0 * typical)))
        if np.array_equal(kept, used):
            break
        used = kept
    return transform, used


def _one_star_each(centres: StarCentres, stars: AlignmentStars) -> NDArray[np.bool_]:
    """False for centroids that fell onto the same star: the fainter catalog star of such a pair is left out."""
    distances = np.hypot(*(centres.xy[:, None, :] - centres.xy[None, :, :]).transpose(2, 0, 1))
    brighter = np.tri(len(distances), k=-1, dtype=bool)
    return ~((distances < 0.5 * stars.fwhm_px) & brighter & centres.good[None, :]).any(axis=1)


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
    factor = ratios / np.median(ratios)
    agree = (factor < _LARGEST_FLUX_FACTOR) & (factor > 1.0 / _LARGEST_FLUX_FACTOR)
    return bool(agree.mean() > _FEWEST_ALIKE)


def _well_inside(xy: FloatArray, shape: tuple[int, int], margin_px: float) -> NDArray[np.bool_]:
    limits = np.array([shape[1], shape[0]]) - 1.0 - margin_px
    return np.asarray(((xy >= margin_px) & (xy <= limits)).all(axis=1))
