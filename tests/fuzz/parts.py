"""Files of frames as parts that can be damaged one by one: HDUs of cards and data, and how the whole is packed."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from astropy.io import fits

from tests.measure.fits_files import BLOCK_BYTES, fits_bytes
from tests.measure.synthetic import noisy, round_stars

CARD_BYTES = 80
END = b"END".ljust(CARD_BYTES)
SIDE_PX = 48
_ZEROS_BYTES = 8 * 2**20
_STARS = np.array([[12.0, 14.0], [33.5, 11.2], [22.3, 24.8], [10.7, 35.1], [37.2, 36.4]])
_FLUX_E = (40000.0, 25000.0, 15000.0, 9000.0, 6000.0)


@dataclass(slots=True)
class Hdu:
    """Cards of 80 bytes each without END, and data without padding; `has_end` False leaves END out."""

    cards: list[bytes]
    data: bytes
    has_end: bool = True

    def content(self) -> bytes:
        """Header and data, each padded."""
        text = b"".join(self.cards) + (END if self.has_end else b"")
        return text + b" " * (-len(text) % BLOCK_BYTES) + self.data + b"\0" * (-len(self.data) % BLOCK_BYTES)

    def put(self, keyword: str, value: bytes) -> None:
        """Replace the card of a keyword, or append one."""
        card = (keyword.ljust(8).encode() + b"= " + value)[:CARD_BYTES].ljust(CARD_BYTES)
        for number, old in enumerate(self.cards):
            if old.startswith(keyword.ljust(8).encode()):
                self.cards[number] = card
                return
        self.cards.append(card)


@dataclass(slots=True)
class Parts:
    """A whole file; `ending` is that of its name."""

    hdus: list[Hdu]
    ending: str = ".fit"
    extra: bytes = field(default=b"")

    def content(self) -> bytes:
        """All of it, not yet packed by gzip."""
        return b"".join(hdu.content() for hdu in self.hdus) + self.extra


def image(number: int = 0) -> np.ndarray:
    """Counts of a field of five stars, shape (48, 48); the number seeds the noise."""
    stars = round_stars((SIDE_PX, SIDE_PX), _STARS, _FLUX_E, 1.6)
    return np.rint(noisy(stars + 200.0, np.random.default_rng(number)) + 100.0)


def frame_bytes(number: int = 0) -> bytes:
    """An honest frame, `number` seconds after the first."""
    return fits_bytes(image(number) - 32768, BZERO=32768, BSCALE=1, UT=f"2023-11-22 03:02:{number % 60:02d}.000")


def split(content: bytes, ending: str) -> Parts:
    """The parts of an honest file."""
    hdus = []
    with fits.open(io.BytesIO(content), disable_image_compression=True) as opened:
        for hdu in opened:
            header = content[hdu._header_offset : hdu._data_offset]
            cards = [header[start : start + CARD_BYTES] for start in range(0, len(header), CARD_BYTES)]
            hdus.append(Hdu(cards[: cards.index(END)], content[hdu._data_offset :][: hdu.size]))
    return Parts(hdus, ending)


@cache
def base_content(kind: str) -> tuple[bytes, str]:
    """An honest file of a kind and the ending of its name."""
    cards = fits.Header.fromstring(frame_bytes()[:BLOCK_BYTES].decode("ascii"))
    for keyword in ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "BZERO", "BSCALE"):
        cards.remove(keyword)
    pixels = image().astype("uint16")
    stack = np.stack([image(number) for number in range(3)]).astype("uint16")
    tiled = kind.startswith("tiled-")
    if kind == "plain":
        return frame_bytes(), ".fit"
    if tiled:
        kinds = {"as_float": {"compression_type": "RICE_1"}}.get(
            kind[6:], {"compression_type": kind[6:], "quantize_level": 0.0}
        )
        data = pixels.astype("float32") if kind == "tiled-as_float" else pixels.astype("int32")
        hdus = [fits.PrimaryHDU(), fits.CompImageHDU(data, cards, **kinds)]
    else:
        hdus = {
            "float32": [fits.PrimaryHDU(pixels.astype("float32"), cards)],
            "float64": [fits.PrimaryHDU(pixels.astype("float64"), cards)],
            "int32": [fits.PrimaryHDU(pixels.astype("int32"), cards)],
            "cube": [fits.PrimaryHDU(stack, cards)],
            "extensions": [fits.PrimaryHDU(header=cards), fits.ImageHDU(pixels), fits.ImageHDU(pixels, name="ERR")],
            "table": [
                fits.PrimaryHDU(header=cards),
                fits.BinTableHDU.from_columns([fits.Column("x", "PE", array=[[1.0], [1.0, 2.0]])]),
                fits.ImageHDU(pixels),
            ],
        }[kind]
    target = io.BytesIO()
    fits.HDUList(hdus).writeto(target, output_verify="silentfix")
    return target.getvalue(), ".fits.fz" if tiled else ".fits"


KINDS = ("plain", "float32", "float64", "int32", "cube", "extensions", "table")
TILED_KINDS = ("tiled-RICE_1", "tiled-GZIP_1", "tiled-GZIP_2", "tiled-HCOMPRESS_1", "tiled-PLIO_1", "tiled-as_float")


def parts_of(kind: str) -> Parts:
    """The parts of an honest file of a kind, to be damaged."""
    return split(*base_content(kind))


@cache
def _packed_zeros() -> bytes:
    return gzip.compress(bytes(_ZEROS_BYTES), mtime=0)


def bomb(n_bytes: int, start: bytes = b"") -> bytes:
    """A gzip file, of many members, that unpacks to `start` and so many zeros, in steps of 8 MiB."""
    return gzip.compress(start, mtime=0) + _packed_zeros() * -(-n_bytes // _ZEROS_BYTES)
