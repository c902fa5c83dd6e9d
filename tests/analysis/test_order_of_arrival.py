"""The order in which points arrive changes no result: not one of those that are kept up to date as they come either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.analysis.averaged_spectra import Averaging, averaged_power_spectrum
from stream.analysis.cross_correlation import Lags, cross_correlation
from stream.analysis.cross_spectra import cross_spectrum
from stream.analysis.detrending import Detrending, Trend, detrend
from stream.analysis.dynamic_spectrum import DynamicSpectrum, Windows, dynamic_spectrum
from stream.analysis.folding import Ephemeris, ephemeris_of_peak, phase_bin, phase_fold
from stream.analysis.good_times import even_light_curves
from stream.analysis.periodogram import PowerSpectrum, lomb_scargle
from stream.analysis.rolling import RollingSeries, RollingSpectrum
from stream.analysis.running_median import RunningMedian
from stream.analysis.series import TimeSeries, in_order
from stream.analysis.significance import false_alarm_level, window_function
from stream.analysis.sinusoid import phase_lag
from stream.analysis.transit_fit import fit_transit
from tests.analysis.signals import FREQUENCY_HZ, sinusoid, times

KEYS = ("1:g", "2:r")
MEDIAN = Detrending(Trend.MEDIAN, window_s=31.0)
SLIDING = Windows(60.0, 20.0)
N_BLOCKS = 40


def whole(series: TimeSeries) -> PowerSpectrum:
    return lomb_scargle(series.time_s, series.flux, series.flux_err)


RESULTS: dict[str, Callable[[TimeSeries, TimeSeries], object]] = {
    "power spectrum": lambda one, _: whole(one),
    "false-alarm level": lambda one, _: false_alarm_level(whole(one), one),
    "window function": lambda one, _: window_function(one),
    "ephemeris": lambda one, _: ephemeris_of_peak(whole(one), one),
    "averaged spectrum": lambda one, _: averaged_power_spectrum(one, Averaging(40.0)),
    "good times": lambda one, two: even_light_curves({"1:g": one, "2:r": two}),
    "cross spectrum": lambda one, two: cross_spectrum(one, two, Averaging(40.0)),
    "lag at the peak": lambda one, two: phase_lag(one, two, FREQUENCY_HZ),
    "cross-correlation": lambda one, two: cross_correlation(one, two, Lags(8.0, 1.0, n_trials=3)),
    "dynamic spectrum": lambda one, _: dynamic_spectrum(one, SLIDING),
    "fold": lambda one, _: phase_fold(one, Ephemeris(1.0 / FREQUENCY_HZ)),
    "phase bins": lambda one, _: phase_bin(one, Ephemeris(1.0 / FREQUENCY_HZ)),
    "polynomial": lambda one, _: detrend(one, Detrending(Trend.POLYNOMIAL, degree=3)),
    "running median": lambda one, _: detrend(one, MEDIAN),
    "airmass": lambda one, _: detrend(one, Detrending(Trend.AIRMASS), airmass=1.0 + one.time_s**2 / 1e5),
    "transit": lambda one, _: fit_transit(one, airmass=1.0 + one.time_s**2 / 1e5),
}


class Kept:
    """What is brought up to date as points come."""

    def __init__(self) -> None:
        self.spectrum = RollingSpectrum()
        self.medians = RunningMedian(MEDIAN.window_s)
        self.dynamic: DynamicSpectrum | None = None
        self.power: PowerSpectrum | None = None

    def follow(self, series: TimeSeries) -> None:
        if len(series.time_s) > 120:
            self.power = self.spectrum.update(series)
            self.dynamic = dynamic_spectrum(series, SLIDING, previous=self.dynamic)
            detrend(series, MEDIAN, medians=self.medians)


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Equal to the last bit, whatever is in it."""
    if is_dataclass(expected):
        for field in fields(expected):
            assert_same(getattr(found, field.name), getattr(expected, field.name), f"{where}, {field.name}")
    elif isinstance(expected, Mapping):
        for name, each in expected.items():
            assert_same(found[name], each, f"{where}, {name}")
    else:
        np.testing.assert_array_equal(found, expected, err_msg=where)


@cache
def complete() -> dict[str, TimeSeries]:
    """Two keys of 200 points, each time twice, one a quarter of a cycle late."""
    return {
        key: sinusoid(np.repeat(times("jittered", 100, seed), 2), noise=0.02, seed=seed, lag_rad=1.6 * seed)
        for seed, key in enumerate(KEYS)
    }


@cache
def expected() -> dict[str, object]:
    ordered = [in_order(series) for series in complete().values()]
    return {name: compute(*ordered) for name, compute in RESULTS.items()}


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(2 * N_BLOCKS)), sizes=st.lists(st.integers(6, 40), min_size=1, max_size=8))
def test_the_order_of_arrival_changes_no_result(order: list[int], sizes: list[int]) -> None:
    """Forty blocks of five points of either key come in any order and in any portions."""
    points = {key: RollingSeries() for key in KEYS}
    kept = Kept()
    while order:
        taken, order = order[: sizes[0]], order[sizes[0] :]
        sizes = [*sizes[1:], sizes[0]]
        for number, key in enumerate(KEYS):
            blocks = [block % N_BLOCKS for block in taken if block // N_BLOCKS == number]
            rows = np.array([5 * block + each for block in blocks for each in range(5)], dtype=np.int64)
            series = complete()[key]
            points[key].add(TimeSeries(series.time_s[rows], series.flux[rows], series.flux_err[rows]))
        kept.follow(points[KEYS[0]].series)
    arrived = [points[key].series for key in KEYS]
    for name, compute in RESULTS.items():
        assert_same(compute(*arrived), expected()[name], name)
    assert_same(kept.dynamic, expected()["dynamic spectrum"], "dynamic spectrum kept")
    assert_same(detrend(arrived[0], MEDIAN, medians=kept.medians), expected()["running median"], "medians kept")
    _assert_close(kept, arrived[0])


def _assert_close(kept: Kept, series: TimeSeries) -> None:
    """Sums that were added to and taken from agree to rounding with those of all points at once."""
    at_once, grown = RollingSpectrum().update(series), kept.power
    assert grown is not None
    if len(grown.power) == len(at_once.power) and grown.frequency_hz[0] == at_once.frequency_hz[0]:
        np.testing.assert_allclose(grown.power, at_once.power, atol=1e-9 * at_once.all_variance_power)
    assert grown.peak_frequency_hz == pytest.approx(at_once.peak_frequency_hz, abs=0.01 * at_once.peak_frequency_err_hz)
    assert grown.peak_rms == pytest.approx(at_once.peak_rms, rel=1e-4)
    assert grown.noise_level == at_once.noise_level
