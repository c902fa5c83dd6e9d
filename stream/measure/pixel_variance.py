"""Variance of the pixels of a source: sky as the annulus shows it, the source's photons, and what calibration adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream.measure.background import LocalBackground
from stream.measure.exposure import CalibrationNoise
from stream.messages import FloatArray

_LEAST_SHARE_OF_SKY = 0.25
_WARM = 4.0  # pixels whose variance is more times the median of their surroundings were clipped from the annulus


@dataclass(frozen=True, slots=True)
class PixelVariance:
    """Variance of the pixels of stamps around sources, e-^2.

    The scatter of the annulus holds all that acts on a pixel of the sky: photons, dark current, read noise, and the
    noise of the masters. Calibration therefore adds only what a pixel has beyond the typical one of its
    surroundings, and what it does to the light of the source.

    Attributes
    ----------
    sky : array, shape (n_sources, 1, 1), or (n_sources, side, side) with calibration
    level : array, shape (n_sources,)
        Electrons of the sky per pixel.
    """

    sky: FloatArray
    level: FloatArray
    calibration: CalibrationNoise | None

    @classmethod
    def of(cls, background: LocalBackground, calibration: CalibrationNoise | None) -> PixelVariance:
        """Variance around sources with this background."""
        sky = (background.sigma**2)[:, None, None]
        if calibration is not None:
            masters = calibration.of_sky(background.level)
            middle = np.median(masters, axis=(1, 2), keepdims=True)
            beyond = masters - np.minimum(masters, _WARM * middle).mean(axis=(1, 2), keepdims=True)
            sky = np.maximum(sky + beyond, _LEAST_SHARE_OF_SKY * sky)
        return cls(sky, background.level, calibration)

    def with_source(self, electrons: FloatArray) -> FloatArray:
        """Variance of pixels that hold so many expected electrons of the source, at least 0, besides the sky."""
        if self.calibration is None:
            return self.sky + electrons
        return self.sky + self.calibration.of_source(electrons, self.level)

    def beyond_photons(self, electrons: FloatArray, sky_variance: FloatArray) -> FloatArray | None:
        """What is more than the source's photons and `sky_variance` (shape (n_sources,)); None if there is no more."""
        if self.calibration is None:
            return None
        return self.with_source(electrons) - electrons - sky_variance[:, None, None]
