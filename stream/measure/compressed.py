"""Compressed files of frames: gzip by isal, tile compression (``.fz``, fpack) by astropy.

Tile-compressed pixels are unpacked in a worker only: the libraries below astropy have crashed over damaged ones.
"""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.errors import FrameRejectedError, Reason

GUNZIP_LIMIT_BYTES = 1024**3
_PIECE_BYTES = 2**20
_GZIP_MAGIC = b"\x1f\x8b"


def is_gzip(name: str) -> bool:
    """Whether a file is packed by gzip, by its name."""
    return name.lower().endswith(".gz")


def gunzip(compressed: bytes, name: str) -> bytes:
    """Unpack a whole gzip file of any number of members.

    Raises
    ------
    FrameRejectedError
        If it is not a gzip file, damaged or cut.
    """
    content, ended = gunzip_start(compressed, name, GUNZIP_LIMIT_BYTES)
    if not ended and len(content) < GUNZIP_LIMIT_BYTES:
        raise FrameRejectedError(Reason.TRUNCATED, f"{name} is truncated: its gzip stream does not end")
    return content


def gunzip_start(compressed: bytes, name: str, limit: int) -> tuple[bytes, bool]:
    """Unpack at most `limit` bytes of all members of a gzip file; also whether the last member ended.

    Raises
    ------
    FrameRejectedError
        If it is not a gzip file or damaged.
    """
    from isal import igzip_lib, isal_zlib

    if compressed[:2] != _GZIP_MAGIC[: len(compressed)]:
        raise FrameRejectedError(Reason.UNREADABLE, f"{name} is not a gzip file")
    parts: list[bytes] = []
    ended = False
    try:
        while limit > 0 and compressed.startswith(_GZIP_MAGIC):
            unpacker = isal_zlib.decompressobj(wbits=31)
            parts.append(bytes(unpacker.decompress(compressed, limit)))
            limit -= len(parts[-1])
            ended, compressed = bool(unpacker.eof), unpacker.unused_data
    except (zlib.error, igzip_lib.IsalError) as error:  # type: ignore[misc]  # isal's stubs forget its base class
        raise FrameRejectedError(Reason.UNREADABLE, f"{name} cannot be unpacked: {error}") from error
    return b"".join(parts), ended


def gzip_ends(path: Path) -> bool:
    """Whether the last member of a gzip file has ended: it is unpacked piece by piece, and nothing is kept.

    What is no gzip file, damaged or of more than `GUNZIP_LIMIT_BYTES` will not become better by waiting: True.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    from isal import igzip_lib, isal_zlib

    unpacker = isal_zlib.decompressobj(wbits=31)
    n_unpacked = 0
    with path.open("rb") as file:
        while n_unpacked < GUNZIP_LIMIT_BYTES:
            piece = unpacker.unconsumed_tail or unpacker.unused_data or file.read(_PIECE_BYTES)
            if unpacker.eof:
                if not piece.startswith(_GZIP_MAGIC):
                    return True
                unpacker = isal_zlib.decompressobj(wbits=31)
            elif not piece:
                return False
            try:
                n_unpacked += len(unpacker.decompress(piece, _PIECE_BYTES))
            except (zlib.error, igzip_lib.IsalError):  # type: ignore[misc]  # isal's stubs forget its base class
                return True
    return True


def read_tiles(path: Path, name: str, *, hdu: int, plane: int | None) -> NDArray:
    """Read the image of a tile-compressed HDU, or one plane of its cube; only its tiles are unpacked.

    Returns
    -------
    array, shape (rows, columns)
        Stored values: neither ``BSCALE`` nor ``BZERO`` is applied. Quantised floats come as floats, NaN for no value.

    Raises
    ------
    FrameRejectedError
        If it cannot be unpacked.
    """
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keywords that this project does not use
            with fits.open(path, memmap=False, do_not_scale_image_data=True) as hdus:
                section = hdus[hdu].section
                return np.array(section[:] if plane is None else section[plane])
    except Exception as error:  # a damaged file makes astropy raise almost anything
        text = " ".join(str(error).split())
        raise FrameRejectedError(
            Reason.UNREADABLE, f"{name} cannot be unpacked: {type(error).__name__}: {text or 'no text'}"
        ) from error
