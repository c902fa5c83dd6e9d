"""Master frames: many bias, dark or flat frames become one, with its variance.

- *bias*: the mean of the frames without what lies 5 sigma off their median (a median of whole counts would be a
  whole count);
- *dark*: the same of the electrons above the bias, per second: frames of different exposure join;
- *flat*: the median of frames that were each divided by their own level, 1 where the field is brightest, so that
  fluxes are those of a telescope without shadows.

The variance of a master is a line, slope x value + constant, because it is photon noise and read noise divided by the
number of frames (Newberry 1991, PASP 103, 122); no second image is needed for it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream.cameras import UNKNOWN_ZERO, FrameFacts
from stream.errors import ConfigurationError
from stream.measure.frames import Frame
from stream.measure.linearity import linearise
from stream.measure.stamps import cut_stamps
from stream.messages import FloatArray

Kind = Literal["bias", "dark", "flat"]

_BAND_ROWS = 64
_CLIP_SIGMA = 5.0
_HOT_SIGMA = 20.0
_DEAD_RESPONSE = 0.5
_LOWEST_RESPONSE = 0.05
_SHADED_SHARE, _SHADED_RESPONSE = 0.001, 0.5  # fraction of the pixels, and of the light
SAME_EXPOSURE = 0.01
"""Exposures that differ by less, relatively, are the same."""
_SAME_GAIN = 0.01
_NEIGHBOURHOOD_PX = 5
_MESHES_PER_SIDE = 16
_BRIGHTEST_MESHES = 4
_FAINTEST_FLAT_E = 100.0
_SAMPLE_STEP = 7


@dataclass(frozen=True, slots=True)
class Master:
    """A master frame.

    Attributes
    ----------
    name : str
        Key for a flat, camera for bias and dark.
    values : array, shape (rows, columns)
        Electrons (bias), electrons per second (dark), fraction of the light that arrives (flat). All are finite: a
        pixel that has no value holds 0, or 1 in a flat, and is in the bad-pixel map.
    exposure_s : float
        Mean exposure of the frames; 0 for bias.
    slope, constant : float
        The variance of a value is slope x value + constant.
    holds_zero : bool
        A dark whose frames had no bias taken off.
    gain_e_per_adu : float
        That of the frames; NaN where nobody noted it, and then nothing is compared with it.
    """

    kind: Kind
    name: str
    values: NDArray
    binning: int
    n_frames: int
    exposure_s: float
    slope: float
    constant: float
    holds_zero: bool = False
    gain_e_per_adu: float = math.nan

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return int(self.values.shape[0]), int(self.values.shape[1])

    def stamps(self, corners: NDArray[np.intp], side_px: int) -> FloatArray:
        """Cut squares; what lies outside of the frame changes nothing (1 in a flat, else 0)."""
        return cut_stamps(self.values, corners, side_px, 1.0 if self.kind == "flat" else 0.0)

    def is_of_gain(self, facts: FrameFacts) -> bool:
        """Whether a frame was read with the gain of this master: at another one the zero level is another too."""
        return not abs(self.gain_e_per_adu / facts.gain_e_per_adu - 1.0) > _SAME_GAIN

    def variance_of(self, values: FloatArray) -> FloatArray:
        """Variance of values of this master, in their unit squared."""
        return self.slope * np.maximum(values, 0.0) + self.constant


@dataclass(frozen=True, slots=True)
class Below:
    """What is taken off a frame before it is looked at: its zero level, and its dark current.

    Attributes
    ----------
    zero_level_adu : float
        Where there are no bias frames; `UNKNOWN_ZERO` where nothing tells it.
    read_variance : float or None
        That of one pixel of one frame, e-^2; None where no bias frames told it.
    """

    bias: Master | None = None
    dark: Master | None = None
    zero_level_adu: float = UNKNOWN_ZERO
    read_variance: float | None = None

    def read_variance_of(self, frame: Frame) -> float:
        """Variance of the read noise: measured on the bias frames, else what the instrument says."""
        return self.read_variance if self.read_variance is not None else frame.facts.read_noise_e**2

    def taken_off(self, frame: Frame, rows: slice) -> NDArray[np.float32]:
        """Electrons of some rows above zero, without dark current."""
        electrons = _rows_of(frame, rows)
        if self.bias is not None:
            electrons -= self.bias.values[rows]
        elif self.zero_level_adu > 0.0:
            electrons -= np.float32(self.zero_level_adu * frame.facts.gain_e_per_adu)
        electrons = linearise(electrons, frame.facts)
        if self.dark is not None and (not self.dark.holds_zero or self._is_as_long(frame)):
            electrons -= self.dark.values[rows] * np.float32(frame.facts.exposure_s)
        return electrons

    def knows_zero_of(self, frame: Frame) -> bool:
        """Whether the zero level is among what is taken off."""
        return self.bias is not None or self.zero_level_adu >= 0.0 or self._is_as_long(frame)

    def _is_as_long(self, frame: Frame) -> bool:
        """Whether the darks are exposed as long as a frame: only then the zero level within them is that of it."""
        dark = self.dark
        return dark is not None and abs(dark.exposure_s / frame.facts.exposure_s - 1.0) <= SAME_EXPOSURE


def make_bias(frames: Sequence[Frame], name: str) -> Master:
    """Mean of bias frames of one camera, electrons; at least one frame."""
    check_alike(frames, "bias", name)
    read_variance = measured_read_variance(frames)
    values = np.empty(frames[0].shape, dtype=np.float32)
    for rows in _bands(frames[0].shape):
        stack = np.stack([_rows_of(frame, rows) for frame in frames])
        kept = np.abs(stack - _median_of_stack(stack)) <= _CLIP_SIGMA * math.sqrt(read_variance)
        values[rows] = np.where(kept, stack, 0.0).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
    facts, constant = frames[0].facts, read_variance / len(frames)
    return Master(
        "bias", name, values, facts.binning, len(frames), 0.0, 0.0, constant, gain_e_per_adu=facts.gain_e_per_adu
    )


def make_dark(frames: Sequence[Frame], name: str, below: Below) -> tuple[Master, NDArray[np.bool_]]:
    """Mean dark current of dark frames of one camera, electrons per second, and the hot pixels.

    A pixel is hot where its current is 20 sigma above the median, of the scatter of the pixels or of the noise of the
    master, whichever is larger: its noise is not that of its neighbours.
    """
    check_alike(frames, "dark", name)
    exposures = np.array([frame.facts.exposure_s for frame in frames], dtype=np.float32)
    read_variance = below.read_variance_of(frames[0])
    values = np.empty(frames[0].shape, dtype=np.float32)
    per_frame = exposures[:, None, None]
    for rows in _bands(frames[0].shape):
        stack = np.stack([below.taken_off(frame, rows) for frame in frames])
        typical = _median_of_stack(stack / per_frame)
        noise = np.sqrt(read_variance + np.maximum(typical, 0.0) * per_frame)
        kept = np.abs(stack - typical * per_frame) <= _CLIP_SIGMA * noise
        total_s = np.where(kept, per_frame, 0.0).sum(axis=0)
        values[rows] = np.where(kept, stack, 0.0).sum(axis=0) / np.maximum(total_s, 1e-9)
    n, total_s = len(frames), float(exposures.sum())
    holds_zero = below.bias is None and below.zero_level_adu < 0.0
    if holds_zero and np.ptp(exposures) > SAME_EXPOSURE * exposures.max():
        raise ConfigurationError(
            f"dark frames of {name} are exposed for {exposures.min():g} to {exposures.max():g} s: without bias frames "
            "they must be of one exposure"
        )
    constant = n * read_variance / total_s**2
    binning, gain = frames[0].facts.binning, frames[0].facts.gain_e_per_adu
    master = Master("dark", name, values, binning, n, total_s / n, 1.0 / total_s, constant, holds_zero, gain)
    middle = float(np.median(values))
    sigma = max(_robust_sigma(values), math.sqrt(constant + max(middle, 0.0) / total_s))
    hot = ~np.isfinite(values) | (values - middle > _HOT_SIGMA * sigma)
    values[~np.isfinite(values)] = 0.0
    return master, hot


def make_flat(frames: Sequence[Frame], name: str, below: Below) -> tuple[Master, NDArray[np.bool_]]:
    """Median of normalised flat frames of one key, and the dead pixels.

    A pixel is dead where it sees less than half of the light of its neighbours, or less than a twentieth of that of
    the brightest part of the field.

    Raises
    ------
    ConfigurationError
        If a frame is too faint or saturated, or part of the field lies in the shade and nothing tells the zero level:
        it would be taken for light there, and all that is measured at the edge of the shade would be wrong.
    """
    from scipy import ndimage

    check_alike(frames, "flat", name)
    levels = np.array([_level_of(frame, below) for frame in frames])
    values = np.empty(frames[0].shape, dtype=np.float32)
    for rows in _bands(frames[0].shape):
        stack = [below.taken_off(frame, rows) / np.float32(level) for frame, level in zip(frames, levels, strict=True)]
        values[rows] = np.median(stack, axis=0)
    brightest = _brightest_level(values)
    values /= np.float32(brightest)
    _refuse_shade_on_unknown_zero(values, frames[0], name, below)
    share = median_variance_factor(len(frames))
    electrons = levels * brightest
    slope = share * float(np.mean(1.0 / electrons))
    constant = share * below.read_variance_of(frames[0]) * float(np.mean(1.0 / electrons**2))
    around = ndimage.median_filter(np.nan_to_num(values), size=_NEIGHBOURHOOD_PX, mode="nearest")
    dead = ~(values > np.maximum(_DEAD_RESPONSE * around, _LOWEST_RESPONSE))
    values[dead] = 1.0
    binning, gain = frames[0].facts.binning, frames[0].facts.gain_e_per_adu
    exposure_s = float(np.mean([frame.facts.exposure_s for frame in frames]))
    master = Master("flat", name, values, binning, len(frames), exposure_s, slope, constant, gain_e_per_adu=gain)
    return master, dead


def _refuse_shade_on_unknown_zero(values: NDArray[np.float32], frame: Frame, name: str, below: Below) -> None:
    if below.knows_zero_of(frame):
        return
    lowest = float(np.nanquantile(values, _SHADED_SHARE))
    if lowest < _SHADED_RESPONSE:
        raise ConfigurationError(
            f"flat frames of {name} fall to {lowest:.0%} of the brightest part of the field, and nothing tells the "
            "zero level of the camera, which would be taken for light there: bias frames, cameras.zero_level_adu of "
            "the instrument or calibration.zero_level_adu of the recipe are required"
        )


def measured_read_variance(frames: Sequence[Frame]) -> float:
    """Variance of one pixel of one bias frame, e-^2: from differences of frames, else what the instrument says."""
    if len(frames) < 2:
        return frames[0].facts.read_noise_e ** 2
    rows = slice(0, min(frames[0].shape[0], 4 * _BAND_ROWS))
    variances = []
    for one, other in pairwise(frames):
        # Squares of the largest values do not fit into single precision.
        difference = _rows_of(one, rows).ravel().astype(np.float64) - _rows_of(other, rows).ravel()
        difference = difference[np.isfinite(difference)]
        if not len(difference):
            raise ConfigurationError(f"bias frames {one.name} and {other.name} have no pixel with a value in common")
        # Whole counts make the median of deviations a step; the standard deviation without outliers has no steps.
        variances.append(0.5 * float(np.var(_without_outliers(_without_outliers(difference)))))
    return max(float(np.median(variances)), 1e-6)


def _without_outliers(values: FloatArray) -> FloatArray:
    return values[np.abs(values - np.median(values)) <= _CLIP_SIGMA * max(float(np.std(values)), 0.5)]


def median_variance_factor(n: int) -> float:
    """Variance of the median of `n` normal values of unit variance; within 2.5 per cent of the exact one."""
    if n <= 2:
        return 1.0 / n
    return 0.5 * math.pi / (n + (1.4 if n % 2 == 0 else 0.5))


def check_alike(frames: Sequence[Frame], kind: Kind, name: str) -> None:
    """Raise ConfigurationError if frames differ in shape, binning or gain."""
    first = frames[0]
    for frame in frames[1:]:
        if frame.shape != first.shape or frame.facts.binning != first.facts.binning:
            raise ConfigurationError(f"{kind} frame {_size(frame)}, but {_size(first)}: those of {name} must be alike")
        if abs(frame.facts.gain_e_per_adu / first.facts.gain_e_per_adu - 1.0) > _SAME_GAIN:
            raise ConfigurationError(
                f"{kind} frame {frame.name} has a gain of {frame.facts.gain_e_per_adu} e-/count, but {first.name} of "
                f"{first.facts.gain_e_per_adu}: those of {name} must be alike"
            )


def check_fits(frames: Sequence[Frame], kind: Kind, other: Master | None) -> None:
    """Raise ConfigurationError if frames are not of the shape, binning and gain of a master that is taken off them."""
    if other is None:
        return
    for frame in frames:
        if frame.shape != other.shape or frame.facts.binning != other.binning:
            raise ConfigurationError(
                f"{kind} frame {_size(frame)}, but the {other.kind} frames of {other.name} have "
                f"{other.shape[1]} x {other.shape[0]} pixels at binning {other.binning}"
            )
        if not other.is_of_gain(frame.facts):
            raise ConfigurationError(
                f"{kind} frame {frame.name} has a gain of {frame.facts.gain_e_per_adu} e-/count, the {other.kind} "
                f"frames of {other.name} {other.gain_e_per_adu}: the same is required"
            )


def _size(frame: Frame) -> str:
    return f"{frame.name} has {frame.shape[1]} x {frame.shape[0]} pixels at binning {frame.facts.binning}"


def _level_of(frame: Frame, below: Below) -> float:
    stored = frame.electrons()[::_SAMPLE_STEP, ::_SAMPLE_STEP]
    gain, saturation = frame.facts.gain_e_per_adu, frame.facts.saturation_adu
    if float(np.median(stored)) >= saturation * gain:
        raise ConfigurationError(
            f"flat frame {frame.name} is saturated: half of its pixels reach {saturation:g} counts"
        )
    level = float(np.median(below.taken_off(frame, slice(None))[::_SAMPLE_STEP, ::_SAMPLE_STEP]))
    if not level >= _FAINTEST_FLAT_E:
        raise ConfigurationError(
            f"flat frame {frame.name} has {level:.0f} electrons above zero: "
            f"at least {_FAINTEST_FLAT_E:.0f} are required"
        )
    return level


def _brightest_level(values: NDArray[np.float32]) -> float:
    """Response of the brightest part of the field: the mean of the four brightest of 16 x 16 meshes."""
    meshes = [
        np.nanmedian(part)
        for band in np.array_split(values, _MESHES_PER_SIDE, axis=0)
        for part in np.array_split(band, _MESHES_PER_SIDE, axis=1)
    ]
    return float(np.mean(np.sort(np.nan_to_num(meshes))[-_BRIGHTEST_MESHES:]))


def _robust_sigma(values: NDArray[np.float32]) -> float:
    sample = values[::_SAMPLE_STEP, ::_SAMPLE_STEP]
    return 1.4826 * float(np.median(np.abs(sample - np.median(sample))))


def _median_of_stack(stack: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of each pixel over the frames that have a value there; NaN where none has."""
    if np.isfinite(stack).all():
        return np.asarray(np.median(stack, axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of pixels without any value
        return np.asarray(np.nanmedian(stack, axis=0))


def _bands(shape: tuple[int, int]) -> list[slice]:
    """Rows that are looked at together: all frames at once would need gigabytes."""
    return [slice(start, min(start + _BAND_ROWS, shape[0])) for start in range(0, shape[0], _BAND_ROWS)]


def _rows_of(frame: Frame, rows: slice) -> NDArray[np.float32]:
    return replace(frame, pixels=frame.pixels[rows]).electrons()
