"""Power spectra as they are drawn, and when they are worth being made again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from server.columns import Columns, extreme_indices
from stream.analysis.periodogram import PowerSpectrum
from stream.analysis.rolling import RollingSpectrum
from stream.analysis.series import TimeSeries
from stream.errors import OpticamLiveError
from stream.messages import FloatArray

MAX_SPECTRUM_POINTS = 1500
SPECTRUM_INTERVAL_S = 2.0
_REST = 15.0
"""A spectrum is made again after so many times what the last one took, if that is longer."""
_FEWEST_FOR_SPECTRUM = 16
_SMOOTHED_PER_DECADE = 12


@dataclass(frozen=True, slots=True)
class SpectrumView:
    """A power spectrum as drawn; `sentence` says why there is none."""

    columns: Columns
    """``frequency`` (Hz) and ``power`` (fractional rms squared per Hz), thinned with its extremes kept."""
    smooth: Columns
    """The same averaged in bins of equal width in log frequency."""
    peak_frequency_hz: float = math.nan
    peak_power: float = math.nan
    peak_text: str = ""
    noise_level: float = math.nan
    """Mean power that the errors alone would make."""
    sentence: str = ""


class SpectrumMaker:
    """Keeps the power spectrum of one stretch of one light curve up to date, no more often than is worth it.

    Parameters
    ----------
    name : str
        Key, for sentences.
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._rolling = RollingSpectrum()
        self._made_of = -1
        self._due_s = -math.inf
        self.view = no_spectrum()

    def is_due(self, version: int) -> bool:
        """Whether the points of this version are another than those of the last spectrum, and old enough."""
        return version != self._made_of and self._clock() >= self._due_s

    def make(self, series: TimeSeries, version: int) -> None:
        """Make the spectrum of some points: seconds, ascending; NaN and errors of 0 are left out."""
        started = self._clock()
        self.view = self._spectrum(series)
        finished = self._clock()
        self._made_of, self._due_s = version, finished + max(SPECTRUM_INTERVAL_S, _REST * (finished - started))

    def _spectrum(self, series: TimeSeries) -> SpectrumView:
        with np.errstate(invalid="ignore"):
            good = np.isfinite(series.flux) & (series.flux_err > 0.0)
        n_good = int(np.count_nonzero(good))
        if n_good < _FEWEST_FOR_SPECTRUM:
            return no_spectrum(f"{self._name}: {n_good} points, a power spectrum needs {_FEWEST_FOR_SPECTRUM}")
        try:
            return _drawn(
                self._rolling.update(TimeSeries(series.time_s[good], series.flux[good], series.flux_err[good]))
            )
        except OpticamLiveError as problem:
            return no_spectrum(f"{self._name}: {problem}")


def no_spectrum(sentence: str = "") -> SpectrumView:
    """Nothing to draw, and why."""
    nothing = {"frequency": np.empty(0), "power": np.empty(0)}
    return SpectrumView(nothing, nothing, sentence=sentence)


def _drawn(spectrum: PowerSpectrum) -> SpectrumView:
    shown = (spectrum.frequency_hz > 0.0) & (spectrum.power > 0.0) & np.isfinite(spectrum.power)
    frequency, power = spectrum.frequency_hz[shown], spectrum.power[shown]
    kept = extreme_indices(np.log2(frequency), power, MAX_SPECTRUM_POINTS)
    peak_hz = float(spectrum.peak_frequency_hz)
    text = f"{significant(peak_hz, spectrum.peak_frequency_err_hz)} Hz"
    text += f" · {_period_text(1.0 / peak_hz)} · rms {100.0 * spectrum.peak_rms:.2f} %"
    return SpectrumView(
        {"frequency": frequency[kept], "power": power[kept]},
        smoothed(frequency, power),
        peak_frequency_hz=peak_hz,
        peak_power=float(spectrum.peak_power),
        peak_text=text,
        noise_level=float(spectrum.noise_level),
    )


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


def _period_text(period_s: float) -> str:
    if period_s < 120.0:
        return f"{period_s:.2f} s"
    return f"{period_s / 60.0:.1f} min" if period_s < 7200.0 else f"{period_s / 3600.0:.2f} h"
