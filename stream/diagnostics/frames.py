"""Frames of a finished night, read again for pictures: aligned, made small, or only their headers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stream.errors import FrameRejectedError
from stream.instruments import Instrument
from stream.measure.detection import mend_pixels
from stream.measure.frames import Frame, read_frame
from stream.measure.noise import DetectorNoise
from stream.measure.transform import Transform
from stream.messages import Catalog, FloatArray
from stream.night.night_reader import FrameConditions, NightReader


@dataclass(frozen=True, slots=True)
class FrameToShow:
    """A measured frame: its name, its time, and where the catalog lies on it."""

    name: str
    time_mjd_utc: float
    transform: Transform


def detector_of(reader: NightReader, key: str) -> DetectorNoise:
    """Noise of the detector from the header of the reference frame; from the instrument where that is gone."""
    instrument = reader.recipe().instrument
    names = reader.catalogs()[key].frames
    if names:
        try:
            facts = read_frame(reader.folder() / names[0], names[0], instrument).facts
            return DetectorNoise(facts.read_noise_e, facts.dark_current_e_per_s)
        except FrameRejectedError:
            # An archive may have moved since: the instrument says the same, unless the header overrules it.
            pass
    camera = instrument.cameras.get(key.partition(":")[0]) or next(iter(instrument.cameras.values()))
    return DetectorNoise(camera.read_noise_e, camera.dark_current_e_per_s)


def frames_to_show(
    conditions: FrameConditions, catalog: Catalog, paths: dict[int, str], most: int
) -> list[FrameToShow]:
    """At most so many aligned frames, spread evenly over those that are, in order of time."""
    aligned = np.flatnonzero(np.isfinite(conditions["shift_x_px"]))
    chosen = aligned[np.unique(np.linspace(0, len(aligned) - 1, min(most, len(aligned))).round().astype(int))]
    return [_frame_to_show(conditions, catalog, paths, int(row)) for row in chosen] if len(aligned) else []


def read_image(
    folder: Path, name: str, instrument: Instrument, hot_pixels: tuple[int, ...]
) -> NDArray[np.float32] | None:
    """A frame in electrons with its hot pixels mended; None where it cannot be read any more."""
    try:
        frame: Frame = read_frame(folder / name, name, instrument)
    except FrameRejectedError:
        return None
    hot = np.zeros(frame.shape, dtype=bool)
    hot.flat[[index for index in hot_pixels if index < hot.size]] = True
    return mend_pixels(frame.electrons(), hot)


def aligned_image(image: NDArray[np.float32], transform: Transform, factor: int) -> FloatArray:
    """Bring a frame onto the reference frame, made smaller by a whole factor; NaN where it does not reach."""
    small = _block_means(image, factor)
    offset = 0.5 * (factor - 1)
    corner = (transform.apply(np.array([[offset, offset]]))[0] - offset) / factor
    matrix = np.array([[transform.cosine, transform.sine], [-transform.sine, transform.cosine]])
    return np.asarray(
        ndimage.affine_transform(small, matrix, offset=corner[::-1], order=1, mode="constant", cval=np.nan)
    )


def stamp(image: NDArray[np.float32], centre: tuple[float, float], transform: Transform, half_px: int) -> FloatArray:
    """A square around a position of the catalog, turned as the reference frame is; NaN off the frame."""
    corner = transform.apply(np.array([[centre[0] - half_px, centre[1] - half_px]]))[0]
    matrix = np.array([[transform.cosine, transform.sine], [-transform.sine, transform.cosine]])
    side = 2 * half_px + 1
    return np.asarray(
        ndimage.affine_transform(
            image.astype(np.float64),
            matrix,
            offset=corner[::-1],
            output_shape=(side, side),
            order=1,
            mode="constant",
            cval=np.nan,
        )
    )


def _frame_to_show(conditions: FrameConditions, catalog: Catalog, paths: dict[int, str], row: int) -> FrameToShow:
    angle = np.radians(conditions["rotation_deg"][row])
    scale = float(conditions["scale"][row])
    rows, columns = catalog.frame_shape
    transform = Transform(
        scale * float(np.cos(angle)),
        scale * float(np.sin(angle)),
        float(conditions["shift_x_px"][row]),
        float(conditions["shift_y_px"][row]),
        0.5 * (columns - 1),
        0.5 * (rows - 1),
    )
    return FrameToShow(paths[int(conditions.frame_ids[row])], float(conditions["time_mjd_utc"][row]), transform)


def _block_means(image: NDArray[np.float32], factor: int) -> FloatArray:
    pixels = image.astype(np.float64)
    if factor == 1:
        return pixels
    rows, columns = (size // factor * factor for size in image.shape)
    return pixels[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))
