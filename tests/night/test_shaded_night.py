"""A round field of view: what flats make of the stars at the edge of its shade."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from simulator.detector import transmission_map
from simulator.night import FrameFactory, generate_flats, generate_observations
from simulator.settings import NightSettings
from stream.cameras import UNKNOWN_ZERO
from stream.config import FORCED_PHOTOMETERS, PhotometerSettings, Recipe
from stream.errors import ConfigurationError
from stream.flags import Flag
from stream.instruments import OPTICAM_MX
from stream.measure.frames import read_frame
from stream.measure.master_files import CalibrationFolders, load_calibration, make_masters, save_masters
from stream.messages import BuildCatalog, CatalogBuilt, FrameToMeasure, source_columns
from stream.night.bootstrap import build_catalog
from stream.pipeline import Reference, process_frame

SETTINGS = NightSettings(n_images=8, binning=8, n_sources=15, filters=("g",), circular_aperture=True, brightness=3.0)
MESH = tuple(PhotometerSettings(kind=kind, background="mesh") for kind in ("aperture", "optimal"))
RECIPE = Recipe(OPTICAM_MX(), photometers=(*FORCED_PHOTOMETERS, *MESH))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shaded")
    generate_observations(folder / "frames", 8, circular_aperture=True, binning_scale=8, settings=SETTINGS)
    generate_flats(folder / "flats", 5, circular_aperture=True, binning_scale=8)
    return folder


def test_stars_at_the_edge_of_the_shade_have_their_true_fluxes_on_any_background(night: Path, tmp_path: Path) -> None:
    """There are flats and nothing else: the zero level is that of the camera."""
    save_masters(make_masters(CalibrationFolders(flat=night / "flats"), RECIPE), tmp_path)
    calibration = load_calibration(tmp_path, "1:g")
    files = sorted((night / "frames").glob("*.fit"))
    entries = tuple(FrameToMeasure(number, path.name) for number, path in enumerate(files[:5]))
    reply = build_catalog(BuildCatalog("1:g", entries), night / "frames", RECIPE, calibration).reply
    assert isinstance(reply, CatalogBuilt)
    catalog = reply.catalog
    states = [FrameFactory(SETTINGS).states(index)[0] for index in range(SETTINGS.n_images)]
    first = next(state for state in states if state.file_name == catalog.frames[0])
    apart = np.hypot(*(catalog.positions()[:, None] - np.column_stack([first.x, first.y])).transpose(2, 0, 1))
    numbers = apart.argmin(axis=1)
    assert apart.min(axis=1).max() < 0.3  # nothing that is no star
    columns, rows = np.rint(np.clip([first.x, first.y], 0, 255)).astype(int)
    light = transmission_map(256, True)[0][rows, columns]
    assert set(np.flatnonzero(light > 0.2)) <= set(numbers)
    assert np.count_nonzero((light > 0.2) & (light < 0.99)) >= 2
    reference = Reference.from_catalog(catalog, RECIPE, calibration)
    ratios, errors = [], []
    for state, path in zip(states, files, strict=True):
        message = process_frame(read_frame(path, path.name, RECIPE.instrument), reference, RECIPE).message
        names = source_columns(message.labels)
        table = np.frombuffer(message.sources).reshape(len(names), -1)
        good = (table[names.index("flags")].astype(int) & int(Flag.SATURATED | Flag.BAD_PIXEL)) == 0
        truth = np.where(good, state.electrons[numbers], np.nan)
        ratios.append([table[names.index(f"{label}_flux")] / truth for label in RECIPE.labels()])
        errors.append([table[names.index(f"{label}_flux_err")] / truth for label in RECIPE.labels()])
    usable = np.isfinite(ratios).any(axis=(0, 1))
    assert usable.sum() >= 10
    middle = np.nanmean(np.array(ratios)[:, :, usable], axis=0)
    error = np.nanmedian(np.array(errors)[:, :, usable], axis=0) / np.sqrt(SETTINGS.n_images)
    assert (np.abs(middle - 1.0) < 0.01 + 4.0 * error).all()
    aperture, optimal, aperture_mesh, optimal_mesh = middle
    for one, other in ((aperture, aperture_mesh), (optimal, optimal_mesh), (aperture, optimal)):
        assert np.abs(one - other).max() < 0.015


def test_flats_of_a_camera_whose_zero_level_nobody_knows_are_refused(night: Path) -> None:
    instrument = OPTICAM_MX()
    cameras = {
        name: msgspec.structs.replace(camera, zero_level_adu=UNKNOWN_ZERO)
        for name, camera in instrument.cameras.items()
    }
    recipe = Recipe(msgspec.structs.replace(instrument, cameras=cameras))
    with pytest.raises(ConfigurationError, match=r"^flat frames of 1:g fall to 2% of the brightest part of the field"):
        make_masters(CalibrationFolders(flat=night / "flats"), recipe)
