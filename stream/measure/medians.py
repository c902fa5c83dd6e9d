"""Medians of few numbers: numpy's own spends twenty times longer on its preparations than on them."""

from __future__ import annotations

import numpy as np

from stream.messages import FloatArray


def row_medians(values: FloatArray) -> FloatArray:
    """Medians along the last axis, which holds at least one number and no NaN; the shape without that axis."""
    ordered = np.sort(values, axis=-1)
    n = ordered.shape[-1]
    return np.asarray(0.5 * (ordered[..., (n - 1) // 2] + ordered[..., n // 2]))
