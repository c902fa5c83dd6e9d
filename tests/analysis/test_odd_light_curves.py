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
from tests.analysis.signals import FREQUENCY_HZ, RMS, sinusoid, times

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


def case(name: str) -> TimeSeries:
    """A bad light curve by name, from a good one of five minutes."""
    good = sinusoid(times("even", 300), noise=0.01, seed=1)
    time, flux, error = good.time_s.copy(), good.flux.copy(), good.flux_err.copy()
    if name == "two points":
        return TimeSeries(time[:2], flux[:2], error[:2])
    if name == "all NaN":
        flux[:] = np.nan
    elif name == "no errors":
        error[:] = 0.0
    elif name == "one time":
        time[:] = 5.0
    elif name == "unordered":
        time[[3, 200]] = time[[200, 3]]
    elif name == "constant":
        flux[:] = 1.0 / 3.0
    elif name == "gap":
        time[150:] += 1000.0
    elif name == "duplicates":
        again = sinusoid(time, noise=0.01, seed=2)
        time, flux, error = (
            np.repeat(time, 2),
            np.column_stack([flux, again.flux]).ravel(),
            np.column_stack([error, again.flux_err]).ravel(),
        )
    return TimeSeries(time, flux, error)


BAD = {
    "two points": r"needs (at least )?\d+ (measured )?points",
    "all NaN": r"needs (at least (\d+|one) measured point|an airmass)",
    "no errors": r"needs (at least (\d+|one) measured point|an airmass)",
    "one time": r"points of different times, not 1$",
    "unordered": "times must ascend: point 5 of 300 is before the last",
    "constant": "all 300 points have the same flux: there is no .* of a constant",
}
MEANINGFUL = {
    "two points": {"fold"},
    "one time": {"fold", "median"},
    "constant": {"window", "fold", "polynomial", "median"},
}
"""Two points have phases; a constant has a mean; the window function is of the times alone."""


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_light_curve_is_an_error_that_names_the_requirement(name: str, bad: str) -> None:
    if name in MEANINGFUL.get(bad, set()):
        found = np.asarray(METHODS[name](case(bad)), dtype=float)
        level = 1.0 / 3.0 if bad == "constant" and name != "window" else None
        assert np.isfinite(found).all()
        assert level is None or found[found > 0.0] == pytest.approx(level, rel=1e-12)
        return
    with pytest.raises(AnalysisError, match=BAD[bad]):
        METHODS[name](case(bad))


@pytest.mark.parametrize("bad", ["gap", "duplicates"])
def test_gaps_longer_than_the_data_and_repeated_times_leave_right_numbers(bad: str) -> None:
    series = case(bad)
    spectrum = lomb_scargle(series.time_s, series.flux, series.flux_err)
    assert spectrum.peak_frequency_hz == pytest.approx(FREQUENCY_HZ, abs=4.0 * spectrum.peak_frequency_err_hz)
    assert spectrum.peak_rms == pytest.approx(RMS, abs=4.0 * spectrum.peak_rms_err)
    averaged = averaged_power_spectrum(series, Averaging(75.0))
    # Segments do not reach into the gap, and nothing is made up in it.
    assert (averaged.n_segments, "interpolated" in averaged.sentence) == (4, False)
    assert averaged.frequency_hz[averaged.power.argmax()] == pytest.approx(FREQUENCY_HZ, abs=1.0 / 75.0)
    windows = dynamic_spectrum(series, Windows(50.0, 50.0))
    filled = np.isfinite(windows.power).all(axis=1)
    assert filled.sum() == 6
    assert np.isnan(windows.power[~filled]).all()
    correlation = cross_correlation(series, series, Lags(3.0, n_trials=0))
    assert correlation.peak_lag_s == 0.0
    assert fit_transit(series).depth < 5.0 * fit_transit(series).depth_err


@pytest.mark.parametrize("level", [1e-5, 1.0 / 3.0, 54321.0])
@pytest.mark.parametrize("trend", [Detrending(Trend.POLYNOMIAL, degree=7), Detrending(Trend.MEDIAN, window_s=60.0)])
def test_a_constant_has_no_spectrum_after_detrending_either(level: float, trend: Detrending) -> None:
    constant = TimeSeries(np.arange(300.0), np.full(300, level), np.full(300, 0.01 * level))
    flat = detrend(constant, trend).series
    with pytest.raises(AnalysisError, match="all 300 points have the same flux"):
        lomb_scargle(flat.time_s, flat.flux, flat.flux_err)
