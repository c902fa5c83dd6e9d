"""Cross spectra of two keys over their common good-time intervals: lags, their errors, and coherence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.analysis.averaged_spectra import (
    Averaging,
    checked_segment_s,
    checked_table,
    mean_variance,
    power_scale,
    segments_sentence,
    stingray_quiet,
)
from stream.analysis.good_times import EvenLightCurves, even_light_curves
from stream.analysis.series import TimeSeries, check_variable
from stream.errors import AnalysisError
from stream.messages import FloatArray

UNKNOWN_PHASE_ERR_RAD = math.pi / math.sqrt(3.0)
"""Standard deviation of a phase of which nothing is known."""
_FEWEST_SEGMENTS = 2


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
    of an unknown phase, pi / sqrt(3). The intrinsic coherence and its error are those of Vaughan & Nowak (1997,
    ApJ 474, L43), with noise levels from the errors of the points. A constant offset between the times of both is
    in the lag, as it should be: the times are those of the points, not of the grid.

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
    intrinsic, intrinsic_err = _intrinsic_coherence(averages)
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
    flux = {key: values[curves.good] for key, values in curves.flux.items()}
    time = curves.time_s[curves.good]
    with stingray_quiet():
        from stingray.fourier import avg_cs_from_timeseries

        table = avg_cs_from_timeseries(
            time,
            time,
            curves.intervals_s,
            segment_s,
            curves.cadence_s,
            norm="none",
            silent=True,
            fluxes1=flux["first"],
            fluxes2=flux["second"],
            return_auxil=True,
        )
    table = checked_table(table, segment_s)
    n_segments, n_cells = int(table.meta["m"]), int(table.meta["n"])
    if n_segments < _FEWEST_SEGMENTS:
        raise AnalysisError(
            f"a cross spectrum needs at least {_FEWEST_SEGMENTS} segments of {segment_s:.4g} s in good times that the "
            f"light curves have in common, not {n_segments}: one alone is always coherent"
        )
    return _Averages(
        np.asarray(table["freq"], dtype=np.float64),
        np.asarray(table["unnorm_power"]),
        (np.asarray(table["unnorm_pds1"]).real, np.asarray(table["unnorm_pds2"]).real),
        (n_cells * mean_variance(curves, "first"), n_cells * mean_variance(curves, "second")),
        (float(np.real(table.meta["mean1"])), float(np.real(table.meta["mean2"]))),
        n_segments,
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


def _intrinsic_coherence(averages: _Averages) -> tuple[FloatArray, FloatArray]:
    with stingray_quiet():
        from stingray.fourier import intrinsic_coherence

        coherence, error = intrinsic_coherence(
            averages.cross, *averages.powers, *averages.noises, averages.n_segments, return_uncertainty=True
        )
    return np.asarray(coherence, dtype=np.float64), np.asarray(error, dtype=np.float64)


def _wrapped(phase: FloatArray) -> FloatArray:
    return np.asarray(math.pi - np.remainder(math.pi - phase, 2.0 * math.pi))
