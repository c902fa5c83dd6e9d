"""North and east on a picture: known rotations and mirrored frames, and none where the header does not tell."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from server.compass import arrows, compass_of
from server.pictures import read_picture

SHAPE = (400, 512)
SCALE_DEG = 1.5e-4


def sky_header(rotation_deg: float, *, mirrored: bool = False, declination_deg: float = 40.0) -> fits.Header:
    """A frame whose north lies `rotation_deg` from +y towards -x; east is left of north unless it is mirrored."""
    angle = math.radians(rotation_deg)
    north = np.array([-math.sin(angle), math.cos(angle)])
    east = np.array([-north[1], north[0]]) * (-1.0 if mirrored else 1.0)
    # Pixels by degrees to degrees by pixels; the first axis of the sky grows towards the east.
    matrix = SCALE_DEG * np.linalg.inv(np.column_stack([east, north]))
    header = fits.Header()
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 100.0, "CRVAL2": declination_deg})
    header.update({"CRPIX1": 256.5, "CRPIX2": 200.5})
    header.update({f"CD{i + 1}_{j + 1}": matrix[i, j] for i in (0, 1) for j in (0, 1)})
    return header


@given(
    rotation_deg=st.floats(-180.0, 180.0),
    mirrored=st.booleans(),
    declination_deg=st.floats(-85.0, 85.0),
)
@settings(deadline=None)
def test_a_known_rotation_and_parity_are_found(rotation_deg: float, mirrored: bool, declination_deg: float) -> None:
    found = compass_of(sky_header(rotation_deg, mirrored=mirrored, declination_deg=declination_deg), SHAPE)
    assert found is not None
    angle = math.radians(rotation_deg)
    assert found.north == pytest.approx((-math.sin(angle), math.cos(angle)), abs=2e-4)
    towards = 1.0 if mirrored else -1.0
    assert found.east == pytest.approx((towards * math.cos(angle), towards * math.sin(angle)), abs=2e-4)
    assert found.is_mirrored is mirrored


def test_steps_with_a_rotation_are_a_compass_too() -> None:
    header = sky_header(0.0)
    del header["CD*"]
    assert compass_of(header, SHAPE) is None
    header.update({"CDELT1": -SCALE_DEG, "CDELT2": SCALE_DEG, "CROTA2": 20.0})
    found = compass_of(header, SHAPE)
    assert found is not None
    assert math.degrees(math.atan2(-found.north[0], found.north[1])) == pytest.approx(20.0, abs=0.05)


@pytest.mark.parametrize(
    "changes",
    [
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CD1_1": 0.0, "CD1_2": 0.0},
        {"CRVAL1": "unknown"},
        {"CRVAL2": 89.99},
        {"CTYPE2": "DEC--AIT"},
    ],
)
def test_nothing_is_guessed(changes: dict[str, object]) -> None:
    header = sky_header(30.0)
    header.update(changes)
    assert compass_of(header, SHAPE) is None
    assert compass_of(fits.Header(), SHAPE) is None


def test_distortions_and_a_cube_do_not_matter() -> None:
    header = sky_header(30.0)
    plain = compass_of(header, SHAPE)
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "CTYPE3": "FREQ", "CRVAL3": 1.0})
    assert compass_of(header, SHAPE) == plain


@given(rotation_deg=st.floats(-180.0, 180.0), mirrored=st.booleans())
@settings(deadline=None)
def test_arrows_and_letters_stay_in_their_corner(rotation_deg: float, mirrored: bool) -> None:
    drawn = arrows(compass_of(sky_header(rotation_deg, mirrored=mirrored), SHAPE), SHAPE)
    assert drawn["text"] == ["N", "E"]
    places = np.array([drawn[name] for name in ("x0", "y0", "x1", "y1", "x", "y")])
    assert places.min() > 0.0
    assert places.max() < 0.35 * min(SHAPE)
    for index in (0, 1):
        length = math.hypot(drawn["x1"][index] - drawn["x0"][index], drawn["y1"][index] - drawn["y0"][index])
        assert length == pytest.approx(0.085 * min(SHAPE), rel=1e-3)


def test_the_picture_of_a_frame_brings_its_compass(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).normal(100.0, 5.0, SHAPE).astype(np.float32)
    for name, header in (("known.fits", sky_header(75.0, mirrored=True)), ("unknown.fits", fits.Header())):
        fits.PrimaryHDU(pixels, header).writeto(tmp_path / name)
    known, unknown = (read_picture(tmp_path / name, frame_id=1) for name in ("known.fits", "unknown.fits"))
    assert known is not None
    assert unknown is not None
    assert known.compass == compass_of(sky_header(75.0, mirrored=True), SHAPE)
    assert unknown.compass is None
    assert arrows(unknown.compass, SHAPE)["text"] == []
