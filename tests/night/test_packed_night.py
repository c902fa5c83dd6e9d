"""One night as plain files, and packed into extensions, cubes and compressed files: the same measurements."""

from __future__ import annotations

import gzip
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from astropy.io import fits

from stream.config import OPTIMAL_LABEL, Recipe
from stream.instruments import OPTICAM_MX
from stream.messages import SourceFluxes
from stream.night.ledger import LedgerCounts, LedgerReader
from stream.night.run import NightOptions, run_night
from tests.night.conftest import N_IMAGES

pytestmark = pytest.mark.clock

KEYS = ("1:g", "2:r", "3:i")
RECIPE = Recipe(
    msgspec.structs.replace(
        OPTICAM_MX(), keywords=msgspec.structs.replace(OPTICAM_MX().keywords, plane_time="UT-###", plane_interval="")
    )
)


def image_of(path: Path, kind: type = fits.ImageHDU) -> object:
    """The frame of a plain file as an extension with all of its keywords."""
    with fits.open(path) as hdus:
        return kind(hdus[0].data, hdus[0].header)


def write_extensions(paths: Sequence[Path], target: Path, kind: type) -> None:
    fits.HDUList([fits.PrimaryHDU(), *(image_of(path, kind) for path in paths)]).writeto(target)


def write_cube(paths: Sequence[Path], target: Path) -> None:
    """The frames of one key as planes, each with its time stamp in the header."""
    planes = [fits.getdata(path) for path in paths]
    header = fits.getheader(paths[0])
    for number, path in enumerate(paths, start=1):
        header[f"UT-{number:03d}"] = fits.getheader(path)["UT"]
    del header["UT"]
    fits.PrimaryHDU(np.array(planes), header).writeto(target)


def pack(frames: list[Path], folder: Path) -> None:
    """Eight exposures as extensions, eight as compressed extensions, five as cubes, the rest as they are or gzipped."""
    folder.mkdir()
    exposures = [frames[start : start + 3] for start in range(0, len(frames), 3)]
    for number, paths in enumerate(exposures[:16]):
        kind, ending = (fits.ImageHDU, ".FITS") if number % 2 else (fits.CompImageHDU, ".fits.fz")
        write_extensions(paths, folder / f"{number:03d}{ending}", kind)
    for camera in range(3):
        write_cube([paths[camera] for paths in exposures[16:21]], folder / f"cube{camera}.fts")
    for paths in exposures[21:23]:
        for path in paths:
            (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    for path in exposures[23]:
        shutil.copyfile(path, folder / path.name)


def reduce(folder: Path, out: Path) -> LedgerCounts:
    return run_night(NightOptions(folder, out, 2, finite=True), RECIPE, stop=threading.Event())


def fluxes_of(out: Path) -> dict[str, SourceFluxes]:
    reader = LedgerReader(out)
    fluxes = {key: reader.source_fluxes(key, OPTIMAL_LABEL) for key in KEYS}
    reader.close()
    return fluxes


@pytest.fixture(scope="module")
def plain(simulated_frames: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, SourceFluxes]:
    root = tmp_path_factory.mktemp("plain")
    (root / "frames").mkdir()
    for path in simulated_frames:
        shutil.copyfile(path, root / "frames" / path.name)
    assert reduce(root / "frames", root / "out").n_measured == 3 * N_IMAGES
    return fluxes_of(root / "out")


def test_a_night_gives_the_same_light_curves_however_its_frames_are_packed(
    simulated_frames: list[Path], plain: dict[str, SourceFluxes], tmp_path: Path
) -> None:
    pack(simulated_frames, tmp_path / "frames")
    counts = reduce(tmp_path / "frames", tmp_path / "out")
    assert (counts.n_measured, counts.n_rejected) == (3 * N_IMAGES, 0)
    assert counts.by_key == dict.fromkeys(KEYS, N_IMAGES)
    for key, fluxes in fluxes_of(tmp_path / "out").items():
        expected = plain[key]
        np.testing.assert_allclose(fluxes.time_mjd_utc, expected.time_mjd_utc, rtol=0.0, atol=1e-11)
        np.testing.assert_array_equal(fluxes.flags, expected.flags)
        np.testing.assert_array_less(np.abs(fluxes.flux - expected.flux), 1e-3 * expected.flux_err)
    reader = LedgerReader(tmp_path / "out")
    names = {reader.frame_path(outcome.frame_id) for outcome in reader.outcomes_since(0)}
    reader.close()
    assert {"000.fits.fz[1]", "001.FITS[3]", "cube0.fts[0,0]", "cube2.fts[0,4]"} <= names
    assert len(names) == 3 * N_IMAGES
