"""Local background: a sigma-clipped mean of the pixels of an annulus, for all sources at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.messages import FloatArray

_MAX_ITERATIONS = 5


@dataclass(frozen=True, slots=True)
class LocalBackground:
    """Background around each source.

    Attributes
    ----------
    level : array, shape (n_sources,)
        Mean of the pixels kept, in the unit of the values; NaN where none was finite.
    sigma : array, shape (n_sources,)
        Standard deviation of one pixel, corrected for what clipping removes from a normal distribution.
    n_pixels : array of int, shape (n_sources,)
        Pixels kept.
    """

    level: FloatArray
    sigma: FloatArray
    n_pixels: NDArray[np.intp]


def annulus_pixels(inner_px: float, outer_px: float, half_side_px: int) -> NDArray[np.intp]:
    """Indices, in a flattened square stamp, of the pixels whose centres lie in an annulus around its middle."""
    offsets = np.arange(-half_side_px, half_side_px + 1)
    radius = np.hypot(offsets[:, None], offsets[None, :])
    return np.flatnonzero((radius >= inner_px) & (radius <= outer_px))


def clipped_background(values: FloatArray, clip_sigma: float) -> LocalBackground:
    """Estimate the background of each row of `values` by sigma clipping around the median.

    The same as ``astropy.stats.sigma_clip`` with five iterations, the median as centre and the standard deviation,
    but the rows are sorted once, so that clipping is a matter of moving two bounds.

    Parameters
    ----------
    values : array, shape (n_sources, n_pixels)
        NaN marks pixels that do not count.
    clip_sigma : float
        Pixels further than this many standard deviations from the median are left out.
    """
    ordered = np.sort(values, axis=1)
    rows = np.arange(len(ordered))
    n_finite = np.isfinite(ordered).sum(axis=1)
    usable = n_finite > 0
    centre = np.where(usable, ordered[rows, np.maximum(n_finite, 1) // 2], np.nan)
    # Sums about the centre, because the squares of raw counts would cancel catastrophically; and from the middle
    # outwards, because what lies far off on either side would cancel after it was clipped.
    deviations = np.where(np.isfinite(ordered), ordered - centre[:, None], 0.0)
    middle = int(n_finite.max(initial=0)) // 2
    sums = np.zeros((2, len(ordered), ordered.shape[1] + 1))
    for total, terms in zip(sums, (deviations, deviations**2), strict=True):
        np.cumsum(terms[:, middle:], axis=1, out=total[:, middle + 1 :])
        total[:, :middle] = -np.cumsum(terms[:, :middle][:, ::-1], axis=1)[:, ::-1]

    first, last = np.zeros_like(n_finite), n_finite
    for _ in range(_MAX_ITERATIONS):
        _, sigma = _moments(sums, rows, first, last)
        median = _median(ordered, rows, first, last)
        low = (ordered < (median - clip_sigma * sigma)[:, None]).sum(axis=1)
        high = (ordered <= (median + clip_sigma * sigma)[:, None]).sum(axis=1)
        low, high = np.maximum(first, low), np.minimum(last, high)
        if np.array_equal(low, first) and np.array_equal(high, last):
            break
        first, last = low, high
    mean, sigma = _moments(sums, rows, first, last)
    return LocalBackground(centre + mean, sigma / _kept_sigma(clip_sigma), last - first)


def _moments(
    sums: FloatArray, rows: NDArray[np.intp], first: NDArray[np.intp], last: NDArray[np.intp]
) -> tuple[FloatArray, FloatArray]:
    count = np.maximum(last - first, 1)
    mean = (sums[0, rows, last] - sums[0, rows, first]) / count
    variance = (sums[1, rows, last] - sums[1, rows, first]) / count - mean**2
    return mean, np.sqrt(np.maximum(variance, 0.0))


def _median(ordered: FloatArray, rows: NDArray[np.intp], first: NDArray[np.intp], last: NDArray[np.intp]) -> FloatArray:
    top = ordered.shape[1] - 1
    lower = np.clip((first + last - 1) // 2, 0, top)
    upper = np.clip((first + last) // 2, 0, top)
    return 0.5 * (ordered[rows, lower] + ordered[rows, upper])


def _kept_sigma(clip_sigma: float) -> float:
    """Standard deviation of a unit normal distribution cut at +/- `clip_sigma`."""
    density = math.exp(-0.5 * clip_sigma**2) / math.sqrt(2.0 * math.pi)
    inside = math.erf(clip_sigma / math.sqrt(2.0))
    return math.sqrt(1.0 - 2.0 * clip_sigma * density / inside)
