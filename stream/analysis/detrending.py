"""Slow changes taken out of a light curve before it is transformed, and a sentence that says how."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from stream.analysis.series import TimeSeries, measured_points
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
    """

    series: TimeSeries
    trend: FloatArray
    sentence: str


def detrend(series: TimeSeries, settings: Detrending, *, airmass: FloatArray | None = None) -> Detrended:
    """Divide a light curve by its trend, whose mean is 1: the mean flux stays.

    The airmass trend is ``1 + k (X - <X>)``, k from weighted least squares: extinction of another colour than that of
    the comparison stars, to first order. The polynomial is in time, by weighted least squares. The running median
    is that of all points within half a window on either side; at the ends the window shrinks to what there is on both
    sides, so that a slope is followed to the end. Whatever is slower than the window is lost from spectra.

    Parameters
    ----------
    series : TimeSeries
        Seconds, ascending; points that are not measured are left out.
    settings : Detrending
    airmass : array, shape (n_points,), optional
        Of each point; points without a finite one are left out when the trend is that of airmass.

    Raises
    ------
    AnalysisError
        If there are too few points, the airmass is missing or does not change, or the trend is not above 0 everywhere.
    """
    if settings.trend is Trend.AIRMASS:
        return _without_airmass(series, airmass)
    fewest = settings.degree + 2 if settings.trend is Trend.POLYNOMIAL else 1
    good = measured_points(series, f"detrending ({settings.trend})", fewest=fewest)
    if settings.trend is Trend.NONE:
        return Detrended(good, np.ones(len(good.flux)), "not detrended")
    if settings.trend is Trend.POLYNOMIAL:
        place = good.time_s - good.time_s.mean()
        fit = np.polynomial.Polynomial.fit(place, good.flux, settings.degree, w=1.0 / good.flux_err)
        return _divided(good, np.asarray(fit(place)), f"polynomial of degree {settings.degree} divided out")
    sentence = f"running median of {settings.window_s:.4g} s divided out"
    return _divided(good, running_median(good.time_s, good.flux, settings.window_s), sentence)


def running_median(time_s: FloatArray, flux: FloatArray, window_s: float) -> FloatArray:
    """Median of the points within half a window on either side, and no farther than the nearer end of the series.

    Times must ascend and everything must be finite; the result has the shape of `flux`.
    """
    reach = np.minimum(0.5 * window_s, np.minimum(time_s - time_s[0], time_s[-1] - time_s))
    # Rounding of sums must not decide whether the point at the very edge of the window is in it.
    slack = 1e-9 * max(window_s, 1.0)
    first = np.searchsorted(time_s, time_s - reach - slack, side="left")
    last = np.searchsorted(time_s, time_s + reach + slack, side="right")
    # Edges only move forward: a sorted window that points enter and leave costs a twentieth of medians made anew.
    values, window, medians = flux.tolist(), list[float](), np.empty(len(flux))
    low_before = high_before = 0
    for index, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for value in values[high_before:high]:
            bisect.insort(window, value)
        for value in values[low_before:low]:
            del window[bisect.bisect_left(window, value)]
        low_before, high_before = low, high
        half = len(window) // 2
        medians[index] = window[half] if len(window) % 2 else 0.5 * (window[half - 1] + window[half])
    return medians


def _without_airmass(series: TimeSeries, airmass: FloatArray | None) -> Detrended:
    if airmass is None or np.shape(airmass) != np.shape(series.time_s):
        raise AnalysisError("detrending by airmass needs the airmass of every point: site and pointing must be known")
    known = np.isfinite(airmass)
    if not known.any():
        raise AnalysisError("detrending by airmass needs an airmass: site and pointing must be known, none is")
    flux = np.where(known, series.flux, np.nan)
    good = measured_points(TimeSeries(series.time_s, flux, series.flux_err), "detrending (airmass)", fewest=3)
    with np.errstate(invalid="ignore"):
        used = np.isfinite(series.time_s) & np.isfinite(flux) & np.isfinite(series.flux_err) & (series.flux_err > 0.0)
    excess = airmass[used] - float(np.average(airmass[used], weights=good.flux_err**-2))
    if float(np.ptp(excess)) < _NARROWEST_AIRMASS:
        raise AnalysisError(f"the airmass is {float(airmass[used][0]):.4f} throughout: nothing can be fitted to it")
    weights = good.flux_err**-2
    level = float(np.average(good.flux, weights=weights))
    slope = float(np.sum(weights * excess * (good.flux - level)) / np.sum(weights * excess**2))
    sentence = f"linear trend of {slope / level:+.3g} per airmass divided out"
    return _divided(good, level + slope * excess, sentence)


def _divided(good: TimeSeries, trend: FloatArray, sentence: str) -> Detrended:
    if not (np.isfinite(trend) & (trend > 0.0)).all():
        raise AnalysisError(f"the trend must be greater than 0 everywhere to be divided out ({sentence})")
    share = trend / trend.mean()
    return Detrended(TimeSeries(good.time_s, good.flux / share, good.flux_err / share), share, sentence)
