"""The aperture of a photometer on a frame: its size, and how much noise of the pixels gets into it."""

from __future__ import annotations

import math
from typing import NamedTuple

from stream.config import PhotometerSettings, PhotometrySettings
from stream.measure.psf import FWHM_PER_SIGMA, Psf


class Aperture(NamedTuple):
    """Semi-axes of an aperture, pixels; the major one lies along that of the profile."""

    major_px: float
    minor_px: float

    @property
    def area_px(self) -> float:
        """Sum of the weights of its pixels: the area."""
        return math.pi * self.major_px * self.minor_px

    @property
    def squared_weights_px(self) -> float:
        """Sum of the squared weights: pixels on the edge count in part.

        Along an edge that cuts pixels anywhere, w (1 - w) adds up to 1/6 a pixel of its length, whatever the angle;
        the length of an ellipse is Ramanujan's.
        """
        a, b = self.major_px, self.minor_px
        length = math.pi * (3.0 * (a + b) - math.sqrt((3.0 * a + b) * (a + 3.0 * b)))
        return max(self.area_px - length / 6.0, 0.5 * self.area_px)


def aperture_on_frame(
    photometer: PhotometerSettings, psf: Psf, settings: PhotometrySettings, *, inner_px: float, half_side_px: int
) -> Aperture:
    """Aperture of a photometer on a frame with this point-spread function, within its limits in pixels.

    A long trail may reach over the stamp, and into the stamp of the next source: the aperture ends before.

    Parameters
    ----------
    inner_px : float
        Inner radius of the background annulus.
    half_side_px : int
        Pixels from the middle of a stamp to its edge.
    """
    if photometer.semi_axes_px is not None:
        major, minor = photometer.semi_axes_px
        return Aperture(min(major, half_side_px), min(minor, half_side_px))
    if photometer.semi_axes_fwhm is not None:
        major, minor = (axis * psf.fwhm_px for axis in photometer.semi_axes_fwhm)
        mean = math.sqrt(major * minor)
        share = min(_within(mean, settings, inner_px) / mean, half_side_px / max(major, minor))
        return Aperture(share * major, share * minor)
    radius = (photometer.radius_fwhm or settings.aperture_radius_fwhm) * psf.fwhm_px
    radius = _within(radius, settings, inner_px)
    sigmas = min(radius / (psf.fwhm_px / FWHM_PER_SIGMA), half_side_px / psf.semi_major_sigma_px)
    return Aperture(sigmas * psf.semi_major_sigma_px, sigmas * psf.semi_minor_sigma_px)


def _within(radius_px: float, settings: PhotometrySettings, inner_px: float) -> float:
    return min(max(radius_px, settings.aperture_min_px), settings.aperture_max_px, inner_px)
