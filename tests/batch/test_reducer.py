"""Reducer and photometers: labels, sets of measurements, and the sentences of what cannot be done."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

import opticam_live as opticam
from stream.batch.deep_stack import FramesOfKey
from stream.batch.photometers import Photometer
from stream.batch.reducer import needs_new_set
from stream.config import OPTIMAL_LABEL, Recipe
from stream.errors import ConfigurationError
from stream.measure.catalog import load_catalog
from stream.measure.master_files import load_calibration
from stream.night.ledger import Ledger, LedgerReader
from tests.batch.reduced import LABEL, N_IMAGES, Reduced, photometer
from tests.night.frames import write_frame
from tests.night.ledger_rows import RECIPE, make_catalog

_FEW_FRAMES = 6
ANNULUS = opticam.DefaultLocalBackground()


@pytest.mark.parametrize(
    ("made", "label"),
    [
        (opticam.AperturePhotometer(), "aperture"),
        (opticam.AperturePhotometer(local_background_estimator=ANNULUS), "aperture_annulus"),
        (opticam.AperturePhotometer(forced=True), "forced_aperture"),
        (opticam.OptimalPhotometer(), "optimal"),
        (opticam.OptimalPhotometer(forced=True, local_background_estimator=ANNULUS), OPTIMAL_LABEL),
        (opticam.AperturePhotometer(semi_axes_px=(6.0, 4.0), name="wide"), "aperture_wide"),
    ],
)
def test_labels_are_those_of_the_tutorial(made: Photometer, label: str) -> None:
    assert made.apply_to(RECIPE).labels() == (label,)


def test_a_photometer_changes_of_the_recipe_what_it_was_told() -> None:
    annulus = opticam.DefaultLocalBackground(inner_fwhm=4.0, outer_fwhm=7.0)
    made = opticam.AperturePhotometer(local_background_estimator=annulus, radius_fwhm=1.1).apply_to(RECIPE)
    assert made.photometers[0].radius_fwhm == 1.1
    assert (made.photometry.annulus_inner_fwhm, made.photometry.annulus_outer_fwhm) == (4.0, 7.0)
    assert made.photometry.annulus_clip_sigma == RECIPE.photometry.annulus_clip_sigma
    assert made.detection == RECIPE.detection


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            opticam.AperturePhotometer(radius_fwhm=-1.0),
            r"photometer aperture: Expected `float` > 0.0 - at `..radius_fwhm`",
        ),
        (
            opticam.OptimalPhotometer(local_background_estimator=opticam.DefaultLocalBackground(inner_fwhm=9.0)),
            r"annulus_inner_fwhm \(9.0\) must be below photometry.annulus_outer_fwhm",
        ),
        (opticam.AperturePhotometer(name="a/b"), r"photometers.name \('a/b'\) must be letters"),
    ],
)
def test_a_photometer_that_cannot_work_is_refused(made: Photometer, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        made.apply_to(RECIPE)


def test_another_recipe_or_other_catalogs_make_a_new_set(tmp_path: Path) -> None:
    catalogs = {"1:g": make_catalog()}
    assert not needs_new_set(tmp_path, RECIPE, catalogs)
    ledger = Ledger(tmp_path, RECIPE, folder=tmp_path)
    ledger.save_catalog(catalogs["1:g"])
    ledger.close()
    assert not needs_new_set(tmp_path, RECIPE, catalogs)
    assert needs_new_set(tmp_path, RECIPE, {"1:g": make_catalog(version="def")})
    assert needs_new_set(tmp_path, opticam.OptimalPhotometer().apply_to(RECIPE), catalogs)


def test_the_same_call_again_measures_nothing_again(reduced: Reduced) -> None:
    def state() -> tuple[Recipe, int, int]:
        reader = LedgerReader(reduced.out, label=LABEL)
        try:
            return reader.recipe(), reader.last_sequence(), reader.counts().n_measured
        finally:
            reader.close()

    before = state()
    assert before[2] == 2 * N_IMAGES
    catalogs = {"1:g": load_catalog(reduced.out / "cat" / "1-g_catalog.ecsv")}
    assert not needs_new_set(reduced.out, before[0], catalogs)
    again = opticam.Reducer(reduced.frames, reduced.out, n_workers=1, show_plots=False)  # as in another session
    again.photometry(photometer())
    assert state() == before


def test_settings_of_the_constructor_reach_the_recipe(reduced: Reduced, tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(RECIPE, target_position=None)
    assert not reduced.reducer.recipe.calibration.remove_cosmic_rays
    made = opticam.Reducer(reduced.frames, tmp_path, recipe=recipe, remove_cosmic_rays=True)
    assert made.recipe.calibration.remove_cosmic_rays
    assert made.recipe.instrument == RECIPE.instrument
    assert made.keys == ("1:g", "2:r")
    assert (tmp_path / "diag" / "header_times.pdf").is_file()


def test_what_cannot_be_reduced_is_said_in_a_sentence(tmp_path: Path, reduced: Reduced) -> None:
    with pytest.raises(ConfigurationError, match=f"folder {tmp_path / 'nowhere'} does not exist"):
        opticam.Reducer(tmp_path / "nowhere", tmp_path / "out")
    folder = tmp_path / "frames"
    folder.mkdir()
    write_frame(folder, 1, FILTER=None)
    with pytest.raises(ConfigurationError, match=f"no frame in {folder} has a header that OPTICAM-MX explains"):
        opticam.Reducer(folder, tmp_path / "out")
    with pytest.raises(ConfigurationError, match=f"output folder {folder} is the folder of the frames: another one"):
        opticam.Reducer(folder, folder)
    assert [path.name for path in folder.iterdir()] == ["000001.fit"]
    fresh = opticam.Reducer(reduced.frames, tmp_path / "fresh")
    with pytest.raises(ConfigurationError, match=r"no catalog of 1:g, 2:r: create_catalogs\(\) must come before"):
        fresh.photometry(opticam.OptimalPhotometer())
    assert not (tmp_path / "fresh" / "night.db").exists()


def test_catalogs_are_made_of_calibrated_frames(reduced: Reduced, tmp_path: Path) -> None:
    opticam.generate_flats(tmp_path / "flats", n_flats=3, circular_aperture=True, binning_scale=8)
    folders = opticam.CalibrationFolders(flat=tmp_path / "flats")
    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    plain = load_catalog(reduced.out / "cat" / "1-g_catalog.ecsv")
    for name in plain.frames[:_FEW_FRAMES]:
        shutil.copy(reduced.frames / name, frames / name)
    opticam.Reducer(frames, out, calibration=folders, show_plots=False).create_catalogs()
    made = load_catalog(out / "cat" / "1-g_catalog.ecsv")
    calibration = load_calibration(out / "calibration", "1:g")
    assert calibration is not None and calibration.flat is not None
    flat = np.asarray(calibration.flat.values)
    (name, *_) = plain.frames
    recipe = reduced.reducer.recipe
    read = [FramesOfKey("1:g", (name,), reduced.frames, recipe, used).read(name) for used in (None, calibration)]
    raw, calibrated = (frame.electrons() for frame in read)
    bright = np.isfinite(calibrated) & (flat > 0.3)
    assert bright.mean() > 0.5
    np.testing.assert_allclose(calibrated[bright], (raw[bright] - 100.0) / flat[bright], rtol=1e-3, atol=0.6)
    assert made.version != plain.version
    assert made.flux_e[0] == pytest.approx(plain.flux_e[0], rel=0.02)  # a bright star far from the shadow
