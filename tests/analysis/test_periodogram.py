from __future__ import annotations

import math
import time as clock
import warnings

import numpy as np
import pytest
from astropy.timeseries import LombScargle
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.analysis.periodogram import PowerSpectrum, lomb_scargle
from stream.analysis.relative import relative_light_curve
from stream.analysis.series import TimeSeries
from stream.analysis.sinusoid import fit_sinusoid, phase_lag
from stream.errors import AnalysisError
from stream.messages import FloatArray
from tests.analysis.synthetic import Field


def _uneven_times(n_points: int, seed: int, gap: bool = True) -> FloatArray:
    random = np.random.default_rng(seed)
    time = np.arange(n_points) + random.uniform(-0.2, 0.2, n_points)
    if gap:
        time[n_points // 2 :] += 0.3 * n_points
    return time - time[0]


def _sinusoid(time: FloatArray, rms: float, noise: float, seed: int = 3, lag_rad: float = 0.0) -> TimeSeries:
    random = np.random.default_rng(seed)
    flux = 1.0 + rms * math.sqrt(2.0) * np.sin(2.0 * np.pi * 0.135 * time - lag_rad)
    error = noise * random.uniform(0.7, 1.3, len(time))
    return TimeSeries(time, flux + error * random.normal(size=len(time)), error)


def _spectrum(series: TimeSeries) -> PowerSpectrum:
    return lomb_scargle(series.time_s, series.flux, series.flux_err)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("level", [1.0, 40_000.0])
def test_agrees_with_the_slow_method_of_astropy(seed: int, level: float) -> None:
    series = _sinusoid(_uneven_times(700, seed), 0.02, 0.01, seed)
    spectrum = lomb_scargle(series.time_s, level * series.flux, level * series.flux_err)
    slow = LombScargle(series.time_s, series.flux, series.flux_err).power(spectrum.frequency_hz, method="slow")
    weights = 1.0 / series.flux_err**2
    mean = np.average(series.flux, weights=weights)
    variance = np.average((series.flux - mean) ** 2, weights=weights) / mean**2
    cadence = float(np.median(np.diff(series.time_s)))
    np.testing.assert_allclose(spectrum.power / (variance * 700 * cadence), slow, rtol=0.0, atol=1e-6)


def test_grid_runs_from_one_cycle_to_nyquist_in_fifths() -> None:
    spectrum = _spectrum(_sinusoid(np.arange(1000.0), 0.02, 0.01))
    assert spectrum.frequency_hz[0] == pytest.approx(1.0 / 999.0)
    np.testing.assert_allclose(np.diff(spectrum.frequency_hz), 1.0 / (5.0 * 999.0))
    assert 0.5 - 1.0 / (5.0 * 999.0) < spectrum.frequency_hz[-1] <= 0.5 + 1e-12


def test_integral_over_the_peak_is_the_rms_squared() -> None:
    spectrum = _spectrum(_sinusoid(np.arange(4000.0), 0.02, 1e-4))
    near = np.abs(spectrum.frequency_hz - 0.135) < 40.0 / 4000.0
    area = np.trapezoid(spectrum.power[near], spectrum.frequency_hz[near])
    assert area == pytest.approx(0.02**2, rel=0.01)
    assert spectrum.peak_rms == pytest.approx(0.02, rel=1e-3)


def test_integral_of_white_noise_is_its_variance_and_the_noise_level_is_its_mean() -> None:
    random = np.random.default_rng(4)
    error = np.full(4000, 0.03)
    spectrum = lomb_scargle(np.arange(4000.0), 1.0 + error * random.normal(size=4000), error)
    assert np.trapezoid(spectrum.power, spectrum.frequency_hz) == pytest.approx(0.03**2, rel=0.05)
    assert spectrum.power.mean() == pytest.approx(spectrum.noise_level, rel=0.05)
    assert spectrum.noise_level == pytest.approx(2.0 * 0.03**2, rel=1e-3)


def test_area_of_the_peak_survives_a_gap() -> None:
    time = np.arange(4000.0)
    time = time[(time < 1200) | (time > 1900)]
    series = _sinusoid(time, 0.02, 1e-4)
    # Equal errors: unequal weights scatter some of the power over all frequencies.
    spectrum = lomb_scargle(time, series.flux, np.full(len(time), 1e-4))
    assert np.trapezoid(spectrum.power, spectrum.frequency_hz) == pytest.approx(0.02**2, rel=0.03)
    assert spectrum.peak_rms == pytest.approx(0.02, rel=1e-3)


def test_peak_is_refined_far_beyond_the_grid() -> None:
    spectrum = _spectrum(_sinusoid(_uneven_times(300, 1), 0.02, 1e-6))
    assert spectrum.peak_frequency_hz == pytest.approx(0.135, abs=1e-3 / spectrum.span_s)
    assert spectrum.peak_power >= spectrum.power.max() * (1.0 - 1e-6)


def test_a_trend_of_less_than_two_cycles_is_no_peak() -> None:
    series = _sinusoid(np.arange(600.0), 0.01, 0.002)
    trend = series.flux + 0.03 * np.cos(2.0 * np.pi * series.time_s / 600.0)
    spectrum = lomb_scargle(series.time_s, trend, series.flux_err)
    assert spectrum.power.argmax() < 5
    assert spectrum.peak_frequency_hz == pytest.approx(0.135, abs=1e-4)


def test_points_without_flux_or_error_are_left_out() -> None:
    series = _sinusoid(_uneven_times(300, 2), 0.02, 0.01)
    flux, error = series.flux.copy(), series.flux_err.copy()
    flux[5], error[7], error[9] = np.nan, np.nan, 0.0
    kept = np.delete(np.arange(300), [5, 7, 9])
    all_points = lomb_scargle(series.time_s, flux, error)
    fewer = lomb_scargle(series.time_s[kept], series.flux[kept], series.flux_err[kept])
    assert all_points.n_points == 297
    np.testing.assert_array_equal(all_points.power, fewer.power)


def test_twenty_thousand_points_are_fast() -> None:
    series = _sinusoid(np.arange(20_000.0), 0.02, 0.01)
    _spectrum(series)
    times = []
    for _ in range(10):
        start = clock.perf_counter()
        _spectrum(series)
        times.append(clock.perf_counter() - start)
    # 13 ms on an idle core; the allowance is for a busy machine, the slow method takes 70 s.
    assert min(times) < 0.15


@pytest.mark.parametrize(
    ("time", "flux", "words"),
    [
        ([], [], r"at least 5 measured points of different times, not 0"),
        ([0.0, 1.0], [1.0, 1.1], r"at least 5 measured points of different times, not 2"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [np.nan] * 6, r"at least 5 measured points of different times, not 0"),
        ([0.0, 0.0, 1.0, 1.0, 2.0, 2.0], [1.0, 1.1, 1.0, 1.2, 1.0, 1.3], r"of different times, not 3"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [2.0] * 6, r"all 6 points have the same flux"),
        ([0.0, 1.0, 2.0, 1.5, 4.0, 5.0], [1.0, 1.1, 1.0, 1.2, 1.0, 1.3], r"times must ascend: point 4 of 6"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [-1.0, -1.1, -1.0, -1.2, -1.0, -1.3], r"a mean flux greater than 0, not -1"),
        ([0.0, 1.0, 2.0], [1.0, 2.0], r"as many as each other, not \(3,\), \(2,\)"),
        ([0.0, 1e-3, 2e-3, 3e-3, 4e-3, 1e6], [1.0, 1.1, 1.0, 1.2, 1.0, 1.3], r"choose a shorter window"),
    ],
)
def test_what_cannot_be_analysed_is_one_sentence(time: list[float], flux: list[float], words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        lomb_scargle(np.array(time), np.array(flux), np.full(len(flux), 0.1))


def test_repeated_times_do_not_stop_a_spectrum() -> None:
    time = np.repeat(np.arange(200.0), 2)
    spectrum = _spectrum(_sinusoid(time, 0.02, 0.01))
    assert spectrum.peak_frequency_hz == pytest.approx(0.135, abs=5e-5)


def test_no_frequency_explains_less_than_nothing_where_sine_and_cosine_are_alike() -> None:
    time = np.array([0.0, 1.0, 2.0, 1026.0, 2044.0])
    flux = np.random.default_rng(5).uniform(0.9, 1.1, len(time))
    spectrum = lomb_scargle(time, flux, np.full(len(time), 0.05))
    exact = [
        fit_sinusoid(time, flux, weights=np.full(len(time), 400.0), frequency_hz=each).explained
        for each in spectrum.frequency_hz
    ]
    explained = spectrum.power / spectrum.all_variance_power * np.var(flux)
    assert explained == pytest.approx(exact, rel=1e-3)
    assert explained.min() >= 0.0


@settings(max_examples=40, deadline=None)
@given(
    time=st.lists(st.floats(0.0, 1e4, allow_subnormal=False), min_size=0, max_size=30),
    level=st.floats(1e-3, 1e8),
)
def test_any_ascending_times_give_finite_power_or_a_sentence(time: list[float], level: float) -> None:
    times = np.sort(np.array(time))
    random = np.random.default_rng(len(time))
    flux = level * random.uniform(0.9, 1.1, len(times))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            spectrum = lomb_scargle(times, flux, np.full(len(times), 0.05 * level))
        except AnalysisError:
            return
    assert np.isfinite(spectrum.power).all()
    assert math.isfinite(spectrum.peak_frequency_hz)


@pytest.mark.parametrize("lag_rad", [0.0, np.pi / 2.0, 3.0, -1.0])
def test_lag_is_positive_when_the_second_is_late(lag_rad: float) -> None:
    early = _sinusoid(_uneven_times(2000, 5), 0.02, 0.005, 1)
    late = _sinusoid(_uneven_times(1900, 6) + 0.37, 0.02, 0.005, 2, lag_rad)
    # Both count from the same moment though neither begins there.
    early = TimeSeries(early.time_s + 50.0, _sinusoid(early.time_s + 50.0, 0.02, 0.005, 1).flux, early.flux_err)
    lag = phase_lag(early, late, 0.135)
    assert lag.phase_rad == pytest.approx(lag_rad, abs=5.0 * lag.phase_err_rad)
    assert lag.phase_err_rad < 0.02
    assert lag.time_s == pytest.approx(lag.phase_rad / (2.0 * np.pi * 0.135))


def test_lag_scatters_by_its_error() -> None:
    normalised = []
    for seed in range(80):
        first = _sinusoid(_uneven_times(300, seed), 0.02, 0.02, seed)
        second = _sinusoid(_uneven_times(300, seed + 500), 0.02, 0.02, seed + 1000, np.pi / 2.0)
        lag = phase_lag(first, second, 0.135)
        normalised.append((lag.phase_rad - np.pi / 2.0) / lag.phase_err_rad)
    assert abs(np.mean(normalised)) < 0.4
    assert 0.75 < np.std(normalised) < 1.3


def test_lags_of_relative_light_curves_of_three_keys() -> None:
    curves = []
    for key, lag_rad, seed in (("1:g", 0.0, 1), ("2:r", np.pi / 2.0, 2), ("3:i", np.pi, 3)):
        field = Field(variable=6, key=key, lag_rad=lag_rad, seed=seed, n_frames=900)
        curves.append(relative_light_curve(field.make(), 6, (1, 2, 3, 4, 5)))
    origin = float(curves[0].time()[0])
    series = [curve.series(origin) for curve in curves]
    assert phase_lag(series[0], series[1], 0.135).phase_rad == pytest.approx(np.pi / 2.0, abs=0.15)
    assert abs(phase_lag(series[0], series[2], 0.135).phase_rad) == pytest.approx(np.pi, abs=0.15)
    spectrum = _spectrum(series[0])
    assert spectrum.peak_frequency_hz == pytest.approx(0.135, abs=1e-4)
    assert spectrum.peak_rms == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize("frequency", [0.0, -1.0, math.nan])
def test_lag_at_no_frequency_is_refused(frequency: float) -> None:
    series = _sinusoid(np.arange(50.0), 0.02, 0.01)
    with pytest.raises(AnalysisError, match=r"frequency_hz .* must be greater than 0"):
        phase_lag(series, series, frequency)
