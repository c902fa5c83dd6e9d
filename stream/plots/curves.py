"""Figures of light curves and power spectra."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stream.analysis.periodogram import PowerSpectrum
from stream.analysis.relative import RelativeLightCurve
from stream.analysis.significance import FalseAlarmLevel
from stream.flags import DOUBTFUL
from stream.messages import FloatArray, IntArray, SourceFluxes
from stream.plots.style import COLOURS, MOST_POINTS, empty_figure, grid, rgb, time_unit
from stream.timestamps import SECONDS_PER_DAY, mjd_to_iso

_UNITS_OF_FREQUENCY = (("Hz", 1.0), ("mHz", 1e3))
_LEAST_NUMBER = 0.1


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
        return empty_figure(figure, "no frame was measured")
    panels = np.atleast_1d(figure.subplots(len(curves), 1, sharex=True))
    days = fluxes.time()
    span_s = float(days[-1] - days[0]) * SECONDS_PER_DAY
    unit, unit_s = time_unit(span_s)
    for axes, (name, flux, flux_err, flags) in zip(panels, curves, strict=True):
        _draw_points(axes, _Points((days - days[0]) * SECONDS_PER_DAY / unit_s, flux, flux_err, flags), COLOURS[0])
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylabel("flux over median")
    panels[-1].set_xlabel(f"{unit} since {_instant(days[0], barycentric=fluxes.time_scale() == 'time_bmjd_tdb')}")
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
        return empty_figure(figure, "no light curve could be computed")
    barycentric = all(curve.time_scale() == "time_bmjd_tdb" for curve in curves)
    days = [curve.time_bmjd_tdb if barycentric else curve.time_mjd_utc for curve in curves]
    origin = min((float(day[0]) for day in days if len(day)), default=0.0)
    panels = np.atleast_1d(figure.subplots(len(curves), 1, sharex=True))
    span_s = (
        max((float(day[-1]) - origin) * SECONDS_PER_DAY for day in days if len(day)) if any(map(len, days)) else 0.0
    )
    unit, unit_s = time_unit(span_s)
    for index, (axes, curve, day) in enumerate(zip(panels, curves, days, strict=True)):
        _draw_light_curve(axes, curve, (day - origin) * SECONDS_PER_DAY / unit_s, COLOURS[index % len(COLOURS)])
    panels[-1].set_xlabel(f"{unit} since {_instant(origin, barycentric=barycentric)}")
    return figure


def power_spectra_figure(
    spectra: Mapping[str, PowerSpectrum], title: str = "", *, levels: Mapping[str, FalseAlarmLevel] | None = None
) -> Figure:
    """Power spectra by name, one panel each, both axes logarithmic, with the peak and the noise level of the errors.

    False-alarm levels, where they are given, are dotted, with their probability and method.
    """
    figure = Figure(figsize=(9.0, 1.0 + 2.1 * max(1, len(spectra))), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    if not spectra:
        return empty_figure(figure, "no power spectrum could be computed")
    panels = np.atleast_1d(figure.subplots(len(spectra), 1, sharex=True))
    for index, (axes, (name, spectrum)) in enumerate(zip(panels, spectra.items(), strict=True)):
        _draw_power_spectrum(axes, name, spectrum, COLOURS[index % len(COLOURS)])
        if levels is not None and name in levels:
            _draw_level(axes, levels[name])
    panels[-1].set_xlabel("frequency (Hz)")
    return figure


def _instant(day: float, *, barycentric: bool) -> str:
    return f"BMJD(TDB) {day:.6f}" if barycentric else f"{mjd_to_iso(day)} UTC (MJD {day:.6f})"


class _Points(NamedTuple):
    """Points of one panel."""

    time: FloatArray
    flux: FloatArray
    flux_err: FloatArray
    flags: IntArray


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
            ecolor=(*rgb(colour), 0.4),
            rasterized=int(measured.sum()) > MOST_POINTS,
        )
    if good.any():
        low, high = np.percentile(points.flux[good], [0.5, 99.5])
        margin = 0.25 * (high - low) + 2.0 * float(np.nanmedian(points.flux_err[good]))
        if math.isfinite(margin) and margin > 0.0:
            axes.set_ylim(low - margin, high + margin)
    grid(axes)


def _draw_power_spectrum(axes: Axes, name: str, spectrum: PowerSpectrum, colour: str) -> None:
    frequency, power = _thinned(spectrum.frequency_hz, spectrum.power)
    axes.plot(frequency, power, color=colour, linewidth=0.7)
    axes.axhline(spectrum.noise_level, color="#777777", linewidth=0.8, linestyle="--")
    axes.plot(spectrum.peak_frequency_hz, spectrum.peak_power, "v", color="#222222", markersize=5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(frequency[0], frequency[-1])
    positive = power[power > 0.0]
    top = max(spectrum.peak_power, spectrum.noise_level, float(positive.max(initial=0.0))) * 4.0
    if positive.size and top > 0.0:
        axes.set_ylim(min(spectrum.noise_level, float(np.median(positive))) / 30.0, top)
    at = _frequency(spectrum.peak_frequency_hz, spectrum.peak_frequency_err_hz)
    rms = _with_error(100.0 * spectrum.peak_rms, 100.0 * spectrum.peak_rms_err)
    axes.set_title(f"{name}    peak at {at}, rms {rms} %", loc="left", fontsize=9)
    axes.set_ylabel("(rms/mean)² Hz⁻¹")
    grid(axes)


def _frequency(hz: float, err_hz: float) -> str:
    """A frequency with its error, in the unit that spares zeros."""
    unit, scale = next(
        ((unit, scale) for unit, scale in _UNITS_OF_FREQUENCY if hz * scale >= _LEAST_NUMBER), ("µHz", 1e6)
    )
    return f"{_with_error(scale * hz, scale * err_hz)} {unit}"


def _with_error(value: float, error: float) -> str:
    """A number and its error, with as many digits as two of the error."""
    if not (math.isfinite(error) and error > 0.0):
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _draw_level(axes: Axes, level: FalseAlarmLevel) -> None:
    axes.axhline(level.power, color="#222222", linewidth=0.8, linestyle=":")
    axes.annotate(
        f"false alarms {100 * level.probability:g} %, {level.method}",
        (1.0, level.power),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
        fontsize=7,
    )


def _thinned(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest value of each of so many parts: peaks survive."""
    if len(x) <= MOST_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), MOST_POINTS // 2)
    kept = np.unique([index for part in parts for index in (part[y[part].argmin()], part[y[part].argmax()])])
    return x[kept], y[kept]
