"""Finding sources on a whole frame: for the stacked picture and for frames that lost their alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray
from scipy import ndimage

from stream.config import DetectionSettings
from stream.measure.own_finder import find_with_own
from stream.messages import FloatArray

UNKNOWN_SIGMA_PX = 1.2
_SHARPEST_NEIGHBOUR_SHARE = 0.15
_LARGEST_PEAK_LOSS = 4.0
_PEAK_SIGMA = 3.0
_HOT_SIGMA_OF_FRAME = 5.0
_HOT_SIGMA_OF_MEDIAN = 8.0
_HOT_MESH_PX = 32
_FEWEST_BOXES, _SMALLEST_BOX_PX = 7, 32
_LOWEST_NOISE_SHARE = 0.8
_WIDEST_OF_STARS = 2.5
_LONGEST_OF_STARS = 4.0
_TYPICAL_OF, _TYPICAL_QUANTILE = 10, 0.25
_PIXEL_BUFFER = 300_000
_MOST_SUB_OBJECTS = 8192


@dataclass(frozen=True, slots=True)
class DetectedSources:
    """Sources by decreasing flux; arrays of shape (n,), positions of shape (n, 2), pixels, electrons, radians."""

    xy: FloatArray
    flux: FloatArray
    semi_major_sigma_px: FloatArray
    semi_minor_sigma_px: FloatArray
    orientation_rad: FloatArray


def detect_sources(
    electrons: NDArray[np.floating],
    settings: DetectionSettings,
    *,
    star_sigma_px: float = UNKNOWN_SIGMA_PX,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> DetectedSources:
    """Find what rises above the background (Bertin & Arnouts 1996, A&AS 117, 393, as coded in sep).

    The image is smoothed by a Gaussian as wide as the stars, and the threshold counts standard deviations of the
    smoothed background, at least four fifths of what is usual on the frame. Bad pixels are mended first; they do not
    make sources, and the sources under them are not lost. What is several times as wide as the sources that stand
    out most is left out: the edge of a shadow, a gradient.

    Parameters
    ----------
    electrons : array, shape (rows, columns)
        NaN marks pixels without value.
    star_sigma_px : float
        Width of the stars, as far as it is known.

    Raises
    ------
    FrameRejectedError
        With `Reason.OWN_PART_FAILED` if a finder of the user's own fails.
    """
    image = np.array(electrons, dtype=np.float32, order="C")
    missing = ~np.isfinite(image)
    if missing.all():
        return _nothing()
    if missing.any():
        image[missing] = np.median(image[~missing])
    if bad_pixels is not None:
        image = mend_pixels(image, bad_pixels)
    if settings.finder:
        xy, flux = find_with_own(image, missing, settings, star_sigma_px)
        width = np.full(len(xy), star_sigma_px)
        return DetectedSources(xy, flux, width, width, np.zeros(len(xy)))
    smooth = ndimage.gaussian_filter(image, star_sigma_px, mode="nearest", truncate=3.0)
    mesh = _mesh_px(settings, image.shape)
    background = sep.Background(smooth, mask=missing, bw=mesh, bh=mesh)
    if not background.globalrms > 0.0:
        return _nothing()
    # Splines through the mesh overshoot where the sky has an edge: noise would come out too low, even negative.
    noise = np.maximum(background.rms(), np.float32(_LOWEST_NOISE_SHARE * background.globalrms))
    found = _extract(smooth - background.back(), noise, missing, settings)
    if found is None:
        return _nothing()
    real = np.isfinite(found["flux"]) & (found["flux"] > 0.0) & (found["b"] > 0.5 * star_sigma_px)
    real &= ~_sharper_than_stars(image - smooth, found)
    real[real] = ~_wider_than_stars(found[real], noise)
    found = found[real][np.argsort(-found["flux"][real], kind="stable")]
    return DetectedSources(
        np.column_stack([found["x"], found["y"]]).astype(np.float64),
        found["flux"].astype(np.float64),
        _without_smoothing(found["a"], star_sigma_px),
        _without_smoothing(found["b"], star_sigma_px),
        found["theta"].astype(np.float64),
    )


def _mesh_px(settings: DetectionSettings, shape: tuple[int, ...]) -> int:
    """Size of a box: on small frames smaller, or the shadow of a round aperture would fall on every box."""
    return min(settings.mesh_px, max(_SMALLEST_BOX_PX, min(shape) // _FEWEST_BOXES), *shape)


def _extract(
    image: NDArray[np.float32], noise: NDArray[np.float32], missing: NDArray[np.bool_], settings: DetectionSettings
) -> NDArray[np.void] | None:
    """What sep finds; None if the field is too crowded for a buffer as large as the image."""
    before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    sep.set_sub_object_limit(_MOST_SUB_OBJECTS)
    try:
        for n_pixels in (_PIXEL_BUFFER, max(_PIXEL_BUFFER, image.size)):
            sep.set_extract_pixstack(n_pixels)
            try:
                return np.asarray(
                    sep.extract(
                        image,
                        settings.threshold_sigma,
                        err=noise,
                        mask=missing,
                        minarea=settings.min_pixels,
                        filter_kernel=None,
                        deblend_nthresh=settings.deblend_levels,
                        deblend_cont=settings.deblend_contrast,
                    )
                )
            except Exception as error:
                # sep raises bare Exception when a field is too crowded for its buffers.
                if "buffer" not in str(error) and "overflow" not in str(error):
                    raise
    finally:
        sep.set_extract_pixstack(before[0])
        sep.set_sub_object_limit(before[1])
    return None


def _wider_than_stars(found: NDArray[np.void], noise: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a source is much wider than the sharper ones of those whose peaks stand out most.

    Peaks, not fluxes: the edge of a shadow has more light in it than a star, but spread over thousands of pixels.
    Wide sources that stand out as much as the typical ones are saturated stars, and stay.
    """
    if not len(found):
        return np.zeros(0, dtype=bool)
    significance = found["peak"] / noise[found["ypeak"], found["xpeak"]]
    top = np.argsort(-significance, kind="stable")[: min(_TYPICAL_OF, max(1, len(found) // 2))]
    size = np.sqrt(found["a"] * found["b"])
    is_wide = size > _WIDEST_OF_STARS * np.quantile(size[top], _TYPICAL_QUANTILE)
    is_long = found["a"] > _LONGEST_OF_STARS * np.quantile(found["a"][top], _TYPICAL_QUANTILE)
    return np.asarray((is_wide | is_long) & (significance < np.median(significance[top])))


def _sharper_than_stars(residual: NDArray[np.float32], found: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether a source is one pixel that shines: smoothing takes half of a star's peak, but most of a pixel's.

    `residual` is the image less the smoothed image.
    """
    columns, rows = found["xpeak"].astype(np.intp), found["ypeak"].astype(np.intp)
    highest = ndimage.maximum_filter(residual, size=3, mode="nearest")[rows, columns]
    noise = 1.4826 * float(np.median(np.abs(residual)))
    return np.asarray(highest > _LARGEST_PEAK_LOSS * found["peak"] + _PEAK_SIGMA * noise)


def _without_smoothing(sigma_px: FloatArray, smoothing_px: float) -> FloatArray:
    return np.sqrt(np.maximum(sigma_px.astype(np.float64) ** 2 - smoothing_px**2, 0.25))


def find_hot_pixels(images: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Pixels that stand out of their neighbours on the median of some frames more than any star can.

    A pixel is hot where it rises above the background by more than 5 times the noise of a single frame and 8 times
    that of the median, and the median of its neighbours on all four sides is less than 15 per cent of its excess: a
    Gaussian of 0.5 pixels standard deviation has that, which is narrower than any star that can be measured. The
    median, because two hot pixels may be neighbours.

    Parameters
    ----------
    images : sequence of arrays, shape (rows, columns)
        Finite; not aligned to each other, because hot pixels stay where they are.
    """
    picture = np.ascontiguousarray(np.median(images, axis=0), dtype=np.float32)
    mesh = min(_HOT_MESH_PX, *picture.shape)
    sigma = float(np.median([sep.Background(image, bw=mesh, bh=mesh).globalrms for image in images]))
    background = sep.Background(picture, bw=mesh, bh=mesh)
    threshold = max(_HOT_SIGMA_OF_FRAME * sigma, _HOT_SIGMA_OF_MEDIAN * background.globalrms, 1e-6)
    excess = picture - background.back()
    padded = np.pad(excess, 1, mode="edge")
    neighbours = np.median([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]], axis=0)
    return np.asarray((excess > threshold) & (neighbours < _SHARPEST_NEIGHBOUR_SHARE * excess))


def mend_pixels(image: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a copy in which bad pixels hold the mean of their good neighbours (of eight)."""
    if not bad.any():
        return image
    kernel = np.ones((3, 3), dtype=np.float32)
    good = (~bad).astype(np.float32)
    total = ndimage.convolve(np.where(bad, np.float32(0.0), image), kernel, mode="constant")
    count = ndimage.convolve(good, kernel, mode="constant")
    return np.where(bad & (count > 0), total / np.maximum(count, 1.0), image)


def _nothing() -> DetectedSources:
    empty = np.empty(0)
    return DetectedSources(np.empty((0, 2)), empty, empty, empty, empty)
