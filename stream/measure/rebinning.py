"""Software rebinning: squares of pixels are summed, as if the camera had done it.

Positions follow as they do for the camera's own binning: pixel (0, 0) covers the first square, and x of the finer
pixels lies at (x + 0.5) / factor - 0.5.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stream.cameras import UNKNOWN_ZERO
from stream.errors import FrameRejectedError, Reason
from stream.measure.frames import Frame

_SMALLEST_SIDE_PX = 16


def rebin_frame(frame: Frame, factor: int) -> Frame:
    """Sum squares of `factor` x `factor` pixels; rows and columns that fill no square are left out.

    The frame's facts follow: binning and pixel scale grow by the factor, read noise by it too (the root of the number
    of pixels), dark current, zero level and saturation by its square. A square that holds a saturated pixel counts as
    saturated, and one that holds a pixel without value has none.

    Raises
    ------
    FrameRejectedError
        If fewer than 16 x 16 pixels would be left, or the counts have to be linearised: that of a sum is not the sum.
    """
    if factor == 1:
        return frame
    if frame.facts.linearity:
        raise FrameRejectedError(
            Reason.BAD_KEYWORD,
            f"{frame.name} is of a camera with a linearity correction: calibration.rebin ({factor}) must be 1 with it",
        )
    rows, columns = (side // factor for side in frame.shape)
    if min(rows, columns) < _SMALLEST_SIDE_PX:
        raise FrameRejectedError(
            Reason.WRONG_SHAPE,
            f"{frame.name} has {frame.shape[1]} x {frame.shape[0]} pixels: "
            f"calibration.rebin ({factor}) would leave fewer than {_SMALLEST_SIDE_PX} on a side",
        )
    facts = frame.facts
    counts = frame.electrons()[: rows * factor, : columns * factor] / np.float32(facts.gain_e_per_adu)
    squares = counts.reshape(rows, factor, columns, factor)
    summed = squares.sum(axis=(1, 3), dtype=np.float32)
    saturation_adu = facts.saturation_adu * factor**2
    highest = squares.max(axis=(1, 3))
    saturated = highest >= facts.saturation_adu
    summed[saturated] = np.maximum(summed[saturated], np.float32(saturation_adu))
    return replace(
        frame,
        pixels=summed,
        bscale=1.0,
        bzero=0.0,
        blank=None,
        nonlinear=highest >= facts.nonlinear_adu if facts.nonlinear_adu else None,
        facts=replace(
            facts,
            binning=facts.binning * factor,
            read_noise_e=facts.read_noise_e * factor,
            dark_current_e_per_s=facts.dark_current_e_per_s * factor**2,
            saturation_adu=saturation_adu,
            zero_level_adu=facts.zero_level_adu * factor**2 if facts.zero_level_adu >= 0.0 else UNKNOWN_ZERO,
            pixel_scale_arcsec=facts.pixel_scale_arcsec * factor,
        ),
    )
