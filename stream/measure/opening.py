"""Opening files of frames: regular files alone, because a pipe or a device may never end, or never begin.

Whoever writes into the folder of a night may replace a file between the look at it and its opening, so what was
opened is looked at.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stream.errors import FrameRejectedError, Reason


@contextmanager
def open_regular(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file for reading, without a buffer.

    Raises
    ------
    FrameRejectedError
        If it is a pipe, a device, a socket or a folder.
    OSError
        If it cannot be opened.
    """
    with open(path, "rb", buffering=0, opener=_open) as file:  # Path.open takes no opener
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FrameRejectedError(Reason.UNREADABLE, f"{name} is not a regular file")
        yield file


def read_exactly(file: BinaryIO, n_bytes: int) -> bytes:
    """Return the next bytes; fewer at the end of the file alone."""
    content = file.read(n_bytes)
    while len(content) < n_bytes and (more := file.read(n_bytes - len(content))):  # one call reads 2 GiB at most
        content += more
    return content


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe without a writer is not waited for
