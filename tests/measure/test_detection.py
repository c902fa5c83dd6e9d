"""Detection, hot pixels, stacks and catalog files."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import sep
import yaml  # type: ignore[import-untyped]  # comes without types; only this test reads YAML
from scipy import ndimage

from stream.config import DetectionSettings, Recipe
from stream.errors import ConfigurationError
from stream.instruments import OPTICAM_MX
from stream.measure.catalog import load_catalog, save_catalog, with_version
from stream.measure.centroids import centre_stars, is_one_pixel_wide
from stream.measure.detection import detect_sources, find_hot_pixels, mend_pixels
from stream.measure.frames import Frame
from stream.measure.stacking import stack_frames
from stream.messages import Catalog
from stream.timestamps import SkyPosition
from tests.measure.synthetic import frame_of, long_star, noisy, round_stars

SETTINGS = DetectionSettings()
SHAPE = (200, 240)
PLACES = np.array([[60.2, 50.7], [180.4, 40.1], [120.9, 120.3], [40.5, 160.8], [200.1, 150.2]])
FLUXES = np.array([40_000.0, 20_000.0, 10_000.0, 5_000.0, 2_500.0])
RECIPE = Recipe(OPTICAM_MX())


def field(seed: int, sigma_px: float = 1.7, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    light = 100.0 + round_stars(SHAPE, PLACES + np.array(shift), FLUXES, sigma_px)
    return noisy(light, np.random.default_rng(seed))


def test_all_stars_are_found_brightest_first_with_their_width() -> None:
    found = detect_sources(field(1), SETTINGS, star_sigma_px=1.7)
    assert len(found.xy) == len(PLACES)
    assert np.abs(found.xy - PLACES).max() < 0.5
    assert (np.diff(found.flux) < 0.0).all()
    np.testing.assert_allclose(found.semi_major_sigma_px[:3], 1.7, atol=0.35)


def test_noise_alone_makes_no_source() -> None:
    n_false = sum(
        len(detect_sources(noisy(np.full((256, 256), 50.0), np.random.default_rng(seed)), SETTINGS).xy)
        for seed in range(10)
    )
    assert n_false <= 1


def test_a_gradient_of_the_sky_makes_no_source() -> None:
    ramp = 100.0 + 3.0 * np.arange(240.0)[None, :] + np.zeros((200, 1))
    assert len(detect_sources(noisy(ramp, np.random.default_rng(2)), SETTINGS).xy) == 0


@pytest.mark.parametrize("excess_e", [200.0, 1_000.0, 5_000.0, 30_000.0])
def test_single_bright_pixels_are_no_sources(excess_e: float) -> None:
    image = field(3)
    generator = np.random.default_rng(4)
    image[generator.integers(5, 195, 100), generator.integers(5, 235, 100)] += excess_e
    found = detect_sources(image, SETTINGS, star_sigma_px=1.7)
    distance = np.hypot(*(found.xy[:, None, :] - PLACES[None, :, :]).transpose(2, 0, 1))
    assert (distance.min(axis=1) < 1.5).all()
    if excess_e < 30_000.0:  # faint stars drown in the halo of a hundred pixels as bright as the brightest star
        assert (distance.min(axis=0)[:3] < 1.5).all()


def test_the_edge_of_a_shadow_is_no_source() -> None:
    row, column = np.mgrid[:512, :512]
    radius = np.hypot(row - 255.5, column - 255.5) / 256.0
    sky = 100.0 * (0.02 + 0.98 * np.cos(0.5 * np.pi * np.clip((radius - 0.9) / 0.1, 0.0, 1.0)) ** 2)
    light = sky + round_stars((512, 512), PLACES + 120.0, FLUXES, 1.7)
    found = detect_sources(noisy(light, np.random.default_rng(8)), SETTINGS).xy
    found = found[((found > 5.0) & (found < 506.0)).all(axis=1)]
    assert len(found) == len(PLACES)
    assert np.abs(found - PLACES - 120.0).max() < 0.5


def count_with(image: np.ndarray, **settings: float) -> int:
    return len(detect_sources(image, msgspec.structs.replace(SETTINGS, **settings), star_sigma_px=1.7).xy)


def test_two_close_stars_are_parted_as_the_settings_say() -> None:
    """9 pixels apart, 2.4 FWHM of the smoothed stars: equal ones, and one that has a quarter of the light."""

    beside = np.array([9.0, 0.0])

    def pair(share: float) -> np.ndarray:
        xy, flux = np.vstack([PLACES, PLACES[0] + beside]), np.append(FLUXES, share * FLUXES[0])
        return noisy(100.0 + round_stars(SHAPE, xy, flux, 1.7), np.random.default_rng(1))

    equal, unequal = pair(1.0), pair(0.3)
    both = detect_sources(equal, SETTINGS, star_sigma_px=1.7).xy
    for place in (PLACES[0], PLACES[0] + beside):
        assert np.hypot(*(both - place).T).min() < 0.5
    assert (count_with(equal), count_with(unequal)) == (6, 6)
    assert (count_with(equal, deblend_contrast=1.0), count_with(unequal, deblend_contrast=1.0)) == (5, 5)
    assert (count_with(equal, deblend_contrast=0.1), count_with(unequal, deblend_contrast=0.1)) == (6, 5)
    assert count_with(equal, deblend_levels=3) == 5


def test_the_threshold_is_in_standard_deviations_of_the_smoothed_picture() -> None:
    """A star of flux f rises f / (4 pi s^2) above a sky whose noise of sigma is smoothed to sigma / (2 sqrt(pi) s)."""
    noise_e = math.sqrt(100.0 + 2.0**2)
    peak_sigma = 10.0
    flux = peak_sigma * noise_e / (2.0 * math.sqrt(math.pi) * 1.7) * 4.0 * math.pi * 1.7**2
    grid = np.stack(np.meshgrid(np.arange(20.0, 240.0, 40.0), np.arange(20.0, 200.0, 40.0)), axis=-1).reshape(-1, 2)
    light = 100.0 + round_stars(SHAPE, grid, np.full(len(grid), flux), 1.7)
    image = noisy(light, np.random.default_rng(2))
    assert count_with(image, threshold_sigma=0.4 * peak_sigma) == len(grid)
    assert count_with(image, threshold_sigma=1.6 * peak_sigma) == 0


def test_a_source_has_so_many_pixels_above_the_threshold() -> None:
    """Of a star whose smoothed profile is sigma wide, ``2 pi sigma^2 ln(peak / threshold)`` pixels are above it."""
    image = field(1)
    assert count_with(image, min_pixels=1) == count_with(image, min_pixels=20) == len(PLACES)
    noise_e = math.sqrt(100.0 + 2.0**2) / (2.0 * math.sqrt(math.pi) * 1.7)
    peaks = FLUXES / (4.0 * math.pi * 1.7**2)
    areas = 2.0 * math.pi * 2.0 * 1.7**2 * np.log(peaks / (SETTINGS.threshold_sigma * noise_e))
    for n_stars in (2, 4):
        between = 0.5 * (areas[n_stars - 1] + areas[n_stars])
        assert count_with(image, min_pixels=round(between)) == n_stars


def test_a_sky_that_waves_hides_stars_unless_the_boxes_are_small() -> None:
    rows, columns = np.mgrid[:480, :480]
    waves = 200.0 + 100.0 * np.sin(2.0 * np.pi * columns / 60.0) * np.sin(2.0 * np.pi * rows / 60.0)
    image = noisy(waves + round_stars((480, 480), 2.0 * PLACES, FLUXES, 1.7), np.random.default_rng(1))
    assert count_with(image, mesh_px=12) >= 4
    assert count_with(image, mesh_px=64) <= 2


def test_a_field_that_is_all_stars_overflows_no_buffer() -> None:
    generator = np.random.default_rng(10)
    light = np.zeros((640, 640))
    light[generator.integers(0, 640, 8000), generator.integers(0, 640, 8000)] = 2000.0 * generator.random(8000) ** -0.8
    image = noisy(ndimage.gaussian_filter(light, 1.7, mode="constant") + 100.0, generator)
    before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    found = detect_sources(image, msgspec.structs.replace(SETTINGS, threshold_sigma=0.1), star_sigma_px=1.7)
    assert len(found.xy) > 100
    assert (sep.get_extract_pixstack(), sep.get_sub_object_limit()) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1000.0])
def test_pictures_without_content_hold_no_source(value: float) -> None:
    assert len(detect_sources(np.full((64, 64), value), SETTINGS).xy) == 0


def test_missing_pixels_and_tiny_pictures_are_no_reason_to_fail() -> None:
    image = field(5)
    image[:, 100:105] = np.nan
    image[10, 10] = np.inf
    found = detect_sources(image, SETTINGS, star_sigma_px=1.7)
    assert len(found.xy) == len(PLACES)
    assert np.isfinite(found.xy).all()
    assert len(detect_sources(noisy(np.full((16, 16), 50.0), np.random.default_rng(1)), SETTINGS).xy) == 0


def test_the_picture_is_not_changed() -> None:
    image = field(5).astype(np.float32)
    image[3, 3] = np.nan
    before = image.copy()
    detect_sources(image, SETTINGS, bad_pixels=np.zeros(SHAPE, dtype=bool))
    np.testing.assert_array_equal(image, before)


def test_hot_pixels_are_told_from_stars() -> None:
    generator = np.random.default_rng(6)
    hot = np.zeros(SHAPE, dtype=bool)
    hot[generator.integers(0, 200, 150), generator.integers(0, 240, 150)] = True
    images = [
        (field(seed, sigma_px=1.0, shift=(0.4 * seed, 0.0)) + 1_500.0 * hot).astype(np.float32) for seed in range(5)
    ]
    found = find_hot_pixels(images)
    lonely = hot & (
        np.array([[hot[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].sum() for c in range(240)] for r in range(200)])
        == 1
    )
    near_star = (
        np.hypot(*(np.mgrid[:200, :240].transpose(1, 2, 0)[:, :, None, ::-1] - PLACES).transpose(3, 0, 1, 2)).min(
            axis=2
        )
        < 8
    )
    assert found[lonely & ~near_star].mean() > 0.99
    assert not found[~hot].any()


@pytest.mark.parametrize("sigma_px", [0.8, 1.0, 1.7])
def test_two_hot_pixels_side_by_side_are_narrower_than_any_star(sigma_px: float) -> None:
    image = field(3, sigma_px)
    pairs = np.array([[30.0, 20.5], [90.5, 90.5], [150.5, 100.0]])
    for rows, columns in (([20, 21], [30, 30]), ([90, 91], [90, 91]), ([100, 100], [150, 151])):
        image[rows, columns] += 1_500.0
    centres = centre_stars(frame_of(image), np.vstack([PLACES, pairs]), sigma_px)
    assert centres.signal_to_noise.min() > 10.0
    assert is_one_pixel_wide(centres, sigma_px).tolist() == [False] * len(PLACES) + [True] * len(pairs)


@pytest.mark.parametrize("sigma_px", [0.7, 1.0, 2.0])
def test_stars_are_no_hot_pixels_not_even_those_that_do_not_move(sigma_px: float) -> None:
    images = [field(seed, sigma_px=sigma_px).astype(np.float32) for seed in range(3)]
    assert not find_hot_pixels(images).any()
    assert not find_hot_pixels(images[:1]).any()


def test_mending_takes_the_mean_of_good_neighbours() -> None:
    image = np.arange(25, dtype=np.float32).reshape(5, 5)
    bad = np.zeros((5, 5), dtype=bool)
    bad[2, 2] = bad[0, 0] = bad[0, 1] = True
    mended = mend_pixels(image, bad)
    assert mended[2, 2] == pytest.approx(np.delete(image[1:4, 1:4].ravel(), 4).mean())
    assert mended[0, 0] == pytest.approx((5.0 + 6.0) / 2.0)
    assert (mended[~bad] == image[~bad]).all()
    everything = mend_pixels(image, np.ones((5, 5), dtype=bool))
    np.testing.assert_array_equal(everything, image)


def frames(shifts: list[tuple[float, float]]) -> list[Frame]:
    return [
        frame_of(field(number, shift=shift), name=f"{number}.fit", time_mjd_utc=60270.0 + number)
        for number, shift in enumerate(shifts)
    ]


def test_a_stack_stands_on_the_first_frame_in_time_and_is_less_noisy() -> None:
    made = frames([(0.0, 0.0), (3.2, -2.1), (-4.0, 5.3), (1.0, 1.0), (25.0, -14.0)])
    stacked = stack_frames([made[2], made[0], made[4], made[1], made[3]], RECIPE)
    assert stacked is not None
    assert [frame.name for frame in stacked.frames] == ["0.fit", "1.fit", "2.fit", "3.fit", "4.fit"]
    assert stacked.picture.dtype == np.float32
    assert np.isfinite(stacked.picture).all()
    for alignment, shift in zip(stacked.alignments, [(0, 0), (3.2, -2.1), (-4, 5.3), (1, 1), (25, -14)], strict=True):
        assert alignment.transform.shift_x_px == pytest.approx(shift[0], abs=0.1)
        assert alignment.transform.shift_y_px == pytest.approx(shift[1], abs=0.1)
    empty = np.s_[80:100, 60:100]
    assert stacked.picture[empty].std() < 0.6 * made[0].electrons()[empty].std()
    assert stacked.sigma_px == pytest.approx(math.hypot(1.7, math.sqrt(1.0 / 12.0)), rel=0.05)


def test_a_frame_of_another_field_is_left_out_of_the_stack() -> None:
    made = frames([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)])
    other = 100.0 + round_stars(
        SHAPE, np.array([[30.0, 30.0], [90.0, 60.0], [150.0, 170.0], [220.0, 90.0]]), [2e4] * 4, 1.7
    )
    stranger = frame_of(noisy(other, np.random.default_rng(9)), name="x.fit", time_mjd_utc=60270.5)
    stacked = stack_frames([*made, stranger], RECIPE)
    assert stacked is not None
    assert [frame.name for frame in stacked.frames] == ["0.fit", "1.fit", "2.fit"]


def test_a_cloudy_first_frame_is_not_the_reference() -> None:
    made = frames([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)])
    clouds = 100.0 + round_stars(SHAPE, PLACES[:1], FLUXES[:1], 1.7)
    cloudy = frame_of(noisy(clouds, np.random.default_rng(9)), name="cloudy.fit", time_mjd_utc=60269.0)
    stacked = stack_frames([cloudy, *made], RECIPE)
    assert stacked is not None
    assert stacked.frames[0].name == "0.fit"


def test_a_trailed_first_frame_is_not_the_reference() -> None:
    light = np.full(SHAPE, 100.0)
    for place, flux in zip(PLACES, 3.0 * FLUXES, strict=True):
        light += long_star(SHAPE, (float(place[0]), float(place[1])), flux, (5.0, 1.6, 20.0))
    trailed = frame_of(noisy(light, np.random.default_rng(9)), name="trailed.fit", time_mjd_utc=60269.0)
    stacked = stack_frames([trailed, *frames([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)])], RECIPE)
    assert stacked is not None
    assert stacked.frames[0].name == "0.fit"


def test_what_only_the_reference_shows_is_no_star_to_align_on() -> None:
    made = frames([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (3.0, 1.0)])
    flash = noisy(100.0 + round_stars(SHAPE, np.array([[100.3, 60.2]]), [2e4], 1.7), np.random.default_rng(3))
    alone = frame_of(made[0].electrons() + flash - 100.0, name="0.fit", time_mjd_utc=60270.0)
    stacked = stack_frames([alone, *made[1:]], RECIPE)
    assert stacked is not None
    assert stacked.frames[0].name == "0.fit"
    assert len(stacked.frames) == 4
    assert np.hypot(*(stacked.stars.xy - [100.3, 60.2]).T).min() > 20.0
    assert len(stacked.stars.xy) == len(PLACES)


def test_frames_without_stars_make_no_stack() -> None:
    empty = [frame_of(noisy(np.full(SHAPE, 100.0), np.random.default_rng(n)), name=f"{n}.fit") for n in range(3)]
    assert stack_frames(empty, RECIPE) is None
    assert stack_frames([frame_of(np.full(SHAPE, np.nan))], RECIPE) is None
    assert stack_frames([frame_of(np.full(SHAPE, 100.0))], RECIPE) is None


def test_trailed_stars_make_a_stack() -> None:
    light = np.full(SHAPE, 100.0)
    for place, flux in zip(PLACES, 3.0 * FLUXES, strict=True):
        light += long_star(SHAPE, (float(place[0]), float(place[1])), flux, (3.5, 1.6, 20.0))
    made = [frame_of(noisy(light, np.random.default_rng(n)), name=f"{n}.fit") for n in range(3)]
    stacked = stack_frames(made, RECIPE)
    assert stacked is not None
    assert len(stacked.frames) == 3


CATALOG = with_version(
    Catalog(
        key="1:g",
        version="",
        frame_shape=(200, 240),
        binning=2,
        exposure_s=0.5,
        fwhm_px=4.123456789012345,
        pixel_scale_arcsec=0.2794,
        x=tuple(PLACES[:, 0].tolist()),
        y=tuple((PLACES[:, 1] / 3.0).tolist()),
        flux_e=tuple(FLUXES.tolist()),
        semi_major_sigma_px=(1.1, 1.2, 1.3, 1.4, 0.1 + 0.2),
        semi_minor_sigma_px=(1.0,) * 5,
        orientation_deg=(-90.0, -1e-17, 0.0, 45.0, 90.0),
        frames=("a: b.fit", "sub/c'd\"e.fit", "# f.fit"),
        pointing=SkyPosition(31.0417, -0.5),
        hot_pixels=(0, 5, 47_999),
    )
)


@pytest.mark.parametrize(
    "catalog",
    [CATALOG, with_version(msgspec.structs.replace(CATALOG, pointing=None, hot_pixels=(), frames=("a.fit",)))],
)
def test_a_catalog_survives_its_file_to_the_last_bit(tmp_path: Path, catalog: Catalog) -> None:
    path = tmp_path / "1-g_catalog.ecsv"
    save_catalog(catalog, path)
    assert load_catalog(path) == catalog
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_any_reader_of_yaml_can_read_the_header(tmp_path: Path) -> None:
    save_catalog(CATALOG, tmp_path / "c.ecsv")
    lines = (tmp_path / "c.ecsv").read_text().splitlines()
    header = yaml.safe_load("\n".join(line[2:] for line in lines[1:] if line.startswith("# ")))
    meta = dict(header["meta"])
    assert meta["frame_shape"] == [200, 240]
    assert meta["frames"] == list(CATALOG.frames)
    assert meta["hot_pixels"] == [0, 5, 47_999]


def test_the_version_is_that_of_the_content() -> None:
    assert with_version(CATALOG) == CATALOG
    for name, value in (("fwhm_px", 4.0), ("x", (1.0,) * 5), ("hot_pixels", ()), ("pointing", None), ("key", "2:r")):
        assert with_version(msgspec.structs.replace(CATALOG, **{name: value})).version != CATALOG.version


def test_an_edited_catalog_has_another_version(tmp_path: Path) -> None:
    path = tmp_path / "c.ecsv"
    save_catalog(CATALOG, path)
    path.write_text(path.read_text().replace("exposure_s: 0.5", "exposure_s: 0.6"))
    loaded = load_catalog(path)
    assert loaded.exposure_s == 0.6
    assert loaded.version == with_version(loaded).version != CATALOG.version


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("fwhm_px: 4.1", "fwhm_px: -4.1", r"fwhm_px \(-4.1\d+\) must be greater than 0"),
        ("47999", "48000", "hot_pixels must lie within its 240 x 200 pixels"),
        ("40000.0", "nan", "column flux_e must hold positive numbers alone"),
        ("40000.0", "-3.0", "column flux_e must hold positive numbers alone"),
        ("60.2", "inf", "column x must hold numbers alone"),
        ("60.2", "sixty", "x"),
        ("name: flux_e", "name: flux", ""),
        ("key: ", "kee: ", "key"),
        ("%ECSV", "%CSV", ""),
        ("# ---", "# --- [", ""),
    ],
)
def test_files_that_are_no_catalog_are_refused_by_name(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = tmp_path / "c.ecsv"
    save_catalog(CATALOG, path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=rf"catalog .*c\.ecsv cannot be read: .*{sentence}"):
        load_catalog(path)


def test_a_catalog_without_sources_or_file_is_refused(tmp_path: Path) -> None:
    columns = ("x", "y", "flux_e", "semi_major_sigma_px", "semi_minor_sigma_px", "orientation_deg")
    empty: dict[str, tuple[float, ...]] = dict.fromkeys(columns, ())
    save_catalog(msgspec.structs.replace(CATALOG, **empty), tmp_path / "c.ecsv")
    with pytest.raises(ConfigurationError, match="it has no sources"):
        load_catalog(tmp_path / "c.ecsv")
    with pytest.raises(ConfigurationError, match="absent"):
        load_catalog(tmp_path / "absent.ecsv")
