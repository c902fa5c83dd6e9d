"""Calibration: bias, dark current and flat field, applied where a frame is looked at.

A calibrated pixel is (L(counts x gain - zero) - dark x exposure) / response, where L corrects a detector that is not
linear and changes nothing elsewhere. Nothing is applied to a whole frame unless
somebody asks for a whole frame: the measuring functions cut stamps, and stamps are calibrated as they are cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream.config import CalibrationSettings
from stream.errors import FrameRejectedError, Reason
from stream.instruments import FrameFacts
from stream.measure.cosmic_rays import MARGIN_PX, PixelNoise, find_cosmic_rays
from stream.measure.exposure import CalibrationNoise, Exposure
from stream.measure.frames import Frame
from stream.measure.linearity import linearise, read_variance_of
from stream.measure.masters import SAME_EXPOSURE, Kind, Master
from stream.measure.rebinning import rebin_frame
from stream.measure.stamps import IntegerStamps
from stream.messages import FloatArray

_WARM_SIGMA = 5.0
_FIELD_PX, _ALL_BAD = 5, 0.99
_SHARPEST_NEIGHBOUR_SHARE = 0.15  # as for hot pixels: no star that can be measured is that narrow


@dataclass(frozen=True, slots=True)
class Calibration:
    """The masters of one key.

    Attributes
    ----------
    version : str
        Hash of the content of all of them.
    bias, dark, flat : Master or None
    bad_pixels : array of bool, shape of the frames, or None
        Dead and hot pixels by the masters, and those that somebody listed.
    unlit : array of int, shape (n_pixels,), or None
        Those of them, by their number in the flattened frame, that make up wide fields: corners without light.
    """

    key: str
    version: str
    bias: Master | None = None
    dark: Master | None = None
    flat: Master | None = None
    bad_pixels: NDArray[np.bool_] | None = None
    unlit: NDArray[np.intp] | None = None

    @classmethod
    def of(
        cls, key: str, version: str, masters: Mapping[Kind, Master], bad_pixels: NDArray[np.bool_] | None
    ) -> Calibration:
        """Masters by kind, with the wide fields among the bad pixels found."""
        unlit = None if bad_pixels is None else _wide_fields(bad_pixels)
        return cls(key, version, masters.get("bias"), masters.get("dark"), masters.get("flat"), bad_pixels, unlit)

    def check(self, frame: Frame) -> None:
        """Raise FrameRejectedError if these masters are not for a frame of this shape, binning, gain or exposure."""
        facts = frame.facts
        for master in (self.bias, self.dark, self.flat):
            if master is None:
                continue
            if master.shape != frame.shape or master.binning != facts.binning:
                sentence = (
                    f"{frame.name} has {frame.shape[1]} x {frame.shape[0]} pixels at binning {facts.binning}; "
                    f"the {master.kind} frames of {master.name} have {master.shape[1]} x {master.shape[0]} "
                    f"at {master.binning}"
                )
                raise FrameRejectedError(Reason.WRONG_SHAPE, sentence)
            if not master.is_of_gain(facts):
                sentence = (
                    f"{frame.name} has a gain of {facts.gain_e_per_adu} e-/count, the {master.kind} frames of "
                    f"{master.name} {master.gain_e_per_adu}: the same is required"
                )
                raise FrameRejectedError(Reason.BAD_KEYWORD, sentence)
        if self.bad_pixels is not None and self.bad_pixels.shape != frame.shape:
            rows, columns = self.bad_pixels.shape
            sentence = (
                f"{frame.name} has {frame.shape[1]} x {frame.shape[0]} pixels; the bad-pixel map of {self.key} has "
                f"{columns} x {rows}"
            )
            raise FrameRejectedError(Reason.WRONG_SHAPE, sentence)
        dark = self.dark
        if dark is not None and dark.holds_zero and abs(dark.exposure_s / facts.exposure_s - 1.0) > SAME_EXPOSURE:
            sentence = (
                f"{frame.name} is exposed for {facts.exposure_s} s, the dark frames of {dark.name} for "
                f"{dark.exposure_s} s: without bias frames the same exposure is required"
            )
            raise FrameRejectedError(Reason.BAD_KEYWORD, sentence)


@dataclass(frozen=True, slots=True)
class CalibratedFrame:
    """A frame and what calibrates it; an `stream.measure.exposure.Exposure`."""

    frame: Frame
    settings: CalibrationSettings
    calibration: Calibration | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.frame.name

    @property
    def facts(self) -> FrameFacts:
        """What the header says."""
        return self.frame.facts

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.frame.shape

    def electrons(self) -> NDArray[np.float32]:
        """Return the whole frame, calibrated; without the filters for warm pixels and cosmic rays.

        Wide fields of bad pixels are NaN: they are no sky, and would bend that of their surroundings.
        """
        electrons = self.frame.electrons()
        bias, dark, flat = self._masters()
        electrons -= np.float32(self._zero_e()) if bias is None else bias.values
        electrons = linearise(electrons, self.facts)
        dark_s = np.float32(self.facts.exposure_s)
        electrons -= np.float32(self._header_dark_e()) if dark is None else dark.values * dark_s
        if flat is not None:
            electrons /= flat.values
        if self.calibration is not None and self.calibration.unlit is not None:
            electrons.flat[self.calibration.unlit] = np.nan
        return electrons

    def stamps(self, corners: NDArray[np.intp], side_px: int) -> FloatArray:
        """Cut squares out of the calibrated frame; warm pixels are replaced if the recipe says so."""
        if not self.settings.median_filter:
            return self._calibrated(corners, side_px)
        return _without_warm_pixels(self._calibrated(corners - 1, side_px + 2), self.facts.read_noise_e)

    def integer_stamps(self, corners: NDArray[np.intp], side_px: int) -> IntegerStamps | None:
        """The same as whole numbers; None where masters, filters or the detector's response make others of them."""
        known = self.calibration
        masters = known is not None and (known.bias or known.dark or known.flat)
        if masters or self.settings.median_filter or self.facts.linearity:
            return None
        stored = self.frame.integer_stamps(corners, side_px)
        return None if stored is None else replace(stored, zero=stored.zero - self._zero_e() - self._header_dark_e())

    def stored_stamps(self, corners: NDArray[np.intp], side_px: int) -> FloatArray:
        """The same squares before calibration: saturation is a matter of what was counted."""
        return self.frame.stamps(corners, side_px)

    def nonlinear_stamps(self, corners: NDArray[np.intp], side_px: int) -> NDArray[np.bool_] | None:
        """Where the stored counts are beyond those of a linear detector, corrected or not."""
        return self.frame.nonlinear_stamps(corners, side_px)

    def noise_stamps(self, corners: NDArray[np.intp], side_px: int) -> CalibrationNoise | None:
        """What the masters do to the noise of the same pixels."""
        bias, dark, flat = self._masters()
        if bias is None and dark is None and flat is None and not self.facts.linearity:
            return None
        shape = (len(corners), side_px, side_px)
        response, relative = np.ones(shape), np.zeros(shape)
        additive = np.zeros(shape)
        exposure_s = self.facts.exposure_s
        if bias is not None:
            # The bias was taken off the darks too, and comes back with them: equal exposures cancel it.
            kept = 1.0 - (exposure_s / dark.exposure_s if dark is not None and not dark.holds_zero else 0.0)
            additive += kept**2 * bias.variance_of(np.zeros(shape))
        if dark is not None:
            rate = dark.stamps(corners, side_px)
            # Its own photons too: a warm pixel is noisier than the sky around it.
            additive += exposure_s**2 * dark.variance_of(rate) + exposure_s * np.maximum(rate, 0.0)
        if self.facts.linearity:
            additive += read_variance_of(self._above_zero(corners, side_px), self.facts)
        if flat is not None:
            response = flat.stamps(corners, side_px)
            relative = flat.variance_of(response) / response**2
            additive /= response**2
        return CalibrationNoise(response, additive, relative)

    def cosmic_rays(self, corners: NDArray[np.intp], side_px: int) -> NDArray[np.bool_] | None:
        """Mark cosmic rays; None if there are none, or the recipe does not ask for them."""
        if not self.settings.remove_cosmic_rays:
            return None
        wider, inner = corners - MARGIN_PX, slice(MARGIN_PX, MARGIN_PX + side_px)
        side = side_px + 2 * MARGIN_PX
        flat = self._masters()[2]
        response = None if flat is None else flat.stamps(wider, side)
        noise = PixelNoise(self.facts.read_noise_e, response)
        found = find_cosmic_rays(self._calibrated(wider, side), noise)
        return None if found is None else found[:, inner, inner]

    def _masters(self) -> tuple[Master | None, Master | None, Master | None]:
        known = self.calibration
        return (known.bias, known.dark, known.flat) if known is not None else (None, None, None)

    def _zero_e(self) -> float:
        dark = self.calibration.dark if self.calibration is not None else None
        if dark is not None and dark.holds_zero:
            return 0.0
        return max(self.settings.zero_level_of(self.facts), 0.0) * self.facts.gain_e_per_adu

    def _header_dark_e(self) -> float:
        return self.facts.dark_current_e_per_s * self.facts.exposure_s

    def _above_zero(self, corners: NDArray[np.intp], side_px: int) -> FloatArray:
        stamps = self.frame.stamps(corners, side_px)
        bias = self._masters()[0]
        stamps -= self._zero_e() if bias is None else bias.stamps(corners, side_px)
        return stamps

    def _calibrated(self, corners: NDArray[np.intp], side_px: int) -> FloatArray:
        stamps = linearise(self._above_zero(corners, side_px), self.facts)
        _, dark, flat = self._masters()
        if dark is None:
            stamps -= self._header_dark_e()
        else:
            stamps -= dark.stamps(corners, side_px) * self.facts.exposure_s
        if flat is not None:
            stamps /= flat.stamps(corners, side_px)
        return stamps


def calibrate(frame: Frame, settings: CalibrationSettings, calibration: Calibration | None = None) -> Exposure:
    """Return what the measuring functions see of a frame: rebinned and calibrated, as the recipe says.

    A frame without any calibration is returned as it is.

    Raises
    ------
    FrameRejectedError
        If the masters are for frames of another shape, binning or exposure.
    """
    frame = rebin_frame(frame, settings.rebin)
    if calibration is not None:
        calibration.check(frame)
    elif not settings.median_filter and not settings.remove_cosmic_rays and not frame.facts.linearity:
        return frame
    return CalibratedFrame(frame, settings, calibration)


def _wide_fields(bad: NDArray[np.bool_]) -> NDArray[np.intp] | None:
    """Numbers of the bad pixels that lie with others in squares of 5 x 5; None if there are none.

    What is smaller is mended from its neighbours where somebody needs a whole picture.
    """
    from scipy import ndimage

    squares = ndimage.uniform_filter(np.pad(bad, _FIELD_PX, mode="edge").astype(np.float32), _FIELD_PX) > _ALL_BAD
    inner = slice(_FIELD_PX, -_FIELD_PX)
    fields = ndimage.maximum_filter(squares, _FIELD_PX)[inner, inner] & bad
    return np.flatnonzero(fields) if fields.any() else None


def _without_warm_pixels(stamps: FloatArray, read_noise_e: float) -> FloatArray:
    """Replace, by the median of 3 x 3, pixels that no star can explain; `stamps` lose a border of one pixel.

    A median of everything would take light from the peaks of stars. A warm pixel is one that stands out of that
    median by 5 sigma, while the median of its neighbours on all four sides has less than 15 per cent of its excess.
    """
    from scipy import ndimage

    inner = stamps[:, 1:-1, 1:-1]
    filled = np.where(np.isfinite(stamps), stamps, np.inf)
    typical = ndimage.median_filter(filled, size=(1, 3, 3), mode="nearest")[:, 1:-1, 1:-1]
    neighbours = np.median(
        [filled[:, :-2, 1:-1], filled[:, 2:, 1:-1], filled[:, 1:-1, :-2], filled[:, 1:-1, 2:]], axis=0
    )
    with np.errstate(invalid="ignore"):
        sky = np.nanmedian(np.where(np.isfinite(stamps), stamps, np.nan).reshape(len(stamps), -1), axis=1)
        sky = np.nan_to_num(sky)[:, None, None]
        excess = inner - sky
        warm = inner - typical > _WARM_SIGMA * np.sqrt(np.maximum(typical, 0.0) + read_noise_e**2)
        warm &= (neighbours - sky < _SHARPEST_NEIGHBOUR_SHARE * excess) & np.isfinite(typical)
    return np.where(warm, typical, inner)
