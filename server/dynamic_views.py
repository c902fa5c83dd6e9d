"""The dynamic power spectrum of one key as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from server.timing_looks import TimingChoices, detrending_of
from server.timing_views import DynamicImage, KeyStretch, TimingView, reference_of
from stream.analysis.detrending import detrend
from stream.analysis.dynamic_spectrum import DynamicSpectrum, Windows, dynamic_spectrum
from stream.analysis.periodogram import Normalisation
from stream.analysis.series import measured_points, median_cadence_s
from stream.errors import AnalysisError
from stream.messages import FloatArray

POWER_UNITS = {
    Normalisation.FRACTIONAL: "(rms/mean)²/Hz",
    Normalisation.ABSOLUTE: "rms²/Hz",
    Normalisation.LEAHY: "Leahy power",
}
LENGTHS_S = (10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
_WINDOWS_WANTED = 12.0
_FEWEST_CADENCES = 30.0
_MOST_TIMES, _MOST_FREQUENCIES = 400, 360
_BRIGHTEST = 99.7


def dynamic_view(stretches: Sequence[KeyStretch], choices: TimingChoices, previous: object = None) -> TimingView:
    """Power of the reference key against time and frequency, after detrending; windows overlap by half.

    Raises
    ------
    ConfigurationError, AnalysisError
        If the light curve is too short for a window, or constant.
    """
    reference = reference_of(stretches, choices.reference)
    done = detrend(reference.series, detrending_of(choices.trend), airmass=reference.airmass)
    good = measured_points(done.series, "a dynamic power spectrum", fewest=5)
    window_s = choices.window_s or _fitting_window_s(good.time_s)
    settings = Windows(window_s, 0.5 * window_s, Normalisation(choices.normalisation))
    held = previous if isinstance(previous, DynamicSpectrum) else None
    spectrum = dynamic_spectrum(good, settings, previous=held)
    if not np.isfinite(spectrum.power).any():
        raise AnalysisError(f"no window of {window_s:g} s of {reference.key} is half full of points")
    text = f"{reference.key} · windows of {window_s:g} s every {0.5 * window_s:g} s · {done.sentence}"
    text += f" · brightness: √ of {POWER_UNITS[settings.normalisation]}"
    return TimingView(text=text, image=_image(spectrum, reference), kept=spectrum)


def _fitting_window_s(time_s: FloatArray) -> float:
    """About a twelfth of the light curve, but at least thirty cadences; one of a few lengths, so that it stays."""
    wanted = max(float(time_s[-1] - time_s[0]) / _WINDOWS_WANTED, _FEWEST_CADENCES * median_cadence_s(time_s))
    return next((length_s for length_s in LENGTHS_S if length_s >= wanted), wanted)


def _image(spectrum: DynamicSpectrum, reference: KeyStretch) -> DynamicImage:
    power, in_time, in_frequency = _pooled(spectrum.power)
    step_s = spectrum.settings.step_s * in_time
    step_hz = float(spectrum.frequency_hz[1] - spectrum.frequency_hz[0]) if len(spectrum.frequency_hz) > 1 else 1.0
    first_s = float(spectrum.time_s[0]) - 0.5 * spectrum.settings.step_s
    colour = np.sqrt(np.maximum(power, 0.0)).T.astype(np.float32)
    return DynamicImage(
        colour=colour,
        start_ms=float(reference.utc_ms_at(first_s)),
        length_ms=1e3 * step_s * power.shape[0],
        lowest_hz=float(spectrum.frequency_hz[0]) - 0.5 * step_hz,
        height_hz=step_hz * in_frequency * power.shape[1],
        top=max(float(np.nanpercentile(colour, _BRIGHTEST)), 1e-12),
    )


def _pooled(power: FloatArray) -> tuple[FloatArray, int, int]:
    """The highest power of neighbouring cells where there are more than a screen shows; NaN where all are."""
    steps = tuple(
        max(1, math.ceil(length / most))
        for length, most in zip(power.shape, (_MOST_TIMES, _MOST_FREQUENCIES), strict=True)
    )
    shape = tuple(-(-length // step) for length, step in zip(power.shape, steps, strict=True))
    filled = np.full((shape[0] * steps[0], shape[1] * steps[1]), np.nan)
    filled[: power.shape[0], : power.shape[1]] = power
    blocks = filled.reshape(shape[0], steps[0], shape[1], steps[1])
    highest = np.where(np.isnan(blocks), -np.inf, blocks).max(axis=(1, 3))
    return np.where(np.isneginf(highest), np.nan, highest), steps[0], steps[1]
