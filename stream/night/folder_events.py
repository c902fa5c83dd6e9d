"""Events of the file system below a folder, as names of frames."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from stream.frame_names import is_frame_name

_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]

_log = logging.getLogger(__name__)

Hint = Callable[[str, bool], None]
"""Takes a path relative to the folder, and whether the file was closed or moved in just now."""


class FolderEvents:
    """Events of the frames below a folder, also of one that takes its place: a disk that was mounted again.

    Parameters
    ----------
    hint : callable
        Called for each event, from a thread of its own.
    """

    def __init__(self, folder: Path, hint: Hint) -> None:
        self._folder, self._hint = folder, hint
        self._place: tuple[int, int] | None = None
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Follow the folder; where it has no events, a line of the log says so."""
        self._place, self._observer = _place_of(self._folder), _observe(self._folder, self._hint)

    def renew(self) -> bool:
        """Follow what is called so now, if it is not what was followed; whether it was renewed."""
        place = _place_of(self._folder)
        # A folder that was deleted and made again may get the number of the old one; who followed that has ended.
        ended = self._observer is not None and not all(emitter.is_alive() for emitter in self._observer.emitters)
        if place is None or (place == self._place and not ended):
            return False
        self.stop()
        self.start()
        _log.warning("%s is another folder than it was: its events are followed from now on", self._folder)
        return True

    def stop(self) -> None:
        """Follow nothing any more; safe to call twice."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join(2.0)


def _place_of(folder: Path) -> tuple[int, int] | None:
    """Device and number of a folder; None where it is gone."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _observe(folder: Path, hint: Hint) -> BaseObserver | None:
    """Call `hint` for each event of a frame below `folder`; None where there are no events.

    Folders are left to the scan: what lay in a new one before it was watched has no events.
    """
    observer = Observer()
    try:
        observer.schedule(_Handler(folder, hint), folder, recursive=True, event_filter=_EVENTS)
        observer.start()
    except OSError as error:
        _log.warning("no events from %s: %s", folder, error)
        return None
    return observer


class _Handler(FileSystemEventHandler):
    """Turns events into hints; called for each of them, so it makes no objects of paths."""

    def __init__(self, folder: Path, hint: Hint) -> None:
        self._prefix, self._hint = f"{folder}{os.sep}", hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Pass on names of frames."""
        path = os.fsdecode(event.dest_path or event.src_path)
        if not event.is_directory and path.startswith(self._prefix):
            relative = path[len(self._prefix) :].replace(os.sep, "/")
            if is_frame_name(relative.rpartition("/")[2]):
                self._hint(relative, isinstance(event, FileClosedEvent | FileMovedEvent))
