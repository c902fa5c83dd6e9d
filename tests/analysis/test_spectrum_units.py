"""Normalisations, noise levels, false alarms and the window of the sampling, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream.analysis.periodogram import Normalisation, PowerSpectrum, SpectrumSettings, lomb_scargle
from stream.analysis.series import TimeSeries
from stream.analysis.significance import false_alarm_level, window_function
from stream.errors import AnalysisError, ConfigurationError
from tests.analysis.signals import FREQUENCY_HZ, RMS, SAMPLINGS, sinusoid, times, white_noise


def spectrum_of(series: TimeSeries, **settings: float | str) -> PowerSpectrum:
    return lomb_scargle(series.time_s, series.flux, series.flux_err, settings=SpectrumSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(("sampling", "noise"), [*((sampling, 0.02) for sampling in SAMPLINGS), ("apart", 0.01)])
def test_rms_and_frequency_of_an_injected_sinusoid_scatter_by_their_errors(sampling: str, noise: float) -> None:
    frequency, rms = [], []
    for seed in range(60):
        spectrum = spectrum_of(sinusoid(times(sampling, 500, seed), noise=noise, seed=seed))
        frequency.append((spectrum.peak_frequency_hz - FREQUENCY_HZ) / spectrum.peak_frequency_err_hz)
        rms.append((spectrum.peak_rms - RMS) / spectrum.peak_rms_err)
    for pulls in (frequency, rms):
        assert abs(np.mean(pulls)) < 0.45
        assert 0.75 < np.std(pulls) < 1.3


def test_a_peak_that_may_be_an_alias_has_a_rival_and_others_have_none() -> None:
    n_aliases = 0
    for seed in range(60):
        alone = spectrum_of(sinusoid(times("gappy", 500, seed), noise=0.02, seed=seed))
        assert math.isnan(alone.rival_frequency_hz)
        # Two halves of 250 s ten times as far apart as they are long: the next alias is 1 % lower.
        spectrum = spectrum_of(sinusoid(times("apart", 500, seed), noise=0.02, seed=seed))
        assert abs(spectrum.rival_frequency_hz - spectrum.peak_frequency_hz) == pytest.approx(1.0 / 5250.0, rel=0.1)
        if abs(spectrum.peak_frequency_hz - FREQUENCY_HZ) > 4.0 * spectrum.peak_frequency_err_hz:
            n_aliases += 1
            assert spectrum.rival_frequency_hz == pytest.approx(FREQUENCY_HZ, abs=4.0 * spectrum.peak_frequency_err_hz)
    assert 0 < n_aliases < 20


def test_absolute_power_is_fractional_power_times_the_mean_squared() -> None:
    series = sinusoid(times("gappy", 800), noise=0.01, seed=2)
    level = 4000.0
    scaled = TimeSeries(series.time_s, level * series.flux, level * series.flux_err)
    fractional, absolute = spectrum_of(series), spectrum_of(scaled, normalisation=Normalisation.ABSOLUTE)
    mean = np.average(scaled.flux, weights=scaled.flux_err**-2)
    np.testing.assert_allclose(absolute.power, fractional.power * mean**2, rtol=1e-6)
    assert absolute.noise_level == pytest.approx(fractional.noise_level * mean**2)
    assert absolute.peak_rms == pytest.approx(fractional.peak_rms)


def test_leahy_power_of_the_noise_of_the_errors_is_two_and_follows_chi_square() -> None:
    """With two degrees of freedom: mean 2, standard deviation 2."""
    powers = []
    for seed in range(20):
        series = white_noise(times("even", 1000), noise=0.03, seed=seed)
        spectrum = spectrum_of(series, normalisation=Normalisation.LEAHY, samples_per_peak=1.0)
        assert spectrum.noise_level == 2.0
        powers.append(spectrum.power)
    assert np.mean(powers) == pytest.approx(2.0, rel=0.03)
    assert np.std(powers) == pytest.approx(2.0, rel=0.06)


def test_a_flux_that_is_negative_in_the_mean_has_absolute_power_and_no_fractional_rms() -> None:
    series = sinusoid(times("even", 300), noise=0.01, seed=1)
    below = TimeSeries(series.time_s, series.flux - 3.0, series.flux_err)
    spectrum = spectrum_of(below, normalisation=Normalisation.ABSOLUTE)
    assert spectrum.peak_frequency_hz == pytest.approx(FREQUENCY_HZ, abs=1e-4)
    assert math.isnan(spectrum.peak_rms)
    with pytest.raises(AnalysisError, match="a mean flux greater than 0, not -2"):
        spectrum_of(below)


def test_the_grid_is_as_asked_for() -> None:
    series = sinusoid(times("even", 600), noise=0.01, seed=1)
    spectrum = spectrum_of(series, samples_per_peak=10.0, highest_hz=0.2)
    np.testing.assert_allclose(np.diff(spectrum.frequency_hz), 1.0 / (10.0 * 599.0))
    assert 0.2 - 1e-3 < spectrum.frequency_hz[-1] <= 0.2
    with pytest.raises(AnalysisError, match=r"must not be above highest_hz \(0.001\)"):
        spectrum_of(series, highest_hz=0.001)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"normalisation": "rms"}, r"normalisation \(rms\) must be one of fractional, absolute, leahy"),
        ({"samples_per_peak": 0.5}, r"samples_per_peak \(0.5\) must be between 1 and 1000"),
        ({"highest_hz": -1.0}, r"highest_hz \(-1.0\) must be greater than 0"),
        ({"highest_hz": math.nan}, r"highest_hz \(nan\) must be greater than 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float | str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        SpectrumSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("normalisation", list(Normalisation))
def test_false_alarms_are_as_rare_as_said(normalisation: Normalisation) -> None:
    """Baluev's limit is an upper one: with one in ten it is exceeded by one in ten to one in thirty spectra."""
    exceeded, trials = 0, 300
    for seed in range(trials):
        series = white_noise(times("gappy", 120, 3), noise=0.03, seed=seed)
        spectrum = spectrum_of(series, normalisation=normalisation)
        if seed == 0:
            level = false_alarm_level(spectrum, series, 0.1).power / spectrum.all_variance_power
        exceeded += spectrum.power.max() > level * spectrum.all_variance_power
    assert 10 <= exceeded <= 45


def test_a_strong_signal_is_above_the_level_and_its_method_is_named() -> None:
    series = sinusoid(times("jittered", 500), noise=0.01, seed=1)
    spectrum = spectrum_of(series)
    level = false_alarm_level(spectrum, series, 0.001)
    assert spectrum.peak_power > 3.0 * level.power > 3.0 * spectrum.noise_level
    assert (level.probability, level.method) == (0.001, "Baluev (2008), white noise")
    assert false_alarm_level(spectrum, series, 0.1).power < level.power
    with pytest.raises(ConfigurationError, match=r"probability \(0.0\) of a false alarm must be between 0 and 1"):
        false_alarm_level(spectrum, series, 0.0)


def test_the_window_is_that_of_the_direct_sum() -> None:
    series = sinusoid(times("gappy", 300) + 1234.5, noise=0.01, seed=1)
    window = window_function(series)
    weights = series.flux_err**-2 / np.sum(series.flux_err**-2)
    time = series.time_s - series.time_s[0]
    direct = np.abs(np.exp(2j * np.pi * np.outer(window.frequency_hz, time)) @ weights) ** 2
    np.testing.assert_allclose(window.power, direct, atol=1e-8)
    np.testing.assert_array_equal(window.frequency_hz, spectrum_of(series).frequency_hz)
    with pytest.raises(AnalysisError, match="a window function needs at least 5"):
        window_function(TimeSeries(np.arange(2.0), np.ones(2), np.ones(2)))
