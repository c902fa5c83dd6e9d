"""Where the frames of a file stand: walks its HDUs and lists their images and planes.

Which HDUs hold frames: those that the instrument names; otherwise the primary image, if there is one, and what follows
it belongs to it; otherwise every image extension but those whose name says that they hold errors or masks.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from stream.errors import FrameIncompleteError, FrameRejectedError, Reason
from stream.frame_names import FrameName
from stream.instruments import PLANE, Header, HeaderValue
from stream.measure.compressed import GzipStream, is_gzip
from stream.measure.headers import (
    BLOCK_BYTES,
    MAX_HEADER_BYTES,
    ImageLayout,
    check_table,
    check_tiles,
    data_bytes,
    has_end,
    image_layout,
    joined_header,
    parse_header,
    uncompressed_header,
)
from stream.measure.opening import open_regular, read_exactly

NOT_FRAMES = frozenset({"ERR", "ERROR", "UNCERT", "VAR", "WHT", "WEIGHT", "DQ", "MASK", "BPM", "SKY", "PSF"})
"""Names of extensions that hold something about a frame and are none."""
_FIRST_READ_BYTES = BLOCK_BYTES * 4
_MOST_HDUS = 10_000
_KEPT_BYTES = 64 * 2**20


class Source(Protocol):
    """The bytes of a file, unpacked."""

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Return bytes from `offset` on; fewer at the end of the file."""

    def holds(self, n_bytes: int) -> bool:
        """Whether the file has so many bytes."""


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Where one frame stands in its file.

    Attributes
    ----------
    header : Header
        What the instrument reads: keywords of primary HDU and extension, and the plane of a cube as `PLANE`.
    offset : int
        First byte of the image or plane; meaningless in a tile-compressed HDU.
    end : int
        First byte after the data of the HDU, without padding.
    """

    name: FrameName
    header: Header
    layout: ImageLayout
    hdu: int
    plane: int | None
    offset: int
    end: int
    is_tiled: bool


@dataclass(frozen=True, slots=True)
class _Hdu:
    number: int
    header: dict[str, HeaderValue]
    data_offset: int
    data_end: int

    @property
    def is_tiled(self) -> bool:
        return self.header.get("ZIMAGE") is True

    @property
    def is_image(self) -> bool:
        return (
            self.is_tiled or self.number == 0 or str(self.header.get("XTENSION", "")).strip() in ("IMAGE", "IUEIMAGE")
        )

    @property
    def n_axes(self) -> HeaderValue | None:
        return self.header.get("ZNAXIS" if self.is_tiled else "NAXIS")

    def is_named(self, names: Iterable[str]) -> bool:
        own = str(self.header.get("EXTNAME", "")).strip().upper()  # astropy writes capitals whatever it was given
        return any(name in (str(self.number), own) for name in (name.upper() for name in names))


@contextmanager
def open_source(path: Path, name: str) -> Iterator[Source]:
    """Open a file for reading anywhere in it, unpacked where its name ends in ``.gz``; raises as `open_regular`."""
    with open_regular(path, name) as file:
        yield _GzipSource(file, name) if is_gzip(name) else _FileSource(file)


def read_header(
    source: Source, offset: int, name: str, *, extension: bool = False
) -> tuple[dict[str, HeaderValue], int]:
    """Read the header that begins at `offset`; return it and the offset of what follows it.

    Raises
    ------
    FrameIncompleteError
        If it does not end.
    FrameRejectedError
        If it is none.
    """
    content = source.read(offset, _FIRST_READ_BYTES)
    while not has_end(content) and len(content) < MAX_HEADER_BYTES:
        more = source.read(offset + len(content), BLOCK_BYTES * 32)
        if not more:
            break
        content += more
    header, length = parse_header(content, name, extension=extension)
    return header, offset + length


def has_plain_image(header: Header, extensions: Sequence[str]) -> bool:
    """Whether the only frame of a file is the image of its primary HDU."""
    return header.get("NAXIS") == 2 and not extensions


def list_places(source: Source, name: str, extensions: Sequence[str], *, complete: bool = True) -> list[ImagePlace]:
    """All frames of a file, in order; empty if there is none (yet).

    If `complete` is False, bytes may be missing: the frames are those that the headers tell of, as far as there are
    headers.

    The only frame of a file has the name of the file, unless it is one of the `extensions` that the instrument names:
    then others, which do not know the instrument, could not tell it from the HDUs beside it.

    Raises
    ------
    FrameIncompleteError
        If bytes are missing, or fewer extensions are there than ``NEXTEND`` promises.
    FrameRejectedError
        If the file is not FITS, or an HDU that must hold frames does not.
    """
    primary: dict[str, HeaderValue] = {}
    places: list[ImagePlace] = []
    n_hdus = 0
    for hdu in _walk(source, name, complete=complete):
        n_hdus += 1
        if hdu.number == 0:
            primary = hdu.header
        if not _holds_frames(hdu, extensions):
            continue
        if complete and not source.holds(hdu.data_end):
            raise _incomplete(hdu, name)
        try:
            places += _places_of(hdu, primary, name)
        except FrameRejectedError as rejection:
            if extensions or not hdu.number or rejection.reason is not Reason.WRONG_SHAPE:
                raise
            continue  # nobody said that this extension is a frame: it may be a table of a few numbers
        if hdu.number == 0 and not extensions:
            break  # what follows belongs to the primary image
    else:
        promised = primary.get("NEXTEND")
        if complete and isinstance(promised, int) and n_hdus - 1 < promised:
            raise FrameIncompleteError(f"{name} is truncated: it holds {n_hdus - 1} of {promised} extensions")
    is_only = len(places) == 1 and not extensions
    return [replace(places[0], name=FrameName(name))] if is_only else places


def find_place(source: Source, wanted: FrameName) -> ImagePlace:
    """Where a frame with a place in its name stands.

    Raises
    ------
    FrameIncompleteError
        If a header or bytes of the frame are missing.
    FrameRejectedError
        If there is no such HDU or plane.
    """
    primary: dict[str, HeaderValue] = {}
    n_hdus = 0
    for hdu in _walk(source, wanted.file):
        n_hdus += 1
        if hdu.number == 0:
            primary = hdu.header
        if hdu.number != wanted.hdu:
            continue
        places = _places_of(hdu, primary, wanted.file, only=wanted.plane)
        if not places or places[0].name != wanted:
            break
        place = places[0]
        end = hdu.data_end if place.is_tiled else place.offset + place.layout.n_bytes
        if not source.holds(end):
            raise FrameIncompleteError(f"{wanted} is truncated: {wanted.file} lacks bytes of {end}")
        return place
    raise FrameRejectedError(Reason.WRONG_SHAPE, f"{wanted} does not exist: {wanted.file} holds {n_hdus} HDUs or more")


def _walk(source: Source, name: str, *, complete: bool = True) -> Iterator[_Hdu]:
    offset = 0
    for number in range(_MOST_HDUS):
        if number:
            start = source.read(offset, 9)
            # Nothing, or what the standard calls special records, ends the list.
            if not start or not b"XTENSION=".startswith(start):
                return
        hdu_name = f"{name}[{number}]" if number else name
        try:
            header, data_offset = read_header(source, offset, hdu_name, extension=number > 0)
        except FrameIncompleteError:
            if complete or not number:
                raise
            return
        check_table(header, hdu_name)
        hdu = _Hdu(number, header, data_offset, data_offset + data_bytes(header, hdu_name))
        yield hdu
        if complete and not source.holds(hdu.data_end):
            raise _incomplete(hdu, name)
        offset = data_offset + -(-(hdu.data_end - data_offset) // BLOCK_BYTES) * BLOCK_BYTES


def _incomplete(hdu: _Hdu, name: str) -> FrameIncompleteError:
    return FrameIncompleteError(f"{name} is truncated: HDU {hdu.number} lacks bytes of {hdu.data_end}")


def _holds_frames(hdu: _Hdu, extensions: Sequence[str]) -> bool:
    if extensions:
        return hdu.is_named(extensions)
    return hdu.is_image and hdu.n_axes in (2, 3) and not (hdu.number and hdu.is_named(NOT_FRAMES))


def _places_of(hdu: _Hdu, primary: dict[str, HeaderValue], name: str, *, only: int | None = None) -> list[ImagePlace]:
    """The image of an HDU or the planes of its cube; `only` one plane, if there is such a one."""
    own = uncompressed_header(hdu.header) if hdu.is_tiled else hdu.header
    layout = image_layout(own, f"{name}[{hdu.number}]" if hdu.number else name)
    if hdu.is_tiled:
        check_tiles(hdu.header, layout, f"{name}[{hdu.number}]")
    header = joined_header(primary, own, hdu.number) if hdu.number else own
    if layout.n_planes is None:
        return [_place(hdu, None, header, layout, name)]
    planes = range(layout.n_planes) if only is None else range(layout.n_planes)[only : only + 1]
    return [_place(hdu, plane, header, layout, name) for plane in planes]


def _place(hdu: _Hdu, plane: int | None, header: dict[str, HeaderValue], layout: ImageLayout, name: str) -> ImagePlace:
    # A cube of one plane is an image; its time is that of the header.
    is_one_of_many = plane is not None and (layout.n_planes or 0) > 1
    return ImagePlace(
        name=FrameName(name, hdu.number, plane),
        header=ChainMap({PLANE: plane or 0}, header) if is_one_of_many else header,
        layout=layout,
        hdu=hdu.number,
        plane=plane,
        offset=hdu.data_offset + (plane or 0) * layout.n_bytes,
        end=hdu.data_end,
        is_tiled=hdu.is_tiled,
    )


class _FileSource:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._n_bytes = os.fstat(file.fileno()).st_size

    def read(self, offset: int, n_bytes: int) -> bytes:
        if offset >= self._n_bytes:  # which may be farther than files can be
            return b""
        self._file.seek(offset)
        return read_exactly(self._file, min(n_bytes, self._n_bytes - offset))

    def holds(self, n_bytes: int) -> bool:
        return self._n_bytes >= n_bytes


class _GzipSource:
    """Unpacks to where it is asked for; gzip has no index.

    The first 64 MiB are kept, unpacked twice as far each time. What lies behind them is unpacked on the way and
    forgotten, again from the start where somebody goes back.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._stream = GzipStream(file, name)
        self._start = bytearray()
        self._window_offset, self._window = 0, b""

    def read(self, offset: int, n_bytes: int) -> bytes:
        if offset + n_bytes > _KEPT_BYTES:
            return self._read_far(offset, n_bytes)
        end = offset + n_bytes
        if end > len(self._start):
            self._go_to(len(self._start))
            wanted = min(max(end, 2 * len(self._start), MAX_HEADER_BYTES), _KEPT_BYTES)
            self._start += self._stream.read(wanted - len(self._start))
        return bytes(self._start[offset:end])

    def _read_far(self, offset: int, n_bytes: int) -> bytes:
        if self._window_offset <= offset <= self._window_offset + len(self._window):
            self._window = self._window[offset - self._window_offset :]
        else:
            self._window = b""
        self._window_offset = offset
        if len(self._window) < n_bytes:
            self._go_to(offset + len(self._window))
            self._window += self._stream.read(n_bytes - len(self._window))
        return self._window[:n_bytes]

    def _go_to(self, offset: int) -> None:
        if offset < self._stream.position:
            self._file.seek(0)
            self._stream = GzipStream(self._file, self._name)
        self._stream.skip(offset - self._stream.position)

    def holds(self, n_bytes: int) -> bool:
        return n_bytes == 0 or bool(self.read(n_bytes - 1, 1))
