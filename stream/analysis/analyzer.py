"""Relative light curves of one target in several keys, together: joined, rebinned, drawn, transformed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.analysis.periodogram import PowerSpectrum, lomb_scargle
from stream.analysis.relative import RelativeLightCurve
from stream.analysis.series import TimeSeries
from stream.errors import AnalysisError, ConfigurationError
from stream.flags import DOUBTFUL
from stream.messages import FloatArray
from stream.notebook import SavableFigure, say, show_figure
from stream.timestamps import SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class Analyzer:
    """Relative light curves by key; nothing of it is ever changed, each method returns something new.

    Attributes
    ----------
    out_directory : Path
        Folder of the reduction; figures go to ``plots/`` in it.
    prefix : str
        Begin of the names of files, usually the name of the target.
    phot_label : str
        Photometer that the light curves are from.
    light_curves : dict
        `RelativeLightCurve` by key.
    """

    out_directory: Path
    prefix: str
    phot_label: str
    light_curves: Mapping[str, RelativeLightCurve]

    def join(self, other: Analyzer) -> Analyzer:
        """Return one analyzer with the keys of both.

        Raises
        ------
        ConfigurationError
            If both have a light curve of the same key, or they are from different photometers.
        """
        if other.phot_label != self.phot_label:
            raise ConfigurationError(
                f"light curves of photometer {self.phot_label} and {other.phot_label} cannot be joined: "
                "one photometer is required"
            )
        twice = sorted(self.light_curves.keys() & other.light_curves.keys())
        if twice:
            raise ConfigurationError(
                f"both analyzers have a light curve of {', '.join(twice)}: each key is allowed once"
            )
        return replace(self, light_curves=dict(sorted({**self.light_curves, **other.light_curves}.items())))

    def rebin(self, width_s: float) -> Analyzer:
        """Return the light curves in bins of `width_s` seconds, counted from the first point of all keys.

        A bin is the mean weighted by 1/error^2 of its points, at their mean time; its error is that of the weights.
        Points without a flux are left out, and so are flagged ones unless a bin has no others; its flags are those of
        the points in it joined. A bin without points is absent.

        Raises
        ------
        ConfigurationError
            If `width_s` is not a number greater than 0.
        """
        if not 0.0 < width_s < np.inf:
            raise ConfigurationError(f"width_s ({width_s}) must be greater than 0")
        starts = [curve.time_mjd_utc[0] for curve in self.light_curves.values() if len(curve.time_mjd_utc)]
        origin = min(starts, default=0.0)
        binned = {key: _rebinned(curve, origin, width_s) for key, curve in self.light_curves.items()}
        return replace(self, light_curves=binned)

    def series(self, *, exclude_flagged: bool = True) -> dict[str, TimeSeries]:
        """Return the light curves in seconds from one origin: the first point of all keys.

        Points whose flags throw doubt on them (`stream.flags.DOUBTFUL`) are left out unless asked for.
        """
        # Barycentric and other times differ by minutes: one scale for all, or phases between keys mean nothing.
        curves = self.light_curves.values()
        barycentric = all(curve.time_scale() == "time_bmjd_tdb" for curve in curves)
        days = {
            key: curve.time_bmjd_tdb if barycentric else curve.time_mjd_utc for key, curve in self.light_curves.items()
        }
        origin = min((float(day[0]) for day in days.values() if len(day)), default=0.0)
        series = {}
        for key, curve in self.light_curves.items():
            kept = (curve.flags & int(DOUBTFUL)) == 0 if exclude_flagged else np.ones(len(curve.flags), dtype=bool)
            seconds = (days[key][kept] - origin) * SECONDS_PER_DAY
            series[key] = TimeSeries(seconds, curve.flux[kept], curve.flux_err[kept])
        return series

    def lomb_scargle(self, *, exclude_flagged: bool = True) -> dict[str, PowerSpectrum]:
        """Return the power spectrum of each key, see `stream.analysis.periodogram.lomb_scargle`.

        Raises
        ------
        AnalysisError
            If a light curve has too few points, or is constant; the sentence names its key.
        """
        spectra = {}
        for key, series in self.series(exclude_flagged=exclude_flagged).items():
            try:
                spectra[key] = lomb_scargle(series.time_s, series.flux, series.flux_err)
            except AnalysisError as error:
                raise AnalysisError(f"light curve of {key}: {error}") from error
        return spectra

    def plot(self, title: str | None = None, *, show: bool = True) -> SavableFigure:
        """Draw the light curves, one panel a key, into ``plots/<prefix>_<label>_light_curves.pdf``."""
        from stream.plots import light_curves_figure

        figure = light_curves_figure(list(self.light_curves.values()), self._title(title))
        return self._save(figure, "light_curves", show)

    def plot_power_spectra(self, title: str | None = None, *, show: bool = True) -> SavableFigure:
        """Draw the power spectra of `lomb_scargle` into ``plots/<prefix>_<label>_power_spectra.pdf``."""
        from stream.plots import power_spectra_figure

        figure = power_spectra_figure(self.lomb_scargle(), self._title(title))
        return self._save(figure, "power_spectra", show)

    def _title(self, title: str | None) -> str:
        return title if title is not None else f"{self.prefix}  {self.phot_label}".strip()

    def _save(self, figure: Any, name: str, show: bool) -> SavableFigure:
        # Any: matplotlib's types are for stream.plots alone.
        from stream.plots import save_figure

        path = self.out_directory / "plots" / f"{self.prefix}{'_' if self.prefix else ''}{self.phot_label}_{name}.pdf"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
        say(f"Plot saved to {path}.")
        if show:
            show_figure(figure)
        return figure


def _rebinned(curve: RelativeLightCurve, origin_mjd: float, width_s: float) -> RelativeLightCurve:
    numbers = np.floor((curve.time_mjd_utc - origin_mjd) * SECONDS_PER_DAY / width_s).astype(np.int64)
    used = np.isfinite(curve.flux) & np.isfinite(curve.flux_err) & (curve.flux_err > 0.0)
    good = used & ((curve.flags & int(DOUBTFUL)) == 0)
    used &= good | ~np.isin(numbers, numbers[good])
    bins, place = np.unique(numbers[used], return_inverse=True)
    weights = 1.0 / curve.flux_err[used] ** 2
    total = np.bincount(place, weights, minlength=len(bins))

    def mean(values: FloatArray, by: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(place, by * values[used], len(bins)) / np.bincount(place, by, len(bins)))

    even = np.ones(len(place))
    first = np.searchsorted(numbers[used], bins)
    return replace(
        curve,
        time_mjd_utc=mean(curve.time_mjd_utc, even),
        time_bmjd_tdb=mean(curve.time_bmjd_tdb, even),
        flux=mean(curve.flux, weights),
        flux_err=1.0 / np.sqrt(total),
        flags=_reduced(np.bitwise_or, curve.flags[used], first),
        frame_ids=curve.frame_ids[used][first],
        transparency=mean(curve.transparency, even),
        airmass=mean(curve.airmass, even),
        n_comparisons=_reduced(np.minimum, curve.n_comparisons[used], first),
    )


def _reduced(function: np.ufunc, values: NDArray[np.int64], first: NDArray[np.intp]) -> NDArray[np.int64]:
    """Join the values of each bin; `reduceat` refuses an empty list."""
    return np.asarray(function.reduceat(values, first)) if len(first) else values[:0]
