"""Instruments of a user's own: what they must have, and what becomes of what they say."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace

import pytest

from stream.errors import ConfigurationError, FrameRejectedError, Reason
from stream.instruments import OPTICAM_MX, Instrument, load_instrument
from stream.own_instruments import instrument_of
from tests.nights import SMALL, SimulatedNight

CAMERA = """
    from stream.instruments import OPTICAM_MX, Camera, Site

    class Mine:
        name = "mine"
        site = Site(longitude_deg=-115.463611, latitude_deg=31.044167, height_m=2790.0)
        aperture_m = 2.1
        cameras = {"1": Camera(pixel_scale_arcsec=0.14, read_noise_e=1.1)}
        def describe(self, header, frame_name):
            return answer(OPTICAM_MX().describe(header, frame_name))

    class NoSite:
        name = "mine"
        aperture_m = 2.1
        cameras = {}
        def describe(self, header, frame_name): pass

    class NoCameras(NoSite):
        site = Site(longitude_deg=0.0, latitude_deg=0.0, height_m=0.0)

    answer = lambda facts: facts
"""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> SimulatedNight:
    return SimulatedNight(tmp_path_factory.mktemp("own_instruments"), SMALL)


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    folder = tmp_path_factory.mktemp("cameras")
    (folder / "camera_of_an_observer.py").write_text(textwrap.dedent(CAMERA))
    sys.path.append(str(folder))
    importlib.invalidate_caches()
    yield importlib.import_module("camera_of_an_observer")
    sys.path.remove(str(folder))


def test_an_instrument_reads_the_headers(cameras: object, night: SimulatedNight) -> None:
    named = load_instrument("camera_of_an_observer:Mine")
    assert instrument_of(cameras.Mine()) == named  # type: ignore[attr-defined]
    assert named.reader == "camera_of_an_observer:Mine"
    assert named.cameras["1"].read_noise_e == 1.1
    frame = night.frame(0)
    assert named.describe(frame.header, frame.name) == frame.facts
    assert named.problems(frame.header, frame.name) == ()
    assert instrument_of(OPTICAM_MX()) == instrument_of("OPTICAM_MX") == OPTICAM_MX()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"key": "g"}, "returned key 'g' where a camera and a filter are required, as '1:g', for a.fit"),
        ({"exposure_s": 0.0}, "returned exposure_s 0.0 where a number greater than 0 is required"),
        ({"time_mjd_utc": 2460270.6}, "returned time_mjd_utc 2460270.6 where a Modified Julian Date is required"),
        ({"read_noise_e": float("nan")}, "returned read_noise_e nan where a number at least 0 is required"),
        ({"binning": 2.5}, "returned binning 2.5 where a whole number from 1 to 64 is required"),
        ({"gain_e_per_adu": "high"}, "a.fit: own instrument .* failed with ValueError"),
        ({"pointing": (1.0, 2.0)}, r"returned pointing \(1.0, 2.0\) where a SkyPosition in degrees or None"),
    ],
)
def test_facts_that_cannot_be_reject_the_frame(
    cameras: object,
    night: SimulatedNight,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    sentence: str,
) -> None:
    monkeypatch.setattr(cameras, "answer", lambda facts: replace(facts, **changes))
    instrument = load_instrument("camera_of_an_observer:Mine")
    with pytest.raises(FrameRejectedError, match=sentence) as caught:
        instrument.describe(night.frame(0).header, "a.fit")
    assert caught.value.reason is Reason.OWN_PART_FAILED
    assert len(instrument.problems(night.frame(0).header, "a.fit")) == 1


@pytest.mark.usefixtures("cameras")
def test_an_instrument_without_what_the_recipe_needs() -> None:
    with pytest.raises(ConfigurationError, match=r"own instrument .*NoSite must have the attribute 'site'"):
        load_instrument("camera_of_an_observer:NoSite")
    with pytest.raises(ConfigurationError, match="at least one camera is required"):
        load_instrument("camera_of_an_observer:NoCameras")
    with pytest.raises(ConfigurationError, match=r"reader \('me'\) must be a class as 'package.module:Class'"):
        Instrument("a", OPTICAM_MX().site, 2.1, OPTICAM_MX().cameras, camera_of_filter={"g": "1"}, reader="me")
