"""Detectors that are not linear: counts above the zero level become those of a linear one.

The correction bends the signal chain straight: the photons were counted in the pixel before it, so their variance is
that of the corrected electrons; what is added after it, read noise, grows by the derivative of the correction.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.cameras import FrameFacts, linearised, linearity_slope

_Real = TypeVar("_Real", np.float32, np.float64)


def linearise(electrons: NDArray[_Real], facts: FrameFacts) -> NDArray[_Real]:
    """Correct electrons above the zero level, dark current included; unchanged where no correction is known."""
    if not facts.linearity:
        return electrons
    gain = electrons.dtype.type(facts.gain_e_per_adu)
    return linearised(electrons / gain, facts.linearity) * gain


def read_variance_of(electrons: NDArray[_Real], facts: FrameFacts) -> NDArray[_Real]:
    """Variance that read noise leaves in corrected pixels, e-^2.

    Parameters
    ----------
    electrons : array
        Above the zero level, before the correction; NaN counts as 0.
    """
    counts = np.nan_to_num(electrons / electrons.dtype.type(facts.gain_e_per_adu))
    slope: NDArray[_Real] = linearity_slope(counts, facts.linearity)
    return slope**2 * electrons.dtype.type(facts.read_noise_e**2)
