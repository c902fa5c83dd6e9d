"""FITS files of any kind, written by hand, because astropy refuses to write bad ones."""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK_BYTES = 2880
DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


def card(keyword: str, value: object) -> str:
    """One card of 80 characters."""
    if isinstance(value, bool):
        text = ("T" if value else "F").rjust(20)
    elif isinstance(value, str):
        text = f"'{value:<8}'"
    else:
        text = str(value).rjust(20)
    return f"{keyword:<8}= {text}"[:80].ljust(80)


def header_bytes(**changes: object) -> bytes:
    """Header of a 16-bit frame of OPTICAM-MX of 32 x 24 pixels; None removes a keyword, `_` stands for `-`."""
    cards: dict[str, object] = {
        "SIMPLE": True,
        "BITPIX": 16,
        "NAXIS": 2,
        "NAXIS1": 32,
        "NAXIS2": 24,
        "DATE-OBS": "2023-11-22",
        "UT": "2023-11-22 03:02:49.000",
        "EXPOSURE": 0.5,
        "FILTER": "g",
        "BINNING": "4x4",
        "GAIN": 1.0,
    }
    cards |= {keyword.replace("_", "-"): value for keyword, value in changes.items()}
    text = "".join(card(keyword, value) for keyword, value in cards.items() if value is not None) + "END".ljust(80)
    return text.ljust(-(-len(text) // BLOCK_BYTES) * BLOCK_BYTES).encode("ascii")


def fits_bytes(pixels: np.ndarray | None = None, **changes: Any) -> bytes:
    """A whole file; `pixels` are stored values."""
    bitpix = int(changes.get("BITPIX", 16))
    stored = np.zeros((24, 32)) if pixels is None else pixels
    data = stored.astype(DTYPES[bitpix]).tobytes()
    size = {"NAXIS1": stored.shape[1], "NAXIS2": stored.shape[0]}
    return header_bytes(**(size | changes)) + data + b"\0" * (-len(data) % BLOCK_BYTES)
