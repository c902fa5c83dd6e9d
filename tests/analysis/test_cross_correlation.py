"""Lags of noise that both light curves share, on times that are neither even nor the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream.analysis.cross_correlation import Lags, cross_correlation
from stream.analysis.series import TimeSeries
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray
from tests.analysis.signals import SAMPLINGS, sinusoid, times, white_noise

LATE_S = 6.5


def flickering(time: FloatArray, *, late_s: float, seed: int, noise: float = 0.01) -> TimeSeries:
    """Flickering with a memory of some seconds, the same for every seed but for noise and lag."""
    random = np.random.default_rng(99)
    fine = np.arange(-200.0, 1200.0, 0.25)
    kernel = np.exp(-0.5 * (np.arange(-40.0, 40.0, 0.25) / 6.0) ** 2)
    shared = np.convolve(random.normal(size=len(fine)), kernel, mode="same")
    flux = 1.0 + 0.03 * np.interp(time - late_s, fine, shared / shared.std())
    own = np.random.default_rng(seed)
    return TimeSeries(time, flux + noise * own.normal(size=len(time)), np.full(len(time), noise))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_second_is_late_by_a_positive_lag(sampling: str) -> None:
    first = flickering(times(sampling, 500, 1), late_s=0.0, seed=1)
    second = flickering(times(sampling, 480, 2) + 0.4, late_s=LATE_S, seed=2)
    found = cross_correlation(first, second, Lags(30.0, n_trials=40))
    assert found.centroid_low_s - 0.5 < LATE_S < found.centroid_high_s + 0.5
    assert 0.0 < found.centroid_high_s - found.centroid_low_s < 2.0
    assert found.centroid_lag_s == pytest.approx(LATE_S, abs=0.7)
    assert found.peak_lag_s == pytest.approx(LATE_S, abs=1.1)
    assert 0.8 < found.peak_correlation < 1.0
    best = int(np.nanargmax(found.discrete))
    assert found.lag_s[best] == pytest.approx(LATE_S, abs=1.6)
    assert found.discrete[best] == pytest.approx(1.0, abs=0.12)  # noise is taken off
    turned = cross_correlation(second, first, Lags(30.0, n_trials=0))
    assert turned.peak_lag_s == -found.peak_lag_s
    np.testing.assert_allclose(turned.interpolated[::-1], found.interpolated, atol=1e-12)
    assert math.isnan(turned.centroid_low_s) and turned.sentence == "no confidence asked for"


def test_the_confidence_holds_the_truth_as_often_as_it_says() -> None:
    inside, trials = 0, 24
    for seed in range(trials):
        first = flickering(times("jittered", 120, seed), late_s=0.0, seed=seed, noise=0.03)
        second = flickering(times("jittered", 120, seed + 50), late_s=3.0, seed=seed + 100, noise=0.03)
        found = cross_correlation(first, second, Lags(15.0, n_trials=30, seed=seed))
        inside += found.centroid_low_s <= 3.0 <= found.centroid_high_s
    # Random subsets are known to be cautious: 68 % at least, but not always.
    assert 12 <= inside <= trials


def test_a_correlation_that_still_rises_at_the_longest_lag_has_no_lag() -> None:
    first = flickering(times("even", 200), late_s=0.0, seed=1)
    second = flickering(times("even", 200), late_s=LATE_S, seed=2)
    found = cross_correlation(first, second, Lags(3.0, n_trials=10))
    assert found.peak_lag_s == 3.0
    assert math.isnan(found.centroid_lag_s) and math.isnan(found.centroid_low_s)
    assert (found.n_trials, found.sentence) == (0, "no lag: the correlation has no positive peak within 3 s")
    wider = cross_correlation(first, second, Lags(15.0, n_trials=10))
    assert wider.centroid_95_s[0] <= wider.centroid_low_s < wider.centroid_high_s <= wider.centroid_95_s[1]


def test_the_discrete_function_is_the_mean_over_pairs() -> None:
    first, second = (sinusoid(times("jittered", 60, seed), noise=0.01, seed=seed) for seed in (1, 2))
    found = cross_correlation(first, second, Lags(5.0, 1.0, n_trials=0))
    lags = second.time_s[np.newaxis, :] - first.time_s[:, np.newaxis]
    scales = [math.sqrt(each.flux.var() - np.mean(each.flux_err**2)) for each in (first, second)]
    products = np.multiply.outer(first.flux - first.flux.mean(), second.flux - second.flux.mean())
    products /= scales[0] * scales[1]
    for index, lag in enumerate(found.lag_s):
        inside = (lags >= lag - 0.5) & (lags < lag + 0.5)
        assert found.n_pairs[index] == inside.sum()
        assert found.discrete[index] == pytest.approx(products[inside].mean())
        assert found.discrete_err[index] == pytest.approx(products[inside].std() / math.sqrt(inside.sum() - 1))


def test_noise_has_correlations_of_the_size_of_their_errors() -> None:
    first, second = (white_noise(times("gappy", 900), noise=0.1, seed=seed) for seed in (1, 2))
    second = TimeSeries(second.time_s, second.flux, 0.5 * second.flux_err)
    first = TimeSeries(first.time_s, first.flux, 0.5 * first.flux_err)
    found = cross_correlation(first, second, Lags(60.0, n_trials=0))
    assert np.std(found.discrete / found.discrete_err) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (TimeSeries(np.arange(2.0), np.ones(2), np.ones(2)), "needs at least 10 measured points .* not 2"),
        (TimeSeries(np.arange(50.0), np.full(50, np.nan), np.ones(50)), "different times, not 0"),
        (TimeSeries(np.arange(50.0), np.ones(50), np.ones(50)), "all 50 points have the same flux"),
        (white_noise(1e4 + np.arange(50.0), noise=0.1, seed=2), "do not overlap in 10 points at any lag of up to 20 s"),
        (white_noise(np.arange(50.0)[::-1], noise=0.1, seed=2), "times must ascend"),
        (white_noise(np.arange(50.0) * 1e-4, noise=0.1, seed=2), r"step_s \(0.0001\) must be longer"),
    ],
)
def test_what_cannot_be_correlated_is_one_sentence(first: TimeSeries, words: str) -> None:
    partner = first if "longer" in words else white_noise(np.arange(50.0), noise=0.1, seed=1)
    with pytest.raises(AnalysisError, match=words):
        cross_correlation(first, partner, Lags(20.0))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"longest_s \(0.0\) of a cross-correlation must be greater than 0"):
        Lags(0.0)
    with pytest.raises(ConfigurationError, match=r"step_s \(9.0\) must be greater than 0 and at most longest_s"):
        Lags(1.0, 9.0)
    with pytest.raises(ConfigurationError, match=r"n_trials \(-1\) must be 0 to 10000"):
        Lags(1.0, n_trials=-1)
