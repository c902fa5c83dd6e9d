"""Trapezoids with an airmass term in noise: depth, mid-time and duration within the errors that the fit gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream.analysis.series import TimeSeries
from stream.analysis.transit_fit import TransitFit, TransitGuess, fit_transit
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray
from stream.plots.timing import transits_figure
from tests.analysis.signals import white_noise

DEPTH, MIDDLE_S, DURATION_S, INGRESS_S, SLOPE = 0.024, 9000.0, 11_000.0, 1500.0, 0.03
HOUR_S = 3600.0


def airmass_of(time: FloatArray) -> FloatArray:
    return np.asarray(1.1 + 0.5 * ((time - 4000.0) / 20_000.0) ** 2)


def transit(seed: int, *, last_s: float = 20_000.0, noise: float = 0.005, depth: float = DEPTH) -> TimeSeries:
    """A frame in 100 s or so, times that jitter."""
    random = np.random.default_rng(seed)
    time = np.sort(np.arange(0.0, last_s, 100.0) + random.uniform(-20.0, 20.0, math.ceil(last_s / 100.0)))
    inside = np.clip((0.5 * DURATION_S - np.abs(time - MIDDLE_S)) / INGRESS_S, 0.0, 1.0)
    flux = (1.0 + SLOPE * (airmass_of(time) - 1.1)) * (1.0 - depth * inside)
    return TimeSeries(time, flux + noise * random.normal(size=len(time)), np.full(len(time), noise))


def fitted(series: TimeSeries, guess: TransitGuess | None = None) -> TransitFit:
    return fit_transit(series, airmass=airmass_of(series.time_s), guess=guess)


def test_depth_middle_and_duration_scatter_by_their_errors() -> None:
    pulls = []
    for seed in range(40):
        fit = fitted(transit(seed))
        pulls.append(
            [
                (fit.depth - DEPTH) / fit.depth_err,
                (fit.middle_s - MIDDLE_S) / fit.middle_err_s,
                (fit.duration_s - DURATION_S) / fit.duration_err_s,
            ]
        )
        assert fit.complete
        assert fit.sentence == "trapezoid with a linear term in airmass"
        assert fit.scatter == pytest.approx(0.005, rel=0.35)
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.5
    assert np.std(pulls, axis=0) == pytest.approx(1.0, abs=0.35)


def test_a_scatter_above_the_errors_is_in_the_errors_of_the_fit() -> None:
    """As where a star also pulsates: the errors of the points are a fifth of what they scatter by."""
    pulls = []
    for seed in range(25):
        series = transit(seed)
        fit = fitted(TimeSeries(series.time_s, series.flux, 0.2 * series.flux_err))
        pulls.append([(fit.depth - DEPTH) / fit.depth_err, (fit.middle_s - MIDDLE_S) / fit.middle_err_s])
    assert np.std(pulls, axis=0) == pytest.approx(1.0, abs=0.4)


def test_outliers_do_not_move_it() -> None:
    series = transit(3)
    clean = fitted(series)
    spoilt = TimeSeries(series.time_s, series.flux.copy(), series.flux_err)
    spoilt.flux[[20, 90, 150]] += [0.2, -0.3, 0.25]
    spoilt.flux[60] = np.nan
    fit = fitted(spoilt)
    assert abs(fit.depth - clean.depth) < 1.5 * clean.depth_err
    assert abs(fit.middle_s - clean.middle_s) < 1.5 * clean.middle_err_s
    assert np.isnan(fit.model).sum() == 1
    assert fit.n_points == len(series.flux) - 1


def test_a_transit_that_is_not_over_has_no_duration_and_says_so() -> None:
    running = fitted(transit(1, last_s=9000.0, noise=0.003), TransitGuess(MIDDLE_S, DURATION_S))
    assert not running.complete
    assert running.sentence.endswith("not seen: egress")
    assert math.isinf(running.duration_err_s)
    figure = transits_figure({"1:g": (transit(1, last_s=9000.0, noise=0.003), running)})
    assert ("not known yet" in figure.axes[0].get_title(loc="left")) == math.isinf(running.middle_err_s)
    alone = fitted(transit(1, last_s=9000.0))
    assert math.isinf(alone.middle_err_s)
    errors = [
        fitted(transit(1, last_s=hours * HOUR_S, noise=0.003), TransitGuess(MIDDLE_S, DURATION_S)).middle_err_s
        for hours in (3.9, 4.5, 5.5)
    ]
    assert errors[0] > errors[-1]


def test_without_airmass_the_trend_is_in_time() -> None:
    series = transit(2)
    for airmass in (None, np.full(len(series.time_s), 1.2), np.full(len(series.time_s), np.nan)):
        fit = fit_transit(series, airmass=airmass)
        assert fit.sentence == "trapezoid with a linear term in time"
        assert fit.middle_s == pytest.approx(MIDDLE_S, abs=5 * fit.middle_err_s + 200.0)
        assert 0.0 < fit.slope < 1e-5


def test_noise_is_no_transit() -> None:
    fits = [fit_transit(white_noise(np.arange(0.0, 2e4, 100.0), noise=0.005, seed=seed)) for seed in range(6)]
    assert sum(fit.complete for fit in fits) == 0
    assert all("a depth above 5 sigma" in fit.sentence for fit in fits)


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (TimeSeries(np.arange(2.0), np.ones(2), np.ones(2)), "a transit fit needs at least 12 measured points"),
        (TimeSeries(np.arange(50.0), np.full(50, np.nan), np.ones(50)), "different times, not 0"),
        (TimeSeries(np.arange(50.0), np.ones(50), np.ones(50)), "all 50 points have the same flux"),
        (TimeSeries(np.arange(50.0)[::-1], np.ones(50), np.ones(50)), "times must ascend"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(series: TimeSeries, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        fit_transit(series)


def test_guesses_and_airmasses_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"duration_s \(-1.0\) of a transit must be greater than 0"):
        TransitGuess(duration_s=-1.0)
    with pytest.raises(ConfigurationError, match=r"middle_s \(nan\) of a transit must be a finite number"):
        TransitGuess(math.nan)
    with pytest.raises(AnalysisError, match=r"airmass \(\(3,\)\) must be given for each of the 200 points"):
        fit_transit(transit(1), airmass=np.ones(3))
