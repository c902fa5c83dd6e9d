"""Short films of frames as GIF: grey pictures of a few levels, so that noise stays small to send."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stream.messages import FloatArray
from stream.plots.style import LABEL_COLOUR, rgb

MOST_BYTES = 5_000_000
_LEVELS = 32
_SMALLEST_SIDE_PX = 96
_FRAME_MS = 120
_LAST_FRAME_MS = 900
_MARGIN_PX = 5
_STRETCH = 12.0
_STEPS = 4096
_EVERY = 11
"""One pixel in so many tells sky and noise."""


def film(images: Sequence[FloatArray], captions: Sequence[str], *, side_px: int, circle_px: float = 0.0) -> bytes:
    """Content of a GIF that shows images one after the other, for ever; smaller where it would exceed 5 MB.

    Every image is shown less its own median and with one stretch for all, so that clouds dim the stars and do not
    change the sky. Row 0 is at the bottom.

    Parameters
    ----------
    images : sequence of arrays, all of one shape
        Any unit; NaN is drawn black.
    captions : sequence of str
        One line for each image.
    side_px : int
        Longest side of the film; small images are enlarged by whole factors.
    circle_px : float
        Radius of a circle around the middle, pixels of the images; 0 for none.

    Raises
    ------
    ValueError
        If there is no image.
    """
    if not images:
        raise ValueError("a film needs at least one image")
    grey = _grey(images)
    while True:
        content = _gif(grey, captions, side_px, circle_px)
        if len(content) <= MOST_BYTES or side_px <= _SMALLEST_SIDE_PX:
            return content
        # The area, and so the size of a film of noise, follows the square of the side.
        side_px = max(_SMALLEST_SIDE_PX, int(0.95 * side_px * math.sqrt(MOST_BYTES / len(content))))


def _grey(images: Sequence[FloatArray]) -> NDArray[np.uint8]:
    """Levels from 1 to `_LEVELS`; 0 is kept for what has no value."""
    thinned = [image.ravel()[::_EVERY] for image in images]
    known = [values[np.isfinite(values)] for values in thinned]
    skies = [float(np.median(values)) if len(values) else 0.0 for values in known]
    values = np.concatenate([values - sky for values, sky in zip(known, skies, strict=True)])
    if not len(values):
        return np.zeros((len(images), *images[0].shape), dtype=np.uint8)
    noise = 1.4826 * float(np.median(np.abs(values))) or float(np.ptp(values)) / 100.0 or 1.0
    low, high = -2.0 * noise, max(20.0 * noise, float(np.percentile(values, 99.9)))
    shades = _shades(max((high - low) / noise / 8.0, _STRETCH))
    grey = np.zeros((len(images), *images[0].shape), dtype=np.uint8)
    for levels, image, sky in zip(grey, images, skies, strict=True):
        finite = np.isfinite(image)
        fraction = np.clip((image[finite] - (sky + low)) / (high - low), 0.0, 1.0)
        levels[finite] = shades[(fraction * (len(shades) - 1)).astype(np.int16)]
    return grey


def _shades(softening: float) -> NDArray[np.uint8]:
    """Level of each of so many steps of brightness, by asinh."""
    shade = np.arcsinh(softening * np.linspace(0.0, 1.0, _STEPS)) / math.asinh(softening)
    return (1 + np.rint(shade * (_LEVELS - 1))).astype(np.uint8)


def _gif(grey: NDArray[np.uint8], captions: Sequence[str], side_px: int, circle_px: float) -> bytes:
    palette = _palette()
    pictures = []
    for levels, caption in zip(grey, captions, strict=True):
        picture, zoom = _resized(Image.fromarray(np.ascontiguousarray(levels[::-1])), side_px)
        picture.putpalette(palette)
        _draw_caption(picture, caption)
        if circle_px > 0.0:
            _draw_circle(picture, zoom * circle_px)
        pictures.append(picture)
    durations = [_FRAME_MS] * (len(pictures) - 1) + [_LAST_FRAME_MS]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=False
    )
    return buffer.getvalue()


def _resized(picture: Image.Image, side_px: int) -> tuple[Image.Image, float]:
    longest = max(picture.size)
    zoom = float(side_px // longest) if side_px >= 2 * longest else min(1.0, side_px / longest)
    size = (max(1, round(picture.size[0] * zoom)), max(1, round(picture.size[1] * zoom)))
    # Levels are brightness in order, so their means are meaningful; the picture gets its colours afterwards.
    kind = Image.Resampling.NEAREST if zoom >= 1.0 else Image.Resampling.BOX
    return picture.resize(size, kind), zoom


def _palette() -> list[int]:
    shades = [0] + [round(255.0 * level / (_LEVELS - 1)) for level in range(_LEVELS)]
    colours = [channel for shade in shades for channel in (shade, shade, shade)]
    return colours + [round(255.0 * channel) for channel in rgb(LABEL_COLOUR)]


def _draw_caption(picture: Image.Image, caption: str) -> None:
    drawing = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(9, picture.size[0] // 26))
    box = drawing.textbbox((_MARGIN_PX, _MARGIN_PX), caption, font=font)
    drawing.rectangle((box[0] - 3, box[1] - 2, box[2] + 3, box[3] + 2), fill=0)
    drawing.fontmode = "1"
    drawing.text((_MARGIN_PX, _MARGIN_PX), caption, font=font, fill=_LEVELS + 1)


def _draw_circle(picture: Image.Image, radius_px: float) -> None:
    x, y = 0.5 * (picture.size[0] - 1), 0.5 * (picture.size[1] - 1)
    box = (x - radius_px, y - radius_px, x + radius_px, y + radius_px)
    ImageDraw.Draw(picture).ellipse(box, outline=_LEVELS + 1)
