"""Light curves folded on a period: point by point, and in bins of phase."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.analysis.periodogram import PowerSpectrum
from stream.analysis.series import TimeSeries, measured_points
from stream.analysis.sinusoid import FEWEST_POINTS, fit_sinusoid
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray, IntArray

_MOST_BINS = 10_000


@dataclass(frozen=True, slots=True)
class Ephemeris:
    """When phase 0 is.

    Attributes
    ----------
    period_s, epoch_s : float
        Phase 0 is at `epoch_s` and every period from there, in the seconds of the light curve.
    period_err_s, epoch_err_s : float
        Standard errors; 0 where the value was given.

    Raises
    ------
    ConfigurationError
        If the period is not greater than 0, or the epoch is no number.
    """

    period_s: float
    epoch_s: float = 0.0
    period_err_s: float = 0.0
    epoch_err_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.period_s < math.inf:
            raise ConfigurationError(f"period_s ({self.period_s}) must be greater than 0")
        if not math.isfinite(self.epoch_s):
            raise ConfigurationError(f"epoch_s ({self.epoch_s}) must be a finite number")

    def phase_err(self, time_s: float) -> float:
        """Uncertainty of the phase at a time, in cycles: that of the epoch, and that of the period times the cycles."""
        cycles = (time_s - self.epoch_s) / self.period_s
        return math.hypot(self.epoch_err_s, cycles * self.period_err_s) / self.period_s


@dataclass(frozen=True, slots=True)
class FoldedCurve:
    """A light curve by phase.

    Attributes
    ----------
    phase : array, shape (n_points,)
        Cycles in [0, 1), ascending.
    flux, flux_err : array, shape (n_points,)
    cycle : array of int, shape (n_points,)
        Periods since the epoch, whole ones.
    ephemeris : Ephemeris
    """

    phase: FloatArray
    flux: FloatArray
    flux_err: FloatArray
    cycle: IntArray
    ephemeris: Ephemeris


@dataclass(frozen=True, slots=True)
class PhaseBins:
    """A light curve in bins of phase.

    Attributes
    ----------
    phase : array, shape (n_bins,)
        Middles of the bins, cycles.
    flux, flux_err : array, shape (n_bins,)
        Mean weighted by 1/err^2 and the error of these weights; NaN where a bin is empty.
    scatter_err : array, shape (n_bins,)
        Error of the mean from the scatter within the bin; NaN with fewer than two points.
    n_points : array of int, shape (n_bins,)
    ephemeris : Ephemeris
    """

    phase: FloatArray
    flux: FloatArray
    flux_err: FloatArray
    scatter_err: FloatArray
    n_points: IntArray
    ephemeris: Ephemeris


def ephemeris_of_peak(spectrum: PowerSpectrum, series: TimeSeries) -> Ephemeris:
    """Period of the highest peak and the maximum of the sinusoid that fits there, the one nearest to the mean time.

    The error of the period follows from that of the frequency, ``P^2 sigma_f``; that of the epoch is ``P / (2 pi)``
    times the phase error of white noise, ``sqrt(2/N) sigma / A`` (Montgomery & O'Donoghue 1999). Near the mean time
    period and epoch are uncorrelated.

    Raises
    ------
    AnalysisError
        If the light curve has fewer than five measured points, or no signal at the peak.
    """
    good = measured_points(series, "an ephemeris", fewest=FEWEST_POINTS)
    middle = float(good.time_s.mean())
    weights = good.flux_err**-2
    fit = fit_sinusoid(good.time_s - middle, good.flux, weights=weights, frequency_hz=spectrum.peak_frequency_hz)
    if fit.amplitude <= 0.0:
        raise AnalysisError(f"a light curve of {len(good.flux)} points has no signal at its peak: no ephemeris")
    period = 1.0 / spectrum.peak_frequency_hz
    phase_rad = math.atan2(fit.sine, fit.cosine)
    phase_err = math.sqrt((fit.sine**2 * fit.variance_cosine + fit.cosine**2 * fit.variance_sine) / fit.amplitude**4)
    return Ephemeris(
        period_s=period,
        epoch_s=middle + phase_rad / (2.0 * math.pi) * period,
        period_err_s=period**2 * spectrum.peak_frequency_err_hz,
        epoch_err_s=phase_err / (2.0 * math.pi) * period,
    )


def phase_fold(series: TimeSeries, ephemeris: Ephemeris) -> FoldedCurve:
    """Sort the measured points by phase.

    Raises
    ------
    AnalysisError
        If no point is measured, or times descend.
    """
    good = measured_points(series, "a fold", fewest=1)
    cycle, phase = _cycles(good.time_s, ephemeris)
    order = np.argsort(phase, kind="stable")
    return FoldedCurve(phase[order], good.flux[order], good.flux_err[order], cycle[order], ephemeris)


def phase_bin(series: TimeSeries, ephemeris: Ephemeris, *, n_bins: int = 20) -> PhaseBins:
    """Average the measured points in bins of phase of the same width, the first from phase 0.

    Raises
    ------
    ConfigurationError
        If `n_bins` is not between 1 and 10,000.
    AnalysisError
        If no point is measured, or times descend.
    """
    if not 1 <= n_bins <= _MOST_BINS:
        raise ConfigurationError(f"n_bins ({n_bins}) must be 1 to {_MOST_BINS}")
    folded = phase_fold(series, ephemeris)
    place = np.minimum((folded.phase * n_bins).astype(np.int64), n_bins - 1)
    weights = folded.flux_err**-2
    n_points = np.bincount(place, minlength=n_bins)
    total = np.bincount(place, weights, n_bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(place, weights * folded.flux, n_bins) / total
        squares = np.bincount(place, weights * (folded.flux - mean[place]) ** 2, n_bins) / total
        error = np.where(n_points > 0, total**-0.5, np.nan)
        scatter = np.where(n_points > 1, np.sqrt(squares / (n_points - 1)), np.nan)
    middles = (np.arange(n_bins) + 0.5) / n_bins
    return PhaseBins(middles, mean, error, scatter, n_points.astype(np.int64), ephemeris)


def _cycles(time_s: FloatArray, ephemeris: Ephemeris) -> tuple[IntArray, FloatArray]:
    cycles = (time_s - ephemeris.epoch_s) / ephemeris.period_s
    whole = np.floor(cycles)
    phase = cycles - whole
    # Just before an epoch the difference rounds to 1, which is phase 0 of the next cycle.
    return (whole + (phase >= 1.0)).astype(np.int64), np.where(phase >= 1.0, 0.0, phase)
