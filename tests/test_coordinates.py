"""Positions in the sky as observers write them."""

from __future__ import annotations

import pytest

from stream.coordinates import parse_sky_position
from stream.errors import ConfigurationError


@pytest.mark.parametrize(
    "text",
    ["31.041666666666668 46.68972222222222", "02:04:10 +46:41:23", "02 04 10 46 41 23", "2h4m10s +46d41m23s"],
)
def test_degrees_and_sexagesimal_mean_the_same(text: str) -> None:
    position = parse_sky_position(text)
    assert position.ra_deg == pytest.approx(31.0416667, abs=1e-6)
    assert position.dec_deg == pytest.approx(46.6897222, abs=1e-6)


def test_a_declination_just_south_of_the_equator_keeps_its_sign() -> None:
    assert parse_sky_position("00:00:00 -00:30:00").dec_deg == -0.5


@pytest.mark.parametrize("text", ["", "12", "HAT-P-32", "1 2 3", "02:64:10 +46:41:23"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"coordinates .*: '31\.0417 46\.6897' \(degrees\) or"):
        parse_sky_position(text)


@pytest.mark.parametrize("text", ["361 0", "10 91", "24:00:00 0:0:0"])
def test_what_is_outside_the_sky_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="0 to 360 degrees and a declination of -90 to 90 are required"):
        parse_sky_position(text)
