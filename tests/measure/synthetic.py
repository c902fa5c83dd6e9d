"""Frames made in memory, of stars whose place, width and flux are known; and FITS files of any kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from stream.instruments import FrameFacts
from stream.measure.frames import Frame
from stream.messages import FloatArray

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
FACTS = FrameFacts(
    key="1:g",
    exposure_s=1.0,
    time_mjd_utc=60270.0,
    time_resolution_s=0.001,
    binning=1,
    gain_e_per_adu=1.0,
    read_noise_e=2.0,
    dark_current_e_per_s=0.0,
    saturation_adu=60000.0,
    pixel_scale_arcsec=1.0,
    pointing=None,
)


def frame_of(counts: NDArray[Any], *, name: str = "a.fit", blank: int | None = None, **facts: Any) -> Frame:
    """A frame whose pixels are `counts`, at a gain of one unless said otherwise."""
    return Frame(name, counts, 1.0, 0.0, blank, replace(FACTS, **facts), {})


def round_stars(
    shape: tuple[int, int], xy: FloatArray, flux_e: Sequence[float] | FloatArray, sigma_px: float
) -> FloatArray:
    """Expected electrons of round Gaussian stars, integrated over pixels exactly."""
    columns = np.diff(ndtr((np.arange(shape[1] + 1) - 0.5 - np.asarray(xy)[:, :1]) / sigma_px))
    rows = np.diff(ndtr((np.arange(shape[0] + 1) - 0.5 - np.asarray(xy)[:, 1:]) / sigma_px))
    return np.asarray((rows * np.asarray(flux_e, dtype=float)[:, None]).T @ columns)


def long_star(
    shape: tuple[int, int], xy: tuple[float, float], flux_e: float, axes_px: tuple[float, float, float]
) -> FloatArray:
    """Expected electrons of one elliptical Gaussian star (sigmas, orientation in degrees), by 9 x 9 samples a pixel."""
    major, minor, angle = axes_px[0], axes_px[1], math.radians(axes_px[2])
    fine = (np.arange(9) + 0.5) / 9.0 - 0.5
    x = (np.arange(shape[1])[:, None] + fine).ravel() - xy[0]
    y = ((np.arange(shape[0])[:, None] + fine).ravel() - xy[1])[:, None]
    along, across = x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)
    light = np.exp(-0.5 * ((along / major) ** 2 + (across / minor) ** 2)) / (2.0 * math.pi * major * minor)
    return np.asarray(flux_e * light.reshape(shape[0], 9, shape[1], 9).mean(axis=(1, 3)))


def noisy(expected_e: FloatArray, generator: np.random.Generator, read_noise_e: float = 2.0) -> FloatArray:
    """Poisson electrons and read noise; not rounded."""
    return generator.poisson(expected_e) + generator.normal(0.0, read_noise_e, expected_e.shape)
