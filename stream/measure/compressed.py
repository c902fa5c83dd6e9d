"""Compressed files of frames: gzip by isal, tile compression (``.fz``, fpack) by astropy.

Of the libraries below astropy those of HCOMPRESS and PLIO overwrite memory over damaged tiles: they run in a process of
their own, see `stream.measure.tile_process`.
"""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from stream.errors import FrameRejectedError, Reason
from stream.measure.opening import open_regular
from stream.measure.tile_process import TileProcess, TileProcessError

GUNZIP_LIMIT_BYTES = 1024**3
_PIECE_BYTES = 2**20
_DECODED_HERE = frozenset(("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS"))  # none of these trusts its input
_beside = TileProcess()
_GZIP_MAGIC, _GZIP_WBITS = b"\x1f\x8b", 31


def is_gzip(name: str) -> bool:
    """Whether a file is packed by gzip, by its name."""
    return name.lower().endswith(".gz")


class GzipStream:
    """Unpacks a gzip file of any number of members forwards; keeps nothing, so that no file is too large for it.

    Raises
    ------
    FrameRejectedError
        When it is read: if it is not a gzip file, damaged, or unpacks to more than `GUNZIP_LIMIT_BYTES`.
    OSError
        If the file cannot be read.

    Attributes
    ----------
    position : int
        Bytes that were unpacked.
    has_ended : bool
        Whether the last member ended; False until then, and for a file that is cut.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        from isal import isal_zlib

        self._file, self._name = file, name
        self._unpacker = isal_zlib.decompressobj(wbits=_GZIP_WBITS)
        self._is_over = False
        self.position = 0
        self.has_ended = False
        self._packed = file.read(_PIECE_BYTES)
        if self._packed[:2] != _GZIP_MAGIC[: len(self._packed)]:
            raise FrameRejectedError(Reason.UNREADABLE, f"{name} is not a gzip file")

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes; fewer where the stream ends or is cut."""
        parts = []
        while n_bytes > 0 and not self._is_over:
            parts.append(self._next(n_bytes))
            n_bytes -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, n_bytes: int) -> None:
        """Unpack so many bytes and keep none of them."""
        end = self.position + n_bytes
        while self.position < end and not self._is_over:
            self._next(min(_PIECE_BYTES, end - self.position))

    def skip_to_end(self) -> None:
        """Unpack all that is left: only then is it known whether it is whole."""
        self.skip(GUNZIP_LIMIT_BYTES + 1)

    def _next(self, most: int) -> bytes:
        """Some more bytes, at most so many; none where a member begins or ends."""
        from isal import igzip_lib

        if self._unpacker.eof and not self._begin_member():
            return b""
        if not self._packed:
            self._packed = self._file.read(_PIECE_BYTES)
        is_last = not self._packed
        try:
            content = bytes(self._unpacker.decompress(self._packed, most))
        except (zlib.error, igzip_lib.IsalError) as error:  # type: ignore[misc]  # isal's stubs forget its base class
            raise FrameRejectedError(Reason.UNREADABLE, f"{self._name} cannot be unpacked: {error}") from error
        self._packed = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
        self._is_over = is_last and not content and not self._unpacker.eof
        self.position += len(content)
        if self.position > GUNZIP_LIMIT_BYTES:
            raise FrameRejectedError(
                Reason.UNREADABLE,
                f"{self._name} unpacks to more than {GUNZIP_LIMIT_BYTES} bytes: no frame is that large",
            )
        return content

    def _begin_member(self) -> bool:
        """Begin the member that follows the one which has ended; whether there is one, and not just padding."""
        from isal import isal_zlib

        while len(self._packed) < len(_GZIP_MAGIC) and (more := self._file.read(_PIECE_BYTES)):
            self._packed += more
        is_there = self._packed.startswith(_GZIP_MAGIC)
        if is_there:
            self._unpacker = isal_zlib.decompressobj(wbits=_GZIP_WBITS)
        else:
            self._is_over = self.has_ended = True
        return is_there


def gzip_ends(path: Path) -> bool:
    """Whether the last member of a gzip file has ended: it is unpacked piece by piece, and nothing is kept.

    What is no gzip file, damaged or of more than `GUNZIP_LIMIT_BYTES` will not become better by waiting: True.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    try:
        with open_regular(path, path.name) as file:
            stream = GzipStream(file, path.name)
            stream.skip_to_end()
    except FrameRejectedError:
        return True
    return stream.has_ended


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
    try:
        pixels = section_of(path, hdu, plane, only=_DECODED_HERE)
        return pixels if pixels is not None else _beside.read(path, hdu, plane)
    except MemoryError:
        raise
    except TileProcessError as error:
        raise FrameRejectedError(Reason.UNREADABLE, f"{name} cannot be unpacked: {error}") from error
    except Exception as error:  # a damaged file makes astropy raise almost anything
        text = " ".join(str(error).split())
        raise FrameRejectedError(
            Reason.UNREADABLE, f"{name} cannot be unpacked: {type(error).__name__}: {text or 'no text'}"
        ) from error


def section_of(path: Path, hdu: int, plane: int | None, *, only: frozenset[str] | None = None) -> NDArray | None:
    """The same, by astropy in this process, with whatever it raises; None if the compression is not one of `only`."""
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of keywords that this project does not use
        with fits.open(path, memmap=False, do_not_scale_image_data=True) as hdus:
            if only is not None and hdus[hdu].compression_type not in only:
                return None
            section = hdus[hdu].section
            return np.array(section[:] if plane is None else section[plane])
