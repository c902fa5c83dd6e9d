"""Cosmic rays on stamps: L.A.Cosmic (van Dokkum 2001, PASP 113, 1420), as astroscrappy has it.

A stamp is searched only if it has a pixel that the method could find in its first round. Two looks tell: the Laplacian
of all pixels, with a noise that is never too large; then, for those that stand out so, their noise and their contrast
against the fine structure of the image, with the method's own medians. Both are lenient and lose no pixel; what is
found is for astroscrappy to say. Stars keep their pixels by that contrast.

Found pixels are marked and not replaced: the photometry does without them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stream.measure.medians import median_of
from stream.messages import FloatArray

MARGIN_PX = 8
"""Pixels along the border of a stamp whose neighbourhood is not complete; nothing is found there."""

_LAPLACIAN_SIGMA = 4.5
_NEIGHBOUR_FRACTION = 0.3
_CONTRAST = 5.0
_ITERATIONS = 3
_AROUND_PX = 8
_REACH_PX = 6  # of all medians of one round, one after the other
_LENIENT = 0.999
_PIXELS_AT_ONCE = 200_000  # so many stay in the cache of a processor
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

    def of(self, part: slice) -> PixelNoise:
        """The same for some of the stamps."""
        return self if self.response is None else PixelNoise(self.read_noise_e, self.response[part])

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
    at_once = max(_PIXELS_AT_ONCE // max(stamps.shape[1] ** 2, 1), 1)
    parts = [slice(first, first + at_once) for first in range(0, len(stamps), at_once)]
    found = [_find_in(stamps[part], noise.of(part)) for part in parts]
    if all(part is None for part in found):
        return None
    shapes = [stamps[part].shape for part in parts]
    pairs = zip(found, shapes, strict=True)
    return np.concatenate([np.zeros(shape, dtype=bool) if marked is None else marked for marked, shape in pairs])


def _find_in(stamps: FloatArray, noise: PixelNoise) -> NDArray[np.bool_] | None:
    known = np.isfinite(stamps)
    filled = stamps
    if not known.all():
        pairs = zip(stamps, known, strict=True)
        typical = np.array([np.median(stamp[good]) if good.any() else 0.0 for stamp, good in pairs])
        filled = np.where(known, stamps, typical[:, None, None])
    image = filled.astype(np.float32)
    variance = noise.variance(filled).astype(np.float32)
    suspects = np.zeros(stamps.shape, dtype=bool)
    # A pixel that is found may grow by two: those further out change nothing that is kept.
    edge = MARGIN_PX - 2
    side = stamps.shape[1]
    suspects[:, 1:-1, 1:-1] = _standing_out(image, variance)
    suspects[:, :edge], suspects[:, side - edge :] = False, False
    suspects[:, :, :edge], suspects[:, :, side - edge :] = False, False
    suspects &= known
    marked = np.zeros(stamps.shape, dtype=bool)
    for number in _stamps_to_search(image, variance, suspects):
        box = _box_around(suspects[number], side)
        marked[number][box] = _search(image[number][box], variance[number][box], known[number][box])
    inner = slice(MARGIN_PX, stamps.shape[1] - MARGIN_PX)
    framed = np.zeros_like(marked)
    framed[:, inner, inner] = marked[:, inner, inner] & known[:, inner, inner]
    return framed if framed.any() else None


def _standing_out(stamps: NDArray[np.float32], variance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels within the outermost ones whose Laplacian could pass the first criterion (equations 5 to 11)."""
    rows = np.minimum(variance[:, :-2], variance[:, 2:])
    lowest = np.minimum(np.minimum(rows[:, :, :-2], rows[:, :, 2:]), variance[:, 1:-1, 1:-1])
    return np.asarray(_laplacian(stamps) ** 2 > (8.0 * _LAPLACIAN_SIGMA) ** 2 * lowest)


def _stamps_to_search(
    image: NDArray[np.float32], variance: NDArray[np.float32], suspects: NDArray[np.bool_]
) -> list[int]:
    """Numbers of the stamps with a suspect that could pass the criteria of the first round of the method.

    Noise is the separable median of the variance over 7 x 7, sampling flux that of the signal over 7 x 7, fine
    structure that of the image over 5 x 5 less its own over 9 x 9, as in astroscrappy.
    """
    number, row, column = np.nonzero(suspects)
    size = 2 * _REACH_PX + 1
    noises = sliding_window_view(variance, (size, size), axis=(1, 2))[number, row - _REACH_PX, column - _REACH_PX]
    around = sliding_window_view(image, (size, size), axis=(1, 2))[number, row - _REACH_PX, column - _REACH_PX]
    noise = np.sqrt(np.maximum(_separable_median(noises[:, 3:-3, 3:-3]), 1e-5))
    largest = np.sqrt(np.maximum(noises.max(axis=(1, 2)), 1e-5))
    laplacian = _laplacian(around[:, 2:-2, 2:-2])
    signal = (laplacian[:, 3, 3] / noise - _separable_median(laplacian) / largest) / 8.0
    strong = signal > _LENIENT * _LAPLACIAN_SIGMA
    number, around, noise, signal = number[strong], around[strong], noise[strong], signal[strong]
    along = median_of([around[:, :, first : first + 9] for first in range(5)])
    smooth = median_of([along[:, first : first + 9] for first in range(5)])
    structure = (smooth[:, 4, 4] - _separable_median(smooth)) / noise
    found = laplacian[strong, 3, 3] / (8.0 * noise) > _LENIENT * _CONTRAST * np.maximum(structure, 0.01)
    return sorted(set(number[found].tolist()))


def _separable_median(squares: NDArray[np.floating]) -> NDArray[np.floating]:
    """Median of the medians of the rows of each square."""
    rows = median_of(list(squares.transpose(2, 0, 1)))
    return median_of(list(rows.T))


def _laplacian(stamps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Four times the Laplacian of the method, without the outermost pixels (equations 5 to 8).

    A pixel cut in four has itself on two sides; the negative part is set to zero before it is summed.
    """
    middle = stamps[:, 1:-1, 1:-1]
    total = np.zeros_like(middle)
    double = 2.0 * middle
    for row in (stamps[:, :-2, 1:-1], stamps[:, 2:, 1:-1]):
        above = double - row
        for column in (stamps[:, 1:-1, :-2], stamps[:, 1:-1, 2:]):
            total += np.maximum(above - column, 0.0)
    return total


def _box_around(suspects: NDArray[np.bool_], side_px: int) -> tuple[slice, slice]:
    """Part of a stamp that holds all suspects and what the medians of the method see around them."""
    rows, columns = np.flatnonzero(suspects.any(axis=1)), np.flatnonzero(suspects.any(axis=0))
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
