"""Windowed centroids and shapes of stars on stamps, for all stars at once.

The centroid is the fixed point of a Gaussian-weighted mean (Bertin & Arnouts 1996; SExtractor's XWIN_IMAGE), iterated
on a stamp that is centred on the star itself, until it no longer moves. It therefore depends on the pixels alone, not
on where the search began. Second moments in the same window give the shape of the point-spread function.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.measure.exposure import Exposure
from stream.messages import FloatArray

_Value = TypeVar("_Value", bound=np.generic)

_WINDOW_HALF_SIGMA = 4.0
_SEARCH_SIGMA = 3.5
_MAX_RECENTRINGS = 4
_MIN_SIGNAL_TO_NOISE = 5.0
_SHAPE_SIGNAL_TO_NOISE = 10.0
_MIN_SHARPNESS, _MAX_SHARPNESS = 0.16, 0.98
_LONGEST_TRAIL = 4.0


@dataclass(frozen=True, slots=True)
class StarCentres:
    """Centroids of stars; arrays of shape (n_stars,) unless said otherwise.

    Attributes
    ----------
    xy : array, shape (n_stars, 2)
        Pixels, 0-based.
    flux : array
        Flux within the window, electrons: proportional to the star's flux at constant seeing.
    signal_to_noise : array
        Of that flux.
    moments : array, shape (n_stars, 3)
        xx, xy and yy within the window, pixels squared.
    saturated : array of bool
        The highest pixel near the centre is at the saturation level: neither place nor shape can be trusted.
    good : array of bool
        False for what is saturated, too faint, did not converge, left the search radius, or is too sharp (a hot
        pixel, a cosmic ray) or too wide to be a star.
    """

    xy: FloatArray
    flux: FloatArray
    signal_to_noise: FloatArray
    moments: FloatArray
    saturated: NDArray[np.bool_]
    good: NDArray[np.bool_]

    def replaced(self, which: NDArray[np.bool_], by: StarCentres) -> StarCentres:
        """The same with other centres of the stars marked in `which`."""
        return StarCentres(
            _with_rows(self.xy, which, by.xy),
            _with_rows(self.flux, which, by.flux),
            _with_rows(self.signal_to_noise, which, by.signal_to_noise),
            _with_rows(self.moments, which, by.moments),
            _with_rows(self.saturated, which, by.saturated),
            _with_rows(self.good, which, by.good),
        )


def _with_rows(values: NDArray[_Value], which: NDArray[np.bool_], others: NDArray[_Value]) -> NDArray[_Value]:
    copy = values.copy()
    copy[which] = others
    return copy


def is_one_pixel_wide(centres: StarCentres, window_sigma_px: float) -> NDArray[np.bool_]:
    """Whether the light seen in the window is too narrow for a star: one hot pixel or two, a cosmic ray.

    Across its minor axis where the signal tells it from noise, on average of both axes where it is fainter.
    """
    xx, xy, yy = centres.moments.T / window_sigma_px**2
    mean = 0.5 * (xx + yy)
    minor = mean - np.hypot(0.5 * (xx - yy), xy)
    is_narrow = (mean <= _MIN_SHARPNESS) & (centres.signal_to_noise >= _MIN_SIGNAL_TO_NOISE)
    return is_narrow | ((minor <= _MIN_SHARPNESS) & (centres.signal_to_noise >= _SHAPE_SIGNAL_TO_NOISE))


def window_half_side(window_sigma_px: float) -> int:
    """Half side of the stamps that `centre_stars` needs, pixels."""
    return max(4, int(np.ceil(_WINDOW_HALF_SIGMA * window_sigma_px)) + 1)


def centre_stars(
    frame: Exposure,
    guesses: FloatArray,
    window_sigma_px: float,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> StarCentres:
    """Centre stars near guessed positions.

    A star further than 3.5 window widths from its guess is not looked for.

    Parameters
    ----------
    guesses : array, shape (n_stars, 2)
        x and y, pixels, 0-based.
    window_sigma_px : float
        Width of the Gaussian window; best is that of the stars.
    bad_pixels : array of bool, shape of the frame, optional
        Pixels that are replaced by the mean of their usable neighbours.
    """
    from stream.measure.stamp_kernels import rest_windows

    n = len(guesses)
    half = window_half_side(window_sigma_px)
    xy = guesses.astype(np.float64, copy=True)
    sums, noise = np.zeros((6, n)), np.full(n, np.inf)
    converged, saturated = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    active = np.flatnonzero(_on_frame(xy, frame.shape, margin=1.0))
    for _ in range(_MAX_RECENTRINGS):
        if not active.size:
            break
        middles = np.rint(xy[active]).astype(np.intp)
        stamps = sky_subtracted_stamps(frame, middles, half, bad_pixels)
        offsets, inner_sums, done = rest_windows(stamps.electrons, xy[active] - middles, window_sigma_px)
        xy[active], sums[:, active], noise[active] = middles + offsets, inner_sums, stamps.sigma
        moved = np.abs(offsets).max(axis=1) > 0.5
        converged[active] = done & ~moved
        saturated[active] = stamps.peak >= frame.facts.saturation_adu * frame.facts.gain_e_per_adu
        near = np.hypot(*(xy[active] - guesses[active]).T) <= _SEARCH_SIGMA * window_sigma_px
        active = active[moved & near & _on_frame(xy[active], frame.shape, margin=1.0)]
    usable = converged & ~saturated
    found = _judge(xy, guesses, sums, noise=noise, usable=usable, window_sigma_px=window_sigma_px)
    return replace(found, saturated=saturated)


@dataclass(frozen=True, slots=True)
class SkyStamps:
    """Stamps less the sky along their border, electrons.

    `sigma` is the standard deviation of one sky pixel, `peak` the highest pixel of the inner half with the sky.
    """

    electrons: FloatArray
    sigma: FloatArray
    peak: FloatArray


def sky_subtracted_stamps(
    frame: Exposure, middles: NDArray[np.intp], half: int, bad_pixels: NDArray[np.bool_] | None
) -> SkyStamps:
    """Cut stamps around `middles`, subtract the median of their outermost two pixels, mend what is missing."""
    from stream.measure.stamp_kernels import subtract_border_sky  # with numba, which not every process needs

    corners = middles - half
    stamps = frame.stamps(corners, 2 * half + 1)
    stored = frame.stored_stamps(corners, 2 * half + 1)
    rays = frame.cosmic_rays(corners, 2 * half + 1)
    if rays is not None:
        stamps[rays] = np.nan
    if bad_pixels is not None:
        rows = np.clip(corners[:, 1:] + np.arange(2 * half + 1), 0, frame.shape[0] - 1)
        columns = np.clip(corners[:, :1] + np.arange(2 * half + 1), 0, frame.shape[1] - 1)
        stamps[bad_pixels[rows[:, :, None], columns[:, None, :]]] = np.nan
    if stored is not None:
        stored[np.isnan(stamps)] = -np.inf
    # A sum is not finite where one of its numbers is not.
    holed = np.flatnonzero(~np.isfinite(stamps.sum(axis=(1, 2))))
    if holed.size:
        stamps[holed] = _mended(stamps[holed])
    sigma, peak = subtract_border_sky(stamps, stamps if stored is None else stored)
    return SkyStamps(stamps, sigma, peak)


def _mended(stamps: FloatArray) -> FloatArray:
    """Replace NaN by the mean of the finite pixels among the eight neighbours, else by the stamp's median."""
    known = np.isfinite(stamps)
    padded = np.pad(np.where(known, stamps, 0.0), ((0, 0), (1, 1), (1, 1)))
    weights = np.pad(known.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    side = stamps.shape[1]
    total, count = np.zeros_like(stamps), np.zeros_like(stamps)
    for dy in range(3):
        for dx in range(3):
            total += padded[:, dy : dy + side, dx : dx + side]
            count += weights[:, dy : dy + side, dx : dx + side]
    typical = np.array(
        [np.median(stamp[good]) if good.any() else 0.0 for stamp, good in zip(stamps, known, strict=True)]
    )
    return np.where(known, stamps, np.where(count > 0.0, total / np.maximum(count, 1.0), typical[:, None, None]))


def _judge(
    xy: FloatArray,
    guesses: FloatArray,
    sums: FloatArray,
    *,
    noise: FloatArray,
    usable: NDArray[np.bool_],
    window_sigma_px: float,
) -> StarCentres:
    flux = sums[0]
    positive = flux > 0.0
    safe = np.where(positive, flux, 1.0)
    moments = np.where(positive, sums[3:] / safe, 0.0).T
    # Sum of the squared window: pi sigma^2 pixels; the star's own photons count within the window.
    sky_part = noise * window_sigma_px * np.sqrt(np.pi)
    signal_to_noise = np.where(positive, flux / np.sqrt(sky_part**2 + np.maximum(flux, 0.0)), 0.0)
    # One pixel that shines has no width; noise fills the window evenly.
    trace = moments[:, 0] + moments[:, 2]
    sharpness = 0.5 * trace / window_sigma_px**2
    determinant = moments[:, 0] * moments[:, 2] - moments[:, 1] ** 2
    round_enough = determinant * _LONGEST_TRAIL > (0.5 * trace) ** 2
    good = (
        usable
        & (signal_to_noise >= _MIN_SIGNAL_TO_NOISE)
        & (np.hypot(*(xy - guesses).T) <= _SEARCH_SIGMA * window_sigma_px)
        & (sharpness > _MIN_SHARPNESS)
        & (sharpness < _MAX_SHARPNESS)
        & round_enough
    )
    return StarCentres(xy, flux, signal_to_noise, moments, np.zeros_like(usable), good)


def _on_frame(xy: FloatArray, shape: tuple[int, int], margin: float) -> NDArray[np.bool_]:
    rows, columns = shape
    inside = (xy > margin - 0.5) & (xy < np.array([columns, rows]) - 0.5 - margin)
    return np.asarray(inside.all(axis=1))
