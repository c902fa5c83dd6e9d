"""A small file of a night that others replace: read again when it has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from stream.errors import ConfigurationError

_Content = TypeVar("_Content")


class FollowedFile(Generic[_Content]):
    """What was read last from a file that is always replaced as a whole.

    Parameters
    ----------
    path : Path
    load : callable
        Reads it; raises ConfigurationError where that cannot be done.
    empty : object
        What there is before anything was read.
    """

    def __init__(self, path: Path, load: Callable[[], _Content], empty: _Content) -> None:
        self._path, self._load = path, load
        self.content = empty
        """The last that could be read."""
        self.problem = ""
        """Why the file as it is now cannot be read."""
        self._stamp: tuple[int, int] | None = (0, 0)

    def look(self) -> bool:
        """Read the file if it was replaced, or is gone; returns whether it was."""
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.content, self.problem = self._load(), ""
        except ConfigurationError as problem:
            self.problem = str(problem)
        return True


def _stamp_of(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino
