"""The innermost loops over stamps, compiled: what numpy did in hundreds of calls on a few numbers each.

Arrays must be contiguous and of the types of the signatures; see `stream.measure.compiled`. Nothing here knows of
frames: see `stream.measure.background` and `stream.measure.centroids`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stream.measure.compiled import compiled, inner
from stream.messages import FloatArray

_MAX_CLIPS = 5
_MAX_STEPS = 15
_CONVERGED_PX = 1e-6
_RECENTRE_PX = 1.5
_SMALLEST_RESPONSE = 0.1
_LEAST_SKY_SIGMA = 1e-3
_SIGMA_OF_MEDIAN_DEVIATION = 1.4826


@inner
def _moments(values: FloatArray, first: int, last: int, centre: float) -> tuple[float, float]:
    """Sum and sum of squares of the deviations from `centre`, of the values from `first` to before `last`."""
    # Four sums at a time: one addition need not wait for the one before.
    sum_0 = sum_1 = sum_2 = sum_3 = 0.0
    square_0 = square_1 = square_2 = square_3 = 0.0
    even = first + (last - first) // 4 * 4
    for i in range(first, even, 4):
        d_0, d_1, d_2, d_3 = values[i] - centre, values[i + 1] - centre, values[i + 2] - centre, values[i + 3] - centre
        sum_0, sum_1, sum_2, sum_3 = sum_0 + d_0, sum_1 + d_1, sum_2 + d_2, sum_3 + d_3
        square_0, square_1 = square_0 + d_0 * d_0, square_1 + d_1 * d_1
        square_2, square_3 = square_2 + d_2 * d_2, square_3 + d_3 * d_3
    for i in range(even, last):
        d_0 = values[i] - centre
        sum_0, square_0 = sum_0 + d_0, square_0 + d_0 * d_0
    return (sum_0 + sum_1) + (sum_2 + sum_3), (square_0 + square_1) + (square_2 + square_3)


@compiled("Tuple((f8[::1], f8[::1], i8[::1]))(f8[:,::1], i8[::1], f8)")
def clipped_moments(
    ordered: FloatArray, n_finite: NDArray[np.int64], clip_sigma: float
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Mean, standard deviation and number of what sigma clipping around the median leaves of each sorted row.

    Deviations are counted from the middle of the row, because the squares of raw counts would cancel
    catastrophically, and summed anew for every part: so would what lies far off, if it were taken from a sum.

    Parameters
    ----------
    ordered : array, shape (n_rows, n_values)
        Each row ascending.
    n_finite : array, shape (n_rows,)
        So many numbers at the start of each row count. A row without any has no mean (NaN).
    """
    n = len(ordered)
    mean, sigma, count = np.full(n, np.nan), np.zeros(n), np.zeros(n, dtype=np.int64)
    for row in range(n):
        values, first, last = ordered[row], 0, n_finite[row]
        if last <= 0:
            continue
        centre = values[last // 2]
        for step in range(_MAX_CLIPS + 1):
            n_kept = last - first
            total, squares = _moments(values, first, last, centre)
            off = total / n_kept
            deviation = math.sqrt(max(squares / n_kept - off * off, 0.0))
            mean[row], sigma[row], count[row] = centre + off, deviation, n_kept
            if step == _MAX_CLIPS:
                break
            median = 0.5 * (values[first + (n_kept - 1) // 2] + values[first + n_kept // 2])
            low, high = first, last
            while low < high and values[low] < median - clip_sigma * deviation:
                low += 1
            while high > low and values[high - 1] > median + clip_sigma * deviation:
                high -= 1
            if (low == first and high == last) or low == high:
                break
            first, last = low, high
    return mean, sigma, count


@inner
def _brought_to(values: FloatArray, n: int, rank: int) -> float:
    """Value of this rank of the first `n`, which are put in order around it (Hoare's selection)."""
    low, high = 0, n - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return values[rank]


@inner
def _median(values: FloatArray, n: int) -> float:
    """Median of the first `n` values, which hold no NaN and are put in another order."""
    upper = _brought_to(values, n, n // 2)
    return upper if n % 2 else 0.5 * (upper + values[: n // 2].max())


@inner
def _window_sums(electrons: FloatArray, x: float, y: float, sigma_px: float) -> tuple[float, ...]:
    """Sums of w I, w I dx, w I dy, w I dx^2, w I dx dy, w I dy^2; the window is the product of two Gaussians."""
    side = len(electrons)
    half, scale = side // 2, -0.5 / (sigma_px * sigma_px)
    across = np.empty(side)
    for i in range(side):
        across[i] = math.exp(scale * (i - half - x) ** 2)
    s, sx, sy, sxx, sxy, syy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(side):
        line, line_x, line_xx = 0.0, 0.0, 0.0
        for i in range(side):
            light, dx = across[i] * electrons[j, i], i - half - x
            line += light
            line_x += light * dx
            line_xx += light * dx * dx
        dy = j - half - y
        weight = math.exp(scale * dy * dy)
        s, sx, sy = s + weight * line, sx + weight * line_x, sy + weight * dy * line
        sxx, sxy, syy = sxx + weight * line_xx, sxy + weight * dy * line_x, syy + weight * dy * dy * line
    return s, sx, sy, sxx, sxy, syy


@inner
def _newton_step(sums: tuple[float, ...], sigma_px: float) -> tuple[float, float]:
    """Step to the fixed point, exact for a Gaussian of any shape.

    The weighted mean of a Gaussian of moments M (within a window of variance w) lies at (1 - M / w) times its distance
    from the window. Where the moments are not those of a star, the step is the one for stars as wide as the window.
    """
    s, sx, sy, sxx, sxy, syy = sums
    if s <= 0.0:
        return 0.0, 0.0
    x, y, scale = sx / s, sy / s, 1.0 / (sigma_px * sigma_px)
    # Moments about the mean: about the window they grow with its distance, and the step would overshoot.
    a, b, d = 1.0 - (sxx / s - x * x) * scale, (x * y - sxy / s) * scale, 1.0 - (syy / s - y * y) * scale
    determinant = a * d - b * b
    if min(a, d) > _SMALLEST_RESPONSE and determinant > _SMALLEST_RESPONSE**2:
        return (d * x - b * y) / determinant, (a * y - b * x) / determinant
    return 2.0 * x, 2.0 * y


@compiled("Tuple((f8[::1], f8[::1]))(f8[:,:,::1], f8[:,:,::1])")
def subtract_border_sky(stamps: FloatArray, shown: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Subtract the median of the outermost two pixels of each stamp, in place; all numbers are finite.

    Returns
    -------
    sigma, peak : array, shape (n_stamps,)
        Standard deviation of one pixel there, from the median deviation, and the highest pixel of the inner half of
        `shown`, an array of the shape of `stamps` or that array itself.
    """
    n, side = len(stamps), stamps.shape[1]
    inner = side // 2 // 2
    sigma, peak, border = np.empty(n), np.empty(n), np.empty(side * side)
    for number in range(n):
        stamp, n_border = stamps[number], 0
        peak[number] = shown[number, inner : side - inner, inner : side - inner].max()
        for j in range(side):
            is_edge = j < 2 or j >= side - 2
            for i in range(side):
                if is_edge or i < 2 or i >= side - 2:
                    border[n_border] = stamp[j, i]
                    n_border += 1
        sky = _median(border, n_border)
        for i in range(n_border):
            border[i] = abs(border[i] - sky)
        sigma[number] = max(_SIGMA_OF_MEDIAN_DEVIATION * _median(border, n_border), _LEAST_SKY_SIGMA)
        stamp -= sky
    return sigma, peak


@compiled("Tuple((f8[:,::1], f8[:,::1], b1[::1]))(f8[:,:,::1], f8[:,::1], f8)")
def rest_windows(
    electrons: FloatArray, offsets: FloatArray, sigma_px: float
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Move Gaussian windows until they rest on the light.

    Parameters
    ----------
    electrons : array, shape (n_stamps, side, side)
        Less the sky, finite.
    offsets : array, shape (n_stamps, 2)
        x and y where the windows begin, from the middle pixel.

    Returns
    -------
    centres : array, shape (n_stamps, 2)
        Where they came to.
    sums : array, shape (6, n_stamps)
        Sums of w I, w I dx, w I dy, w I dx^2, w I dx dy, w I dy^2 about the last place but one.
    done : array of bool, shape (n_stamps,)
        Whether they rest. One that left its middle pixel far behind is to be cut anew; one that sees no light has
        nothing to follow.
    """
    n, half = len(electrons), electrons.shape[1] // 2
    centres, sums, done = offsets.copy(), np.zeros((6, n)), np.zeros(n, dtype=np.bool_)
    for number in range(n):
        x, y = offsets[number, 0], offsets[number, 1]
        for _ in range(_MAX_STEPS):
            found = _window_sums(electrons[number], x, y, sigma_px)
            step_x, step_y = _newton_step(found, sigma_px)
            x, y = min(max(x + step_x, -half), half), min(max(y + step_y, -half), half)
            for i in range(6):
                sums[i, number] = found[i]
            done[number] = found[0] > 0.0 and max(abs(step_x), abs(step_y)) < _CONVERGED_PX
            if done[number] or found[0] <= 0.0 or max(abs(x), abs(y)) >= _RECENTRE_PX:
                break
        centres[number, 0], centres[number, 1] = x, y
    return centres, sums, done
