"""Local background: a sigma-clipped mean of the pixels of an annulus, for all sources at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.messages import FloatArray

_MAX_ITERATIONS = 5
_VALUES_AT_ONCE = 200_000  # so many stay in the cache of a processor while they are sorted, subtracted and summed


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


def clipped_background(
    values: NDArray[np.floating] | NDArray[np.integer], clip_sigma: float, missing: NDArray[np.bool_] | None = None
) -> LocalBackground:
    """Estimate the background of each row of `values` by sigma clipping around the median.

    The same as ``astropy.stats.sigma_clip`` with five iterations, the median as centre and the standard deviation,
    but the rows are sorted once, so that clipping is a matter of moving two bounds.

    Parameters
    ----------
    values : array, shape (n_sources, n_pixels)
        NaN marks pixels that do not count. Whole numbers of 16 bits are sorted ten times as fast as others.
    clip_sigma : float
        Pixels further than this many standard deviations from the median are left out.
    missing : array of bool, shape of `values`, optional
        Marks pixels that do not count where `values` are whole numbers; they must hold the largest of their type.
    """
    rows_at_once = max(_VALUES_AT_ONCE // max(values.shape[1], 1), 1)
    if len(values) > rows_at_once:
        parts = [slice(first, first + rows_at_once) for first in range(0, len(values), rows_at_once)]
        found = [
            clipped_background(values[part], clip_sigma, None if missing is None else missing[part]) for part in parts
        ]
        levels, sigmas, counts = ([getattr(one, name) for one in found] for name in ("level", "sigma", "n_pixels"))
        return LocalBackground(np.concatenate(levels), np.concatenate(sigmas), np.concatenate(counts))
    whole = values.dtype.kind in "iu"
    ordered = np.sort(values, axis=1, kind="stable" if whole else None)
    n, width = ordered.shape
    rows = np.arange(n)
    if whole:
        n_finite = np.full(n, width) if missing is None else width - missing.sum(axis=1)
    else:
        n_finite = np.isfinite(ordered).sum(axis=1)
    usable = n_finite > 0
    centre = np.where(usable, ordered[rows, np.maximum(n_finite, 1) // 2], np.nan)
    sums = _SegmentSums.of(ordered, centre, n_finite)
    first, last = np.zeros_like(n_finite), n_finite
    for _ in range(_MAX_ITERATIONS):
        _, sigma = sums.moments(first, last)
        median = _median(ordered, rows, first, last)
        low, high = _bounds(ordered, median - clip_sigma * sigma, median + clip_sigma * sigma)
        high = np.minimum(last, high)
        low = np.minimum(np.maximum(first, low), high)  # a row without numbers stays empty
        if (low == first).all() and (high == last).all():
            break
        first, last = low, high
    mean, sigma = sums.moments(first, last)
    return LocalBackground(centre + mean, sigma / _kept_sigma(clip_sigma), last - first)


@dataclass(frozen=True, slots=True)
class _SegmentSums:
    """Mean and deviation of parts of sorted rows.

    `deviations` and their squares are counted from the centre of each row, because the squares of raw counts would
    cancel catastrophically, and summed anew for every part: so would what lies far off, if it were taken from a sum.
    Both have a column of zeros at their end, so that a part may end there.
    """

    deviations: FloatArray
    squares: FloatArray
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, ordered: NDArray, centre: FloatArray, n_finite: NDArray[np.intp]) -> _SegmentSums:
        """Prepare sums of sorted rows, of which the first `n_finite` numbers count."""
        n, width = ordered.shape
        deviations = np.empty((n, width + 1))
        np.subtract(ordered, centre[:, None], out=deviations[:, :width])
        deviations[:, width] = 0.0
        for row in np.flatnonzero(n_finite < width).tolist():
            deviations[row, n_finite[row] :] = 0.0
        return cls(deviations.reshape(-1), np.square(deviations).reshape(-1), np.arange(n) * (width + 1))

    def moments(self, first: NDArray[np.intp], last: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Mean from the centre, and standard deviation, of the numbers from `first` to before `last`."""
        parts = np.empty(2 * len(self.starts), dtype=np.intp)
        parts[::2], parts[1::2] = self.starts + first, self.starts + last
        count = last - first
        empty, count = count <= 0, np.maximum(count, 1)
        mean = np.add.reduceat(self.deviations, parts)[::2] / count
        variance = np.add.reduceat(self.squares, parts)[::2] / count - mean * mean
        if empty.any():  # reduceat gives the first number of an empty part
            mean[empty], variance[empty] = 0.0, 0.0
        return mean, np.sqrt(np.maximum(variance, 0.0))


def _bounds(ordered: NDArray, low: FloatArray, high: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How many numbers of each sorted row are below `low`, and how many are not above `high`."""
    if ordered.dtype.kind in "iu":
        # Compared as what they are: numpy would make floats of all of them.
        limits = np.iinfo(ordered.dtype)
        low = np.fmin(np.fmax(np.ceil(low), limits.min), limits.max).astype(ordered.dtype)
        high = np.fmin(np.fmax(np.floor(high), limits.min), limits.max).astype(ordered.dtype)
    # The first True of a row. Some number of a row is between its limits, so none is 0 but where there is no True.
    n_below = (ordered >= low[:, None]).argmax(axis=1)
    n_not_above = (ordered > high[:, None]).argmax(axis=1)
    n_not_above[n_not_above == 0] = ordered.shape[1]
    return n_below, n_not_above


def _median(ordered: NDArray, rows: NDArray[np.intp], first: NDArray[np.intp], last: NDArray[np.intp]) -> FloatArray:
    middle = first + last
    return 0.5 * (ordered[rows, (middle - 1) // 2].astype(np.float64) + ordered[rows, middle // 2])


def _kept_sigma(clip_sigma: float) -> float:
    """Standard deviation of a unit normal distribution cut at +/- `clip_sigma`."""
    density = math.exp(-0.5 * clip_sigma**2) / math.sqrt(2.0 * math.pi)
    inside = math.erf(clip_sigma / math.sqrt(2.0))
    return math.sqrt(1.0 - 2.0 * clip_sigma * density / inside)
