"""Strategies of files that look like frames and are none, or are odd ones.

Each draws an honest file and damages it a few times: a card that lies, cards that are missing, doubled or endless,
pixels that are no numbers, bytes that are gone, too many or others, a gzip stream that is cut, doubled or a bomb.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from stream.measure.headers import BLOCK_BYTES
from tests.fuzz.parts import CARD_BYTES, END, KINDS, SIDE_PX, TILED_KINDS, Hdu, Parts, bomb, parts_of

_STRUCTURE = (
    *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "NAXIS999", "PCOUNT", "GCOUNT", "EXTEND"),
    *("NEXTEND", "BSCALE", "BZERO", "BLANK", "EXTNAME", "EXTVER", "GROUPS", "INHERIT", "TFIELDS", "THEAP", "CHECKSUM"),
)
_TILES = (
    *("ZIMAGE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZNAXIS3", "ZTILE1", "ZTILE2", "ZTILE3", "ZCMPTYPE"),
    *("ZNAME1", "ZVAL1", "ZNAME2", "ZVAL2", "ZQUANTIZ", "ZDITHER0", "ZBLANK", "ZSCALE", "ZZERO", "ZMASKCMP"),
    *("TTYPE1", "TFORM1", "TTYPE2", "TFORM2", "TTYPE3", "TFORM3", "TFIELDS", "PCOUNT", "NAXIS1", "NAXIS2", "THEAP"),
)
_SCIENCE = (
    *("DATE-OBS", "UT", "EXPOSURE", "FILTER", "BINNING", "GAIN", "DARKCURR", "SATLEVEL", "RA", "DEC", "IMGTYPE"),
    *("OBJECT", "PLANE1", "CYCLE", "CONTINUE", "COMMENT", "", "LONGSTRN"),
)
_NUMBERS = (
    *("0", "1", "2", "3", "4", "15", "16", "17", "48", "47", "49", "-1", "-16", "-2147483648", "32768", "32769"),
    *("65536", "100000", "2147483647", "4294967296", "9223372036854775807", "-9223372036854775808", "9" * 68),
    *("8", "-32", "-64", "64", "12", "999", "1000"),
    *("0.0", "-0.0", "1.5", "1E-310", "1E-45", "1E38", "1.5D3", "1E308", "-1E308", "1E400", "NaN", "nan", "INF"),
    *("-INF", "Infinity", "1_0", "0x10", "1e", "T", "F", "", "/", "T / 1", "(1.0, 2.0)"),
)
_TEXTS = (
    *("''", "'g'", "'r       '", "'unclosed", "'''", "'it''s'", "'&'", "'../../etc/passwd'", "'a:b'", "'g/r'", "'4x4'"),
    *(
        "'4x8'",
        "'64x64'",
        "'1e9x1e9'",
        "'<img src=x onerror=alert(1)>'",
        "'RICE_1'",
        "'GZIP_1'",
        "'PLIO_1'",
        "'NOCOMP'",
    ),
    *(
        "'HCOMPRESS_1'",
        "'1PB(99999999)'",
        "'1QB(1)'",
        "'1000000000J'",
        "'SUBTRACTIVE_DITHER_2'",
        "'IMAGE'",
        "'BINTABLE'",
    ),
    *("'9999-12-31T23:59:59.999'", "'0001-01-01T00:00:00'", "'2023-11-22'", "'2023-02-30T00:00:00'", "'1e300'"),
    *("'2023-11-22T23:59:60'", "'2023-11-22T25:00:00'", "'T'", "'2023-11-22T03:02:49.9999999999999999999Z'", "'NaN'"),
    *("'2023-11-22T03:02:49+23:59'", "'03:02:49-0700'", "'-90'", "'24 00 00'", "'12 60 99'", "'dark'", "'flat'"),
)
KEYWORDS = (*_STRUCTURE, *_TILES, *_SCIENCE)
VALUES = (*_NUMBERS, *_TEXTS)
_PIXELS = (0.0, 1.0, -1.0, 65535.0, 32767.0, -32768.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 1e308, 1e-320)


@dataclass(frozen=True, slots=True)
class HostileFile:
    """A file as it lies in the folder.

    Attributes
    ----------
    what : str
        How it was made, for whoever looks at a failure.
    """

    ending: str
    content: bytes
    what: str = ""


def _values(draw: st.DrawFn) -> bytes:
    """What stands behind the equals sign of a card."""
    kind = draw(st.integers(0, 9))
    if kind < 5:
        return draw(st.sampled_from(_NUMBERS)).rjust(20).encode()
    if kind < 8:
        return draw(st.sampled_from(_TEXTS)).encode()
    return draw(st.binary(max_size=70))


def _change_card(draw: st.DrawFn, hdu: Hdu) -> str:
    is_tiled = any(card.startswith(b"ZIMAGE") for card in hdu.cards)
    keyword = draw(st.sampled_from(draw(st.sampled_from((_TILES if is_tiled else _STRUCTURE, _STRUCTURE, _SCIENCE)))))
    value = _values(draw)
    hdu.put(keyword, value)
    return f"{keyword} = {value!r}"


def _reorder_cards(draw: st.DrawFn, hdu: Hdu) -> str:
    number, what = draw(st.integers(0, max(0, len(hdu.cards) - 1))), draw(st.sampled_from(("drop", "double", "swap")))
    if not hdu.cards:
        return "no cards"
    card = hdu.cards[number]
    if what == "drop":
        del hdu.cards[number]
    elif what == "double":
        hdu.cards.insert(draw(st.integers(0, len(hdu.cards))), card)
    else:
        hdu.cards[number], hdu.cards[0] = hdu.cards[0], hdu.cards[number]
    return f"{what} {card[:8]!r}"


def _endless_cards(draw: st.DrawFn, hdu: Hdu) -> str:
    card = draw(
        st.sampled_from(
            (b"COMMENT x", b"KEY     = 1", b"CONTINUE  'a&'", b"LONG    = 'a&'", b"HISTORY \xff\xfe\n\0", b"")
        )
    )
    n_cards = draw(st.sampled_from((1, 40, 900, 35_000, 100_000)))
    hdu.cards += [card.ljust(CARD_BYTES)] * n_cards
    return f"{n_cards} cards {card!r}"


def _end(draw: st.DrawFn, hdu: Hdu) -> str:
    hdu.has_end = draw(st.booleans())
    if draw(st.booleans()):
        hdu.cards.insert(draw(st.integers(0, len(hdu.cards))), draw(st.sampled_from((END, b"END     = 1".ljust(80)))))
    return "END moved"


def _damage_card(draw: st.DrawFn, hdu: Hdu) -> str:
    if not hdu.cards:
        return "no cards"
    number = draw(st.integers(0, len(hdu.cards) - 1))
    start, rest = draw(st.integers(0, 79)), draw(st.binary(min_size=1, max_size=20))
    card = hdu.cards[number]
    hdu.cards[number] = (card[:start] + rest + card[start + len(rest) :])[: draw(st.sampled_from((80, 80, 80, 81, 79)))]
    return f"card {number} at {start}: {rest!r}"


def _change_pixels(draw: st.DrawFn, hdu: Hdu) -> str:
    value = draw(st.sampled_from(_PIXELS))
    n_pixels = SIDE_PX * SIDE_PX
    item = len(hdu.data) // n_pixels
    if len(hdu.data) % n_pixels or item not in (2, 4, 8):
        hdu.data = draw(st.binary(max_size=200)).ljust(len(hdu.data), b"\xff")
        return "other data"
    is_float = any(card.startswith(b"BITPIX") and b"-" in card for card in hdu.cards)
    pixels = np.frombuffer(hdu.data, dtype=f">{'f' if is_float else 'i'}{item}").copy()
    every = draw(st.sampled_from((1, 2, 7, 1000)))
    with np.errstate(all="ignore"):
        kept = value if is_float else np.nan_to_num(np.clip(value, -32768, 32767))
        pixels[::every] = np.asarray(kept).astype(pixels.dtype)
    hdu.data = pixels.tobytes()
    return f"every {every}. pixel {value}"


def _damage_data(draw: st.DrawFn, hdu: Hdu) -> str:
    if not hdu.data:
        return "no data"
    start, other = draw(st.integers(0, len(hdu.data) - 1)), draw(st.binary(min_size=1, max_size=64))
    hdu.data = (hdu.data[:start] + other + hdu.data[start + len(other) :])[: len(hdu.data)]
    return f"data at {start}: {other!r}"


_DAMAGES = (_change_card, _change_card, _change_card, _change_pixels, _damage_data, _damage_card, _reorder_cards, _end)


def _cut(draw: st.DrawFn, content: bytes) -> tuple[bytes, str]:
    """The same, cut, longer, with bytes in between, or as it is."""
    what = draw(st.sampled_from((*["whole"] * 5, "cut", "cut", "extra", "extra", "inserted", "zeros", "nothing")))
    place = draw(st.integers(0, len(content)))
    if what == "cut":
        return content[:place], f"cut at {place}"
    if what == "extra":
        return content + draw(st.binary(max_size=100)) * draw(st.sampled_from((1, 1000))), what
    if what == "inserted":
        other = draw(st.binary(min_size=1, max_size=BLOCK_BYTES))
        return content[:place] + other + content[place:], f"{len(other)} bytes at {place}"
    if what == "zeros":
        return content[:place] + bytes(len(content) - place), f"zeros from {place}"
    return (b"", what) if what == "nothing" else (content, what)


def _packed(draw: st.DrawFn, content: bytes) -> tuple[bytes, str]:
    what = draw(st.sampled_from(("whole", "members", "cut", "damaged", "bomb", "padded", "none", "garbage")))
    packed = gzip.compress(content, draw(st.sampled_from((0, 1, 6))), mtime=0)
    place = draw(st.integers(0, len(packed)))
    if what == "members":
        half = len(content) // 2
        packed = gzip.compress(content[:half], 1, mtime=0) + gzip.compress(content[half:], 1, mtime=0)
    elif what == "cut":
        packed = packed[:place]
    elif what == "damaged":
        packed = packed[:place] + draw(st.binary(min_size=1, max_size=9)) + packed[place:]
    elif what == "bomb":
        packed = bomb(draw(st.sampled_from((1, 64, 200))) << 20, content[:place])
    elif what in ("padded", "garbage"):
        packed += bytes(100) if what == "padded" else b"\x1f\x8b\x08rest"
    return (content if what == "none" else packed), f"gzip {what}"


@st.composite
def hostile_files(draw: st.DrawFn, kinds: tuple[str, ...] = (*KINDS, *TILED_KINDS)) -> HostileFile:
    """Files that are damaged up to four times."""
    parts: Parts = parts_of(draw(st.sampled_from(kinds)))
    told: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        hdu = draw(st.sampled_from(parts.hdus))
        damage = draw(st.sampled_from((*_DAMAGES, _endless_cards) if not told else _DAMAGES))
        told.append(damage(draw, hdu))
    content, how = _cut(draw, parts.content())
    told.append(how)
    ending = parts.ending
    if draw(st.integers(0, 3)) == 0:
        content, how = _packed(draw, content)
        told.append(how)
        ending += ".gz"
    return HostileFile(ending, content, "; ".join(told))
