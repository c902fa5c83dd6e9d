"""The point-spread function of a frame: an elliptical Gaussian from the moments of its stars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stream.measure.centroids import StarCentres

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
SMALLEST_SIGMA_PX = 0.6
"""No window is narrower than this, however sharp the stars."""
_MOST_WEIGHT = 300.0
_WIDEST_MOMENT = 0.97


@dataclass(frozen=True)
class Psf:
    """An elliptical Gaussian point-spread function, in pixels.

    Attributes
    ----------
    xx, xy, yy : float
        Covariance of the profile, pixels squared, with the pixel's own width in it.
    """

    xx: float
    xy: float
    yy: float

    @cached_property
    def semi_major_sigma_px(self) -> float:
        """Standard deviation along the major axis."""
        return math.sqrt(self._mean() + self._half_difference())

    @cached_property
    def semi_minor_sigma_px(self) -> float:
        """Standard deviation along the minor axis."""
        return math.sqrt(max(self._mean() - self._half_difference(), 1e-6))

    @cached_property
    def orientation_deg(self) -> float:
        """Angle of the major axis from +x towards +y, -90 to 90."""
        return math.degrees(0.5 * math.atan2(2.0 * self.xy, self.xx - self.yy))

    @cached_property
    def fwhm_px(self) -> float:
        """Full width at half maximum, geometric mean of both axes."""
        return FWHM_PER_SIGMA * (self.xx * self.yy - self.xy**2) ** 0.25

    def _mean(self) -> float:
        return 0.5 * (self.xx + self.yy)

    def _half_difference(self) -> float:
        return math.hypot(0.5 * (self.xx - self.yy), self.xy)


def psf_from_stars(centres: StarCentres, used: NDArray[np.bool_], window_sigma_px: float) -> Psf:
    """Point-spread function from the windowed moments of the stars marked in `used`.

    A Gaussian star of covariance C has, in a round Gaussian window of variance w, the moments
    M = (C^-1 + 1/w)^-1 (adaptive moments, Bernstein & Jarvis 2002, AJ 123, 583, section 3); solved for C.
    Stars whose size stands out (blends) are left out.
    """
    from stream.measure.fit_kernels import mean_moments  # with numba, which not every process needs

    weights = np.where(used, np.minimum(centres.signal_to_noise, _MOST_WEIGHT) ** 2, 0.0)
    xx, xy, yy = mean_moments(np.ascontiguousarray(centres.moments), weights)
    window = window_sigma_px**2
    # The eigenvalues of M are mean + half and mean - half, and those of C follow from them.
    mean, half = 0.5 * (xx + yy), math.hypot(0.5 * (xx - yy), xy)
    major, minor = (
        1.0 / (1.0 / min(max(value, 1e-3 * window), _WIDEST_MOMENT * window) - 1.0 / window)
        for value in (mean + half, mean - half)
    )
    middle, per_moment = 0.5 * (major + minor), 0.5 * (major - minor) / half if half > 0.0 else 0.0
    return Psf(middle + per_moment * (xx - mean), per_moment * xy, middle + per_moment * (yy - mean))
