"""Every pair of comparison stars over each other: as constant as their errors say, where both stars are good."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from stream.analysis.ensemble import fit_for_comparison, robust_scatter
from stream.messages import FloatArray, SourceFluxes

_FEWEST_FRAMES = 3
_HOURS_PER_DAY = 24.0


@dataclass(frozen=True, slots=True)
class PairComparison:
    """The flux of one star over that of another, its median taken as 1.

    All but the numbers are NaN with fewer than three frames on which both are fit for comparison.

    Attributes
    ----------
    first, second : int
        Numbers of the stars.
    n_frames : int
        Frames on which both are fit.
    scatter : float
        1.48 times the median absolute deviation.
    expected : float
        Median of the errors of the ratio, from those of the fluxes.
    chi2 : float
        Reduced chi-square against the weighted mean.
    trend_per_hour, trend_per_hour_err : float
        Slope of the weighted straight line, and its error from the errors of the fluxes.
    """

    first: int
    second: int
    n_frames: int
    scatter: float = math.nan
    expected: float = math.nan
    chi2: float = math.nan
    trend_per_hour: float = math.nan
    trend_per_hour_err: float = math.nan


def compare_pairs(fluxes: SourceFluxes, comparisons: Collection[int]) -> list[PairComparison]:
    """Compare every star with every later one, in the order of `comparisons`."""
    fit = fit_for_comparison(fluxes)
    days = fluxes.time()
    pairs = []
    for first, second in combinations(dict.fromkeys(comparisons), 2):
        columns = [first - 1, second - 1]
        with np.errstate(invalid="ignore"):
            use = fit[:, columns].all(axis=1) & (fluxes.flux[:, columns] > 0.0).all(axis=1)
        flux, error = fluxes.flux[use][:, columns], fluxes.flux_err[use][:, columns]
        if len(flux) < _FEWEST_FRAMES:
            pairs.append(PairComparison(first, second, len(flux)))
            continue
        ratio = flux[:, 0] / flux[:, 1]
        ratio_err = ratio * np.hypot(*(error / flux).T)
        level = float(np.median(ratio))
        hours = (days[use] - days[use][0]) * _HOURS_PER_DAY
        pairs.append(_compared(first, second, hours, ratio=ratio / level, ratio_err=ratio_err / level))
    return pairs


def _compared(
    first: int, second: int, hours: FloatArray, *, ratio: FloatArray, ratio_err: FloatArray
) -> PairComparison:
    weights = 1.0 / ratio_err**2
    mean = float(np.average(ratio, weights=weights))
    since = hours - float(np.average(hours, weights=weights))
    moment = float((weights * since**2).sum())
    slope = float((weights * since * (ratio - mean)).sum()) / moment if moment > 0.0 else math.nan
    return PairComparison(
        first,
        second,
        len(ratio),
        scatter=float(robust_scatter(ratio[:, None]).whole[0]),
        expected=float(np.median(ratio_err)),
        chi2=float((weights * (ratio - mean) ** 2).sum()) / (len(ratio) - 1),
        trend_per_hour=slope,
        trend_per_hour_err=1.0 / math.sqrt(moment) if moment > 0.0 else math.nan,
    )
