"""What the measuring functions see of a frame, whether it is calibrated or as the camera wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.instruments import FrameFacts
from stream.measure.stamps import IntegerStamps
from stream.messages import FloatArray


@dataclass(frozen=True, slots=True)
class CalibrationNoise:
    """What calibration does to the noise of some pixels; arrays of the shape of the stamps.

    Attributes
    ----------
    response : array
        What the values were divided by: a source of S calibrated electrons has a Poisson variance of S / response.
    additive : array
        Variance that bias and dark frames bring in, with the shot noise of the dark current itself and, where the
        counts were linearised, the read noise, e-^2.
    relative : array
        Variance that the flat field brings in, per squared electron of sky and source.
    """

    response: FloatArray
    additive: FloatArray
    relative: FloatArray

    def of_sky(self, level: FloatArray) -> FloatArray:
        """Variance that the calibration frames bring into pixels of the sky, e-^2.

        Parameters
        ----------
        level : array, shape (n_stamps,)
            Electrons of the sky per pixel; NaN where unknown.
        """
        sky = np.nan_to_num(level)[:, None, None]
        return self.additive + sky**2 * self.relative

    def of_source(self, electrons: FloatArray, level: FloatArray) -> FloatArray:
        """Variance of the light of a source, e-^2: its photons, and the flat field that it was divided by.

        Parameters
        ----------
        electrons : array, shape of the stamps
            Expected electrons of the source, at least 0.
        level : array, shape (n_stamps,)
            Electrons of the sky per pixel: the same error of the flat field acts on both together.
        """
        sky = np.nan_to_num(level)[:, None, None]
        return electrons / self.response + electrons * (electrons + 2.0 * sky) * self.relative


class Exposure(Protocol):
    """One exposure, in electrons."""

    @property
    def name(self) -> str:
        """Name of the file, for errors."""

    @property
    def facts(self) -> FrameFacts:
        """What the header says."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""

    def electrons(self) -> NDArray[np.float32]:
        """Return the whole frame; NaN where a pixel has no value."""

    def stamps(self, corners: NDArray[np.intp], side_px: int) -> FloatArray:
        """Cut squares out of the frame: `corners` of shape (n, 2), the result of shape (n, side_px, side_px)."""

    def integer_stamps(self, corners: NDArray[np.intp], side_px: int) -> IntegerStamps | None:
        """The same as whole numbers; None where electrons are not simply a multiple of what is stored."""

    def stored_stamps(self, corners: NDArray[np.intp], side_px: int) -> FloatArray | None:
        """The same before calibration; None where `stamps` is that already."""

    def nonlinear_stamps(self, corners: NDArray[np.intp], side_px: int) -> NDArray[np.bool_] | None:
        """Mark the same pixels where the detector is not linear; None where nobody knows of such a limit."""

    def noise_stamps(self, corners: NDArray[np.intp], side_px: int) -> CalibrationNoise | None:
        """What calibration does to the noise of the same pixels; None where nothing was done."""

    def cosmic_rays(self, corners: NDArray[np.intp], side_px: int) -> NDArray[np.bool_] | None:
        """Mark the same pixels where a cosmic ray hit them; None where it is not looked for or there is none."""
