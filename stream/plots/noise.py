"""Figures of noise: scatter against flux, signal to noise, the budget, curves of growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from stream.messages import FloatArray
from stream.plots.style import COLOURS, empty_figure, grid

_TARGET_COLOUR = "#d62839"
_MOST_NUMBERED = 30
_FEW_DECADES, _SOME_DECADES = 1.7, 3.0


@dataclass(frozen=True, slots=True)
class StarScatter:
    """Scatter of all stars of a key, each shape (n_sources,), NaN where it cannot be told.

    Attributes
    ----------
    flux_e : array
        Median flux, electrons.
    raw, relative : array
        Robust scatter of the flux as measured and relative to the comparison stars, over the median.
    expected : array
        Median error over median flux.
    target : int
        Number of the target, 0 for none.
    comparisons : tuple of int
    """

    key: str
    flux_e: FloatArray
    raw: FloatArray
    relative: FloatArray
    expected: FloatArray
    target: int = 0
    comparisons: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a figure: its name, its points, and how it is drawn."""

    name: str
    x: FloatArray
    y: FloatArray
    style: str = "-"
    colour: str = "#4a4a4a"


@dataclass(frozen=True, slots=True)
class GrowthLine:
    """Curve of growth of a key; see `stream.analysis.apertures.GrowthCurve`."""

    key: str
    n_stars: int
    radius_fwhm: FloatArray
    fraction: FloatArray
    fraction_err: FloatArray


def rms_figure(stars: Sequence[StarScatter], curves: Sequence[Sequence[Curve]], title: str = "") -> Figure:
    """Scatter of every star against its median flux, one panel a key, both axes logarithmic.

    Hollow points are fluxes as measured, filled ones are relative to the comparison stars; the target is red.

    Parameters
    ----------
    curves : sequence of sequences of Curve
        Lines of each panel, as the fitted noise floor.
    """
    figure, panels = _panels(len(stars), title)
    if panels is None:
        return empty_figure(figure, "no star was measured often enough")
    for index, (axes, one, lines) in enumerate(zip(panels, stars, curves, strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(
            one.flux_e, 100.0 * one.raw, "o", color="#9a9a9a", markerfacecolor="none", markersize=4, label="as measured"
        )
        axes.plot(one.flux_e, 100.0 * one.relative, "o", color=colour, markersize=4.5, label="over comparison stars")
        axes.plot(one.flux_e, 100.0 * one.expected, "_", color="#222222", markersize=8, label="from the errors")
        for line in lines:
            axes.plot(line.x, 100.0 * line.y, line.style, color=line.colour, linewidth=1.1, label=line.name)
        _mark_target(axes, one, 100.0 * one.relative)
        _finish_log(axes, one, "median flux (electrons)", "scatter (%)" if index == 0 else "")
    return figure


def signal_to_noise_figure(stars: Sequence[StarScatter], title: str = "") -> Figure:
    """Signal to noise of one exposure of every star, expected from the errors and reached over comparison stars."""
    figure, panels = _panels(len(stars), title)
    if panels is None:
        return empty_figure(figure, "no star was measured often enough")
    for index, (axes, one) in enumerate(zip(panels, stars, strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        with np.errstate(divide="ignore", invalid="ignore"):
            expected, reached = 1.0 / one.expected, 1.0 / one.relative
        axes.plot(one.flux_e, expected, "_", color="#222222", markersize=9, label="from the errors")
        axes.plot(one.flux_e, reached, "o", color=colour, markersize=4.5, label="reached, median over scatter")
        flux = np.sort(one.flux_e[np.isfinite(one.flux_e) & (one.flux_e > 0.0)])
        axes.plot(flux, np.sqrt(flux), ":", color="#777777", linewidth=1.0, label="photons alone")
        _mark_target(axes, one, reached)
        _finish_log(axes, one, "median flux (electrons)", "signal to noise of one exposure" if index == 0 else "")
    return figure


def noise_budget_figure(stars: Sequence[StarScatter], curves: Sequence[Sequence[Curve]], title: str = "") -> Figure:
    """What the scatter is made of: lines for each part and their sum, points for what was measured."""
    figure, panels = _panels(len(stars), title)
    if panels is None:
        return empty_figure(figure, "no star was measured often enough")
    for index, (axes, one, lines) in enumerate(zip(panels, stars, curves, strict=True)):
        for line in lines:
            axes.plot(line.x, 100.0 * line.y, line.style, color=line.colour, linewidth=1.2, label=line.name)
        axes.plot(
            one.flux_e,
            100.0 * one.relative,
            "o",
            color="#222222",
            markersize=4,
            label="measured, over comparison stars",
        )
        _mark_target(axes, one, 100.0 * one.relative)
        _finish_log(axes, one, "median flux (electrons)", "noise of one exposure (%)" if index == 0 else "")
    return figure


def growth_figure(lines: Sequence[GrowthLine], title: str = "") -> Figure:
    """Curves of growth of the bright stars of each key, with their errors from star to star."""
    figure = Figure(figsize=(6.5, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    if not lines:
        return empty_figure(figure, "no star has flux in all apertures")
    axes = figure.add_subplot()
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        name = f"{line.key}    {line.n_stars} star{'s' if line.n_stars != 1 else ''}"
        error = np.nan_to_num(line.fraction_err)
        axes.fill_between(line.radius_fwhm, line.fraction - error, line.fraction + error, color=colour, alpha=0.2, lw=0)
        axes.plot(line.radius_fwhm, line.fraction, "o-", color=colour, markersize=4, linewidth=1.2, label=name)
    axes.axhline(1.0, color="#777777", linewidth=0.8, linestyle="--")
    axes.set_xlabel("radius of the aperture (FWHM)")
    axes.set_ylabel("flux over that of the largest aperture")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    grid(axes)
    return figure


def _panels(n_panels: int, title: str) -> tuple[Figure, list[Axes] | None]:
    figure = Figure(figsize=(max(6.0, 4.4 * n_panels), 4.8), layout="constrained")
    figure.suptitle(title, fontsize=11)
    if not n_panels:
        return figure, None
    return figure, list(np.atleast_1d(figure.subplots(1, n_panels, sharey=True)))


def _mark_target(axes: Axes, stars: StarScatter, values: FloatArray) -> None:
    if stars.target and np.isfinite(values[stars.target - 1]):
        place = (stars.flux_e[stars.target - 1], values[stars.target - 1])
        axes.plot(*place, "o", color=_TARGET_COLOUR, markersize=6, label="target")
    if len(values) > _MOST_NUMBERED:
        return
    for number in (np.flatnonzero(np.isfinite(values)) + 1).tolist():
        axes.annotate(
            str(number),
            (stars.flux_e[number - 1], values[number - 1]),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
            color="#555555",
        )


def _finish_log(axes: Axes, stars: StarScatter, x_label: str, y_label: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        _plain_numbers(axis, float(np.log10(high / low)))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(stars.key, loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=7)
    grid(axes)


def _plain_numbers(axis: Axis, n_decades: float) -> None:
    """Label 1, 2 and 5 of few decades, 1 and 3 of some, 1 of many, as plain numbers."""
    some = (1.0, 3.0) if n_decades < _SOME_DECADES else (1.0,)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if n_decades < _FEW_DECADES else some))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_formatter(NullFormatter())
