"""The picture of a frame as the page shows it: 8 bits, downsampled, stretched so that faint stars are seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    """

    frame_id: int
    name: str
    pixels: NDArray[np.uint8]
    shape: tuple[int, int]


def read_picture(path: Path, *, frame_id: int) -> Picture | None:
    """Read a FITS file and make its picture; None where there is no longer a readable image.

    Frames may be moved away while a night runs, so an absent file is no error here.
    """
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            images = [hdu.data for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2]
    except (OSError, ValueError, TypeError, EOFError):
        return None
    if not images:
        return None
    image = np.asarray(images[0], dtype=np.float32)
    return Picture(frame_id, path.name, stretch(downsample(image, MAX_SIDE_PX)), (image.shape[0], image.shape[1]))


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
