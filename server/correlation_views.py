"""Cross-correlations between keys: points by pairs, a line by interpolation, and the lag with its confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from server.amounts import with_error
from server.timing_looks import TimingChoices
from server.timing_views import KeyStretch, StripView, TimingView, detrended, reference_and_others, with_errors
from stream.analysis.cross_correlation import CrossCorrelation, Lags, cross_correlation
from stream.analysis.periodogram import lomb_scargle
from stream.analysis.series import TimeSeries, measured_points, median_cadence_s
from stream.errors import OpticamLiveError

_FEWEST_POINTS = 10
_STEPS = 30.0
"""Steps of lag on either side of zero."""
_FEWEST_CADENCES = 4.0
_MOST_POINTS = 1500
_N_TRIALS = 60


def correlation_view(stretches: Sequence[KeyStretch], choices: TimingChoices, _previous: object = None) -> TimingView:
    """Correlation of every other key with the reference, after detrending, at lags of up to half its period.

    Raises
    ------
    AnalysisError
        If there are less than two keys, or the reference key has no peak.
    """
    reference, others = reference_and_others(stretches, choices.reference, "a cross-correlation")
    reference, done = detrended(reference, choices)
    good = measured_points(reference.series, f"a cross-correlation with {reference.key}", fewest=_FEWEST_POINTS)
    spectrum = lomb_scargle(good.time_s - good.time_s[0], good.flux, good.flux_err)
    longest_s = max(0.5 / spectrum.peak_frequency_hz, _FEWEST_CADENCES * median_cadence_s(good.time_s))
    strips = [_strip(reference.key, good, each, choices=choices, longest_s=longest_s) for each in others]
    text = f"A positive lag: that key is late behind {reference.key}. Points: pairs; line: interpolated; bands: 68 and "
    text += f"95 % of random subsets. Lags of up to half the period of its peak. {reference.key}: {done}."
    return TimingView(text=text, strips=tuple(strips))


def _strip(
    reference_key: str, reference: TimeSeries, other: KeyStretch, *, choices: TimingChoices, longest_s: float
) -> StripView:
    pair, edge = f"{other.key} behind {reference_key}", 1.02 * longest_s
    try:
        other, done = detrended(other, choices)
        good = measured_points(other.series, "a cross-correlation", fewest=_FEWEST_POINTS)
        # Steps finer than the cadence would pull the lag towards whole cadences.
        step_s = max(longest_s / _STEPS, *(median_cadence_s(each.time_s) for each in (reference, good)))
        one, two = (newest_means(each, 0.5 * step_s) for each in (reference, good))
        found = cross_correlation(one, two, Lags(longest_s, min(step_s, longest_s), n_trials=_N_TRIALS))
    except OpticamLiveError as problem:
        nothing = with_errors(np.empty(0), np.empty(0), np.empty(0))
        title = f"{pair} · {problem}"
        return StripView(f"correlation {pair}", other.key, title, nothing, (-1.1, 1.1), (-edge, edge))
    words = [f"{count:,} pairs" for count in found.n_pairs.tolist()]
    n_points = min(len(one.time_s), len(two.time_s))
    return StripView(
        name=f"correlation {pair}",
        colour_of=other.key,
        title=f"{pair} by {_lag(found)}\ncorrelation {found.peak_correlation:.2f} · the newest {n_points:,} points",
        points=with_errors(found.lag_s, found.discrete, found.discrete_err, text=words),
        y_range=_range(found),
        x_range=(-edge, edge),
        line={"x": found.lag_s, "y": found.interpolated},
        bands=_bands(found),
        note=done,
    )


def newest_means(series: TimeSeries, width_s: float) -> TimeSeries:
    """Means, weighted by 1/err^2, of measured points in bins of some seconds; of these the newest 1500."""
    bins = np.floor((series.time_s - series.time_s[0]) / width_s)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(bins)) + 1])
    weights = series.flux_err**-2
    total = np.add.reduceat(weights, starts)
    time, flux = (np.add.reduceat(weights * column, starts) / total for column in (series.time_s, series.flux))
    return TimeSeries(time[-_MOST_POINTS:], flux[-_MOST_POINTS:], total[-_MOST_POINTS:] ** -0.5)


def _lag(found: CrossCorrelation) -> str:
    if not math.isfinite(found.centroid_lag_s):
        return "an unknown lag: no peak within these lags"
    return with_error(found.centroid_lag_s, 0.5 * (found.centroid_high_s - found.centroid_low_s) + _beyond(found), "s")


def _beyond(found: CrossCorrelation) -> float:
    """What the steps, which are the same in all random subsets, add to the error of the lag: a step / sqrt(12)."""
    half = 0.5 * (found.centroid_high_s - found.centroid_low_s)
    return math.hypot(half, float(found.lag_s[1] - found.lag_s[0]) / math.sqrt(12.0)) - half


def _bands(found: CrossCorrelation) -> tuple[tuple[float, float], ...]:
    more, bands = _beyond(found), ((found.centroid_low_s, found.centroid_high_s), found.centroid_95_s)
    return tuple((low - more, high + more) for low, high in bands if math.isfinite(low + high))


def _range(found: CrossCorrelation) -> tuple[float, float]:
    """All of the line, and points as far as noise does not throw them out of sight."""
    low = float(np.nanmin(found.interpolated))
    high = float(np.nanmax(found.interpolated))
    points = found.discrete[np.isfinite(found.discrete)]
    if len(points):
        low, high = min(low, max(float(points.min()), -1.5)), max(high, min(float(points.max()), 1.5))
    return low - 0.12, high + 0.12
