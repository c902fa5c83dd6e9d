"""Catalogs of whole nights: noise of the stack, frames that do not belong, bounded memory, calibration."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream.batch import deep_stack
from stream.batch.deep_stack import DeepCatalog, FramesOfKey, build_deep_catalog
from stream.config import CalibrationSettings
from stream.errors import ConfigurationError
from tests.nights import RECIPE, SMALL, SimulatedNight

N_FRAMES = 40
_PEDESTAL_E = 100.0
FAINT = msgspec.structs.replace(SMALL, n_images=N_FRAMES, n_sources=40, brightness=0.03, scenarios=("drift",), seed=9)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> SimulatedNight:
    night = SimulatedNight(tmp_path_factory.mktemp("frames"), FAINT)
    for index in range(N_FRAMES):
        night.name(index)
    return night


def frames_of(night: SimulatedNight, *, n_frames: int = N_FRAMES, extra: tuple[str, ...] = ()) -> FramesOfKey:
    names = tuple(night.name(index) for index in range(n_frames))
    return FramesOfKey(night.state(0).key, (*names, *extra), night.folder, RECIPE)


@pytest.fixture(scope="module")
def deep(night: SimulatedNight) -> DeepCatalog:
    return build_deep_catalog(frames_of(night))


def test_all_frames_are_in_the_stack_and_the_first_is_the_reference(night: SimulatedNight, deep: DeepCatalog) -> None:
    assert deep.catalog.frames == tuple(night.name(index) for index in range(N_FRAMES))
    assert (deep.n_aligned, deep.not_aligned) == (N_FRAMES, ())
    assert np.all(np.diff(deep.time_mjd_utc) > 0.0)
    np.testing.assert_allclose(deep.exposure_s, FAINT.exposure)
    truth = [_PEDESTAL_E + night.state(index).sky_e_per_px for index in range(N_FRAMES)]
    np.testing.assert_allclose(deep.sky_e_per_px, truth, atol=0.5)


def test_the_stack_of_all_frames_finds_fainter_stars(night: SimulatedNight, deep: DeepCatalog) -> None:
    first = night.catalog(range(5))
    assert deep.catalog.n_sources > first.n_sources
    assert len(set(night.truth_of(deep.catalog).tolist())) == deep.catalog.n_sources  # each is a simulated star
    np.testing.assert_allclose(deep.catalog.positions()[:5], first.positions()[:5], atol=0.1)
    edge = slice(100, 156)
    one = build_deep_catalog(frames_of(night, n_frames=1)).picture[edge, edge]
    quiet = np.abs(deep.picture[edge, edge]) < 10.0
    ratio = one[quiet].std() / deep.picture[edge, edge][quiet].std()
    assert ratio > 0.6 * np.sqrt(N_FRAMES)  # resampling smooths both, medians lose a fifth


def test_the_picture_does_not_depend_on_the_size_of_the_blocks(
    night: SimulatedNight, deep: DeepCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep_stack, "_BLOCK_BYTES", 1)
    smallest = build_deep_catalog(frames_of(night))
    inside = slice(60, 196)
    difference = (smallest.picture - deep.picture)[inside, inside]
    assert difference.std() < 0.6 * deep.picture[inside, inside].std()
    n_stars = min(10, smallest.catalog.n_sources)
    np.testing.assert_allclose(smallest.catalog.positions()[:n_stars], deep.catalog.positions()[:n_stars], atol=0.05)


def test_frames_that_do_not_belong_are_named_and_left_out(night: SimulatedNight, tmp_path: Path) -> None:
    (night.folder / "text.fit").write_text("no FITS")
    blank = night.name(0)
    content = bytearray((night.folder / blank).read_bytes())
    header = content[: content.index(b"END     ") // 2880 * 2880 + 2880]
    (night.folder / "blank.fit").write_bytes(bytes(header) + bytes(len(content) - len(header)))
    steps: list[int] = []
    made = build_deep_catalog(
        frames_of(night, n_frames=8, extra=("text.fit", "blank.fit", "gone.fit")), lambda: steps.append(1)
    )
    assert (made.n_aligned, len(steps)) == (8, 11)
    assert [sentence.split()[0] for sentence in made.not_aligned] == ["text.fit", "blank.fit", "gone.fit"]
    assert not {"text.fit", "blank.fit", "gone.fit"} & set(made.catalog.frames)


def test_frames_without_stars_make_no_catalog(tmp_path: Path) -> None:
    night = SimulatedNight(tmp_path, msgspec.structs.replace(FAINT, n_images=6, brightness=1e-6))
    with pytest.raises(ConfigurationError, match="none of the 6 frames of 1:g shows stars that a catalog"):
        build_deep_catalog(frames_of(night, n_frames=6))


def test_a_catalog_of_rebinned_frames_is_in_their_pixels(night: SimulatedNight) -> None:
    whole = frames_of(night, n_frames=6)
    halved = msgspec.structs.replace(RECIPE, calibration=CalibrationSettings(rebin=2))
    small = build_deep_catalog(FramesOfKey(whole.key, whole.names, whole.folder, halved)).catalog
    full = build_deep_catalog(whole).catalog
    assert small.frame_shape == tuple(side // 2 for side in full.frame_shape)
    np.testing.assert_allclose(2.0 * small.positions()[0] + 0.5, full.positions()[0], atol=0.5)
