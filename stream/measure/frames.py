"""Reading frames: the header once, the pixels as they are stored.

The plain image of the primary HDU is read without astropy, because that is where a frame spends its time otherwise:
bytes are read, the header is parsed, and the pixels are a view of the bytes. Nothing is converted before it is used.
Frames in extensions and planes of cubes are found by the offsets that the headers tell, and only their bytes are read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.errors import FrameIncompleteError, FrameRejectedError, Reason
from stream.frame_names import FrameName, file_of, parse_frame_name
from stream.instruments import FrameFacts, Header, Instrument
from stream.measure.compressed import GzipStream, is_gzip, read_tiles
from stream.measure.hdus import (
    ImagePlace,
    Source,
    find_place,
    has_plain_image,
    list_places,
    open_source,
    read_header,
)
from stream.measure.headers import BLOCK_BYTES, MAX_HEADER_BYTES, ImageLayout, image_layout, parse_header
from stream.measure.opening import open_regular, read_exactly
from stream.measure.stamps import IntegerStamps, cut_stamps
from stream.messages import FloatArray

__all__ = ["BLOCK_BYTES", "Frame", "FramePeek", "list_frames", "parse_header", "read_frame"]

_AT_ONCE_BYTES = 32 * 2**20
_LARGEST_VALUE = 1e30  # other programs write larger numbers for "no value"; no square of a smaller one overflows


@dataclass(frozen=True, slots=True)
class FramePeek:
    """What is known of a frame from its header alone.

    Attributes
    ----------
    n_bytes : int or None
        Bytes from the start of the file to the end of the data of its HDU, without the padding; None for a file packed
        by gzip, whose length does not tell.
    name : str
        Path of the file, with the place of the frame if the file holds several.
    """

    header: Header
    n_bytes: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One exposure as it is stored.

    Attributes
    ----------
    name : str
        Name of the file, for errors.
    pixels : array, shape (rows, columns)
        Stored values, read-only, in the byte order of the file; counts are ``pixels * bscale + bzero``.
    blank : int or None
        Stored value that means "no value".
    nonlinear : array of bool, shape (rows, columns), or None
        Squares with a pixel beyond the counts of a linear detector, where pixels were rebinned.
    """

    name: str
    pixels: NDArray
    bscale: float
    bzero: float
    blank: int | None
    facts: FrameFacts
    header: Header
    nonlinear: NDArray[np.bool_] | None = None

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
            if self.pixels.dtype.itemsize > 2 and self.bzero:
                # Unsigned 32-bit values are stored 2**31 too low: float32 would keep them to 128 counts only.
                electrons = (self.pixels * (self.bscale * gain) + self.bzero * gain).astype(np.float32)
            else:
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
        stamps = cut_stamps(self.pixels, corners, side_px, np.nan)
        if self.blank is not None:
            stamps[stamps == self.blank] = np.nan
        gain = self.facts.gain_e_per_adu
        with np.errstate(over="ignore", invalid="ignore"):
            stamps *= self.bscale * gain
            stamps += self.bzero * gain
        if self.pixels.dtype.kind == "f":
            stamps[~(np.abs(stamps) < _LARGEST_VALUE)] = np.nan
        return stamps

    def integer_stamps(self, corners: NDArray[np.intp], side_px: int) -> IntegerStamps | None:
        """The same as they are stored; None where pixels are not whole numbers of at most 16 bits."""
        if self.pixels.dtype.kind not in "iu" or self.pixels.dtype.itemsize > 2:
            return None
        gain = self.facts.gain_e_per_adu
        stamps = IntegerStamps.cut(self.pixels, corners, side_px, self.blank)
        return replace(stamps, scale=self.bscale * gain, zero=self.bzero * gain)

    def stored_stamps(self, corners: NDArray[np.intp], side_px: int) -> None:
        """None: `stamps` is what is stored."""

    def nonlinear_stamps(self, corners: NDArray[np.intp], side_px: int) -> NDArray[np.bool_] | None:
        """Mark the pixels of squares that reach the counts from which on the detector is not linear.

        None where nobody knows of such a limit.
        """
        limit_e = self.facts.nonlinear_adu * self.facts.gain_e_per_adu
        if self.nonlinear is not None:
            return cut_stamps(self.nonlinear, corners, side_px, False)
        return self.stamps(corners, side_px) >= limit_e if limit_e else None

    def noise_stamps(self, corners: NDArray[np.intp], side_px: int) -> None:
        """None: nothing was calibrated."""

    def cosmic_rays(self, corners: NDArray[np.intp], side_px: int) -> None:
        """None: they are not looked for."""


def list_frames(path: Path, name: str, instrument: Instrument, *, complete: bool = True) -> list[FramePeek]:
    """Find the frames of a file, from its headers alone, and whether all of it is there.

    The image of the primary HDU is the only frame of its file, unless the instrument names the `extensions` that hold
    frames; see `stream.measure.hdus` for other files. If `complete` is False, a file of several frames may lack bytes:
    the frames are those that its headers tell of, whether their pixels are there or not.

    Raises
    ------
    FrameIncompleteError
        If a header has not ended, bytes of the data are missing, or no frame is there yet.
    FrameRejectedError
        If the file holds no FITS images, whatever may still be appended to it.
    OSError
        If the file cannot be read.
    """
    if is_gzip(name):
        header, _ = parse_header(_gunzip_first(path, name), name)
        if has_plain_image(header, instrument.extensions):
            image_layout(header, name)
            return [FramePeek(header, None, name)]
    with open_source(path, name) as source:
        header, offset = read_header(source, 0, name)
        if has_plain_image(header, instrument.extensions):
            return [_peek_plain(path, name, header, offset)]
        places = list_places(source, name, instrument.extensions, complete=complete)
    if not places:
        raise FrameIncompleteError(_no_frame(name, header, instrument))
    return [FramePeek(place.header, None if is_gzip(name) else place.end, str(place.name)) for place in places]


def read_frame(path: Path, name: str, instrument: Instrument) -> Frame:
    """Read one frame.

    Parameters
    ----------
    path : Path
        Where it is; may end in the place of the frame, as `name` does.
    name : str
        Its name in the ledger.

    Raises
    ------
    FrameRejectedError
        If it is missing, empty, truncated, not a FITS image of two axes, or `instrument` does not accept its header.
    """
    wanted = parse_frame_name(name)
    try:
        if wanted.hdu is not None:
            return _read_place(file_of(path), wanted, instrument)
        return _read_only(path, name, instrument)
    except FileNotFoundError as error:
        raise FrameRejectedError(Reason.DISAPPEARED, f"{name} disappeared before it was read") from error
    except OSError as error:
        raise FrameRejectedError(Reason.UNREADABLE, f"{name} cannot be read: {error.strerror}") from error
    except FrameIncompleteError as error:
        raise FrameRejectedError(Reason.TRUNCATED, f"{error}") from error


def _read_only(path: Path, name: str, instrument: Instrument) -> Frame:
    """Read the only frame of a file."""
    with open_regular(path, name) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if not n_bytes:
            raise FrameRejectedError(Reason.EMPTY, f"{name} is empty")
        stream = GzipStream(file, name) if is_gzip(name) else None
        content = stream.read(MAX_HEADER_BYTES) if stream else read_exactly(file, min(n_bytes, _AT_ONCE_BYTES))
        header, offset = parse_header(content, name)
        if header.get("NAXIS") in (0, 3) or instrument.extensions:
            return _read_place(path, FrameName(name), instrument)
        layout = _plain_layout(header, name)
        end = offset + layout.n_bytes
        facts = instrument.describe(header, name)
        if stream is not None:
            content += stream.read(end - len(content))
            _check_gzip_end(stream, name)
            n_bytes = len(content)
        elif len(content) < end <= n_bytes:
            content += read_exactly(file, end - len(content))
    if n_bytes < end:
        raise FrameRejectedError(Reason.TRUNCATED, f"{name} is truncated: it holds {n_bytes} of {end} bytes")
    pixels = np.frombuffer(content, dtype=layout.dtype, count=layout.shape[0] * layout.shape[1], offset=offset)
    return Frame(name, pixels.reshape(layout.shape), layout.bscale, layout.bzero, layout.blank, facts, header)


def _read_place(path: Path, wanted: FrameName, instrument: Instrument) -> Frame:
    """Read a frame that is not the plain image of the primary HDU."""
    name = str(wanted)
    with open_source(path, wanted.file) as source:
        place = _only_place(source, name, instrument) if wanted.hdu is None else find_place(source, wanted)
        facts = instrument.describe(place.header, name)
        layout = place.layout
        if place.is_tiled:
            pixels = read_tiles(path, name, hdu=place.hdu, plane=place.plane)
        else:
            content = source.read(place.offset, layout.n_bytes)
            pixels = np.frombuffer(content, dtype=layout.dtype).reshape(layout.shape)
    if pixels.shape != layout.shape:
        raise FrameRejectedError(
            Reason.WRONG_SHAPE, f"{name} has pixels of shape {pixels.shape}: its header says {layout.shape}"
        )
    return Frame(name, pixels, layout.bscale, layout.bzero, layout.blank, facts, place.header)


def _only_place(source: Source, name: str, instrument: Instrument) -> ImagePlace:
    places = list_places(source, name, instrument.extensions)
    if not places:
        header, _ = read_header(source, 0, name)
        raise FrameRejectedError(Reason.WRONG_SHAPE, _no_frame(name, header, instrument))
    if len(places) > 1:
        raise FrameRejectedError(
            Reason.WRONG_SHAPE,
            f"{name} holds {len(places)} frames, {places[0].name} to {places[-1].name}: "
            "a file that holds one, or all of them when it arrives, is required",
        )
    return places[0]


def _no_frame(name: str, primary: Header, instrument: Instrument) -> str:
    if instrument.extensions:
        return f"{name} holds none of the extensions {', '.join(instrument.extensions)} of {instrument.name}"
    return (
        f"keyword NAXIS of {name} is {primary.get('NAXIS')!r}: "
        "an image of 2 or a cube of 3 axes is required, there or in an extension"
    )


def _peek_plain(path: Path, name: str, header: Header, offset: int) -> FramePeek:
    n_bytes = offset + _plain_layout(header, name).n_bytes
    size = path.stat().st_size
    if size < n_bytes:
        raise FrameIncompleteError(f"{name} holds {size} of {n_bytes} bytes")
    return FramePeek(header, n_bytes, name)


def _plain_layout(header: Header, name: str) -> ImageLayout:
    layout = image_layout(header, name)
    if layout.n_planes is not None:
        raise FrameRejectedError(Reason.WRONG_SHAPE, f"keyword NAXIS of {name} is 3: an image of 2 axes is required")
    return layout


def _gunzip_first(path: Path, name: str) -> bytes:
    with open_regular(path, name) as file:
        return GzipStream(file, name).read(MAX_HEADER_BYTES)


def _check_gzip_end(stream: GzipStream, name: str) -> None:
    """Refuse a stream that is cut, or whose checksum tells that it is damaged behind the pixels."""
    stream.skip_to_end()
    if not stream.has_ended:
        raise FrameRejectedError(Reason.TRUNCATED, f"{name} is truncated: its gzip stream does not end")
