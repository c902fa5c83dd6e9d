"""Whatever times and fluxes come in, each method gives finite numbers or one sentence, and never a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.analysis.averaged_spectra import Averaging, averaged_power_spectrum
from stream.analysis.cross_correlation import Lags, cross_correlation
from stream.analysis.cross_spectra import cross_spectrum
from stream.analysis.detrending import Detrending, Trend, detrend
from stream.analysis.dynamic_spectrum import Windows, dynamic_spectrum
from stream.analysis.folding import Ephemeris, ephemeris_of_peak, phase_bin
from stream.analysis.periodogram import lomb_scargle
from stream.analysis.rolling import RollingSpectrum
from stream.analysis.series import TimeSeries
from stream.analysis.significance import false_alarm_level, window_function
from stream.analysis.transit_fit import fit_transit
from stream.errors import AnalysisError

SEGMENT = Averaging(20.0)


def peak_and_level(series: TimeSeries) -> list[float]:
    spectrum = lomb_scargle(series.time_s, series.flux, series.flux_err)
    ephemeris = ephemeris_of_peak(spectrum, series)
    return [false_alarm_level(spectrum, series).power, ephemeris.period_s, ephemeris.epoch_s]


METHODS: dict[str, Callable[[TimeSeries], object]] = {
    "periodogram": lambda each: lomb_scargle(each.time_s, each.flux, each.flux_err).power,
    "peak": peak_and_level,
    "window": lambda each: window_function(each).power,
    "rolling": lambda each: RollingSpectrum().update(each).power,
    "averaged": lambda each: averaged_power_spectrum(each, SEGMENT).power,
    "lags": lambda each: cross_spectrum(each, each, SEGMENT).phase_lag_rad,
    "correlation": lambda each: cross_correlation(each, each, Lags(10.0, n_trials=2)).peak_correlation,
    "dynamic": lambda each: np.nan_to_num(dynamic_spectrum(each, Windows(30.0, 10.0)).power),
    "fold": lambda each: np.nan_to_num(phase_bin(each, Ephemeris(7.0)).flux),
    "polynomial": lambda each: detrend(each, Detrending(Trend.POLYNOMIAL, degree=3)).series.flux,
    "median": lambda each: detrend(each, Detrending(Trend.MEDIAN, window_s=9.0)).series.flux,
    "transit": lambda each: fit_transit(each).depth,
}


@st.composite
def light_curves(draw: st.DrawFn) -> TimeSeries:
    """Steady, with gaps longer than all the rest, repeated times, NaN, zeros for errors, levels of any size."""
    n_points = draw(st.sampled_from([0, 1, 2, 5, 13, 60, 120]))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    kind = draw(st.sampled_from(["steady", "gap", "repeated", "random", "same"]))
    time = np.arange(float(n_points))
    if kind == "gap":
        time[n_points // 2 :] += 1e5
    elif kind == "repeated":
        time = np.floor(time / 3.0)
    elif kind == "random":
        time = np.sort(random.uniform(0.0, 300.0, n_points))
    elif kind == "same":
        time = np.zeros(n_points)
    level = draw(st.sampled_from([-1.0, 0.0, 1e-6, 1.0, 1e6]))
    scatter = draw(st.sampled_from([0.0, 1e-3, 1.0]))
    flux = level + scatter * random.normal(size=n_points)
    error = np.full(n_points, max(scatter, 1e-9))
    for column in (flux, error):
        column[random.uniform(size=n_points) < draw(st.sampled_from([0.0, 0.1, 1.0]))] = np.nan
    error[random.uniform(size=n_points) < 0.02] = 0.0
    return TimeSeries(time, flux, error)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=25, deadline=None)
@given(series=light_curves())
def test_odd_light_curves_give_finite_numbers_or_a_sentence(name: str, series: TimeSeries) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = METHODS[name](series)
        except AnalysisError as error:
            assert len(str(error)) > 20
            assert "\n" not in str(error)
            return
    assert np.isfinite(np.asarray(found, dtype=float)).all()
