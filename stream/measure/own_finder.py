"""A finder of the user's own: what it is given, and what is made of what it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import sep
from numpy.typing import NDArray

from stream.config import DetectionSettings
from stream.messages import FloatArray
from stream.own_parts import guarded, load_part, refuse_result

if TYPE_CHECKING:
    from stream.measure.protocols import SourceFinder

_APERTURE_SIGMA = 3.0


def find_with_own(
    image: NDArray[np.float32], missing: NDArray[np.bool_], settings: DetectionSettings, star_sigma_px: float
) -> tuple[FloatArray, FloatArray]:
    """Let the finder of `settings` look for sources, and order them by the flux of a small aperture.

    Sources without positive flux are left out, as the built-in finder leaves them out.

    Parameters
    ----------
    image : array, shape (rows, columns)
        Finite everywhere, also where `missing` says that there was no number.

    Returns
    -------
    xy : array, shape (n, 2)
    flux : array, shape (n,)
        Electrons, decreasing.

    Raises
    ------
    FrameRejectedError
        With `Reason.OWN_PART_FAILED` if the finder fails, or returns something else than positions on the picture.
    """
    given = np.where(missing, np.float32(np.nan), image)
    given.flags.writeable = False
    with guarded(settings.finder, "finder", "looking for sources"):
        finder: SourceFinder = load_part(settings.finder, "finder")
        xy = np.array(finder.find(given, star_sigma_px, settings), dtype=np.float64)
    if not xy.size:
        return np.empty((0, 2)), np.empty(0)
    _check_positions(xy, image.shape, settings.finder)
    side = min(settings.mesh_px, *image.shape)
    sky = sep.Background(image, mask=missing, bw=side, bh=side).back()
    flux, _, _ = sep.sum_circle(image - sky, xy[:, 0], xy[:, 1], _APERTURE_SIGMA * star_sigma_px)
    order = np.argsort(-flux, kind="stable")
    order = order[flux[order] > 0.0]
    return xy[order], np.asarray(flux[order], dtype=np.float64)


def _check_positions(xy: FloatArray, shape: tuple[int, ...], finder: str) -> None:
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise refuse_result(finder, "finder", f"an array of shape {xy.shape} where one of shape (n, 2) is required")
    if not np.isfinite(xy).all():
        raise refuse_result(finder, "finder", "positions that are not finite where columns and rows are required")
    outside = ((xy < -0.5) | (xy > np.array([shape[1], shape[0]]) - 0.5)).any(axis=1)
    if outside.any():
        x, y = xy[outside][0]
        size = f"{shape[1]} x {shape[0]}"
        raise refuse_result(
            finder, "finder", f"the position ({x:g}, {y:g}) where one on the {size} pixels is required: x before y"
        )
