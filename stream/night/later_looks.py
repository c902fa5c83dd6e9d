"""Files that have arrived and are looked at again: rejected ones may be completed late, others be overwritten."""

from __future__ import annotations

import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from stream.frame_names import parse_frame_name
from stream.night.folder_scan import mtime_ns_of, refusal_of, status_of
from stream.night.ledger_sets import FileStamp, KnownFile

_RECENT_S = 30.0
_MOST_RECENT = 1000
_ROUND_SHARE_S = 0.01
_LOOKS_BETWEEN_CLOCKS = 50
_SIZE_BITS = 64
MOST_TIMES = 100
"""A file that is overwritten more often in one run is no frame: cameras keep their newest picture under one name."""

_log = logging.getLogger(__name__)


class LaterLooks:
    """Sizes and modification times of files that arrived, against what lies there now.

    Files that were rejected as incomplete and those of the last half minute are looked at each time; all others in
    turn, for a hundredth of a second each time.

    Parameters
    ----------
    folder : Path
        Folder of the frames.
    files : mapping of name to FileStamp
        Files that arrived earlier, as they were then.
    reopenable : mapping of path to KnownFile
        Frames that were rejected as incomplete, as their files were then.
    """

    def __init__(self, folder: Path, files: Mapping[str, FileStamp], reopenable: Mapping[str, KnownFile]) -> None:
        self._folder = folder
        self._added: queue.SimpleQueue[tuple[str, KnownFile]] = queue.SimpleQueue()
        self._files = {name: _packed(stamp) for name, stamp in files.items()}
        self._incomplete: set[str] = set()
        self._recent: deque[tuple[float, str]] = deque(maxlen=_MOST_RECENT)
        self._round: list[str] = []
        self._n_times: Counter[str] = Counter()
        for path, known in reopenable.items():
            self.add(path, known)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def add(self, path: str, known: KnownFile) -> None:
        """Look at the file of a rejected frame again; safe to call from any thread."""
        self._added.put((path, known))

    def note_arrival(self, name: str, stamp: FileStamp) -> None:
        """Note that a file was handed over as it is now; the stamp of one that must not be opened is negative.

        One that arrives again although nothing was missing of it is named in the log.
        """
        before, now = self._files.get(name), _packed(stamp)
        if before is not None and before != now and name not in self._incomplete:
            self._note_overwritten(name, _size(before), _size(now))
        self._files[name] = now
        self._incomplete.discard(name)
        if now >= 0:
            self._recent.append((time.monotonic(), name))

    def is_another(self, name: str) -> bool:
        """Whether a file that arrived has another size or modification time now."""
        self._take_added()
        return self._is_other(name)

    def others(self, *, all_files: bool = False) -> list[str]:
        """Such files: some of those there are, or all of them."""
        self._take_added()
        if all_files:
            return self._others_of(list(self._files))
        oldest_s = time.monotonic() - _RECENT_S
        while self._recent and self._recent[0][0] < oldest_s:
            self._recent.popleft()
        watched = self._incomplete.union(name for _, name in self._recent)
        return self._others_of(watched) + self._others_in_turn()

    def _others_in_turn(self) -> list[str]:
        """Those among the next files of the round, newest first; a new one begins when all were looked at."""
        if not self._round:
            self._round = list(self._files)
        found: list[str] = []
        until_s = time.monotonic() + _ROUND_SHARE_S
        while self._round and time.monotonic() < until_s:
            names = self._round[-_LOOKS_BETWEEN_CLOCKS:]
            del self._round[-_LOOKS_BETWEEN_CLOCKS:]
            found += self._others_of(reversed(names))
        return found

    def _others_of(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._is_other(name)]

    def _note_overwritten(self, name: str, before_bytes: int, now_bytes: int) -> None:
        self._n_times[name] += 1
        _log.warning(
            "%s was overwritten after it had arrived: %d bytes then, %d now: it is measured again",
            name,
            before_bytes,
            now_bytes,
        )
        if self._n_times[name] >= MOST_TIMES:
            _log.warning("%s was overwritten %d times: it is left alone for the rest of this run", name, MOST_TIMES)

    def _is_other(self, name: str) -> bool:
        then = self._files.get(name)
        if name in self._n_times and self._n_times[name] >= MOST_TIMES:
            return False
        return then is not None and not self._has(name, then) and self._stamp(name) not in (None, then)

    def _take_added(self) -> None:
        while not self._added.empty():
            path, known = self._added.get()
            name = parse_frame_name(path).file
            self._files[name] = _packed((known.size_bytes, known.mtime_ns))
            self._incomplete.add(name)

    def _has(self, name: str, then: int) -> bool:
        """Whether a file is as it was then; one look, because most are and hundreds are asked for at each scan."""
        try:
            status = status_of(self._folder, name)
        except OSError:
            return False
        return _packed((status.st_size, mtime_ns_of(status))) == then

    def _stamp(self, name: str) -> int | None:
        if refusal_of(self._folder, name) is not None:
            return None
        try:
            status = status_of(self._folder, name)
        except OSError:
            return None
        return _packed((status.st_size, mtime_ns_of(status)))


def _packed(stamp: FileStamp) -> int:
    """Size and modification time as one number: a fast camera writes a million files a night."""
    size_bytes, mtime_ns = stamp
    return mtime_ns << _SIZE_BITS | size_bytes


def _size(packed: int) -> int:
    return packed & ((1 << _SIZE_BITS) - 1)
