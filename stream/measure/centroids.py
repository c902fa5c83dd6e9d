"""Windowed centroids and shapes of stars on stamps, for all stars at once.

The centroid is the fixed point of a Gaussian-weighted mean (Bertin & Arnouts 1996; SExtractor's XWIN_IMAGE), iterated
on a stamp that is centred on the star itself, until it no longer moves. It therefore depends on the pixels alone, not
on where the search began. Second moments in the same window give the shape of the point-spread function.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.measure.exposure import Exposure
from stream.measure.medians import row_medians
from stream.messages import FloatArray

_Value = TypeVar("_Value", bound=np.generic)

_WINDOW_HALF_SIGMA = 4.0
_SEARCH_SIGMA = 3.5
_MAX_STEPS = 15
_MAX_RECENTRINGS = 4
_CONVERGED_PX = 1e-6
_RECENTRE_PX = 1.5
_SMALLEST_RESPONSE = 0.1
_MIN_SIGNAL_TO_NOISE = 5.0
_SHAPE_SIGNAL_TO_NOISE = 10.0
_MIN_SHARPNESS, _MAX_SHARPNESS = 0.16, 0.98
_LONGEST_TRAIL = 4.0
_FIRST_FACTORS, _SECOND_FACTORS = np.array([0, 0, 1]), np.array([0, 1, 1])  # xx, xy and yy of (x, y)
_ORDER_OF_SUMS = np.array([0, 1, 3, 2, 4, 6])  # of a table of powers of y by powers of x


@dataclass(frozen=True, slots=True)
class StarCentres:
    """Centroids of stars; arrays of shape (n_stars,) unless said otherwise.

    Attributes
    ----------
    xy : array, shape (n_stars, 2)
        Pixels, 0-based.
    flux : array
        Flux within the window, electrons: proportional to the star's flux at constant seeing.
    signal_to_noise : array
        Of that flux.
    moments : array, shape (n_stars, 3)
        xx, xy and yy within the window, pixels squared.
    saturated : array of bool
        The highest pixel near the centre is at the saturation level: neither place nor shape can be trusted.
    good : array of bool
        False for what is saturated, too faint, did not converge, left the search radius, or is too sharp (a hot
        pixel, a cosmic ray) or too wide to be a star.
    """

    xy: FloatArray
    flux: FloatArray
    signal_to_noise: FloatArray
    moments: FloatArray
    saturated: NDArray[np.bool_]
    good: NDArray[np.bool_]

    def replaced(self, which: NDArray[np.bool_], by: StarCentres) -> StarCentres:
        """The same with other centres of the stars marked in `which`."""
        return StarCentres(
            _with_rows(self.xy, which, by.xy),
            _with_rows(self.flux, which, by.flux),
            _with_rows(self.signal_to_noise, which, by.signal_to_noise),
            _with_rows(self.moments, which, by.moments),
            _with_rows(self.saturated, which, by.saturated),
            _with_rows(self.good, which, by.good),
        )


def _with_rows(values: NDArray[_Value], which: NDArray[np.bool_], others: NDArray[_Value]) -> NDArray[_Value]:
    copy = values.copy()
    copy[which] = others
    return copy


def is_one_pixel_wide(centres: StarCentres, window_sigma_px: float) -> NDArray[np.bool_]:
    """Whether the light seen in the window is too narrow for a star: one hot pixel or two, a cosmic ray.

    Across its minor axis where the signal tells it from noise, on average of both axes where it is fainter.
    """
    xx, xy, yy = centres.moments.T / window_sigma_px**2
    mean = 0.5 * (xx + yy)
    minor = mean - np.hypot(0.5 * (xx - yy), xy)
    is_narrow = (mean <= _MIN_SHARPNESS) & (centres.signal_to_noise >= _MIN_SIGNAL_TO_NOISE)
    return is_narrow | ((minor <= _MIN_SHARPNESS) & (centres.signal_to_noise >= _SHAPE_SIGNAL_TO_NOISE))


def window_half_side(window_sigma_px: float) -> int:
    """Half side of the stamps that `centre_stars` needs, pixels."""
    return max(4, int(np.ceil(_WINDOW_HALF_SIGMA * window_sigma_px)) + 1)


def centre_stars(
    frame: Exposure,
    guesses: FloatArray,
    window_sigma_px: float,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> StarCentres:
    """Centre stars near guessed positions.

    A star further than 3.5 window widths from its guess is not looked for.

    Parameters
    ----------
    guesses : array, shape (n_stars, 2)
        x and y, pixels, 0-based.
    window_sigma_px : float
        Width of the Gaussian window; best is that of the stars.
    bad_pixels : array of bool, shape of the frame, optional
        Pixels that are replaced by the mean of their usable neighbours.
    """
    n = len(guesses)
    half = window_half_side(window_sigma_px)
    xy = guesses.astype(np.float64, copy=True)
    sums, noise = np.zeros((6, n)), np.full(n, np.inf)
    converged, saturated = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    active = np.flatnonzero(_on_frame(xy, frame.shape, margin=1.0))
    for _ in range(_MAX_RECENTRINGS):
        if not active.size:
            break
        middles = np.rint(xy[active]).astype(np.intp)
        stamps = sky_subtracted_stamps(frame, middles, half, bad_pixels)
        offsets, inner_sums, done = _iterate(stamps.electrons, xy[active] - middles, window_sigma_px)
        xy[active], sums[:, active], noise[active] = middles + offsets, inner_sums, stamps.sigma
        moved = np.abs(offsets).max(axis=1) > 0.5
        converged[active] = done & ~moved
        saturated[active] = stamps.peak >= frame.facts.saturation_adu * frame.facts.gain_e_per_adu
        near = np.hypot(*(xy[active] - guesses[active]).T) <= _SEARCH_SIGMA * window_sigma_px
        active = active[moved & near & _on_frame(xy[active], frame.shape, margin=1.0)]
    usable = converged & ~saturated
    found = _judge(xy, guesses, sums, noise=noise, usable=usable, window_sigma_px=window_sigma_px)
    return replace(found, saturated=saturated)


@dataclass(frozen=True, slots=True)
class SkyStamps:
    """Stamps less the sky along their border, electrons.

    `sigma` is the standard deviation of one sky pixel, `peak` the highest pixel of the inner half with the sky.
    """

    electrons: FloatArray
    sigma: FloatArray
    peak: FloatArray


def sky_subtracted_stamps(
    frame: Exposure, middles: NDArray[np.intp], half: int, bad_pixels: NDArray[np.bool_] | None
) -> SkyStamps:
    """Cut stamps around `middles`, subtract the median of their outermost two pixels, mend what is missing."""
    corners = middles - half
    stamps = frame.stamps(corners, 2 * half + 1)
    stored = frame.stored_stamps(corners, 2 * half + 1)
    rays = frame.cosmic_rays(corners, 2 * half + 1)
    if rays is not None:
        stamps[rays] = np.nan
    if bad_pixels is not None:
        rows = np.clip(corners[:, 1:] + np.arange(2 * half + 1), 0, frame.shape[0] - 1)
        columns = np.clip(corners[:, :1] + np.arange(2 * half + 1), 0, frame.shape[1] - 1)
        stamps[bad_pixels[rows[:, :, None], columns[:, None, :]]] = np.nan
    if stored is not None:
        stored[np.isnan(stamps)] = -np.inf
    # A sum is not finite where one of its numbers is not.
    holed = np.flatnonzero(~np.isfinite(stamps.sum(axis=(1, 2))))
    if holed.size:
        stamps[holed] = _mended(stamps[holed])
    inner = slice(half // 2, 2 * half + 1 - half // 2)
    peak = (stamps if stored is None else stored)[:, inner, inner].max(axis=(1, 2))
    border = stamps.reshape(len(stamps), (2 * half + 1) ** 2).take(_border_pixels(2 * half + 1), axis=1)
    sky = row_medians(border)
    sigma = 1.4826 * row_medians(np.abs(border - sky[:, None]))
    stamps -= sky[:, None, None]
    return SkyStamps(stamps, np.maximum(sigma, 1e-3), peak)


@cache
def _border_pixels(side_px: int) -> NDArray[np.intp]:
    offsets = np.abs(np.arange(side_px) - side_px // 2)
    return np.flatnonzero(np.maximum(offsets[:, None], offsets[None, :]) >= side_px // 2 - 1)


def _mended(stamps: FloatArray) -> FloatArray:
    """Replace NaN by the mean of the finite pixels among the eight neighbours, else by the stamp's median."""
    known = np.isfinite(stamps)
    padded = np.pad(np.where(known, stamps, 0.0), ((0, 0), (1, 1), (1, 1)))
    weights = np.pad(known.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    side = stamps.shape[1]
    total, count = np.zeros_like(stamps), np.zeros_like(stamps)
    for dy in range(3):
        for dx in range(3):
            total += padded[:, dy : dy + side, dx : dx + side]
            count += weights[:, dy : dy + side, dx : dx + side]
    typical = np.array(
        [np.median(stamp[good]) if good.any() else 0.0 for stamp, good in zip(stamps, known, strict=True)]
    )
    return np.where(known, stamps, np.where(count > 0.0, total / np.maximum(count, 1.0), typical[:, None, None]))


def _iterate(
    electrons: FloatArray, offsets: FloatArray, window_sigma_px: float
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Move the window until it rests; `offsets` are measured from the middle pixel of the stamps."""
    half = electrons.shape[1] // 2
    pixels = np.arange(-half, half + 1, dtype=np.float64)
    centres = offsets.copy()
    done = np.zeros(len(electrons), dtype=bool)
    sums = np.zeros((6, len(electrons)))
    moving = np.arange(len(electrons))
    seen = electrons
    for _ in range(_MAX_STEPS):
        all_move = len(moving) == len(electrons)
        now = _window_sums(seen, pixels, centres if all_move else centres[moving], window_sigma_px)
        steps = _newton_steps(now, window_sigma_px)
        places = np.minimum(np.maximum((centres if all_move else centres[moving]) + steps, -half), half)
        centres[moving], sums[:, moving] = places, now
        lit = now[0] > 0.0
        rests = (np.abs(steps).max(axis=1) < _CONVERGED_PX) & lit
        done[moving] = rests
        # One that left its middle pixel far behind is cut anew; one that sees no light has nothing to follow.
        moves = ~rests & lit & (np.abs(places).max(axis=1) < _RECENTRE_PX)
        if not moves.all():
            moving = moving[moves]
            if not moving.size:
                break
            seen = electrons[moving]
    return centres, sums, done


def _newton_steps(sums: FloatArray, window_sigma_px: float) -> FloatArray:
    """Steps to the fixed point, exact for a Gaussian of any shape.

    The weighted mean of a Gaussian of moments M (within a window of variance w) lies at (1 - M / w) times its distance
    from the window. Where the moments are not those of a star, the step is the one for stars as wide as the window.
    """
    means = sums[1:] / np.where(sums[0] > 0.0, sums[0], np.inf)
    mean_x, mean_y = means[:2]
    # Moments about the mean: about the window they grow with its distance, and the step would overshoot.
    xx, xy, yy = (means[2:] - means[_FIRST_FACTORS] * means[_SECOND_FACTORS]) * (1.0 / window_sigma_px**2)
    a, b, d = 1.0 - xx, -xy, 1.0 - yy
    determinant = a * d - b * b
    solvable = (np.minimum(a, d) > _SMALLEST_RESPONSE) & (determinant > _SMALLEST_RESPONSE**2)
    steps = np.empty((sums.shape[1], 2))
    safe = np.where(solvable, determinant, 1.0)
    np.divide(d * mean_x - b * mean_y, safe, out=steps[:, 0])
    np.divide(a * mean_y - b * mean_x, safe, out=steps[:, 1])
    if not solvable.all():
        other = ~solvable
        steps[other, 0], steps[other, 1] = 2.0 * mean_x[other], 2.0 * mean_y[other]
    return steps


def _window_sums(electrons: FloatArray, pixels: FloatArray, centres: FloatArray, window_sigma_px: float) -> FloatArray:
    """Sums of w I, w I dx, w I dy, w I dx^2, w I dx dy, w I dy^2; the window is the product of two Gaussians."""
    distances = pixels - centres[:, :, None]
    powers = np.empty((len(centres), 2, 3, len(pixels)))
    window = powers[:, :, 0]
    np.exp((-0.5 / window_sigma_px**2) * (distances * distances), out=window)
    np.multiply(window, distances, out=powers[:, :, 1])
    np.multiply(powers[:, :, 1], distances, out=powers[:, :, 2])
    table = np.matmul(np.matmul(powers[:, 1], electrons), powers[:, 0].transpose(0, 2, 1))
    return table.reshape(len(centres), 9)[:, _ORDER_OF_SUMS].T


def _judge(
    xy: FloatArray,
    guesses: FloatArray,
    sums: FloatArray,
    *,
    noise: FloatArray,
    usable: NDArray[np.bool_],
    window_sigma_px: float,
) -> StarCentres:
    flux = sums[0]
    positive = flux > 0.0
    safe = np.where(positive, flux, 1.0)
    moments = np.where(positive, sums[3:] / safe, 0.0).T
    # Sum of the squared window: pi sigma^2 pixels; the star's own photons count within the window.
    sky_part = noise * window_sigma_px * np.sqrt(np.pi)
    signal_to_noise = np.where(positive, flux / np.sqrt(sky_part**2 + np.maximum(flux, 0.0)), 0.0)
    # One pixel that shines has no width; noise fills the window evenly.
    trace = moments[:, 0] + moments[:, 2]
    sharpness = 0.5 * trace / window_sigma_px**2
    determinant = moments[:, 0] * moments[:, 2] - moments[:, 1] ** 2
    round_enough = determinant * _LONGEST_TRAIL > (0.5 * trace) ** 2
    good = (
        usable
        & (signal_to_noise >= _MIN_SIGNAL_TO_NOISE)
        & (np.hypot(*(xy - guesses).T) <= _SEARCH_SIGMA * window_sigma_px)
        & (sharpness > _MIN_SHARPNESS)
        & (sharpness < _MAX_SHARPNESS)
        & round_enough
    )
    return StarCentres(xy, flux, signal_to_noise, moments, np.zeros_like(usable), good)


def _on_frame(xy: FloatArray, shape: tuple[int, int], margin: float) -> NDArray[np.bool_]:
    rows, columns = shape
    inside = (xy > margin - 0.5) & (xy < np.array([columns, rows]) - 0.5 - margin)
    return np.asarray(inside.all(axis=1))
