"""Cross spectra of two keys over their common good-time intervals: lags, their errors, and coherence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.analysis.averaged_spectra import (
    Averaging,
    checked_segment_s,
    mean_variance,
    power_scale,
    segments_sentence,
)
from stream.analysis.good_times import EvenLightCurves, even_light_curves
from stream.analysis.segments import transformed_segments
from stream.analysis.series import TimeSeries, check_variable
from stream.errors import AnalysisError
from stream.messages import FloatArray

UNKNOWN_PHASE_ERR_RAD = math.pi / math.sqrt(3.0)
"""Standard deviation of a phase of which nothing is known."""
_FEWEST_SEGMENTS = 2
_LEAST_SIGMA = 3.0
"""Powers closer to their noise level have no intrinsic coherence."""


@dataclass(frozen=True, slots=True)
class CrossSpectrum:
    """Mean of the cross spectra of segments. A positive lag says that the second light curve is late.

    Attributes
    ----------
    frequency_hz : array, shape (n_frequencies,)
    cross_power : array, shape (n_frequencies,)
        Modulus of the mean cross spectrum, in the unit of the power.
    phase_lag_rad, phase_lag_err_rad : array, shape (n_frequencies,)
        In (-pi, pi].
    time_lag_s, time_lag_err_s : array, shape (n_frequencies,)
        Phase lag over 2 pi f, of the same sign; known up to whole periods.
    coherence, coherence_err : array, shape (n_frequencies,)
        As measured, noise included, bias taken off; 0 to 1.
    intrinsic_coherence, intrinsic_coherence_err : array, shape (n_frequencies,)
        That of the signals alone; NaN where either power is less than three sigma above its noise level.
    n_segments : int
    segment_s : float
    sentence : str
        What was averaged, for a plot.
    """

    frequency_hz: FloatArray
    cross_power: FloatArray
    phase_lag_rad: FloatArray
    phase_lag_err_rad: FloatArray
    time_lag_s: FloatArray
    time_lag_err_s: FloatArray
    coherence: FloatArray
    coherence_err: FloatArray
    intrinsic_coherence: FloatArray
    intrinsic_coherence_err: FloatArray
    n_segments: int
    segment_s: float
    sentence: str


@dataclass(frozen=True, slots=True)
class _Averages:
    """Averages over segments: cross spectrum (first conjugated, times second), both powers and their noise."""

    frequency_hz: FloatArray
    cross: np.ndarray
    powers: tuple[FloatArray, FloatArray]
    noises: tuple[float, float]
    means: tuple[float, float]
    n_segments: int


def cross_spectrum(first: TimeSeries, second: TimeSeries, settings: Averaging) -> CrossSpectrum:
    """Average the cross spectra ``C = F1* F2`` of the segments that both light curves have.

    With ``F(f) = sum x exp(-2 pi i f t)`` a second light curve that is late by tau has ``C ~ exp(-2 pi i f tau)``; the
    phase lag is ``-arg C``, so that **positive means that the second is late**, as with `sinusoid.phase_lag`. With m
    segments and ``g2 = |C|^2 / (P1 P2)``, of which the bias ``(1 - g2) / m`` is taken off ::

        sigma_phase = sqrt((1 - g2) / (2 m g2))      sigma_g2 = sqrt(2 g2 / m) (1 - g2)

    (Bendat & Piersol 2010, Random Data, ch. 9; Nowak et al. 1999, ApJ 510, 874); no phase error is greater than that
    of an unknown phase, pi / sqrt(3). The intrinsic coherence is that of Vaughan & Nowak (1997, ApJ 474, L43), with
    noise levels from the errors of the points. A constant offset between the times of both is in the lag, as it should
    be: the times are those of the points, not of the grid.

    Raises
    ------
    AnalysisError
        If the light curves do not share two segments of eight points or more, either is constant, or a mean is
        not greater than 0 though the power is to be fractional.
    """
    curves = even_light_curves({"first": first, "second": second}, longest_fill=settings.longest_fill)
    for name in ("first", "second"):
        check_variable(curves.flux[name][curves.good], "cross spectrum")
    segment_s = checked_segment_s(curves, settings)
    averages = _averages(curves, segment_s)
    frequency = averages.frequency_hz
    offset_s = curves.offset_s["second"] - curves.offset_s["first"]
    phase = _wrapped(2.0 * math.pi * frequency * offset_s - np.angle(averages.cross))
    coherence, coherence_err, phase_err = _coherence(averages)
    intrinsic, intrinsic_err = _intrinsic_coherence(averages, coherence)
    n_cells = round(segment_s / curves.cadence_s)
    scales = [
        power_scale(settings.normalisation, curves.cadence_s, n_cells=n_cells, mean=mean, variance=noise / n_cells)
        for mean, noise in zip(averages.means, averages.noises, strict=True)
    ]
    return CrossSpectrum(
        frequency_hz=frequency,
        cross_power=np.abs(averages.cross) * math.sqrt(scales[0] * scales[1]),
        phase_lag_rad=phase,
        phase_lag_err_rad=phase_err,
        time_lag_s=phase / (2.0 * math.pi * frequency),
        time_lag_err_s=phase_err / (2.0 * math.pi * frequency),
        coherence=coherence,
        coherence_err=coherence_err,
        intrinsic_coherence=intrinsic,
        intrinsic_coherence_err=intrinsic_err,
        n_segments=averages.n_segments,
        segment_s=segment_s,
        sentence=segments_sentence(curves, averages.n_segments, segment_s),
    )


def _averages(curves: EvenLightCurves, segment_s: float) -> _Averages:
    segments = transformed_segments(curves, round(segment_s / curves.cadence_s))
    if segments.n_segments < _FEWEST_SEGMENTS:
        raise AnalysisError(
            f"a cross spectrum needs at least {_FEWEST_SEGMENTS} segments of {segment_s:.4g} s in good times that the "
            f"light curves have in common, not {segments.n_segments}: one alone is always coherent"
        )
    return _Averages(
        segments.frequency_hz,
        segments.mean_cross("first", "second"),
        (segments.mean_power("first"), segments.mean_power("second")),
        (segments.n_cells * mean_variance(curves, "first"), segments.n_cells * mean_variance(curves, "second")),
        (segments.means["first"], segments.means["second"]),
        segments.n_segments,
    )


def _coherence(averages: _Averages) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coherence as measured, its error, and the error of the phase."""
    m = averages.n_segments
    product = averages.powers[0] * averages.powers[1]
    measured = np.abs(averages.cross) ** 2 / np.where(product > 0.0, product, np.inf)
    # Noise alone has 1/m in the mean.
    coherence = np.clip((measured - 1.0 / m) / (1.0 - 1.0 / m), 0.0, 1.0)
    error = np.sqrt(2.0 * measured / m) * (1.0 - np.minimum(measured, 1.0))
    with np.errstate(divide="ignore"):
        phase_err = np.sqrt((1.0 - coherence) / (2.0 * m * coherence))
    return coherence, error, np.minimum(phase_err, UNKNOWN_PHASE_ERR_RAD)


def _intrinsic_coherence(averages: _Averages, coherence: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Noise taken off the powers, and its bias off the cross spectrum (Vaughan & Nowak 1997, with known noise levels).

    The error follows from the covariance of the three averages of complex Gaussian transforms (Goodman 1963, Ann. Math.
    Stat. 34, 152), with ``a = P / (P - N)`` and the measured coherence g2 ::

        m var(ln I2) = 2 + 2 / g2 + a1^2 + a2^2 + 2 a1 a2 g2 - 4 a1 - 4 a2

    Without noise that is ``2 (1 - g2)^2 / g2``. Eq. 8 of Vaughan & Nowak is for powers far above the noise: at twice
    the noise its errors are too small by half.
    """
    m, noises, powers = averages.n_segments, averages.noises, averages.powers
    signals = [power - noise for power, noise in zip(powers, noises, strict=True)]
    bias = (powers[0] * powers[1] - signals[0] * signals[1]) / m
    known = np.logical_and(
        *(signal > _LEAST_SIGMA * noise / math.sqrt(m) for signal, noise in zip(signals, noises, strict=True))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        cross = np.maximum(np.abs(averages.cross) ** 2 - bias, 0.0)
        intrinsic = np.where(known, cross / (signals[0] * signals[1]), np.nan)
        one, two = (power / signal for power, signal in zip(powers, signals, strict=True))
        spread = 2.0 + 2.0 / coherence + one**2 + two**2 + 2.0 * one * two * coherence - 4.0 * (one + two)
        error = intrinsic * np.sqrt(np.maximum(spread, 0.0) / m)
    return intrinsic, np.where((intrinsic > 0.0) & np.isfinite(error), error, np.nan)


def _wrapped(phase: FloatArray) -> FloatArray:
    return np.asarray(math.pi - np.remainder(math.pi - phase, 2.0 * math.pi))
