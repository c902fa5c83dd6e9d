"""What light travels between a place on the Earth and the barycentre of the solar system, by erfa alone.

astropy computes the same from the same routines (SOFA), but reads the tables of the Earth's orientation as a whole,
which takes a second and 70 MB: here two lines of them are read.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SECONDS_PER_DAY = 86400.0
_JD_OF_MJD_ZERO = 2400000.5
_LIGHT_M_PER_S = 299792458.0
_WGS84 = 1
_LINE_BYTES, _FIRST_MJD = 188, 41684  # of finals2000A, one line a day
_MJD, _BULLETIN_A, _BULLETIN_B = slice(7, 15), slice(58, 68), slice(154, 165)


def barycentric_offset_s(
    day: int, seconds: NDArray[np.float64], direction_deg: tuple[float, float], place: tuple[float, float, float]
) -> NDArray[np.float64]:
    """BJD_TDB less UTC (Eastman, Siverd & Gaudi 2010, PASP 122, 935), seconds, shape of `seconds`.

    The Earth is that of ``erfa.epv00``, as astropy's built-in ephemeris: VSOP2000 (Moisson & Bretagnon 2001) fitted to
    DE405, 4.6 km or 15 microseconds rms. TDB - TT is Fairhead & Bretagnon 1990, nutation and precession IAU 2006/2000A.
    Polar motion is left out (10 m, 0.03 microseconds).

    Parameters
    ----------
    day : int
        Modified Julian date (UTC) of the midnight that `seconds` are counted from.
    seconds : array, shape (n,)
        A day with a leap second has 86401 of them.
    direction_deg : tuple of float
        Right ascension and declination, ICRS.
    place : tuple of float
        East longitude and latitude (WGS84, degrees) and height (metres).
    """
    import erfa

    tt_1, tt_2 = erfa.taitt(*erfa.utctai(_JD_OF_MJD_ZERO + day, seconds / _seconds_of_day(day)))
    longitude, latitude, height_m = math.radians(place[0]), math.radians(place[1]), place[2]
    ut_1, ut_2 = erfa.utcut1(_JD_OF_MJD_ZERO + day, seconds / _seconds_of_day(day), _ut1_minus_utc_s(day, seconds))
    x, y, z = erfa.gd2gc(_WGS84, longitude, latitude, height_m)
    tdb_2 = tt_2 + _tdb_minus_tt_s((tt_1, tt_2), ut_1 + ut_2, longitude, (math.hypot(x, y), z)) / _SECONDS_PER_DAY
    on_earth = erfa.pvtob(longitude, latitude, height_m, 0.0, 0.0, erfa.sp00(tt_1, tt_2), erfa.era00(ut_1, ut_2))["p"]
    celestial = np.einsum("nji,nj->ni", erfa.c2i06a(tt_1, tt_2), on_earth)
    heliocentric, barycentric = erfa.epv00(tt_1, tdb_2)
    # As astropy carries the place from the geocentre to the barycentre: with aberration, up to 2 microseconds.
    still = np.zeros(len(seconds), dtype=erfa.dt_pv)
    astrometry = erfa.apcs(tt_1, tt_2, still, barycentric, heliocentric["p"])
    angle, height, distance_m = erfa.p2s(celestial)
    place_m = erfa.s2p(*erfa.aticq(angle, height, astrometry), distance_m) + astrometry["eb"] * erfa.DAU
    star = erfa.s2c(*np.radians(direction_deg))
    days = (tt_1 - _JD_OF_MJD_ZERO - day) + tdb_2
    return np.asarray(days * _SECONDS_PER_DAY - seconds + place_m @ star / _LIGHT_M_PER_S)


def _tdb_minus_tt_s(
    tt: tuple[NDArray[np.float64], NDArray[np.float64]],
    ut1: NDArray[np.float64],
    longitude: float,
    from_axis_and_equator_m: tuple[float, float],
) -> NDArray[np.float64]:
    import erfa

    u, v = (length_m / 1000.0 for length_m in from_axis_and_equator_m)
    return np.asarray(erfa.dtdb(*tt, (ut1 + 0.5) % 1.0, longitude, u, v))


def _seconds_of_day(day: int) -> float:
    """Seconds of a day of UTC: erfa counts parts of the day that it is."""
    import erfa

    offsets = []
    for midnight in (day, day + 1):
        year, month, day_of_month, _ = erfa.jd2cal(_JD_OF_MJD_ZERO, midnight)
        offsets.append(float(erfa.dat(int(year), int(month), int(day_of_month), 0.0)))
    return _SECONDS_PER_DAY + round(offsets[1] - offsets[0])


def _ut1_minus_utc_s(day: int, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """UT1 - UTC by the IERS, as installed with astropy; before and after its table the first and the last value."""
    start, end = _daily_values_s(day)
    end -= round(end - start)  # the second that a leap second adds
    return np.asarray(start + (end - start) * seconds / _SECONDS_PER_DAY)


def _daily_values_s(day: int) -> tuple[float, float]:
    """UT1 - UTC at the start of a day and of the next: bulletin B where it has come out, else A."""
    import astropy_iers_data

    with Path(astropy_iers_data.IERS_A_FILE).open("rb") as table:
        n_days = table.seek(0, 2) // _LINE_BYTES

        def value_s(wanted: int) -> float:
            number = min(max(wanted - _FIRST_MJD, 0), n_days - 1)
            for earlier in range(number, -1, -1):  # the last lines have no prediction yet
                table.seek(earlier * _LINE_BYTES)
                line = table.read(_LINE_BYTES)
                if float(line[_MJD]) != _FIRST_MJD + earlier:
                    raise ValueError(f"{table.name}: line {earlier + 1} is not of day {_FIRST_MJD + earlier}")
                text = line[_BULLETIN_B].strip() or line[_BULLETIN_A].strip()
                if text:
                    return float(text)
            return 0.0

        return value_s(day), value_s(day + 1)
