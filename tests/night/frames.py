"""FITS files for tests of the night machine: small, real, and bad on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stream.timestamps import mjd_to_iso

CARD_BYTES, BLOCK_BYTES = 80, 2880


def fits_bytes(number: int = 0, *, padded: bool = True, **changes: object) -> bytes:
    """Return a 32 x 32 frame of OPTICAM-MX, `number` seconds after the first; None removes a keyword."""
    cards: dict[str, object] = {
        "SIMPLE": True,
        "BITPIX": 16,
        "NAXIS": 2,
        "NAXIS1": 32,
        "NAXIS2": 32,
        "BZERO": 32768,
        "BSCALE": 1,
        "DATE-OBS": "2023-11-22",
        "UT": mjd_to_iso(60270.1 + number / 86400.0),
        "EXPOSURE": 0.5,
        "FILTER": "g",
        "BINNING": "4x4",
        "GAIN": 1.0,
    }
    cards |= changes
    text = "".join(_card(name, value) for name, value in cards.items() if value is not None) + "END".ljust(CARD_BYTES)
    header = text.ljust(-(-len(text) // BLOCK_BYTES) * BLOCK_BYTES).encode("ascii")
    pixels = np.full((32, 32), 100 - 32768, dtype=">i2").tobytes()
    padding = b"\0" * (-len(pixels) % BLOCK_BYTES) if padded else b""
    return header + pixels + padding


def _card(name: str, value: object) -> str:
    if isinstance(value, bool):
        text = ("T" if value else "F").rjust(20)
    elif isinstance(value, str):
        text = f"'{value:<8}'"
    else:
        text = str(value).rjust(20)
    return f"{name:<8}= {text}".ljust(CARD_BYTES)


def write_frame(folder: Path, number: int, **changes: object) -> str:
    """Write frame `number` and return its name."""
    name = f"{number:06d}.fit"
    (folder / name).write_bytes(fits_bytes(number, padded=True, **changes))
    return name
