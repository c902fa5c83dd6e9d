"""Positions in the sky as observers write them."""

from __future__ import annotations

import re

from stream.errors import ConfigurationError
from stream.timestamps import SkyPosition

_SEPARATORS = re.compile(r"[\s:hmsd°'\"′″,]+")


def parse_sky_position(text: str) -> SkyPosition:
    """Read right ascension and declination, ICRS.

    Two numbers are degrees (``31.0417 46.6897``); six are hours, minutes and seconds, then degrees, minutes and
    seconds (``02:04:10 +46:41:23``).

    Raises
    ------
    ConfigurationError
        If `text` is neither, or not a position in the sky.
    """
    words = [word for word in _SEPARATORS.split(text.strip()) if word]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) == 2:
        ra_deg, dec_deg = numbers
    elif len(numbers) == 6 and all(0.0 <= part < 60.0 for part in (*numbers[1:3], *numbers[4:])):
        ra_deg = 15.0 * (numbers[0] + numbers[1] / 60.0 + numbers[2] / 3600.0)
        # The sign is that of the text: -00 30 00 is south of the equator.
        sign = -1.0 if words[3].startswith("-") else 1.0
        dec_deg = sign * (abs(numbers[3]) + numbers[4] / 60.0 + numbers[5] / 3600.0)
    else:
        raise ConfigurationError(
            f"coordinates {text!r}: '31.0417 46.6897' (degrees) or '02:04:10 +46:41:23' (hours, degrees) is required"
        )
    if not 0.0 <= ra_deg < 360.0 or not -90.0 <= dec_deg <= 90.0:
        raise ConfigurationError(
            f"coordinates {text!r}: a right ascension of 0 to 360 degrees and a declination of -90 to 90 are required"
        )
    return SkyPosition(ra_deg, dec_deg)
