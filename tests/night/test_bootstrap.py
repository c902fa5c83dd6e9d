"""The catalog of a key: its sources are stars, its numbers repeat, and bad frames do not spoil it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from astropy.io import fits

from simulator.detector import detector_of
from simulator.settings import NightSettings, ScenarioScales
from stream.errors import Reason
from stream.measure.catalog import load_catalog, with_version
from stream.measure.frames import read_frame
from stream.messages import BuildCatalog, CatalogBuilt, CatalogNotBuilt, FrameToMeasure
from stream.night.bootstrap import build_catalog
from stream.night.catalog_files import write_files
from tests.conftest import real_frames
from tests.night.frames import fits_bytes
from tests.nights import RECIPE, SMALL, SimulatedNight


@pytest.fixture
def night(tmp_path: Path) -> SimulatedNight:
    return SimulatedNight(tmp_path, msgspec.structs.replace(SMALL, scenarios=("drift", "hot_pixels")))


def test_sources_are_the_stars_numbered_by_decreasing_flux(night: SimulatedNight) -> None:
    catalog = night.catalog()
    truth = night.truth_of(catalog)
    assert len(set(truth)) == catalog.n_sources == 15
    flux, state = np.array(catalog.flux_e), night.state(0)
    assert (np.diff(flux) < 0.0).all()
    np.testing.assert_allclose(flux, state.electrons[truth], rtol=0.08)
    offsets = catalog.positions() - np.column_stack([state.x, state.y])[truth]
    assert np.abs(offsets[:8]).max() < 0.08
    assert np.abs(offsets).max() < 0.3
    assert catalog.fwhm_px == pytest.approx(np.hypot(state.fwhm_px, 0.68), rel=0.05)
    assert (catalog.key, catalog.binning, catalog.frame_shape) == ("1:g", 8, (256, 256))
    assert catalog.exposure_s == night.settings.exposure
    assert catalog.frames == tuple(night.name(index) for index in range(5))
    assert catalog.pointing is not None
    assert with_version(catalog) == catalog


@pytest.mark.parametrize("seed", [1, 2])
def test_of_a_thousand_hot_pixels_none_is_a_source(tmp_path: Path, seed: int) -> None:
    settings = NightSettings(n_images=5, filters=("r",), scenarios=("hot_pixels",), seed=seed)
    night = SimulatedNight(tmp_path, settings)
    catalog = night.catalog()
    assert sorted(night.truth_of(catalog)) == [0, 1, 2, 3, 4, 5]
    detector = detector_of(settings, "r")
    hot = set((detector.hot_row * 512 + detector.hot_column).tolist())
    found = set(catalog.hot_pixels)
    assert len(found & hot) > 0.95 * len(hot)
    assert len(found - hot) < 20  # neighbours of hot pixels under a star


def test_hot_pixels_of_a_single_frame_are_no_sources(tmp_path: Path) -> None:
    night = SimulatedNight(tmp_path, NightSettings(n_images=1, filters=("g",), scenarios=("hot_pixels",)))
    assert sorted(night.truth_of(night.catalog(range(1)))) == [0, 1, 2, 3, 4, 5]


def test_the_real_frames_have_no_single_bright_pixel_among_their_sources() -> None:
    """A source is a star if the pixels around its highest one shine too: a tenth of it or more on all four sides."""
    folder = real_frames("opticam_mx")
    for path in sorted(folder.glob("*.fit")):
        frame = read_frame(path, path.name, RECIPE.instrument)
        built = build_catalog(BuildCatalog(frame.facts.key, (FrameToMeasure(1, path.name),)), folder, RECIPE).reply
        assert isinstance(built, CatalogBuilt)
        catalog = built.catalog
        assert catalog.n_sources >= 5
        assert 500 < len(catalog.hot_pixels) < 5000
        electrons = frame.electrons().astype(np.float64)
        hot = np.zeros(frame.shape, dtype=bool)
        hot.flat[list(catalog.hot_pixels)] = True
        electrons[hot] = np.nan
        for number, (x, y) in enumerate(np.rint(catalog.positions()).astype(int)):
            stamp = electrons[y - 4 : y + 5, x - 4 : x + 5]
            sky = np.nanmedian(electrons[max(y - 20, 0) : y + 21, max(x - 20, 0) : x + 21])
            total = np.nansum(stamp - sky)
            highest = np.nanmax(electrons[y - 2 : y + 3, x - 2 : x + 3] - sky)
            assert highest < 0.5 * total, f"source {number + 1} of {path.name} at ({x}, {y}) is one bright pixel"


def test_the_catalog_survives_its_file_and_has_a_picture(night: SimulatedNight, tmp_path: Path) -> None:
    cat_folder = tmp_path / "out" / "cat"
    build = build_catalog(night.request(), night.folder, RECIPE)
    build.leave_picture(cat_folder)
    built = build.reply
    assert isinstance(built, CatalogBuilt)
    write_files(built.catalog, cat_folder.parent)
    assert sorted(path.name for path in cat_folder.iterdir()) == ["1-g_catalog.ecsv", "1-g_catalog.png"]
    loaded = load_catalog(cat_folder / "1-g_catalog.ecsv")
    assert loaded == built.catalog
    assert loaded.version == built.catalog.version
    assert (cat_folder / "1-g_catalog.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_frames_make_the_same_catalog_in_any_order(night: SimulatedNight) -> None:
    request = night.request()
    first = build_catalog(request, night.folder, RECIPE).reply
    again = build_catalog(msgspec.structs.replace(request, frames=request.frames[::-1]), night.folder, RECIPE).reply
    assert isinstance(first, CatalogBuilt)
    assert first == again


def spoil(night: SimulatedNight) -> dict[str, tuple[bytes, Reason]]:
    """Bad files by name, with the reason that each must be rejected for."""
    good = (night.folder / night.name(0)).read_bytes()
    header = 2880 * 3
    return {
        "empty.fit": (b"", Reason.EMPTY),
        "text.fit": (b"Dear observer,", Reason.NOT_FITS),
        "cut.fit": (good[: len(good) // 2], Reason.TRUNCATED),
        "small.fit": (fits_bytes(), Reason.WRONG_SHAPE),
        "exposure.fit": (good[:header].replace(b"EXPOSURE=", b"EXPOSUR_=") + good[header:], Reason.BAD_KEYWORD),
        "red.fit": (good[:header].replace(b"'g       '", b"'r       '") + good[header:], Reason.BAD_KEYWORD),
    }


def test_bad_frames_are_rejected_with_their_reason_and_the_others_used(night: SimulatedNight) -> None:
    bad = spoil(night)
    for name, (content, _) in bad.items():
        (night.folder / name).write_bytes(content)
    names = [*bad, "gone.fit"]
    wanted = {name: reason for name, (_, reason) in bad.items()} | {"gone.fit": Reason.DISAPPEARED}
    entries = tuple(FrameToMeasure(100 + number, name) for number, name in enumerate(names))
    request = msgspec.structs.replace(night.request(), frames=(*entries, *night.request().frames))
    built = build_catalog(request, night.folder, RECIPE).reply
    assert isinstance(built, CatalogBuilt)
    assert {item.path: item.reason for item in built.rejected} == wanted
    for item in built.rejected:
        assert item.path in item.sentence
        assert item.key == "1:g"
        assert item.frame_id == 100 + names.index(item.path)
    assert built.catalog == night.catalog()


def test_one_stray_frame_that_comes_first_does_not_reject_the_others(night: SimulatedNight) -> None:
    (night.folder / "stray.fit").write_bytes(fits_bytes())
    request = night.request()
    stray_first = msgspec.structs.replace(request, frames=(FrameToMeasure(9, "stray.fit"), *request.frames))
    built = build_catalog(stray_first, night.folder, RECIPE).reply
    assert isinstance(built, CatalogBuilt)
    assert [(item.path, item.reason) for item in built.rejected] == [("stray.fit", Reason.WRONG_SHAPE)]
    assert built.rejected[0].sentence == (
        "stray.fit has 32 x 32 pixels at binning 4; most of the first frames of 1:g have 256 x 256 pixels at binning 8"
    )
    assert built.catalog.frame_shape == (256, 256)


def test_frames_without_stars_make_no_catalog(tmp_path: Path) -> None:
    night = SimulatedNight(tmp_path, msgspec.structs.replace(SMALL, brightness=1e-6, scenarios=("hot_pixels",)))
    build = build_catalog(night.request(), tmp_path, RECIPE)
    build.leave_picture(tmp_path / "cat")
    result = build.reply
    assert isinstance(result, CatalogNotBuilt)
    assert result.sentence == "no stars to measure on the first 5 frames of 1:g"
    assert [item.reason for item in result.rejected] == [Reason.NO_STARS] * 5
    assert [item.sentence for item in result.rejected] == [
        f"{night.name(index)} shows no stars to measure" for index in range(5)
    ]
    assert not (tmp_path / "cat").exists()


def test_unreadable_frames_alone_make_no_catalog(tmp_path: Path) -> None:
    (tmp_path / "a.fit").write_bytes(b"")
    request = BuildCatalog("1:g", (FrameToMeasure(1, "a.fit"), FrameToMeasure(2, "b.fit")))
    result = build_catalog(request, tmp_path, RECIPE).reply
    assert isinstance(result, CatalogNotBuilt)
    assert [(item.frame_id, item.reason) for item in result.rejected] == [(1, Reason.EMPTY), (2, Reason.DISAPPEARED)]


@pytest.mark.parametrize(
    ("seed", "binning", "scenarios"),
    [(1, 4, ()), (2, 4, ("hot_pixels", "cosmic_rays", "dither")), (3, 8, ()), (4, 2, ())],
)
def test_the_shadow_of_a_round_aperture_makes_no_source(
    tmp_path: Path, seed: int, binning: int, scenarios: tuple[str, ...]
) -> None:
    settings = NightSettings(
        n_images=5, filters=("g",), seed=seed, binning=binning, scenarios=scenarios, circular_aperture=True
    )
    night = SimulatedNight(tmp_path, settings)
    catalog = night.catalog()
    assert sorted(night.truth_of(catalog)) == [0, 1, 2, 3, 4, 5]
    assert len(catalog.frames) == 5
    assert catalog.fwhm_px == pytest.approx(night.state(0).fwhm_px, rel=0.1)


def test_cosmic_rays_of_a_trailed_frame_are_no_sources(tmp_path: Path) -> None:
    settings = NightSettings(
        n_images=30, filters=("i",), seed=15, scenarios=("trailed", "hot_pixels", "cosmic_rays", "cameras")
    )
    night = SimulatedNight(tmp_path, settings)
    trailed = [night.state(index).trail_px > 0.0 for index in range(5)]
    assert trailed[0]
    assert not all(trailed)
    catalog = night.catalog()
    assert sorted(night.truth_of(catalog)) == [0, 1, 2, 3, 4, 5]
    assert catalog.frames[0] == night.name(trailed.index(False))
    assert len(catalog.frames) == 5


def make_flats_of(night: SimulatedNight, indices: range) -> None:
    """Make flat fields of frames, with headers that call them frames of the sky."""
    for index in indices:
        path = night.folder / night.name(index)
        counts = detector_of(night.settings, "g").expose_flat(index, 20_000.0)
        fits.writeto(path, counts, fits.getheader(path), overwrite=True)


@pytest.mark.parametrize("flats", [range(3), range(2, 5)])
def test_flat_fields_among_the_first_frames_cost_no_frame_with_stars(tmp_path: Path, flats: range) -> None:
    night = SimulatedNight(tmp_path, NightSettings(n_images=5, filters=("g",), circular_aperture=True))
    make_flats_of(night, flats)
    built = build_catalog(night.request(), tmp_path, RECIPE).reply
    assert isinstance(built, CatalogBuilt)
    assert built.rejected == ()
    assert built.catalog.frames == tuple(night.name(index) for index in range(5) if index not in flats)
    assert sorted(night.truth_of(built.catalog)) == [0, 1, 2, 3, 4, 5]


def test_where_no_catalog_is_built_only_frames_without_sources_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = SimulatedNight(tmp_path, NightSettings(n_images=5, filters=("g",)))
    make_flats_of(night, range(2))
    monkeypatch.setattr("stream.night.bootstrap.catalog_of_stack", lambda *_: None)
    result = build_catalog(night.request(), tmp_path, RECIPE).reply
    assert isinstance(result, CatalogNotBuilt)
    assert [item.path for item in result.rejected] == [night.name(0), night.name(1)]
    assert [item.reason for item in result.rejected] == [Reason.NO_STARS] * 2
    assert result.sentence == "nothing on 5 frames of 1:g that were tried together is certainly a star"


def test_dithers_between_the_first_frames_are_followed(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(
        SMALL, n_images=5, scenarios=("drift", "rotation", "hot_pixels"), scales=ScenarioScales(drift_fraction=0.25)
    )
    night = SimulatedNight(tmp_path, settings)
    catalog = night.catalog()
    assert catalog.frames == tuple(night.name(index) for index in range(5))
    assert len(set(night.truth_of(catalog))) == catalog.n_sources >= 14


def test_the_brightest_sources_alone_where_there_is_a_limit(night: SimulatedNight) -> None:
    detection = msgspec.structs.replace(RECIPE.detection, max_sources=4)
    limited = build_catalog(night.request(), night.folder, msgspec.structs.replace(RECIPE, detection=detection)).reply
    assert isinstance(limited, CatalogBuilt)
    assert limited.catalog.x == night.catalog().x[:4]


def test_sources_near_the_edge_are_left_out_of_the_catalog(night: SimulatedNight) -> None:
    whole = night.catalog().positions()
    rows, columns = night.catalog().frame_shape
    to_edge = np.minimum(whole, np.array([columns, rows]) - 1.0 - whole).min(axis=1)
    border_px = float(np.mean(np.sort(to_edge)[1:3]))
    detection = msgspec.structs.replace(RECIPE.detection, border_px=border_px)
    inner = build_catalog(night.request(), night.folder, msgspec.structs.replace(RECIPE, detection=detection)).reply
    assert isinstance(inner, CatalogBuilt)
    np.testing.assert_allclose(inner.catalog.positions(), whole[to_edge > border_px], atol=0.01)
