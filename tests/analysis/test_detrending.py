"""Trends that are known are taken out, the signal stays, and what was done is said."""

from __future__ import annotations

import numpy as np
import pytest

from stream.analysis.detrending import Detrending, Trend, detrend, running_median
from stream.analysis.periodogram import lomb_scargle
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


def test_a_running_median_follows_a_slope_to_its_ends_and_is_that_of_the_definition() -> None:
    time = times("jittered", 200)
    time -= time[0]
    np.testing.assert_allclose(running_median(time, 1.0 + time, 31.0), 1.0 + time, atol=0.7)
    flux = np.random.default_rng(1).normal(size=200)
    expected = []
    for moment in time:
        reach = min(15.5, moment - time[0], time[-1] - moment)
        expected.append(np.median(flux[np.abs(time - moment) <= reach + 1e-9]))
    np.testing.assert_allclose(running_median(time, flux, 31.0), expected)


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
