"""Fits to a handful of stars, compiled: on so few numbers numpy spends its time on preparations.

Arrays must be contiguous and of the types of the signatures; see `stream.measure.compiled`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stream.measure.compiled import compiled, inner
from stream.messages import FloatArray

_MAX_FITS = 12
SIGMA_OFF = 5.0
"""Of its centroid: a star that lies farther off is asked against the others."""
_TYPICAL_OFF = 4.0
_SIGMA_OF_MEDIAN_DEVIATION = 1.4826
_FARTHEST_FIRST = 3.0
_LEAST_SPREAD = 1e-12
_SIZE_OFF, _LEAST_SIZE_OFF = 4.0, 1e-9


@inner
def _median(values: FloatArray, chosen: NDArray[np.bool_]) -> float:
    """Median of the chosen ones, of which there is one at least; sorted by insertion, because they are few."""
    ordered, n = np.empty(len(values)), 0
    for i in range(len(values)):
        if chosen[i]:
            place = n
            while place > 0 and ordered[place - 1] > values[i]:
                ordered[place] = ordered[place - 1]
                place -= 1
            ordered[place] = values[i]
            n += 1
    return 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])


@inner
def _similarity(
    catalog_xy: FloatArray, frame_xy: FloatArray, weights: FloatArray, like: FloatArray
) -> tuple[float, float, float, float]:
    """Cosine, sine and shift of the similarity about the centre ``like[4:6]``, of the stars of positive weight."""
    total, n = 0.0, 0
    x = y = u = v = 0.0
    for i in range(len(weights)):
        weight = weights[i]
        if weight > 0.0:
            n += 1
            total += weight
            x += weight * (catalog_xy[i, 0] - like[4])
            y += weight * (catalog_xy[i, 1] - like[5])
            u += weight * (frame_xy[i, 0] - like[4])
            v += weight * (frame_xy[i, 1] - like[5])
    x, y, u, v = x / total, y / total, u / total, v / total
    cosine, sine = (1.0 if like[0] >= 0.0 else -1.0), 0.0
    if n > 1:
        spread = along = across = 0.0
        for i in range(len(weights)):
            if weights[i] > 0.0:
                dx, dy = catalog_xy[i, 0] - like[4] - x, catalog_xy[i, 1] - like[5] - y
                du, dv = frame_xy[i, 0] - like[4] - u, frame_xy[i, 1] - like[5] - v
                spread += weights[i] * (dx * dx + dy * dy)
                along += weights[i] * (dx * du + dy * dv)
                across += weights[i] * (dx * dv - dy * du)
        cosine, sine = along / max(spread, _LEAST_SPREAD), across / max(spread, _LEAST_SPREAD)
    return cosine, sine, u - (cosine * x - sine * y), v - (sine * x + cosine * y)


@compiled("UniTuple(f8, 4)(f8[:,::1], f8[:,::1], f8[::1], f8[::1])")
def similarity(
    catalog_xy: FloatArray, frame_xy: FloatArray, weights: FloatArray, like: FloatArray
) -> tuple[float, float, float, float]:
    """Cosine and sine (times the scale) and shift of a similarity by weighted least squares.

    Parameters
    ----------
    catalog_xy, frame_xy : array, shape (n_stars, 2)
    weights : array, shape (n_stars,)
        Stars without weight take no part; one at least has some.
    like : array, shape (6,)
        Cosine, sine, shift (x, y) and centre (x, y) of another one: it lends its centre, and to a single star its side.
    """
    return _similarity(catalog_xy, frame_xy, weights, like)


@inner
def _carried(catalog_xy: FloatArray, star: int, by: tuple[float, float, float, float]) -> tuple[float, float]:
    """Where cosine, sine and offset put a star."""
    x, y = catalog_xy[star, 0], catalog_xy[star, 1]
    return by[0] * x - by[1] * y + by[2], by[1] * x + by[0] * y + by[3]


@inner
def _about_origin(
    similarity_by: tuple[float, float, float, float], centre_x: float, centre_y: float
) -> tuple[float, float, float, float]:
    """The offset of a similarity about a centre, in the place of its shift."""
    cosine, sine, x, y = similarity_by
    return (
        cosine,
        sine,
        centre_x + x - cosine * centre_x + sine * centre_y,
        centre_y + y - sine * centre_x - cosine * centre_y,
    )


@inner
def _near_prediction(
    catalog_xy: FloatArray, frame_xy: FloatArray, good: NDArray[np.bool_], predicted: FloatArray, limit_px: float
) -> NDArray[np.bool_]:
    """Which good stars lie near where the prediction and their common shift from it put them."""
    n = len(good)
    by = _about_origin((predicted[0], predicted[1], predicted[2], predicted[3]), predicted[4], predicted[5])
    off_x, off_y, near = np.empty(n), np.empty(n), np.zeros(n, dtype=np.bool_)
    for i in range(n):
        x, y = _carried(catalog_xy, i, by)
        off_x[i], off_y[i] = frame_xy[i, 0] - x, frame_xy[i, 1] - y
    common_x, common_y = _median(off_x, good), _median(off_y, good)
    for i in range(n):
        near[i] = good[i] and math.hypot(off_x[i] - common_x, off_y[i] - common_y) < limit_px
    return near


@compiled("Tuple((f8[::1], b1[::1], f8[::1], f8[::1]))(f8[:,::1], f8[:,::1], f8[::1], b1[::1], f8[::1], f8)")
def fit_and_clip(
    catalog_xy: FloatArray,
    frame_xy: FloatArray,
    weights: FloatArray,
    good: NDArray[np.bool_],
    predicted: FloatArray,
    limit_px: float,
) -> tuple[FloatArray, NDArray[np.bool_], FloatArray, FloatArray]:
    """Fit a similarity to stars, leave out what lies off, fit again, until the same stars stay.

    Parameters
    ----------
    good : array of bool, shape (n_stars,)
        Which stars may take part; one at least may.
    predicted : array, shape (6,)
        As `like` of `similarity`. Only stars that share a shift from it, within three times `limit_px`, begin.
    limit_px : float
        The farthest that a star may lie off.

    Returns
    -------
    parameters : array, shape (4,), or (0,) if no star stays
    used : array of bool, shape (n_stars,)
    residuals, limits : array, shape (n_stars,)
        How far the stars lie off and may lie off, pixels.
    """
    n = len(weights)
    used, found = _near_prediction(catalog_xy, frame_xy, good, predicted, _FARTHEST_FIRST * limit_px), np.empty(0)
    residuals, limits, weight = np.zeros(n), np.zeros(n), np.zeros(n)
    for _ in range(_MAX_FITS):
        if not used.any():
            return np.empty(0), used, residuals, limits
        for i in range(n):
            weight[i] = weights[i] if used[i] else 0.0
        by = _similarity(catalog_xy, frame_xy, weight, predicted)
        found = np.array(by)
        by = _about_origin(by, predicted[4], predicted[5])
        for i in range(n):
            x, y = _carried(catalog_xy, i, by)
            residuals[i] = math.hypot(frame_xy[i, 0] - x, frame_xy[i, 1] - y)
        typical = _TYPICAL_OFF * _SIGMA_OF_MEDIAN_DEVIATION * _median(residuals, used)
        n_changed = 0
        for i in range(n):
            limits[i] = min(limit_px, max(SIGMA_OFF / math.sqrt(weights[i]), typical))
            stays = good[i] and residuals[i] < limits[i]
            n_changed += stays != used[i]
            used[i] = stays
        if not n_changed:
            break
    return found, used, residuals, limits


@inner
def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    """Least value of positive weight that, with all below it, has half of the weight."""
    half, found = 0.5 * weights.sum(), np.inf
    for i in range(len(values)):
        if weights[i] > 0.0 and values[i] < found:
            below = 0.0
            for j in range(len(values)):
                if values[j] <= values[i]:
                    below += weights[j]
            if below >= half:
                found = values[i]
    return found


@compiled("UniTuple(f8, 3)(f8[:,::1], f8[::1])")
def mean_moments(moments: FloatArray, weights: FloatArray) -> tuple[float, float, float]:
    """Weighted means of xx, xy and yy of stars, without those whose size stands out (blends).

    Parameters
    ----------
    moments : array, shape (n_stars, 3)
    weights : array, shape (n_stars,)
        Stars without weight take no part; one at least has some.
    """
    n = len(weights)
    size, deviation = np.empty(n), np.empty(n)
    for i in range(n):
        size[i] = moments[i, 0] + moments[i, 2]
    middle = _weighted_median(size, weights)
    for i in range(n):
        deviation[i] = abs(size[i] - middle)
    limit = _SIZE_OFF * max(_weighted_median(deviation, weights), _LEAST_SIZE_OFF)
    xx = xy = yy = total = 0.0
    for i in range(n):
        if deviation[i] <= limit:
            total += weights[i]
            xx += weights[i] * moments[i, 0]
            xy += weights[i] * moments[i, 1]
            yy += weights[i] * moments[i, 2]
    return xx / total, xy / total, yy / total
