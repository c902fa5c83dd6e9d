"""What this program is compared with: the loop that a competent user writes, and the least that any loop must do.

The baseline is astropy and photutils as their documentation shows them: read, background mesh, detection, astroalign on
the brightest sources, apertures at the aligned places with a sigma-clipped annulus. One aperture of one photometer,
where this program measures eight; calibration and L.A.Cosmic on the whole frame, where they are asked for. The floor is
to read the bytes of the file and to convert them to floating point numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import astroalign
import astroscrappy
import numpy as np
from astropy.convolution import convolve
from astropy.io import fits
from astropy.stats import SigmaClip
from isal import igzip
from numpy.typing import NDArray
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from photutils.background import Background2D, MedianBackground
from photutils.segmentation import SourceCatalog, detect_sources, make_2dgaussian_kernel
from photutils.utils import calc_total_error

from benchmarks.sample_frames import GZIPPED, TILED, SampleFrames
from stream.config import PhotometrySettings
from stream.measure.headers import parse_header
from stream.messages import FloatArray

_MESH_PX = 64
_THRESHOLD_SIGMA, _MIN_PIXELS = 5.0, 5
_KERNEL_PX = 5  # as in the documentation of photutils
_CONTROL_POINTS = 20
_READ_NOISE_E = 1.2


@dataclass(frozen=True, slots=True)
class BaselineFluxes:
    """Electrons and their errors of one frame, shape (n_sources,)."""

    flux: FloatArray
    flux_err: FloatArray


class Baseline:
    """The competent user's loop over the frames of one case, measured at the places of its catalog.

    Parameters
    ----------
    frames : SampleFrames
        The first one is the reference that the others are aligned to.
    """

    def __init__(self, frames: SampleFrames) -> None:
        self._frames, self._fwhm = frames, frames.case.fwhm_px
        self._places = frames.catalog.positions()
        self._kernel = make_2dgaussian_kernel(self._fwhm, size=_KERNEL_PX)
        self._reference = self._detect(*self._without_background(self._read(frames.paths[0])))

    def measure(self, path: Path) -> BaselineFluxes:
        """Measure one frame; raises astroalign.MaxIterError where it does not find the stars again."""
        image, background = self._without_background(self._read(path))
        found = self._detect(image, background)
        transform, _ = astroalign.find_transform(self._reference, found, max_control_points=_CONTROL_POINTS)
        return self._photometry(image, background, np.asarray(transform(self._places)))

    def _read(self, path: Path) -> FloatArray:
        data = np.asarray(fits.getdata(path), dtype=np.float64)
        known = self._frames.calibration
        if known is not None and known.bias is not None and known.dark is not None and known.flat is not None:
            data -= known.bias.values
            data -= known.dark.values * self._frames.exposure_s
            data /= known.flat.values
        if self._frames.case.cleaned:
            _, data = astroscrappy.detect_cosmics(data, gain=1.0, readnoise=_READ_NOISE_E)
        return data

    def _without_background(self, data: FloatArray) -> tuple[FloatArray, Background2D]:
        background = Background2D(
            data,
            (_MESH_PX, _MESH_PX),
            filter_size=(3, 3),
            sigma_clip=SigmaClip(sigma=3.0),
            bkg_estimator=MedianBackground(),
        )
        return data - background.background, background

    def _detect(self, image: FloatArray, background: Background2D) -> FloatArray:
        """Centroids of the brightest sources, shape (n, 2)."""
        smoothed = convolve(image, self._kernel)
        threshold = _THRESHOLD_SIGMA * background.background_rms
        segments = detect_sources(smoothed, threshold, n_pixels=_MIN_PIXELS)
        found = SourceCatalog(image, segments, convolved_data=smoothed)
        order = np.argsort(-found.segment_flux)[:_CONTROL_POINTS]
        return np.column_stack([found.x_centroid, found.y_centroid])[order]

    def _photometry(self, image: FloatArray, background: Background2D, places: FloatArray) -> BaselineFluxes:
        settings = PhotometrySettings()
        aperture = CircularAperture(places, settings.aperture_radius_fwhm * self._fwhm)
        annulus = CircularAnnulus(
            places, settings.annulus_inner_fwhm * self._fwhm, settings.annulus_outer_fwhm * self._fwhm
        )
        error = calc_total_error(image, background.background_rms, effective_gain=1.0)
        sky = ApertureStats(image, annulus, sigma_clip=SigmaClip(settings.annulus_clip_sigma)).median
        stars = ApertureStats(image, aperture, error=error)
        return BaselineFluxes(np.asarray(stars.sum - sky * aperture.area), np.asarray(stars.sum_err))


def run_baseline(baseline: Baseline, paths: Sequence[Path]) -> list[BaselineFluxes]:
    """Measure frames one after the other; warnings about stars at the edge are not the loop's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [baseline.measure(path) for path in paths]


def read_and_convert(path: Path) -> NDArray[np.float32]:
    """The floor: bytes of the file, unpacked if need be, as float32 in the byte order of the machine."""
    if path.name.endswith(TILED):
        return np.asarray(fits.getdata(path), dtype=np.float32)
    content = path.read_bytes()
    if path.name.endswith(GZIPPED):
        content = igzip.decompress(content)  # type: ignore[no-untyped-call]
    header, offset = parse_header(content, path.name)
    shape = int(str(header["NAXIS2"])), int(str(header["NAXIS1"]))
    pixels = np.frombuffer(content, dtype=">i2", count=shape[0] * shape[1], offset=offset).reshape(shape)
    return pixels.astype(np.float32) + np.float32(32768.0)
