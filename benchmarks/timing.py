"""``python -m benchmarks.timing``: power spectra of growing light curves beside astropy's default, in one run.

Three keys of 20,000 points. *rolling* is a refresh after some new points (`stream.analysis.rolling`), *whole* a
transform of all of them (`stream.analysis.periodogram`), *astropy* what ``LombScargle`` chooses by itself on as fine a
grid.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.timeseries import LombScargle
from rich.console import Console
from rich.table import Table

from stream.analysis.periodogram import lomb_scargle
from stream.analysis.rolling import RollingSpectrum
from stream.analysis.series import TimeSeries

N_KEYS, N_POINTS, N_NEW = 3, 20_000, 3
BUDGET_S = 0.050
_N_REFRESHES = 12
_FREQUENCY_HZ, _AMPLITUDE, _NOISE = 0.135, 0.028, 0.02


@dataclass(frozen=True, slots=True)
class Refresh:
    """Seconds of a core that one refresh of all keys takes: least and median of the run."""

    name: str
    least_s: float
    median_s: float


def made_light_curves(n_points: int, n_keys: int = N_KEYS) -> list[TimeSeries]:
    """One point a second, off by up to 0.2 s, a sinusoid in noise; fixed seeds."""
    series = []
    for seed in range(n_keys):
        random = np.random.default_rng(seed)
        moment = np.arange(n_points) + random.uniform(-0.2, 0.2, n_points)
        error = _NOISE * random.uniform(0.7, 1.3, n_points)
        flux = 1.0 + _AMPLITUDE * np.sin(2.0 * np.pi * _FREQUENCY_HZ * moment) + error * random.normal(size=n_points)
        series.append(TimeSeries(moment, flux, error))
    return series


def timed_refreshes(n_points: int = N_POINTS, n_refreshes: int = _N_REFRESHES) -> list[Refresh]:
    """Time a refresh of all keys in the three ways; each refresh brings three new points a key."""
    keys = made_light_curves(n_points + N_NEW * n_refreshes)
    spectra = [RollingSpectrum() for _ in keys]
    for spectrum, series in zip(spectra, keys, strict=True):
        spectrum.update(_first(series, n_points))

    def rolling(number: int) -> None:
        for spectrum, series in zip(spectra, keys, strict=True):
            spectrum.update(_first(series, n_points + N_NEW * (number + 1)))

    def whole(number: int) -> None:
        for series in keys:
            part = _first(series, n_points + N_NEW * (number + 1))
            lomb_scargle(part.time_s, part.flux, part.flux_err)

    def astropy(number: int) -> None:
        for series in keys:
            part = _first(series, n_points + N_NEW * (number + 1))
            LombScargle(part.time_s, part.flux, part.flux_err).autopower(nyquist_factor=1)

    lomb_scargle(keys[0].time_s[:100], keys[0].flux[:100], keys[0].flux_err[:100])  # imports are not counted
    LombScargle(keys[0].time_s[:100], keys[0].flux[:100], keys[0].flux_err[:100]).autopower()
    return [
        _timed("rolling", rolling, n_refreshes),
        _timed("whole", whole, n_refreshes),
        _timed("astropy", astropy, min(3, n_refreshes)),
    ]


def as_table(refreshes: list[Refresh], n_points: int = N_POINTS) -> Table:
    """Milliseconds a refresh, and how many times faster than astropy."""
    table = Table(title=f"{N_KEYS} keys of {n_points:,} points, {N_NEW} new ones each; budget {1e3 * BUDGET_S:.0f} ms")
    for column in ("method", "least ms", "median ms", "times astropy"):
        table.add_column(column, justify="left" if column == "method" else "right")
    reference = next(each for each in refreshes if each.name == "astropy")
    for each in refreshes:
        ratio = reference.least_s / each.least_s
        table.add_row(each.name, f"{1e3 * each.least_s:.1f}", f"{1e3 * each.median_s:.1f}", f"{ratio:.1f}")
    return table


def _timed(name: str, refresh: Callable[[int], None], n_refreshes: int) -> Refresh:
    seconds = []
    for number in range(n_refreshes):
        start = time.process_time()
        refresh(number)
        seconds.append(time.process_time() - start)
    return Refresh(name, min(seconds), float(np.median(seconds)))


def _first(series: TimeSeries, n_points: int) -> TimeSeries:
    return TimeSeries(series.time_s[:n_points], series.flux[:n_points], series.flux_err[:n_points])


if __name__ == "__main__":
    Console().print(as_table(timed_refreshes()))
