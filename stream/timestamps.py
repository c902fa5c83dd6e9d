"""Time stamps: text of a header to UTC, and UTC to the barycentre of the solar system.

Times are modified Julian dates (days). In float64 one of them resolves 0.6 microseconds in this century.
Nothing here asks the internet: Earth orientation and leap seconds come from the tables installed with astropy.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from types import ModuleType
from typing import Literal

import numpy as np

from stream.barycentre import barycentric_offset_s

SECONDS_PER_DAY = 86400.0
MJD_OF_UNIX_EPOCH = 40587.0
_MJD_OF_J2000 = 51544.5
_JD_OF_MJD_ZERO = 2400000.5
_JD_RESOLUTION_S = 40e-6  # of a float64
_MJD_OF_1972 = 41317.0
_TAI_MINUS_GPS_S = 19.0
_TT_MINUS_TAI_S = 32.184

TimeScale = Literal["utc", "gps", "tai", "tt"]

_BLOCK_DAYS = 0.25
_CHEBYSHEV_DEGREE = 11


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """An instant read from a header.

    Attributes
    ----------
    mjd_utc : float
        The instant, days.
    resolution_s : float
        One unit of the last digit that was written, seconds.
    """

    mjd_utc: float
    resolution_s: float


@dataclass(frozen=True, slots=True)
class SkyPosition:
    """A direction in the sky, ICRS, degrees."""

    ra_deg: float
    dec_deg: float


@dataclass(frozen=True, slots=True)
class GroundPosition:
    """A place on the Earth, WGS84: degrees (east and north positive) and metres."""

    longitude_deg: float
    latitude_deg: float
    height_m: float


def parse_time_stamp(text: str, date_text: str | None = None, *, utc_offset_h: float = 0.0) -> TimeStamp:
    """Read an ISO 8601 time stamp; without an offset of its own it is `utc_offset_h` ahead of UTC.

    ``Z`` and offsets such as ``-0700`` or ``+05:30`` are applied. A time without a date takes it from `date_text`.
    A leap second (``:60``) is counted on into the next minute.

    Raises
    ------
    ValueError
        If the text is not a date with a time.
    """
    stamp = text.strip()
    if date_text is not None and "-" not in stamp[:5]:  # 19:02-0700 is a time of day with an offset
        stamp = f"{date_text.strip()[:10]}T{stamp}"
    stamp = stamp.replace(" ", "T", 1)
    if "T" not in stamp:
        raise ValueError(f"{text!r} is a date without a time of day")
    leap_s = 0.0
    if ":60" in stamp[16:19]:
        stamp, leap_s = stamp[:16] + ":59" + stamp[19:], 1.0
    moment = datetime.fromisoformat(stamp)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone(timedelta(hours=utc_offset_h)) if utc_offset_h else UTC)
    since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
    seconds_of_day = since_epoch.seconds + since_epoch.microseconds * 1e-6 + leap_s
    mjd = MJD_OF_UNIX_EPOCH + since_epoch.days + seconds_of_day / SECONDS_PER_DAY
    return TimeStamp(mjd, _resolution_s(stamp))


def parse_day_number(text: str, day_format: Literal["mjd", "jd"]) -> TimeStamp:
    """Read a (modified) Julian date.

    Zeros at the end of a number are lost where a header is read, so that the resolution may come out too coarse.

    Raises
    ------
    ValueError
        If the text is not a finite number.
    """
    days = float(text)
    if not math.isfinite(days):
        raise ValueError(f"{text!r} is not a date")
    digits = len(text.strip().partition(".")[2]) if "e" not in text.lower() else 0
    resolution_s = SECONDS_PER_DAY * 10.0**-digits
    if day_format == "mjd":
        return TimeStamp(days, resolution_s)
    return TimeStamp(days - _JD_OF_MJD_ZERO, max(resolution_s, _JD_RESOLUTION_S))


def utc_of(stamp: TimeStamp, scale: TimeScale) -> TimeStamp:
    """UTC of a stamp that was read as if it were UTC but counts in another scale.

    GPS time has no leap seconds: TAI - GPS = 19 s (IS-GPS-200, 3.3.4); TT - TAI = 32.184 s (IAU 1991, recommendation
    IV); TAI - UTC is the table of the IERS, as installed with pyerfa. The second that a leap second adds is counted on
    into the next day, as `parse_time_stamp` does.

    Raises
    ------
    ValueError
        If the stamp is before 1972, when UTC began to differ from TAI by whole seconds.
    """
    if scale == "utc":
        return stamp
    behind_tai_s = {"gps": _TAI_MINUS_GPS_S, "tai": 0.0, "tt": -_TT_MINUS_TAI_S}[scale]
    mjd_tai = stamp.mjd_utc + behind_tai_s / SECONDS_PER_DAY
    starts, offsets_s = _leap_seconds()
    entry = bisect_right(starts, mjd_tai) - 1
    if entry < 0:
        raise ValueError("a date since 1972 is required")
    # Adding first and subtracting later would lose a microsecond of the sum.
    ahead_s = offsets_s[entry] - behind_tai_s
    return TimeStamp(stamp.mjd_utc - ahead_s / SECONDS_PER_DAY, stamp.resolution_s)


@lru_cache(maxsize=1)
def _leap_seconds() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Since when (TAI, days) which TAI - UTC (seconds) holds."""
    import erfa

    rows = [(float(row["tai_utc"]), date(int(row["year"]), int(row["month"]), 1)) for row in erfa.leap_seconds.get()]
    entries = [(offset_s, (day - date(1970, 1, 1)).days + MJD_OF_UNIX_EPOCH) for offset_s, day in rows]
    entries = [(offset_s, mjd) for offset_s, mjd in entries if mjd >= _MJD_OF_1972]
    return tuple(mjd + offset_s / SECONDS_PER_DAY for offset_s, mjd in entries), tuple(s for s, _ in entries)


def _resolution_s(stamp: str) -> float:
    clock = stamp.partition("T")[2].replace(",", ".")
    for mark in ("Z", "+", "-"):
        clock = clock.partition(mark)[0]
    if clock.count(":") < 2:
        return 60.0
    digits = len(clock.partition(".")[2])
    return float(10.0 ** -min(digits, 6))


def unix_to_mjd(unix_s: float) -> float:
    """Modified Julian date (UTC, days) of seconds since 1970."""
    return MJD_OF_UNIX_EPOCH + unix_s / SECONDS_PER_DAY


def mjd_to_iso(mjd_utc: float) -> str:
    """Text of a modified Julian date, to the millisecond: ``2017-12-20T01:33:43.317``."""
    unix_ms = round((mjd_utc - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY * 1000.0)
    moment = datetime.fromtimestamp(unix_ms // 1000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_ms % 1000:03d}"


def altitude_deg(mjd_utc: float, target: SkyPosition, site: GroundPosition) -> float:
    """Altitude of a direction above the horizon, degrees, good to 0.3 degrees within fifty years of 2000.

    Not for pointing: nutation, refraction and the precession of the pole are left out. The Earth rotation angle
    (IERS Conventions 2010, equation 5.15) is used and not sidereal time, because it is measured from a fixed
    direction, as ICRS right ascensions are: the equinox has moved by a third of a degree since 2000.
    """
    days = mjd_utc - _MJD_OF_J2000
    rotation_deg = (360.0 * (0.7790572732640 + 1.00273781191135448 * days) + site.longitude_deg) % 360.0
    hour_angle = math.radians(rotation_deg - target.ra_deg)
    latitude, declination = math.radians(site.latitude_deg), math.radians(target.dec_deg)
    sine = math.sin(latitude) * math.sin(declination)
    sine += math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def separation_deg(first: SkyPosition, second: SkyPosition) -> float:
    """Angle between two directions, degrees (haversine formula: exact for small angles too)."""
    ra1, dec1, ra2, dec2 = map(math.radians, (first.ra_deg, first.dec_deg, second.ra_deg, second.dec_deg))
    haversine = math.sin((dec2 - dec1) / 2.0) ** 2
    haversine += math.cos(dec1) * math.cos(dec2) * math.sin((ra2 - ra1) / 2.0) ** 2
    return math.degrees(2.0 * math.asin(min(1.0, math.sqrt(haversine))))


def airmass(altitude: float) -> float:
    """Relative airmass at an altitude in degrees; NaN below the horizon (Pickering 2002, DIO 12, 20, note 39)."""
    if altitude <= 0.0:
        return math.nan
    return 1.0 / math.sin(math.radians(altitude + 244.0 / (165.0 + 47.0 * altitude**1.1)))


def barycentric_mjd_tdb(mjd_utc: float, target: SkyPosition, site: GroundPosition) -> float:
    """BJD_TDB - 2400000.5 of an instant (Eastman, Siverd & Gaudi 2010, PASP 122, 935).

    The offset is interpolated by a polynomial over a quarter of a day and agrees with astropy's own computation to
    better than a microsecond. The polynomial depends on the quarter of the day alone, so a time never depends on
    which frames came before. The second that a leap second adds has no number of its own in `mjd_utc`: an instant
    within it is taken for the first second of the next day.
    """
    block = math.floor(mjd_utc / _BLOCK_DAYS)
    coefficients = _barycentric_offset(block, target, site)
    phase = 2.0 * (mjd_utc / _BLOCK_DAYS - block) - 1.0
    # Clenshaw's recurrence: a dozen terms are sooner added than handed to numpy.
    last, before = 0.0, 0.0
    for coefficient in coefficients[:0:-1]:
        last, before = coefficient + 2.0 * phase * last - before, last
    return mjd_utc + (coefficients[0] + phase * last - before) / SECONDS_PER_DAY


@lru_cache(maxsize=64)
def _barycentric_offset(block: int, target: SkyPosition, site: GroundPosition) -> tuple[float, ...]:
    """Chebyshev coefficients of (BJD_TDB - UTC) in seconds over one quarter of a day."""
    nodes = np.polynomial.chebyshev.chebpts1(_CHEBYSHEV_DEGREE + 1)
    day = math.floor(block * _BLOCK_DAYS)
    # Seconds since midnight, because a day with a leap second has 86401 of them and an MJD counts it as one.
    seconds_of_day = (block * _BLOCK_DAYS - day + (nodes + 1.0) / 2.0 * _BLOCK_DAYS) * SECONDS_PER_DAY
    place = (site.longitude_deg, site.latitude_deg, site.height_m)
    offset_s = barycentric_offset_s(day, seconds_of_day, (target.ra_deg, target.dec_deg), place)
    return tuple(np.polynomial.chebyshev.chebfit(nodes, offset_s, _CHEBYSHEV_DEGREE).tolist())


def offline_astropy_time() -> ModuleType:
    """Return astropy.time, set up so that it never asks the internet for tables."""
    from astropy.utils import iers

    iers.conf.auto_download = False
    iers.conf.auto_max_age = None
    iers.conf.iers_degraded_accuracy = "ignore"
    from astropy import time

    return time
