"""Folds and their bins against the truth, and an ephemeris from the peak with errors that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream.analysis.folding import Ephemeris, ephemeris_of_peak, phase_bin, phase_fold
from stream.analysis.periodogram import lomb_scargle
from stream.analysis.series import TimeSeries
from stream.errors import AnalysisError, ConfigurationError
from tests.analysis.signals import FREQUENCY_HZ, RMS, SAMPLINGS, sinusoid, times

PERIOD_S = 1.0 / FREQUENCY_HZ


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_bins_of_a_fold_are_the_sinusoid_within_their_errors(sampling: str) -> None:
    bins = phase_bin(sinusoid(times(sampling, 3000), noise=0.02, seed=3), Ephemeris(PERIOD_S), n_bins=20)
    # The mean of a sinusoid over a bin, not its middle.
    smeared = np.sinc(1.0 / 20.0) * RMS * math.sqrt(2.0)
    pulls = (bins.flux - 1.0 - smeared * np.sin(2.0 * math.pi * bins.phase)) / bins.flux_err
    assert abs(pulls).max() < 4.0
    assert 0.6 < pulls.std() < 1.4
    assert bins.n_points.sum() == len(times(sampling, 3000))
    assert np.median(bins.scatter_err / bins.flux_err) == pytest.approx(1.1, abs=0.2)


def test_a_fold_keeps_every_measured_point_in_its_cycle() -> None:
    series = sinusoid(times("jittered", 200), noise=0.01, seed=1)
    series.flux[4] = np.nan
    folded = phase_fold(series, Ephemeris(PERIOD_S, 50.0))
    assert len(folded.phase) == 199
    assert (np.diff(folded.phase) >= 0.0).all()
    assert folded.phase.min() >= 0.0 and folded.phase.max() < 1.0
    back = np.sort(50.0 + (folded.cycle + folded.phase) * PERIOD_S)
    np.testing.assert_allclose(back, np.delete(series.time_s, 4), atol=1e-9)
    just_before = phase_fold(TimeSeries(np.array([-1e-18]), np.ones(1), np.ones(1)), Ephemeris(1.0))
    assert (just_before.phase[0], just_before.cycle[0]) == (0.0, 0)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_period_and_epoch_of_the_peak_scatter_by_their_errors(sampling: str) -> None:
    period, epoch = [], []
    for seed in range(60):
        series = sinusoid(times(sampling, 500, seed), noise=0.02, seed=seed)
        found = ephemeris_of_peak(lomb_scargle(series.time_s, series.flux, series.flux_err), series)
        period.append((found.period_s - PERIOD_S) / found.period_err_s)
        # Maxima of the truth are a quarter of a period after its zeros.
        late = (found.epoch_s - 0.25 * PERIOD_S + 0.5 * PERIOD_S) % PERIOD_S - 0.5 * PERIOD_S
        epoch.append(late / found.epoch_err_s)
    for pulls in (period, epoch):
        assert abs(np.mean(pulls)) < 0.45
        assert 0.75 < np.std(pulls) < 1.3


def test_the_phase_is_less_sure_far_from_the_epoch() -> None:
    ephemeris = Ephemeris(10.0, 100.0, period_err_s=0.01, epoch_err_s=0.3)
    assert ephemeris.phase_err(100.0) == pytest.approx(0.03)
    assert ephemeris.phase_err(100.0 + 10.0 * 40) == pytest.approx(math.hypot(0.3, 0.4) / 10.0)


def test_empty_bins_are_not_a_number_and_bins_of_one_point_have_no_scatter() -> None:
    bins = phase_bin(TimeSeries(np.array([0.1, 0.6]), np.array([1.0, 2.0]), np.full(2, 0.1)), Ephemeris(1.0), n_bins=4)
    np.testing.assert_array_equal(bins.flux, [1.0, np.nan, 2.0, np.nan])
    np.testing.assert_array_equal(bins.n_points, [1, 0, 1, 0])
    assert np.isnan(bins.scatter_err).all()


def test_what_cannot_be_folded_is_one_sentence() -> None:
    series = sinusoid(times("even", 50), noise=0.01, seed=1)
    for period in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigurationError, match=r"period_s \(.*\) must be greater than 0"):
            Ephemeris(period)
    with pytest.raises(ConfigurationError, match=r"epoch_s \(nan\) must be a finite number"):
        Ephemeris(1.0, math.nan)
    with pytest.raises(ConfigurationError, match=r"n_bins \(0\) must be 1 to 10000"):
        phase_bin(series, Ephemeris(1.0), n_bins=0)
    nothing = TimeSeries(series.time_s, np.full(50, np.nan), series.flux_err)
    with pytest.raises(AnalysisError, match="a fold needs at least one measured point, not 0"):
        phase_fold(nothing, Ephemeris(1.0))
