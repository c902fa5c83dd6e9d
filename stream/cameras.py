"""Cameras and sites: what the detectors of an instrument are, and what is known of one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigurationError
from stream.timestamps import GroundPosition, SkyPosition

# Bounds also keep infinity out, which TOML can write and no hash of a recipe can tell from "unset".
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e12)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0, le=1e12)]
_ZeroLevel = Annotated[float, msgspec.Meta(ge=-1.0, le=1e12)]
_Coefficient = Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)]
_Longitude = Annotated[float, msgspec.Meta(ge=-360.0, le=360.0)]
_Latitude = Annotated[float, msgspec.Meta(ge=-90.0, le=90.0)]
_Height = Annotated[float, msgspec.Meta(ge=-500.0, le=10000.0)]
_Real = TypeVar("_Real", np.float32, np.float64)

UNKNOWN_ZERO = -1.0
"""Zero level of a camera that nobody knows."""
_MOST_COEFFICIENTS = 6
_CHECKED_COUNTS = 1001


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one camera is, and what holds where a frame's header does not say it.

    Raises
    ------
    ConfigurationError
        If the corrected counts do not rise with the counts.
    """

    pixel_scale_arcsec: Positive
    """Arcseconds per unbinned pixel."""
    read_noise_e: NotNegative
    """Read noise of one (binned) pixel, electrons."""
    gain_e_per_adu: Positive = 1.0
    """Gain, electrons per count."""
    dark_current_e_per_s: NotNegative = 0.0
    """Dark current, electrons per binned pixel and second."""
    saturation_adu: Positive = 65535.0
    """Counts at which a pixel is saturated."""
    zero_level_adu: _ZeroLevel = UNKNOWN_ZERO
    """Counts of a pixel without light and dark current; -1 where nobody knows, and bias frames have to tell."""
    nonlinear_adu: NotNegative = 0.0
    """Counts, as they were read, from which on a measurement is flagged `NONLINEAR`; 0 flags none."""
    linearity: tuple[_Coefficient, ...] = ()
    """Coefficients c1, c2, ... of the correction x (1 + c1 x + c2 x^2 + ...) of counts x above the zero level."""

    def __post_init__(self) -> None:
        """Refuse a correction by which more light would be less."""
        if len(self.linearity) > _MOST_COEFFICIENTS:
            raise ConfigurationError(
                f"linearity has {len(self.linearity)} coefficients: at most {_MOST_COEFFICIENTS} are allowed"
            )
        highest = min(self.saturation_adu, self.nonlinear_adu or math.inf)
        slope = linearity_slope(np.linspace(0.0, highest, _CHECKED_COUNTS), self.linearity)
        if not (slope > 0.0).all():
            raise ConfigurationError(
                f"linearity {list(self.linearity)} must rise with the counts up to {highest:g}: "
                "x (1 + c1 x + c2 x^2 + ...) of the counts x above the zero level is required"
            )


def linearised(counts: NDArray[_Real], coefficients: tuple[float, ...]) -> NDArray[_Real]:
    """Counts of a linear detector: ``x (1 + c1 x + c2 x^2 + ...)``.

    Parameters
    ----------
    counts : array
        Counts x above the zero level, before the dark current is taken off; NaN stays NaN.
    """
    return counts * _polynomial(counts, (1.0, *coefficients))


def linearity_slope(counts: NDArray[_Real], coefficients: tuple[float, ...]) -> NDArray[_Real]:
    """Derivative of `linearised`, by which the noise of what was read grows: ``1 + 2 c1 x + 3 c2 x^2 + ...``."""
    return _polynomial(counts, (1.0, *((power + 2) * one for power, one in enumerate(coefficients))))


def _polynomial(counts: NDArray[_Real], coefficients: tuple[float, ...]) -> NDArray[_Real]:
    total = np.full_like(counts, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total *= counts
        total += coefficient
    return total


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The observatory, WGS84: degrees (east and north positive) and metres."""

    longitude_deg: _Longitude
    latitude_deg: _Latitude
    height_m: _Height

    def position(self) -> GroundPosition:
        """The same as the vocabulary of times has it."""
        return GroundPosition(self.longitude_deg, self.latitude_deg, self.height_m)


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What the header of one frame says, in the units of this project.

    Attributes
    ----------
    key : str
        ``camera:filter``.
    time_mjd_utc : float
        Middle of the exposure, days.
    time_resolution_s : float
        One unit of the last digit of the header's clock, seconds.
    pointing : SkyPosition or None
        None where the header has no pointing or a placeholder.
    zero_level_adu, nonlinear_adu, linearity
        Those of the `Camera`.
    """

    key: str
    exposure_s: float
    time_mjd_utc: float
    time_resolution_s: float
    binning: int
    gain_e_per_adu: float
    read_noise_e: float
    dark_current_e_per_s: float
    saturation_adu: float
    pixel_scale_arcsec: float
    pointing: SkyPosition | None
    zero_level_adu: float = UNKNOWN_ZERO
    nonlinear_adu: float = 0.0
    linearity: tuple[float, ...] = ()
