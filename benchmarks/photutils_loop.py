"""A plain photutils loop over the frames of one key: what a script of an afternoon does, and does well.

Each star is centred near where it was on the first frame, summed in a circular aperture of 1.5 FWHM, and its
background is the median of a sigma-clipped annulus. One aperture, one width for the whole night.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import SigmaClip
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture, aperture_photometry
from photutils.centroids import centroid_com, centroid_sources

from stream.config import PhotometrySettings
from stream.messages import FloatArray

_BOX_FWHM = 2.5


@dataclass(frozen=True, slots=True)
class StarsOfFirstFrame:
    """Where the stars are on the first frame, and how wide.

    Attributes
    ----------
    xy : array, shape (n_sources, 2)
        Pixels, 0-based.
    fwhm_px : float
    read_noise_e : float
        At a gain of one electron a count.
    """

    xy: FloatArray
    fwhm_px: float
    read_noise_e: float


@dataclass(frozen=True, slots=True)
class LoopFluxes:
    """Electrons and their errors, shape (n_frames, n_sources), and core time of a frame, seconds."""

    flux: FloatArray
    flux_err: FloatArray
    core_s: float


def measure_with_photutils(paths: Sequence[Path], stars: StarsOfFirstFrame) -> LoopFluxes:
    """Measure frames one after the other; stars that wander further than half a box are lost."""
    started = time.process_time()
    rows = [_measure_frame(path, stars) for path in paths]
    core_s = (time.process_time() - started) / len(paths)
    flux, flux_err = np.array(rows).transpose(1, 0, 2)
    return LoopFluxes(flux, flux_err, core_s)


def _measure_frame(path: Path, stars: StarsOfFirstFrame) -> tuple[FloatArray, FloatArray]:
    settings, fwhm = PhotometrySettings(), stars.fwhm_px
    image = np.asarray(fits.getdata(path), dtype=np.float64)
    box = 2 * round(0.5 * _BOX_FWHM * fwhm) + 1
    x, y = centroid_sources(
        image - np.median(image), stars.xy[:, 0], stars.xy[:, 1], box_size=box, centroid_func=centroid_com
    )
    places = np.column_stack([x, y])
    aperture = CircularAperture(places, settings.aperture_radius_fwhm * fwhm)
    annulus = CircularAnnulus(places, settings.annulus_inner_fwhm * fwhm, settings.annulus_outer_fwhm * fwhm)
    sky = ApertureStats(image, annulus, sigma_clip=SigmaClip(settings.annulus_clip_sigma))
    sums = np.asarray(aperture_photometry(image, aperture)["aperture_sum"])
    flux = sums - sky.median * aperture.area
    pixel_variance = np.asarray(sky.std) ** 2
    variance = np.maximum(flux, 0.0) + aperture.area * pixel_variance * (1.0 + aperture.area / annulus.area)
    return flux, np.sqrt(np.maximum(variance, stars.read_noise_e**2))
