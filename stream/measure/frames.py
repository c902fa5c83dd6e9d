"""Reading frames: the header once, the pixels as they are stored.

The plain image of the primary HDU is read without astropy, because that is where a frame spends its time otherwise:
bytes are read, the header is parsed, and the pixels are a view of the bytes. Nothing is converted before it is used.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.errors import FrameIncompleteError, FrameRejectedError, Reason
from stream.instruments import FrameFacts, Header, HeaderValue, Instrument
from stream.messages import FloatArray

BLOCK_BYTES = 2880
_CARD_BYTES = 80
_MAX_HEADER_BYTES = BLOCK_BYTES * 1000
_FIRST_READ_BYTES = BLOCK_BYTES * 4
_SMALLEST_SIDE_PX, _LARGEST_SIDE_PX = 16, 32768
_DTYPE_OF_BITPIX = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_COMMENTARY = ("COMMENT", "HISTORY", "")
_END_CARD = b"END" + b" " * 77
_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_VALUE = 1e30  # other programs write larger numbers for "no value"; no square of a smaller one overflows


@dataclass(frozen=True, slots=True)
class FramePeek:
    """What is known of a file from its header alone.

    Attributes
    ----------
    n_bytes : int or None
        Bytes of header and data without the padding; None for a compressed file, whose length does not tell.
    """

    header: Header
    n_bytes: int | None


@dataclass(frozen=True, slots=True)
class Frame:
    """One exposure as it is stored.

    Attributes
    ----------
    name : str
        Name of the file, for errors.
    pixels : array, shape (rows, columns)
        Stored values, big-endian, read-only; counts are ``pixels * bscale + bzero``.
    blank : int or None
        Stored value that means "no value".
    """

    name: str
    pixels: NDArray
    bscale: float
    bzero: float
    blank: int | None
    facts: FrameFacts
    header: Header

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    def electrons(self) -> NDArray[np.float32]:
        """Return the whole frame in electrons, above the camera's zero level, as native float32.

        NaN where a pixel has no value: BLANK, not finite, or beyond 1e30.
        """
        gain = self.facts.gain_e_per_adu
        with np.errstate(over="ignore", invalid="ignore"):
            electrons = self.pixels.astype(np.float32)
            electrons *= np.float32(self.bscale * gain)
            electrons += np.float32(self.bzero * gain)
        if self.blank is not None:
            electrons[self.pixels == self.blank] = np.nan
        if self.pixels.dtype.kind == "f":
            electrons[~(np.abs(electrons) < np.float32(_LARGEST_VALUE))] = np.nan
        return electrons

    def stamps(self, corners: NDArray[np.intp], side_px: int) -> FloatArray:
        """Cut squares out of the frame, in electrons.

        Parameters
        ----------
        corners : array of int, shape (n, 2)
            Column and row of the first pixel of each square; may lie outside the frame.
        side_px : int
            Side of the squares.

        Returns
        -------
        array, shape (n, side_px, side_px)
            NaN where a square reaches over the edge of the frame or a pixel has no value, as in `electrons`.
        """
        rows, columns = self.pixels.shape
        stamps = np.full((len(corners), side_px, side_px), np.nan)
        for stamp, (x, y) in zip(stamps, corners.tolist(), strict=True):
            left, right = max(x, 0), min(x + side_px, columns)
            low, high = max(y, 0), min(y + side_px, rows)
            if left < right and low < high:
                stamp[low - y : high - y, left - x : right - x] = self.pixels[low:high, left:right]
        if self.blank is not None:
            stamps[stamps == self.blank] = np.nan
        gain = self.facts.gain_e_per_adu
        with np.errstate(over="ignore", invalid="ignore"):
            stamps *= self.bscale * gain
            stamps += self.bzero * gain
        if self.pixels.dtype.kind == "f":
            stamps[~(np.abs(stamps) < _LARGEST_VALUE)] = np.nan
        return stamps

    def stored_stamps(self, corners: NDArray[np.intp], side_px: int) -> None:
        """None: `stamps` is what is stored."""

    def noise_stamps(self, corners: NDArray[np.intp], side_px: int) -> None:
        """None: nothing was calibrated."""

    def cosmic_rays(self, corners: NDArray[np.intp], side_px: int) -> None:
        """None: they are not looked for."""


def peek_frame(path: Path, name: str) -> FramePeek:
    """Read the header of a file and find whether header and data are all there.

    The padding that should fill the last block may be missing: usable frames lack it.

    Raises
    ------
    FrameIncompleteError
        If the header has not ended or bytes of the data are missing.
    FrameRejectedError
        If the file is not a FITS image, whatever may still be appended to it.
    OSError
        If the file cannot be read.
    """
    if _is_gzip(name):
        content = _gunzip_start(path, name)
        header, _ = parse_header(content, name)
        _image_layout(header, name)
        return FramePeek(header, None)
    with path.open("rb") as file:
        content = file.read(_FIRST_READ_BYTES)
        while not _has_end(content):
            more = file.read(BLOCK_BYTES * 32) if len(content) < _MAX_HEADER_BYTES else b""
            if not more:
                break
            content += more
    header, offset = parse_header(content, name)
    n_bytes = offset + _image_layout(header, name).n_bytes
    size = path.stat().st_size
    if size < n_bytes:
        raise FrameIncompleteError(f"{name} holds {size} of {n_bytes} bytes")
    return FramePeek(header, n_bytes)


def read_frame(path: Path, name: str, instrument: Instrument) -> Frame:
    """Read one frame.

    Raises
    ------
    FrameRejectedError
        If it is missing, empty, truncated, not a FITS image of two axes, or `instrument` does not accept its header.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FrameRejectedError(Reason.DISAPPEARED, f"{name} disappeared before it was read") from error
    except OSError as error:
        raise FrameRejectedError(Reason.UNREADABLE, f"{name} cannot be read: {error.strerror}") from error
    if not content:
        raise FrameRejectedError(Reason.EMPTY, f"{name} is empty")
    if _is_gzip(name):
        content = _gunzip(content, name)
    try:
        header, offset = parse_header(content, name)
    except FrameIncompleteError as error:
        raise FrameRejectedError(Reason.TRUNCATED, f"{error}") from error
    layout = _image_layout(header, name)
    if len(content) < offset + layout.n_bytes:
        raise FrameRejectedError(
            Reason.TRUNCATED, f"{name} is truncated: it holds {len(content)} of {offset + layout.n_bytes} bytes"
        )
    facts = instrument.describe(header, name)
    pixels = np.frombuffer(content, dtype=layout.dtype, count=layout.shape[0] * layout.shape[1], offset=offset)
    return Frame(name, pixels.reshape(layout.shape), layout.bscale, layout.bzero, layout.blank, facts, header)


def parse_header(content: bytes, name: str) -> tuple[Header, int]:
    """Parse the primary header at the start of `content`; return it and its length in bytes with padding.

    Raises
    ------
    FrameIncompleteError
        If the header does not end within `content`.
    FrameRejectedError
        If `content` does not start as FITS, or its header is longer than any honest one.
    """
    start = content[:_CARD_BYTES]
    expected = b"SIMPLE  ="
    if start[: len(expected)] != expected[: len(start)]:
        raise FrameRejectedError(Reason.NOT_FITS, f"{name} is not a FITS file: it does not begin with SIMPLE")
    end = _find_end(content)
    if end < 0:
        if len(content) >= _MAX_HEADER_BYTES:
            raise FrameRejectedError(Reason.NOT_FITS, f"{name}: the header does not end within {len(content)} bytes")
        raise FrameIncompleteError(f"{name} is truncated: its header has no END within {len(content)} bytes")
    text = content[:end].decode("latin-1")
    header: dict[str, HeaderValue] = {}
    for position in range(0, end, _CARD_BYTES):
        keyword = text[position : position + 8].rstrip()
        if text[position + 8 : position + 10] == "= " and keyword not in _COMMENTARY:
            header.setdefault(keyword, _card_value(text[position + 10 : position + _CARD_BYTES]))
    n_blocks = -(-(end + _CARD_BYTES) // BLOCK_BYTES)
    return header, n_blocks * BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class _Layout:
    shape: tuple[int, int]
    dtype: str
    n_bytes: int
    bscale: float
    bzero: float
    blank: int | None


def _image_layout(header: Header, name: str) -> _Layout:
    bitpix = header.get("BITPIX")
    dtype = _DTYPE_OF_BITPIX.get(bitpix) if isinstance(bitpix, int) else None
    if dtype is None:
        raise FrameRejectedError(
            Reason.BAD_KEYWORD, f"keyword BITPIX of {name} is {bitpix!r}: 8, 16, 32, 64, -32 or -64 is required"
        )
    axes = header.get("NAXIS")
    if axes != 2:
        raise FrameRejectedError(Reason.WRONG_SHAPE, f"keyword NAXIS of {name} is {axes!r}: an image of 2 is required")
    sides = []
    for keyword in ("NAXIS2", "NAXIS1"):
        side = header.get(keyword)
        if not isinstance(side, int) or not _SMALLEST_SIDE_PX <= side <= _LARGEST_SIDE_PX:
            raise FrameRejectedError(
                Reason.WRONG_SHAPE,
                f"keyword {keyword} of {name} is {side!r}: "
                f"{_SMALLEST_SIDE_PX} to {_LARGEST_SIDE_PX} pixels are required",
            )
        sides.append(side)
    bscale, bzero = _scaling(header, "BSCALE", 1.0, name), _scaling(header, "BZERO", 0.0, name)
    if bscale == 0.0:
        raise FrameRejectedError(Reason.BAD_KEYWORD, f"keyword BSCALE of {name} is 0: every pixel would be the same")
    blank = header.get("BLANK")
    n_bytes = sides[0] * sides[1] * abs(int(dtype[2:]))
    is_integer = dtype[1] in "iu"
    return _Layout(
        (sides[0], sides[1]), dtype, n_bytes, bscale, bzero, blank if isinstance(blank, int) and is_integer else None
    )


def _scaling(header: Header, keyword: str, default: float, name: str) -> float:
    value = header.get(keyword, default)
    if isinstance(value, str) or not math.isfinite(value):
        raise FrameRejectedError(Reason.BAD_KEYWORD, f"keyword {keyword} of {name} is {value!r}: a number is required")
    return float(value)


def _card_value(text: str) -> HeaderValue:
    field = text.lstrip()
    if field.startswith("'"):
        value, position = [], 1
        while (quote := field.find("'", position)) >= 0 and field[quote + 1 : quote + 2] == "'":
            value.append(field[position : quote + 1])
            position = quote + 2
        value.append(field[position:quote] if quote >= 0 else field[position:])
        return "".join(value).rstrip()
    word = field.partition("/")[0].strip()
    if word in ("T", "F"):
        return word == "T"
    try:
        return int(word)
    except ValueError:
        pass
    try:
        return float(word.replace("D", "E"))
    except ValueError:
        return word


def _find_end(content: bytes) -> int:
    position = content.find(_END_CARD)
    while position >= 0 and position % _CARD_BYTES:
        position = content.find(_END_CARD, position + 1)
    return position


def _has_end(content: bytes) -> bool:
    return _find_end(content) >= 0


def _is_gzip(name: str) -> bool:
    return name.lower().endswith(".gz")


def _gunzip_start(path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        content, _ = _unpack(file.read(_MAX_HEADER_BYTES), name, _MAX_HEADER_BYTES)
    return content


def _gunzip(compressed: bytes, name: str) -> bytes:
    limit = _LARGEST_SIDE_PX**2
    content, ended = _unpack(compressed, name, limit)
    if not ended and len(content) < limit:
        raise FrameRejectedError(Reason.TRUNCATED, f"{name} is truncated: its gzip stream does not end")
    return content


def _unpack(compressed: bytes, name: str, limit: int) -> tuple[bytes, bool]:
    """Unpack at most `limit` bytes of all members of a gzip file; also whether the last member ended."""
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
