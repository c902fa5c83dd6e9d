"""Light curves that grow: the last minutes or the whole night, and power spectra that are brought up to date.

A point that arrives late lands where its time belongs: the order of arrival leaves no trace.
"""

from __future__ import annotations

import math

import numpy as np

from stream.analysis.floating_mean import explained_variance, transformed_sums
from stream.analysis.periodogram import (
    DEFAULT_SETTINGS,
    Grid,
    PowerSpectrum,
    SpectrumSettings,
    frequency_grid,
    moments_of,
    power_per_variance,
    with_peak,
)
from stream.analysis.series import TimeSeries, check_variable, in_order, measured_points, median_cadence_s
from stream.analysis.sinusoid import FEWEST_POINTS
from stream.errors import ConfigurationError

_GROWTH = 1.25
"""The grid is made for a night that is longer than it is now, so that it stands for a while."""
_CADENCE_CHANGE = 0.02
_MOST_CHANGED = 0.02
"""From this share of changed points on a transform of all of them is faster."""
_FEWEST_CHANGED = 100
_MOST_UPDATES = 5_000
"""After so many points added and taken away the sums are made anew: rounding must not build up through a night."""


class RollingSeries:
    """The measured points of one light curve, in order of time, of the last so many seconds or all.

    Parameters
    ----------
    window_s : float or None
        Points older than the newest by more than that are forgotten; None: nothing is.

    Raises
    ------
    ConfigurationError
        If the window is not greater than 0.
    """

    def __init__(self, window_s: float | None = None) -> None:
        if window_s is not None and not 0.0 < window_s < math.inf:
            raise ConfigurationError(f"window_s ({window_s}) of a rolling light curve must be greater than 0")
        self.window_s = window_s
        self.series = TimeSeries(np.empty(0), np.empty(0), np.empty(0))

    def add(self, points: TimeSeries) -> None:
        """Put points where their times belong; points that are not measured are left out.

        Raises
        ------
        AnalysisError
            If the columns are not as long as each other.
        """
        new = measured_points(in_order(points), "a rolling light curve", fewest=0)
        joined = TimeSeries(
            np.concatenate([self.series.time_s, new.time_s]),
            np.concatenate([self.series.flux, new.flux]),
            np.concatenate([self.series.flux_err, new.flux_err]),
        )
        ordered = in_order(joined)
        if self.window_s is not None and len(ordered.time_s):
            first = int(np.searchsorted(ordered.time_s, ordered.time_s[-1] - self.window_s, side="left"))
            ordered = TimeSeries(ordered.time_s[first:], ordered.flux[first:], ordered.flux_err[first:])
        self.series = ordered


class RollingSpectrum:
    """Power spectrum of a light curve that grows, from sums over its points that are kept.

    The floating-mean power needs ``sum w e``, ``sum w y e`` and ``sum w e^2`` with ``e = exp(2 pi i f t)`` and
    ``w = 1/err^2`` alone (Zechmeister & Kuerster 2009, eq. 4 to 15). A point that comes adds its terms to them, one
    that falls out of the window takes them away, instead of a transform of all points. The sums are made anew when the
    grid no longer fits the span or the cadence, and now and then against rounding. The grid is that of `lomb_scargle`
    for a span of up to 1.25 times the present one, so that peaks are sampled at least as finely as the settings say.

    Parameters
    ----------
    settings : SpectrumSettings
    """

    def __init__(self, settings: SpectrumSettings = DEFAULT_SETTINGS) -> None:
        self._settings = settings
        self._grid: Grid | None = None
        self._cadence_s = 0.0
        self._origin_s = 0.0
        self._level = 0.0
        self._points = TimeSeries(np.empty(0), np.empty(0), np.empty(0))
        self._sums = np.zeros((3, 0), dtype=np.complex128)
        self._n_updates = 0

    def update(self, series: TimeSeries) -> PowerSpectrum:
        """Return the power spectrum of a light curve, which may be any, but is cheap if it has changed little.

        Parameters
        ----------
        series : TimeSeries
            The whole of it, seconds, ascending, as `RollingSeries` keeps it.

        Raises
        ------
        AnalysisError
            As `lomb_scargle`.
        """
        good = measured_points(series, "a power spectrum", fewest=FEWEST_POINTS)
        good = in_order(good)
        moments = moments_of(good)
        scale = power_per_variance(moments, self._settings.normalisation)
        check_variable(good.flux, "power spectrum")
        self._bring_up_to_date(good)
        if self._grid is None:  # for the type checker: it was made above
            raise ConfigurationError("a rolling spectrum needs a grid")
        explained = explained_variance(self._sums, moments.total_weight, moments.mean - self._level)
        from_zero = TimeSeries(good.time_s - good.time_s[0], good.flux, good.flux_err)
        return with_peak(
            from_zero,
            moments,
            grid=self._grid,
            explained=np.minimum(explained, moments.variance),
            scale=(self._settings.normalisation, scale),
        )

    def _bring_up_to_date(self, good: TimeSeries) -> None:
        cadence, span = median_cadence_s(good.time_s), float(good.time_s[-1] - good.time_s[0])
        fitting = frequency_grid(span, cadence, settings=self._settings)
        added, gone = _difference(good, self._points)
        n_changed = len(added.time_s) + len(gone.time_s)
        if (
            self._grid is None
            or not fitting.step_hz / _GROWTH**1.01 <= self._grid.step_hz <= fitting.step_hz * (1.0 + 1e-9)
            or abs(cadence / self._cadence_s - 1.0) > _CADENCE_CHANGE
            or n_changed > max(_FEWEST_CHANGED, _MOST_CHANGED * len(good.time_s))
            or self._n_updates + n_changed > _MOST_UPDATES
        ):
            self._start_anew(good, cadence, span)
        else:
            self._sums += self._terms(added) - self._terms(gone)
            self._n_updates += n_changed
        self._points = good

    def _start_anew(self, good: TimeSeries, cadence: float, span: float) -> None:
        fitting = frequency_grid(span, cadence, settings=self._settings)
        grid = frequency_grid(span * _GROWTH, cadence, settings=self._settings)
        # As far up as the grid of the present span, which may be the only frequency of two cycles.
        highest = fitting.first_hz + fitting.step_hz * (fitting.n_frequencies - 1)
        n_frequencies = math.ceil((highest - grid.first_hz) / grid.step_hz - 1e-9) + 1
        self._grid = Grid(grid.first_hz, grid.step_hz, max(grid.n_frequencies, n_frequencies))
        self._cadence_s, self._n_updates = cadence, 0
        self._origin_s = float(good.time_s[0])
        self._level = float(np.average(good.flux, weights=good.flux_err**-2))
        self._sums = transformed_sums(good, self._origin_s, level=self._level, grid=self._grid)

    def _terms(self, points: TimeSeries) -> np.ndarray:
        """Terms of some points, each frequency from the product of a coarse and a fine step: few exponentials."""
        sums = np.zeros_like(self._sums)
        if self._grid is None or not len(points.time_s):
            return sums
        n_fine = max(1, math.isqrt(self._grid.n_frequencies))
        n_coarse = -(-self._grid.n_frequencies // n_fine)
        step, first = 2.0j * math.pi * self._grid.step_hz, 2.0j * math.pi * self._grid.first_hz
        time, weight = points.time_s[:, np.newaxis] - self._origin_s, points.flux_err[:, np.newaxis] ** -2
        fine = np.exp(step * time * np.arange(n_fine))
        coarse = weight * np.exp(first * time + step * time * n_fine * np.arange(n_coarse))
        excess = points.flux[:, np.newaxis] - self._level
        products = (coarse.T @ fine, (excess * coarse).T @ fine, (coarse**2 / weight).T @ fine**2)
        for row, product in enumerate(products):
            sums[row] = product.ravel()[: self._grid.n_frequencies]
        return sums


def _difference(new: TimeSeries, old: TimeSeries) -> tuple[TimeSeries, TimeSeries]:
    """Points that came and points that went; both are in order.

    In a night that grows they are at the ends: what both have in common in the middle is found by its first and last
    time, and only where that is not all, by comparison of all points.
    """
    first_s, last_s = (new.time_s[0], new.time_s[-1]) if len(new.time_s) else (math.inf, -math.inf)
    if len(old.time_s):
        first_s, last_s = max(first_s, old.time_s[0]), min(last_s, old.time_s[-1])
    common = [
        slice(int(np.searchsorted(each.time_s, first_s, "left")), int(np.searchsorted(each.time_s, last_s, "right")))
        for each in (new, old)
    ]
    inner = [_part(each, part) for each, part in zip((new, old), common, strict=True)]
    if _same(*inner):
        return _without(new, common[0]), _without(old, common[1])
    rows = [set(zip(each.time_s, each.flux, each.flux_err, strict=True)) for each in (new, old)]
    return _of_rows(rows[0] - rows[1]), _of_rows(rows[1] - rows[0])


def _same(first: TimeSeries, second: TimeSeries) -> bool:
    return (
        np.array_equal(first.time_s, second.time_s)
        and np.array_equal(first.flux, second.flux)
        and np.array_equal(first.flux_err, second.flux_err)
    )


def _part(series: TimeSeries, part: slice) -> TimeSeries:
    return TimeSeries(series.time_s[part], series.flux[part], series.flux_err[part])


def _without(series: TimeSeries, part: slice) -> TimeSeries:
    kept = np.ones(len(series.time_s), dtype=bool)
    kept[part] = False
    return TimeSeries(series.time_s[kept], series.flux[kept], series.flux_err[kept])


def _of_rows(rows: set[tuple[float, float, float]]) -> TimeSeries:
    columns = np.array(sorted(rows), dtype=np.float64).reshape(-1, 3)
    return TimeSeries(columns[:, 0], columns[:, 1], columns[:, 2])
