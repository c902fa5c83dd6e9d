"""The width of single stars over the night, read from the frames on demand: nobody else pays for who focuses."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from server.columns import Columns
from stream.errors import FrameRejectedError, OpticamLiveError
from stream.messages import FloatArray, FrameMeasured, IntArray

if TYPE_CHECKING:
    from stream.night.ledger import LedgerReader

ATTENTION_S = 5.0
MAX_FRAMES = 200
"""Of a key, spread over the night; the newest ones come on top."""
Star = tuple[str, int]
"""Key and number."""
_REST, _LONGEST_PAUSE_S = 1.0, 0.3
"""Pauses as long as the work before them, so that a night that is being reduced keeps its cores."""
_NEWEST_EACH_MS = 1000.0
_MOST_POINTS = 4 * MAX_FRAMES
_NO_VERSIONS: Mapping[str, str] = {}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FocusView:
    """Widths of the stars that were asked for.

    Attributes
    ----------
    stars : dict
        By key and number: ``time_ms`` and ``fwhm_px``, in order of time; NaN where a star had no width.
    n_read, n_wanted : int
        Frames that were read, of those that are wanted.
    n_gone : int
        Frames that are no longer there, or can no longer be read.
    sentence : str
        What went wrong; empty where nothing did.
    """

    stars: Mapping[tuple[str, int], Columns]
    n_read: int = 0
    n_wanted: int = 0
    n_gone: int = 0
    sentence: str = ""


def frames_to_read(times_ms: FloatArray, frame_ids: IntArray, known: Collection[int]) -> list[int]:
    """Which frames to read, newest first: one in each stretch of the night that has none yet, and the newest.

    The stretches are of a power of two of seconds from a fixed time on, so that a night that grows asks for few new
    frames and for none again. The newest is one that is a second younger than all that are known.

    Parameters
    ----------
    times_ms : array, shape (n_frames,)
        Milliseconds since 1970, in order.
    frame_ids : array, shape (n_frames,)
    known : collection of int
        Frames that were read.
    """
    if not len(times_ms):
        return []
    stretches = _stretches(times_ms)
    is_known = np.isin(frame_ids, list(known))
    _values, first = np.unique(stretches, return_index=True)
    wanted = set(frame_ids[first[~np.isin(stretches[first], stretches[is_known])]].tolist())
    newest_known_ms = float(times_ms[is_known][-1]) if is_known.any() else -math.inf
    if float(times_ms[-1]) >= newest_known_ms + _NEWEST_EACH_MS and int(frame_ids[-1]) not in known:
        wanted.add(int(frame_ids[-1]))
    return [frame_id for frame_id in frame_ids[::-1].tolist() if frame_id in wanted]


def _stretches(times_ms: FloatArray) -> IntArray:
    span_s = max((float(times_ms[-1]) - float(times_ms[0])) / 1e3, 1.0)
    length_s = 2.0 ** math.ceil(math.log2(span_s / MAX_FRAMES))
    return np.floor(times_ms / 1e3 / length_s).astype(np.int64)


@dataclass(slots=True)
class _Star:
    """A star somebody looks at: when last, and time and width of the frames that were read, by number."""

    asked_s: float
    points: dict[int, tuple[float, float]] = field(default_factory=dict)

    def columns(self) -> Columns:
        points = np.array(sorted(self.points.values()), dtype=np.float64).reshape(-1, 2)
        return {"time_ms": points[:, 0], "fwhm_px": points[:, 1]}

    def thin(self) -> None:
        """Keep the newest points and of the others one a stretch."""
        ordered = sorted(self.points, key=lambda frame_id: self.points[frame_id])
        older = ordered[: -2 * MAX_FRAMES]
        times = np.array([self.points[frame_id][0] for frame_id in ordered])
        _values, first = np.unique(_stretches(times)[: len(older)], return_index=True)
        kept = {older[index] for index in first.tolist()} | set(ordered[-2 * MAX_FRAMES :])
        self.points = {frame_id: point for frame_id, point in self.points.items() if frame_id in kept}


class FocusDesk:
    """Reads the frames that are asked for while somebody looks; what was read once is kept for all viewers.

    Parameters
    ----------
    out : Path
        Folder of the night.
    executor : Executor
        Where frames are read.
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(self, out: Path, executor: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._executor, self._clock = out, executor, clock
        self._lock = threading.Lock()
        self._stars: dict[Star, _Star] = {}
        self._versions: dict[str, str] = {}
        self._frames: dict[str, tuple[FloatArray, IntArray]] = {}
        self._gone: dict[str, set[int]] = {}
        self._sentence = ""
        self._future: Future[None] | None = None
        self._stopping = threading.Event()

    def view(
        self, stars: Sequence[Star], frames: Mapping[str, Columns], versions: Mapping[str, str] = _NO_VERSIONS
    ) -> FocusView:
        """What is known of some stars by now; more is read as long as this is called. Safe on any thread.

        Parameters
        ----------
        stars : sequence of (str, int)
            Key and number.
        frames : mapping of key to columns
            ``x``, milliseconds since 1970, and ``frame_id`` of the frames there are, in order of time.
        versions : mapping of key to str
            Of the catalogs that the numbers mean; what was read by those of another catalog is forgotten.
        """
        with self._lock:
            for key in [key for key, version in versions.items() if self._versions.get(key, version) != version]:
                self._forget(key)
            self._versions.update(versions)
            for key, columns in frames.items():
                self._frames[key] = columns["x"], columns["frame_id"].astype(np.int64)
            for star in stars:
                self._stars.setdefault(star, _Star(0.0)).asked_s = self._clock()
            is_idle = self._future is None or self._future.done()
            if is_idle and self._next() is not None and not self._stopping.is_set():
                self._future = self._executor.submit(self._work)
            return self._view(stars)

    def stop(self) -> None:
        """Read no more."""
        self._stopping.set()

    def _forget(self, key: str) -> None:
        """Another catalog gives its numbers to other stars."""
        self._stars = {star: kept for star, kept in self._stars.items() if star[0] != key}
        self._gone.pop(key, None)

    def _view(self, stars: Sequence[Star]) -> FocusView:
        read = {key: set[int]() for key, _number in stars}
        for key, number in stars:
            read[key] |= set(self._stars[(key, number)].points)
        n_read, n_gone = sum(map(len, read.values())), sum(len(self._gone.get(key, ())) for key in read)
        n_wanted = n_read + sum(len(self._missing(key)) for key in read)
        return FocusView(
            {star: self._stars[star].columns() for star in stars}, n_read, n_wanted, n_gone, self._sentence
        )

    def _numbers(self, key: str) -> list[int]:
        """Stars of a key that somebody looks at."""
        oldest = self._clock() - ATTENTION_S
        return [number for (of, number), star in self._stars.items() if of == key and star.asked_s >= oldest]

    def _missing(self, key: str) -> list[int]:
        """Frames of a key that are wanted and lack one of its stars, newest first."""
        numbers = self._numbers(key)
        if not numbers or key not in self._frames:
            return []
        known = set.intersection(*(set(self._stars[(key, number)].points) for number in numbers))
        return frames_to_read(*self._frames[key], known | self._gone.get(key, set()))

    def _next(self) -> tuple[str, int] | None:
        """The key that lacks most frames, and the newest of these."""
        missing = {key: self._missing(key) for key in self._frames}
        key = max(missing, key=lambda key: len(missing[key]), default="")
        return (key, missing[key][0]) if key and missing[key] else None

    def _work(self) -> None:
        """Read what is wanted until nothing is, or nobody looks any more."""
        from stream.night.ledger import LedgerReader

        sentence = ""
        try:
            reader = LedgerReader(self._out)
            try:
                while not self._stopping.is_set() and self._read_next(reader):
                    pass
            finally:
                reader.close()
        except OpticamLiveError as problem:
            sentence = str(problem)
        except Exception:  # noqa: BLE001 a panel that stays empty without a word is worse than any error
            _log.exception("the widths of the stars could not be read")
            sentence = "the widths of the stars could not be read: see log/serve.log of the night"
        with self._lock:
            self._sentence = sentence

    def _read_next(self, reader: LedgerReader) -> bool:
        """Read one frame; False if none is wanted."""
        began = self._clock()
        with self._lock:
            wanted = self._next()
            if wanted is None:
                return False
            key, frame_id = wanted
            numbers = self._numbers(key)
            times_ms, frame_ids = self._frames[key]
            time_ms = float(times_ms[np.flatnonzero(frame_ids == frame_id)[0]])
            version = self._versions.get(key, "")
        widths = read_widths(reader, frame_id, numbers, version=version)
        with self._lock:
            if version != self._versions.get(key, ""):
                return True
            if widths is None:
                self._gone.setdefault(key, set()).add(frame_id)
            for number, width in zip(numbers, widths if widths is not None else (), strict=False):
                star = self._stars[(key, number)]
                star.points[frame_id] = time_ms, float(width)
                if len(star.points) > _MOST_POINTS:
                    star.thin()
        self._stopping.wait(min(_LONGEST_PAUSE_S, _REST * (self._clock() - began)))
        return True


def read_widths(reader: LedgerReader, frame_id: int, numbers: Sequence[int], *, version: str = "") -> FloatArray | None:
    """Widths of some stars on one frame, pixels; None if the frame is no longer there or was not measured.

    Parameters
    ----------
    numbers : sequence of int
        Of the sources, from 1.
    version : str
        Of the catalog that the numbers mean: measured by another one is not measured. Empty for any.

    Raises
    ------
    LedgerError
        If there is no such frame.
    """
    from stream.measure.star_widths import measure_star_widths

    outcome = reader.outcome(frame_id)
    if not isinstance(outcome, FrameMeasured) or version not in ("", outcome.catalog_version):
        return None
    positions = outcome.source_table()[:2].T
    rows = np.array(numbers) - 1
    there = rows < len(positions)
    widths = np.full(len(rows), np.nan)
    if not (math.isfinite(outcome.fwhm_px) and there.any()):
        return widths
    try:
        widths[there] = measure_star_widths(
            reader.folder() / outcome.path,
            outcome.path,
            positions[rows[there]],
            recipe=reader.recipe(),
            fwhm_px=outcome.fwhm_px,
        )
    except FrameRejectedError:
        return None
    return widths
