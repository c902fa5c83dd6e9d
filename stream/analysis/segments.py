"""Even light curves cut into segments of the good-time intervals, each of them transformed.

What `stingray.fourier` does in its loops: tests compare with it. Importing stingray takes seconds of a core, for loops
that it compiles and figures that it draws, which a page that is looked at cannot wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.analysis.good_times import EvenLightCurves, good_runs
from stream.messages import FloatArray

ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Segments:
    """Fourier transforms ``sum x exp(-2 pi i f t)`` of the segments of each key.

    Attributes
    ----------
    frequency_hz : array, shape (n_frequencies,)
        From 1/segment up to below the Nyquist frequency.
    transforms : dict of complex array, shape (n_segments, n_frequencies), by key
    means : dict of float, by key
        Mean flux of all segments.
    n_segments, n_cells : int
        How many there are, and how many points each of them has.
    """

    frequency_hz: FloatArray
    transforms: Mapping[str, ComplexArray]
    means: Mapping[str, float]
    n_segments: int
    n_cells: int

    def mean_power(self, key: str) -> FloatArray:
        """Mean of ``|F|^2`` over the segments."""
        return np.asarray(np.mean(np.abs(self.transforms[key]) ** 2, axis=0))

    def mean_cross(self, first: str, second: str) -> ComplexArray:
        """Mean of ``F1* F2`` over the segments."""
        return np.asarray(np.mean(np.conj(self.transforms[first]) * self.transforms[second], axis=0))


def transformed_segments(curves: EvenLightCurves, n_cells: int) -> Segments:
    """Transform the segments that fit into the good-time intervals, one after the other from the begin of each.

    Parameters
    ----------
    curves : EvenLightCurves
        At least one interval must be as long as a segment.
    n_cells : int
        Points of a segment.
    """
    first, last = good_runs(curves.good)
    starts = np.concatenate(
        [np.arange(low, high - n_cells + 1, n_cells) for low, high in zip(first, last, strict=True)]
    )
    cells = starts[:, np.newaxis] + np.arange(n_cells)
    # Below the Nyquist frequency, where a real light curve has no phase.
    used = slice(1, (n_cells + 1) // 2)
    transforms, means = {}, {}
    for key, flux in curves.flux.items():
        values = flux[cells]
        means[key] = float(values.mean())
        transforms[key] = np.fft.rfft(values - means[key], axis=1)[:, used]
    frequency = np.arange(n_cells // 2 + 1, dtype=np.float64)[used] / (n_cells * curves.cadence_s)
    return Segments(frequency, transforms, means, len(starts), n_cells)
