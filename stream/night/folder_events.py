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


def observe(folder: Path, hint: Hint) -> BaseObserver | None:
    """Call `hint` for each event of a frame below `folder`, from a thread of its own; None where there are no events.

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
