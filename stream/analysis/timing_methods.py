"""What can be computed of the light curves of several keys together; `stream.analysis.analyzer` adds the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from stream.analysis import library_objects as objects
from stream.analysis.averaged_spectra import AveragedPower, Averaging, averaged_power_spectrum, rebinned
from stream.analysis.cross_correlation import CrossCorrelation, Lags, cross_correlation
from stream.analysis.cross_spectra import CrossSpectrum, cross_spectrum
from stream.analysis.dynamic_spectrum import DynamicSpectrum, Windows, dynamic_spectrum
from stream.analysis.folding import Ephemeris, PhaseBins, ephemeris_of_peak, phase_bin
from stream.analysis.good_times import even_light_curves
from stream.analysis.periodogram import (
    DEFAULT_SETTINGS,
    Normalisation,
    PowerSpectrum,
    SpectrumSettings,
    lomb_scargle,
)
from stream.analysis.relative import RelativeLightCurve
from stream.analysis.series import TimeSeries
from stream.analysis.significance import FalseAlarmLevel, WindowFunction, false_alarm_level, window_function
from stream.analysis.transit_fit import TransitFit, TransitGuess, fit_transit
from stream.errors import AnalysisError, ConfigurationError
from stream.flags import DOUBTFUL
from stream.messages import FloatArray
from stream.timestamps import SECONDS_PER_DAY

Result = TypeVar("Result")
Points = TypeVar("Points")


class TimingMethods:
    """Methods of timing; what they are computed of is in `light_curves`, which is never changed."""

    __slots__ = ()
    light_curves: Mapping[str, RelativeLightCurve]

    def origin_day(self) -> float:
        """Where the seconds of `series` count from: the first point of all keys, in the time scale of `series`."""
        return min((float(day[0]) for day in self._days().values() if len(day)), default=0.0)

    def series(self, *, exclude_flagged: bool = True) -> dict[str, TimeSeries]:
        """Return the light curves in seconds from one origin: the first point of all keys.

        Points whose flags throw doubt on them (`stream.flags.DOUBTFUL`) are left out unless asked for.
        """
        days, origin = self._days(), self.origin_day()
        series = {}
        for key, curve in self.light_curves.items():
            kept = (curve.flags & int(DOUBTFUL)) == 0 if exclude_flagged else np.ones(len(curve.flags), dtype=bool)
            seconds = (days[key][kept] - origin) * SECONDS_PER_DAY
            series[key] = TimeSeries(seconds, curve.flux[kept], curve.flux_err[kept])
        return series

    def lomb_scargle(
        self, *, exclude_flagged: bool = True, settings: SpectrumSettings = DEFAULT_SETTINGS
    ) -> dict[str, PowerSpectrum]:
        """Return the power spectrum of each key, see `stream.analysis.periodogram.lomb_scargle`.

        Raises
        ------
        AnalysisError
            If a light curve has too few points, or is constant; the sentence names its key. So do all methods below.
        """
        return self._by_key(
            lambda each: lomb_scargle(each.time_s, each.flux, each.flux_err, settings=settings),
            exclude_flagged=exclude_flagged,
        )

    def false_alarm_levels(
        self, probability: float = 0.01, *, settings: SpectrumSettings = DEFAULT_SETTINGS
    ) -> dict[str, FalseAlarmLevel]:
        """Return the power that white noise exceeds with a probability, see `stream.analysis.significance`."""

        def level(each: TimeSeries) -> FalseAlarmLevel:
            spectrum = lomb_scargle(each.time_s, each.flux, each.flux_err, settings=settings)
            return false_alarm_level(spectrum, each, probability)

        return self._by_key(level)

    def window_functions(self, *, settings: SpectrumSettings = DEFAULT_SETTINGS) -> dict[str, WindowFunction]:
        """Return the spectral window of the times of each key, see `stream.analysis.significance.window_function`."""
        return self._by_key(lambda each: window_function(each, settings=settings))

    def periodograms(self) -> dict[str, Any]:
        """Return an `astropy.timeseries.LombScargle` of each key, in seconds as `series`."""
        return {key: objects.astropy_periodogram(series) for key, series in self.series().items()}

    def time_series(self) -> dict[str, Any]:
        """Return the light curves as `astropy.timeseries.TimeSeries`."""
        return {key: objects.astropy_time_series(curve) for key, curve in self.light_curves.items()}

    def ephemeris(self, key: str | None = None) -> Ephemeris:
        """Return period and epoch of the highest peak of a key, the first by default, with their errors.

        Raises
        ------
        ConfigurationError
            If there is no such key.
        """
        chosen = self._known(key)
        return named(
            chosen,
            lambda each: ephemeris_of_peak(lomb_scargle(each.time_s, each.flux, each.flux_err), each),
            self.series()[chosen],
        )

    def phase_fold(self, ephemeris: Ephemeris | None = None) -> dict[str, Any]:
        """Return the light curves folded by `astropy.timeseries.TimeSeries.fold`, all points, phases 0 to 1.

        All keys are folded on one ephemeris: the one given, in the seconds of `series`, or that of the first key.
        """
        used = ephemeris if ephemeris is not None else self.ephemeris()
        scaled = {key: self._in_one_scale(curve) for key, curve in self.light_curves.items()}
        return {
            key: objects.folded_time_series(curve, used, origin_day=self.origin_day()) for key, curve in scaled.items()
        }

    def phase_bin(self, ephemeris: Ephemeris | None = None, *, n_bins: int = 20) -> dict[str, Any]:
        """Return the light curves in bins of phase, as `astropy.table.QTable`; see `phase_fold`."""
        return {key: objects.phase_bin_table(bins) for key, bins in self._phase_bins(ephemeris, n_bins).items()}

    def light_curve_objects(self, *, longest_fill: int = 1) -> dict[str, Any]:
        """Return a `stingray.Lightcurve` of each key: all on one grid, with the good-time intervals of all."""
        curves = even_light_curves(self.series(), longest_fill=longest_fill)
        return {key: objects.stingray_light_curve(curves, key) for key in self.light_curves}

    def power_spectra(self, normalisation: Normalisation = Normalisation.FRACTIONAL) -> dict[str, Any]:
        """Return the `stingray.Powerspectrum` of the longest stretch of each key that has no gap."""
        return self._by_key(
            lambda each: objects.stingray_power_spectrum(
                even_light_curves({"flux": each}), "flux", normalisation=normalisation
            )
        )

    def averaged_powers(self, settings: Averaging, *, growth: float = 0.0) -> dict[str, AveragedPower]:
        """Return averaged power spectra with errors, see `stream.analysis.averaged_spectra.averaged_power_spectrum`.

        With a `growth` above 0 frequencies are averaged in bins that grow by it, see `rebinned` there.
        """
        found: dict[str, AveragedPower] = self._by_key(lambda each: averaged_power_spectrum(each, settings))
        return {key: rebinned(each, growth) for key, each in found.items()} if growth else found

    def averaged_power_spectra(self, settings: Averaging) -> dict[str, Any]:
        """Return the `stingray.AveragedPowerspectrum` of each key."""
        return self._by_key(
            lambda each: objects.stingray_averaged_power_spectrum(
                even_light_curves({"flux": each}, longest_fill=settings.longest_fill), "flux", settings=settings
            )
        )

    def dynamic_power_spectra(self, settings: Averaging) -> dict[str, Any]:
        """Return the `stingray.DynamicalPowerspectrum` of each key; `dynamic_spectra` has windows that overlap."""
        return self._by_key(
            lambda each: objects.stingray_dynamic_power_spectrum(
                even_light_curves({"flux": each}, longest_fill=settings.longest_fill), "flux", settings=settings
            )
        )

    def cross_spectra(self, settings: Averaging, *, reference: str | None = None) -> dict[tuple[str, str], Any]:
        """Return the `stingray.AveragedCrossspectrum` of each key with the reference, the first key by default.

        Entries are named (reference, key); a positive lag says that the key is late.
        """
        return self._by_pair(
            reference,
            lambda pair, series: objects.stingray_cross_spectrum(
                even_light_curves(dict(zip(pair, series, strict=True)), longest_fill=settings.longest_fill),
                pair,
                series,
                settings=settings,
            ),
        )

    def lags(self, settings: Averaging, *, reference: str | None = None) -> dict[tuple[str, str], CrossSpectrum]:
        """Return lags and coherences with their errors, see `stream.analysis.cross_spectra.cross_spectrum`."""
        return self._by_pair(reference, lambda _, series: cross_spectrum(series[0], series[1], settings))

    def cross_correlations(
        self, settings: Lags, *, reference: str | None = None
    ) -> dict[tuple[str, str], CrossCorrelation]:
        """Return correlations against lag, see `stream.analysis.cross_correlation`: times may be uneven."""
        return self._by_pair(reference, lambda _, series: cross_correlation(series[0], series[1], settings))

    def dynamic_spectra(self, settings: Windows) -> dict[str, DynamicSpectrum]:
        """Return power against time and frequency, see `stream.analysis.dynamic_spectrum`."""
        return self._by_key(lambda each: dynamic_spectrum(each, settings))

    def transits(self, guess: TransitGuess | None = None) -> dict[str, TransitFit]:
        """Return the quick-look transit fit of each key, see `stream.analysis.transit_fit`."""
        return {key: fit for key, (_, fit) in self._transits(guess).items()}

    def _days(self) -> dict[str, FloatArray]:
        # Barycentric and other times differ by minutes: one scale for all, or phases between keys mean nothing.
        return {
            key: curve.time_bmjd_tdb if self._is_barycentric() else curve.time_mjd_utc
            for key, curve in self.light_curves.items()
        }

    def _is_barycentric(self) -> bool:
        return all(curve.time_scale() == "time_bmjd_tdb" for curve in self.light_curves.values())

    def _in_one_scale(self, curve: RelativeLightCurve) -> RelativeLightCurve:
        return curve if self._is_barycentric() else replace(curve, time_bmjd_tdb=np.full(len(curve.flux), np.nan))

    def _by_key(self, compute: Callable[[TimeSeries], Result], *, exclude_flagged: bool = True) -> dict[str, Result]:
        found = {}
        for key, series in self.series(exclude_flagged=exclude_flagged).items():
            found[key] = named(key, compute, series)
        return found

    def _known(self, key: str | None) -> str:
        if key is None and self.light_curves:
            return next(iter(self.light_curves))
        if key not in self.light_curves:
            raise ConfigurationError(f"key {key!r} must be one of {', '.join(self.light_curves) or 'none'}")
        return str(key)

    def _by_pair(
        self,
        reference: str | None,
        compute: Callable[[tuple[str, str], tuple[TimeSeries, TimeSeries]], Result],
    ) -> dict[tuple[str, str], Result]:
        first = self._known(reference)
        if len(self.light_curves) < 2:
            raise ConfigurationError(f"a lag needs at least two keys, but {first} is the only one")
        series = self.series()
        found = {}
        for key in self.light_curves:
            if key != first:
                both = (series[first], series[key])
                found[first, key] = named(f"{first} and {key}", partial(compute, (first, key)), both)
        return found

    def _phase_bins(self, ephemeris: Ephemeris | None, n_bins: int) -> dict[str, PhaseBins]:
        used = ephemeris if ephemeris is not None else self.ephemeris()
        return self._by_key(lambda each: phase_bin(each, used, n_bins=n_bins))

    def _transits(self, guess: TransitGuess | None) -> dict[str, tuple[TimeSeries, TransitFit]]:
        found = {}
        for key, series in self.series().items():
            curve = self.light_curves[key]
            airmass = curve.airmass[(curve.flags & int(DOUBTFUL)) == 0]
            found[key] = (series, named(key, partial(fit_transit, airmass=airmass, guess=guess), series))
        return found


def named(key: str, compute: Callable[[Points], Result], points: Points) -> Result:
    """Compute something of the points of a key; an error names the key."""
    try:
        return compute(points)
    except AnalysisError as error:
        raise AnalysisError(f"light curve of {key}: {error}") from error
