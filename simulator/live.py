"""Writes a simulated night frame by frame at its own cadence, as a camera does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from simulator.night import FrameFactory
from simulator.truth import TruthWriter
from simulator.writer import write_slowly
from stream.atomic_files import write_atomically
from stream.processes import on_stop_signals

_TRUTH_EVERY_S = 10.0
_TRUTH_SHARE = 0.02  # of the time may go to writing the truth, which grows with the night
_SLOW_SHARE = 0.6  # of the cadence is taken by a slow write


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How a live night is written.

    Attributes
    ----------
    first, last : int
        Frames of each key, `last` excluded; None goes on until it is stopped.
    slow_writes : bool
        Grow each file in pieces under its final name, as scp does, instead of renaming it into place.
    n_pieces : int
        Pieces of a slow write.
    """

    first: int = 0
    last: int | None = None
    slow_writes: bool = False
    n_pieces: int = 8


class LiveNight:
    """A night that is written as time passes; a frame appears at the end of its exposure.

    A frame whose exposure has ended already, because the machine was busy, is written at once.
    """

    def __init__(self, folder: Path, factory: FrameFactory, truth: TruthWriter, options: LiveOptions) -> None:
        self._folder = folder
        self._factory = factory
        self._truth = truth
        self._options = options
        self._next_flush_s = time.monotonic() + _TRUTH_EVERY_S

    def run(self, stop: threading.Event, on_frame: Callable[[], None] | None = None) -> int:
        """Write until `stop` is set or the last frame is written; returns the number of frames of each key.

        The truth is complete when this returns, however it ends.
        """
        index = self._options.first
        try:
            while self._options.last is None or index < self._options.last:
                if not self._write(index, stop, on_frame):
                    break
                index += 1
                self._flush_when_due()
        finally:
            self._truth.flush()
        return index - self._options.first

    def _write(self, index: int, stop: threading.Event, on_frame: Callable[[], None] | None) -> bool:
        states = self._factory.states(index)
        files = [(self._folder / state.file_name, self._factory.content(state)) for state in states]
        due_unix_s = states[0].start_unix_ms / 1000.0 + states[0].exposure_s
        if stop.wait(max(0.0, due_unix_s - time.time())):
            return False
        self._truth.add(states)
        if self._options.slow_writes:
            pause_s = _SLOW_SHARE * self._factory.settings.cadence_s / self._options.n_pieces
            write_slowly(files, n_pieces=self._options.n_pieces, pause=lambda: stop.wait(pause_s))
        else:
            for path, content in files:
                write_atomically(path, content)
        for _ in files:
            if on_frame is not None:
                on_frame()
        return True

    def _flush_when_due(self) -> None:
        started = time.monotonic()
        if started < self._next_flush_s:
            return
        self._truth.flush()
        ended = time.monotonic()
        self._next_flush_s = ended + max(_TRUTH_EVERY_S, (ended - started) / _TRUTH_SHARE)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and SIGHUP set, instead of ending the process at once; within the main thread."""
    stop = threading.Event()
    restore = on_stop_signals(stop.set)
    try:
        yield stop
    finally:
        restore()
