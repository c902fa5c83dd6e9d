"""Power spectra as they are drawn, and when they are worth being made again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from server.amounts import period_with_error, with_error
from server.columns import Columns, extreme_indices
from server.looks import Look
from stream.analysis.detrending import Detrended, Trend, detrend
from stream.analysis.periodogram import PowerSpectrum, SpectrumSettings, lomb_scargle
from stream.analysis.rolling import RollingSpectrum
from stream.analysis.running_median import RunningMedian
from stream.analysis.series import TimeSeries
from stream.analysis.significance import METHOD, FalseAlarmLevel, false_alarm_level, window_function
from stream.errors import OpticamLiveError
from stream.messages import FloatArray

MAX_SPECTRUM_POINTS = 1500
SPECTRUM_INTERVAL_S = 2.0
_REST = 15.0
"""A spectrum is made again after so many times what the last one took, if that is longer."""
_FEWEST_FOR_SPECTRUM = 16
_SMOOTHED_PER_DECADE = 12
_PLAIN = Look()
_FALSE_ALARM = 0.01
_ALARM_GROWTH = 1.02
"""The share of the variance that noise reaches changes with the logarithm of the number of points: slowly."""


@dataclass(frozen=True, slots=True)
class SpectrumView:
    """A power spectrum as drawn; `sentence` says why there is none."""

    columns: Columns
    """``frequency`` (Hz) and ``power`` (in the normalisation of the look), thinned with its extremes kept."""
    smooth: Columns
    """The same averaged in bins of equal width in log frequency."""
    peak_frequency_hz: float = math.nan
    peak_power: float = math.nan
    peak_text: str = ""
    """Frequency, period and rms of the peak with their errors."""
    peak_label: str = ""
    noise_level: float = math.nan
    """Mean power that the errors alone would make."""
    alarm_level: float = math.nan
    """Power that white noise exceeds somewhere once in a hundred times."""
    alarm_text: str = ""
    window: Columns = field(default_factory=dict)
    """``frequency`` and ``power`` of the sampling alone, times the power of the peak; empty unless it is wanted."""
    note: str = ""
    """What was taken out before the transform."""
    sentence: str = ""


class SpectrumMaker:
    """Keeps the power spectrum of one stretch of one light curve up to date, no more often than is worth it.

    Parameters
    ----------
    name : str
        Key, for sentences.
    clock : callable
        Monotonic time, seconds.
    look : Look
        Of it: detrending and normalisation.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic, look: Look = _PLAIN) -> None:
        self._name = name
        self._clock = clock
        self._detrending = look.detrending
        self._settings = SpectrumSettings(look.normalisation)
        self._is_window_wanted = look.sampling
        self._rolling = RollingSpectrum(self._settings)
        self._medians = RunningMedian(look.detrending.window_s)
        self._alarm: tuple[int, float] | None = None
        self._made_of = -1
        self._due_s = -math.inf
        self.view = no_spectrum()

    def is_due(self, version: int) -> bool:
        """Whether the points of this version are another than those of the last spectrum, and old enough."""
        return version != self._made_of and self._clock() >= self._due_s

    def make(self, series: TimeSeries, airmass: FloatArray, version: int) -> None:
        """Make the spectrum of some points: seconds, ascending; NaN and errors of 0 are left out."""
        started = self._clock()
        self.view = self._spectrum(series, airmass)
        finished = self._clock()
        self._made_of, self._due_s = version, finished + max(SPECTRUM_INTERVAL_S, _REST * (finished - started))

    def _spectrum(self, series: TimeSeries, airmass: FloatArray) -> SpectrumView:
        with np.errstate(invalid="ignore"):
            good = np.isfinite(series.flux) & (series.flux_err > 0.0)
        n_good = int(np.count_nonzero(good))
        if n_good < _FEWEST_FOR_SPECTRUM:
            return no_spectrum(f"{self._name}: {n_good} points, a power spectrum needs {_FEWEST_FOR_SPECTRUM}")
        measured = TimeSeries(series.time_s[good], series.flux[good], series.flux_err[good])
        try:
            done = detrend(measured, self._detrending, airmass=airmass[good], medians=self._medians)
            spectrum = self._transformed(done.series)
            view = _drawn(spectrum, done, self._false_alarm(spectrum, done.series))
            return replace(view, window=self._window(done.series, view)) if self._is_window_wanted else view
        except OpticamLiveError as problem:
            return no_spectrum(f"{self._name}: {problem}")

    def _transformed(self, series: TimeSeries) -> PowerSpectrum:
        if self._detrending.trend is Trend.NONE:
            return self._rolling.update(series)
        # A trend moves all points with each new one: no sum over the points of before can be kept.
        time_s = series.time_s - series.time_s[0]
        return lomb_scargle(time_s, series.flux, series.flux_err, settings=self._settings)

    def _window(self, series: TimeSeries, view: SpectrumView) -> Columns:
        found = window_function(series, settings=self._settings)
        kept = extreme_indices(np.log2(found.frequency_hz), found.power, MAX_SPECTRUM_POINTS)
        return {"frequency": found.frequency_hz[kept], "power": found.power[kept] * view.peak_power}

    def _false_alarm(self, spectrum: PowerSpectrum, series: TimeSeries) -> FalseAlarmLevel:
        n_points = spectrum.n_points
        if self._alarm is None or not self._alarm[0] <= n_points < _ALARM_GROWTH * self._alarm[0]:
            level = false_alarm_level(spectrum, series, _FALSE_ALARM)
            self._alarm = (n_points, level.power / spectrum.all_variance_power)
            return level
        return FalseAlarmLevel(self._alarm[1] * spectrum.all_variance_power, _FALSE_ALARM, METHOD)


def no_spectrum(sentence: str = "") -> SpectrumView:
    """Nothing to draw, and why."""
    nothing = {"frequency": np.empty(0), "power": np.empty(0)}
    return SpectrumView(nothing, nothing, sentence=sentence)


def _drawn(spectrum: PowerSpectrum, done: Detrended, alarm: FalseAlarmLevel) -> SpectrumView:
    shown = (spectrum.frequency_hz > 0.0) & (spectrum.power > 0.0) & np.isfinite(spectrum.power)
    frequency, power = spectrum.frequency_hz[shown], spectrum.power[shown]
    kept = extreme_indices(np.log2(frequency), power, MAX_SPECTRUM_POINTS)
    peak_hz = float(spectrum.peak_frequency_hz)
    peak_err_hz = float(spectrum.peak_frequency_err_hz)
    text = f"{with_error(peak_hz, peak_err_hz, 'Hz')}{rival_text(spectrum)}\n"
    text += period_with_error(1.0 / peak_hz, peak_err_hz / peak_hz**2)
    text += f" · rms {with_error(100.0 * spectrum.peak_rms, 100.0 * spectrum.peak_rms_err, '%')}"
    return SpectrumView(
        {"frequency": frequency[kept], "power": power[kept]},
        smoothed(frequency, power),
        peak_frequency_hz=peak_hz,
        peak_power=float(spectrum.peak_power),
        peak_text=text,
        peak_label=f"{significant(peak_hz, peak_err_hz)} Hz",
        noise_level=float(spectrum.noise_level),
        alarm_level=alarm.power,
        alarm_text=f"{100.0 * alarm.probability:g} % false alarm, {alarm.method}",
        note=done.sentence,
    )


def rival_text(spectrum: PowerSpectrum) -> str:
    """The other frequency that the peak may be an alias of, in words; empty where there is none."""
    if not math.isfinite(spectrum.rival_frequency_hz):
        return ""
    return f" or {significant(spectrum.rival_frequency_hz, spectrum.peak_frequency_err_hz)} Hz"


def smoothed(frequency: FloatArray, power: FloatArray) -> dict[str, FloatArray]:
    """Average power in bins of equal width in log frequency; the average is of powers, which is unbiased."""
    if len(frequency) == 0:
        return {"frequency": np.empty(0), "power": np.empty(0)}
    bins = np.floor(np.log10(frequency) * _SMOOTHED_PER_DECADE)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(bins)) + 1])
    counts = np.diff(np.concatenate([starts, [len(bins)]]))
    return {
        "frequency": 10.0 ** (np.add.reduceat(np.log10(frequency), starts) / counts),
        "power": np.add.reduceat(power, starts) / counts,
    }


def significant(value: float, error: float) -> str:
    """A number with the digits that its error leaves, one of them uncertain, at most six after the point."""
    if not (math.isfinite(error) and error > 0.0):
        return f"{value:.4g}"
    digits = min(6, max(1, -math.floor(math.log10(error))))
    return f"{value:.{digits}f}"
