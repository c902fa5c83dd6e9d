"""Light curves of one or more keys on one even grid, with the good-time intervals in which all of them are there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.analysis.series import TimeSeries, measured_points, median_cadence_s
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray, IntArray

BoolArray = NDArray[np.bool_]

_FEWEST_POINTS = 5
_MOST_CELLS = 4_000_000
_MOST_JITTER = 0.2
"""Scatter of the times around the grid, in cells; times that know no grid have 0.29."""
_SLOWEST_SAME_CADENCE = 0.75


@dataclass(frozen=True, slots=True)
class EvenLightCurves:
    """Light curves on one grid of times.

    Attributes
    ----------
    time_s : array, shape (n_cells,)
        Middles of the cells.
    cadence_s : float
    good : array of bool, shape (n_cells,)
        All keys have a flux there, measured or filled.
    intervals_s : array, shape (n_intervals, 2)
        Good-time intervals: edges of the first and the last cell of each.
    flux, flux_err : dict of array, shape (n_cells,), by key
        NaN where `good` is not. A cell with several points holds their weighted mean.
    offset_s : dict of float, by key
        Mean of the times of the points less those of their cells; to be put back into phases.
    jitter_s : dict of float, by key
        Scatter around it. A sinusoid loses ``1 - exp(-(2 pi f jitter)^2)`` of its power.
    n_filled : int
        Cells of all keys that were interpolated.
    """

    time_s: FloatArray
    cadence_s: float
    good: BoolArray
    intervals_s: FloatArray
    flux: Mapping[str, FloatArray]
    flux_err: Mapping[str, FloatArray]
    offset_s: Mapping[str, float]
    jitter_s: Mapping[str, float]
    n_filled: int


@dataclass(frozen=True, slots=True)
class _Cells:
    """Points of one key in cells: numbers of the cells that have any, ascending, and what is in them."""

    number: IntArray
    flux: FloatArray
    flux_err: FloatArray
    offset_s: float
    jitter_s: float


def even_light_curves(series: Mapping[str, TimeSeries], *, longest_fill: int = 1) -> EvenLightCurves:
    """Put light curves on one even grid, each point into the cell that is nearest; nothing is resampled.

    The cadence is the longest one of the keys; points of faster keys are averaged in its cells. The times of each key
    may be late or early by a constant, which is kept. Gaps of up to `longest_fill` cells within a key are
    interpolated linearly, longer ones end a good-time interval.

    Parameters
    ----------
    series : dict
        By key; seconds from one origin, ascending.
    longest_fill : int
        0 or more.

    Raises
    ------
    ConfigurationError
        If there is no key, or `longest_fill` is negative.
    AnalysisError
        If a key has fewer than five measured points, its times are too uneven for a grid, or the keys have no time in
        common; the sentence names the key.
    """
    if not series:
        raise ConfigurationError("good-time intervals need at least one light curve, none was given")
    if longest_fill < 0:
        raise ConfigurationError(f"longest_fill ({longest_fill}) must be 0 or more")
    good = {key: _measured(key, each) for key, each in series.items()}
    cadence = max(_fitted_cadence_s(each.time_s) for each in good.values())
    origin = min(float(each.time_s[0]) for each in good.values())
    cells = {key: _in_cells(key, each, origin, cadence) for key, each in good.items()}
    first = min(int(each.number[0]) for each in cells.values())
    n_cells = max(int(each.number[-1]) for each in cells.values()) - first + 1
    if n_cells > _MOST_CELLS:
        raise AnalysisError(f"a cadence of {cadence:.3g} s gives {n_cells} cells, more than {_MOST_CELLS} are too many")
    filled = {key: _filled(each, first, n_cells, longest_fill=longest_fill) for key, each in cells.items()}
    present = np.logical_and.reduce([np.isfinite(flux) for flux, _, _ in filled.values()])
    if not present.any():
        raise AnalysisError(f"the light curves of {', '.join(series)} have no time in common")
    time = origin + cadence * (first + np.arange(n_cells, dtype=np.float64))
    return EvenLightCurves(
        time_s=time,
        cadence_s=cadence,
        good=present,
        intervals_s=intervals(time, present, cadence),
        flux={key: np.where(present, flux, np.nan) for key, (flux, _, _) in filled.items()},
        flux_err={key: np.where(present, error, np.nan) for key, (_, error, _) in filled.items()},
        offset_s={key: each.offset_s for key, each in cells.items()},
        jitter_s={key: each.jitter_s for key, each in cells.items()},
        n_filled=sum(n_filled for _, _, n_filled in filled.values()),
    )


def good_runs(good: BoolArray) -> tuple[IntArray, IntArray]:
    """First cell of each run of good ones, and the one after its last."""
    steps = np.diff(np.concatenate([[False], good, [False]]).astype(np.int8))
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)


def intervals(time_s: FloatArray, good: BoolArray, cadence_s: float) -> FloatArray:
    """Edges of the runs of good cells, shape (n_intervals, 2)."""
    first, beyond = good_runs(good)
    half = 0.5 * cadence_s
    return np.column_stack([time_s[first] - half, time_s[beyond - 1] + half])


def _measured(key: str, series: TimeSeries) -> TimeSeries:
    try:
        return measured_points(series, "an even grid", fewest=_FEWEST_POINTS)
    except AnalysisError as error:
        raise AnalysisError(f"light curve of {key}: {error}") from error


def _fitted_cadence_s(time: FloatArray) -> float:
    """Slope of the times against their numbers: a median alone, of times in milliseconds, drifts away in a night."""
    time = np.unique(time)  # points of one time say nothing about the steps
    median = median_cadence_s(time)
    numbers = np.concatenate([[0.0], np.cumsum(np.round(np.diff(time) / median))])
    # Gaps that are no multiple of the cadence are not counted: only points one step apart are.
    steps = np.diff(time)
    single = np.round(steps / median) == 1.0
    if single.sum() < 0.5 * len(steps):
        return median
    fitted = float(steps[single].mean())
    whole = float(np.polyfit(numbers - numbers.mean(), time, 1)[0])
    # Over the whole series where that leaves no point half a cell off, as with a steady clock.
    residual = time - time[0] - whole * numbers
    return whole if float(np.ptp(residual)) < 0.5 * median else fitted


def _in_cells(key: str, series: TimeSeries, origin: float, cadence: float) -> _Cells:
    place = (series.time_s - origin) / cadence
    shift = 0.0
    if median_cadence_s(series.time_s) > _SLOWEST_SAME_CADENCE * cadence:
        shift = float(np.angle(np.exp(2.0j * math.pi * place).mean())) / (2.0 * math.pi)
    numbers = np.rint(place - shift).astype(np.int64)
    cells, index = np.unique(numbers, return_inverse=True)
    weights = series.flux_err**-2
    total = np.bincount(index, weights).astype(np.float64)
    flux = (np.bincount(index, weights * series.flux) / total).astype(np.float64)
    late = np.bincount(index, weights * place) / total - cells
    jitter = float(late.std())
    if jitter > _MOST_JITTER:
        raise AnalysisError(
            f"light curve of {key}: its times scatter by {jitter:.2f} of the cadence of {cadence:.3g} s around an even "
            "grid, too much for spectra of segments; Lomb-Scargle takes uneven times"
        )
    return _Cells(cells, flux, total**-0.5, float(late.mean()) * cadence, jitter * cadence)


def _filled(cells: _Cells, first: int, n_cells: int, *, longest_fill: int) -> tuple[FloatArray, FloatArray, int]:
    flux, error = np.full(n_cells, np.nan), np.full(n_cells, np.nan)
    place = cells.number - first
    flux[place], error[place] = cells.flux, cells.flux_err
    gaps = np.diff(place) - 1
    missing = [
        np.arange(place[index] + 1, place[index + 1]) for index in np.flatnonzero((gaps > 0) & (gaps <= longest_fill))
    ]
    if not missing:
        return flux, error, 0
    holes = np.concatenate(missing)
    flux[holes], error[holes] = np.interp(holes, place, cells.flux), np.interp(holes, place, cells.flux_err)
    return flux, error, len(holes)
