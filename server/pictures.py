"""The picture of a frame as the page shows it: 8 bits, downsampled, stretched so that faint stars are seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.compass import Compass, compass_of
from stream.frame_names import FrameName, file_of, parse_frame_name
from stream.messages import FloatArray

MAX_SIDE_PX = 512
_FAINTEST_SAMPLES = 40_000
_SOFTENING_SIGMA = 4.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for the browser.

    Attributes
    ----------
    frame_id : int
        The frame that it was made of.
    name : str
        Its file.
    pixels : array of uint8, shape (rows, columns)
        Row 0 is the lowest.
    shape : tuple of int
        (rows, columns) of the frame itself, pixels.
    compass : Compass or None
        North and east, where the header tells.
    """

    frame_id: int
    name: str
    pixels: NDArray[np.uint8]
    shape: tuple[int, int]
    compass: Compass | None = None


def read_picture(path: Path, *, frame_id: int) -> Picture | None:
    """Read a frame and make its picture; None where there is no longer a readable image.

    `path` may end in the place of the frame in its file, as ``cube.fits[0,17]``. Frames may be moved away while a night
    runs, so an absent file is no error here. Frames of the ledger were read by a worker before, so that a file over
    which a library crashes has met it there.
    """
    found = read_image(path)
    if found is None:
        return None
    image, header = found
    shape = image.shape[0], image.shape[1]
    return Picture(frame_id, path.name, stretch(downsample(image, MAX_SIDE_PX)), shape, compass_of(header, shape))


def read_image(path: Path) -> tuple[NDArray[np.float32], Any] | None:
    """Read the pixels of a frame and its header (an astropy one); None where there is no longer a readable image."""
    from astropy.io import fits

    wanted = parse_frame_name(path.name)
    try:
        with fits.open(file_of(path), memmap=False) as hdus:
            found = _image_of(hdus, wanted)
    except (OSError, ValueError, TypeError, EOFError, IndexError):
        return None
    return None if found is None or found[0].ndim != 2 else found


def _image_of(hdus: Any, wanted: FrameName) -> tuple[NDArray[np.float32], Any] | None:
    """The image of a named place, or the first one of the file; only the plane that is shown is read."""
    if wanted.hdu is not None:
        section, header = hdus[wanted.hdu].section, hdus[wanted.hdu].header
        return np.asarray(section[:] if wanted.plane is None else section[wanted.plane], dtype=np.float32), header
    for hdu in hdus:
        n_axes = hdu.header.get("NAXIS") if hdu.is_image else None
        if n_axes == 2:
            return np.asarray(hdu.data, dtype=np.float32), hdu.header
        if n_axes == 3 and hdu.shape[0] == 1:
            return np.asarray(hdu.section[0], dtype=np.float32), hdu.header
    return None


def downsample(image: NDArray[np.float32], max_side_px: int) -> NDArray[np.float32]:
    """Average blocks of pixels until no side is longer than `max_side_px`; rows and columns left over are cut off."""
    factor = -(-max(image.shape) // max_side_px)
    if factor <= 1:
        return image
    rows, columns = (side // factor for side in image.shape)
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def stretch(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale to 8 bits by the inverse hyperbolic sine (Lupton et al. 2004, PASP 116, 133) above the sky.

    Black lies two standard deviations of the sky below its median, white at the 99.9th percentile; pixels that are
    not finite become black.
    """
    sample: FloatArray = image[np.isfinite(image)].astype(np.float64)
    if len(sample) == 0:
        return np.zeros(image.shape, dtype=np.uint8)
    sample = sample[:: max(1, len(sample) // _FAINTEST_SAMPLES)]
    low, sky, white = (float(level) for level in np.percentile(sample, [15.87, 50.0, 99.9]))
    sigma = max(sky - low, 1e-6 * max(abs(sky), 1.0))
    black = sky - 2.0 * sigma
    top = max(white - black, 12.0 * sigma)
    softening = _SOFTENING_SIGMA * sigma
    with np.errstate(invalid="ignore"):
        scaled = np.arcsinh((image - black) / softening) / np.arcsinh(top / softening)
    clipped = np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    return (255.0 * clipped).astype(np.uint8)
