"""A signal that changes its frequency is followed; windows that did not change are not computed again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.timeseries import LombScargle

from stream.analysis import dynamic_spectrum as module
from stream.analysis.dynamic_spectrum import Windows, dynamic_spectrum
from stream.analysis.floating_mean import transformed_sums
from stream.analysis.periodogram import Normalisation
from stream.analysis.series import TimeSeries
from stream.errors import AnalysisError, ConfigurationError
from tests.analysis.signals import SAMPLINGS, sinusoid, times, white_noise

SLIDING = Windows(200.0, 100.0)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_signal_that_becomes_faster_is_followed(sampling: str) -> None:
    time = times(sampling, 3000)
    frequency = 0.05 + 0.1 * time / 3000.0
    phase = 2.0 * math.pi * (0.05 * time + 0.05 * time**2 / 3000.0)
    random = np.random.default_rng(1)
    series = TimeSeries(
        time, 1.0 + 0.03 * np.sin(phase) + 0.005 * random.normal(size=len(time)), np.full(len(time), 0.005)
    )
    found = dynamic_spectrum(series, SLIDING)
    filled = np.isfinite(found.power).all(axis=1)
    assert len(found.time_s) in (28, 29)
    assert filled.sum() >= (len(found.time_s) if sampling != "gappy" else 18)
    peaks = found.frequency_hz[found.power[filled].argmax(axis=1)]
    np.testing.assert_allclose(peaks, np.interp(found.time_s[filled], time, frequency), atol=0.004)


def test_each_window_is_a_power_spectrum_of_its_points() -> None:
    series = sinusoid(times("gappy", 1000), noise=0.01, seed=1)
    found = dynamic_spectrum(series, Windows(150.0, 40.0, Normalisation.LEAHY, least_filled=0.2))
    for row in (0, 3, len(found.time_s) - 1):
        inside = np.abs(series.time_s - series.time_s[0] - found.time_s[row] + 1e-9) < 75.0
        inside &= series.time_s < found.time_s[row] + 75.0 - 1e-6
        inside |= np.isclose(series.time_s, found.time_s[row] - 75.0)
        assert inside.sum() == found.n_points[row]
        points = LombScargle(series.time_s[inside], series.flux[inside], series.flux_err[inside])
        expected = points.power(found.frequency_hz, method="slow", normalization="psd") * 2.0
        # The last frequency is Nyquist's, where cosine and sine are one and the same on even times.
        np.testing.assert_allclose(found.power[row][:-1], expected[:-1], rtol=1e-6, atol=1e-5)


def test_only_what_changed_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    series = sinusoid(times("jittered", 2000), noise=0.01, seed=1)
    before = dynamic_spectrum(TimeSeries(series.time_s[:1500], series.flux[:1500], series.flux_err[:1500]), SLIDING)
    corrected = TimeSeries(series.time_s, series.flux.copy(), series.flux_err)
    corrected.flux[450] += 0.1
    computed = []
    whole = transformed_sums

    def counted(points: TimeSeries, *args: float, **options: object) -> np.ndarray:
        computed.append(float(points.time_s[0]))
        return whole(points, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "transformed_sums", counted)
    after = dynamic_spectrum(corrected, SLIDING, previous=before)
    assert [start // 100.0 for start in computed[:2]] == [3.0, 4.0]  # the windows with the corrected point
    assert len(computed) == 2 + len(after.time_s) - len(before.time_s)
    np.testing.assert_array_equal(after.power, dynamic_spectrum(corrected, SLIDING).power)
    other = dynamic_spectrum(corrected, Windows(200.0, 50.0), previous=before)
    assert len(other.time_s) == 37


@pytest.mark.parametrize(
    ("series", "settings", "words"),
    [
        (TimeSeries(np.arange(2.0), np.ones(2), np.ones(2)), SLIDING, "needs at least 5 measured points .* not 2"),
        (TimeSeries(np.arange(9.0), np.full(9, np.nan), np.ones(9)), SLIDING, "different times, not 0"),
        (TimeSeries(np.arange(900.0), np.ones(900), np.ones(900)), SLIDING, "all 900 points have the same flux"),
        (white_noise(np.arange(150.0), noise=0.1, seed=1), SLIDING, "must not be longer than the light curve, 150 s"),
        (white_noise(np.arange(150.0), noise=0.1, seed=1), Windows(3.0, 1.0), "does not resolve two cycles"),
        (white_noise(np.arange(150.0), noise=0.1, seed=1), Windows(30.0, 1e-3), "step_s must be longer"),
    ],
)
def test_what_has_no_windows_is_one_sentence(series: TimeSeries, settings: Windows, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        dynamic_spectrum(series, settings)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"window_s \(0.0\) of a dynamic spectrum must be greater than 0"):
        Windows(0.0, 1.0)
    with pytest.raises(ConfigurationError, match=r"least_filled \(2.0\) must be between 0 and 1"):
        Windows(10.0, 1.0, least_filled=2.0)


def test_a_gap_longer_than_a_window_stays_empty() -> None:
    time = np.concatenate([np.arange(400.0), 5000.0 + np.arange(400.0)])
    found = dynamic_spectrum(white_noise(time, noise=0.1, seed=1), SLIDING)
    empty = np.asarray(np.isnan(found.power).all(axis=1))
    assert empty[found.n_points == 0].all()
    assert 40 < empty.sum() < len(found.time_s)
    assert not np.isnan(found.power[~empty]).any()
