"""What differs from pixel to pixel of a detector: response, zero level, dark current; calibration frames show it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigurationError

FloatArray = NDArray[np.float64]

_HOT_FRACTION = 0.001
_HOT_FACTOR = 1000.0


class DetectorStructure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How uneven a detector is; the default is an even one.

    Raises
    ------
    ConfigurationError
        If a value is out of bounds.
    """

    vignetting: float = 0.0
    """Fraction of the light that is missing in the corners; it grows with the square of the distance."""
    response_rms: float = 0.0
    """Scatter of the response from pixel to pixel."""
    bias_rms_adu: float = 0.0
    """Scatter of the zero level from pixel to pixel, counts."""
    dark_e_per_s: float | None = None
    """Mean dark current, electrons per pixel and second, of an exponential distribution, with one pixel of a thousand
    a thousand times as dark; None for the even dark current of the camera."""

    def __post_init__(self) -> None:
        """Refuse what no detector is."""
        for name, value, high in (
            ("vignetting", self.vignetting, 0.95),
            ("response_rms", self.response_rms, 0.2),
            ("bias_rms_adu", self.bias_rms_adu, 20.0),
            ("dark_e_per_s", self.dark_e_per_s or 0.0, 1e4),
        ):
            if not 0.0 <= value <= high:
                raise ConfigurationError(f"structure.{name} ({value}) must be from 0 to {high:g}")

    @property
    def is_even(self) -> bool:
        """Whether all pixels are alike."""
        return self == DetectorStructure()


@dataclass(frozen=True, slots=True)
class PixelMaps:
    """The pixels of one camera, each of shape (rows, columns).

    Attributes
    ----------
    response : array
        Fraction of the light that is counted, 1 at the centre on average.
    bias_adu : array
        Zero level above that of the camera, counts.
    dark_e_per_s : array
    """

    response: FloatArray
    bias_adu: FloatArray
    dark_e_per_s: FloatArray

    @classmethod
    def draw(
        cls, structure: DetectorStructure, width_px: int, generator: np.random.Generator, even_dark_e_per_s: float
    ) -> PixelMaps:
        """Draw the pixels of a camera."""
        shape = (width_px, width_px)
        offset = (np.arange(width_px) - 0.5 * (width_px - 1)) / (0.5 * width_px)
        shade = 1.0 - 0.5 * structure.vignetting * (offset[:, None] ** 2 + offset[None, :] ** 2)
        response = shade * np.maximum(generator.normal(1.0, structure.response_rms, shape), 0.05)
        bias = generator.normal(0.0, structure.bias_rms_adu, shape)
        if structure.dark_e_per_s is None:
            return cls(response, bias, np.full(shape, even_dark_e_per_s))
        dark = generator.exponential(structure.dark_e_per_s, shape)
        dark[generator.random(shape) < _HOT_FRACTION] *= _HOT_FACTOR
        return cls(response, bias, dark)
