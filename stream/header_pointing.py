"""The pointing of a frame: from what a telescope writes to degrees, or a sentence on what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stream.cameras import Site
from stream.errors import FrameRejectedError, Reason
from stream.header_values import Header
from stream.timestamps import SkyPosition, altitude_deg, mjd_to_iso

AngleUnit = Literal["degrees", "hours", "sexagesimal_hours", "sexagesimal_degrees"]
LOWEST_ALTITUDE_DEG = -1.0  # refraction lifts the horizon by half a degree; the sidereal time is good to 0.3


@dataclass(frozen=True, slots=True)
class HeaderPointing:
    """How the headers of an instrument tell the pointing; names of keywords are empty where there is none.

    Attributes
    ----------
    placeholders : tuple of (str, str)
        Pairs of RA and Dec, as written, that mean "not set".
    """

    ra: str
    dec: str
    ra_unit: AngleUnit
    dec_unit: AngleUnit
    placeholders: tuple[tuple[str, str], ...]

    def read(self, header: Header, frame_name: str) -> SkyPosition | None:
        """Return the pointing, None where there is none; raises FrameRejectedError if it is none in the sky."""
        if not self.ra or not self.dec or self.ra not in header or self.dec not in header:
            return None
        ra_text, dec_text = str(header[self.ra]).strip(), str(header[self.dec]).strip()
        if not ra_text or not dec_text or (ra_text, dec_text) in self.placeholders:
            return None
        ra = _angle_deg(ra_text, self.ra_unit, self.ra, frame_name)
        dec = _angle_deg(dec_text, self.dec_unit, self.dec, frame_name)
        if not 0.0 <= ra <= 360.0 or not -90.0 <= dec <= 90.0:
            raise FrameRejectedError(
                Reason.BAD_POINTING,
                f"keywords {self.ra} and {self.dec} of {frame_name} are {ra_text!r} and {dec_text!r}: "
                f"read as {self.ra_unit} and {self.dec_unit} they are not a position in the sky",
            )
        return SkyPosition(ra, dec)

    def check_horizon(self, pointing: SkyPosition, mjd_utc: float, *, site: Site, names: tuple[str, str, str]) -> None:
        """Refuse a pointing below the horizon; `names` are those of the frame, the instrument and the time keyword."""
        altitude = altitude_deg(mjd_utc, pointing, site.position())
        if altitude < LOWEST_ALTITUDE_DEG:
            frame_name, instrument, time_keyword = names
            raise FrameRejectedError(
                Reason.BAD_POINTING,
                f"keywords {self.ra} and {self.dec} of {frame_name}, read as {self.ra_unit} and {self.dec_unit}, "
                f"point {-altitude:.0f} degrees below the horizon of {instrument} at {mjd_to_iso(mjd_utc)} UTC: "
                f"check ra_unit, dec_unit, the keyword {time_keyword} and the site",
            )


def _angle_deg(text: str, unit: AngleUnit, keyword: str, frame_name: str) -> float:
    try:
        if unit in ("degrees", "hours"):
            value = float(text)
        else:
            parts = [float(part) for part in text.replace(":", " ").split()]
            if len(parts) not in (2, 3):
                raise ValueError(f"{len(parts)} fields")
            if not all(0.0 <= part < 60.0 for part in parts[1:]):
                raise ValueError("minutes or seconds out of bounds")
            value = sum(abs(part) / 60.0**power for power, part in enumerate(parts))
            value = -value if text.startswith("-") else value
    except ValueError as error:
        raise FrameRejectedError(
            Reason.BAD_POINTING, f"keyword {keyword} of {frame_name} is {text!r}: {unit} are required"
        ) from error
    return value * 15.0 if "hours" in unit else value
