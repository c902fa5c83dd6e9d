"""Figures for files. Nothing else imports matplotlib.

Figures are made as objects and drawn by the Agg canvas: there is no global figure, no window, and several threads or
processes may draw at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from stream.analysis.periodogram import PowerSpectrum
from stream.analysis.relative import RelativeLightCurve
from stream.atomic_files import write_atomically
from stream.flags import DOUBTFUL
from stream.messages import Catalog, FloatArray, IntArray, SourceFluxes
from stream.timestamps import SECONDS_PER_DAY, mjd_to_iso

_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7d5ba6", "#b8860b", "#4a4a4a")
_GRID_COLOUR = "#d8d8d8"
_LABEL_COLOUR = "#ffd166"
_STRETCH = 12.0
_MOST_PIXELS = 1024
_MOST_POINTS = 20_000
_SIGMA_TO_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))


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
    _draw_field(figure.add_subplot(), catalog, image)
    save_figure(figure, path)


def catalogs_figure(fields: Sequence[tuple[Catalog, NDArray]]) -> Figure:
    """Fields with their numbered sources side by side, each drawn as `catalog_picture` does."""
    figure = Figure(figsize=(5.2 * max(1, len(fields)), 5.4), layout="constrained")
    if not fields:
        return _empty(figure, "there is no catalog")
    panels = np.atleast_1d(figure.subplots(1, len(fields)))
    for axes, (catalog, image) in zip(panels, fields, strict=True):
        _draw_field(axes, catalog, image)
    return figure


def raw_light_curves_figure(fluxes: SourceFluxes, numbers: Sequence[int], title: str = "") -> Figure:
    """Measured fluxes of some sources of one key over their medians, one panel each, on one axis of time."""
    curves = []
    for number in numbers:
        flux, flux_err = fluxes.flux[:, number - 1], fluxes.flux_err[:, number - 1]
        level = float(np.median(flux[np.isfinite(flux)])) if np.isfinite(flux).any() else 1.0
        curves.append((f"{fluxes.key}    source {number}", flux / level, flux_err / level, fluxes.flags[:, number - 1]))
    figure = Figure(figsize=(9.0, 1.0 + 2.1 * max(1, len(curves))), layout="constrained")
    figure.suptitle(title, fontsize=11)
    if not len(fluxes.frame_ids):
        return _empty(figure, "no frame was measured")
    panels = np.atleast_1d(figure.subplots(len(curves), 1, sharex=True))
    days = fluxes.time()
    span_s = float(days[-1] - days[0]) * SECONDS_PER_DAY
    unit, unit_s = _time_unit(span_s)
    for axes, (name, flux, flux_err, flags) in zip(panels, curves, strict=True):
        _draw_points(axes, _Points((days - days[0]) * SECONDS_PER_DAY / unit_s, flux, flux_err, flags), _COLOURS[0])
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylabel("flux over median")
    panels[-1].set_xlabel(f"{unit} since {fluxes.time_scale()} {days[0]:.6f}")
    return figure


def light_curves_figure(curves: Sequence[RelativeLightCurve], title: str = "") -> Figure:
    """Relative light curves, one panel each, on one axis of time.

    Flagged points are hollow; points without a flux are absent. The time axis counts from the first point of all, in
    hours, minutes or seconds; its origin stands on the label.
    """
    figure = Figure(figsize=(9.0, 1.0 + 2.1 * max(1, len(curves))), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    if not curves:
        return _empty(figure, "no light curve could be computed")
    barycentric = all(curve.time_scale() == "time_bmjd_tdb" for curve in curves)
    days = [curve.time_bmjd_tdb if barycentric else curve.time_mjd_utc for curve in curves]
    origin = min((float(day[0]) for day in days if len(day)), default=0.0)
    panels = np.atleast_1d(figure.subplots(len(curves), 1, sharex=True))
    span_s = (
        max((float(day[-1]) - origin) * SECONDS_PER_DAY for day in days if len(day)) if any(map(len, days)) else 0.0
    )
    unit, unit_s = _time_unit(span_s)
    for index, (axes, curve, day) in enumerate(zip(panels, curves, days, strict=True)):
        _draw_light_curve(axes, curve, (day - origin) * SECONDS_PER_DAY / unit_s, _COLOURS[index % len(_COLOURS)])
    scale = f"BMJD(TDB) {origin:.6f}" if barycentric else f"{mjd_to_iso(origin)} UTC (MJD {origin:.6f})"
    panels[-1].set_xlabel(f"{unit} since {scale}")
    return figure


def power_spectra_figure(spectra: Mapping[str, PowerSpectrum], title: str = "") -> Figure:
    """Power spectra by name, one panel each, both axes logarithmic, with the peak and the noise level of the errors."""
    figure = Figure(figsize=(9.0, 1.0 + 2.1 * max(1, len(spectra))), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    if not spectra:
        return _empty(figure, "no power spectrum could be computed")
    panels = np.atleast_1d(figure.subplots(len(spectra), 1, sharex=True))
    for index, (axes, (name, spectrum)) in enumerate(zip(panels, spectra.items(), strict=True)):
        _draw_power_spectrum(axes, name, spectrum, _COLOURS[index % len(_COLOURS)])
    panels[-1].set_xlabel("frequency (Hz)")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, atomically; the suffix of `path` gives the format (png, pdf, svg)."""
    FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150))


def _shrunk(image: NDArray) -> FloatArray:
    """Means of whole blocks, so that large frames are drawn small and stars stay visible."""
    factor = -(-max(image.shape) // _MOST_PIXELS)
    pixels = image.astype(np.float64)
    if factor == 1:
        return pixels
    rows, columns = (size // factor * factor for size in image.shape)
    return pixels[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))


def _stretched(image: FloatArray) -> FloatArray:
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


class _Points(NamedTuple):
    """Points of one panel."""

    time: FloatArray
    flux: FloatArray
    flux_err: FloatArray
    flags: IntArray


def _time_unit(span_s: float) -> tuple[str, float]:
    return ("hours", 3600.0) if span_s > 3600.0 else ("minutes", 60.0) if span_s > 120.0 else ("seconds", 1.0)


def _draw_field(axes: Axes, catalog: Catalog, image: NDArray) -> None:
    rows, columns = image.shape
    axes.imshow(
        _stretched(_shrunk(np.asarray(image))),
        origin="lower",
        cmap="gray",
        vmin=0.0,
        vmax=1.0,
        extent=(-0.5, columns - 0.5, -0.5, rows - 0.5),
        interpolation="nearest",
    )
    _draw_sources(axes, catalog, (rows, columns))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    axes.set_xlabel("x (pixels)")
    axes.set_ylabel("y (pixels)")
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
                edgecolor=_LABEL_COLOUR,
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
            color=_LABEL_COLOUR,
            fontsize=6 if crowded else 9,
        )


def _draw_light_curve(axes: Axes, curve: RelativeLightCurve, time: FloatArray, colour: str) -> None:
    _draw_points(axes, _Points(time, curve.flux, curve.flux_err, curve.flags), colour)
    compared = ", ".join(str(number) for number in curve.comparisons[:8])
    compared += f" and {len(curve.comparisons) - 8} more" if len(curve.comparisons) > 8 else ""
    axes.set_title(f"{curve.key}    source {curve.target} relative to {compared}", loc="left", fontsize=9)
    axes.set_ylabel("relative flux")


def _draw_points(axes: Axes, points: _Points, colour: str) -> None:
    measured = np.isfinite(points.flux)
    doubtful = measured & ((points.flags & int(DOUBTFUL)) != 0)
    good = measured & ~doubtful
    size = float(np.clip(60.0 / math.sqrt(max(1, int(measured.sum()))), 1.0, 4.0))
    dense = int(measured.sum()) > 3000
    for chosen, face in ((good, colour), (doubtful, "none")):
        axes.errorbar(
            points.time[chosen],
            points.flux[chosen],
            yerr=None if dense else points.flux_err[chosen],
            fmt="o",
            markersize=size,
            color=colour,
            markerfacecolor=face,
            markeredgewidth=0.5,
            elinewidth=0.5,
            ecolor=(*_rgb(colour), 0.4),
            rasterized=int(measured.sum()) > _MOST_POINTS,
        )
    if good.any():
        low, high = np.percentile(points.flux[good], [0.5, 99.5])
        margin = 0.25 * (high - low) + 2.0 * float(np.nanmedian(points.flux_err[good]))
        if math.isfinite(margin) and margin > 0.0:
            axes.set_ylim(low - margin, high + margin)
    axes.grid(color=_GRID_COLOUR, linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_power_spectrum(axes: Axes, name: str, spectrum: PowerSpectrum, colour: str) -> None:
    frequency, power = _thinned(spectrum.frequency_hz, spectrum.power)
    axes.plot(frequency, power, color=colour, linewidth=0.7)
    axes.axhline(spectrum.noise_level, color="#777777", linewidth=0.8, linestyle="--")
    axes.plot(spectrum.peak_frequency_hz, spectrum.peak_power, "v", color="#222222", markersize=5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(frequency[0], frequency[-1])
    positive = power[power > 0.0]
    top = max(spectrum.peak_power, spectrum.noise_level) * 4.0
    if positive.size and top > 0.0:
        axes.set_ylim(min(spectrum.noise_level, float(np.median(positive))) / 30.0, top)
    axes.set_title(
        f"{name}    peak at {spectrum.peak_frequency_hz:.6g} ± {spectrum.peak_frequency_err_hz:.1g} Hz, "
        f"rms {100 * spectrum.peak_rms:.3g} ± {100 * spectrum.peak_rms_err:.1g} %",
        loc="left",
        fontsize=9,
    )
    axes.set_ylabel("(rms/mean)² Hz⁻¹")
    axes.grid(color=_GRID_COLOUR, linewidth=0.6)
    axes.set_axisbelow(True)


def _thinned(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest value of each of so many parts: peaks survive."""
    if len(x) <= _MOST_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), _MOST_POINTS // 2)
    kept = np.unique([index for part in parts for index in (part[y[part].argmin()], part[y[part].argmax()])])
    return x[kept], y[kept]


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[start : start + 2], 16) / 255.0 for start in (1, 3, 5))
    return red, green, blue


def _empty(figure: Figure, words: str) -> Figure:
    figure.text(0.5, 0.5, words, ha="center", va="center")
    return figure
