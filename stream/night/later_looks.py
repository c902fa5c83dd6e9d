"""Files that have arrived and are looked at again: rejected ones may be completed late, new ones may still change."""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from stream.frame_names import parse_frame_name
from stream.night.folder_scan import refusal_of, status_of
from stream.night.ledger_sets import KnownFile

_RECENT_S = 30.0
_MOST_RECENT = 1000

_log = logging.getLogger(__name__)


class LaterLooks:
    """Sizes and modification times of files that arrived, against what lies there now.

    Parameters
    ----------
    folder : Path
        Folder of the frames.
    reopenable : mapping of path to KnownFile
        Frames that were rejected as incomplete, as their files were then.
    """

    def __init__(self, folder: Path, reopenable: Mapping[str, KnownFile]) -> None:
        self._folder = folder
        self._added: queue.SimpleQueue[tuple[str, KnownFile]] = queue.SimpleQueue()
        self._reopenable: dict[str, tuple[int, int]] = {}
        self._recent: deque[tuple[float, str, tuple[int, int]]] = deque(maxlen=_MOST_RECENT)
        for path, known in reopenable.items():
            self.add(path, known)

    def add(self, path: str, known: KnownFile) -> None:
        """Look at the file of a rejected frame again; safe to call from any thread."""
        self._added.put((path, known))

    def note_arrival(self, name: str, size_bytes: int, mtime_ns: int) -> None:
        """Note that a file was handed over as it is now; times are negative for one that must not be opened."""
        self._reopenable.pop(name, None)
        if mtime_ns >= 0:
            self._recent.append((time.monotonic(), name, (size_bytes, mtime_ns)))

    def is_another(self, name: str) -> bool:
        """Whether a file that was rejected as incomplete has another size or modification time now."""
        self._take_added()
        then = self._reopenable.get(name)
        now = self._stamp(name) if then is not None else None
        return now is not None and now != then

    def others(self) -> list[str]:
        """All such files."""
        self._take_added()
        return [name for name in self._reopenable if self.is_another(name)]

    def log_changes(self) -> None:
        """Say which files changed after they were handed over: what was measured may be half of them."""
        oldest_s = time.monotonic() - _RECENT_S
        while self._recent and self._recent[0][0] < oldest_s:
            self._recent.popleft()
        changed = []
        for entry in self._recent:
            _, name, then = entry
            if self._has(name, then):
                continue
            now = self._stamp(name)
            if now is not None and now != then:
                changed.append(entry)
                if name not in self._reopenable:
                    _log.warning("%s changed after it was handed over: %d bytes then, %d now", name, then[0], now[0])
        for entry in changed:
            self._recent.remove(entry)

    def _take_added(self) -> None:
        while not self._added.empty():
            path, known = self._added.get()
            self._reopenable[parse_frame_name(path).file] = (known.size_bytes, known.mtime_ns)

    def _has(self, name: str, then: tuple[int, int]) -> bool:
        """Whether a file is as it was then; one look, because most are and hundreds are asked for at each scan."""
        try:
            status = status_of(self._folder, name)
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == then

    def _stamp(self, name: str) -> tuple[int, int] | None:
        if refusal_of(self._folder, name) is not None:
            return None
        try:
            status = (self._folder / name).stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns
