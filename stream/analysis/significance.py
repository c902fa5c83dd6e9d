"""How high noise alone would reach in a power spectrum, and what the sampling alone looks like."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.analysis.periodogram import DEFAULT_SETTINGS, PowerSpectrum, SpectrumSettings, frequency_grid
from stream.analysis.series import TimeSeries, measured_points, median_cadence_s
from stream.analysis.sinusoid import FEWEST_POINTS
from stream.errors import ConfigurationError
from stream.messages import FloatArray

METHOD = "Baluev (2008), white noise"
"""How a false-alarm level is found, in words for a plot."""
_FEWEST_POINTS = 10
"""Of fewer points a sinusoid with a mean explains too much for a limit of extreme values to hold."""


@dataclass(frozen=True, slots=True)
class FalseAlarmLevel:
    """Power that white noise exceeds somewhere in the spectrum with a given probability.

    Attributes
    ----------
    power : float
        In the unit of the spectrum.
    probability : float
    method : str
        How it was found, in words for a plot.
    """

    power: float
    probability: float
    method: str


@dataclass(frozen=True, slots=True)
class WindowFunction:
    """Power of the sampling alone: 1 where a sinusoid of that frequency would hide in its own alias at zero.

    Attributes
    ----------
    frequency_hz, power : array, shape (n_frequencies,)
        ``|sum w exp(2 pi i f t)|^2 / (sum w)^2``.
    """

    frequency_hz: FloatArray
    power: FloatArray


def false_alarm_level(spectrum: PowerSpectrum, series: TimeSeries, probability: float = 0.01) -> FalseAlarmLevel:
    """Level that the highest peak of Gaussian white noise exceeds with a probability (Baluev 2008, MNRAS 385, 1279).

    It is an upper limit of that probability, close where the level is high, for noise whose variance is that of the
    light curve: correlated noise, such as clouds and seeing make, reaches higher. Nothing is claimed of a peak above
    it but that white noise seldom does that.

    Parameters
    ----------
    spectrum : PowerSpectrum
        Of `series`, in any normalisation.
    series : TimeSeries
    probability : float
        Between 0 and 1, both excluded.

    Raises
    ------
    ConfigurationError
        If the probability is not between 0 and 1.
    AnalysisError
        If the light curve has fewer than ten measured points of different times.
    """
    from astropy.timeseries import LombScargle

    if not 0.0 < probability < 1.0:
        raise ConfigurationError(f"probability ({probability}) of a false alarm must be between 0 and 1")
    good = measured_points(series, "a false-alarm level", fewest=_FEWEST_POINTS)
    model = LombScargle(good.time_s - good.time_s[0], good.flux, good.flux_err)
    share = model.false_alarm_level(
        probability, method="baluev", maximum_frequency=float(spectrum.frequency_hz[-1]), samples_per_peak=5
    )
    return FalseAlarmLevel(float(share) * spectrum.all_variance_power, probability, METHOD)


def window_function(series: TimeSeries, *, settings: SpectrumSettings = DEFAULT_SETTINGS) -> WindowFunction:
    """Spectral window of the times, weighted by the errors, on the grid of `lomb_scargle`: Deeming 1975, Ap&SS 36, 137.

    Raises
    ------
    AnalysisError
        If the light curve is too short for a spectrum.
    """
    from finufft import nufft1d1

    good = measured_points(series, "a window function", fewest=FEWEST_POINTS)
    time = good.time_s - good.time_s[0]
    grid = frequency_grid(float(time[-1]), median_cadence_s(time), settings=settings)
    weights = good.flux_err**-2 / np.sum(good.flux_err**-2)
    # The transform counts its modes from -n/2: the phase of that many steps is put in beforehand.
    centre = grid.first_hz + grid.step_hz * (grid.n_frequencies // 2)
    angle = np.remainder(2.0 * math.pi * grid.step_hz * time, 2.0 * math.pi)
    start = weights * np.exp(2.0j * math.pi * np.remainder(centre * time, 1.0))
    modes = nufft1d1(angle, start, grid.n_frequencies, eps=1e-9, isign=1, nthreads=1)
    return WindowFunction(grid.frequency_hz(), np.abs(modes) ** 2)
