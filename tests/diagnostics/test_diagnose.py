"""The command on a real, if small, night: a drifting field, reduced by real processes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image, ImageSequence

from simulator.settings import NightSettings
from stream.diagnostics import write_apertures
from stream.diagnostics.folder import open_night
from stream.diagnostics.frames import detector_of
from stream.errors import AnalysisError
from stream.plots.films import MOST_BYTES
from tests.export.made_nights import make_night
from tests.night.processes import run
from tests.nights import SimulatedNight

SETTINGS = NightSettings(n_images=24, binning=8, n_sources=12, filters=("g",), scenarios=("drift",))
LABELS = ("forced_aperture_annulus", "forced_optimal_annulus")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diagnosed")
    frames = folder / "frames"
    frames.mkdir()
    simulated = SimulatedNight(frames, SETTINGS)
    for index in range(SETTINGS.n_images):
        simulated.name(index)
    result = run("reduce", frames, "--out", folder / "out", "--workers", "1", timeout_s=180.0)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(f"\n13 files written to {folder / 'out' / 'diag'}\n")
    assert re.search(r"Drawing diagnostics .* 13/13", result.stderr)
    return folder / "out"


def test_every_picture_is_there_and_can_be_read(night: Path) -> None:
    names = {path.name for path in (night / "diag").iterdir()}
    assert names == {
        "header_times.pdf",
        "background.pdf",
        "psf.png",
        "alignment.png",
        *(f"{label}_rms_vs_median.pdf" for label in LABELS),
        *(f"{label}_signal_to_noise.png" for label in LABELS),
        "noise_budget.png",
        "growth.png",
        "1-g_apertures.png",
        "1-g_aligned.gif",
        "1-g_target.gif",
    }
    for path in (night / "diag").iterdir():
        if path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF")
        else:
            assert np.ptp(np.asarray(imread(path))) > 0


def test_the_command_draws_them_again_and_says_what_it_cannot_draw(tmp_path: Path) -> None:
    out = make_night(tmp_path)
    result = run("diagnose", out, "--no-films")
    assert result.returncode == 0, result.stderr
    assert "not drawn: growth: curves of growth need a recipe that measures two apertures or more\n" in result.stdout
    assert result.stdout.endswith(f"\n9 files written to {out / 'diag'}\n")
    assert re.search(r"Drawing diagnostics .* 11/11", result.stderr)


def test_stars_stay_where_they_are_in_the_film_of_a_drifting_field(night: Path) -> None:
    path = night / "diag" / "1-g_aligned.gif"
    assert path.stat().st_size <= MOST_BYTES
    with Image.open(path) as shown:
        pictures = [np.asarray(one.convert("L"), dtype=np.float64) for one in ImageSequence.Iterator(shown)]
    assert len(pictures) == SETTINGS.n_images
    with open_night(night) as reader:
        catalog = reader.catalogs()["1:g"]
        shifts = reader.conditions("1:g")["shift_x_px"]
    assert np.ptp(shifts) > 10.0, "the field drifts"
    zoom = pictures[0].shape[1] / catalog.frame_shape[1]
    rows, columns = np.mgrid[: pictures[0].shape[0], : pictures[0].shape[1]]
    x, y = zoom * (catalog.x[0] + 0.5) - 0.5, pictures[0].shape[0] - 0.5 - zoom * (catalog.y[0] + 0.5)
    near = np.hypot(columns - x, rows - y) < zoom * 6.0
    places = []
    for picture in pictures:
        light = np.where(near, np.maximum(picture - np.median(picture) - 40.0, 0.0), 0.0)
        assert light.sum() > 0.0, "the star is where the catalog has it"
        places.append(((light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()))
    assert np.ptp(places, axis=0).max() < 1.2 * zoom


def test_the_detector_is_read_from_the_header_and_from_the_instrument_without_it(night: Path, tmp_path: Path) -> None:
    with open_night(night) as reader:
        from_header = detector_of(reader, "1:g")
    assert from_header.dark_current_e_per_s > 0.0
    moved = tmp_path / "out"
    shutil.copytree(night, moved)
    frames = night.parent / "frames"
    frames.rename(night.parent / "elsewhere")
    try:
        with open_night(moved) as reader:
            from_instrument = detector_of(reader, "1:g")
        with pytest.raises(AnalysisError, match="no reference frame of the night can be read"):
            write_apertures(moved)
    finally:
        (night.parent / "elsewhere").rename(frames)
    assert from_instrument.read_noise_e == from_header.read_noise_e
    assert from_instrument.dark_current_e_per_s == 0.0
