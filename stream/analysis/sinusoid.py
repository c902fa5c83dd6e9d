"""One sinusoid: its weighted fit to a light curve, and the lag between two light curves at its frequency."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.analysis.series import TimeSeries, dot, measured_points
from stream.errors import AnalysisError
from stream.messages import FloatArray

FEWEST_POINTS = 5
"""Mean, cosine and sine take three; a scatter around them takes more."""


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
class Sinusoid:
    """Weighted fit of mean + a cos + b sin: the coefficients, their variances and the residual scatter."""

    mean: float
    cosine: float
    sine: float
    variance_cosine: float
    variance_sine: float
    residual_rms: float
    explained: float
    """Weighted variance that the sinusoid explains beyond a constant."""

    @property
    def amplitude(self) -> float:
        """Half the way from its minimum to its maximum."""
        return math.hypot(self.cosine, self.sine)


def phase_lag(first: TimeSeries, second: TimeSeries, frequency_hz: float) -> PhaseLag:
    """Phase by which `second` runs behind `first` at one frequency, from the sinusoids that fit best.

    Both are fitted by ``mean + R cos(2 pi f t - phi)``; the lag is ``phi_second - phi_first``, so that a maximum
    which the second shows later is a positive lag. Times of both must count from the same moment; they need not
    be the same times. The error is that of white noise, ``sigma_phi = sigma_R / R`` of both in quadrature.

    Raises
    ------
    AnalysisError
        If the frequency is not greater than 0 or a light curve has fewer than five measured points.
    """
    if not (math.isfinite(frequency_hz) and frequency_hz > 0.0):
        raise AnalysisError(f"frequency_hz ({frequency_hz}) must be greater than 0 to measure a lag")
    phases, variances = [], []
    checked = [measured_points(series, "a lag", fewest=FEWEST_POINTS) for series in (first, second)]
    # One zero for both curves: shifting each to its own first point would take the lag away.
    origin = checked[0].time_s[0]
    for good in checked:
        time = good.time_s - origin
        fit = fit_sinusoid(time, good.flux, weights=1.0 / good.flux_err**2, frequency_hz=frequency_hz)
        power = fit.cosine**2 + fit.sine**2
        if power <= 0.0:
            raise AnalysisError(f"a light curve of {len(time)} points has no signal at {frequency_hz} Hz: no lag")
        phases.append(math.atan2(fit.sine, fit.cosine))
        variances.append((fit.sine**2 * fit.variance_cosine + fit.cosine**2 * fit.variance_sine) / power**2)
    lag = wrapped_phase(phases[1] - phases[0])
    return PhaseLag(frequency_hz, lag, math.sqrt(sum(variances)), lag / (2.0 * math.pi * frequency_hz))


def wrapped_phase(phase_rad: float) -> float:
    """The same phase in (-pi, pi]."""
    return math.pi - (math.pi - phase_rad) % (2.0 * math.pi)


def fit_sinusoid(time: FloatArray, flux: FloatArray, *, weights: FloatArray, frequency_hz: float) -> Sinusoid:
    """Fit mean + a cos(2 pi f t) + b sin(2 pi f t) by weighted least squares; everything must be finite."""
    share = weights / weights.sum()
    phase = 2.0 * math.pi * frequency_hz * time
    # Mean, cosine and sine made orthogonal to the mean first: a well-conditioned 2 x 2 system is left.
    cosine, sine, mean = np.cos(phase), np.sin(phase), dot(share, flux)
    cosine_mean, sine_mean = dot(share, cosine), dot(share, sine)
    cosine, sine, values = cosine - cosine_mean, sine - sine_mean, flux - mean
    weighted_cosine, weighted_sine = share * cosine, share * sine
    cc, ss, cs = dot(weighted_cosine, cosine), dot(weighted_sine, sine), dot(weighted_cosine, sine)
    cy, sy = dot(weighted_cosine, values), dot(weighted_sine, values)
    determinant = cc * ss - cs * cs
    if determinant <= 1e-12:
        return Sinusoid(mean, 0.0, 0.0, math.inf, math.inf, 0.0, 0.0)
    a, b = (cy * ss - sy * cs) / determinant, (sy * cc - cy * cs) / determinant
    explained = a * cy + b * sy
    total = dot(share, values**2)
    # Three parameters are taken from the points.
    residual = max(0.0, total - explained) * len(time) / max(1, len(time) - 3)
    of_mean = residual / len(time)
    return Sinusoid(
        mean=mean - a * cosine_mean - b * sine_mean,
        cosine=a,
        sine=b,
        variance_cosine=of_mean * ss / determinant,
        variance_sine=of_mean * cc / determinant,
        residual_rms=math.sqrt(residual),
        explained=explained,
    )
