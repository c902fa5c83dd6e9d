"""The trend of a light curve as it is drawn, fitted again as the night grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from server.columns import Columns
from server.solving import RENEWAL, Solver
from stream.analysis.detrending import Detrending, Trend, detrend
from stream.analysis.running_median import RunningMedian
from stream.analysis.series import TimeSeries
from stream.errors import OpticamLiveError
from stream.messages import FloatArray

TREND_INTERVAL_S = 2.0
_REST = 15.0
"""A trend is fitted again after so many times what the last one took, if that is longer."""


@dataclass(frozen=True, slots=True)
class CurveTrend:
    """What fluxes are divided by before they are drawn.

    Attributes
    ----------
    sentence : str
        What is divided out, or why nothing is; empty where nothing is wanted.
    columns : Columns
        ``time_mjd`` (ascending) and ``trend``, 1 in the mean; empty where nothing is divided out.
    """

    sentence: str = ""
    columns: Columns = field(default_factory=dict)

    def at(self, time_mjd: FloatArray) -> FloatArray:
        """Return the trend at some times; before the first point and after the last that of these."""
        if not self.columns:
            return np.ones(len(time_mjd))
        return np.interp(time_mjd, self.columns["time_mjd"], self.columns["trend"])


class TrendMaker:
    """Keeps the trend of one stretch of one light curve up to date, no more often than is worth it.

    Parameters
    ----------
    settings : Detrending
    solver : Solver
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(self, settings: Detrending, solver: Solver, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._solver, self._clock = solver, clock
        self._medians = RunningMedian(settings.window_s)
        self._future: Future[CurveTrend] | None = None
        self._made_of, self._due_s = -1, -np.inf
        is_wanted = settings.trend is not Trend.NONE
        self.trend = CurveTrend("the trend is being computed" if is_wanted else "")

    def order(self, version: int, points: Callable[[], tuple[TimeSeries, FloatArray, FloatArray]]) -> None:
        """Have the trend fitted where that is due.

        Parameters
        ----------
        version : int
            Changes with the points.
        points : callable
            Returns the series, its airmass and its times as MJD in UTC, which nobody else changes.
        """
        is_due = version != self._made_of and self._clock() >= self._due_s
        if self._settings.trend is Trend.NONE or self._future is not None or not is_due:
            return
        series, airmass, time_mjd = points()
        self._made_of = version
        size = RENEWAL if self.trend.columns else len(time_mjd)
        self._future = self._solver.order(size, self._made, series, airmass, time_mjd)

    def take(self) -> bool:
        """Take the trend that was fitted last; returns whether there was one."""
        if self._future is None or not self._future.done():
            return False
        self.trend, self._future = self._future.result(), None
        return True

    def _made(self, series: TimeSeries, airmass: FloatArray, time_mjd: FloatArray) -> CurveTrend:
        started = self._clock()
        try:
            done = detrend(series, self._settings, airmass=airmass, medians=self._medians)
        except OpticamLiveError as problem:
            return CurveTrend(f"not detrended: {problem}")
        finally:
            finished = self._clock()
            self._due_s = finished + max(TREND_INTERVAL_S, _REST * (finished - started))
        return CurveTrend(done.sentence, {"time_mjd": time_mjd[done.used], "trend": done.trend})
