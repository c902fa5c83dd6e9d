"""Spectra that are brought up to date are those of all points at once, in whatever order the points came."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.timeseries import LombScargle

from stream.analysis.periodogram import Normalisation, SpectrumSettings, lomb_scargle
from stream.analysis.rolling import RollingSeries, RollingSpectrum
from stream.analysis.series import TimeSeries
from stream.errors import AnalysisError, ConfigurationError
from tests.analysis.signals import SAMPLINGS, sinusoid, times


def part(series: TimeSeries, chosen: slice | np.ndarray) -> TimeSeries:
    return TimeSeries(series.time_s[chosen], series.flux[chosen], series.flux_err[chosen])


@pytest.mark.parametrize("normalisation", list(Normalisation))
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_powers_agree_with_the_slow_method_of_astropy(sampling: str, normalisation: Normalisation) -> None:
    series = sinusoid(times(sampling, 900), noise=0.02, seed=1)
    rolling = RollingSpectrum(SpectrumSettings(normalisation))
    for last in (500, 501, 510, len(series.time_s)):
        spectrum = rolling.update(part(series, slice(0, last)))
    slow = LombScargle(series.time_s, series.flux, series.flux_err).power(spectrum.frequency_hz, method="slow")
    np.testing.assert_allclose(spectrum.power / spectrum.all_variance_power, slow, rtol=0.0, atol=1e-6)
    whole = lomb_scargle(series.time_s, series.flux, series.flux_err, settings=SpectrumSettings(normalisation))
    assert spectrum.noise_level == pytest.approx(whole.noise_level)
    assert spectrum.peak_frequency_hz == pytest.approx(whole.peak_frequency_hz, abs=0.01 * whole.peak_frequency_err_hz)
    assert spectrum.peak_rms == pytest.approx(whole.peak_rms, rel=1e-5)


def test_points_that_leave_the_window_leave_no_trace_after_hours() -> None:
    series = sinusoid(times("gappy", 4000), noise=0.02, seed=2)
    points, rolling = RollingSeries(600.0), RollingSpectrum()
    for first in range(0, len(series.time_s), 7):
        points.add(part(series, slice(first, first + 7)))
        if len(points.series.time_s) > 100:
            spectrum = rolling.update(points.series)
    kept = series.time_s >= series.time_s[-1] - 600.0
    np.testing.assert_array_equal(points.series.time_s, series.time_s[kept])
    slow = LombScargle(series.time_s[kept], series.flux[kept], series.flux_err[kept])
    expected = slow.power(spectrum.frequency_hz, method="slow") * spectrum.all_variance_power
    np.testing.assert_allclose(spectrum.power, expected, atol=1e-6 * spectrum.all_variance_power)
    step = float(np.diff(spectrum.frequency_hz).mean())
    assert 1.0 / (5.0 * 1.27 * spectrum.span_s) <= step <= 1.0 / (5.0 * spectrum.span_s)


def test_a_point_that_comes_late_and_one_that_is_corrected_are_noticed() -> None:
    series = sinusoid(times("even", 600), noise=0.02, seed=4)
    rolling = RollingSpectrum()
    rolling.update(part(series, np.delete(np.arange(600), 300)))
    corrected = TimeSeries(series.time_s, series.flux.copy(), series.flux_err)
    corrected.flux[200] += 0.05
    spectrum = rolling.update(corrected)
    slow = LombScargle(corrected.time_s, corrected.flux, corrected.flux_err)
    expected = slow.power(spectrum.frequency_hz, method="slow") * spectrum.all_variance_power
    np.testing.assert_allclose(spectrum.power, expected, atol=1e-6 * spectrum.all_variance_power)


def test_what_cannot_be_rolled_is_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match=r"window_s \(0\.0\) of a rolling light curve must be greater than 0"):
        RollingSeries(0.0)
    points = RollingSeries(math.pi)
    points.add(TimeSeries(np.array([5.0, 1.0, np.nan]), np.array([1.0, 2.0, 3.0]), np.ones(3)))
    assert points.series.time_s.tolist() == [5.0]
    with pytest.raises(
        AnalysisError, match="a power spectrum needs at least 5 measured points of different times, not 1"
    ):
        RollingSpectrum().update(points.series)
    constant = TimeSeries(np.arange(9.0), np.ones(9), np.ones(9))
    with pytest.raises(AnalysisError, match="all 9 points have the same flux"):
        RollingSpectrum().update(constant)
