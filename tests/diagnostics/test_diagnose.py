"""The command on a real, if small, night: a drifting field, reduced by real processes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from photutils.aperture import CircularAperture
from PIL import Image, ImageSequence

from simulator.detector import DARK_E_PER_S
from simulator.settings import NightSettings
from stream.diagnostics import write_all, write_apertures
from stream.diagnostics.apertures import photometer_of
from stream.diagnostics.budget import night_budget
from stream.diagnostics.folder import open_night
from stream.diagnostics.frames import detector_of
from stream.diagnostics.scatter import scatter_of_stars
from stream.errors import AnalysisError, LedgerError
from stream.measure.photometry import StampGeometry
from stream.plots.films import MOST_BYTES
from tests.export.made_nights import make_night
from tests.night.processes import run
from tests.nights import SimulatedNight

SETTINGS = NightSettings(n_images=24, binning=8, n_sources=12, filters=("g",), scenarios=("drift",))
LABELS = ("forced_aperture_annulus", "forced_optimal_annulus")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedNight:
    frames = tmp_path_factory.mktemp("diagnosed") / "frames"
    frames.mkdir()
    made = SimulatedNight(frames, SETTINGS)
    for index in range(SETTINGS.n_images):
        made.name(index)
    return made


@pytest.fixture(scope="module")
def night(simulated: SimulatedNight) -> Path:
    folder = simulated.folder.parent
    words = ("--workers", "1", "--photometer", "quietest")
    result = run("reduce", simulated.folder, "--out", folder / "out", *words, timeout_s=180.0)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(f"\n14 files written to {folder / 'out' / 'diag'}\n")
    assert re.search(r"Drawing diagnostics .* 14/14", result.stderr)
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
        *(f"{label}_noise_budget.png" for label in LABELS),
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


def test_the_light_curve_of_the_quietest_photometer_was_written(night: Path) -> None:
    assert (night / "plots" / "quietest_light_curves.png").is_file()
    with open_night(night) as reader:
        labels = reader.recipe().labels()
    (written,) = (night / "lcs").iterdir()
    assert written.name in labels
    assert len(list((night / "relative_light_curves").glob(f"{written.name}_source_*_1-g_light_curve.csv"))) == 1


def test_pictures_that_a_night_has_no_numbers_for_are_named(tmp_path: Path) -> None:
    out = make_night(tmp_path)
    result = run("diagnose", out)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (out / "diag").iterdir()} == {
        "alignment.png",
        "background.pdf",
        "header_times.pdf",
        *(f"{label}_rms_vs_median.pdf" for label in LABELS),
        *(f"{label}_{name}.png" for label in LABELS for name in ("signal_to_noise", "noise_budget")),
        "psf.png",
    }
    assert result.stdout.splitlines() == [
        "not drawn: growth: curves of growth need a recipe that measures two apertures or more",
        "not drawn: apertures: no reference frame of the night can be read",
        "not drawn: aligned: no aligned frame of the night can be read",
        "not drawn: target: no aligned frame of the night can be read",
        f"10 files written to {out / 'diag'}",
    ]
    assert re.search(r"Drawing diagnostics .* 14/14", result.stderr)


def test_the_scatter_and_noise_of_one_photometer_are_drawn_alone(tmp_path: Path) -> None:
    out = make_night(tmp_path)
    diagnosis = write_all(out, films=False, label=LABELS[0])
    names = {path.name for path in diagnosis.written}
    assert {f"{LABELS[0]}_rms_vs_median.pdf", f"{LABELS[0]}_noise_budget.png"} <= names
    assert not any(name.startswith(LABELS[1]) for name in names)
    with pytest.raises(LedgerError, match="label 'nonsense' is no photometer of the ledger"):
        write_all(out, label="nonsense")


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


@pytest.mark.parametrize(("label", "radius_fwhm"), [(LABELS[0], 1.5), (f"{LABELS[0]}_1.0fwhm", 1.0), (LABELS[1], None)])
def test_the_parts_of_the_noise_are_those_of_the_truth(
    night: Path, simulated: SimulatedNight, label: str, radius_fwhm: float | None
) -> None:
    with open_night(night, label) as reader:
        _, (stars,) = scatter_of_stars(night, label)
        seen = np.isfinite(stars.flux_e)  # a star leaves the drifting field
        flux = stars.flux_e[seen]
        budget = night_budget(reader, stars, photometer_of(reader.recipe(), label), flux)
        fwhm = float(np.median(reader.conditions("1:g")["fwhm_px"]))
        annulus = len(StampGeometry.for_fwhm(reader.catalogs()["1:g"].fwhm_px, reader.recipe().photometry).annulus)
    assert len(flux) >= 10
    assert np.isfinite(budget.scintillation).all()
    np.testing.assert_allclose(budget.total(), np.hypot(stars.expected[seen], budget.scintillation), rtol=0.02)
    # Counts are whole numbers, which is a twelfth of noise more.
    sky, dark, read = simulated.state(0).sky_e_per_px + 1.0 / 12.0, DARK_E_PER_S * SETTINGS.exposure, 1.1**2
    weights = [true_weights(one, fwhm, radius_fwhm, pixel_variance=sky + dark + read) for one in flux]
    pixels = np.array([(each**2).sum() for each in weights])
    level = np.array([each.sum() ** 2 for each in weights]) * (sky + dark + read) / annulus
    np.testing.assert_allclose(budget.read * flux, np.sqrt(read * pixels), rtol=0.01)
    np.testing.assert_allclose(budget.dark * flux, np.sqrt(dark * pixels), rtol=0.01)
    np.testing.assert_allclose(budget.sky * flux, np.sqrt(sky * pixels + level), rtol=0.04)


def true_weights(flux: float, fwhm: float, radius_fwhm: float | None, *, pixel_variance: float) -> np.ndarray:
    """Weights of the pixels: an exact aperture, or the optimal ones, of a star that is not in the middle of one."""
    if radius_fwhm is not None:
        mask = CircularAperture((30.3, 30.15), radius_fwhm * fwhm).to_mask(method="exact")
        return np.asarray(mask.data)
    y, x = np.mgrid[:61, :61]
    profile = np.exp(-4.0 * np.log(2.0) * ((x - 30.3) ** 2 + (y - 30.15) ** 2) / fwhm**2)
    profile /= profile.sum()
    drawn = profile / (flux * profile + pixel_variance)
    return np.asarray(drawn / (drawn * profile).sum())


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
