"""Pictures of frames, and which source a click means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from server.pictures import MAX_SIDE_PX, downsample, read_picture, stretch
from server.selecting import nearest_source


def test_large_frames_are_averaged_down() -> None:
    image = np.arange(2048 * 1030, dtype=np.float32).reshape(2048, 1030)
    small = downsample(image, MAX_SIDE_PX)
    assert small.shape == (512, 257)
    assert small[0, 0] == pytest.approx(image[:4, :4].mean())
    assert downsample(small, MAX_SIDE_PX) is small


def test_sky_is_dark_and_stars_are_bright() -> None:
    random = np.random.default_rng(5)
    image = random.normal(1000.0, 20.0, (200, 200)).astype(np.float32)
    image[50, 60] = 30_000.0
    image[10, 10] = np.nan
    pixels = stretch(image)
    assert pixels.dtype == np.uint8
    assert pixels[50, 60] == 255
    assert pixels[10, 10] == 0
    assert 10 < np.median(pixels) < 130


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_a_frame_without_contrast_is_no_error(value: float) -> None:
    pixels = stretch(np.full((8, 8), value, dtype=np.float32))
    assert pixels.shape == (8, 8)
    assert len(np.unique(pixels)) == 1


def test_a_frame_as_the_camera_writes_it(tmp_path: Path) -> None:
    image = np.full((40, 60), 40_000, dtype=np.uint16)
    image[30, 5] = 65_000
    fits.PrimaryHDU(image).writeto(tmp_path / "frame.fit")
    picture = read_picture(tmp_path / "frame.fit", frame_id=3)
    assert picture is not None
    assert (picture.frame_id, picture.name, picture.shape) == (3, "frame.fit", (40, 60))
    assert np.argwhere(picture.pixels == picture.pixels.max()).tolist() == [[30, 5]]


@pytest.mark.parametrize("kind", [fits.ImageHDU, fits.CompImageHDU])
def test_frames_within_a_file_have_their_own_pictures(tmp_path: Path, kind: type) -> None:
    cube = np.full((3, 40, 60), 40_000, dtype=np.uint16)
    cube[1, 30, 5] = 65_000
    mask = fits.ImageHDU(np.zeros((10, 20), dtype=np.uint8))
    fits.HDUList([fits.PrimaryHDU(), kind(cube), mask, kind(cube[1])]).writeto(tmp_path / "night[1].fits")
    for place in ("[1,1]", "[3]"):
        picture = read_picture(tmp_path / f"night[1].fits{place}", frame_id=3)
        assert picture is not None
        assert (picture.name, picture.shape) == (f"night[1].fits{place}", (40, 60))
        assert np.argwhere(picture.pixels == picture.pixels.max()).tolist() == [[30, 5]]
    assert read_picture(tmp_path / "night[1].fits[1]", frame_id=3) is None  # a cube is no picture
    for place in ("[1,3]", "[7]", "[7,0]"):
        assert read_picture(tmp_path / f"night[1].fits{place}", frame_id=3) is None
    only = read_picture(tmp_path / "night[1].fits", frame_id=3)
    assert only is not None
    assert only.shape == (10, 20)


def test_a_frame_that_is_gone_or_damaged_has_no_picture(tmp_path: Path) -> None:
    assert read_picture(tmp_path / "gone.fit", frame_id=1) is None
    (tmp_path / "text.fit").write_text("no image", encoding="ascii")
    assert read_picture(tmp_path / "text.fit", frame_id=1) is None


def test_a_click_means_the_nearest_source_within_reach() -> None:
    positions = np.array([[10.0, 10.0], [np.nan, np.nan], [100.0, 50.0]])
    assert nearest_source(positions, x=12.0, y=9.0, frame_shape=(200, 200)) == 1
    assert nearest_source(positions, x=95.0, y=50.0, frame_shape=(200, 200)) == 3
    assert nearest_source(positions, x=60.0, y=60.0, frame_shape=(200, 200)) is None
    assert nearest_source(positions[1:2], x=0.0, y=0.0, frame_shape=(200, 200)) is None
