"""How wide single stars are on a frame, for the eye of who focuses the telescope."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from stream.config import Recipe
from stream.measure.centroids import window_half_side
from stream.measure.exposure import Exposure
from stream.measure.frames import read_frame
from stream.measure.psf import FWHM_PER_SIGMA, SMALLEST_SIGMA_PX
from stream.measure.rebinning import rebin_frame
from stream.messages import FloatArray

_LEAST_SIGNAL_TO_NOISE = 15.0
_BORDER_PX = 2
_MAX_STEPS, _RESTS_PX = 40, 1e-3
_SEARCH_SIGMA = 2.5
_SHARPEST, _WIDEST = 0.16, 0.98
"""Of the moments of a star, in units of the window's."""
_MAD_TO_SIGMA = 1.4826
_ROUNDS = 6
_FITS = 1.15
_OTHER_WIDTHS = (2.0, 0.5, 4.0, 0.25)
"""Tried where nothing of the width that was expected is seen, in units of that."""


def measure_star_widths(path: Path, name: str, positions: FloatArray, *, recipe: Recipe, fwhm_px: float) -> FloatArray:
    """Full width at half maximum of each star by itself, in pixels, as that of the frame is measured.

    A Gaussian star of covariance C has, in a round Gaussian window of variance w, the moments M = (C^-1 + 1/w)^-1
    (adaptive moments, Bernstein & Jarvis 2002, AJ 123, 583, section 3); solved for C, with a window that is widened or
    narrowed until it fits the stars: out of focus they are much wider than the catalog's. Flat fields and darks are not
    applied, a saturated star has no width. `stream.measure.centroids` and `stream.measure.psf` find the same at
    compiled speed, which costs a process seconds and a hundred megabytes to begin with: too much for a look at a
    handful of stars.

    Parameters
    ----------
    path : Path
        Where the frame is; may end in its place within a file.
    name : str
        Its name in the ledger.
    positions : array, shape (n_stars, 2)
        x and y, pixels of the measurement (after rebinning), 0-based.
    recipe : Recipe
    fwhm_px : float
        To begin with.

    Returns
    -------
    array, shape (n_stars,)
        NaN for a star that is off the frame, saturated, too faint or no star.

    Raises
    ------
    FrameRejectedError
        If the frame is gone or cannot be read.
    """
    frame = rebin_frame(read_frame(path, name, recipe.instrument), recipe.calibration.rebin)
    widths = np.full(len(positions), np.nan)
    known = np.flatnonzero(np.isfinite(positions).all(axis=1))
    first = window = max(fwhm_px / FWHM_PER_SIGMA, SMALLEST_SIGMA_PX)
    others = iter(_OTHER_WIDTHS)
    for _ in range(_ROUNDS):
        widths[known] = _widths(frame, positions[known], window)
        if np.isfinite(widths).any():
            fitting = max(float(np.nanmedian(widths)) / FWHM_PER_SIGMA, SMALLEST_SIGMA_PX)
            if max(fitting / window, window / fitting) < _FITS:
                break
        else:
            fitting = first * next(others, 1.0)
        window = fitting
    return widths


def _widths(frame: Exposure, guesses: FloatArray, window_sigma_px: float) -> FloatArray:
    """Widths of the stars that windows find when they have come to rest near the guesses, shape (n_stars, 2)."""
    half = window_half_side(window_sigma_px)
    middles = np.rint(guesses).astype(np.intp)
    stamps = frame.stamps(middles - half, 2 * half + 1)
    peak = np.nanmax(stamps, axis=(1, 2), initial=-np.inf)
    border = np.ones(stamps.shape[1:], dtype=bool)
    border[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = False
    sky = _median(stamps[:, border])
    noise = _MAD_TO_SIGMA * _median(np.abs(stamps[:, border] - sky[:, None]))
    light = np.nan_to_num(stamps - sky[:, None, None])
    offsets = guesses - middles
    pixels = np.arange(-half, half + 1.0)
    for _ in range(_MAX_STEPS):
        flux, first, moments = _window_sums(light, pixels, offsets, window_sigma_px)
        # Twice the mean within the window is the step of a Gaussian as wide as it.
        step = np.clip(2.0 * first, -window_sigma_px, window_sigma_px)
        offsets = np.clip(offsets + step, -half, half)
        if np.abs(step).max(initial=0.0) < _RESTS_PX:
            break
    signal_to_noise = flux / np.sqrt(math.pi * (noise * window_sigma_px) ** 2 + np.maximum(flux, 1e-9))
    sharpness = 0.5 * (moments[:, 0] + moments[:, 2]) / window_sigma_px**2
    saturated = peak >= frame.facts.saturation_adu * frame.facts.gain_e_per_adu
    near = np.hypot(*(offsets + middles - guesses).T) <= _SEARCH_SIGMA * window_sigma_px
    good = ~saturated & near & (np.abs(step).max(axis=1) < _RESTS_PX) & (signal_to_noise >= _LEAST_SIGNAL_TO_NOISE)
    good &= (sharpness > _SHARPEST) & (sharpness < _WIDEST)
    return np.where(good, _fwhm(moments, window_sigma_px), np.nan)


def _fwhm(moments: FloatArray, window_sigma_px: float) -> FloatArray:
    """Geometric mean of both axes of Gaussians whose moments (xx, xy, yy) in a window are given."""
    xx, xy, yy = moments.T
    mean, half = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    window = window_sigma_px**2
    axes = (np.clip(mean + sign * half, 1e-3 * window, _WIDEST * window) for sign in (1.0, -1.0))
    major, minor = (1.0 / (1.0 / axis - 1.0 / window) for axis in axes)
    return np.asarray(FWHM_PER_SIGMA * (major * minor) ** 0.25)


def _window_sums(
    light: FloatArray, pixels: FloatArray, offsets: FloatArray, window_sigma_px: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Flux, mean place (x, y) and second moments (xx, xy, yy) within Gaussian windows at `offsets`."""
    x, y = (pixels[None, :] - offsets[:, axis, None] for axis in (0, 1))
    wx, wy = (np.exp(-0.5 * (each / window_sigma_px) ** 2) for each in (x, y))

    def total(power_x: int, power_y: int) -> FloatArray:
        return np.asarray(np.einsum("nyx,ny,nx->n", light, wy * y**power_y, wx * x**power_x))

    flux = total(0, 0)
    safe = np.where(flux > 0.0, flux, np.inf)
    first = np.column_stack([total(1, 0), total(0, 1)]) / safe[:, None]
    return flux, first, np.column_stack([total(2, 0), total(1, 1), total(0, 2)]) / safe[:, None]


def _median(values: FloatArray) -> FloatArray:
    """Median of each row without NaN; 0 for a row of NaN alone."""
    ordered = np.sort(values, axis=1)
    count = (~np.isnan(ordered)).sum(axis=1)
    middle = np.nan_to_num(ordered[np.arange(len(ordered)), np.maximum(count - 1, 0) // 2])
    return np.where(count > 0, middle, 0.0)
