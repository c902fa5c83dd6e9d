"""Slow changes taken out of a light curve before it is transformed, and a sentence that says how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from stream.analysis.running_median import FEWEST_IN_WINDOW, BoolArray, RunningMedian
from stream.analysis.series import TimeSeries, is_measured, measured_points
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray

_HIGHEST_DEGREE = 10
_NARROWEST_AIRMASS = 1e-6


class Trend(StrEnum):
    """What is taken for the trend."""

    NONE = "none"
    AIRMASS = "airmass"
    POLYNOMIAL = "polynomial"
    MEDIAN = "median"


@dataclass(frozen=True, slots=True)
class Detrending:
    """What is taken out.

    Attributes
    ----------
    trend : Trend
    degree : int
        Of the polynomial, 1 to 10.
    window_s : float
        Width of the running median, seconds.

    Raises
    ------
    ConfigurationError
        If one of them is out of range.
    """

    trend: Trend = Trend.NONE
    degree: int = 1
    window_s: float = 600.0

    def __post_init__(self) -> None:
        if self.trend not in tuple(Trend):
            raise ConfigurationError(f"trend ({self.trend}) must be one of {', '.join(Trend)}")
        object.__setattr__(self, "trend", Trend(self.trend))  # its plain name is as good
        if not 1 <= self.degree <= _HIGHEST_DEGREE:
            raise ConfigurationError(f"degree ({self.degree}) of the polynomial must be 1 to {_HIGHEST_DEGREE}")
        if not 0.0 < self.window_s < math.inf:
            raise ConfigurationError(f"window_s ({self.window_s}) of the running median must be greater than 0")


@dataclass(frozen=True, slots=True)
class Detrended:
    """A light curve without its trend.

    Attributes
    ----------
    series : TimeSeries
        Measured points alone; flux and error over `trend`.
    trend : array, shape (n_points,)
        1 in the mean.
    sentence : str
        What was done, for a plot.
    used : array of bool, shape (n_given,)
        Which of the points that were given are in `series`.
    """

    series: TimeSeries
    trend: FloatArray
    sentence: str
    used: BoolArray


def detrend(
    series: TimeSeries,
    settings: Detrending,
    *,
    airmass: FloatArray | None = None,
    medians: RunningMedian | None = None,
) -> Detrended:
    """Divide a light curve by its trend, whose mean is 1: the mean flux stays.

    The airmass trend is ``1 + k (X - <X>)``, k from weighted least squares: extinction of another colour than that of
    the comparison stars, to first order. The polynomial is in time, by weighted least squares. The running median
    is that of all points within half a window on either side, and a straight line through one window at the ends, see
    `RunningMedian`; points with fewer than four others in the window are left out. Whatever is slower than the window
    is lost from spectra.

    Parameters
    ----------
    series : TimeSeries
        Seconds, ascending; points that are not measured are left out.
    settings : Detrending
    airmass : array, shape (n_points,), optional
        Of each point; points without a finite one are left out when the trend is that of airmass.
    medians : RunningMedian, optional
        Of the window of the settings, where a light curve that grows is detrended again and again.

    Raises
    ------
    AnalysisError
        If there are too few points, no window of a running median holds five of them, the airmass is missing or does
        not change, or the trend is not above 0 everywhere.
    """
    if settings.trend is Trend.AIRMASS:
        return _without_airmass(series, airmass)
    fewest = settings.degree + 2 if settings.trend is Trend.POLYNOMIAL else 1
    good = measured_points(series, f"detrending ({settings.trend})", fewest=fewest)
    if settings.trend is Trend.NONE:
        return Detrended(good, np.ones(len(good.flux)), "not detrended", is_measured(series))
    if settings.trend is Trend.POLYNOMIAL:
        place = good.time_s - good.time_s.mean()
        fit = np.polynomial.Polynomial.fit(place, good.flux, settings.degree, w=1.0 / good.flux_err)
        sentence = f"polynomial of degree {settings.degree} divided out"
        return _divided(good, np.asarray(fit(place)), sentence=sentence, used=is_measured(series))
    return _without_median(series, good, settings=settings, medians=medians or RunningMedian(settings.window_s))


def _without_median(series: TimeSeries, good: TimeSeries, *, settings: Detrending, medians: RunningMedian) -> Detrended:
    trend, is_centred = medians.of(good.time_s, good.flux)
    known = np.isfinite(trend)
    if not known.any():
        raise AnalysisError(
            f"a running median of {settings.window_s:.4g} s needs {FEWEST_IN_WINDOW} points within its window, and no "
            f"point of {len(trend)} has them: window_s must be longer"
        )
    sentence = f"running median of {settings.window_s:.4g} s divided out"
    if not is_centred[known].any():
        sentence = f"straight line divided out: no stretch is as long as a running median of {settings.window_s:.4g} s"
    n_left_out = int(np.count_nonzero(~known))
    if n_left_out:
        sentence += f", {n_left_out} point{'s' if n_left_out > 1 else ''} without neighbours left out"
    kept = TimeSeries(good.time_s[known], good.flux[known], good.flux_err[known])
    used = is_measured(series)
    used[used] = known
    return _divided(kept, trend[known], sentence=sentence, used=used)


def _without_airmass(series: TimeSeries, airmass: FloatArray | None) -> Detrended:
    if airmass is None or np.shape(airmass) != np.shape(series.time_s):
        raise AnalysisError("detrending by airmass needs the airmass of every point: site and pointing must be known")
    known = np.isfinite(airmass)
    if not known.any():
        raise AnalysisError("detrending by airmass needs an airmass: site and pointing must be known, none is")
    flux = np.where(known, series.flux, np.nan)
    good = measured_points(TimeSeries(series.time_s, flux, series.flux_err), "detrending (airmass)", fewest=3)
    used = is_measured(TimeSeries(series.time_s, flux, series.flux_err))
    excess = airmass[used] - float(np.average(airmass[used], weights=good.flux_err**-2))
    if float(np.ptp(excess)) < _NARROWEST_AIRMASS:
        raise AnalysisError(f"the airmass is {float(airmass[used][0]):.4f} throughout: nothing can be fitted to it")
    weights = good.flux_err**-2
    level = float(np.average(good.flux, weights=weights))
    slope = float(np.sum(weights * excess * (good.flux - level)) / np.sum(weights * excess**2))
    sentence = f"linear trend of {slope / level:+.3g} per airmass divided out"
    return _divided(good, level + slope * excess, sentence=sentence, used=used)


def _divided(good: TimeSeries, trend: FloatArray, *, sentence: str, used: BoolArray) -> Detrended:
    if not (np.isfinite(trend) & (trend > 0.0)).all():
        raise AnalysisError(f"the trend must be greater than 0 everywhere to be divided out ({sentence})")
    share = trend / trend.mean()
    return Detrended(TimeSeries(good.time_s, good.flux / share, good.flux_err / share), share, sentence, used)
