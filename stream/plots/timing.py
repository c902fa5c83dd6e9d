"""Figures of timing: folds, averaged spectra, lags, correlations, dynamic spectra, transits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stream.analysis.averaged_spectra import AveragedPower
from stream.analysis.cross_correlation import CrossCorrelation
from stream.analysis.cross_spectra import CrossSpectrum
from stream.analysis.dynamic_spectrum import DynamicSpectrum
from stream.analysis.folding import Ephemeris, PhaseBins
from stream.analysis.periodogram import Normalisation
from stream.analysis.series import TimeSeries
from stream.analysis.transit_fit import TransitFit
from stream.messages import FloatArray
from stream.plots.style import COLOURS, empty_figure, grid, time_unit

POWER_UNITS: Mapping[Normalisation, str] = {
    Normalisation.FRACTIONAL: "(rms/mean)² Hz⁻¹",
    Normalisation.ABSOLUTE: "rms² Hz⁻¹",
    Normalisation.LEAHY: "Leahy power",
}
_GREY = "#777777"


def folded_figure(bins: Mapping[str, PhaseBins], title: str = "") -> Figure:
    """Light curves in bins of phase, one panel a key, two cycles; bars are the errors of the weights."""
    figure, panels = _panels(len(bins), title, share_x=True)
    if not bins:
        return empty_figure(figure, "no light curve could be folded")
    for index, (axes, (key, each)) in enumerate(zip(panels, bins.items(), strict=True)):
        phase = np.concatenate([each.phase, each.phase + 1.0])
        axes.errorbar(
            phase, np.tile(each.flux, 2), yerr=np.tile(each.flux_err, 2), fmt="o", markersize=3, color=_colour(index)
        )
        ephemeris = each.ephemeris
        axes.set_title(f"{key}    period {_period(ephemeris)} s", loc="left", fontsize=9)
        axes.set_ylabel("relative flux")
        grid(axes)
    panels[-1].set_xlabel("phase (cycles)")
    return figure


def averaged_spectra_figure(spectra: Mapping[str, AveragedPower], title: str = "") -> Figure:
    """Averaged power spectra with errors, one panel a key; dashed: what the errors of the points would make."""
    figure, panels = _panels(len(spectra), title, share_x=True)
    if not spectra:
        return empty_figure(figure, "no power spectrum could be averaged")
    for index, (axes, (key, each)) in enumerate(zip(panels, spectra.items(), strict=True)):
        axes.errorbar(
            each.frequency_hz,
            each.power,
            yerr=np.minimum(each.power_err, 0.999 * each.power),
            fmt=".",
            markersize=3,
            elinewidth=0.5,
            color=_colour(index),
            drawstyle="steps-mid",
            linestyle="-",
            linewidth=0.6,
        )
        axes.axhline(each.noise_level, color=_GREY, linewidth=0.8, linestyle="--")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{key}    {each.sentence}", loc="left", fontsize=9)
        axes.set_ylabel(POWER_UNITS[each.normalisation])
        grid(axes)
    panels[-1].set_xlabel("frequency (Hz)")
    return figure


def lags_figure(spectra: Mapping[tuple[str, str], CrossSpectrum], title: str = "") -> Figure:
    """Phase lags and coherences against frequency, one row for each pair of keys."""
    figure = Figure(figsize=(9.0, 1.0 + 2.4 * max(1, len(spectra))), layout="constrained")
    figure.suptitle(title, fontsize=11)
    if not spectra:
        return empty_figure(figure, "a lag needs two keys")
    rows = np.atleast_2d(figure.subplots(len(spectra), 2, sharex=True))
    for index, ((first, second), each) in enumerate(spectra.items()):
        left, right = rows[index]
        known = each.phase_lag_err_rad < 0.5 * math.pi
        for axes, chosen, alpha in ((left, known, 1.0), (left, ~known, 0.25)):
            axes.errorbar(
                each.frequency_hz[chosen],
                each.phase_lag_rad[chosen],
                yerr=each.phase_lag_err_rad[chosen],
                fmt="o",
                markersize=3,
                elinewidth=0.7,
                color=_colour(index),
                alpha=alpha,
            )
        left.axhline(0.0, color=_GREY, linewidth=0.8)
        left.set_ylim(-1.1 * math.pi, 1.1 * math.pi)
        left.set_yticks([-math.pi, 0.0, math.pi], ["−π", "0", "π"])
        left.set_ylabel("phase lag (rad)")
        left.set_title(f"{second} behind {first}, positive: {second} is late", loc="left", fontsize=9)
        right.plot(each.frequency_hz, each.coherence, ".-", color=_colour(index), markersize=4, linewidth=0.6)
        right.set_ylim(-0.05, 1.05)
        right.set_ylabel("coherence, noise included")
        right.set_title(each.sentence, loc="left", fontsize=9)
        for axes in (left, right):
            grid(axes)
    for axes in rows[-1]:
        axes.set_xlabel("frequency (Hz)")
    return figure


def cross_correlations_figure(found: Mapping[tuple[str, str], CrossCorrelation], title: str = "") -> Figure:
    """Correlations against lag, one panel for each pair; the bands are the 68 and 95 % intervals of the centroid."""
    figure, panels = _panels(len(found), title, share_x=True)
    if not found:
        return empty_figure(figure, "a cross-correlation needs two keys")
    for index, (axes, ((first, second), each)) in enumerate(zip(panels, found.items(), strict=True)):
        axes.errorbar(
            each.lag_s,
            each.discrete,
            yerr=each.discrete_err,
            fmt=".",
            color=_GREY,
            markersize=4,
            elinewidth=0.6,
            label="discrete",
        )
        axes.plot(each.lag_s, each.interpolated, color=_colour(index), linewidth=1.2, label="interpolated")
        lag = f"{each.centroid_lag_s:.3g} s" if math.isfinite(each.centroid_lag_s) else each.sentence
        if each.n_trials:
            for low, high in ((each.centroid_low_s, each.centroid_high_s), each.centroid_95_s):
                axes.axvspan(low, high, color=_colour(index), alpha=0.15)
            lag += f" ({each.centroid_low_s:.3g} to {each.centroid_high_s:.3g}, {each.sentence})"
        axes.axvline(0.0, color=_GREY, linewidth=0.6)
        axes.set_title(f"{second} behind {first}: {lag}", loc="left", fontsize=9)
        axes.set_ylabel("correlation")
        axes.legend(fontsize=8, loc="best")
        grid(axes)
    panels[-1].set_xlabel("lag (s), positive: the second is late")
    return figure


def dynamic_spectra_figure(spectra: Mapping[str, DynamicSpectrum], title: str = "") -> Figure:
    """Power against time and frequency, one panel a key; empty windows are grey."""
    figure, panels = _panels(len(spectra), title, share_x=True)
    if not spectra:
        return empty_figure(figure, "no dynamic spectrum could be computed")
    unit, unit_s = time_unit(max(float(each.time_s[-1]) for each in spectra.values()))
    for axes, (key, each) in zip(panels, spectra.items(), strict=True):
        half = 0.5 * each.settings.step_s
        edges = np.concatenate([each.time_s - half, each.time_s[-1:] + half]) / unit_s
        step = 0.5 * float(each.frequency_hz[1] - each.frequency_hz[0])
        frequencies = np.concatenate([each.frequency_hz - step, each.frequency_hz[-1:] + step])
        axes.set_facecolor("#cccccc")
        measured = np.isfinite(each.power).any()
        top = float(np.nanpercentile(each.power, 99.8)) if measured else 1.0
        shown = np.ma.masked_invalid(np.sqrt(np.maximum(each.power.T, 0.0)))
        mesh = axes.pcolormesh(
            edges, frequencies, shown, vmin=0.0, vmax=math.sqrt(top), cmap="viridis", rasterized=True
        )
        bar = figure.colorbar(mesh, ax=axes, pad=0.01)
        bar.set_label(f"√ of {POWER_UNITS[each.settings.normalisation]}", fontsize=8)
        axes.set_title(
            f"{key}    windows of {each.settings.window_s:.4g} s every {each.settings.step_s:.4g} s",
            loc="left",
            fontsize=9,
        )
        axes.set_ylabel("frequency (Hz)")
    panels[-1].set_xlabel(f"{unit} since the first point")
    return figure


def transits_figure(fits: Mapping[str, tuple[TimeSeries, TransitFit]], title: str = "") -> Figure:
    """Light curves with the trapezoids that fit best, one panel a key."""
    figure, panels = _panels(len(fits), title, share_x=True)
    if not fits:
        return empty_figure(figure, "no transit could be fitted")
    unit, unit_s = time_unit(max(float(series.time_s[-1]) for series, _ in fits.values()))
    for index, (axes, (key, (series, fit))) in enumerate(zip(panels, fits.items(), strict=True)):
        _draw_transit(axes, series.time_s / unit_s, series, fit, colour=_colour(index))
        known = math.isfinite(fit.middle_err_s)
        middle = f"{fit.middle_s / unit_s:.5g} ± {fit.middle_err_s / unit_s:.1g} {unit}" if known else "not known yet"
        axes.set_title(
            f"{key}    depth {100 * fit.depth:.3g} ± {100 * fit.depth_err:.1g} %, mid-time {middle}; {fit.sentence}",
            loc="left",
            fontsize=8,
        )
    panels[-1].set_xlabel(f"{unit} since the first point")
    return figure


def _draw_transit(axes: Axes, time: FloatArray, series: TimeSeries, fit: TransitFit, *, colour: str) -> None:
    axes.errorbar(time, series.flux, yerr=series.flux_err, fmt="o", markersize=2.5, elinewidth=0.5, color=colour)
    measured = np.isfinite(fit.model)
    axes.plot(time[measured], fit.model[measured], color="#222222", linewidth=1.4, zorder=5)
    axes.set_ylabel("relative flux")
    grid(axes)


def _period(ephemeris: Ephemeris) -> str:
    """With two digits of its error, where it has one."""
    if not 0.0 < ephemeris.period_err_s < math.inf:
        return f"{ephemeris.period_s:.8g}"
    digits = max(0, 1 - math.floor(math.log10(ephemeris.period_err_s)))
    return f"{ephemeris.period_s:.{digits}f} ± {ephemeris.period_err_s:.{digits}f}"


def _panels(number: int, title: str, *, share_x: bool) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(9.0, 1.0 + 2.3 * max(1, number)), layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure, list(np.atleast_1d(figure.subplots(number, 1, sharex=share_x))) if number else []


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
