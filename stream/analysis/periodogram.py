"""Power spectra of unevenly sampled light curves, and the lag between two of them.

Times are in seconds from near zero: in float64 a Julian date times 2 pi f has lost its phase already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.errors import AnalysisError
from stream.messages import FloatArray

FEWEST_POINTS = 5
_SAMPLES_PER_PEAK = 5
_FEWEST_CYCLES = 2.0
_MOST_FREQUENCIES = 4_000_000
_REFINEMENTS = 2
_TRANSFORM_PRECISION = 1e-7


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """A light curve for the transforms: seconds, flux, error, each shape (n_points,); NaN is not measured."""

    time_s: FloatArray
    flux: FloatArray
    flux_err: FloatArray


@dataclass(frozen=True, slots=True)
class PowerSpectrum:
    """A Lomb-Scargle power spectrum and its highest peak.

    Attributes
    ----------
    frequency_hz, power : array, shape (n_frequencies,)
        Power in fractional rms squared per hertz.
    noise_level : float
        Mean power that the errors of the points alone would make, the same unit.
    peak_frequency_hz, peak_frequency_err_hz : float
        Highest peak of at least two cycles and its standard error, after Montgomery & O'Donoghue (1999, Delta Scuti
        Star Newsletter 13, 28): ``sqrt(6) sigma / (pi sqrt(N) A T)``, for white noise. A peak there always is:
        nothing is claimed about its significance.
    peak_power : float
        Power at the peak, fractional rms squared per hertz.
    peak_rms, peak_rms_err : float
        Fractional rms of the sinusoid that fits best there, amplitude over the square root of 2, and its error.
    n_points : int
    span_s : float
    """

    frequency_hz: FloatArray
    power: FloatArray
    noise_level: float
    peak_frequency_hz: float
    peak_frequency_err_hz: float
    peak_power: float
    peak_rms: float
    peak_rms_err: float
    n_points: int
    span_s: float


@dataclass(frozen=True, slots=True)
class PhaseLag:
    """Lag of one light curve behind another at one frequency; positive: the second is late.

    Attributes
    ----------
    phase_rad, phase_err_rad : float
        In (-pi, pi], and standard error.
    time_s : float
        The same in seconds, of the same sign.
    """

    frequency_hz: float
    phase_rad: float
    phase_err_rad: float
    time_s: float


@dataclass(frozen=True, slots=True)
class _Sinusoid:
    """Weighted fit of mean + a cos + b sin: the coefficients, their covariance and the residual variance."""

    mean: float
    cosine: float
    sine: float
    variance_cosine: float
    variance_sine: float
    residual_rms: float
    explained: float
    """Weighted variance that the sinusoid explains beyond a constant."""


def lomb_scargle(time_s: FloatArray, flux: FloatArray, flux_err: FloatArray) -> PowerSpectrum:
    """Power spectrum with errors and floating mean (Zechmeister & Kuerster 2009, A&A 496, 577).

    The grid runs from 1/T to the Nyquist frequency of the median cadence dt in steps of 1/(5 T). The power is ::

        P(f) = N dt * (chi2_0 - chi2(f)) / W / mean^2        W = sum 1/err^2

    where chi2_0 and chi2(f) are those of a constant and of a sinusoid with a constant: the weighted variance that a
    sinusoid of that frequency explains, over the square of the mean, per resolution element 1 / (N dt). The integral
    over the peak of a sinusoid is its fractional rms squared, that of white noise its fractional variance: the
    normalisation of Belloni & Hasinger (1990, A&A 230, 103).

    Parameters
    ----------
    time_s : array, shape (n_points,)
        Seconds, ascending. Repeated times are allowed.
    flux, flux_err : array, shape (n_points,)
        Any unit; points with NaN, or an error that is not greater than 0, are left out.

    Raises
    ------
    AnalysisError
        If fewer than five points of different times are left, times descend, the flux is constant, its mean is not
        greater than 0, or the cadence is too slow or too fast for the span.
    """
    from nifty_ls import lombscargle

    series = _checked(TimeSeries(time_s, flux, flux_err))
    time, values, errors = series.time_s - series.time_s[0], series.flux, series.flux_err
    weights = 1.0 / errors**2
    mean = float(np.average(values, weights=weights))
    variance = float(np.average((values - mean) ** 2, weights=weights))
    _check_variable(values, mean, variance)
    span, cadence = float(time[-1]), _cadence_s(time)
    step, n_frequencies = _grid(span, cadence)
    first = 1.0 / span
    result = lombscargle(
        time,
        values,
        errors,
        fmin=first,
        fmax=first + step * (n_frequencies - 1),
        Nf=n_frequencies,
        backend="finufft",
        nthreads=1,  # the house rule; more are slower below a million frequencies
        finufft_kwargs={"eps": _TRANSFORM_PRECISION},
    )
    frequency = first + step * np.arange(n_frequencies, dtype=np.float64)
    explained = np.asarray(result.power, dtype=np.float64) * variance
    per_hertz = len(time) * cadence / mean**2
    peak = _refined_peak(series, frequency, explained, step)
    fit = _fit_sinusoid(time, values, weights, peak)
    amplitude = math.hypot(fit.cosine, fit.sine)
    scatter_of_mean = fit.residual_rms / math.sqrt(len(time))
    return PowerSpectrum(
        frequency_hz=frequency,
        power=explained * per_hertz,
        noise_level=2.0 * per_hertz / float(weights.sum()),
        peak_frequency_hz=peak,
        peak_frequency_err_hz=_frequency_error(scatter_of_mean, amplitude, span),
        peak_power=fit.explained * per_hertz,
        peak_rms=amplitude / math.sqrt(2.0) / mean,
        peak_rms_err=scatter_of_mean / mean,
        n_points=len(time),
        span_s=span,
    )


def phase_lag(first: TimeSeries, second: TimeSeries, frequency_hz: float) -> PhaseLag:
    """Phase by which `second` runs behind `first` at one frequency, from the sinusoids that fit best.

    Both are fitted by ``mean + R cos(2 pi f t - phi)``; the lag is ``phi_second - phi_first``, so that a maximum
    which the second shows later is a positive lag. Times of both must count from the same moment; they need not
    be the same times. The error is that of white noise, ``sigma_phi = sigma_R / R`` of both in quadrature.

    Raises
    ------
    AnalysisError
        If the frequency is not greater than 0 or a light curve cannot be analysed; see `lomb_scargle`.
    """
    if not (math.isfinite(frequency_hz) and frequency_hz > 0.0):
        raise AnalysisError(f"frequency_hz ({frequency_hz}) must be greater than 0 to measure a lag")
    phases, variances = [], []
    checked = [_checked(first), _checked(second)]
    # One zero for both curves: shifting each to its own first point would take the lag away.
    origin = checked[0].time_s[0]
    for good in checked:
        time = good.time_s - origin
        fit = _fit_sinusoid(time, good.flux, 1.0 / good.flux_err**2, frequency_hz)
        power = fit.cosine**2 + fit.sine**2
        if power <= 0.0:
            raise AnalysisError(f"a light curve of {len(time)} points has no signal at {frequency_hz} Hz: no lag")
        phases.append(math.atan2(fit.sine, fit.cosine))
        variances.append((fit.sine**2 * fit.variance_cosine + fit.cosine**2 * fit.variance_sine) / power**2)
    difference = phases[1] - phases[0]
    lag = math.pi - (math.pi - difference) % (2.0 * math.pi)
    return PhaseLag(frequency_hz, lag, math.sqrt(sum(variances)), lag / (2.0 * math.pi * frequency_hz))


def _checked(series: TimeSeries) -> TimeSeries:
    time, flux, error = (
        np.asarray(column, dtype=np.float64) for column in (series.time_s, series.flux, series.flux_err)
    )
    if not time.shape == flux.shape == error.shape or time.ndim != 1:
        raise AnalysisError(
            f"times, fluxes and errors must be as many as each other, not {time.shape}, {flux.shape}, {error.shape}"
        )
    with np.errstate(invalid="ignore"):
        good = np.isfinite(time) & np.isfinite(flux) & np.isfinite(error) & (error > 0.0)
    time, flux, error = time[good], flux[good], error[good]
    descending = np.flatnonzero(np.diff(time) < 0.0)
    if len(descending):
        raise AnalysisError(f"times must ascend: point {int(descending[0]) + 2} of {len(time)} is before the last")
    n_distinct = int(np.count_nonzero(np.diff(time))) + 1 if len(time) else 0
    if n_distinct < FEWEST_POINTS:
        raise AnalysisError(
            f"a power spectrum needs at least {FEWEST_POINTS} measured points of different times, not {n_distinct}"
        )
    return TimeSeries(time, flux, error)


def _check_variable(values: FloatArray, mean: float, variance: float) -> None:
    if mean <= 0.0:
        raise AnalysisError(f"a fractional power spectrum needs a mean flux greater than 0, not {mean:.3g}")
    if variance <= (1e-14 * mean) ** 2 or values.min() == values.max():
        raise AnalysisError(f"all {len(values)} points have the same flux: there is no power spectrum of a constant")


def _cadence_s(time: FloatArray) -> float:
    steps = np.diff(time)
    return float(np.median(steps[steps > 0.0]))


def _grid(span: float, cadence: float) -> tuple[float, int]:
    step = 1.0 / (_SAMPLES_PER_PEAK * span)
    if 0.5 / cadence < _FEWEST_CYCLES / span:
        raise AnalysisError(
            f"a span of {span:.3g} s at a median cadence of {cadence:.3g} s does not resolve two cycles: "
            "more points are required for a power spectrum"
        )
    n_frequencies = math.floor((0.5 / cadence - 1.0 / span) / step + 1e-9) + 1
    if n_frequencies > _MOST_FREQUENCIES:
        raise AnalysisError(
            f"a span of {span:.3g} s at a cadence of {cadence:.3g} s needs {n_frequencies} frequencies, "
            f"more than {_MOST_FREQUENCIES}: choose a shorter window"
        )
    return step, n_frequencies


def _refined_peak(series: TimeSeries, frequency: FloatArray, explained: FloatArray, step: float) -> float:
    """Highest grid point of at least two cycles, then the top of a parabola through exact powers around it."""
    allowed = np.flatnonzero(frequency >= (_FEWEST_CYCLES - 1e-9) * frequency[0])
    best = float(frequency[allowed[int(np.argmax(explained[allowed]))]])
    time, weights = series.time_s - series.time_s[0], 1.0 / series.flux_err**2
    half = 0.5 * step
    for _ in range(_REFINEMENTS):
        low, top, high = (
            _fit_sinusoid(time, series.flux, weights, best + shift).explained for shift in (-half, 0.0, half)
        )
        curvature = low - 2.0 * top + high
        if curvature >= 0.0:
            break
        best += float(np.clip(0.5 * (low - high) / curvature, -1.0, 1.0)) * half
        half *= 0.3
    return best


def _frequency_error(scatter_of_mean: float, amplitude: float, span: float) -> float:
    return math.sqrt(6.0) * scatter_of_mean / (math.pi * amplitude * span) if amplitude > 0.0 else math.inf


def _fit_sinusoid(time: FloatArray, flux: FloatArray, weights: FloatArray, frequency_hz: float) -> _Sinusoid:
    share = weights / weights.sum()
    phase = 2.0 * math.pi * frequency_hz * time
    # Mean, cosine and sine made orthogonal to the mean first: a well-conditioned 2 x 2 system is left.
    cosine, sine, mean = np.cos(phase), np.sin(phase), _dot(share, flux)
    cosine_mean, sine_mean = _dot(share, cosine), _dot(share, sine)
    cosine, sine, values = cosine - cosine_mean, sine - sine_mean, flux - mean
    weighted_cosine, weighted_sine = share * cosine, share * sine
    cc, ss, cs = _dot(weighted_cosine, cosine), _dot(weighted_sine, sine), _dot(weighted_cosine, sine)
    cy, sy = _dot(weighted_cosine, values), _dot(weighted_sine, values)
    determinant = cc * ss - cs * cs
    if determinant <= 1e-12:
        return _Sinusoid(mean, 0.0, 0.0, math.inf, math.inf, 0.0, 0.0)
    a, b = (cy * ss - sy * cs) / determinant, (sy * cc - cy * cs) / determinant
    explained = a * cy + b * sy
    total = _dot(share, values**2)
    # Three parameters are taken from the points.
    residual = max(0.0, total - explained) * len(time) / max(1, len(time) - 3)
    of_mean = residual / len(time)
    return _Sinusoid(
        mean=mean - a * cosine_mean - b * sine_mean,
        cosine=a,
        sine=b,
        variance_cosine=of_mean * ss / determinant,
        variance_sine=of_mean * cc / determinant,
        residual_rms=math.sqrt(residual),
        explained=explained,
    )


def _dot(first: FloatArray, second: FloatArray) -> float:
    """Scalar product without BLAS, whose threads cost more than they bring in a process with one core to itself."""
    return float(np.einsum("i,i->", first, second))
