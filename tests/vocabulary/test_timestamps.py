"""Times: text to UTC, UTC to the barycentre, against astropy alone."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.barycentre import _ut1_minus_utc_s
from stream.timestamps import (
    GroundPosition,
    SkyPosition,
    airmass,
    altitude_deg,
    barycentric_mjd_tdb,
    mjd_to_iso,
    offline_astropy_time,
    parse_time_stamp,
    unix_to_mjd,
)

SAN_PEDRO = GroundPosition(-115.463611, 31.044167, 2790.0)
SOUTHERN = GroundPosition(149.07, -31.27, 1165.0)
MICROSECOND_S = 1e-6


def astropy_bmjd_error_s(stamps: list[str], computed: list[float], target: SkyPosition, site: GroundPosition) -> float:
    """Largest difference of BMJD_TDB from astropy's own, seconds, without loss of digits."""
    time = offline_astropy_time()
    from astropy import units
    from astropy.coordinates import EarthLocation, SkyCoord

    location = EarthLocation.from_geodetic(site.longitude_deg, site.latitude_deg, site.height_m)
    utc = time.Time(stamps, format="isot", scale="utc", location=location)
    direction = SkyCoord(target.ra_deg * units.deg, target.dec_deg * units.deg)
    expected = utc.tdb + utc.light_travel_time(direction, "barycentric")
    difference = (np.array(computed) - (expected.jd1 - 2400000.5)) - expected.jd2
    return float(np.abs(difference).max() * 86400.0)


@pytest.mark.parametrize("site", [SAN_PEDRO, SOUTHERN])
def test_barycentric_times_agree_with_astropy_within_a_microsecond(site: GroundPosition) -> None:
    generator = np.random.default_rng(5)
    for _ in range(12):
        target = SkyPosition(generator.uniform(0.0, 360.0), math.degrees(math.asin(generator.uniform(-1.0, 1.0))))
        start = generator.uniform(52000.0, 61000.0)
        stamps = [mjd_to_iso(start + hours / 24.0) for hours in generator.uniform(0.0, 10.0, 20)]
        computed = [barycentric_mjd_tdb(parse_time_stamp(stamp).mjd_utc, target, site) for stamp in stamps]
        assert astropy_bmjd_error_s(stamps, computed, target, site) < MICROSECOND_S


def test_the_day_of_a_leap_second_is_like_any_other() -> None:
    """2016-12-31 had 86401 seconds; neither its noon nor the midnight after it may feel the extra one."""
    target = SkyPosition(31.0417, 46.6897)
    stamps = [
        "2016-12-31T00:00:00.000",
        "2016-12-31T12:00:00.000",
        "2016-12-31T23:59:58.500",
        "2016-12-31T23:59:59.999",
        "2017-01-01T00:00:00.000",
        "2017-01-01T00:00:00.001",
        "2017-01-01T06:00:00.000",
    ]
    computed = [barycentric_mjd_tdb(parse_time_stamp(stamp).mjd_utc, target, SAN_PEDRO) for stamp in stamps]
    assert astropy_bmjd_error_s(stamps, computed, target, SAN_PEDRO) < MICROSECOND_S
    assert (computed[4] - computed[3]) * 86400.0 == pytest.approx(1.001, abs=2e-4)  # the Earth moves


@pytest.mark.parametrize("mjd", [41684.3, 50630.0, 57753.999, 58000.25, 60000.7])
def test_the_rotation_of_the_earth_is_that_of_the_table_of_astropy(mjd: float) -> None:
    """Also on the day of a leap second, 57753, and on the first day of the table."""
    time = offline_astropy_time()
    expected = time.Time(mjd, format="mjd", scale="utc").get_delta_ut1_utc().to_value("s")
    found = _ut1_minus_utc_s(math.floor(mjd), np.array([mjd % 1.0 * 86400.0]))[0]
    assert found == pytest.approx(expected, abs=1e-3)  # half a metre of the equator: 2 nanoseconds


def test_barycentric_times_need_no_table_of_astropy() -> None:
    """Which would take 70 MB of every worker, and a second of its first frame."""
    code = (
        "import sys; from stream.timestamps import *;"
        "barycentric_mjd_tdb(60000.0, SkyPosition(10.0, 20.0), GroundPosition(-115.5, 31.0, 2790.0));"
        "print('astropy.time' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_barycentric_times_are_continuous_where_polynomials_meet() -> None:
    target = SkyPosition(31.0417, 46.6897)
    for border in (58000.0, 58000.25, 58000.5):
        before, after = (barycentric_mjd_tdb(border + step, target, SAN_PEDRO) for step in (-1e-5, 1e-5))
        assert (after - before) / 2e-5 == pytest.approx(1.0, abs=2e-4)


def test_barycentric_times_do_not_depend_on_what_was_asked_before() -> None:
    target = SkyPosition(100.0, 20.0)
    times = np.random.default_rng(2).uniform(57000.0, 57040.0, 30)
    forwards = {time: barycentric_mjd_tdb(time, target, SAN_PEDRO) for time in times}
    assert all(barycentric_mjd_tdb(time, target, SAN_PEDRO) == forwards[time] for time in times[::-1])


@pytest.mark.parametrize(
    ("text", "date", "iso"),
    [
        ("2023-11-22 03:02:49.000 ", None, "2023-11-22T03:02:49.000"),
        ("2023-11-22T03:02:49Z", None, "2023-11-22T03:02:49.000"),
        ("2017-12-19T18:33:43-0700", None, "2017-12-20T01:33:43.000"),
        ("2017-12-20T01:33:43-0000", None, "2017-12-20T01:33:43.000"),
        ("2023-11-22T01:00:00.250+05:30", None, "2023-11-21T19:30:00.250"),
        ("03:02:49.5", "2023-11-22", "2023-11-22T03:02:49.500"),
        ("03:02:49.5", "2023-11-22T00:00:00", "2023-11-22T03:02:49.500"),
        ("19:02-0700", "2023-11-21", "2023-11-22T02:02:00.000"),
        ("19:02:49-0700", " 2023-11-21 ", "2023-11-22T02:02:49.000"),
        ("2023-11-22 03:02:49", "1999-01-01", "2023-11-22T03:02:49.000"),
        ("2016-12-31T23:59:60.5", None, "2017-01-01T00:00:00.500"),
        ("2024-02-29T23:59:59.999", None, "2024-02-29T23:59:59.999"),
    ],
)
def test_time_stamps_as_cameras_write_them(text: str, date: str | None, iso: str) -> None:
    assert mjd_to_iso(parse_time_stamp(text, date).mjd_utc) == iso


@pytest.mark.parametrize(
    ("text", "resolution_s"),
    [
        ("2023-11-22T03:02:49", 1.0),
        ("2023-11-22T03:02:49-0700", 1.0),
        ("2023-11-22T03:02:49Z", 1.0),
        ("2023-11-22T03:02", 60.0),
        ("2023-11-22T03:02:49.1", 0.1),
        ("2023-11-22T03:02:49,123", 0.001),
        ("2023-11-22T03:02:49.123456+05:30", 1e-6),
        ("2023-11-22T03:02:49.123456789", 1e-6),
    ],
)
def test_resolution_is_that_of_the_last_digit(text: str, resolution_s: float) -> None:
    assert parse_time_stamp(text).resolution_s == pytest.approx(resolution_s, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["2023-11-22", "", "03:02:49", "tomorrow", "2023-13-01T00:00:00", "2023-11-22T25:00:00", "22/11/23 03:02"]
)
def test_what_is_not_a_date_with_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_time_stamp(text)


def test_a_date_alone_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="'2023-11-22' is a date without a time of day"):
        parse_time_stamp("2023-11-22")


@given(st.integers(-800_000_000_000, 4_000_000_000_000))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_milliseconds_survive_text_and_number(unix_ms: int) -> None:
    mjd = unix_to_mjd(unix_ms / 1000.0)
    assert parse_time_stamp(mjd_to_iso(mjd)).mjd_utc == pytest.approx(mjd, abs=2e-11, rel=0.0)


@given(st.datetimes(), st.integers(-14 * 60, 14 * 60))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_an_offset_moves_the_time_by_itself(moment: object, offset_min: int) -> None:
    text = str(moment).replace(" ", "T", 1)
    sign, minutes = "-" if offset_min < 0 else "+", abs(offset_min)
    shifted = parse_time_stamp(f"{text}{sign}{minutes // 60:02d}:{minutes % 60:02d}").mjd_utc
    assert parse_time_stamp(text).mjd_utc - shifted == pytest.approx(offset_min / 1440.0, abs=1e-9)


def test_altitude_agrees_with_astropy() -> None:
    """Within 0.3 degrees for fifty years around 2000: precession of the equinox alone would be 0.35 by 2025."""
    time = offline_astropy_time()
    from astropy import units
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord

    generator = np.random.default_rng(3)
    for site in (SAN_PEDRO, SOUTHERN):
        mjd = generator.uniform(48000.0, 60900.0, 150)
        ra, dec = generator.uniform(0.0, 360.0, 150), np.degrees(np.arcsin(generator.uniform(-1.0, 1.0, 150)))
        location = EarthLocation.from_geodetic(site.longitude_deg, site.latitude_deg, site.height_m)
        frame = AltAz(obstime=time.Time(mjd, format="mjd", scale="utc"), location=location)
        expected = SkyCoord(ra * units.deg, dec * units.deg).transform_to(frame).alt.deg
        computed = [altitude_deg(t, SkyPosition(a, d), site) for t, a, d in zip(mjd, ra, dec, strict=True)]
        np.testing.assert_allclose(computed, expected, rtol=0.0, atol=0.3)


def test_the_pole_stands_as_high_as_the_latitude() -> None:
    pole = SkyPosition(77.0, 90.0)
    assert altitude_deg(60000.3, pole, SAN_PEDRO) == pytest.approx(SAN_PEDRO.latitude_deg, abs=1e-9)
    assert altitude_deg(60000.3, pole, SOUTHERN) == pytest.approx(SOUTHERN.latitude_deg, abs=1e-9)


def test_airmass_is_one_overhead_grows_downwards_and_ends_at_the_horizon() -> None:
    assert airmass(90.0) == pytest.approx(1.0, abs=1e-4)
    assert airmass(30.0) == pytest.approx(2.0, abs=0.01)
    values = [airmass(altitude) for altitude in range(1, 91)]
    assert values == sorted(values, reverse=True)
    assert airmass(0.01) < 41.0
    assert math.isnan(airmass(0.0))
    assert math.isnan(airmass(-5.0))
