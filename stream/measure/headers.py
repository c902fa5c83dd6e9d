"""FITS headers, parsed without astropy: the keywords of an HDU, how many bytes it takes, how its pixels are stored.

FITS Standard 4.0 (2018), sections 4.4 and 7. Tile-compressed images are tables whose header says with ``Z`` keywords
what the image was (section 10).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from stream.errors import FrameIncompleteError, FrameRejectedError, Reason
from stream.instruments import Header, HeaderValue

BLOCK_BYTES = 2880
MAX_HEADER_BYTES = BLOCK_BYTES * 1000
LARGEST_SIDE_PX = 32768
_SMALLEST_SIDE_PX = 16
_MOST_PIXELS = 2**28  # 16384 x 16384: the memory of one frame, and of what is made of it, stays within bounds
_MOST_PLANES = 100_000
_MOST_DATA_BYTES = 2**50
_MOST_AXES = _MOST_COLUMNS = 999
_CARD_BYTES = 80
_DTYPE_OF_BITPIX = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_COMMENTARY = ("COMMENT", "HISTORY", "")
_END_CARD = b"END" + b" " * 77
_TABLE_OF_TILES = ("TTYPE", "TFORM", "ZTILE", "ZNAME", "ZVAL", "TFIELDS", "THEAP", "ZCMPTYPE", "ZQUANTIZ", "ZDITHER0")
_OF_ONE_HDU = ("SIMPLE", "XTENSION", "BITPIX", "PCOUNT", "GCOUNT", "EXTEND", "NEXTEND", "INHERIT", "BSCALE", "BZERO")
_OF_ONE_HDU_TOO = ("BLANK", "CHECKSUM", "DATASUM", "EXTNAME", "EXTVER", "EXTLEVEL", "ZIMAGE")


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """How the image of an HDU is stored.

    Attributes
    ----------
    shape : tuple of int
        (rows, columns) of the image, or of each plane of a cube.
    n_planes : int or None
        None where the image has two axes.
    n_bytes : int
        Bytes of one plane, without padding.
    blank : int or None
        Stored value that means "no value".
    """

    shape: tuple[int, int]
    n_planes: int | None
    dtype: str
    n_bytes: int
    bscale: float
    bzero: float
    blank: int | None

    @property
    def total_bytes(self) -> int:
        """Bytes of all planes."""
        return self.n_bytes * (self.n_planes or 1)


def parse_header(content: bytes, name: str, *, extension: bool = False) -> tuple[dict[str, HeaderValue], int]:
    """Parse the header at the start of `content`; return it and its length in bytes with padding.

    Parameters
    ----------
    extension : bool
        Whether it is the header of an extension and not the first of the file.

    Raises
    ------
    FrameIncompleteError
        If the header does not end within `content`.
    FrameRejectedError
        If `content` does not start as FITS, or its header is longer than any honest one.
    """
    start = content[:_CARD_BYTES]
    expected = b"XTENSION=" if extension else b"SIMPLE  ="
    if start[: len(expected)] != expected[: len(start)]:
        keyword = expected.rstrip(b"= ").decode()
        raise FrameRejectedError(Reason.NOT_FITS, f"{name} is not a FITS file: it does not begin with {keyword}")
    end = _find_end(content)
    if end < 0:
        if len(content) >= MAX_HEADER_BYTES:
            raise FrameRejectedError(Reason.NOT_FITS, f"{name}: the header does not end within {len(content)} bytes")
        raise FrameIncompleteError(f"{name} is truncated: its header has no END within {len(content)} bytes")
    text = content[:end].decode("latin-1")
    header: dict[str, HeaderValue] = {}
    for position in range(0, end, _CARD_BYTES):
        card = _card(text[position : position + _CARD_BYTES])
        if card is not None:
            header.setdefault(*card)
    n_blocks = -(-(end + _CARD_BYTES) // BLOCK_BYTES)
    return header, n_blocks * BLOCK_BYTES


def has_end(content: bytes) -> bool:
    """Whether a header ends within `content`."""
    return _find_end(content) >= 0


def image_layout(header: Header, name: str) -> ImageLayout:
    """How the image of an HDU is stored, from the HDU's own header.

    Raises
    ------
    FrameRejectedError
        If it is no image of two axes, or cube of three, of sides that a detector can have.
    """
    bitpix = header.get("BITPIX")
    dtype = _DTYPE_OF_BITPIX.get(bitpix) if isinstance(bitpix, int) else None
    if dtype is None:
        raise FrameRejectedError(
            Reason.BAD_KEYWORD, f"keyword BITPIX of {name} is {bitpix!r}: 8, 16, 32, 64, -32 or -64 is required"
        )
    n_axes = header.get("NAXIS")
    if n_axes not in (2, 3):
        raise FrameRejectedError(
            Reason.WRONG_SHAPE, f"keyword NAXIS of {name} is {n_axes!r}: an image of 2 or a cube of 3 axes is required"
        )
    columns = _side(header, "NAXIS1", name, most=LARGEST_SIDE_PX)
    rows = _side(header, "NAXIS2", name, most=LARGEST_SIDE_PX)
    if rows * columns > _MOST_PIXELS:
        raise FrameRejectedError(
            Reason.WRONG_SHAPE, f"{name} has {columns} x {rows} pixels: at most {_MOST_PIXELS} are possible"
        )
    n_planes = _side(header, "NAXIS3", name, most=_MOST_PLANES) if n_axes == 3 else None
    bscale, bzero = _scaling(header, "BSCALE", 1.0, name), _scaling(header, "BZERO", 0.0, name)
    if bscale == 0.0:
        raise FrameRejectedError(Reason.BAD_KEYWORD, f"keyword BSCALE of {name} is 0: every pixel would be the same")
    blank = header.get("BLANK")
    has_blank = isinstance(blank, int) and dtype[1] in "iu"
    return ImageLayout(
        (rows, columns),
        n_planes,
        dtype,
        rows * columns * abs(int(dtype[2:])),
        bscale,
        bzero,
        int(blank) if has_blank and blank is not None else None,
    )


def data_bytes(header: Header, name: str) -> int:
    """Bytes of the data of an HDU without padding (FITS Standard, equation 2).

    Raises
    ------
    FrameRejectedError
        If the header does not say.
    """
    n_axes = _count(header, "NAXIS", name)
    if n_axes > _MOST_AXES:
        raise FrameRejectedError(Reason.BAD_KEYWORD, f"keyword NAXIS of {name} is {n_axes}: at most 999 are possible")
    if n_axes == 0:
        return 0
    n_elements = math.prod(_count(header, f"NAXIS{axis}", name) for axis in range(1, n_axes + 1))
    bits = header.get("BITPIX")
    if not isinstance(bits, int) or bits not in _DTYPE_OF_BITPIX:
        raise FrameRejectedError(
            Reason.BAD_KEYWORD, f"keyword BITPIX of {name} is {bits!r}: 8, 16, 32, 64, -32 or -64 is required"
        )
    n_groups, n_heap = _count(header, "GCOUNT", name, default=1), _count(header, "PCOUNT", name, default=0)
    n_bytes = abs(bits) // 8 * n_groups * (n_heap + n_elements)
    if n_bytes > _MOST_DATA_BYTES:
        raise FrameRejectedError(
            Reason.BAD_KEYWORD, f"{name} promises {n_bytes:.3g} bytes of data: no file has so many"
        )
    return n_bytes


def check_table(header: Header, name: str) -> None:
    """Refuse a header that promises more columns than a table can have: whoever believes it counts them for ever.

    Raises
    ------
    FrameRejectedError
        If ``TFIELDS`` is there and is not a number from 0 to 999 (FITS Standard, section 7.2.1).
    """
    n_fields = header.get("TFIELDS", 0)
    if not isinstance(n_fields, int) or not 0 <= n_fields <= _MOST_COLUMNS:
        raise FrameRejectedError(
            Reason.BAD_KEYWORD, f"keyword TFIELDS of {name} is {n_fields!r}: 0 to {_MOST_COLUMNS} are possible"
        )


def check_tiles(header: Header, layout: ImageLayout, name: str) -> None:
    """Refuse a tile-compressed HDU with more tiles than its image has pixels.

    Raises
    ------
    FrameRejectedError
        If there are more, or none.
    """
    rows, columns = layout.shape
    n_tiles, most = _count(header, "NAXIS2", name), rows * columns * (layout.n_planes or 1)
    if not 1 <= n_tiles <= most:
        raise FrameRejectedError(
            Reason.BAD_KEYWORD, f"{name} has {n_tiles} tiles (keyword NAXIS2): 1 to {most} are possible"
        )


def uncompressed_header(header: Header) -> dict[str, HeaderValue]:
    """Header of the image that a tile-compressed HDU holds."""
    image: dict[str, HeaderValue] = {}
    for keyword, value in header.items():
        if not keyword.startswith((*_TABLE_OF_TILES, "NAXIS")) and keyword not in ("BITPIX", "PCOUNT", "GCOUNT"):
            image[keyword] = value
    for keyword, value in header.items():
        if keyword.startswith(("ZBITPIX", "ZNAXIS")):
            image[keyword[1:]] = value
    if "ZBLANK" in header:
        image.setdefault("BLANK", header["ZBLANK"])
    return image


def joined_header(primary: Header, extension: Header, number: int) -> dict[str, HeaderValue]:
    """Header of the frame in an extension: what the primary header says holds unless the extension says otherwise.

    What describes the primary HDU alone is not handed on. An extension without a name is named by its number.
    """
    inherited = {
        keyword: value
        for keyword, value in primary.items()
        if keyword not in _OF_ONE_HDU and keyword not in _OF_ONE_HDU_TOO and not keyword.startswith("NAXIS")
    }
    return {"EXTNAME": str(number)} | inherited | dict(extension)


def _side(header: Header, keyword: str, name: str, *, most: int) -> int:
    least = 1 if keyword == "NAXIS3" else _SMALLEST_SIDE_PX
    side = header.get(keyword)
    if not isinstance(side, int) or not least <= side <= most:
        what = "planes" if keyword == "NAXIS3" else "pixels"
        raise FrameRejectedError(
            Reason.WRONG_SHAPE, f"keyword {keyword} of {name} is {side!r}: {least} to {most} {what} are required"
        )
    return side


def _count(header: Header, keyword: str, name: str, default: int | None = None) -> int:
    value = header.get(keyword, default)
    if not isinstance(value, int) or value < 0:
        raise FrameRejectedError(
            Reason.BAD_KEYWORD, f"keyword {keyword} of {name} is {value!r}: a number of at least 0 is required"
        )
    return int(value)


def _scaling(header: Header, keyword: str, default: float, name: str) -> float:
    value = header.get(keyword, default)
    if isinstance(value, str) or not math.isfinite(value):
        raise FrameRejectedError(Reason.BAD_KEYWORD, f"keyword {keyword} of {name} is {value!r}: a number is required")
    return float(value)


@lru_cache(maxsize=4096)  # most cards are the same on all frames of a night
def _card(text: str) -> tuple[str, HeaderValue] | None:
    """Keyword and value of a card; None if it has no value."""
    keyword = text[:8].rstrip()
    if text[8:10] != "= " or keyword in _COMMENTARY:
        return None
    return keyword, _card_value(text[10:])


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
    position = content.find(_END_CARD, 0, MAX_HEADER_BYTES)
    while position >= 0 and position % _CARD_BYTES:
        position = content.find(_END_CARD, position + 1, MAX_HEADER_BYTES)
    return position
