"""The catalog of a whole night: every frame of a key aligned and stacked, in bounded memory.

Live, the first frames make the catalog, because measuring cannot wait. Afterwards all frames are there: sources are
searched on the stack of all of them, and placed and measured on some frames spread evenly over the night.

The picture is the mean, weighted by the number of frames, of the medians of blocks of frames: satellites and cosmic
rays are gone with the medians, and no more than one block is held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.config import Recipe
from stream.errors import ConfigurationError, FrameRejectedError
from stream.measure.alignment import Alignment, align
from stream.measure.calibration import Calibration, calibrate
from stream.measure.catalog import with_version
from stream.measure.exposure import Exposure
from stream.measure.frames import read_frame
from stream.measure.stacking import StackedField, resample, stack_frames
from stream.measure.transform import Transform
from stream.messages import Catalog, FloatArray
from stream.night.bootstrap import catalog_of_stack

_BLOCK_BYTES = 128_000_000
_FEWEST_IN_BLOCK, _MOST_IN_BLOCK = 5, 15
_FRAMES_MEASURED = 25
_CLIP_SIGMA, _MAD_TO_SIGMA = 3.0, 1.4826


@dataclass(frozen=True, slots=True)
class FramesOfKey:
    """The frames of one key, and how they are read.

    Attributes
    ----------
    names : tuple of str
        In order of time, relative to `folder`.
    """

    key: str
    names: tuple[str, ...]
    folder: Path
    recipe: Recipe
    calibration: Calibration | None = None

    def read(self, name: str) -> Exposure:
        """Read a frame, calibrated; raises FrameRejectedError."""
        stored = read_frame(self.folder / name, name, self.recipe.instrument)
        return calibrate(stored, self.recipe.calibration, self.calibration)


@dataclass(frozen=True, slots=True)
class DeepCatalog:
    """What the frames of a key gave together.

    Attributes
    ----------
    catalog : Catalog
        Its frames are all that were aligned, the reference frame first.
    picture : array, shape of the frames
        Electrons above the sky.
    time_mjd_utc, exposure_s, sky_e_per_px : array, shape (n_aligned,)
        Middle of the exposures, exposure times and sky of each frame, in order of time.
    not_aligned : tuple of str
        One sentence for each frame that is not in the stack.
    """

    catalog: Catalog
    picture: NDArray[np.float32]
    time_mjd_utc: FloatArray
    exposure_s: FloatArray
    sky_e_per_px: FloatArray
    not_aligned: tuple[str, ...]

    @property
    def n_aligned(self) -> int:
        """Number of frames in the stack."""
        return len(self.catalog.frames)


def build_deep_catalog(frames: FramesOfKey, advance: Callable[[], None] = lambda: None) -> DeepCatalog:
    """Align and stack all frames of a key, and make its catalog.

    A frame that cannot be read, is of another size, or cannot be aligned is left out of the stack; it is tried against
    the catalog later, like any other. `advance` is called after each frame.

    Raises
    ------
    ConfigurationError
        If no frames make a stack, the stack shows no source, or a finder of the user's own fails on the first frames
        or on the stack.
    """
    try:
        return _build(frames, advance)
    except FrameRejectedError as error:  # frames that cannot be used are passed over: this is a finder
        raise ConfigurationError(f"no catalog of {frames.key}: {error}") from error


def _build(frames: FramesOfKey, advance: Callable[[], None]) -> DeepCatalog:
    n_frames, key = len(frames.names), frames.key
    first = _first_stack(frames)
    if first is None:
        raise ConfigurationError(f"none of the {n_frames} frames of {key} shows stars that a catalog can be made of")
    stack = _Stack(first, frames.recipe, spread=_spread(n_frames))
    for number, name in enumerate(frames.names):
        stack.add(number, name, frames)
        advance()
    picture = stack.picture()
    # The reference frame first: the catalog's pixels are its pixels.
    exposures, alignments = zip(*stack.measured(), strict=True)
    stacked = replace(first, frames=exposures, alignments=alignments, picture=picture)
    catalog = catalog_of_stack(key, stacked, frames.recipe)
    if catalog is None:
        raise ConfigurationError(f"the stack of {len(stack.aligned)} frames of {key} shows no source to measure")
    reference = first.frames[0].name
    rest = tuple(name for name in stack.aligned if name != reference)
    return DeepCatalog(
        catalog=with_version(msgspec.structs.replace(catalog, frames=(reference, *rest))),
        picture=picture,
        time_mjd_utc=np.array(stack.times),
        exposure_s=np.array(stack.exposures_s),
        sky_e_per_px=np.array(stack.sky),
        not_aligned=tuple(stack.problems),
    )


class _Stack:
    """Frames taken one after the other onto the pixels of the reference frame."""

    def __init__(self, first: StackedField, recipe: Recipe, spread: frozenset[int]) -> None:
        self._first, self._recipe, self._spread = first, recipe, spread
        self._hint: Transform | None = None
        shape = first.frames[0].shape
        self._block: list[NDArray[np.float32]] = []
        self._block_size = int(np.clip(_BLOCK_BYTES // (4 * shape[0] * shape[1]), _FEWEST_IN_BLOCK, _MOST_IN_BLOCK))
        self._sum = np.zeros(shape, dtype=np.float64)
        self._n = np.zeros(shape, dtype=np.int64)
        self._measured: list[tuple[Exposure, Alignment]] = []
        self.aligned: list[str] = []
        self.times: list[float] = []
        self.exposures_s: list[float] = []
        self.sky: list[float] = []
        self.problems: list[str] = []

    def add(self, number: int, name: str, frames: FramesOfKey) -> None:
        """Align a frame and stack it, or note why not."""
        try:
            frame = frames.read(name)
            alignment = self._align(frame)
        except FrameRejectedError as error:
            self.problems.append(str(error))
            return
        if alignment is None:
            self.problems.append(f"{name} could not be aligned to {self._first.frames[0].name}")
            return
        self._hint = alignment.transform
        self.aligned.append(name)
        self.times.append(frame.facts.time_mjd_utc)
        self.exposures_s.append(frame.facts.exposure_s)
        self.sky.append(_sky(frame))
        self._block.append(resample(frame, alignment.transform, self._first.hot_pixels))
        if len(self._block) >= self._block_size:
            self._take_block()
        if number in self._spread and name != self._first.frames[0].name:
            self._measured.append((frame, alignment))

    def picture(self) -> NDArray[np.float32]:
        """The stack so far; 0 where no frame reached."""
        self._take_block()
        return np.asarray(self._sum / np.maximum(self._n, 1), dtype=np.float32)

    def measured(self) -> Iterator[tuple[Exposure, Alignment]]:
        """Frames that sources are measured on, the reference frame first."""
        yield self._first.frames[0], self._first.alignments[0]
        yield from self._measured

    def _align(self, frame: Exposure) -> Alignment | None:
        reference = self._first.frames[0]
        if frame.shape != reference.shape:
            return None
        return align(
            frame,
            self._first.stars,
            hint=self._hint,
            settings=self._recipe.alignment,
            detection=self._recipe.detection,
            bad_pixels=self._first.hot_pixels,
        )

    def _take_block(self) -> None:
        if not self._block:
            return
        ordered = np.sort(np.stack(self._block), axis=0)  # NaN last
        n_seen = np.isfinite(ordered).sum(axis=0)
        last = np.maximum(n_seen - 1, 0)[None]
        middle = [np.take_along_axis(ordered, (last + odd) // 2, axis=0)[0] for odd in (0, 1)]
        self._sum += np.where(n_seen > 0, 0.5 * (middle[0] + middle[1]), 0.0) * n_seen
        self._n += n_seen
        self._block.clear()


def _first_stack(frames: FramesOfKey) -> StackedField | None:
    """The first frames that show stars, as the live night would take them."""
    n_frames = frames.recipe.bootstrap.n_frames
    bad_pixels = frames.calibration.bad_pixels if frames.calibration is not None else None
    for start in range(0, len(frames.names), n_frames):
        read: list[Exposure] = []
        for name in frames.names[start : start + n_frames]:
            try:
                frame = frames.read(name)
            except FrameRejectedError:
                continue  # said where all frames are taken in turn
            if not read or frame.shape == read[0].shape:
                read.append(frame)
        stacked = stack_frames(read, frames.recipe, bad_pixels) if read else None
        if stacked is not None:
            return stacked
    return None


def _sky(frame: Exposure) -> float:
    """Mean of the pixels within three standard deviations of the median: medians of counts are whole numbers."""
    electrons = frame.electrons()
    finite = electrons[np.isfinite(electrons)]
    distance = np.abs(finite - np.median(finite))
    return float(finite[distance <= _CLIP_SIGMA * _MAD_TO_SIGMA * np.median(distance)].mean())


def _spread(n_frames: int) -> frozenset[int]:
    """Numbers of the frames that sources are placed and measured on, evenly over the night."""
    return frozenset(np.linspace(0, n_frames - 1, min(n_frames, _FRAMES_MEASURED)).round().astype(int).tolist())
