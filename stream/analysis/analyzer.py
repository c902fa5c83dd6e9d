"""Relative light curves of one target in several keys, together: joined, rebinned, drawn, transformed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.analysis.averaged_spectra import Averaging
from stream.analysis.cross_correlation import Lags
from stream.analysis.detrending import Detrending, detrend
from stream.analysis.dynamic_spectrum import Windows
from stream.analysis.folding import Ephemeris
from stream.analysis.relative import RelativeLightCurve
from stream.analysis.series import TimeSeries
from stream.analysis.timing_methods import TimingMethods, named
from stream.analysis.transit_fit import TransitGuess
from stream.errors import AnalysisError, ConfigurationError
from stream.flags import DOUBTFUL
from stream.messages import FloatArray
from stream.notebook import SavableFigure, say, show_figure
from stream.timestamps import SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class Analyzer(TimingMethods):
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
    done : tuple of str
        What was done to them, for the titles of figures: how they were detrended.
    """

    out_directory: Path
    prefix: str
    phot_label: str
    light_curves: Mapping[str, RelativeLightCurve]
    done: tuple[str, ...] = field(default=())

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
        done = tuple(dict.fromkeys((*self.done, *other.done)))
        return replace(self, light_curves=dict(sorted({**self.light_curves, **other.light_curves}.items())), done=done)

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

    def detrended(self, settings: Detrending) -> Analyzer:
        """Return the light curves without their trend; flagged points, and those without a flux, are left out.

        What was done stands in the titles of all figures made from it. See `stream.analysis.detrending.detrend`.

        Raises
        ------
        AnalysisError
            If a light curve cannot be detrended; the sentence names its key.
        """
        curves, done = {}, list(self.done)
        whole = self.series(exclude_flagged=False)
        for key, curve in self.light_curves.items():
            good = ((curve.flags & int(DOUBTFUL)) == 0) & np.isfinite(curve.flux) & (curve.flux_err > 0.0)
            kept = _points(curve, good)
            series = TimeSeries(whole[key].time_s[good], kept.flux, kept.flux_err)
            found = named(key, partial(detrend, settings=settings, airmass=kept.airmass), series)
            curves[key] = replace(_points(kept, found.used), flux=found.series.flux, flux_err=found.series.flux_err)
            done.append(f"{key}: {found.sentence}")
        return replace(self, light_curves=curves, done=tuple(done))

    def plot(self, title: str | None = None, *, show: bool = True) -> SavableFigure:
        """Draw the light curves, one panel a key, into ``plots/<prefix>_<label>_light_curves.pdf``."""
        from stream.plots import light_curves_figure

        figure = light_curves_figure(list(self.light_curves.values()), self._title(title))
        return self._save(figure, "light_curves", show)

    def plot_power_spectra(self, title: str | None = None, *, show: bool = True) -> SavableFigure:
        """Draw power spectra and 1 % false-alarm levels into ``plots/<prefix>_<label>_power_spectra.pdf``."""
        from stream.plots import power_spectra_figure

        spectra = self.lomb_scargle()
        try:
            levels = self.false_alarm_levels()
        except AnalysisError:  # a few points have a spectrum, but no level
            levels = {}
        figure = power_spectra_figure(spectra, self._title(title), levels=levels)
        return self._save(figure, "power_spectra", show)

    def plot_fold(
        self, ephemeris: Ephemeris | None = None, *, n_bins: int = 20, title: str | None = None, show: bool = True
    ) -> SavableFigure:
        """Draw the light curves in bins of phase into ``plots/<prefix>_<label>_folded.pdf``."""
        from stream.plots.timing import folded_figure

        return self._save(folded_figure(self._phase_bins(ephemeris, n_bins), self._title(title)), "folded", show)

    def plot_averaged_power_spectra(
        self, settings: Averaging, *, growth: float = 0.0, title: str | None = None, show: bool = True
    ) -> SavableFigure:
        """Draw the averaged power spectra into ``plots/<prefix>_<label>_averaged_power_spectra.pdf``.

        With a `growth` above 0 frequencies are averaged in bins that grow by it, see
        `stream.analysis.averaged_spectra.rebinned`.
        """
        from stream.plots.timing import averaged_spectra_figure

        spectra = self.averaged_powers(settings, growth=growth)
        return self._save(averaged_spectra_figure(spectra, self._title(title)), "averaged_power_spectra", show)

    def plot_lags(
        self, settings: Averaging, *, reference: str | None = None, title: str | None = None, show: bool = True
    ) -> SavableFigure:
        """Draw phase lags and coherences into ``plots/<prefix>_<label>_lags.pdf``."""
        from stream.plots.timing import lags_figure

        return self._save(lags_figure(self.lags(settings, reference=reference), self._title(title)), "lags", show)

    def plot_cross_correlations(
        self, settings: Lags, *, reference: str | None = None, title: str | None = None, show: bool = True
    ) -> SavableFigure:
        """Draw correlations against lag into ``plots/<prefix>_<label>_cross_correlations.pdf``."""
        from stream.plots.timing import cross_correlations_figure

        found = self.cross_correlations(settings, reference=reference)
        return self._save(cross_correlations_figure(found, self._title(title)), "cross_correlations", show)

    def plot_dynamic_spectra(self, settings: Windows, *, title: str | None = None, show: bool = True) -> SavableFigure:
        """Draw power against time and frequency into ``plots/<prefix>_<label>_dynamic_spectra.pdf``."""
        from stream.plots.timing import dynamic_spectra_figure

        figure = dynamic_spectra_figure(self.dynamic_spectra(settings), self._title(title))
        return self._save(figure, "dynamic_spectra", show)

    def plot_transits(
        self, guess: TransitGuess | None = None, *, title: str | None = None, show: bool = True
    ) -> SavableFigure:
        """Draw light curves and their trapezoids into ``plots/<prefix>_<label>_transits.pdf``."""
        from stream.plots.timing import transits_figure

        return self._save(transits_figure(self._transits(guess), self._title(title)), "transits", show)

    def _title(self, title: str | None) -> str:
        words = title if title is not None else f"{self.prefix}  {self.phot_label}".strip()
        return "\n".join((words, *self.done))

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


def _points(curve: RelativeLightCurve, kept: NDArray[np.bool_]) -> RelativeLightCurve:
    """Some points of a light curve."""
    names = ("time_mjd_utc", "time_bmjd_tdb", "flux", "flux_err", "flags", "frame_ids", "transparency")
    columns = {name: getattr(curve, name)[kept] for name in (*names, "n_comparisons", "airmass")}
    return replace(curve, **columns)


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
