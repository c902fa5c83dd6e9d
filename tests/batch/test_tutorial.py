"""The tutorial in docs/, executed cell by cell: what it says, shows and leaves behind."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from astropy.table import Table

from tests.batch.notebooks import Executed, executed_notebook

KEYS = ("1:g", "2:r", "3:i")
LABELS = ("aperture_annulus", "optimal")


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executed]:
    with executed_notebook("reduction_tutorial.ipynb", tmp_path_factory.mktemp("tutorial")) as found:
        yield found


def test_the_scan_and_the_reducer_say_what_is_there(executed: Executed) -> None:
    for words in ("opticam.scan_data(", "reducer = opticam.Reducer("):
        said = executed.said(words)
        assert "successfully passed all checks." in said
        assert re.search(r"Binning: 4x4\n(\[OPTICAM\] )?Filters: 1:g, 2:r, 3:i\n", said)
        assert all(f"20 {key} images.\n" in said for key in KEYS)
        assert "Parsing file headers" in executed.said(words, "stderr")


def test_catalogs_are_made_of_all_frames(executed: Executed) -> None:
    said = executed.said("reducer.create_catalogs()")
    assert said.startswith("[OPTICAM] Creating source catalogs.\n")
    assert said.count("[OPTICAM] 20 image(s) aligned.\n[OPTICAM] 0 image(s) could not be aligned.\n") == 3
    assert "[OPTICAM] Plot saved to out/reduced/cat/catalogs.pdf.\n" in said
    bars = executed.said("reducer.create_catalogs()", "stderr")
    for key in KEYS:
        assert f"[OPTICAM] Aligning {key} images: 100%" in bars
        table = Table.read(executed.reduced / "cat" / f"{key.replace(':', '-')}_catalog.ecsv", format="ascii.ecsv")
        assert (len(table), len(table.meta["frames"])) == (6, 20)
        assert np.hypot(table["x"][1] - 131.0, table["y"][1] - 115.0) < 2.0


@pytest.mark.parametrize(("photometer", "label"), [("annulus", LABELS[0]), ("optimal", LABELS[1])])
def test_light_curves_go_to_the_folder_of_their_label(executed: Executed, photometer: str, label: str) -> None:
    words = f"reducer.photometry({photometer}_photometer)"
    assert f"[OPTICAM] Photometry results will be saved to lcs/{label} in out/reduced.\n" in executed.said(words)
    bars = executed.said(words, "stderr")
    assert all(f"[OPTICAM] Performing photometry on {key} images: 100%" in bars for key in KEYS)
    for key in KEYS:
        for number in range(1, 7):
            path = executed.reduced / "lcs" / label / f"{key.replace(':', '-')}_source_{number}.csv"
            table = Table.read(path, format="ascii.csv", comment="#")
            assert len(table) == 20, path
            assert np.isfinite(table["flux"]).sum() >= (20 if number < 5 else 15), path


def test_the_same_stars_are_found_in_the_other_cameras(executed: Executed) -> None:
    assert executed.said("dphot = opticam.DifferentialPhotometer(") == "[OPTICAM] Keys: 1:g, 2:r, 3:i\n"
    assert executed.said("annulus_analyzer = ") == "".join(
        f"[OPTICAM] 1:g target ID 2 was matched to {key} target ID 2\n"
        f"[OPTICAM] 1:g comparison ID 1 was matched to {key} comparison ID 1\n"
        for key in KEYS[1:]
    )
    for key in ("1-g", "2-r", "3-i"):
        for label in LABELS:
            stem = f"test_{key}_{label}"
            folder = executed.reduced / "relative_light_curves"
            assert (folder / "diag" / f"{stem}_raw.pdf").is_file()
            table = Table.read(folder / f"{stem}_light_curve.csv", format="ascii.csv", comment="#")
            assert table["flux"].std() > 0.015  # the variable star, 2 % rms, over a constant one


def test_pictures_stand_below_the_cells_and_in_the_folders_of_the_tutorial(executed: Executed) -> None:
    for words, names in (
        ("reducer = opticam.Reducer(", ("diag/header_times.pdf",)),
        ("reducer.create_catalogs()", ("cat/catalogs.pdf", "diag/background.pdf")),
        ("reducer.photometry(annulus_photometer)", ("diag/aperture_annulus_rms_vs_median.pdf",)),
        ("reducer.photometry(optimal_photometer)", ("diag/optimal_rms_vs_median.pdf",)),
    ):
        assert executed.n_pictures(words) == len(names)
        for name in names:
            assert f"[OPTICAM] Plot saved to out/reduced/{name}.\n" in executed.said(words)
            assert (executed.reduced / name).read_bytes().startswith(b"%PDF")
    assert executed.n_pictures("dphot = opticam.DifferentialPhotometer(") == 1
    assert executed.n_pictures("annulus_analyzer = ") == 4
    assert executed.n_pictures("optimal_analyzers = {") == 3
    assert executed.n_pictures("fig = optimal_analyzer.plot()") == 1


def test_the_joined_light_curves_are_drawn_and_hold_the_frequency(executed: Executed) -> None:
    said = executed.said("fig = optimal_analyzer.plot()")
    assert said == "[OPTICAM] Plot saved to out/reduced/plots/test_optimal_light_curves.pdf.\n"
    assert (executed.reduced / "plots" / "test_optimal_light_curves.pdf").read_bytes().startswith(b"%PDF")
    peaks = re.findall(r"(\d:\w): ([0-9.]+) ± ([0-9.]+) Hz", executed.said("lomb_scargle()"))
    assert [key for key, _, _ in peaks] == list(KEYS)
    assert all(abs(float(peak) - 0.135) < 0.01 for _, peak, _ in peaks)
