"""What photometers, backgrounds, finders and instruments of a user's own are asked for.

A part is a class that has the one method of its protocol; it need not inherit from anything. Each worker makes one
object of it without arguments (`stream.own_parts`) and asks it for one frame after the other, in no order that can be
relied on: what it returns may depend on nothing but its arguments. Arrays that come in are read-only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream.config import DetectionSettings
from stream.instruments import Camera, FrameFacts, Header, Site
from stream.measure.pixel_variance import PixelVariance
from stream.measure.psf import Psf
from stream.messages import FloatArray


@dataclass(frozen=True, slots=True)
class BackgroundStamps:
    """Squares around all sources of a frame.

    Attributes
    ----------
    electrons : array, shape (n_sources, side, side)
        Calibrated electrons, rows before columns; NaN where there is no number: off the frame, bad pixels, pixels that
        a cosmic ray hit.
    xy : array, shape (n_sources, 2)
        Column and row of each source in its square, pixels from 0; far outside of it for a source that is off the
        frame.
    annulus : array of bool, shape (side, side)
        The annulus of the recipe.
    psf : Psf
        Point-spread function of the frame.
    facts : FrameFacts
        What the header says.
    """

    electrons: FloatArray
    xy: FloatArray
    annulus: NDArray[np.bool_]
    psf: Psf
    facts: FrameFacts


@dataclass(frozen=True, slots=True)
class SourceStamps:
    """Squares around all sources of a frame, with their background; `electrons`, `xy`, `psf`, `facts` as above.

    Attributes
    ----------
    sky_e_per_px, sky_sigma_e : array, shape (n_sources,)
        Background per pixel, not subtracted, and standard deviation of one pixel of it, electrons; NaN where unknown.
    sky_n_pixels : array of int, shape (n_sources,)
        Pixels that the background was estimated from.
    """

    electrons: FloatArray
    xy: FloatArray
    psf: Psf
    facts: FrameFacts
    sky_e_per_px: FloatArray
    sky_sigma_e: FloatArray
    sky_n_pixels: NDArray[np.intp]
    noise: PixelVariance

    def variance(self, source_e: FloatArray) -> FloatArray:
        """Variance of every pixel, e-^2, where it holds so many expected electrons of the source, at least 0.

        Sky, dark current, read noise and calibration frames are in it (`stream.measure.pixel_variance`); the error of
        the background itself, which all pixels of a source share, is not: it is ``sky_sigma_e**2 / sky_n_pixels``.

        Parameters
        ----------
        source_e : array, shape (n_sources, side, side)
        """
        return self.noise.with_source(source_e)


class Photometer(Protocol):
    """Measures the flux of all sources of a frame."""

    def measure(self, stamps: SourceStamps) -> tuple[ArrayLike, ArrayLike]:
        """Return flux and standard error, electrons, each of shape (n_sources,); NaN where there is none."""


class LocalBackgroundEstimator(Protocol):
    """Estimates the background under all sources of a frame."""

    def estimate(self, stamps: BackgroundStamps) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
        """Return level, standard deviation of one pixel, and number of pixels used, each of shape (n_sources,).

        Electrons per pixel; NaN for level and deviation where there is none.
        """


class SourceFinder(Protocol):
    """Finds sources on a picture."""

    def find(self, image: NDArray[np.float32], star_sigma_px: float, settings: DetectionSettings) -> ArrayLike:
        """Return column and row of the sources, pixels from 0, shape (n, 2), in any order.

        Parameters
        ----------
        image : array, shape (rows, columns)
            Electrons, the sky not subtracted; bad pixels are mended, NaN where there is no number.
        star_sigma_px : float
            Standard deviation of the stars' profile, as far as it is known.
        settings : DetectionSettings
            Threshold and all else that the recipe says.
        """


class HeaderReader(Protocol):
    """An instrument that reads its headers itself; its attributes are those of `stream.instruments.Instrument`."""

    name: str
    site: Site
    aperture_m: float
    cameras: dict[str, Camera]

    def describe(self, header: Header, frame_name: str) -> FrameFacts:
        """Return what a header says; raise FrameRejectedError for a frame that is not to be measured."""
