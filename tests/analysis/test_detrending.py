"""Trends that are known are taken out, the signal stays, and what was done is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stream.analysis.detrending import Detrending, Trend, detrend
from stream.analysis.periodogram import lomb_scargle
from stream.analysis.running_median import RunningMedian
from stream.analysis.series import TimeSeries
from stream.errors import AnalysisError, ConfigurationError
from tests.analysis.signals import FREQUENCY_HZ, RMS, SAMPLINGS, sinusoid, times

N_POINTS = 1200


def with_trend(sampling: str, trend_of_place: tuple[float, ...]) -> TimeSeries:
    series = sinusoid(times(sampling, N_POINTS), noise=0.005, seed=4)
    trend = np.polynomial.Polynomial(trend_of_place)(series.time_s / N_POINTS)
    return TimeSeries(series.time_s, series.flux * trend, series.flux_err * trend)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Detrending(Trend.POLYNOMIAL, degree=3), "polynomial of degree 3 divided out"),
        (Detrending(Trend.MEDIAN, window_s=150.0), "running median of 150 s divided out"),
    ],
)
def test_a_cubic_trend_is_taken_out_and_the_signal_stays(sampling: str, settings: Detrending, sentence: str) -> None:
    series = with_trend(sampling, (1.0, -0.5, 0.9, -0.6))
    found = detrend(series, settings)
    assert found.sentence == sentence
    assert found.trend.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(found.series.flux * found.trend, series.flux)
    np.testing.assert_allclose(found.series.flux_err / found.series.flux, series.flux_err / series.flux)
    spectrum = lomb_scargle(found.series.time_s, found.series.flux, found.series.flux_err)
    assert spectrum.peak_frequency_hz == pytest.approx(FREQUENCY_HZ, abs=5 * spectrum.peak_frequency_err_hz)
    assert spectrum.peak_rms == pytest.approx(RMS, rel=0.04)
    slow = spectrum.frequency_hz < 0.005
    before = lomb_scargle(series.time_s, series.flux, series.flux_err)
    assert spectrum.power[slow].max() < 0.02 * before.power[slow].max()


def test_the_airmass_term_is_that_of_the_truth() -> None:
    series = sinusoid(times("gappy", N_POINTS), noise=0.005, seed=4)
    airmass = 1.0 + (series.time_s / N_POINTS - 0.3) ** 2
    trend = 1.0 + 0.08 * (airmass - airmass.mean())
    airmass[7] = np.nan
    found = detrend(
        TimeSeries(series.time_s, series.flux * trend, series.flux_err), Detrending(Trend.AIRMASS), airmass=airmass
    )
    assert len(found.series.flux) == len(series.flux) - 1
    slope = float(found.sentence.split()[3])
    assert slope == pytest.approx(0.08, abs=0.01)
    assert found.sentence == f"linear trend of {slope:+.3g} per airmass divided out"


def test_none_changes_nothing_but_leaves_out_what_is_not_measured() -> None:
    series = sinusoid(times("even", 20), noise=0.01, seed=1)
    series.flux[3] = np.nan
    found = detrend(series, Detrending())
    assert found.sentence == "not detrended"
    np.testing.assert_array_equal(found.series.flux, np.delete(series.flux, 3))


def slowly(slope: float, seed: int = 7) -> TimeSeries:
    """Ten minutes of white noise of 1 % on a slope, jittered."""
    time = times("jittered", 600, seed)
    noise = np.random.default_rng(seed).normal(size=600)
    return TimeSeries(time, 1.0 + slope * time + 0.01 * noise, np.full(600, 0.01))


def test_a_running_median_is_that_of_the_definition() -> None:
    time, flux = times("jittered", 200), np.random.default_rng(1).normal(size=200)
    trend, is_centred = RunningMedian(31.0).of(time, flux)
    expected = [np.median(flux[np.abs(time - moment) <= 15.5 + 1e-9]) for moment in time]
    np.testing.assert_array_equal(trend[is_centred], np.array(expected)[is_centred])
    np.testing.assert_array_equal(is_centred, (time >= time[0] + 15.5) & (time <= time[-1] - 15.5))


@pytest.mark.parametrize("slope", [0.0, 3e-4, -3e-4])
def test_the_scatter_at_the_ends_is_that_of_the_middle_and_a_slope_is_followed(slope: float) -> None:
    """No point is divided by itself: noise stays noise up to the first and the last point."""
    pulls = []
    for seed in range(40):
        found = detrend(slowly(slope, seed), Detrending(Trend.MEDIAN, window_s=60.0)).series
        pulls.append((found.flux - np.average(found.flux)) / found.flux_err)
    ends = np.array([np.concatenate([each[:15], each[-15:]]) for each in pulls])
    middle = np.array([each[100:500] for each in pulls])
    assert np.std(middle) == pytest.approx(1.0, abs=0.03)
    assert np.std(ends) == pytest.approx(1.0, abs=0.07)
    assert np.std(np.array(pulls)[:, [0, -1]]) == pytest.approx(1.0, abs=0.2)
    assert np.mean(ends[:, 15:]) == pytest.approx(0.0, abs=0.12)


def test_the_ends_of_gaps_are_ends_and_lone_points_are_left_out() -> None:
    series = slowly(3e-4)
    kept = (series.time_s < 200.0) | (np.abs(series.time_s - 300.0) < 1.5) | (series.time_s > 400.0)
    gappy = TimeSeries(series.time_s[kept], series.flux[kept], series.flux_err[kept])
    found = detrend(gappy, Detrending(Trend.MEDIAN, window_s=60.0))
    n_lone = int(np.sum(np.abs(gappy.time_s - 300.0) < 1.5))
    assert found.sentence == f"running median of 60 s divided out, {n_lone} points without neighbours left out"
    np.testing.assert_array_equal(found.used, np.abs(gappy.time_s - 300.0) > 2.0)
    edges = np.abs(found.series.time_s - 300.0) < 115.0
    assert np.abs(found.trend / found.trend.mean() - (1.0 + 3e-4 * found.series.time_s) / 1.09)[edges].max() < 0.02
    assert np.std((found.series.flux / found.series.flux.mean() - 1.0)[edges]) == pytest.approx(0.01, rel=0.35)


def test_a_window_longer_than_the_light_curve_is_a_straight_line_and_one_without_points_is_refused() -> None:
    found = detrend(slowly(3e-4), Detrending(Trend.MEDIAN, window_s=3600.0))
    assert found.sentence == "straight line divided out: no stretch is as long as a running median of 3600 s"
    np.testing.assert_allclose(found.trend, (1.0 + 3e-4 * found.series.time_s) / 1.09, atol=0.005)
    with pytest.raises(AnalysisError, match=r"a running median of 3 s needs 5 points within its window, and no point"):
        detrend(slowly(0.0), Detrending(Trend.MEDIAN, window_s=3.0))


@hypothesis_settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["grow", "late", "slide"]), st.integers(1, 40)), max_size=12))
def test_medians_that_are_kept_are_those_of_all_points_at_once(steps: list[tuple[str, int]]) -> None:
    time = times("gappy", 700)
    flux = np.random.default_rng(3).normal(size=len(time)).round(1)
    kept, first, last = RunningMedian(41.0), 0, 60
    is_there = np.ones(len(time), dtype=bool)
    is_there[40:50] = False
    for step, n_points in steps:
        last = min(last + n_points, len(time)) if step == "grow" else last
        first = min(first + n_points, last - 10) if step == "slide" else first
        if step == "late":
            is_there[40 + n_points // 5] = True
        rows = np.flatnonzero(is_there[first:last]) + first
        for found, expected in zip(
            kept.of(time[rows], flux[rows]), RunningMedian(41.0).of(time[rows], flux[rows]), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "airmass", "words"),
    [
        (Detrending(Trend.AIRMASS), None, "needs the airmass of every point: site and pointing must be known"),
        (Detrending(Trend.AIRMASS), np.ones(3), "needs the airmass of every point"),
        (Detrending(Trend.AIRMASS), np.full(6, np.nan), "site and pointing must be known, none is"),
        (Detrending(Trend.AIRMASS), np.full(6, 1.25), "the airmass is 1.2500 throughout: nothing can be fitted"),
        (Detrending(Trend.POLYNOMIAL, degree=5), None, r"\(polynomial\) needs at least 7 measured points"),
    ],
)
def test_what_cannot_be_detrended_is_one_sentence(settings: Detrending, airmass: np.ndarray | None, words: str) -> None:
    series = TimeSeries(np.arange(6.0), np.linspace(1.0, 1.1, 6), np.full(6, 0.01))
    with pytest.raises(AnalysisError, match=words):
        detrend(series, settings, airmass=airmass)


def test_a_trend_through_zero_is_not_divided_out() -> None:
    series = TimeSeries(np.arange(6.0), np.linspace(-1.0, 1.0, 6), np.full(6, 0.01))
    with pytest.raises(AnalysisError, match="must be greater than 0 everywhere to be divided out"):
        detrend(series, Detrending(Trend.POLYNOMIAL))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"degree \(11\) of the polynomial must be 1 to 10"):
        Detrending(Trend.POLYNOMIAL, degree=11)
    with pytest.raises(ConfigurationError, match=r"window_s \(0.0\) of the running median must be greater than 0"):
        Detrending(Trend.MEDIAN, window_s=0.0)
    with pytest.raises(ConfigurationError, match=r"trend \(spline\) must be one of none, airmass, polynomial, median"):
        Detrending("spline")  # type: ignore[arg-type]
