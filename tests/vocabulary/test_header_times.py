"""Every convention of time that docs/times.md lists, from header to middle of the exposure in UTC."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from stream.errors import ConfigurationError, FrameRejectedError, Reason
from stream.header_times import TimeFormat, TimeMarks, plane_keyword
from stream.instruments import PLANE, Camera, HeaderValue, Instrument, Keywords, Site
from stream.timestamps import TimeScale, mjd_to_iso, offline_astropy_time, parse_time_stamp, utc_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "times.md"
SITE = Site(longitude_deg=0.0, latitude_deg=50.0, height_m=100.0)
EXPOSURE_S = 10.0


def instrument(keywords: dict[str, str] | None = None, **settings: Any) -> Instrument:
    names = Keywords(**(keywords or {}))
    return Instrument("one", SITE, 0.2, {"1": Camera(1.0, 1.0)}, keywords=names, **settings)


def facts_of(value: HeaderValue, reader: Instrument, **more: HeaderValue) -> tuple[str, float]:
    """Middle of the exposure as text, and the resolution of the clock."""
    header: dict[str, HeaderValue] = {reader.keywords.time: value, "EXPTIME": EXPOSURE_S, "FILTER": "V"}
    facts = reader.describe(header | more, "a.fits")
    return mjd_to_iso(facts.time_mjd_utc), facts.time_resolution_s


CONVENTIONS: list[tuple[str, HeaderValue, dict[str, Any], str, float]] = [
    ("start", "2023-11-22T03:02:49.000", {"time_marks": "start"}, "2023-11-22T03:02:54.000", 0.001),
    ("middle", "2023-11-22T03:02:49.000", {"time_marks": "middle"}, "2023-11-22T03:02:49.000", 0.001),
    ("end", "2023-11-22T03:02:49.000", {"time_marks": "end"}, "2023-11-22T03:02:44.000", 0.001),
    ("UT, Z", "2023-11-22T03:02:49.50Z", {}, "2023-11-22T03:02:54.500", 0.01),
    ("UT, blank between", "2023-11-22 03:02:49.000 ", {}, "2023-11-22T03:02:54.000", 0.001),
    ("whole seconds", "2023-11-22T03:02:49", {}, "2023-11-22T03:02:54.000", 1.0),
    ("whole minutes", "2023-11-22T03:02", {}, "2023-11-22T03:02:05.000", 60.0),
    ("offset in the text", "2023-11-21T20:02:49-0700", {}, "2023-11-22T03:02:54.000", 1.0),
    ("half-hour offset", "2023-11-22T08:32:49.0+05:30", {}, "2023-11-22T03:02:54.000", 0.1),
    ("local clock", "2023-11-21T19:02:49.0", {"utc_offset_h": -8.0}, "2023-11-22T03:02:54.000", 0.1),
    ("local clock, but the text says", "2023-11-22T03:02:49Z", {"utc_offset_h": -8.0}, "2023-11-22T03:02:54.000", 1.0),
    ("GPS", "2023-11-22T03:03:07.000", {"time_scale": "gps"}, "2023-11-22T03:02:54.000", 0.001),
    ("TAI", "2023-11-22T03:03:26.000", {"time_scale": "tai"}, "2023-11-22T03:02:54.000", 0.001),
    ("TT", "2023-11-22T03:03:58.184", {"time_scale": "tt"}, "2023-11-22T03:02:54.000", 0.001),
    ("MJD", 60270.12695602, {"time_format": "mjd"}, "2023-11-22T03:02:54.000", 0.000864),
    ("MJD of three decimals", 60270.127, {"time_format": "mjd"}, "2023-11-22T03:02:57.800", 86.4),
    ("JD", 2460270.62695602, {"time_format": "jd"}, "2023-11-22T03:02:54.000", 0.000864),
    ("JD as text", "2460270.626956", {"time_format": "jd"}, "2023-11-22T03:02:53.998", 0.0864),
    ("GPS, MJD", 60270.12716435, {"time_format": "mjd", "time_scale": "gps"}, "2023-11-22T03:02:54.000", 0.000864),
]


@pytest.mark.parametrize(
    ("value", "settings", "middle", "resolution_s"),
    [case[1:] for case in CONVENTIONS],
    ids=[case[0] for case in CONVENTIONS],
)
def test_the_middle_of_the_exposure_by_every_convention(
    value: HeaderValue, settings: dict[str, Any], middle: str, resolution_s: float
) -> None:
    found, resolution = facts_of(value, instrument(**settings))
    error_s = (parse_time_stamp(found).mjd_utc - parse_time_stamp(middle).mjd_utc) * 86400.0
    assert abs(error_s) < 0.002
    assert resolution == pytest.approx(resolution_s)


def test_date_and_time_of_day_in_two_keywords() -> None:
    reader = instrument({"time": "UT-START", "date": "DATE-OBS"})
    assert facts_of("03:02:49.0", reader, **{"DATE-OBS": "2023-11-22"})[0] == "2023-11-22T03:02:54.000"
    local = msgspec.structs.replace(reader, utc_offset_h=-8.0)
    assert facts_of("19:02:49.0", local, **{"DATE-OBS": "2023-11-21"})[0] == "2023-11-22T03:02:54.000"


@pytest.mark.parametrize("scale", ["tai", "tt"])
def test_scales_without_leap_seconds_agree_with_astropy(scale: TimeScale) -> None:
    time = offline_astropy_time()
    generator = np.random.default_rng(4)
    stamps = [mjd_to_iso(mjd) for mjd in generator.uniform(41400.0, 61000.0, 60)]
    # Around the leap seconds of 1999 and 2017, when TAI was 31, 32 and 36, 37 s ahead.
    stamps += [f"2017-01-01T00:{text}" for text in ("00:35.999", "00:37.000", "00:37.001", "01:09.184", "01:09.183")]
    stamps += ["1999-01-01T00:00:30.999", "1999-01-01T00:00:32.000", "1972-01-01T00:00:50.000"]
    expected = time.Time(stamps, format="isot", scale=scale).utc
    days = (expected.jd1 - 2400000.5) + expected.jd2
    is_leap_day = np.array([stamp[8:10] == "01" and stamp[5:7] == "01" for stamp in stamps])
    computed = np.array([utc_of(parse_time_stamp(stamp), scale).mjd_utc for stamp in stamps])
    # In astropy the day of a leap second has 86401 s, which moves its MJD by up to a second.
    np.testing.assert_allclose((computed - days)[~is_leap_day] * 86400.0, 0.0, atol=2e-6)
    np.testing.assert_allclose((computed - days)[is_leap_day] * 86400.0, 0.0, atol=1.001)


@pytest.mark.parametrize(
    ("tai", "utc"),
    [
        ("2017-01-01T00:00:35.500", "2016-12-31T23:59:59.500"),
        ("2017-01-01T00:00:36.500", "2017-01-01T00:00:00.500"),  # within the leap second: counted on
        ("2017-01-01T00:00:37.000", "2017-01-01T00:00:00.000"),
        ("1980-01-06T00:00:19.000", "1980-01-06T00:00:00.000"),
    ],
)
def test_leap_seconds_are_taken_where_they_were_made(tai: str, utc: str) -> None:
    assert mjd_to_iso(utc_of(parse_time_stamp(tai), "tai").mjd_utc) == utc


def test_gps_time_is_nineteen_seconds_behind_tai() -> None:
    for stamp in ("1980-01-06T00:00:00.000", "2012-07-01T00:00:16.000", "2023-11-22T03:03:07.000"):
        moment = parse_time_stamp(stamp)
        in_tai = msgspec.convert({"mjd_utc": moment.mjd_utc + 19.0 / 86400.0, "resolution_s": 0.1}, type(moment))
        difference_s = (utc_of(moment, "gps").mjd_utc - utc_of(in_tai, "tai").mjd_utc) * 86400.0
        assert abs(difference_s) < 2e-6
    assert mjd_to_iso(utc_of(parse_time_stamp("1980-01-06T00:00:00"), "gps").mjd_utc) == "1980-01-06T00:00:00.000"


@pytest.mark.parametrize(
    ("settings", "value", "sentence"),
    [
        ({"time_scale": "gps"}, "1970-01-01T00:00:00", "keyword DATE-OBS of a.fits is '1970-01-01T00:00:00': a date"),
        ({"time_format": "jd"}, "2023-11-22T03:02:49", "'2023-11-22T03:02:49': a Julian date is required, as 24602"),
        ({"time_format": "mjd"}, "nan", "'nan': a modified Julian date is required, as 60270.126956"),
        ({"time_format": "jd"}, 0, "keyword DATE-OBS of a.fits is '0': a date between 1968 and 2100 is required"),
        ({"time_format": "mjd"}, 2460270.6, "is '2460270.6': a date between 1968 and 2100 is required"),
        ({}, 60270.1, r"is '60270\.1': a date with a time of day is required"),
    ],
)
def test_what_is_no_time_by_its_convention_is_rejected(
    settings: dict[str, Any], value: HeaderValue, sentence: str
) -> None:
    with pytest.raises(FrameRejectedError, match=sentence) as caught:
        facts_of(value, instrument(**settings))
    assert caught.value.reason is Reason.BAD_TIME


def test_planes_follow_each_other_by_the_interval_of_instrument_or_header() -> None:
    by_instrument = instrument(plane_interval_s=12.5)
    by_header = instrument({"plane_interval": "KCT"}, plane_interval_s=99.0)
    for plane, expected in {0: "03:02:54.000", 1: "03:03:06.500", 40: "03:11:14.000"}.items():
        for reader, more in ((by_instrument, {}), (by_header, {"KCT": 12.5})):
            middle, _ = facts_of("2023-11-22T03:02:49.0", reader, **more, **{PLANE: plane})
            assert middle == f"2023-11-22T{expected}"


def test_planes_may_have_time_stamps_of_their_own() -> None:
    reader = instrument({"plane_time": "UT####"})
    stamps = {"UT0001": "2023-11-22T03:00:00.0", "UT0012": "2023-11-22T03:00:30.0"}
    for plane, minute in {0: "00:05", 11: "00:35"}.items():
        assert facts_of("never", reader, **stamps, **{PLANE: plane})[0] == f"2023-11-22T03:{minute}.000"
    with pytest.raises(FrameRejectedError, match=r"keyword UT0003 of a\.fits is missing"):
        facts_of("2023-11-22T03:02:49", reader, **stamps, **{PLANE: 2})
    assert [plane_keyword(pattern, 6) for pattern in ("UT#", "T##END", "#")] == ["UT7", "T07END", "7"]


@pytest.mark.parametrize(
    ("keywords", "more", "sentence"),
    [
        (
            {},
            {},
            "a.fits is a plane of a cube and nothing tells its time: plane_interval_s, keywords.plane_interval or",
        ),
        ({"plane_interval": "KCT"}, {"KCT": 0.0}, "keyword KCT of a.fits is 0.0: seconds from plane to plane, greater"),
        ({"plane_interval": "KCT"}, {"KCT": 1e6}, "keyword KCT of a.fits is 1000000.0: seconds from plane to plane"),
        ({"plane_interval": "KCT"}, {}, "keyword KCT of a.fits is missing"),
    ],
)
def test_a_plane_whose_time_nothing_tells_is_rejected(
    keywords: dict[str, str], more: dict[str, HeaderValue], sentence: str
) -> None:
    with pytest.raises(FrameRejectedError, match=sentence):
        facts_of("2023-11-22T03:02:49.0", instrument(keywords), **more, **{PLANE: 1})


def test_conventions_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"utc_offset_h \(-7\.0\) requires time_format iso"):
        instrument(utc_offset_h=-7.0, time_format="jd")
    with pytest.raises(ConfigurationError, match=r"keywords.plane_time is 'UT': a # for a plane's number is required"):
        instrument({"plane_time": "UT"})


def test_the_document_names_every_setting_of_time() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    names = [name for kind in (TimeMarks, TimeScale, TimeFormat) for name in get_args(kind)]
    fields = ["time_marks", "time_scale", "time_format", "utc_offset_h", "plane_interval_s"]
    fields += ["keywords.time", "keywords.date", "keywords.plane_time", "keywords.plane_interval", "TIME_UNCERTAIN"]
    missing = [name for name in (*names, *fields) if f"`{name}" not in text and f'"{name}"' not in text]
    assert not missing


def test_every_convention_of_the_document_is_tested_here() -> None:
    rows = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    examples = [cell.strip(" `") for row in rows for cell in row.split("|")[2:3]]
    tested = Path(__file__).read_text(encoding="utf-8")
    assert len(examples) > 12
    assert [example for example in examples[1:] if example.strip("-") and example not in tested] == []
