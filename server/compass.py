"""North and east on a picture, from the world coordinates in the header of its frame; none where they are not known."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

_WORLD_COORDINATES = re.compile(
    r"NAXIS|WCSAXES|(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA)\d|(CD|PC|PV)\d_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX"
)
_TEXTS = ("CTYPE", "CUNIT", "RADESYS")
_STEP_DEG = 1e-4
_MOST_POLAR_DEG = 89.9
_LENGTH, _MARGIN, _LABEL = 0.085, 0.035, 0.045
"""Of arrows, of the room around them and from their tips to their letters; shares of the shorter side."""


@dataclass(frozen=True, slots=True)
class Compass:
    """Directions on the frame as its pixels are counted, each (x, y) of length 1."""

    north: tuple[float, float]
    east: tuple[float, float]

    @property
    def is_mirrored(self) -> bool:
        """Whether the frame shows the sky as in a mirror: turning from north to east goes clockwise."""
        return self.north[0] * self.east[1] - self.north[1] * self.east[0] < 0.0


def compass_of(header: Any, shape: tuple[int, int]) -> Compass | None:
    """North and east in the middle of a frame.

    Nothing is guessed: a header without axes of right ascension and declination, or without a matrix or steps
    (``CDi_j``, or ``CDELTi`` with ``PCi_j`` or ``CROTA2``; Calabretta & Greisen 2002, A&A 395, 1077), has no compass,
    nor has one that makes no sense, nor a frame within a tenth of a degree of a pole, where north turns from pixel to
    pixel.

    Parameters
    ----------
    header : astropy.io.fits.Header
    shape : tuple of int
        (rows, columns) of the frame.
    """
    if not any(str(header.get(f"CTYPE{axis}", "")).startswith("RA") for axis in (1, 2)):
        return None
    if not any(name in header for name in ("CD1_1", "CD1_2", "CDELT1")):
        return None
    from astropy.wcs import WCSSUB_CELESTIAL, WcsError, Wcsprm

    try:
        wcs = Wcsprm(_linear_part(header)).sub([WCSSUB_CELESTIAL])
        wcs.set()
        return _compass(wcs, shape)
    except (WcsError, ValueError):
        return None


def _linear_part(header: Any) -> bytes:
    """The cards of the world coordinates without their distortions, which turn nothing in the middle of a frame.

    Raises
    ------
    ValueError
        If one that must be a number is none.
    """
    from astropy.io.fits import Header

    cards = Header([card for card in header.cards if _WORLD_COORDINATES.fullmatch(card.keyword)])
    for axis in (1, 2):
        if isinstance(text := cards.get(f"CTYPE{axis}"), str):
            cards[f"CTYPE{axis}"] = text.removesuffix("-SIP")
    for name, value in cards.items():
        if isinstance(value, str) and not name.startswith(_TEXTS):
            raise ValueError(f"keyword {name} is {value!r}, which is no number")
    return str(cards.tostring(endcard=False, padding=False)).encode("ascii", "replace")


def _compass(wcs: Any, shape: tuple[int, int]) -> Compass | None:
    middle = np.array([[0.5 * (shape[1] + 1), 0.5 * (shape[0] + 1)]])
    sky = wcs.p2s(middle, 1)["world"][0]
    longitude, latitude = float(sky[wcs.lng]), float(sky[wcs.lat])
    if not (math.isfinite(longitude) and abs(latitude) < _MOST_POLAR_DEG):
        return None
    near = np.empty((2, 2))
    near[:, wcs.lng] = longitude, longitude + _STEP_DEG / math.cos(math.radians(latitude))
    near[:, wcs.lat] = latitude + _STEP_DEG, latitude
    north, east = wcs.s2p(near, 1)["pixcrd"] - middle
    lengths = np.hypot(*north), np.hypot(*east)
    if not (np.isfinite(lengths).all() and min(lengths) > 0.0):
        return None
    return Compass(tuple((north / lengths[0]).tolist()), tuple((east / lengths[1]).tolist()))


def arrows(compass: Compass | None, shape: tuple[int, int]) -> dict[str, list[Any]]:
    """Columns of the two arrows in the lower left corner of a picture; none where nothing is known.

    ``x0, y0, x1, y1``: from tail to tip, pixels; ``x, y, text``: the letters.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("x0", "y0", "x1", "y1", "x", "y", "text")}
    if compass is None:
        return columns
    side = float(min(shape))
    reach = (_LENGTH + _LABEL) * side
    tail = [
        _MARGIN * side + max(0.0, *(-reach * direction[axis] for direction in (compass.north, compass.east)))
        for axis in (0, 1)
    ]
    for direction, text in ((compass.north, "N"), (compass.east, "E")):
        tip = [tail[axis] + _LENGTH * side * direction[axis] for axis in (0, 1)]
        letter = [tail[axis] + reach * direction[axis] for axis in (0, 1)]
        row = (*tail, *tip, *letter, text)
        for name, cell in zip(columns, row, strict=True):
            columns[name].append(cell)
    return columns
