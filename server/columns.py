"""Growing columns of one key, and what of them is worth drawing: pure numpy, no Bokeh, no clock.

The feed alone writes here. What the page reads are copies that never change once they are made.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stream.messages import FloatArray, FrameMeasured, IntArray, SourceFluxes

Columns = Mapping[str, NDArray[Any]]

_FIRST_CAPACITY = 1024
_PER_FRAME = ("time_mjd_utc", "time_bmjd_tdb", "exposure_s", "airmass", "frame_ids")
_PER_SOURCE = ("flux", "flux_err", "flags")
_INTEGERS = ("frame_ids", "flags")


class OrderedColumns:
    """Columns of the frames of one key, kept in order of time while frames come in any; ``frame_ids`` tells them apart.

    Parameters
    ----------
    widths : mapping of str to int or None
        Numbers a frame of each column; None for a column of plain numbers.
    """

    def __init__(self, widths: Mapping[str, int | None]) -> None:
        self._widths = dict(widths)
        self._n = 0
        self._n_kept = 0
        self._known: set[int] = set()
        self._starts: list[int] = []
        self._arrays = self._allocate(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return self._n

    @property
    def n_merges(self) -> int:
        """How often frames were added or taken out."""
        return len(self._starts)

    def first_changed(self, since: int) -> int:
        """The first row that is new or has moved since there were `since` merges; the number of rows if none has."""
        return min(self._starts[since:], default=self._n)

    def _allocate(self, capacity: int) -> dict[str, NDArray[Any]]:
        return {
            name: np.empty(
                (capacity,) if width is None else (capacity, width), dtype=np.int64 if name in _INTEGERS else np.float64
            )
            for name, width in self._widths.items()
        }

    def _merge(self, block: Columns) -> int:
        new = self._unknown(block["frame_ids"])
        if len(new) == 0:
            return 0
        times = block["time_mjd_utc"][new]
        # Only the rows from here on move; nearly always that is a handful.
        start = int(np.searchsorted(self._arrays["time_mjd_utc"][: self._n], times.min(), side="right"))
        total = self._n + len(new)
        self._reserve(total, moved_from=start)
        tail_times = np.concatenate([self._arrays["time_mjd_utc"][start : self._n], times])
        tail_ids = np.concatenate([self._arrays["frame_ids"][start : self._n], block["frame_ids"][new]])
        order = np.lexsort((tail_ids, tail_times))
        for name, array in self._arrays.items():
            tail = np.concatenate([array[start : self._n], block[name][new]])
            array[start:total] = tail[order]
        self._n = total
        self._starts.append(start)
        self._known.update(block["frame_ids"][new].tolist())
        return len(new)

    def forget(self, frame_ids: Collection[int]) -> int:
        """Take frames out that are about to come anew; returns how many there were."""
        gone = self._known.intersection(frame_ids)
        if not gone:
            return 0
        kept = ~np.isin(self._arrays["frame_ids"][: self._n], list(gone))
        start = int(np.argmin(kept))
        self._reserve(self._n, moved_from=start)
        total = int(kept.sum())
        for array in self._arrays.values():
            array[start:total] = array[start : self._n][kept[start:]]
        self._n = total
        self._starts.append(start)
        self._known -= gone
        return len(gone)

    def _unknown(self, frame_ids: IntArray) -> IntArray:
        seen: set[int] = set()
        new = []
        for index, frame_id in enumerate(frame_ids.tolist()):
            if frame_id not in self._known and frame_id not in seen:
                seen.add(frame_id)
                new.append(index)
        return np.array(new, dtype=np.int64)

    def _keep(self) -> None:
        """Promise that the rows there are now stay as they are in the arrays that hold them now."""
        self._n_kept = self._n

    def _reserve(self, total: int, *, moved_from: int) -> None:
        """Make room for so many rows; rows that move are written to other arrays where they were promised to stay."""
        capacity = len(self._arrays["frame_ids"])
        if total <= capacity and moved_from >= self._n_kept:
            return
        grown = self._allocate(capacity if total <= capacity else max(total, 2 * capacity))
        for name, array in grown.items():
            array[: self._n] = self._arrays[name][: self._n]
        self._arrays, self._n_kept = grown, 0


class KeyColumns(OrderedColumns):
    """Light curves of all sources of one key with one photometer.

    Parameters
    ----------
    key, label : str
        Key and photometer.
    n_sources : int
        Sources of the catalog.
    """

    def __init__(self, key: str, label: str, *, n_sources: int) -> None:
        super().__init__({**dict.fromkeys(_PER_FRAME), **dict.fromkeys(_PER_SOURCE, n_sources)})
        self.key = key
        self.label = label
        self.n_sources = n_sources

    def load(self, fluxes: SourceFluxes) -> int:
        """Add what a ledger holds; returns how many frames were new."""
        return self._merge({name: getattr(fluxes, name) for name in (*_PER_FRAME, *_PER_SOURCE)})

    def insert(self, frames: Sequence[FrameMeasured]) -> int:
        """Add measured frames, in any order; returns how many were new.

        Frames that are known already are passed over, so that gaps may be filled generously.

        Raises
        ------
        ValueError
            If a frame has another number of sources than the catalog.
        """
        tables = [frame.source_table() for frame in frames]
        for frame, table in zip(frames, tables, strict=True):
            if table.shape[1] != self.n_sources:
                raise ValueError(
                    f"frame {frame.path} has {table.shape[1]} sources, the catalog of {self.key} {self.n_sources}"
                )
        columns = frames[0].columns() if frames else ()
        rows = {name: _row(tables, columns, name, self.n_sources) for name in _source_rows(self.label)}
        flags = _row(tables, columns, "flags", self.n_sources).astype(np.int64)
        frame_flags = np.array([frame.flags for frame in frames], dtype=np.int64)
        return self._merge(
            {
                "time_mjd_utc": np.array([frame.time_mjd_utc for frame in frames]),
                "time_bmjd_tdb": np.array([frame.time_bmjd_tdb for frame in frames]),
                "exposure_s": np.array([frame.exposure_s for frame in frames]),
                "airmass": np.array([frame.airmass for frame in frames]),
                "frame_ids": np.array([frame.frame_id for frame in frames], dtype=np.int64),
                "flux": rows[f"{self.label}_flux"],
                "flux_err": rows[f"{self.label}_flux_err"],
                "flags": flags | frame_flags[:, None],
            }
        )

    def fluxes(self) -> SourceFluxes:
        """Return views on the columns, in order of time; they hold until the next frame is added."""
        return SourceFluxes(
            key=self.key, label=self.label, **{name: array[: self._n] for name, array in self._arrays.items()}
        )

    def kept_fluxes(self) -> SourceFluxes:
        """Return views on the columns that never change, for another thread."""
        self._keep()
        return self.fluxes()


def _source_rows(label: str) -> tuple[str, str]:
    return f"{label}_flux", f"{label}_flux_err"


def _row(tables: Sequence[FloatArray], columns: Sequence[str], name: str, n_sources: int) -> FloatArray:
    if not tables:
        return np.empty((0, n_sources))
    index = columns.index(name)
    return np.array([table[index] for table in tables], dtype=np.float64).reshape(len(tables), n_sources)


def extreme_indices(position: FloatArray, value: FloatArray, max_points: int) -> IntArray:
    """Which points to draw so that none of the extremes is lost: lowest and highest of each bin.

    Parameters
    ----------
    position, value : array, shape (n,)
        Ascending abscissa and ordinate, both finite.
    max_points : int
        Above so many points they are thinned. The width of a bin is a power of two, so that the bins stay where they
        are while a night grows; the last bin, which may still fill, is kept whole.

    Returns
    -------
    array of int, ascending
    """
    if len(position) <= max_points:
        return np.arange(len(position))
    span = float(position[-1] - position[0])
    if span <= 0.0:
        return np.array([np.argmin(value), np.argmax(value)])
    # Two points a bin; the width may come out up to twice as large as asked for.
    width = 2.0 ** np.ceil(np.log2(span / (max_points / 2.0)))
    bins = np.floor(position / width)
    last = int(np.searchsorted(bins, bins[-1]))
    kept_whole = np.arange(max(last, len(position) - max_points // 4), len(position))
    return np.unique(np.concatenate([_extremes_of_bins(bins[:last], value[:last]), kept_whole]))


def _extremes_of_bins(bins: FloatArray, value: FloatArray) -> IntArray:
    """Indices of the lowest and the highest value of each bin, ascending; `bins` ascend."""
    if not len(bins):
        return np.empty(0, dtype=np.int64)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(bins)) + 1])
    number = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(bins))))
    lowest = np.flatnonzero(value == np.minimum.reduceat(value, starts)[number])
    highest = np.flatnonzero(value == np.maximum.reduceat(value, starts)[number])
    # Of equal values the first is the lowest of its bin and the last the highest.
    lowest = lowest[np.diff(number[lowest], prepend=-1) != 0]
    highest = highest[np.diff(number[highest], append=len(starts)) != 0]
    return np.unique(np.concatenate([lowest, highest]))


def _inner_of_bins(bins: FloatArray) -> IntArray:
    """Indices at one and at two thirds of each bin."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(bins)) + 1, [len(bins)]])
    counts = np.diff(edges)
    if not len(bins):
        return np.empty(0, dtype=np.int64)
    return np.unique(np.concatenate([edges[:-1] + counts // 3, edges[:-1] + 2 * counts // 3]))


class GrowingThinning:
    """Thins rows in order of time that grow at their end, at a cost that does not grow with them.

    The lowest and highest value of each bin of time are kept, and two between them, so that the extremes do not look
    like all there is; the newest rows are kept whole. Bins have widths that are
    powers of two and begin at fixed times, and the rows that are kept whole begin a new share of them at a time, so
    that what a browser has been sent seldom changes.

    Parameters
    ----------
    max_points : int
        Up to so many rows all are kept; of more, fewer than twice as many.
    """

    def __init__(self, max_points: int) -> None:
        self._max_points = max_points
        self._width = 0.0
        self._first = self._head_end = 0
        self._kept: IntArray = np.empty(0, dtype=np.int64)

    def rows(self, time: FloatArray, value: FloatArray, within: tuple[int, int], changed_from: int) -> IntArray:
        """Return the rows to draw, ascending; those whose value is not finite are left out.

        Parameters
        ----------
        time, value : array, shape (n,)
            Of all rows; times ascend, in any unit that is always the same.
        within : tuple of int
            First row and the one after the last that are looked at.
        changed_from : int
            Rows before this one are what they were at the last call.
        """
        first, last = within
        span = float(time[last - 1] - time[first]) if last > first else 0.0
        if last - first <= self._max_points or span <= 0.0:
            self._width = 0.0
            return first + np.flatnonzero(np.isfinite(value[first:last]))
        width = 2.0 ** math.ceil(math.log2(span / (self._max_points / 4.0)))
        share = self._max_points // 8
        whole_from = max(first, last - share - last % share)
        edge = math.floor(float(time[whole_from]) / width) * width
        head_end = max(first, int(np.searchsorted(time[:last], edge)))
        if whole_from - head_end > share:
            head_end = whole_from  # a burst within one bin: the bin is parted
        if width != self._width or changed_from < self._head_end or not self._first <= first <= self._head_end:
            self._kept, self._head_end = np.empty(0, dtype=np.int64), first
        if head_end >= self._head_end:
            fresh = self._thinned(time, value, (self._head_end, head_end), width)
            self._kept = np.concatenate([self._kept[self._kept >= first], fresh])
        else:
            self._kept = self._thinned(time, value, (first, head_end), width)
        self._width, self._first, self._head_end = width, first, head_end
        return np.concatenate([self._kept, head_end + np.flatnonzero(np.isfinite(value[head_end:last]))])

    def _thinned(self, time: FloatArray, value: FloatArray, within: tuple[int, int], width: float) -> IntArray:
        rows = within[0] + np.flatnonzero(np.isfinite(value[within[0] : within[1]]))
        bins = np.floor(time[rows] / width)
        return rows[np.union1d(_extremes_of_bins(bins, value[rows]), _inner_of_bins(bins))]


@dataclass(frozen=True, slots=True)
class Change:
    """How to bring what a browser has to what it should have.

    Attributes
    ----------
    kind : {'none', 'append', 'replace'}
    columns : mapping of str to array
        The rows to append, or all rows.
    """

    kind: Literal["none", "append", "replace"]
    columns: Columns


def change_between(sent: Columns, fresh: Columns, *, tolerance: float) -> Change:
    """Find the cheapest change from the columns `sent` to the columns `fresh`.

    Rows are recognised by ``frame_id``. Rows that left at the beginning and rows that came at the end make an append;
    anything else makes a replacement, as does a ``flux`` that moved by more than `tolerance` times its ``flux_err``:
    the normalisation of a relative light curve drifts by a little with each new frame.
    """
    old_ids, new_ids = sent["frame_id"], fresh["frame_id"]
    if len(new_ids) == 0 or len(old_ids) == 0:
        return Change("none" if len(new_ids) == len(old_ids) else "replace", fresh)
    gone = np.flatnonzero(old_ids == new_ids[0])
    n_common = len(old_ids) - int(gone[0]) if len(gone) else 0
    if not 0 < n_common <= len(new_ids) or not np.array_equal(old_ids[-n_common:], new_ids[:n_common]):
        return Change("replace", fresh)
    moved = np.abs(sent["flux"][-n_common:] - fresh["flux"][:n_common])
    if np.any(moved > tolerance * fresh["flux_err"][:n_common]):
        return Change("replace", fresh)
    if n_common == len(new_ids):
        # Rows may have left at the beginning without any new one: a window was narrowed.
        return Change("none" if n_common == len(old_ids) else "replace", fresh)
    return Change("append", {name: column[n_common:] for name, column in fresh.items()})


def robust_range(value: FloatArray, error: FloatArray) -> tuple[float, float]:
    """Axis limits that show nearly all points and are not blown up by a few: 1st to 99th percentile and a margin.

    NaN is passed over; without a finite value the limits are 0.9 and 1.1.
    """
    finite = value[np.isfinite(value)]
    if len(finite) == 0:
        return 0.9, 1.1
    low, high = (float(limit) for limit in np.percentile(finite, [1.0, 99.0]))
    typical = float(np.median(error[np.isfinite(error)])) if np.isfinite(error).any() else 0.0
    margin = max(0.35 * (high - low), 2.5 * typical, 1e-4 * abs(high), 1e-12)
    return low - margin, high + margin
