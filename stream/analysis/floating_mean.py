"""The floating-mean periodogram from three trigonometric sums, which may be kept and added to."""

from __future__ import annotations

import math

import numpy as np

from stream.analysis.periodogram import Grid
from stream.analysis.series import TimeSeries
from stream.messages import FloatArray


def transformed_sums(good: TimeSeries, origin_s: float, *, level: float, grid: Grid) -> np.ndarray:
    """Sums of ``w e``, ``w (y - level) e`` and ``w e^2`` over all points, shape (3, n_frequencies).

    ``e = exp(2 pi i f (t - origin))`` and ``w = 1/err^2``, by a non-uniform fast Fourier transform (Barnett, Magland &
    af Klinteberg 2019, SIAM J. Sci. Comput. 41, C479) to 1e-9; everything must be finite.
    """
    from finufft import nufft1d1

    time, weights = good.time_s - origin_s, good.flux_err**-2
    # The transform counts its modes from -n/2.
    middle_hz = grid.first_hz + grid.step_hz * (grid.n_frequencies // 2)

    def transform(values: FloatArray, factor: float) -> np.ndarray:
        start = values * np.exp(2.0j * math.pi * np.remainder(factor * middle_hz * time, 1.0))
        angle = 2.0 * math.pi * np.remainder(factor * grid.step_hz * time, 1.0)
        return np.asarray(nufft1d1(angle, start, grid.n_frequencies, eps=1e-9, isign=1, nthreads=1))

    # Two at once, at the same angles, are a third cheaper than one after the other.
    single = transform(np.stack([weights, weights * (good.flux - level)]), 1.0)
    return np.concatenate([single, transform(weights, 2.0)[np.newaxis]])


def explained_variance(sums: np.ndarray, total_weight: float, mean: float) -> FloatArray:
    """Weighted variance that a sinusoid with a constant explains beyond the constant, at each frequency.

    `sums` are those of `transformed_sums`, `mean` the weighted mean of the flux less the level of the sums.

    With C, S, CC, SS, CS, YC, YS the weighted means of cosine, sine, their squares and products less the products of
    their means: ``(YC^2 SS + YS^2 CC - 2 YC YS CS) / (CC SS - CS^2)`` (Zechmeister & Kuerster 2009, eq. 5).
    """
    window, product, double = sums / total_weight
    cosine, sine = window.real, window.imag
    cc = 0.5 * (1.0 + double.real) - cosine * cosine
    ss = 0.5 * (1.0 - double.real) - sine * sine
    cs = 0.5 * double.imag - cosine * sine
    yc, ys = product.real - mean * cosine, product.imag - mean * sine
    determinant = cc * ss - cs * cs
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = (yc * yc * ss + ys * ys * cc - 2.0 * yc * ys * cs) / determinant
    return np.asarray(np.where(determinant > 1e-12, np.maximum(explained, 0.0), 0.0))
