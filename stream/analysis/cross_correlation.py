"""Cross-correlation of two light curves whose times need be neither even nor the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.analysis.series import TimeSeries, check_variable, measured_points, median_cadence_s
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray, IntArray

_FEWEST_POINTS = 10
_FEWEST_PAIRS = 10
_MOST_LAGS = 20_001
_MOST_PAIRS = 50_000_000
_CENTROID_ABOVE, _FEWEST_IN_CENTROID = 0.8, 5
_MOST_TRIALS = 10_000


@dataclass(frozen=True, slots=True)
class Lags:
    """At which lags light curves are compared.

    Attributes
    ----------
    longest_s : float
        Lags run from minus to plus this.
    step_s : float or None
        Width of the bins of lag; None: the longer of the two median cadences.
    n_trials : int
        Random subsets for the confidence of the lag; 0: none.
    seed : int
        Of the random subsets: the same light curves give the same confidence.

    Raises
    ------
    ConfigurationError
        If one of them is out of range.
    """

    longest_s: float
    step_s: float | None = None
    n_trials: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.longest_s < math.inf:
            raise ConfigurationError(f"longest_s ({self.longest_s}) of a cross-correlation must be greater than 0")
        if self.step_s is not None and not 0.0 < self.step_s <= self.longest_s:
            raise ConfigurationError(f"step_s ({self.step_s}) must be greater than 0 and at most longest_s")
        if not 0 <= self.n_trials <= _MOST_TRIALS:
            raise ConfigurationError(f"n_trials ({self.n_trials}) must be 0 to {_MOST_TRIALS}")


@dataclass(frozen=True, slots=True)
class CrossCorrelation:
    """Correlation against lag. A positive lag says that the second light curve is late.

    Attributes
    ----------
    lag_s : array, shape (n_lags,)
        Middles of the bins.
    discrete, discrete_err : array, shape (n_lags,)
        Discrete correlation function and its error; NaN with fewer than ten pairs.
    interpolated : array, shape (n_lags,)
        Interpolated correlation function, -1 to 1; NaN where fewer than ten points overlap.
    n_pairs : array of int, shape (n_lags,)
        Pairs that the discrete one rests on.
    peak_lag_s, peak_correlation : float
        Highest point of the interpolated function.
    centroid_lag_s : float
        Centroid of the interpolated function around the peak, where it is above 0.8 of it; the top of a parabola where
        that is fewer than five lags; NaN where the peak is not positive, or at the longest lag. Steps finer than the
        cadence bring it no closer: interpolation between points lowers the correlation there.
    centroid_low_s, centroid_high_s : float
        16th and 84th percentile of the centroids of random subsets; NaN without trials.
    centroid_95_s : tuple of float
        2.5th and 97.5th percentile of the same.
    n_trials : int
        Subsets that gave a centroid.
    sentence : str
        What the confidence is, for a plot.
    """

    lag_s: FloatArray
    discrete: FloatArray
    discrete_err: FloatArray
    interpolated: FloatArray
    n_pairs: IntArray
    peak_lag_s: float
    peak_correlation: float
    centroid_lag_s: float
    centroid_low_s: float
    centroid_high_s: float
    centroid_95_s: tuple[float, float]
    n_trials: int
    sentence: str


def cross_correlation(first: TimeSeries, second: TimeSeries, settings: Lags) -> CrossCorrelation:
    """Correlate two light curves, by pairs and by interpolation; **a positive lag means that the second is late**.

    Discrete (Edelson & Krolik 1988, ApJ 333, 646): the mean over all pairs with ``t2 - t1`` in a bin of ::

        (a - <a>) (b - <b>) / sqrt((var a - <err a>^2) (var b - <err b>^2))

    with the standard deviation over sqrt(n - 1) for an error; noise is taken off the variances, so that it may be above
    1. Interpolated (Gaskell & Peterson 1987, ApJS 65, 1; White & Peterson 1994, PASP 106, 879): the mean of the two
    correlation coefficients that come of interpolating either light curve at the times of the other, shifted. The
    confidence of the centroid is that of flux randomisation and random subset selection (Peterson et al. 1998,
    PASP 110, 660): light curves drawn with replacement, repeated points once, fluxes moved by their errors. A period
    makes the lag ambiguous by whole periods: `longest_s` should be below half of it.

    Raises
    ------
    AnalysisError
        If a light curve has fewer than ten measured points or is constant, both do not overlap within the lags, or
        there are too many lags or pairs.
    """
    pair = []
    for series in (first, second):
        good = measured_points(series, "a cross-correlation", fewest=_FEWEST_POINTS)
        check_variable(good.flux, "cross-correlation")
        pair.append(good)
    one, two = pair
    step = settings.step_s if settings.step_s is not None else max(median_cadence_s(each.time_s) for each in pair)
    half = math.floor(settings.longest_s / step + 1e-9)
    if 2 * half + 1 > _MOST_LAGS:
        raise AnalysisError(f"{2 * half + 1} lags are more than {_MOST_LAGS}: step_s ({step:.4g}) must be longer")
    lags = step * np.arange(-half, half + 1, dtype=np.float64)
    discrete, discrete_err, n_pairs = _discrete(one, two, lags, step=step)
    interpolated = _interpolated(one, two, lags)
    if not np.isfinite(interpolated).any():
        raise AnalysisError(
            f"the light curves do not overlap in {_FEWEST_POINTS} points at any lag of up to {settings.longest_s:.4g} s"
        )
    best = int(np.nanargmax(interpolated))
    centroid = _centroid_s(lags, interpolated)
    centroids = _centroids_of_subsets(one, two, lags, settings=settings) if math.isfinite(centroid) else np.empty(0)
    lowest, low, high, highest = (
        np.percentile(centroids, [2.5, 15.87, 84.13, 97.5]) if len(centroids) else np.full(4, np.nan)
    )
    return CrossCorrelation(
        lag_s=lags,
        discrete=discrete,
        discrete_err=discrete_err,
        interpolated=interpolated,
        n_pairs=n_pairs,
        peak_lag_s=float(lags[best]),
        peak_correlation=float(interpolated[best]),
        centroid_lag_s=centroid,
        centroid_low_s=float(low),
        centroid_high_s=float(high),
        centroid_95_s=(float(lowest), float(highest)),
        n_trials=len(centroids),
        sentence=_sentence(len(centroids), centroid, settings.longest_s),
    )


def _sentence(n_centroids: int, centroid: float, longest_s: float) -> str:
    if not math.isfinite(centroid):
        return f"no lag: the correlation has no positive peak within {longest_s:.4g} s"
    return f"68 % of {n_centroids} random subsets (FR/RSS)" if n_centroids else "no confidence asked for"


def _discrete(
    one: TimeSeries, two: TimeSeries, lags: FloatArray, *, step: float
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Sums over pairs point by point of the first light curve: memory for one row of pairs at a time."""
    deviations, scales = [], []
    for series in (one, two):
        deviations.append(series.flux - series.flux.mean())
        excess = float(series.flux.var() - np.mean(series.flux_err**2))
        # Where the errors explain all the scatter there is no signal to be normalised by: the scatter itself then.
        scales.append(math.sqrt(excess) if excess > 0.0 else float(series.flux.std()))
    edge = lags[-1] + 0.5 * step
    first = np.searchsorted(two.time_s, one.time_s - edge, side="left")
    last = np.searchsorted(two.time_s, one.time_s + edge, side="left")
    if int((last - first).sum()) > _MOST_PAIRS:
        raise AnalysisError(
            f"{int((last - first).sum())} pairs of points are more than {_MOST_PAIRS}: longest_s must be shorter"
        )
    count, total, squares = np.zeros(len(lags), dtype=np.int64), np.zeros(len(lags)), np.zeros(len(lags))
    for index, (low, high) in enumerate(zip(first, last, strict=True)):
        place = np.floor((two.time_s[low:high] - one.time_s[index] + edge) / step).astype(np.int64)
        inside = (place >= 0) & (place < len(lags))
        product = deviations[0][index] * deviations[1][low:high][inside] / (scales[0] * scales[1])
        count += np.bincount(place[inside], minlength=len(lags))
        total += np.bincount(place[inside], product, len(lags))
        squares += np.bincount(place[inside], product**2, len(lags))
    enough = count >= _FEWEST_PAIRS
    n = np.where(enough, count, _FEWEST_PAIRS)
    mean = total / n
    error = np.sqrt(np.maximum(squares / n - mean**2, 0.0) / (n - 1))
    return np.where(enough, mean, np.nan), np.where(enough, error, np.nan), count


def _interpolated(one: TimeSeries, two: TimeSeries, lags: FloatArray) -> FloatArray:
    result = np.full(len(lags), np.nan)
    for index, lag in enumerate(lags):
        both = (_correlation(one, two, lag), _correlation(two, one, -lag))
        result[index] = 0.5 * (both[0] + both[1])
    return result


def _correlation(points: TimeSeries, other: TimeSeries, lag: float) -> float:
    """Coefficient of the points with the other light curve, interpolated at their times plus the lag."""
    moments = points.time_s + lag
    first, last = np.searchsorted(moments, [other.time_s[0], other.time_s[-1]])
    last += int(last < len(moments) and moments[last] == other.time_s[-1])
    if last - first < _FEWEST_POINTS:
        return math.nan
    values = points.flux[first:last] - points.flux[first:last].mean()
    partner = np.interp(moments[first:last], other.time_s, other.flux)
    partner -= partner.mean()
    norm = float(np.sqrt(np.sum(values**2) * np.sum(partner**2)))
    return float(np.sum(values * partner)) / norm if norm > 0.0 else math.nan


def _centroid_s(lags: FloatArray, correlation: FloatArray) -> float:
    """Centroid of the connected part around the peak that is above 0.8 of it.

    Where that part has fewer than five lags it would stick to one of them: the top of the parabola through the peak
    and its neighbours then.
    """
    if not np.isfinite(correlation).any():
        return math.nan
    best, known = int(np.nanargmax(correlation)), np.flatnonzero(np.isfinite(correlation))
    # At the longest lag it may still rise: that is no peak.
    if correlation[best] <= 0.0 or best in (known[0], known[-1]):
        return math.nan
    with np.errstate(invalid="ignore"):
        below = np.flatnonzero(~(correlation >= _CENTROID_ABOVE * correlation[best]))
    low = int(below[below < best].max(initial=-1)) + 1
    high = int(below[below > best].min(initial=len(lags)))
    if high - low >= _FEWEST_IN_CENTROID or not np.isfinite(correlation[best - 1 : best + 2]).all():
        return float(np.average(lags[low:high], weights=correlation[low:high]))
    before, top, after = (float(each) for each in correlation[best - 1 : best + 2])
    curvature = before - 2.0 * top + after
    off = 0.5 * (before - after) / curvature if curvature < 0.0 else 0.0
    return float(lags[best] + off * (lags[1] - lags[0]))


def _centroids_of_subsets(one: TimeSeries, two: TimeSeries, lags: FloatArray, *, settings: Lags) -> FloatArray:
    random = np.random.default_rng(settings.seed)
    centroids = []
    for _ in range(settings.n_trials):
        subsets = []
        for series in (one, two):
            drawn, times = np.unique(random.integers(0, len(series.flux), len(series.flux)), return_counts=True)
            noise = random.normal(size=len(drawn)) * series.flux_err[drawn] / np.sqrt(times)
            subsets.append(TimeSeries(series.time_s[drawn], series.flux[drawn] + noise, series.flux_err[drawn]))
        centroid = _centroid_s(lags, _interpolated(subsets[0], subsets[1], lags))
        if math.isfinite(centroid):
            centroids.append(centroid)
    return np.array(centroids)
