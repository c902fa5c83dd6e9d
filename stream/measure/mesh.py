"""Background of a mesh over the whole frame, for photometers that do not take that of an annulus."""

from __future__ import annotations

import numpy as np
import sep
from numpy.typing import NDArray

from stream.measure.background import LocalBackground, clipped_background
from stream.messages import FloatArray

_CLIP_SIGMA = 3.0
_MOST_PIXELS = 65_536
_FEWEST_PIXELS = 1_000


def mesh_background(
    electrons: NDArray[np.floating],
    positions: FloatArray,
    *,
    mesh_px: int,
    keep_off_px: float,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> LocalBackground:
    """Background under each source from a mesh over the whole frame (Bertin & Arnouts 1996, as coded in sep).

    The level of a box is 2.5 times its median less 1.5 times its mean, clipped. Counts of photons are skewed, and that
    is up to 0.4 electrons less than their mean: of an aperture of 40 pixels a quarter of the noise of a dark sky. The
    mesh is therefore raised, and its noise scaled, by what is left of the pixels away from all sources once it is
    subtracted. The number of pixels that a level rests on is that of one box.

    Parameters
    ----------
    electrons : array, shape (rows, columns)
        NaN marks pixels without value.
    positions : array, shape (n_sources, 2)
        x and y, pixels, 0-based; outside of the frame the nearest pixel counts.
    keep_off_px : float
        Pixels within this radius of a source tell nothing of the sky.
    """
    image = np.array(electrons, dtype=np.float32, order="C")
    missing = ~np.isfinite(image)
    image[missing] = 0.0
    unusable = missing if bad_pixels is None else missing | bad_pixels
    side = min(mesh_px, *image.shape)
    mesh = sep.Background(image, mask=unusable, bw=side, bh=side)
    level, sigma = mesh.back(), mesh.rms()
    empty = ~(unusable | _near_sources(positions, keep_off_px, image.shape))
    raise_e, scale = _what_is_left(image, empty, level, sigma)
    columns, rows = np.rint(np.nan_to_num(positions)).astype(np.intp).T
    columns, rows = np.clip(columns, 0, image.shape[1] - 1), np.clip(rows, 0, image.shape[0] - 1)
    n_pixels = np.full(len(positions), side * side, dtype=np.intp)
    return LocalBackground(
        level[rows, columns].astype(np.float64) + raise_e, sigma[rows, columns].astype(np.float64) * scale, n_pixels
    )


def _near_sources(positions: FloatArray, radius_px: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    near = np.zeros(shape, dtype=bool)
    reach = int(np.ceil(radius_px))
    offsets = np.arange(-reach, reach + 1)
    disc = np.hypot(offsets[:, None], offsets[None, :]) <= radius_px
    for x, y in np.rint(positions[np.isfinite(positions).all(axis=1)]).astype(np.intp):
        rows, columns = slice(max(y - reach, 0), max(y + reach + 1, 0)), slice(max(x - reach, 0), max(x + reach + 1, 0))
        part = near[rows, columns]
        first_row, first_column = rows.start - (y - reach), columns.start - (x - reach)
        part |= disc[first_row : first_row + part.shape[0], first_column : first_column + part.shape[1]]
    return near


def _what_is_left(
    image: NDArray[np.float32], empty: NDArray[np.bool_], level: NDArray[np.float32], sigma: NDArray[np.float32]
) -> tuple[float, float]:
    """Mean of empty pixels less the mesh, and their standard deviation over that of the mesh; 0 and 1 of too few."""
    step = -(-image.size // _MOST_PIXELS) | 1  # odd: else the same columns of every row
    chosen = slice(None, None, step)
    good = empty.ravel()[chosen]
    rest = (image.ravel()[chosen] - level.ravel()[chosen])[good].astype(np.float64)
    usual = float(np.mean(sigma.ravel()[chosen][good])) if good.any() else 0.0
    if len(rest) < _FEWEST_PIXELS or not usual > 0.0:
        return 0.0, 1.0
    left = clipped_background(rest[None], _CLIP_SIGMA)
    return float(left.level[0]), float(left.sigma[0]) / usual
