"""The running median of a light curve: straight on at its ends, and brought up to date as the light curve grows."""

from __future__ import annotations

import bisect
import itertools

import numpy as np
from numpy.typing import NDArray

from stream.messages import FloatArray, IntArray

BoolArray = NDArray[np.bool_]

FEWEST_IN_WINDOW = 5
"""Of fewer points the median is one of them, or close to it: it would be divided by itself."""


class RunningMedian:
    """Median of the points within half a window on either side; medians that still hold are not found again.

    A light curve begins and ends also at each gap of more than half a window. Within half a window of an end no
    centred window fits. There the trend is a straight line through the points of one whole window: its slope is that
    between the medians of their earlier and their later half, its height the median of what is left (the resistant
    line of Tukey 1977, Exploratory Data Analysis, ch. 10). A slope is followed to the end, and no point is divided by
    itself.

    Parameters
    ----------
    window_s : float
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._time, self._flux, self._centred = np.empty(0), np.empty(0), np.empty(0)

    def of(self, time_s: FloatArray, flux: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return the trend, and where it is that of a centred window; what was asked before changes nothing.

        Parameters
        ----------
        time_s, flux : array, shape (n_points,)
            Times must ascend, everything must be finite.

        Returns
        -------
        trend : array, shape (n_points,)
            NaN where fewer than five points share the window.
        is_centred : array of bool, shape (n_points,)
        """
        # Rounding of sums must not decide whether the point at the very edge of the window is in it.
        half = 0.5 * self._window_s + 1e-9 * max(self._window_s, 1.0)
        low = np.searchsorted(time_s, time_s - half, side="left")
        high = np.searchsorted(time_s, time_s + half, side="right")
        trend, is_centred = np.full(len(time_s), np.nan), np.zeros(len(time_s), dtype=bool)
        for first, last in _stretches(time_s, half):
            inside = (time_s[first:last] >= time_s[first] + half) & (time_s[first:last] <= time_s[last - 1] - half)
            is_centred[first:last] = inside
            trend[first:last] = _lines(time_s[first:last], flux[first:last], 2.0 * half)
        centred = self._known(time_s, flux, low, high)
        centred[~is_centred] = np.nan
        wanted = np.flatnonzero(is_centred & np.isnan(centred))
        centred[wanted] = _medians(flux, low[wanted], high[wanted])
        self._time, self._flux, self._centred = time_s.copy(), flux.copy(), centred
        trend[is_centred] = np.where(high - low < FEWEST_IN_WINDOW, np.nan, centred)[is_centred]
        return trend, is_centred

    def _known(self, time_s: FloatArray, flux: FloatArray, low: IntArray, high: IntArray) -> FloatArray:
        """Medians of before whose window has the same points still; NaN elsewhere."""
        known = np.full(len(time_s), np.nan)
        begin = int(np.searchsorted(self._time, time_s[0])) if len(time_s) else 0
        n_common = min(len(self._time) - begin, len(time_s))
        old = slice(begin, begin + n_common)
        same = (self._time[old] == time_s[:n_common]) & (self._flux[old] == flux[:n_common])
        n_same = n_common if same.all() else int(np.argmin(same))
        # A point beyond each edge of the window that both have: nothing else can have come into it or left it.
        holds = np.flatnonzero((low[:n_same] > 0) & (high[:n_same] < n_same))
        known[holds] = self._centred[begin + holds]
        return known


def _stretches(time_s: FloatArray, longest_gap_s: float) -> list[tuple[int, int]]:
    """First and last row, exclusive, of the parts between gaps."""
    cuts = np.flatnonzero(np.diff(time_s) > longest_gap_s) + 1
    edges = [0, *cuts.tolist(), len(time_s)]
    return [(first, last) for first, last in itertools.pairwise(edges) if last > first]


def _lines(time_s: FloatArray, flux: FloatArray, window_s: float) -> FloatArray:
    """Lines through the first and the last window of a stretch, each as far as the middle of the stretch."""
    first, last = time_s <= time_s[0] + window_s, time_s >= time_s[-1] - window_s
    early = time_s < 0.5 * (time_s[0] + time_s[-1])
    line = np.empty(len(time_s))
    for window, rows in ((first, early), (last, ~early)):
        line[rows] = _resistant_line(time_s[window], flux[window], time_s[rows])
    return line


def _resistant_line(time_s: FloatArray, flux: FloatArray, at_s: FloatArray) -> FloatArray:
    if len(time_s) < FEWEST_IN_WINDOW:
        return np.full(len(at_s), np.nan)
    half = len(time_s) // 2
    (before, low), (after, high) = (
        (float(np.median(time_s[part])), float(np.median(flux[part]))) for part in (slice(half), slice(-half, None))
    )
    slope = (high - low) / (after - before) if after > before else 0.0
    return np.asarray(np.median(flux - slope * (time_s - before)) + slope * (at_s - before))


def _medians(flux: FloatArray, low: IntArray, high: IntArray) -> FloatArray:
    """Medians of ``flux[low:high]``; both edges ascend.

    A sorted window that points enter and leave costs a twentieth of medians made anew.
    """
    medians = np.empty(len(low))
    if not len(low):
        return medians
    values, window, begin, end = flux[low[0] : high[-1]].tolist(), list[float](), 0, 0
    for index, (first, last) in enumerate(zip((low - low[0]).tolist(), (high - low[0]).tolist(), strict=True)):
        if first >= end:
            window, begin, end = [], first, first
        for value in values[end:last]:
            bisect.insort(window, value)
        for value in values[begin:first]:
            del window[bisect.bisect_left(window, value)]
        begin, end = first, last
        half = len(window) // 2
        medians[index] = window[half] if len(window) % 2 else 0.5 * (window[half - 1] + window[half])
    return medians
