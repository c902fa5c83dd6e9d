"""Headers: what the real ones say, and one sentence for everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from stream.errors import ConfigurationError, FrameRejectedError, Reason
from stream.instruments import OPTICAM_MX, Camera, HeaderValue, Instrument, Keywords, Site, load_instrument
from stream.timestamps import SkyPosition, parse_time_stamp
from tests.vocabulary.headers import MICROOBSERVATORY, opticam_header, real_headers


def rejection(**changes: HeaderValue | None) -> FrameRejectedError:
    with pytest.raises(FrameRejectedError) as caught:
        OPTICAM_MX().describe(opticam_header(**changes), "night/a.fit")
    return caught.value


def test_a_header_of_opticam() -> None:
    facts = OPTICAM_MX().describe(opticam_header(), "a.fit")
    assert (facts.key, facts.exposure_s, facts.binning) == ("1:g", 5.0, 2)
    assert facts.time_mjd_utc == pytest.approx(parse_time_stamp("2023-11-22T03:02:51.500").mjd_utc, abs=1e-11)
    assert facts.time_resolution_s == pytest.approx(0.001)
    assert (facts.gain_e_per_adu, facts.dark_current_e_per_s, facts.saturation_adu) == (1.0, 0.0986, 32302.0)
    assert facts.pixel_scale_arcsec == pytest.approx(2 * 0.1397)
    assert facts.read_noise_e == 1.1
    assert facts.pointing is not None
    assert facts.pointing.ra_deg == pytest.approx(351.25)
    assert facts.pointing.dec_deg == pytest.approx(31.0 + 2.0 / 60.0)


@pytest.mark.parametrize(("marks", "middle"), [("start", 2.5), ("middle", 0.0), ("end", -2.5)])
def test_time_is_the_middle_of_the_exposure_whatever_the_clock_marks(marks: str, middle: float) -> None:
    instrument = msgspec.convert(msgspec.to_builtins(OPTICAM_MX()) | {"time_marks": marks}, Instrument)
    facts = instrument.describe(opticam_header(), "a.fit")
    stamp = parse_time_stamp("2023-11-22T03:02:49.000").mjd_utc
    assert (facts.time_mjd_utc - stamp) * 86400.0 == pytest.approx(middle, abs=1e-5)


def test_the_real_frames_of_opticam() -> None:
    facts = {name: OPTICAM_MX().describe(header, name) for name, header in real_headers("opticam_mx", ".fit").items()}
    assert sorted(fact.key for fact in facts.values()) == ["1:g", "2:r", "3:z"]
    for fact in facts.values():
        assert fact.pointing is None  # RA = '0', DEC = '31' are placeholders
        assert (fact.binning, fact.gain_e_per_adu, fact.saturation_adu) == (2, 1.0, 32302.0)
        assert fact.time_mjd_utc == pytest.approx(60270.127, abs=0.01)
        assert 0.1 < fact.exposure_s < 60.0


def test_the_archived_night_by_its_instrument_file() -> None:
    instrument = load_instrument(str(MICROOBSERVATORY))
    headers = real_headers("hatp32", ".FITS")
    facts = {name: instrument.describe(header, name) for name, header in headers.items()}
    assert len(facts) == 142
    for name, fact in facts.items():
        assert (fact.key, fact.exposure_s, fact.gain_e_per_adu) == ("1:Clear", 60.0, 15.0)
        assert fact.pointing is not None
        assert fact.pointing.ra_deg == pytest.approx(31.31, abs=0.5)
        # The name holds the start of the exposure; DATE-OBS would be seven hours off.
        stamp = f"20{name[-17:-15]}-{name[-15:-13]}-{name[-13:-11]}T{name[-11:-9]}:{name[-9:-7]}:{name[-7:-5]}"
        start_s = (fact.time_mjd_utc - parse_time_stamp(stamp).mjd_utc) * 86400.0 - 30.0
        assert abs(start_s) < 2.0


def test_right_ascension_in_hours_read_as_degrees_is_below_the_horizon_and_says_so() -> None:
    instrument = load_instrument(str(MICROOBSERVATORY))
    header: dict[str, HeaderValue] = {
        "UT-OBS": "2017-12-20T06:00:00-0000",
        "EXPTIME": 60.0,
        "FILTER": "Clear",
        "RA": 31.04,
        "DEC": -20.0,
    }
    assert instrument.describe(header, "a.fits").pointing == SkyPosition(31.04, -20.0)
    as_hours = msgspec.structs.replace(instrument, ra_unit="hours")
    with pytest.raises(FrameRejectedError) as caught:
        as_hours.describe(header | {"RA": 12.0}, "a.fits")
    assert caught.value.reason is Reason.BAD_POINTING
    for part in ("RA and DEC of a.fits", "hours and degrees", "degrees below the horizon", "ra_unit", "UT-OBS"):
        assert part in caught.value.sentence


def test_decimal_hours_are_fifteen_degrees_each() -> None:
    instrument = msgspec.structs.replace(load_instrument(str(MICROOBSERVATORY)), ra_unit="hours")
    header: dict[str, HeaderValue] = {
        "UT-OBS": "2017-12-20T06:00:00Z",
        "EXPTIME": 60.0,
        "FILTER": "Clear",
        "RA": 2.0694,
        "DEC": 46.69,
    }
    pointing = instrument.describe(header, "a.fits").pointing
    assert pointing is not None
    assert pointing.ra_deg == pytest.approx(31.041)
    assert pointing.dec_deg == 46.69


@pytest.mark.parametrize(
    ("ra", "dec"), [("0", "31"), (0, 31), (" 0 ", "31"), ("", "31"), (None, "+31 02 00"), ("23 25 00", None)]
)
def test_a_placeholder_or_half_a_pointing_is_no_pointing(ra: HeaderValue | None, dec: HeaderValue | None) -> None:
    assert OPTICAM_MX().describe(opticam_header(RA=ra, DEC=dec), "a.fit").pointing is None


@pytest.mark.parametrize(
    ("keyword", "value", "reason", "sentence"),
    [
        ("EXPOSURE", 0.0, Reason.BAD_KEYWORD, r"exposure_s \(0.0\) must be greater than 0 .*EXPOSURE of night/a.fit"),
        ("EXPOSURE", -5, Reason.BAD_KEYWORD, r"exposure_s \(-5.0\) must be greater than 0"),
        ("EXPOSURE", 1e9, Reason.BAD_KEYWORD, r"exposure_s \(1000000000.0\) must be .* at most 86400"),
        ("EXPOSURE", "long", Reason.BAD_KEYWORD, "keyword EXPOSURE of night/a.fit is 'long': a number is required"),
        ("EXPOSURE", True, Reason.BAD_KEYWORD, "keyword EXPOSURE of night/a.fit is 'True': a number is required"),
        ("EXPOSURE", float("nan"), Reason.BAD_KEYWORD, "keyword EXPOSURE of night/a.fit is 'nan': a number"),
        ("EXPOSURE", None, Reason.BAD_KEYWORD, "keyword EXPOSURE of night/a.fit is missing"),
        ("EXPOSURE", "  ", Reason.BAD_KEYWORD, "keyword EXPOSURE of night/a.fit is empty"),
        ("UT", "yesterday", Reason.BAD_TIME, "keyword UT of night/a.fit is 'yesterday': a date with a time of day"),
        ("UT", "2023-11-22", Reason.BAD_TIME, "keyword UT of night/a.fit is '2023-11-22': a date with a time of day"),
        ("UT", "1899-12-31T00:00:00", Reason.BAD_TIME, "'1899-12-31T00:00:00': a date between 1968 and 2100"),
        ("UT", None, Reason.BAD_KEYWORD, "keyword UT of night/a.fit is missing"),
        ("FILTER", "U", Reason.BAD_KEYWORD, "keyword FILTER of night/a.fit is 'U': OPTICAM-MX knows u, g, r, i, z"),
        ("FILTER", "../x", Reason.BAD_KEYWORD, r"keyword FILTER of night/a.fit is '\.\./x'"),
        ("FILTER", None, Reason.BAD_KEYWORD, "keyword FILTER of night/a.fit is missing"),
        ("BINNING", "0x0", Reason.BAD_KEYWORD, "keyword BINNING of night/a.fit is '0x0': a binning from 1 to 64"),
        ("BINNING", "inf", Reason.BAD_KEYWORD, "keyword BINNING of night/a.fit is 'inf'"),
        ("BINNING", "2.5", Reason.BAD_KEYWORD, "keyword BINNING of night/a.fit is '2.5'"),
        ("BINNING", "2x4", Reason.BAD_KEYWORD, "is '2x4': a binning from 1 to 64, equal on both axes"),
        ("BINNING", "many", Reason.BAD_KEYWORD, "keyword BINNING of night/a.fit is 'many'"),
        ("GAIN", 0.0, Reason.BAD_KEYWORD, "keyword GAIN of night/a.fit is 0.0: it must be greater than 0"),
        ("GAIN", -1.0, Reason.BAD_KEYWORD, "keyword GAIN of night/a.fit is -1.0: it must be greater than 0"),
        ("GAIN", "inf", Reason.BAD_KEYWORD, "keyword GAIN of night/a.fit is 'inf': a number is required"),
        ("DARKCURR", -0.1, Reason.BAD_KEYWORD, "keyword DARKCURR of night/a.fit is -0.1: it must be at least 0"),
        ("SATLEVEL", 0, Reason.BAD_KEYWORD, "keyword SATLEVEL of night/a.fit is 0.0: it must be greater than 0"),
        ("IMGTYPE", "Flat", Reason.NOT_SCIENCE, "keyword IMGTYPE of night/a.fit is 'Flat': only frames of the sky"),
        ("RA", "north", Reason.BAD_POINTING, "keyword RA of night/a.fit is 'north': sexagesimal_hours are required"),
        ("RA", 351.25, Reason.BAD_POINTING, "keyword RA of night/a.fit is '351.25': sexagesimal_hours are required"),
        ("RA", "23 75 00", Reason.BAD_POINTING, "keyword RA of night/a.fit is '23 75 00'"),
        ("RA", "26 00 00", Reason.BAD_POINTING, "RA and DEC of night/a.fit are '26 00 00' and .* not a position"),
        ("DEC", "+95 00 00", Reason.BAD_POINTING, "not a position in the sky"),
        ("DEC", "-89 00 00", Reason.BAD_POINTING, "30 degrees below the horizon of OPTICAM-MX at 2023-11-22T03:02"),
    ],
)
def test_what_is_absurd_is_rejected_with_keyword_value_and_file(
    keyword: str, value: HeaderValue | None, reason: Reason, sentence: str
) -> None:
    error = rejection(**{keyword: value})
    assert error.reason is reason
    with pytest.raises(FrameRejectedError, match=sentence):
        raise error
    assert "night/a.fit" in error.sentence
    assert "\n" not in error.sentence
    assert str(error) == error.sentence


def test_problems_lists_all_of_them_and_describe_raises_the_first() -> None:
    header = opticam_header(EXPOSURE=0.0, UT="never", FILTER="H", BINNING="x", GAIN=-1, SATLEVEL="full", RA="?")
    problems = OPTICAM_MX().problems(header, "a.fit")
    assert len(problems) == 7
    for keyword in ("EXPOSURE", "UT", "FILTER", "BINNING", "GAIN", "SATLEVEL", "RA"):
        assert sum(f"keyword {keyword} " in problem for problem in problems) == 1
    with pytest.raises(FrameRejectedError) as caught:
        OPTICAM_MX().describe(header, "a.fit")
    assert caught.value.sentence == problems[0]
    assert OPTICAM_MX().problems(opticam_header(), "a.fit") == ()


def test_a_pointing_below_the_horizon_is_listed_beside_other_problems() -> None:
    problems = OPTICAM_MX().problems(opticam_header(GAIN=-1, DEC="-89 00 00"), "a.fit")
    assert ["GAIN" in problem for problem in problems] == [True, False]
    assert "below the horizon" in problems[1]


@pytest.mark.parametrize("binning", ["4", "4x4", "4 x 4", "4X4", 4, 4.0])
def test_binning_as_cameras_write_it(binning: HeaderValue) -> None:
    assert OPTICAM_MX().describe(opticam_header(BINNING=binning), "a.fit").binning == 4


@pytest.mark.parametrize("name", ["g/r", "g:r", "g\\r", "g\x00", "g\x1b[2J"])
def test_filters_that_make_no_file_name_are_refused(name: str) -> None:
    instrument = Instrument("one", Site(0.0, 0.0, 0.0), 1.0, {"1": Camera(1.0, 1.0)})
    header: dict[str, HeaderValue] = {"DATE-OBS": "2023-11-22T03:02:49", "EXPTIME": 1.0, "FILTER": name}
    with pytest.raises(FrameRejectedError, match=r"keyword FILTER of a.fit is .*without colon and slash is required"):
        instrument.describe(header, "a.fit")


def test_values_of_the_camera_stand_in_for_absent_keywords() -> None:
    facts = OPTICAM_MX().describe(opticam_header(GAIN=None, DARKCURR=None, SATLEVEL=None), "a.fit")
    assert (facts.gain_e_per_adu, facts.dark_current_e_per_s, facts.saturation_adu) == (1.0, 0.0, 65535.0)


@pytest.mark.parametrize("name", ["OPTICAM_MX", "opticam-mx", "Opticam_MX"])
def test_the_built_in_instrument_by_name(name: str) -> None:
    assert load_instrument(name) == OPTICAM_MX()


def test_an_unknown_instrument_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown instrument 'SPECULOOS': neither OPTICAM_MX nor the path of"):
        load_instrument("SPECULOOS")
    with pytest.raises(ConfigurationError, match=r"unknown instrument"):
        load_instrument(str(tmp_path))


MINIMAL = """
name = "mine"
aperture_m = 0.2
site = { longitude_deg = 0.0, latitude_deg = 50.0, height_m = 100.0 }
[cameras.1]
pixel_scale_arcsec = 1.0
read_noise_e = 5.0
"""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("aperture_m", "apertur_m"), "apertur_m"),
        (("read_noise_e", "readnoise"), "readnoise"),
        (("aperture_m = 0.2", "aperture_m = -0.2"), r"> 0.0 - at `\$.aperture_m`"),
        (("aperture_m = 0.2", "aperture_m = nan"), r"\$.aperture_m"),
        (("aperture_m = 0.2", "aperture_m = inf"), r"\$.aperture_m"),
        (("aperture_m = 0.2", "aperture_m = 'big'"), r"\$.aperture_m"),
        (("latitude_deg = 50.0", "latitude_deg = 150.0"), r"<= 90.0 - at `\$.site.latitude_deg`"),
        (("pixel_scale_arcsec = 1.0", "pixel_scale_arcsec = 0.0"), r"> 0.0 - at `\$.cameras\[...\].pixel_scale_arcsec"),
        (('name = "mine"', 'name = "mine"\nra_unit = "hour"'), r"'hour' - at `\$.ra_unit`"),
        (('name = "mine"', 'name = "mine"\ntime_marks = "begin"'), r"'begin' - at `\$.time_marks`"),
        (('name = "mine"', 'name = "mine"\ncamera_of_filter = {V = "2"}'), "camera_of_filter.V is '2', which is none"),
        (("[cameras.1]", "[cameras.2]\npixel_scale_arcsec=1.0\nread_noise_e=1.0\n[cameras.1]"), "2 cameras require"),
        (('name = "mine"', "name = mine"), "instrument file"),
    ],
)
def test_instrument_files_that_are_wrong_say_where(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    assert load_instrument(str(path)).name == "mine"
    path.write_text(MINIMAL.replace(*change, 1))
    assert path.read_text() != MINIMAL
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        load_instrument(str(path))
    assert f"instrument file {path}: " in str(caught.value)


def test_an_instrument_without_cameras_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"at least one camera is required"):
        Instrument("none", Site(0.0, 0.0, 0.0), 1.0, {})


def test_an_instrument_survives_toml(tmp_path: Path) -> None:
    path = tmp_path / "opticam.toml"
    path.write_bytes(msgspec.toml.encode(OPTICAM_MX()))
    assert load_instrument(str(path)) == OPTICAM_MX()


def test_camera_by_keyword() -> None:
    cameras = {"A": Camera(1.0, 1.0), "B": Camera(2.0, 3.0)}
    instrument = Instrument("two", Site(0.0, 0.0, 0.0), 1.0, cameras, keywords=Keywords(camera="DETECTOR"))
    header: dict[str, HeaderValue] = {
        "DATE-OBS": "2023-11-22T03:02:49",
        "EXPTIME": 1.0,
        "FILTER": "V",
        "DETECTOR": "B",
    }
    assert instrument.describe(header, "a.fit").key == "B:V"
    assert instrument.describe(header, "a.fit").read_noise_e == 3.0
    with pytest.raises(FrameRejectedError, match=r"keyword DETECTOR of a.fit is 'C': two knows A, B"):
        instrument.describe(header | {"DETECTOR": "C"}, "a.fit")
