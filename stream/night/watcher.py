"""Finds complete frames: events of the file system are hints, a periodic scan is the truth.

A file is complete when its header and data bytes are all there (padding may be missing) and it was closed or moved
in, or its size and modification time have held still for a moment. A file that stays incomplete arrives after a
time-out all the same; the worker then says what is wrong with it. Folders below the night's folder are searched too.

A file that has another size or modification time than when it arrived is taken again, once it is complete: it was
rejected because it was not, or was corrected. While a backlog is looked through, files that were just closed go first.

A file of several frames (extensions, planes of a cube) arrives as a whole, once all of it is there: every frame of it
under a name of its own. After a restart such a file is listed again, and what the ledger has already is left out.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from stream.errors import FrameIncompleteError, FrameRejectedError
from stream.frame_names import parse_frame_name
from stream.instruments import Instrument
from stream.measure.compressed import gzip_ends, is_gzip
from stream.measure.frames import FramePeek, list_frames
from stream.messages import FrameArrived
from stream.night.folder_events import FolderEvents
from stream.night.folder_scan import FolderScan, mtime_ns_of, refusal_of, safe_name, status_of
from stream.night.later_looks import LaterLooks
from stream.night.ledger_sets import FileStamp, KnownFile

_CHECK_EVERY_S, _NOTICE_EVERY_S = 0.05, 0.2
_SCAN_SHARE = 0.1
_DELIVERED_AT_ONCE = 2000
_HINTS_EVERY = 16
_SCAN_MARK = ""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How a folder is watched, seconds.

    Attributes
    ----------
    finite : bool
        Search once and end, instead of going on for ever.
    use_events : bool
        False where the file system sends none, such as NFS: the scan alone finds the files.
    hold_s : float
        A file with all its bytes that was not seen being closed must hold still for so long.
    odd_hold_s : float
        The same for a file that does not look like FITS yet.
    incomplete_s : float
        A file that lacks bytes arrives after holding still for so long.
    old_s : float
        A file modified longer ago than this has held still already when it is first seen.
    """

    finite: bool = False
    use_events: bool = True
    scan_s: float = 2.0
    hold_s: float = 0.2
    odd_hold_s: float = 5.0
    incomplete_s: float = 30.0
    old_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame that arrived; `refusal` says why it must not be opened."""

    message: FrameArrived
    refusal: str | None = None


Deliver = Callable[[list[Arrival], bool], None]
"""Takes arrivals, and whether they are the last ones."""


@dataclass(slots=True)
class _Candidate:
    """A file that was seen and has not arrived yet."""

    size_bytes: int = -1
    mtime_ns: int = -1
    still_since_s: float = 0.0
    closed: bool = False
    was_old: bool = False
    incomplete: bool = False
    again: bool = False
    gone: bool = False


class Watcher:
    """Watches a folder from a thread of its own.

    Parameters
    ----------
    exclude : Path or tuple of Path
        Folder of the outputs, and what else is no frame of the sky.
    deliver : callable
        Called in the watcher's thread.
    known : mapping of path to FileStamp
        Frames that the ledger has already, by their names as of `safe_name`, with their files as they were.
    reopenable : mapping of path to KnownFile
        Those among them that were rejected as incomplete.
    """

    def __init__(
        self,
        folder: Path,
        instrument: Instrument,
        *,
        exclude: Path | tuple[Path, ...],
        deliver: Deliver,
        known: Mapping[str, FileStamp],
        reopenable: Mapping[str, KnownFile] = MappingProxyType({}),
        settings: WatchSettings | None = None,
    ) -> None:
        self._folder, self._instrument = folder, instrument
        self._settings = settings or WatchSettings()
        self._deliver = deliver
        plain = {path: stamp for path, stamp in known.items() if parse_frame_name(path).hdu is None}
        self._later = LaterLooks(folder, plain, reopenable)
        self._known_parts = {path: stamp for path, stamp in known.items() if path not in plain}
        self._scan = FolderScan(folder, *(exclude if isinstance(exclude, tuple) else (exclude,)))
        self._closed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._created: deque[str] = deque()
        self._candidates: dict[str, _Candidate] = {}
        self._stopped = threading.Event()
        follows = self._settings.use_events and not self._settings.finite
        self._events = FolderEvents(folder, self._hint_of_event) if follows else None
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.failure: Exception | None = None

    def start(self) -> None:
        """Start watching; the folder must exist."""
        if self._events is not None:
            self._events.start()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._closed.put(_SCAN_MARK)
        if self._thread.is_alive():
            self._thread.join(2.0)
        if self._events is not None:  # after the thread, which may be about to renew them
            self._events.stop()

    def hint(self, relative: str, *, closed: bool) -> None:
        """Look at a file, at once if it was closed; safe to call from any thread."""
        if not self.is_searched(relative):
            return
        if closed:
            self._closed.put(relative)
        else:
            # Nobody is woken: most are closed a moment later.
            self._created.append(relative)

    def _hint_of_event(self, relative: str, closed: bool) -> None:
        self.hint(relative, closed=closed)

    def watch_again(self, path: str, known: KnownFile) -> None:
        """Take a rejected frame again when its file is no longer `known`; safe to call from any thread."""
        self._later.add(path, known)

    def complaints(self) -> tuple[str, ...]:
        """What keeps frames from being found, in sentences."""
        if self._scan.is_reachable:
            return self._scan.unreadable
        return (f"folder {self._folder} cannot be read: it is looked for every {self._settings.scan_s:g} s",)

    def is_searched(self, relative: str) -> bool:
        """Whether the scan would find a file of this name."""
        return self._scan.is_searched(relative)

    def _run(self) -> None:
        try:
            if self._settings.finite:
                self._run_once()
            else:
                self._run_on()
        except Exception as error:  # noqa: BLE001  (told below, and raised by the night process)
            # The night process looks at this every round: a night without its watcher must not look alive.
            self.failure = error
            _log.exception("the watcher ended")

    def _run_once(self) -> None:
        self._take_scan()
        while self._candidates and not self._stopped.is_set():
            self._check_candidates()
            if self._candidates:
                self._stopped.wait(_CHECK_EVERY_S)
        self._deliver([], True)

    def _run_on(self) -> None:
        next_scan_s = 0.0
        while not self._stopped.is_set():
            now_s = time.monotonic()
            if now_s >= next_scan_s:
                self._take_scan()
                took_s = time.monotonic() - now_s
                next_scan_s = now_s + max(self._settings.scan_s, took_s / _SCAN_SHARE)
            self._check_candidates()
            wait_s = next_scan_s - time.monotonic()
            self._take_hints(min(wait_s, _CHECK_EVERY_S if self._candidates else _NOTICE_EVERY_S))

    def _take_scan(self) -> None:
        if self._events is not None:
            self._events.renew()  # before the listing: what comes after it has its events
        for name in self._scan.new_names():
            if safe_name(name) not in self._later:
                self._candidates.setdefault(name, _Candidate())
        for name in self._later.others(all_files=self._settings.finite):
            self._candidates.setdefault(name, _Candidate(again=True))

    def _take_hints(self, wait_s: float) -> list[str]:
        """Make candidates of the files that were hinted at, after waiting for one; return the closed ones."""
        closed = []
        try:
            closed.append(self._closed.get(timeout=wait_s) if wait_s > 0.0 else self._closed.get_nowait())
            while True:
                closed.append(self._closed.get_nowait())
        except queue.Empty:
            pass
        while self._created:
            self._note_hint(self._created.popleft(), closed=False)
        return [name for name in closed if self._note_hint(name, closed=True)]

    def _note_hint(self, name: str, *, closed: bool) -> bool:
        """Make a candidate of a file, unless it has arrived and is still the same; whether it is one."""
        is_known = safe_name(name) in self._later
        if not name or (is_known and not self._later.is_another(name)):
            return False
        candidate = self._candidates.setdefault(name, _Candidate(again=is_known))
        candidate.closed = candidate.closed or closed
        return True

    def _check_hinted(self) -> None:
        """Deliver what was closed just now: it must not wait until a backlog was looked through."""
        arrived: list[Arrival] = []
        for name in dict.fromkeys(self._take_hints(0.0)):
            arrived += self._check_one(name)
        if arrived:
            self._deliver(_in_order(arrived), False)

    def _check_one(self, name: str) -> list[Arrival]:
        """What arrives with a file, which is no candidate then; nothing if it is not complete."""
        candidate = self._candidates.get(name)
        found = self._checked(name, candidate) if candidate is not None else None
        if candidate is not None and candidate.gone:
            del self._candidates[name]
        if candidate is None or found is None:
            return []
        stamp = (candidate.size_bytes, candidate.mtime_ns)
        # The ledger knows which frames of a file that is taken again are open.
        arrived = [one for one in found if candidate.again or self._known_parts.get(one.message.path) != stamp]
        self._later.note_arrival(safe_name(name), stamp)
        del self._candidates[name]
        return arrived

    def _check_candidates(self) -> None:
        """Deliver the files that are complete, in order of time and path."""
        arrived: list[Arrival] = []
        for number, name in enumerate(sorted(self._candidates)):
            if self._stopped.is_set():
                return
            if number % _HINTS_EVERY == _HINTS_EVERY - 1 and not self._settings.finite:
                self._check_hinted()
            arrived += self._check_one(name)
            if len(arrived) >= _DELIVERED_AT_ONCE and not self._settings.finite:
                self._deliver(_in_order(arrived), False)
                arrived = []
        if arrived:
            self._deliver(_in_order(arrived), False)

    def _checked(self, name: str, candidate: _Candidate) -> list[Arrival] | None:
        """The same as `_check`; a file over which this program itself fails arrives with that for its reason."""
        try:
            return self._check(name, candidate)
        except Exception as error:  # noqa: BLE001  (one file must not end the night)
            _log.exception("file %s", safe_name(name))
            sentence = f"{safe_name(name)}: an error in opticam-live itself, {type(error).__name__}: {error}"
            return [Arrival(FrameArrived(safe_name(name), 0, 0, time.time()), sentence)]

    def _check(self, name: str, candidate: _Candidate) -> list[Arrival] | None:
        """Return what arrived if the file has arrived; note if it is gone."""
        refusal = refusal_of(self._folder, name)
        try:
            status = status_of(self._folder, name, follow=refusal is None)
        except OSError as error:
            if refusal is None or isinstance(error, FileNotFoundError):
                candidate.gone = True
                return None
            return [Arrival(FrameArrived(safe_name(name), 0, 0, time.time()), refusal)]
        mtime_ns = mtime_ns_of(status)
        message = FrameArrived(safe_name(name), status.st_size, mtime_ns, time.time())
        if refusal is not None:
            return [Arrival(message, refusal)]
        now_s = time.monotonic()
        if (candidate.size_bytes, candidate.mtime_ns) != (status.st_size, mtime_ns):
            candidate.was_old = candidate.size_bytes < 0 and time.time() - status.st_mtime > self._settings.old_s
            candidate.size_bytes, candidate.mtime_ns = status.st_size, mtime_ns
            candidate.still_since_s, candidate.incomplete = now_s, False
        still_s = now_s - candidate.still_since_s
        return self._arrivals(name, candidate, message, still_s)

    def _arrivals(
        self, name: str, candidate: _Candidate, message: FrameArrived, still_s: float
    ) -> list[Arrival] | None:
        settings = self._settings
        settled = candidate.closed or candidate.was_old
        if candidate.incomplete:
            # That it was closed says little here: copies are made in pieces.
            late = (candidate.was_old and settings.finite) or still_s >= settings.incomplete_s
            return self._arrivals_of_part(name, message) if late else None
        if not settled and still_s < settings.hold_s:
            return None
        try:
            peeks = list_frames(self._folder / name, name, self._instrument)
        except FrameIncompleteError:
            candidate.incomplete = True
            return self._arrivals(name, candidate, message, still_s)
        except (FrameRejectedError, OSError):
            return [Arrival(message)] if settled or still_s >= settings.odd_hold_s else None
        except Exception:  # noqa: BLE001  (one file must not end the night; the worker meets the same and says so)
            _log.exception("header of %s", name)
            return [Arrival(message)]
        if is_gzip(name) and not candidate.was_old and not gzip_ends(self._folder / name):
            candidate.incomplete = True
            return self._arrivals(name, candidate, message, still_s)
        return [Arrival(self._described(peek, message)) for peek in peeks]

    def _arrivals_of_part(self, name: str, message: FrameArrived) -> list[Arrival]:
        """What arrives of a file that nobody completes: all that its headers tell of; the worker sees what is there."""
        try:
            peeks = list_frames(self._folder / name, name, self._instrument, complete=False)
        except (FrameIncompleteError, FrameRejectedError, OSError):
            return [Arrival(message)]
        return [Arrival(self._described(peek, message)) for peek in peeks]

    def _described(self, peek: FramePeek, message: FrameArrived) -> FrameArrived:
        """The message about a frame of a file, with key and time if its header tells them."""
        key = mjd = None
        try:
            facts = self._instrument.describe(peek.header, peek.name)
            key, mjd = facts.key, facts.time_mjd_utc
        except FrameRejectedError:
            pass  # the worker meets the same and says so
        except Exception:  # noqa: BLE001  (one file must not end the night; the worker meets the same)
            _log.exception("header of %s", peek.name)
        return FrameArrived(peek.name, message.size_bytes, message.mtime_ns, time.time(), key, mjd)


def _in_order(arrivals: list[Arrival]) -> list[Arrival]:
    def rank(arrival: Arrival) -> tuple[float, str]:
        mjd = arrival.message.time_mjd_utc
        return (mjd if mjd is not None else float("-inf"), arrival.message.path)

    return sorted(arrivals, key=rank)
