"""A camera in memory whose pixels differ, with its calibration frames: for tests of errors, many stars at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stream.measure.calibration import Calibration
from stream.measure.frames import Frame
from stream.measure.masters import Below, make_bias, make_dark, make_flat, measured_read_variance
from stream.messages import FloatArray
from tests.measure.synthetic import frame_of

ZERO_E, READ_NOISE_E, SKY_E = 300.0, 3.0, 60.0
EXPOSURE_S, DARK_EXPOSURE_S = 2.0, 5.0


@dataclass(frozen=True, slots=True)
class UnevenCamera:
    """Maps of a camera, each of its shape."""

    response: FloatArray
    zero_e: FloatArray
    dark_e_per_s: FloatArray

    @classmethod
    def draw(cls, side_px: int, generator: np.random.Generator, *, vignetting: float = 0.3) -> UnevenCamera:
        """Vignetted to `vignetting` in the corners, 3 per cent from pixel to pixel, warm pixels among dark ones."""
        offset = (np.arange(side_px) - 0.5 * (side_px - 1)) / (0.5 * side_px)
        shade = 1.0 - 0.5 * vignetting * (offset[:, None] ** 2 + offset[None, :] ** 2)
        shape = (side_px, side_px)
        return cls(
            shade * generator.normal(1.0, 0.03, shape),
            ZERO_E + generator.normal(0.0, 5.0, shape),
            generator.exponential(4.0, shape),
        )

    def expose(
        self, light_e: FloatArray | float, exposure_s: float, generator: np.random.Generator, **facts: Any
    ) -> Frame:
        """A frame of this light, electrons per pixel before the response of the camera."""
        expected = np.asarray(light_e * self.response + self.dark_e_per_s * exposure_s)
        counts = generator.poisson(expected) + generator.normal(self.zero_e, READ_NOISE_E)
        return frame_of(counts.astype(np.float32), exposure_s=exposure_s, read_noise_e=READ_NOISE_E, **facts)

    def calibration(
        self, generator: np.random.Generator, n_frames: int, flat_e: float, kinds: tuple[str, ...] = ("bias", "dark")
    ) -> Calibration:
        """Masters of so many frames each; a flat always, bias and dark as asked for."""
        biases = [self.expose(0.0, 0.0, generator) for _ in range(n_frames)]
        bias = make_bias(biases, "1") if "bias" in kinds else None
        below = Below(bias, read_variance=measured_read_variance(biases))
        dark, hot = None, np.zeros(self.response.shape, dtype=bool)
        if "dark" in kinds:
            darks = [self.expose(0.0, DARK_EXPOSURE_S, generator) for _ in range(n_frames)]
            dark, hot = make_dark(darks, "1", below)
            below = replace(below, dark=dark)
        flats = [self.expose(flat_e, 1.0, generator) for _ in range(n_frames)]
        flat, dead = make_flat(flats, "1:g", below)
        return Calibration("1:g", "test", bias, dark, flat, hot | dead)
