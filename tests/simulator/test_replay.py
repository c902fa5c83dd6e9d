"""Replays keep the order of the time stamps and their pace, and every frame, whatever is in it."""

from __future__ import annotations

import gzip
import threading
import time
from pathlib import Path

import msgspec
import pytest
from astropy.io import fits

from simulator.night import simulate_night
from simulator.replay import list_night, replay_night
from simulator.settings import NightSettings
from stream.errors import ConfigurationError
from stream.instruments import OPTICAM_MX, load_instrument
from tests.conftest import real_frames

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "microobservatory.toml"


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Five frames of each key, renamed so that names are in reverse order of time."""
    folder = tmp_path / "night"
    settings = NightSettings(n_images=5, binning=16, cadence_s=0.2)
    simulate_night(folder, settings)
    for name in settings.filters:
        for index in range(5):
            (folder / settings.file_name(name, index)).rename(folder / f"{9 - index}{name}.fit")
    return folder


def test_frames_come_in_order_of_time(night: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    frames = list_night(night, OPTICAM_MX())
    assert [frame.name for frame in frames] == [f"{9 - index}{name}.fit" for index in range(5) for name in "gir"]
    order: list[set[str]] = []
    n_copied = replay_night(
        frames,
        night,
        out,
        speed=None,
        stop=threading.Event(),
        on_frame=lambda: order.append({path.name for path in out.iterdir()}),
    )
    assert n_copied == 15
    assert order == [{frame.name for frame in frames[: n + 1]} for n in range(15)]
    for frame in frames:
        assert (out / frame.name).read_bytes() == (night / frame.name).read_bytes()


@pytest.mark.parametrize(("speed", "expected_s"), [(1.0, 0.8), (4.0, 0.2)])
def test_the_pace_is_that_of_the_time_stamps(night: Path, tmp_path: Path, speed: float, expected_s: float) -> None:
    frames = list_night(night, OPTICAM_MX())
    arrivals: list[float] = []
    replay_night(
        frames,
        night,
        tmp_path / "out",
        speed=speed,
        stop=threading.Event(),
        on_frame=lambda: arrivals.append(time.monotonic()),
    )
    assert expected_s - 0.02 <= arrivals[-1] - arrivals[0] < expected_s + 0.5


def test_frames_without_a_time_keep_their_place_by_name(night: Path) -> None:
    (night / "7z.fit").write_bytes(b"")
    (night / "7za.FITS").write_text("this is not FITS")
    (night / "notes.txt").write_text("clear sky")
    (night / "8g.fit.gz").write_bytes(gzip.compress((night / "8g.fit").read_bytes()))
    frames = list_night(night, OPTICAM_MX())
    names = [frame.name for frame in frames]
    assert names[3:5] == ["8g.fit", "8g.fit.gz"]
    assert names.index("7r.fit") + 1 == names.index("7z.fit") == names.index("7za.FITS") - 1
    assert [frame.name for frame in frames if frame.problem] == ["7z.fit", "7za.FITS"]
    assert "7z.fit" in next(frame.problem for frame in frames if frame.name == "7z.fit")
    assert len(names) == 18


def test_files_of_several_frames_have_the_time_of_the_first(night: Path) -> None:
    for name in "gr":
        path = night / f"8{name}.fit"
        with fits.open(path) as hdus:
            image, header = hdus[0].data, hdus[0].header
        kind = fits.ImageHDU if name == "g" else fits.CompImageHDU
        fits.HDUList([fits.PrimaryHDU(), kind(image, header)]).writeto(path.with_suffix(".fts.fz"))
        path.unlink()
    header["UT001"] = header.pop("UT")
    fits.PrimaryHDU(image[None].repeat(2, axis=0), header).writeto(night / "8z.FITS")
    keywords = msgspec.structs.replace(OPTICAM_MX().keywords, plane_time="UT###")
    frames = list_night(night, msgspec.structs.replace(OPTICAM_MX(), keywords=keywords))
    assert [frame.name for frame in frames][3:7] == ["8g.fts.fz", "8i.fit", "8r.fts.fz", "8z.FITS"]
    assert not any(frame.problem for frame in frames)


def test_a_replay_that_is_stopped_ends_between_frames(night: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    frames = list_night(night, OPTICAM_MX())
    assert replay_night(frames, night, tmp_path / "out", speed=0.001, stop=stop, on_frame=stop.set) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == [frames[0].name]


def test_what_cannot_be_replayed_is_refused(night: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere is not a folder"):
        list_night(tmp_path / "nowhere", OPTICAM_MX())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="empty holds no frames"):
        list_night(tmp_path / "empty", OPTICAM_MX())
    with pytest.raises(ConfigurationError, match=r"none of the 15 frames .* in time: keyword EXPTIME of 5g.fit"):
        list_night(night, load_instrument(str(EXAMPLE)))
    frames = list_night(night, OPTICAM_MX())
    stop = threading.Event()
    with pytest.raises(ConfigurationError, match=r"speed \(0.0\) must be greater than 0"):
        replay_night(frames, night, tmp_path / "out", speed=0.0, stop=stop)
    with pytest.raises(ConfigurationError, match="lies within the night"):
        replay_night(frames, night, night / "again", speed=None, stop=stop)
    replay_night(frames[:1], night, tmp_path / "out", speed=None, stop=stop)
    with pytest.raises(ConfigurationError, match=r"out already holds 9g.fit"):
        replay_night(frames, night, tmp_path / "out", speed=None, stop=stop)


def test_the_real_night_is_listed_in_order(tmp_path: Path) -> None:
    frames = list_night(real_frames("hatp32"), load_instrument(str(EXAMPLE)))
    assert len(frames) == 142
    assert not any(frame.problem for frame in frames)
    assert [frame.name for frame in frames] == sorted(frame.name for frame in frames)
    assert (frames[-1].time_mjd_utc - frames[0].time_mjd_utc) * 24.0 == pytest.approx(7.0, abs=1.5)
