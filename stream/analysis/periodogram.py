"""Lomb-Scargle power spectra of unevenly sampled light curves: their grid, their units, their highest peak.

Times are in seconds from near zero: in float64 a Julian date times 2 pi f has lost its phase already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from stream.analysis.series import TimeSeries, check_variable, measured_points, median_cadence_s
from stream.analysis.sinusoid import FEWEST_POINTS, Sinusoid, fit_sinusoid
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray

_FEWEST_CYCLES = 2.0
_MOST_FREQUENCIES = 4_000_000
_TRANSFORM_PRECISION = 1e-7
_NEARLY_AS_HIGH, _MOST_EXACT = 0.9, 12
"""Peaks of a grid whose exact height is found: those of this share of the highest one, and no more than so many."""
_WORTH_A_LOOK = 0.3
_IMPOSSIBLE = 1e-6
_RIVAL_CHI_SQUARE = 9.0
_SAME_PEAK = 0.7
"""Farther away, in 1/T, is another peak."""


class Normalisation(StrEnum):
    """Unit of the power; see `power_per_variance`."""

    FRACTIONAL = "fractional"
    """(rms / mean)^2 per hertz, Belloni & Hasinger (1990)."""
    ABSOLUTE = "absolute"
    """rms^2 per hertz, the square of the unit of the flux."""
    LEAHY = "leahy"
    """2 where there is nothing but the noise of the errors, Leahy et al. (1983, ApJ 266, 160)."""


@dataclass(frozen=True, slots=True)
class SpectrumSettings:
    """How a power spectrum is sampled and in which unit it is.

    Attributes
    ----------
    normalisation : Normalisation
    samples_per_peak : float
        Grid points per resolution element 1/T, 1 or more.
    highest_hz : float or None
        End of the grid; None: the Nyquist frequency of the median cadence.

    Raises
    ------
    ConfigurationError
        If one of them is out of range.
    """

    normalisation: Normalisation = Normalisation.FRACTIONAL
    samples_per_peak: float = 5.0
    highest_hz: float | None = None

    def __post_init__(self) -> None:
        if self.normalisation not in tuple(Normalisation):
            known = ", ".join(Normalisation)
            raise ConfigurationError(f"normalisation ({self.normalisation}) must be one of {known}")
        object.__setattr__(self, "normalisation", Normalisation(self.normalisation))  # its plain name is as good
        if not 1.0 <= self.samples_per_peak <= 1000.0:
            raise ConfigurationError(f"samples_per_peak ({self.samples_per_peak}) must be between 1 and 1000")
        if self.highest_hz is not None and not 0.0 < self.highest_hz < math.inf:
            raise ConfigurationError(f"highest_hz ({self.highest_hz}) must be greater than 0")


DEFAULT_SETTINGS = SpectrumSettings()


@dataclass(frozen=True, slots=True)
class PowerSpectrum:
    """A Lomb-Scargle power spectrum and its highest peak.

    Attributes
    ----------
    frequency_hz, power : array, shape (n_frequencies,)
        Power in fractional rms squared per hertz, unless `normalisation` says otherwise.
    noise_level : float
        Mean power that the errors of the points alone would make, the same unit.
    peak_frequency_hz, peak_frequency_err_hz : float
        Highest peak of at least two cycles and its standard error, after Montgomery & O'Donoghue (1999, Delta Scuti
        Star Newsletter 13, 28): ``sigma / (sqrt(2 N) pi A s)``, for white noise, with the standard deviation s of the
        times; with even coverage, ``s = T / sqrt(12)``, that is ``sqrt(6) sigma / (pi sqrt(N) A T)``. A peak there
        always is: nothing is claimed about its significance.
    peak_power : float
        Power at the peak, the same unit.
    peak_rms, peak_rms_err : float
        Fractional rms of the sinusoid that fits best there, amplitude over the square root of 2, and its error; NaN
        where the mean flux is not greater than 0.
    n_points : int
    span_s : float
    normalisation : Normalisation
    all_variance_power : float
        Power of a frequency that would explain the whole variance of the light curve.
    rival_frequency_hz : float
        The highest other peak, where its chi-square is within 9 of that of the peak: white noise may have made it the
        lower one, and the peak may be its alias. NaN where there is none.
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
    normalisation: Normalisation = Normalisation.FRACTIONAL
    all_variance_power: float = math.nan
    rival_frequency_hz: float = math.nan


@dataclass(frozen=True, slots=True)
class Moments:
    """What the unit of a spectrum takes from its light curve.

    Attributes
    ----------
    total_weight, mean, variance : float
        Sum of 1/err^2, weighted mean and weighted variance of the flux.
    n_points : int
    cadence_s, span_s : float
    """

    total_weight: float
    mean: float
    variance: float
    n_points: int
    cadence_s: float
    span_s: float


@dataclass(frozen=True, slots=True)
class Grid:
    """Evenly spaced frequencies."""

    first_hz: float
    step_hz: float
    n_frequencies: int

    def frequency_hz(self) -> FloatArray:
        """All of them."""
        return self.first_hz + self.step_hz * np.arange(self.n_frequencies, dtype=np.float64)


def lomb_scargle(
    time_s: FloatArray, flux: FloatArray, flux_err: FloatArray, *, settings: SpectrumSettings = DEFAULT_SETTINGS
) -> PowerSpectrum:
    """Power spectrum with errors and floating mean (Zechmeister & Kuerster 2009, A&A 496, 577).

    The grid runs from 1/T to the Nyquist frequency of the median cadence dt in steps of 1/(5 T). The power is ::

        P(f) = N dt * (chi2_0 - chi2(f)) / W / mean^2        W = sum 1/err^2

    where chi2_0 and chi2(f) are those of a constant and of a sinusoid with a constant: the weighted variance that a
    sinusoid of that frequency explains, over the square of the mean, per resolution element 1 / (N dt). The integral
    over the peak of a sinusoid is its fractional rms squared, that of white noise its fractional variance: the
    normalisation of Belloni & Hasinger (1990, A&A 230, 103). Others are described at `power_per_variance`.

    Parameters
    ----------
    time_s : array, shape (n_points,)
        Seconds, ascending. Repeated times are allowed.
    flux, flux_err : array, shape (n_points,)
        Any unit; points with NaN, or an error that is not greater than 0, are left out.
    settings : SpectrumSettings

    Raises
    ------
    AnalysisError
        If fewer than five points of different times are left, times descend, the flux is constant, its mean is not
        greater than 0 though the power is to be fractional, or the cadence is too slow or too fast for the span.
    """
    from nifty_ls import lombscargle

    good = measured_points(TimeSeries(time_s, flux, flux_err), "a power spectrum", fewest=FEWEST_POINTS)
    series = TimeSeries(good.time_s - good.time_s[0], good.flux, good.flux_err)
    moments = moments_of(series)
    scale = power_per_variance(moments, settings.normalisation)
    check_variable(series.flux, "power spectrum")
    grid = frequency_grid(moments.span_s, moments.cadence_s, settings=settings)
    result = lombscargle(
        series.time_s,
        series.flux,
        series.flux_err,
        fmin=grid.first_hz,
        fmax=grid.first_hz + grid.step_hz * (grid.n_frequencies - 1),
        Nf=grid.n_frequencies,
        backend="finufft",
        nthreads=1,  # the house rule; more are slower below a million frequencies
        finufft_kwargs={"eps": _TRANSFORM_PRECISION},
    )
    explained = np.asarray(result.power, dtype=np.float64) * moments.variance
    return with_peak(series, moments, grid=grid, explained=explained, scale=(settings.normalisation, scale))


def power_per_variance(moments: Moments, normalisation: Normalisation) -> float:
    """Factor from the weighted variance that a frequency explains to the power.

    Fractional: ``N dt / mean^2``; absolute: ``N dt``; Leahy: ``W``, so that the power is ``chi2_0 - chi2(f)``, which
    is 2 in the mean where the errors are all there is.

    Raises
    ------
    AnalysisError
        If a fractional power is asked for and the mean is not greater than 0.
    """
    if normalisation is Normalisation.LEAHY:
        return moments.total_weight
    per_hertz = moments.n_points * moments.cadence_s
    if normalisation is Normalisation.ABSOLUTE:
        return per_hertz
    if moments.mean <= 0.0:
        raise AnalysisError(f"a fractional power spectrum needs a mean flux greater than 0, not {moments.mean:.3g}")
    return per_hertz / moments.mean**2


def moments_of(series: TimeSeries) -> Moments:
    """See `Moments`; the series must be measured everywhere, in order of time."""
    weights = 1.0 / series.flux_err**2
    mean = float(np.average(series.flux, weights=weights))
    return Moments(
        total_weight=float(weights.sum()),
        mean=mean,
        variance=float(np.average((series.flux - mean) ** 2, weights=weights)),
        n_points=len(series.time_s),
        cadence_s=median_cadence_s(series.time_s),
        span_s=float(series.time_s[-1] - series.time_s[0]),
    )


def frequency_grid(span_s: float, cadence_s: float, *, settings: SpectrumSettings = DEFAULT_SETTINGS) -> Grid:
    """Frequencies from 1/T to the Nyquist frequency, or the one that the settings name, in steps of 1/(n T).

    Raises
    ------
    AnalysisError
        If two cycles are not resolved, or the grid would have more than four million frequencies.
    """
    step = 1.0 / (settings.samples_per_peak * span_s)
    highest = settings.highest_hz if settings.highest_hz is not None else 0.5 / cadence_s
    if 0.5 / cadence_s < _FEWEST_CYCLES / span_s:
        raise AnalysisError(
            f"a span of {span_s:.3g} s at a median cadence of {cadence_s:.3g} s does not resolve two cycles: "
            "more points are required for a power spectrum"
        )
    if highest < _FEWEST_CYCLES / span_s:
        raise AnalysisError(
            f"a span of {span_s:.3g} s has two cycles from {_FEWEST_CYCLES / span_s:.3g} Hz on, "
            f"which must not be above highest_hz ({highest:.3g})"
        )
    n_frequencies = math.floor((highest - 1.0 / span_s) / step + 1e-9) + 1
    if n_frequencies > _MOST_FREQUENCIES:
        raise AnalysisError(
            f"a span of {span_s:.3g} s at a cadence of {cadence_s:.3g} s needs {n_frequencies} frequencies, "
            f"more than {_MOST_FREQUENCIES}: choose a shorter window"
        )
    return Grid(1.0 / span_s, step, n_frequencies)


def with_peak(
    series: TimeSeries, moments: Moments, *, grid: Grid, explained: FloatArray, scale: tuple[Normalisation, float]
) -> PowerSpectrum:
    """Make a power spectrum of the variance that each frequency explains: its unit, its noise level, its peak."""
    normalisation, factor = scale
    explained = _possible(series, moments, grid=grid, explained=explained)
    peak, fit, rival = _refined_peak(series, grid, explained)
    scatter_of_mean = fit.residual_rms / math.sqrt(moments.n_points)
    relative_to = moments.mean if moments.mean > 0.0 else math.nan
    return PowerSpectrum(
        frequency_hz=grid.frequency_hz(),
        power=explained * factor,
        noise_level=2.0 * factor / moments.total_weight,
        peak_frequency_hz=peak,
        peak_frequency_err_hz=_frequency_error(scatter_of_mean, fit.amplitude, series),
        peak_power=fit.explained * factor,
        peak_rms=fit.amplitude / math.sqrt(2.0) / relative_to,
        peak_rms_err=scatter_of_mean / relative_to,
        n_points=moments.n_points,
        span_s=moments.span_s,
        normalisation=normalisation,
        all_variance_power=moments.variance * factor,
        rival_frequency_hz=rival,
    )


def _possible(series: TimeSeries, moments: Moments, *, grid: Grid, explained: FloatArray) -> FloatArray:
    """Fit anew what cannot be: of few times, sine and cosine may be alike at a frequency, and the sums cancel."""
    slack = _IMPOSSIBLE * moments.variance
    wrong = np.flatnonzero(~((explained >= -slack) & (explained <= moments.variance + slack)))
    if not len(wrong):
        return explained
    mended, weights = explained.copy(), 1.0 / series.flux_err**2
    for row, frequency in zip(wrong, grid.frequency_hz()[wrong], strict=True):
        mended[row] = fit_sinusoid(series.time_s, series.flux, weights=weights, frequency_hz=frequency).explained
    return mended


def _refined_peak(series: TimeSeries, grid: Grid, explained: FloatArray) -> tuple[float, Sinusoid, float]:
    """The highest peak of at least two cycles, to a parabola through exact powers, and its rival.

    Gaps make aliases that are nearly as high as the peak, and the grid may miss the top of a peak by a tenth: which is
    the highest is decided by the exact powers of all that come near.
    """
    span = float(series.time_s[-1] - series.time_s[0])
    weights = 1.0 / series.flux_err**2

    def fit_at(frequency_hz: float) -> Sinusoid:
        return fit_sinusoid(series.time_s, series.flux, weights=weights, frequency_hz=frequency_hz)

    first = int(np.searchsorted(grid.frequency_hz(), (_FEWEST_CYCLES - 1e-9) / span))
    peaks = _peaks(explained, min(first, len(explained) - 1))
    frequency, height = grid.first_hz + peaks.row * grid.step_hz, peaks.height
    n_near = min(int(np.count_nonzero(height >= _NEARLY_AS_HIGH * height[0])), _MOST_EXACT)
    height[:n_near] = [fit_at(each).explained for each in frequency[:n_near]]
    best = int(np.argmax(height[:n_near]))
    half = peaks.reach[best] * grid.step_hz
    around = [np.array(fit_at(frequency[best] + way).explained) for way in (-half, half)]
    frequency[best] += float(_top_of_parabola(around[0], height[best], around[1])) * half
    fit = fit_at(frequency[best])
    height[best] = fit.explained
    # Chi-square in units of the scatter that is left: N / scatter^2 times the variance that is explained.
    is_rival = height > fit.explained - _RIVAL_CHI_SQUARE * fit.residual_rms**2 / len(weights)
    is_rival &= np.abs(frequency - frequency[best]) > _SAME_PEAK / span
    rival = frequency[np.argmax(np.where(is_rival, height, -math.inf))] if is_rival.any() else math.nan
    return float(frequency[best]), fit, float(rival)


@dataclass(frozen=True, slots=True)
class _Peaks:
    """Peaks of a spectrum by height: row between rows, how far off the top may be, in rows, and the height."""

    row: FloatArray
    reach: FloatArray
    height: FloatArray


def _peaks(explained: FloatArray, first: int) -> _Peaks:
    """All from a row on that are at least half as high as the highest."""
    walled = np.concatenate([[-math.inf], explained[first:], [-math.inf]])
    is_peak = (walled[1:-1] >= walled[:-2]) & (walled[1:-1] >= walled[2:])
    rows = first + np.flatnonzero(is_peak & (walled[1:-1] >= min(_WORTH_A_LOOK * walled.max(), walled.max())))
    inner = (rows > 0) & (rows < len(explained) - 1)
    low, top, high = (explained[np.clip(rows + way, 0, len(explained) - 1)] for way in (-1, 0, 1))
    off = np.where(inner, _top_of_parabola(low, top, high), 0.0)
    height = np.maximum(top, top - 0.25 * (low - high) * off)
    order = np.argsort(-height, kind="stable")
    return _Peaks(np.asarray(rows + off, dtype=np.float64)[order], np.where(inner, 0.15, 0.5)[order], height[order])


def _top_of_parabola(low: FloatArray, top: FloatArray, high: FloatArray) -> FloatArray:
    """Place of the maximum in steps from the middle one of three points, at most one step away; 0 if there is none."""
    curvature = np.minimum(low - 2.0 * top + high, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(curvature < 0.0, np.clip(0.5 * (low - high) / curvature, -1.0, 1.0), 0.0))


def _frequency_error(scatter_of_mean: float, amplitude: float, series: TimeSeries) -> float:
    weights = series.flux_err**-2
    middle = float(np.average(series.time_s, weights=weights))
    spread = math.sqrt(float(np.average((series.time_s - middle) ** 2, weights=weights)))
    return scatter_of_mean / (math.sqrt(2.0) * math.pi * amplitude * spread) if amplitude > 0.0 else math.inf
