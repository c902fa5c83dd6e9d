"""The files of a night's folder: names that are frames, and a scan that looks again only where something changed."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from stream.frame_names import is_frame_name

__all__ = ["FolderScan", "is_frame_name", "mtime_ns_of", "refusal_of", "safe_name", "status_of"]

_YIELD_EVERY = 500
_KNOWN_S = 1.0
_LONGEST_ESCAPED = 4000
_LATEST_NS = 2**63 - 1  # the largest number of a ledger; file systems go on for centuries after it

_log = logging.getLogger(__name__)


def safe_name(relative: str) -> str:
    """Path as it stands in the ledger: itself, or with escapes where it holds what cannot be printed or encoded.

    One with escapes stands in quotes, so that no other file can have it for its name: a frame ends in no quote.
    """
    if relative.isprintable():
        return relative
    content = os.fsencode(relative)
    escaped = content.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    escaped = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in escaped)
    if len(escaped) > _LONGEST_ESCAPED:  # no message between the processes of a night is longer
        escaped = f"{escaped[:_LONGEST_ESCAPED]}...{hashlib.sha256(content).hexdigest()[:16]}"
    return f"'{escaped}'"


def refusal_of(folder: Path, relative: str) -> str | None:
    """Why a file must not be opened, in one sentence; None if it may be, or is gone.

    A link is followed to a file within the folder alone: what lies outside is not a frame of this night, and whoever
    writes into the folder would choose what else this program reads.
    """
    name = safe_name(relative)
    if name != relative:
        return f"{name}: a file name of printable characters is required"
    try:
        own_mode = status_of(folder, relative, follow=False).st_mode
        if stat.S_ISREG(own_mode):
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"{name} cannot be looked at: {error.strerror}"
    if stat.S_ISLNK(own_mode):
        return _refusal_of_link(folder, name)
    return f"{name} is not a regular file"


def _refusal_of_link(folder: Path, name: str) -> str | None:
    try:
        mode = status_of(folder, name).st_mode
    except OSError as error:  # a loop, an end that is not there or must not be seen
        return f"{name} is a link that cannot be followed: {error.strerror}"
    # Not Path.resolve: it raises over loops, and the link may have become one by now.
    if not Path(os.path.realpath(folder / name)).is_relative_to(os.path.realpath(folder)):
        return f"{name} is a link to a file outside of the night's folder"
    return None if stat.S_ISREG(mode) else f"{name} is not a regular file"


def mtime_ns_of(status: os.stat_result) -> int:
    """Modification time as it stands in the ledger, nanoseconds since 1970; of files of the far future the latest."""
    return max(-_LATEST_NS, min(status.st_mtime_ns, _LATEST_NS))


def status_of(folder: Path, relative: str, *, follow: bool = True) -> os.stat_result:
    """Size, times and kind of a file of the folder; raises OSError."""
    return os.stat(f"{folder}/{relative}", follow_symlinks=follow)  # noqa: PTH116  (making a Path takes far longer)


class FolderScan:
    """Lists the frames of a folder and all folders below it.

    A folder whose modification time stood still over two listings in a row has no new names and is not listed
    again until that changes; every so many scans all are, for file systems that keep time badly.

    Parameters
    ----------
    exclude : Path
        Folders and files that are left out: the outputs of the night and its calibration frames may lie within its
        frames.

    Attributes
    ----------
    is_reachable : bool
        Whether the folder itself could be listed.
    unreadable : tuple of str
        A sentence for each folder within it that could not be listed at the last scan.
    """

    def __init__(self, folder: Path, *exclude: Path, full_every: int = 15) -> None:
        self._folder, self._exclude = folder, frozenset(_real(path) for path in exclude)
        self._excluded_names = frozenset(path.name for path in self._exclude)
        self._full_every = full_every
        self._mtime_ns: dict[str, int] = {}
        self._settled: set[str] = set()
        self._folders: dict[str, list[str]] = {}
        self._searched: dict[str, tuple[float, bool]] = {}
        self._n_scans = 0
        self._refused: dict[str, str] = {}
        self.unreadable: tuple[str, ...] = ()
        self.is_reachable = True

    def new_names(self) -> Iterator[str]:
        """Paths, relative to the folder, of the frames in all folders that may have changed since the last scan."""
        if self._n_scans % self._full_every == 0:
            self._settled.clear()
        self._n_scans += 1
        self._refused.clear()
        pending = [""]
        while pending:
            relative = pending.pop()
            yield from self._list(relative)
            pending += self._folders.get(relative, ())
        refused = tuple(self._refused[relative] for relative in sorted(self._refused))
        for sentence in set(refused) - set(self.unreadable):
            _log.warning("%s", sentence)
        self.unreadable = refused

    def is_searched(self, relative: str) -> bool:
        """Whether a file would be found: neither it nor its folder excluded, the folder not hidden or behind a link."""
        parent, _, name = relative.rpartition("/")
        now_s = time.monotonic()
        known_s, is_searched = self._searched.get(parent, (-math.inf, False))
        if now_s - known_s > _KNOWN_S:
            is_searched = self._is_folder_searched(Path(parent).parts)
            self._searched[parent] = (now_s, is_searched)
        return is_searched and not self._is_excluded(name, f"{self._folder}/{relative}")

    def _is_folder_searched(self, parts: tuple[str, ...]) -> bool:
        if any(part.startswith(".") or is_frame_name(part) for part in parts):
            return False
        place = _real(self._folder.joinpath(*parts))
        is_excluded = bool(parts) and any(place.is_relative_to(excluded) for excluded in self._exclude)
        return place == _real(self._folder).joinpath(*parts) and not is_excluded

    def _is_excluded(self, name: str, path: str | Path) -> bool:
        """Whether a file or folder is left out; its name alone tells of most that it is not, without a look at it."""
        return name in self._excluded_names and _real(path) in self._exclude

    def _list(self, relative: str) -> Iterator[str]:
        path = self._folder / relative
        try:
            mtime_ns = path.stat().st_mtime_ns
            if relative in self._settled and self._mtime_ns.get(relative) == mtime_ns:
                return
            with os.scandir(path) as entries:
                names, folders = self._sort_entries(relative, entries)
        except OSError as error:
            self._note_unreachable(relative, error)
            return
        self._note_listed(relative, mtime_ns)
        self._folders[relative] = folders
        for number, name in enumerate(names):
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                time.sleep(0.0)  # the broker's loop runs in the same process
            yield name

    def _sort_entries(self, relative: str, entries: Iterator[os.DirEntry[str]]) -> tuple[list[str], list[str]]:
        names, folders = [], []
        for entry in entries:
            name = f"{relative}/{entry.name}" if relative else entry.name
            if self._is_excluded(entry.name, entry.path):
                continue
            if is_frame_name(entry.name):
                names.append(name)
            elif not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                folders.append(name)
        return sorted(names), folders

    def _note_listed(self, relative: str, mtime_ns: int) -> None:
        if relative == "" and not self.is_reachable:
            _log.warning("folder %s is back", self._folder)
            self.is_reachable = True
        if self._mtime_ns.get(relative) == mtime_ns:
            self._settled.add(relative)
        else:
            self._settled.discard(relative)
        self._mtime_ns[relative] = mtime_ns

    def _note_unreachable(self, relative: str, error: OSError) -> None:
        self._mtime_ns.pop(relative, None)
        self._settled.discard(relative)
        if relative == "" and self.is_reachable:
            _log.warning("folder %s cannot be read: %s", self._folder, error)
            self.is_reachable = False
        if relative and not isinstance(error, FileNotFoundError | NotADirectoryError):
            self._refused[relative] = f"folder {safe_name(relative)} cannot be read: {error.strerror}"


def _real(path: str | Path) -> Path:
    """Where a path leads; unlike `Path.resolve` without an error where links go round in a circle."""
    return Path(os.path.realpath(path))
