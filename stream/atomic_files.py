"""Files that a reader finds either as they were or as they are to be, never half of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write under a hidden temporary name in the same folder, then rename.

    Parameters
    ----------
    content : bytes, str or callable
        What the file holds, or a function that writes it to the path that it is given; that path has the suffix of
        `path`, from which libraries take the format.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written; the former file is then as it was.
    """
    # Nobody who looks for files by their ending should meet the temporary one; only libraries need the ending.
    ending = path.suffix if callable(content) else f"{path.suffix}.tmp"
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{ending}")
    try:
        if callable(content):
            content(temporary)
        elif isinstance(content, str):
            temporary.write_text(content, encoding="utf-8")
        else:
            temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
