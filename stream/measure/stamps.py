"""Squares cut out of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.messages import FloatArray


def cut_stamps(image: NDArray, corners: NDArray[np.intp], side_px: int, outside: float | bool | np.integer) -> NDArray:
    """Cut squares out of an image.

    Parameters
    ----------
    corners : array of int, shape (n, 2)
        Column and row of the first pixel of each square; may lie outside the image.
    outside : float, bool or numpy integer
        What stands where a square reaches over the edge; the squares are of its type.

    Returns
    -------
    array, shape (n, side_px, side_px)
    """
    if are_inside(corners, side_px, image.shape):
        stamps = np.empty((len(corners), side_px, side_px), dtype=np.asarray(outside).dtype)
        for number, (x, y) in enumerate(corners.tolist()):
            stamps[number] = image[y : y + side_px, x : x + side_px]
        return stamps
    rows, columns = image.shape
    stamps = np.full((len(corners), side_px, side_px), outside)
    for stamp, (x, y) in zip(stamps, corners.tolist(), strict=True):
        left, right = max(x, 0), min(x + side_px, columns)
        low, high = max(y, 0), min(y + side_px, rows)
        if left < right and low < high:
            stamp[low - y : high - y, left - x : right - x] = image[low:high, left:right]
    return stamps


def are_inside(corners: NDArray[np.intp], side_px: int, shape: tuple[int, ...]) -> bool:
    """Whether all squares lie within an image of this shape, (rows, columns)."""
    if not len(corners):
        return True
    (right, low), (left, high) = corners.max(axis=0).tolist(), corners.min(axis=0).tolist()
    return bool(left >= 0 and high >= 0 and right + side_px <= shape[1] and low + side_px <= shape[0])


@dataclass(frozen=True, slots=True)
class IntegerStamps:
    """Squares of a frame as they are stored, where that is as whole numbers of at most 16 bits.

    Electrons are ``values * scale + zero``.

    Attributes
    ----------
    values : array of int, shape (n, side, side)
        In the byte order of the machine; the largest of their type where there is no value.
    missing : array of bool, shape of `values`, or None
        Marks pixels without a value; None where all have one.
    """

    values: NDArray[np.integer]
    missing: NDArray[np.bool_] | None
    scale: float
    zero: float

    @classmethod
    def cut(
        cls, pixels: NDArray[np.integer], corners: NDArray[np.intp], side_px: int, blank: int | None
    ) -> IntegerStamps:
        """Cut squares out of stored pixels; `blank` is the value that means "no value"."""
        kind = pixels.dtype.newbyteorder("=")
        largest = kind.type(np.iinfo(kind).max)
        values = cut_stamps(pixels, corners, side_px, largest)
        missing = None
        if not are_inside(corners, side_px, pixels.shape):
            steps = np.arange(side_px)
            columns, rows = corners[:, :1] + steps, corners[:, 1:] + steps
            missing = ((rows < 0) | (rows >= pixels.shape[0]))[:, :, None]
            missing = missing | ((columns < 0) | (columns >= pixels.shape[1]))[:, None, :]
        if blank is not None:
            blanks = values == blank
            missing = blanks if missing is None else missing | blanks
            values[missing] = largest
        return cls(values, missing, 1.0, 0.0)

    def electrons(self, inner: slice = slice(None)) -> FloatArray:
        """Electrons of the rows and columns `inner` of each square; NaN where there is no value."""
        electrons = self.values[:, inner, inner] * np.float64(self.scale)
        electrons += self.zero
        if self.missing is not None:
            electrons[self.missing[:, inner, inner]] = np.nan
        return electrons
