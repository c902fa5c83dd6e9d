"""Light curves and their spectra as objects of astropy and stingray, for whoever goes on with them in a notebook.

The numbers are those of this program's own functions; the objects bring the methods of their libraries.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from stream.analysis.averaged_spectra import Averaging, checked_segment_s
from stream.analysis.cross_spectra import cross_spectrum
from stream.analysis.folding import Ephemeris, PhaseBins
from stream.analysis.good_times import EvenLightCurves
from stream.analysis.periodogram import Normalisation
from stream.analysis.relative import RelativeLightCurve
from stream.analysis.series import TimeSeries
from stream.timestamps import SECONDS_PER_DAY

_STINGRAY_NORMS = {Normalisation.FRACTIONAL: "frac", Normalisation.ABSOLUTE: "abs", Normalisation.LEAHY: "leahy"}


def astropy_time_series(curve: RelativeLightCurve) -> Any:
    """Return an `astropy.timeseries.TimeSeries` with ``flux``, ``flux_err``, ``flags`` and ``airmass``.

    Times are in the scale of `RelativeLightCurve.time_scale`: TDB at the barycentre, or UTC.
    """
    from astropy.time import Time
    from astropy.timeseries import TimeSeries as AstropyTimeSeries

    scale = "tdb" if curve.time_scale() == "time_bmjd_tdb" else "utc"
    return AstropyTimeSeries(
        time=Time(curve.time(), format="mjd", scale=scale),
        data={"flux": curve.flux, "flux_err": curve.flux_err, "flags": curve.flags, "airmass": curve.airmass},
        meta={"key": curve.key, "photometer": curve.label, "target": curve.target, "time_scale": curve.time_scale()},
    )


def folded_time_series(curve: RelativeLightCurve, ephemeris: Ephemeris, *, origin_day: float) -> Any:
    """Return the light curve folded by astropy, phases 0 to 1; `origin_day` is where seconds count from."""
    from astropy import units
    from astropy.time import Time

    unfolded = astropy_time_series(curve)
    epoch = Time(origin_day, ephemeris.epoch_s / SECONDS_PER_DAY, format="mjd", scale=unfolded.time.scale)
    folded = unfolded.fold(
        period=ephemeris.period_s * units.s, epoch_time=epoch, normalize_phase=True, wrap_phase=1.0 * units.one
    )
    folded.sort("time")
    return folded


def phase_bin_table(bins: PhaseBins) -> Any:
    """Return the bins as an `astropy.table.QTable` with period and epoch in its ``meta``."""
    from astropy import units
    from astropy.table import QTable

    names = ("phase", "flux", "flux_err", "scatter_err", "n_points")
    ephemeris = bins.ephemeris
    return QTable(
        [getattr(bins, name) for name in names],
        names=names,
        meta={
            "period": ephemeris.period_s * units.s,
            "period_err": ephemeris.period_err_s * units.s,
            "epoch": ephemeris.epoch_s * units.s,
        },
    )


def astropy_periodogram(series: TimeSeries) -> Any:
    """Return the `astropy.timeseries.LombScargle` of the measured points: floating mean, errors."""
    from astropy.timeseries import LombScargle

    good = np.isfinite(series.time_s) & np.isfinite(series.flux) & (series.flux_err > 0.0)
    return LombScargle(series.time_s[good], series.flux[good], series.flux_err[good])


def stingray_light_curve(curves: EvenLightCurves, key: str) -> Any:
    """Return a `stingray.Lightcurve` of one key: the good cells, their intervals, Gaussian errors."""
    with stingray_quiet():
        from stingray import Lightcurve

        return Lightcurve(
            curves.time_s[curves.good],
            curves.flux[key][curves.good],
            err=curves.flux_err[key][curves.good],
            err_dist="gauss",
            gti=curves.intervals_s,
            dt=curves.cadence_s,
            skip_checks=True,
        )


def stingray_power_spectrum(curves: EvenLightCurves, key: str, *, normalisation: Normalisation) -> Any:
    """Return the `stingray.Powerspectrum` of the longest stretch without a gap."""
    with stingray_quiet():
        from stingray import Powerspectrum

        first, last = curves.intervals_s[int(np.diff(curves.intervals_s, axis=1).argmax())]
        stretch = stingray_light_curve(curves, key).truncate(start=first, stop=last, method="time")
        return Powerspectrum.from_lightcurve(stretch, norm=_STINGRAY_NORMS[normalisation], silent=True)


def stingray_averaged_power_spectrum(curves: EvenLightCurves, key: str, *, settings: Averaging) -> Any:
    """Return the `stingray.AveragedPowerspectrum` of the segments that `averaged_power_spectrum` averages."""
    segment_s = checked_segment_s(curves, settings)
    with stingray_quiet():
        from stingray import AveragedPowerspectrum

        return AveragedPowerspectrum.from_lightcurve(
            stingray_light_curve(curves, key),
            segment_size=segment_s,
            norm=_STINGRAY_NORMS[settings.normalisation],
            silent=True,
        )


def stingray_dynamic_power_spectrum(curves: EvenLightCurves, key: str, *, settings: Averaging) -> Any:
    """Return the `stingray.DynamicalPowerspectrum` of the segments, one beside the other."""
    segment_s = checked_segment_s(curves, settings)
    with stingray_quiet():
        from stingray import DynamicalPowerspectrum

        return DynamicalPowerspectrum(
            stingray_light_curve(curves, key), segment_size=segment_s, norm=_STINGRAY_NORMS[settings.normalisation]
        )


def stingray_cross_spectrum(
    curves: EvenLightCurves, keys: tuple[str, str], series: tuple[TimeSeries, TimeSeries], *, settings: Averaging
) -> Any:
    """Return the `stingray.AveragedCrossspectrum` of two keys; its lags are positive where the second key is late.

    Phases hold the constant offset between the times of both keys, which the grid does not, and the errors of the
    lags are those of `cross_spectrum`: stingray's own take the noise for that of counted photons.
    """
    first, second = keys
    own = cross_spectrum(*series, settings)
    with stingray_quiet():
        from stingray import AveragedCrossspectrum

        found = AveragedCrossspectrum.from_lightcurve(
            stingray_light_curve(curves, second),
            stingray_light_curve(curves, first),
            segment_size=own.segment_s,
            norm=_STINGRAY_NORMS[settings.normalisation],
            silent=True,
        )
    turn = np.exp(2.0j * math.pi * found.freq * (curves.offset_s[second] - curves.offset_s[first]))
    found.power, found.unnorm_power = found.power * turn, found.unnorm_power * turn
    found.lag_err = own.phase_lag_err_rad
    return found


@contextmanager
def stingray_quiet() -> Iterator[None]:
    """Silence warnings of stingray that are for counts of photons, or about packages that it would like to have."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")
        yield
