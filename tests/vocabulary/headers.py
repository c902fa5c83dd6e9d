"""Headers and places of the real frames, for tests that read headers."""

from __future__ import annotations

from pathlib import Path

from stream.instruments import OPTICAM_MX, Header, HeaderValue
from stream.measure.frames import list_frames
from tests.conftest import real_frames

MICROOBSERVATORY = Path(__file__).resolve().parents[2] / "examples" / "microobservatory.toml"


def opticam_header(**changes: HeaderValue | None) -> Header:
    """What OPTICAM-MX writes, pointing at the zenith of 2023-11-22T03:02:49; None removes a keyword."""
    header: dict[str, HeaderValue] = {
        "UT": "2023-11-22 03:02:49.000",
        "DATE-OBS": "2023-11-22",
        "EXPOSURE": 5.0,
        "FILTER": "g",
        "BINNING": "2x2",
        "GAIN": 1.0,
        "DARKCURR": 0.0986,
        "SATLEVEL": 32302,
        "RA": "23 25 00",
        "DEC": "+31 02 00",
        "IMGTYPE": "object",
    }
    for keyword, value in changes.items():
        keyword = keyword.replace("_", "-")
        if value is None:
            del header[keyword]
        else:
            header[keyword] = value
    return header


def real_headers(folder: str, ending: str) -> dict[str, Header]:
    """Headers of the real frames of an instrument by file name; skips the test where they are absent."""
    paths = sorted(real_frames(folder).glob(f"*{ending}"))
    return {path.name: list_frames(path, path.name, OPTICAM_MX())[0].header for path in paths}
