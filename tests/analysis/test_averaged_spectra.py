"""Spectra and cross spectra of segments: powers, lags and coherences of signals whose truth is known."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from stream.analysis.averaged_spectra import Averaging, averaged_power_spectrum, rebinned
from stream.analysis.cross_spectra import UNKNOWN_PHASE_ERR_RAD, CrossSpectrum, cross_spectrum
from stream.analysis.good_times import even_light_curves
from stream.analysis.periodogram import Normalisation
from stream.analysis.series import TimeSeries
from stream.analysis.sinusoid import phase_lag
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray
from tests.analysis.signals import FREQUENCY_HZ, RMS, SAMPLINGS, sinusoid, times, white_noise

SEGMENT = Averaging(200.0)
"""Twenty-seven periods: the signal is at the middle of a frequency."""


def at_the_signal(frequency_hz: FloatArray) -> int:
    return int(np.argmin(np.abs(frequency_hz - FREQUENCY_HZ)))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_power_around_the_signal_is_its_rms_squared_over_the_noise_of_the_errors(sampling: str) -> None:
    found = averaged_power_spectrum(sinusoid(times(sampling, 6000), noise=0.01, seed=3), SEGMENT)
    index = at_the_signal(found.frequency_hz)
    width = found.frequency_hz[1] - found.frequency_hz[0]
    near = slice(index - 1, index + 2)
    rms = math.sqrt((found.power[near] - found.noise_level).sum() * width)
    # Times that are off by up to 0.2 s lose a part in 200 of the power; a filled point is not the signal either.
    assert rms == pytest.approx(RMS, rel=0.02)
    elsewhere = np.abs(found.frequency_hz - FREQUENCY_HZ) > 10 * width
    assert found.power[elsewhere].mean() == pytest.approx(found.noise_level, rel=0.05)
    assert found.n_segments >= (15 if sampling == "gappy" else 29)
    assert f"{found.n_segments} segments of 200 s" in found.sentence
    assert ("points interpolated" in found.sentence) == (sampling == "gappy")


@pytest.mark.parametrize("sampling", ["even", "apart", "jittered"])
def test_rms_of_an_injected_sinusoid_scatters_by_its_theoretical_error(sampling: str) -> None:
    """Of a power P of the signal over noise N in each of m segments: variance (2 P N + k N^2) / m for k frequencies."""
    pulls = []
    for seed in range(40):
        found = averaged_power_spectrum(sinusoid(times(sampling, 2000, seed), noise=0.02, seed=seed), SEGMENT)
        width, index = 1.0 / found.segment_s, at_the_signal(found.frequency_hz)
        square = (found.power[index - 1 : index + 2] - found.noise_level).sum() * width
        lost = 1.0 - math.exp(-((2.0 * math.pi * FREQUENCY_HZ * 0.2) ** 2) / 3.0) if sampling == "jittered" else 0.0
        truth, noise = RMS**2 * (1.0 - lost), found.noise_level * width
        pulls.append((square - truth) / math.sqrt((2.0 * truth * noise + 3.0 * noise**2) / found.n_segments))
    assert abs(np.mean(pulls)) < 0.5
    assert 0.7 < np.std(pulls) < 1.35


def test_normalisations_of_noise() -> None:
    series = white_noise(times("even", 4000), noise=0.03, seed=1)
    high = TimeSeries(series.time_s, 500.0 * series.flux, 500.0 * series.flux_err)
    expected = {
        Normalisation.LEAHY: 2.0,
        Normalisation.ABSOLUTE: 2.0 * (500.0 * 0.03) ** 2,
        Normalisation.FRACTIONAL: 2.0 * 0.03**2,
    }
    for normalisation, level in expected.items():
        found = averaged_power_spectrum(high, Averaging(100.0, normalisation))
        assert found.noise_level == pytest.approx(level, rel=1e-3)
        assert found.power.mean() == pytest.approx(level, rel=0.05)
        pulls = (found.power - level) / found.power_err
        assert pulls.std() == pytest.approx(1.0, abs=0.3)


def test_bins_that_grow_are_means_with_the_error_of_what_is_in_them() -> None:
    fine = averaged_power_spectrum(white_noise(times("even", 8000), noise=0.03, seed=2), Averaging(400.0))
    coarse = rebinned(fine, 0.1)
    assert coarse.n_averaged is not None
    assert coarse.n_averaged.sum() == len(fine.power)
    assert coarse.n_averaged[0] == 1 and coarse.n_averaged[-2] > 12
    assert np.sum(coarse.power * coarse.n_averaged) == pytest.approx(fine.power.sum())
    pulls = (coarse.power / fine.noise_level - 1.0) * np.sqrt(coarse.n_averaged * fine.n_segments)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.35)
    np.testing.assert_allclose(coarse.power_err, coarse.power / np.sqrt(coarse.n_averaged * 20))
    assert coarse.sentence == "20 segments of 400 s, 100 % of the good times, bins of frequency that grow by 10 %"
    with pytest.raises(ConfigurationError, match=r"growth \(0.0\) of the bins of a spectrum must be above 0"):
        rebinned(fine, 0.0)
    with pytest.raises(ConfigurationError, match="cannot be rebinned again"):
        rebinned(coarse, 0.1)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("lag_rad", [0.0, math.pi / 2.0, math.pi, -1.0])
def test_a_second_light_curve_that_is_late_has_a_positive_lag(sampling: str, lag_rad: float) -> None:
    first = sinusoid(times(sampling, 6000, 1), noise=0.02, seed=1)
    second = sinusoid(times(sampling, 6000, 2) + 0.31, noise=0.02, seed=2, lag_rad=lag_rad)
    found = cross_spectrum(first, second, SEGMENT)
    index = at_the_signal(found.frequency_hz)
    error = found.phase_lag_err_rad[index]
    assert abs(math.remainder(found.phase_lag_rad[index] - lag_rad, 2.0 * math.pi)) < 4.0 * error
    assert 0.001 < error < 0.1
    assert found.time_lag_s[index] == pytest.approx(
        found.phase_lag_rad[index] / (2.0 * math.pi * found.frequency_hz[index]), rel=1e-9
    )
    fitted = phase_lag(first, second, FREQUENCY_HZ)
    assert abs(math.remainder(found.phase_lag_rad[index] - fitted.phase_rad, 2.0 * math.pi)) < 3.0 * error
    assert found.coherence[index] > 0.9
    assert found.intrinsic_coherence[index] == pytest.approx(1.0, abs=0.05)


def correlated_noise(seed: int, late_s: int, coherent: float) -> CrossSpectrum:
    """White noise that both share, by a given coherence, the second late by whole seconds."""
    random = np.random.default_rng(seed)
    shared, own = random.normal(size=4000 + late_s), random.normal(size=(2, 4000))
    share = math.sqrt(coherent)
    time, error = np.arange(4000.0), np.full(4000, 1e-4)
    first, second = (
        TimeSeries(time, 1.0 + 0.01 * (math.sqrt(share) * part + math.sqrt(1.0 - share) * own[index]), error)
        for index, part in enumerate((shared[late_s:], shared[:4000]))
    )
    return cross_spectrum(first, second, Averaging(100.0))


def test_lags_and_coherences_of_noise_scatter_by_their_errors() -> None:
    pulls, coherences = [], []
    for seed in range(12):
        found = correlated_noise(seed, 2, 0.5)
        low = found.frequency_hz < 0.2
        pulls.append((found.time_lag_s[low] - 2.0) / found.time_lag_err_s[low])
        coherences.append(found.coherence)
        assert found.n_segments == 40
    assert abs(np.mean(pulls)) < 0.2
    assert 0.85 < np.std(pulls) < 1.25
    assert np.mean(coherences) == pytest.approx(0.5, abs=0.03)
    assert np.std(coherences) == pytest.approx(found.coherence_err.mean(), rel=0.25)


def test_independent_noise_has_no_coherence_and_no_phase() -> None:
    found = correlated_noise(3, 0, 0.0)
    assert found.coherence.mean() < 0.03
    assert np.median(found.phase_lag_err_rad) > 0.5
    assert found.phase_lag_err_rad.max() == pytest.approx(UNKNOWN_PHASE_ERR_RAD)


def with_own_noise(seed: int, coherent: float) -> CrossSpectrum:
    """Signals of 2 % that both share by a given coherence, under noise of 1.5 % of the errors."""
    random = np.random.default_rng(seed)
    shared, own = random.normal(size=8000), random.normal(size=(2, 8000))
    time, error, share = np.arange(8000.0), np.full(8000, 0.015), math.sqrt(coherent)
    first, second = (
        TimeSeries(
            time,
            1.0 + 0.02 * (math.sqrt(share) * shared + math.sqrt(1.0 - share) * part) + error * random.normal(size=8000),
            error,
        )
        for part in own
    )
    return cross_spectrum(first, second, Averaging(64.0))


@pytest.mark.parametrize(("coherent", "scatter"), [(1.0, 0.25), (0.7, 0.2)])
def test_noise_of_the_errors_is_taken_out_of_the_intrinsic_coherence(coherent: float, scatter: float) -> None:
    measured, pulls = [], []
    for seed in range(8):
        found = with_own_noise(seed, coherent)
        measured.append(found.coherence.mean())
        pulls.append((found.intrinsic_coherence - coherent) / found.intrinsic_coherence_err)
    assert np.mean(measured) == pytest.approx(coherent * (0.02**2 / (0.02**2 + 0.015**2)) ** 2, abs=0.02)
    assert abs(np.nanmean(pulls)) < 0.3
    assert np.nanstd(pulls) == pytest.approx(1.0, abs=scatter)


def test_a_page_does_not_wait_for_stingray() -> None:
    """Importing it takes seconds: only the functions that return its objects do."""
    root = Path(__file__).resolve().parents[2]
    sources = [path for folder in ("stream", "server") for path in (root / folder).rglob("*.py")]
    importing = [path.name for path in sources if re.search(r"^\s*(import|from) stingray", path.read_text(), re.M)]
    assert importing == ["library_objects.py"]


def test_the_grid_keeps_time_over_a_night_and_through_a_gap() -> None:
    """A cadence that is no whole number of milliseconds, times in milliseconds: a median alone drifts off by cells."""
    number = np.arange(20_000)
    number = number[(number < 8000) | (number >= 12_345)]
    time = np.round(1.00037 * number, 3) + 3.2
    curves = even_light_curves({"1:g": TimeSeries(time, np.ones(len(time)), np.ones(len(time)))})
    assert curves.cadence_s == pytest.approx(1.00037, abs=1e-6)
    assert curves.good.sum() == len(time)
    np.testing.assert_allclose(curves.time_s[curves.good] + curves.offset_s["1:g"], time, atol=0.01)
    np.testing.assert_allclose(np.diff(curves.intervals_s, axis=1).ravel(), [8000 * 1.00037, 7655 * 1.00037], rtol=1e-6)


def test_a_faster_key_is_averaged_into_the_cells_of_the_slower() -> None:
    slow = sinusoid(np.arange(0.0, 3000.0, 2.0), noise=0.005, seed=1)
    fast = sinusoid(np.arange(0.1, 3000.1, 0.5), noise=0.005, seed=2, lag_rad=1.0)
    curves = even_light_curves({"slow": slow, "fast": fast})
    assert curves.cadence_s == pytest.approx(2.0)
    inner = slice(10, 20)
    assert np.median(curves.flux_err["fast"][inner]) == pytest.approx(0.0025, rel=0.2)
    found = cross_spectrum(slow, fast, SEGMENT)
    index = at_the_signal(found.frequency_hz)
    assert found.phase_lag_rad[index] == pytest.approx(1.0, abs=5.0 * found.phase_lag_err_rad[index])


def two_points() -> TimeSeries:
    return TimeSeries(np.array([0.0, 1.0]), np.ones(2), np.ones(2))


@pytest.mark.parametrize(
    ("series", "settings", "words"),
    [
        (two_points(), SEGMENT, "an even grid needs at least 5 measured points of different times, not 2"),
        (TimeSeries(np.arange(50.0), np.full(50, np.nan), np.ones(50)), SEGMENT, "of different times, not 0"),
        (TimeSeries(np.arange(500.0), np.ones(500), np.ones(500)), SEGMENT, "all 500 points have the same flux"),
        (TimeSeries(np.arange(50.0)[::-1], np.ones(50), np.ones(50)), SEGMENT, "times must ascend"),
        (white_noise(np.arange(50.0), noise=0.1, seed=1), SEGMENT, "longest stretch without a gap, 50 s"),
        (white_noise(np.arange(50.0) ** 2, noise=0.1, seed=1), SEGMENT, "its times scatter by .* Lomb-Scargle takes"),
        (white_noise(np.arange(50.0), noise=0.1, seed=1), Averaging(5.0), r"segment_s \(5\) must hold at least 8"),
        (
            white_noise(np.concatenate([np.arange(60.0), 1e5 + np.arange(60.0)]), noise=0.1, seed=1),
            Averaging(100.0),
            "longest stretch without a gap, 60 s",
        ),
    ],
)
def test_what_has_no_segments_is_one_sentence(series: TimeSeries, settings: Averaging, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        averaged_power_spectrum(series, settings)
    with pytest.raises(AnalysisError, match=words):
        cross_spectrum(series, series, settings)


def test_keys_without_a_common_time_and_single_segments_are_refused() -> None:
    early = white_noise(np.arange(60.0), noise=0.1, seed=1)
    late = TimeSeries(early.time_s + 1000.0, early.flux, early.flux_err)
    with pytest.raises(AnalysisError, match="light curves of first, second have no time in common"):
        cross_spectrum(early, late, Averaging(20.0))
    with pytest.raises(
        AnalysisError, match=r"needs at least 2 segments of 40 s .* not 1: one alone is always coherent"
    ):
        cross_spectrum(early, early, Averaging(40.0))
    with pytest.raises(ConfigurationError, match=r"segment_s \(nan\) must be greater than 0"):
        Averaging(math.nan)
    with pytest.raises(ConfigurationError, match=r"longest_fill \(-1\) must be 0 or more"):
        even_light_curves({"1:g": early}, longest_fill=-1)
