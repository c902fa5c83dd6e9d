"""Names of frames: the path of the file, and where in the file the frame stands if there are several.

``night.fits`` is the only frame of its file, ``night.fits[2]`` the image of HDU 2, ``cube.fits[0,17]`` plane 17 of the
cube in HDU 0. Both numbers count from 0, as in astropy. The name is what the ledger, the page and every sentence show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FRAME_SUFFIXES = (".fit", ".fits", ".fts")
PACKED_SUFFIXES = (".gz", ".fz")
_SELECTOR = re.compile(r"\[(\d{1,9})(?:,(\d{1,9}))?\]\Z")


@dataclass(frozen=True, slots=True)
class FrameName:
    """Where a frame stands.

    Attributes
    ----------
    file : str
        Path of the file.
    hdu : int or None
        Number of the HDU; None for the only frame of the file.
    plane : int or None
        Plane of a cube; None for an image.
    """

    file: str
    hdu: int | None = None
    plane: int | None = None

    def __str__(self) -> str:
        """Return the name itself."""
        if self.hdu is None:
            return self.file
        return f"{self.file}[{self.hdu}]" if self.plane is None else f"{self.file}[{self.hdu},{self.plane}]"


def is_frame_name(name: str) -> bool:
    """Whether a file name is that of a file of frames; hidden and temporary ones are not.

    The case of the ending does not count: cameras write ``.FITS`` too.
    """
    lower = name.lower()
    for suffix in PACKED_SUFFIXES:
        lower = lower.removesuffix(suffix)
    return not name.startswith(".") and lower.endswith(FRAME_SUFFIXES)


def parse_frame_name(name: str) -> FrameName:
    """Split the name of a frame into file and place; a name without a place is that of the file."""
    match = _SELECTOR.search(name) if name.endswith("]") else None
    if match is None:
        return FrameName(name)
    hdu, plane = match.groups()
    return FrameName(name[: match.start()], int(hdu), None if plane is None else int(plane))


def file_of(path: Path) -> Path:
    """Path of the file that a frame stands in; `path` may end in a place."""
    return path.with_name(parse_frame_name(path.name).file) if path.name.endswith("]") else path
