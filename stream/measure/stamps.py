"""Squares cut out of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cut_stamps(image: NDArray, corners: NDArray[np.intp], side_px: int, outside: float | bool) -> NDArray:
    """Cut squares out of an image.

    Parameters
    ----------
    corners : array of int, shape (n, 2)
        Column and row of the first pixel of each square; may lie outside the image.
    outside : float or bool
        What stands where a square reaches over the edge; the squares are of its type.

    Returns
    -------
    array, shape (n, side_px, side_px)
    """
    rows, columns = image.shape
    stamps = np.full((len(corners), side_px, side_px), outside)
    for stamp, (x, y) in zip(stamps, corners.tolist(), strict=True):
        left, right = max(x, 0), min(x + side_px, columns)
        low, high = max(y, 0), min(y + side_px, rows)
        if left < right and low < high:
            stamp[low - y : high - y, left - x : right - x] = image[low:high, left:right]
    return stamps
