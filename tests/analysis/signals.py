"""Light curves in seconds with a sinusoid and white noise in them: even, with gaps, with jitter."""

from __future__ import annotations

import math

import numpy as np

from stream.analysis.series import TimeSeries
from stream.messages import FloatArray

FREQUENCY_HZ, RMS = 0.135, 0.02
SAMPLINGS = ("even", "gappy", "jittered")


def times(sampling: str, n_points: int, seed: int = 1) -> FloatArray:
    """About one a second: exactly, without 30 % in the middle and some at random, or 0.2 s off at most.

    ``apart``: exactly, the second half after a gap that is ten times as long as both.
    """
    random = np.random.default_rng(seed)
    time = np.arange(n_points, dtype=np.float64)
    if sampling == "gappy":
        place = time / n_points
        return time[((place < 0.4) | (place > 0.7)) & (random.uniform(size=n_points) > 0.05)]
    if sampling == "apart":
        return np.where(time < n_points // 2, time, time + 10.0 * n_points)
    if sampling == "jittered":
        return np.asarray(time + random.uniform(-0.2, 0.2, n_points))
    return time


def sinusoid(time: FloatArray, *, noise: float, seed: int, lag_rad: float = 0.0, rms: float = RMS) -> TimeSeries:
    """Mean 1, errors that differ from point to point by 30 % either way, noise of these errors."""
    random = np.random.default_rng(seed)
    flux = 1.0 + rms * math.sqrt(2.0) * np.sin(2.0 * math.pi * FREQUENCY_HZ * time - lag_rad)
    error = noise * random.uniform(0.7, 1.3, len(time))
    return TimeSeries(time, flux + error * random.normal(size=len(time)), error)


def white_noise(time: FloatArray, *, noise: float, seed: int) -> TimeSeries:
    """Mean 1 and nothing but noise of equal errors."""
    random = np.random.default_rng(seed)
    return TimeSeries(time, 1.0 + noise * random.normal(size=len(time)), np.full(len(time), noise))
