"""A light curve as the transforms take it, and the checks that all of them share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.errors import AnalysisError
from stream.messages import FloatArray


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """A light curve for the transforms: seconds, flux, error, each shape (n_points,); NaN is not measured."""

    time_s: FloatArray
    flux: FloatArray
    flux_err: FloatArray


def in_order(series: TimeSeries) -> TimeSeries:
    """Return the points in order of time, those of one time in order of flux and error; times of NaN come last.

    The order in which points arrived leaves no trace then: the transforms see the same numbers in the same places.
    """
    if bool(np.all(np.diff(series.time_s) > 0.0)):
        return series
    order = np.lexsort((series.flux_err, series.flux, series.time_s))
    return TimeSeries(series.time_s[order], series.flux[order], series.flux_err[order])


def is_measured(series: TimeSeries) -> NDArray[np.bool_]:
    """Which points have time, flux and an error greater than 0, shape (n_points,)."""
    with np.errstate(invalid="ignore"):
        return np.asarray(
            np.isfinite(series.time_s)
            & np.isfinite(series.flux)
            & np.isfinite(series.flux_err)
            & (series.flux_err > 0.0)
        )


def measured_points(series: TimeSeries, what: str, *, fewest: int) -> TimeSeries:
    """Return the points that have time, flux and an error greater than 0.

    Parameters
    ----------
    series : TimeSeries
    what : str
        What the points are needed for, for the sentence of the error, as "a power spectrum".
    fewest : int
        Number of different times that it needs.

    Raises
    ------
    AnalysisError
        If the columns are not as long as each other, times descend, or fewer points of different times are left.
    """
    time, flux, error = (
        np.asarray(column, dtype=np.float64) for column in (series.time_s, series.flux, series.flux_err)
    )
    if not time.shape == flux.shape == error.shape or time.ndim != 1:
        raise AnalysisError(
            f"times, fluxes and errors must be as many as each other, not {time.shape}, {flux.shape}, {error.shape}"
        )
    good = is_measured(TimeSeries(time, flux, error))
    time, flux, error = time[good], flux[good], error[good]
    descending = np.flatnonzero(np.diff(time) < 0.0)
    if len(descending):
        raise AnalysisError(f"times must ascend: point {int(descending[0]) + 2} of {len(time)} is before the last")
    n_distinct = int(np.count_nonzero(np.diff(time))) + 1 if len(time) else 0
    if n_distinct < fewest:
        points = f"{fewest} measured points of different times" if fewest > 1 else "one measured point"
        raise AnalysisError(f"{what} needs at least {points}, not {n_distinct}")
    return TimeSeries(time, flux, error)


def check_variable(flux: FloatArray, what: str) -> None:
    """Refuse a flux that is the same everywhere, but for rounding; `what` would be wanted of it.

    Raises
    ------
    AnalysisError
        If all fluxes agree within a part in 1e14.
    """
    level = max(abs(float(flux.min())), abs(float(flux.max())))
    if float(flux.max()) - float(flux.min()) <= 1e-14 * level:
        raise AnalysisError(f"all {len(flux)} points have the same flux: there is no {what} of a constant")


def median_cadence_s(time_s: FloatArray) -> float:
    """Median of the steps between different times, which must be two at least."""
    steps = np.diff(time_s)
    return float(np.median(steps[steps > 0.0]))


def dot(first: FloatArray, second: FloatArray) -> float:
    """Scalar product without BLAS, whose threads cost more than they bring in a process with one core to itself."""
    return float(np.einsum("i,i->", first, second))
