"""Power against frequency and time: Lomb-Scargle spectra of windows that slide through the night."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from stream.analysis.floating_mean import explained_variance, transformed_sums
from stream.analysis.periodogram import (
    Grid,
    Normalisation,
    SpectrumSettings,
    frequency_grid,
    moments_of,
    power_per_variance,
)
from stream.analysis.series import TimeSeries, check_variable, measured_points, median_cadence_s
from stream.analysis.sinusoid import FEWEST_POINTS
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray, IntArray

_MOST_WINDOWS = 10_000
_MOST_VALUES = 20_000_000


@dataclass(frozen=True, slots=True)
class Windows:
    """How windows slide.

    Attributes
    ----------
    window_s, step_s : float
        Length of a window, and from one to the next.
    normalisation : Normalisation
    samples_per_peak : float
        Frequencies per 1/window.
    least_filled : float
        A window with fewer points than this share of what its length and the cadence allow stays empty.

    Raises
    ------
    ConfigurationError
        If one of them is out of range.
    """

    window_s: float
    step_s: float
    normalisation: Normalisation = Normalisation.FRACTIONAL
    samples_per_peak: float = 2.0
    least_filled: float = 0.5

    def __post_init__(self) -> None:
        for name in ("window_s", "step_s"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name} ({getattr(self, name)}) of a dynamic spectrum must be greater than 0")
        if not 0.0 <= self.least_filled <= 1.0:
            raise ConfigurationError(f"least_filled ({self.least_filled}) must be between 0 and 1")
        checked = SpectrumSettings(self.normalisation, self.samples_per_peak)
        object.__setattr__(self, "normalisation", checked.normalisation)  # its plain name is as good


@dataclass(frozen=True, slots=True)
class DynamicSpectrum:
    """Power against frequency and time.

    Attributes
    ----------
    time_s : array, shape (n_windows,)
        Middles of the windows.
    frequency_hz : array, shape (n_frequencies,)
        From 1/window to the Nyquist frequency of the median cadence.
    power : array, shape (n_windows, n_frequencies)
        NaN in windows with too few points.
    n_points, check_sums : array of int, shape (n_windows,)
        Points of each window, and the CRC-32 of them.
    settings : Windows
    """

    time_s: FloatArray
    frequency_hz: FloatArray
    power: FloatArray
    n_points: IntArray
    check_sums: IntArray
    settings: Windows


def dynamic_spectrum(
    series: TimeSeries, settings: Windows, *, previous: DynamicSpectrum | None = None
) -> DynamicSpectrum:
    """Power spectra of windows that begin every `step_s` from the first point on, all on one grid of frequencies.

    The powers are those of `lomb_scargle` (floating mean, errors), with the mean of each window. Windows end with the
    last point at the latest: one that is not over is not shown, so that nothing on the picture changes later but by
    points that come late.

    Parameters
    ----------
    series : TimeSeries
        Seconds, ascending.
    settings : Windows
    previous : DynamicSpectrum, optional
        What this function returned before: windows whose points are the same are taken from it.

    Raises
    ------
    AnalysisError
        If a window is longer than the light curve or does not hold two cycles, the flux is constant, or there would be
        more than 10,000 windows.
    """
    good = measured_points(series, "a dynamic power spectrum", fewest=FEWEST_POINTS)
    check_variable(good.flux, "dynamic power spectrum")
    cadence = median_cadence_s(good.time_s)
    starts = _starts_s(good, settings, cadence)
    spectrum_settings = SpectrumSettings(settings.normalisation, settings.samples_per_peak)
    grid = frequency_grid(settings.window_s, cadence, settings=spectrum_settings)
    if len(starts) * grid.n_frequencies > _MOST_VALUES:
        raise AnalysisError(
            f"{len(starts)} windows of {grid.n_frequencies} frequencies are more than {_MOST_VALUES} values: "
            f"step_s ({settings.step_s:.4g}) must be longer"
        )
    edge = 1e-6 * cadence  # rounding must not decide on a point at the edge of a window
    first = np.searchsorted(good.time_s, starts - edge)
    last = np.searchsorted(good.time_s, starts + settings.window_s - edge)
    fewest = max(FEWEST_POINTS, settings.least_filled * settings.window_s / cadence)
    middles, frequency = starts + 0.5 * settings.window_s, grid.frequency_hz()
    known = _known_rows(previous, settings, middles[:1], frequency=frequency)
    power = np.full((len(starts), grid.n_frequencies), np.nan)
    check_sums = np.zeros(len(starts), dtype=np.int64)
    for row, (low, high) in enumerate(zip(first, last, strict=True)):
        points = TimeSeries(good.time_s[low:high], good.flux[low:high], good.flux_err[low:high])
        check_sums[row] = _check_sum(points)
        if row < len(known) and known[row][0] == check_sums[row]:
            power[row] = known[row][1]
        elif high - low >= fewest:
            power[row] = _power(points, grid, settings.normalisation)
    return DynamicSpectrum(middles, frequency, power, (last - first).astype(np.int64), check_sums, settings)


def _starts_s(good: TimeSeries, settings: Windows, cadence: float) -> FloatArray:
    """Starts of all windows that are over; a window reaches half a cadence beyond its last point."""
    span = float(good.time_s[-1] - good.time_s[0]) + cadence
    if settings.window_s > span + 0.5 * cadence:
        raise AnalysisError(
            f"window_s ({settings.window_s:.4g}) of a dynamic spectrum must not be longer than the light curve, "
            f"{span:.4g} s"
        )
    # Half a cadence of slack: times that jitter end a little early.
    n_windows = math.floor((span + 0.5 * cadence - settings.window_s) / settings.step_s) + 1
    if n_windows > _MOST_WINDOWS:
        raise AnalysisError(
            f"a step of {settings.step_s:.4g} s gives {n_windows} windows, more than {_MOST_WINDOWS}: "
            "step_s must be longer"
        )
    return good.time_s[0] + settings.step_s * np.arange(n_windows, dtype=np.float64)


def _known_rows(
    previous: DynamicSpectrum | None, settings: Windows, first_s: FloatArray, *, frequency: FloatArray
) -> list[tuple[int, FloatArray]]:
    """Check sum and power of the rows of before, if they are of the same windows and frequencies."""
    if (
        previous is None
        or previous.settings != settings
        or not np.array_equal(previous.time_s[:1], first_s)
        or not np.array_equal(previous.frequency_hz, frequency)
    ):
        return []
    return list(zip(previous.check_sums.tolist(), previous.power, strict=True))


def _check_sum(points: TimeSeries) -> int:
    columns = (points.time_s, points.flux, points.flux_err)
    return zlib.crc32(b"".join(column.tobytes() for column in columns))


def _power(points: TimeSeries, grid: Grid, normalisation: Normalisation) -> FloatArray:
    if len(np.unique(points.time_s)) < FEWEST_POINTS:
        return np.full(grid.n_frequencies, np.nan)
    moments = moments_of(points)
    sums = transformed_sums(points, float(points.time_s[0]), level=moments.mean, grid=grid)
    return explained_variance(sums, moments.total_weight, 0.0) * power_per_variance(moments, normalisation)
