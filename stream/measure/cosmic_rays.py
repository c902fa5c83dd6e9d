"""Cosmic rays on stamps: L.A.Cosmic (van Dokkum 2001, PASP 113, 1420), as astroscrappy has it.

A stamp is searched only around pixels that stand out of their neighbours at all: the Laplacian of the method, with a
noise that is never too large, takes a fraction of the time of its medians, and most stamps have no such pixel. Stars
keep their pixels by the method's own criterion (contrast against the fine structure of the image).

Found pixels are marked and not replaced: the photometry does without them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.messages import FloatArray

MARGIN_PX = 3
"""Pixels along the border of a stamp whose neighbourhood is not complete; nothing is found there."""

_LAPLACIAN_SIGMA = 4.5
_NEIGHBOUR_FRACTION = 0.3
_CONTRAST = 5.0
_ITERATIONS = 3
_AROUND_PX = 8
_NEVER_SATURATED = 1e30


@dataclass(frozen=True, slots=True)
class PixelNoise:
    """What the noise of a pixel is made of, apart from its light.

    Attributes
    ----------
    read_noise_e : float
        Electrons.
    response : array, shape (n_stamps, side, side), or None
        What the values were divided by; None for 1.
    """

    read_noise_e: float
    response: FloatArray | None = None

    def variance(self, electrons: FloatArray) -> FloatArray:
        """Variance of pixels that hold so many electrons, e-^2."""
        if self.response is None:
            return np.maximum(electrons, 0.0) + self.read_noise_e**2
        return np.maximum(electrons, 0.0) / self.response + (self.read_noise_e / self.response) ** 2


def find_cosmic_rays(stamps: FloatArray, noise: PixelNoise) -> NDArray[np.bool_] | None:
    """Mark the pixels that cosmic rays hit; None if there is none.

    Nothing is marked within `MARGIN_PX` of the border of a stamp.

    Parameters
    ----------
    stamps : array, shape (n_stamps, side, side)
        Electrons with the sky, because the noise follows from them; NaN marks pixels that do not count.
    """
    known = np.isfinite(stamps)
    filled = stamps
    if not known.all():
        pairs = zip(stamps, known, strict=True)
        typical = np.array([np.median(stamp[good]) if good.any() else 0.0 for stamp, good in pairs])
        filled = np.where(known, stamps, typical[:, None, None])
    image = filled.astype(np.float32)
    variance = noise.variance(filled).astype(np.float32)
    suspects = _standing_out(image, variance) & known[:, 1:-1, 1:-1]
    marked = np.zeros(stamps.shape, dtype=bool)
    for number in np.flatnonzero(suspects.any(axis=(1, 2))).tolist():
        box = _box_around(suspects[number], stamps.shape[1])
        marked[number][box] = _search(image[number][box], variance[number][box], known[number][box])
    inner = slice(MARGIN_PX, stamps.shape[1] - MARGIN_PX)
    framed = np.zeros_like(marked)
    framed[:, inner, inner] = marked[:, inner, inner] & known[:, inner, inner]
    return framed if framed.any() else None


def _standing_out(stamps: NDArray[np.float32], variance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels within the outermost ones whose Laplacian could pass the first criterion (equations 5 to 11)."""
    middle = stamps[:, 1:-1, 1:-1]
    laplacian = np.zeros_like(middle)
    double = 2.0 * middle
    for row in (stamps[:, :-2, 1:-1], stamps[:, 2:, 1:-1]):
        above = double - row
        for column in (stamps[:, 1:-1, :-2], stamps[:, 1:-1, 2:]):
            # A pixel cut in four has itself on two sides; the negative part is set to zero before it is summed.
            laplacian += np.maximum(above - column, 0.0)
    rows = np.minimum(variance[:, :-2], variance[:, 2:])
    lowest = np.minimum(np.minimum(rows[:, :, :-2], rows[:, :, 2:]), variance[:, 1:-1, 1:-1])
    return np.asarray(laplacian**2 > (8.0 * _LAPLACIAN_SIGMA) ** 2 * lowest)


def _box_around(suspects: NDArray[np.bool_], side_px: int) -> tuple[slice, slice]:
    """Part of a stamp that holds all suspects and what the medians of the method see around them."""
    rows, columns = np.flatnonzero(suspects.any(axis=1)) + 1, np.flatnonzero(suspects.any(axis=0)) + 1
    return (
        slice(max(int(rows[0]) - _AROUND_PX, 0), min(int(rows[-1]) + _AROUND_PX + 1, side_px)),
        slice(max(int(columns[0]) - _AROUND_PX, 0), min(int(columns[-1]) + _AROUND_PX + 1, side_px)),
    )


def _search(image: NDArray[np.float32], variance: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # OpenMP within a worker that is one of several hangs (astroscrappy's manual); it reads this when first imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from astroscrappy import detect_cosmics

    found, _ = detect_cosmics(
        np.ascontiguousarray(image),
        inmask=np.ascontiguousarray(~known),
        invar=np.ascontiguousarray(variance),
        sigclip=_LAPLACIAN_SIGMA,
        sigfrac=_NEIGHBOUR_FRACTION,
        objlim=_CONTRAST,
        gain=1.0,
        readnoise=0.0,
        satlevel=_NEVER_SATURATED,
        niter=_ITERATIONS,
        sepmed=True,
    )
    return np.asarray(found, dtype=bool)
