"""Pictures of fields with their numbered sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse
from numpy.typing import NDArray

from stream.messages import Catalog, FloatArray
from stream.plots.style import LABEL_COLOUR, empty_figure, save_figure

_STRETCH = 12.0
_MOST_PIXELS = 1024
_TARGET_COLOUR, _COMPARISON_COLOUR = "#ff5c5c", "#7bd88f"
_SIGMA_TO_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))


@dataclass(frozen=True, slots=True)
class Apertures:
    """Apertures of a frame, the same for every source of it, pixels and degrees from +x towards +y."""

    semi_major_px: float
    semi_minor_px: float
    orientation_deg: float
    inner_px: float
    """Radii of the background annulus; 0 for none."""
    outer_px: float
    target: int = 0
    """Number of the target, 0 for none."""
    comparisons: tuple[int, ...] = ()


def catalog_picture(catalog: Catalog, image: NDArray, path: Path) -> None:
    """Write a picture of a field with its numbered sources, atomically; the suffix of `path` gives the format.

    The image is shown with an asinh stretch (Lupton et al. 2004, PASP 116, 133) from two standard deviations
    below the sky; non-finite pixels are left empty. Row 0 is at the bottom. The ellipses span 3 FWHM.

    Parameters
    ----------
    image : array, shape (rows, columns)
        Any number type, any unit.
    """
    rows, columns = image.shape
    figure = Figure(figsize=(7.5, 6.8 * min(max(rows / columns, 0.4), 1.8) + 0.8), layout="constrained")
    draw_field(figure.add_subplot(), catalog, image)
    save_figure(figure, path)


def catalogs_figure(fields: Sequence[tuple[Catalog, NDArray]]) -> Figure:
    """Fields with their numbered sources side by side, each drawn as `catalog_picture` does."""
    figure = Figure(figsize=(5.2 * max(1, len(fields)), 5.4), layout="constrained")
    if not fields:
        return empty_figure(figure, "there is no catalog")
    panels = np.atleast_1d(figure.subplots(1, len(fields)))
    for axes, (catalog, image) in zip(panels, fields, strict=True):
        draw_field(axes, catalog, image)
    return figure


def apertures_figure(catalog: Catalog, image: NDArray, apertures: Apertures, title: str = "") -> Figure:
    """The reference frame with every aperture and annulus to scale: target red, comparison stars green."""
    rows, columns = image.shape
    figure = Figure(figsize=(7.5, 6.8 * min(max(rows / columns, 0.4), 1.8) + 0.8), layout="constrained")
    axes = figure.add_subplot()
    draw_image(axes, image)
    for number in range(1, catalog.n_sources + 1):
        place = (catalog.x[number - 1], catalog.y[number - 1])
        colour = LABEL_COLOUR
        if number == apertures.target:
            colour = _TARGET_COLOUR
        elif number in apertures.comparisons:
            colour = _COMPARISON_COLOUR
        _draw_aperture(axes, place, apertures, colour)
        axes.annotate(
            str(number),
            (place[0] + (-1.0 if (left := place[0] > 0.94 * columns) else 1.0) * apertures.outer_px, place[1]),
            xytext=(-2 if left else 2, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            color=colour,
            fontsize=6 if catalog.n_sources > 40 else 8,
        )
    axes.set_title(title, fontsize=10, loc="left")
    return figure


def _draw_aperture(axes: Axes, place: tuple[float, float], apertures: Apertures, colour: str) -> None:
    axes.add_patch(
        Ellipse(
            place,
            2.0 * apertures.semi_major_px,
            2.0 * apertures.semi_minor_px,
            angle=apertures.orientation_deg,
            fill=False,
            edgecolor=colour,
            linewidth=0.9,
        )
    )
    for radius in (apertures.inner_px, apertures.outer_px):
        if radius > 0.0:
            axes.add_patch(Circle(place, radius, fill=False, edgecolor=colour, linewidth=0.6, alpha=0.8))


def shrunk(image: NDArray) -> FloatArray:
    """Means of whole blocks, so that large frames are drawn small and stars stay visible."""
    factor = -(-max(image.shape) // _MOST_PIXELS)
    pixels = image.astype(np.float64)
    if factor == 1:
        return pixels
    rows, columns = (size // factor * factor for size in image.shape)
    return pixels[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))


def stretched(image: FloatArray) -> FloatArray:
    """Brightness from 0 to 1 as the eye likes it: asinh, from two standard deviations below the sky."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return np.zeros_like(image)
    sky = float(np.median(finite))
    noise = 1.4826 * float(np.median(np.abs(finite - sky))) or float(np.ptp(finite)) / 100.0 or 1.0
    low, high = sky - 2.0 * noise, max(sky + 20.0 * noise, float(np.percentile(finite, 99.9)))
    fraction = np.clip((image - low) / (high - low), 0.0, 1.0)
    softening = max((high - low) / noise / 8.0, _STRETCH)
    stretched: FloatArray = np.arcsinh(softening * fraction) / math.asinh(softening)
    return stretched


def draw_image(axes: Axes, image: NDArray) -> None:
    """Draw an image with its pixels as coordinates, row 0 at the bottom."""
    rows, columns = image.shape
    axes.imshow(
        stretched(shrunk(np.asarray(image))),
        origin="lower",
        cmap="gray",
        vmin=0.0,
        vmax=1.0,
        extent=(-0.5, columns - 0.5, -0.5, rows - 0.5),
        interpolation="nearest",
    )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    axes.set_xlabel("x (pixels)")
    axes.set_ylabel("y (pixels)")


def draw_field(axes: Axes, catalog: Catalog, image: NDArray) -> None:
    """Draw a field, its numbered sources and a title."""
    draw_image(axes, image)
    _draw_sources(axes, catalog, (image.shape[0], image.shape[1]))
    n_frames = len(catalog.frames)
    stars = f"{catalog.n_sources} source{'s' if catalog.n_sources != 1 else ''}"
    axes.set_title(
        f"{catalog.key}    {stars} on the stack of {n_frames} frame{'s' if n_frames != 1 else ''}, "
        f"FWHM {catalog.fwhm_px:.1f} px",
        fontsize=10,
        loc="left",
    )


def _draw_sources(axes: Axes, catalog: Catalog, shape: tuple[int, int]) -> None:
    crowded = catalog.n_sources > 40
    for index in range(catalog.n_sources):
        x, y = catalog.x[index], catalog.y[index]
        # Three FWHM across, and never too small to be seen on a large frame.
        smallest = 0.018 * max(shape)
        across = [
            max(3.0 * _SIGMA_TO_FWHM * sigma, smallest)
            for sigma in (catalog.semi_major_sigma_px[index], catalog.semi_minor_sigma_px[index])
        ]
        axes.add_patch(
            Ellipse(
                (x, y),
                across[0],
                across[1],
                angle=catalog.orientation_deg[index],
                fill=False,
                edgecolor=LABEL_COLOUR,
                linewidth=0.7 if crowded else 1.1,
            )
        )
        left, low = x > 0.94 * shape[1], y < 0.94 * shape[0]
        reach = 0.36 * across[0]
        axes.annotate(
            str(index + 1),
            (x - reach if left else x + reach, y + reach if low else y - reach),
            xytext=(-2 if left else 2, 2 if low else -2),
            textcoords="offset points",
            ha="right" if left else "left",
            va="bottom" if low else "top",
            color=LABEL_COLOUR,
            fontsize=6 if crowded else 9,
        )
