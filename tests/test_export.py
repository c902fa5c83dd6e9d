from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from stream.config import APERTURE_LABEL, OPTIMAL_LABEL
from stream.errors import ConfigurationError, LedgerError
from stream.export import QUIETEST, ExportOptions, export_night, write_outputs
from stream.flags import Flag
from stream.messages import Selection
from stream.night.ledger import Ledger
from stream.output_commands import check_photometer
from stream.selection import save_selection
from tests.analysis.synthetic import Field
from tests.export.made_nights import N_FRAMES, RECIPE, make_night, write_night


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return make_night(tmp_path)


@pytest.fixture(scope="module")
def written_night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    out = make_night(tmp_path_factory.mktemp("night"))
    return out, write_outputs(out)


def _head(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]


def test_outputs_stand_where_the_tutorial_has_them(written_night: tuple[Path, list[Path]]) -> None:
    night, written = written_night
    names = {str(path.relative_to(night)) for path in written}
    expected = {
        f"lcs/{label}/{key}_source_{number}.csv"
        for label in (APERTURE_LABEL, OPTIMAL_LABEL)
        for key in ("1-g", "2-r")
        for number in range(1, 7)
    }
    expected |= {
        f"relative_light_curves/{label}_source_6_{key}_light_curve.csv"
        for label in (APERTURE_LABEL, OPTIMAL_LABEL)
        for key in ("1-g", "2-r")
    }
    expected |= {f"cat/{key}_catalog.reg" for key in ("1-g", "2-r")}
    expected |= {
        f"plots/{label}_{figure}.png"
        for label in (APERTURE_LABEL, OPTIMAL_LABEL)
        for figure in ("light_curves", "power_spectra")
    }
    expected |= {
        f"relative_light_curves/diag/{label}_source_6_{key}_comparisons.{suffix}"
        for label in (APERTURE_LABEL, OPTIMAL_LABEL)
        for key in ("1-g", "2-r")
        for suffix in ("ecsv", "pdf")
    }
    assert names == expected
    assert all(path.stat().st_size > 0 for path in written)
    assert not [path for path in night.rglob(".*-*") if path.is_file()]


def test_raw_light_curve_holds_the_fluxes_of_the_ledger(written_night: tuple[Path, list[Path]]) -> None:
    night, _ = written_night
    table = Table.read(night / "lcs" / OPTIMAL_LABEL / "1-g_source_6.csv", format="ascii.csv", comment="#")
    fluxes = Field(n_frames=N_FRAMES, variable=6).make()
    assert table.colnames[:5] == ["time_bmjd_tdb", "time_mjd_utc", "flux", "flux_err", "flags"]
    good = np.arange(N_FRAMES) != 7
    np.testing.assert_allclose(table["flux"][good], 1.1 * fluxes.flux[good, 5], atol=6e-4)
    np.testing.assert_allclose(table["time_bmjd_tdb"], fluxes.time_bmjd_tdb, rtol=0.0, atol=1e-9)
    assert math.isnan(float(table["flux"][7]))
    assert table["flags"][7] == int(Flag.NON_FINITE)
    assert table["frame"][3] == "n#0003,1-g.fit"
    assert len(table) == N_FRAMES


def test_numpy_reads_the_same_file(written_night: tuple[Path, list[Path]]) -> None:
    night, _ = written_night
    path = night / "lcs" / APERTURE_LABEL / "2-r_source_1.csv"
    with path.open(encoding="utf-8") as file:
        rows = [line for line in file if not line.startswith("#")]
    numbers = np.genfromtxt(rows[1:], delimiter=",", usecols=(0, 1, 2))
    assert rows[0].startswith("time_mjd_utc,flux,flux_err,flags,exposure_s,airmass,frame")
    np.testing.assert_allclose(numbers[:, 1], Field(n_frames=N_FRAMES, variable=6, seed=2).make().flux[:, 0], atol=1e-3)


def test_head_names_software_recipe_and_time_scale(written_night: tuple[Path, list[Path]]) -> None:
    night, _ = written_night
    with_pointing = _head(night / "lcs" / APERTURE_LABEL / "1-g_source_1.csv")
    assert f"# recipe: {RECIPE.hash()}" in with_pointing
    assert any(line.startswith("# software: opticam-live ") for line in with_pointing)
    assert "# time: time_bmjd_tdb is BJD_TDB - 2400000.5, middle of the exposure, days" in with_pointing
    without = _head(night / "lcs" / APERTURE_LABEL / "2-r_source_1.csv")
    assert any("time_mjd_utc is MJD in UTC, not corrected to the barycentre" in line for line in without)


def test_relative_light_curve_recovers_the_variable(written_night: tuple[Path, list[Path]]) -> None:
    night, _ = written_night
    path = night / "relative_light_curves" / f"{APERTURE_LABEL}_source_6_1-g_light_curve.csv"
    table = Table.read(path, format="ascii.csv", comment="#")
    signal = Field(n_frames=N_FRAMES, variable=6).signal()
    good = np.arange(N_FRAMES) != 7
    residual = (table["flux"] / signal * np.median(signal))[good] - 1.0
    assert np.std(residual / table["flux_err"][good]) == pytest.approx(1.0, abs=0.2)
    assert math.isnan(float(table["flux"][7]))
    assert any(line.startswith("# comparisons (weights): 1 (0.") for line in _head(path))


def test_every_pair_of_comparison_stars_has_its_row(written_night: tuple[Path, list[Path]]) -> None:
    night, _ = written_night
    path = night / "relative_light_curves" / "diag" / f"{APERTURE_LABEL}_source_6_1-g_comparisons.ecsv"
    table = Table.read(path, format="ascii.ecsv")
    assert len(table) == 10  # five comparison stars
    assert table.meta["photometer"] == APERTURE_LABEL and table.meta["recipe"] == RECIPE.hash()
    assert str(table["trend"].unit) == "1 / h"
    np.testing.assert_allclose(table["chi2"], 1.0, atol=0.45)
    np.testing.assert_allclose(table["scatter"] / table["expected_scatter"], 1.0, atol=0.4)
    assert (np.abs(table["trend"]) < 4.0 * table["trend_err"]).all()


def test_ecsv_and_fits_carry_units_and_facts(night: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    ecsv_paths = export_night(night, "ecsv", target)
    fits_paths = export_night(night, "fits", target)
    assert len(ecsv_paths) == len(fits_paths) == 28
    name = f"lcs/{APERTURE_LABEL}/1-g_source_6"
    fluxes = Field(n_frames=N_FRAMES, variable=6).make()
    good = np.arange(N_FRAMES) != 7
    ecsv = Table.read(target / f"{name}.ecsv", format="ascii.ecsv")
    assert str(ecsv["flux"].unit) == "electron"
    assert str(ecsv["time_bmjd_tdb"].unit) == "d"
    np.testing.assert_array_equal(np.asarray(ecsv["flux"])[good], fluxes.flux[good, 5])
    np.testing.assert_array_equal(np.asarray(ecsv["time_bmjd_tdb"]), fluxes.time_bmjd_tdb)
    table = Table.read(target / f"{name}.fits", format="fits", hdu=1, unit_parse_strict="silent")
    np.testing.assert_array_equal(np.asarray(table["FLUX"])[good], fluxes.flux[good, 5])
    for names in (ecsv["frame"], table["FRAME"]):
        assert [str(frame) for frame in names[:2]] == ["n#0000,1-g.fit", "n#0001,1-g.fit"]
    assert Table.read(target / f"{name}.ecsv", format="ascii.ecsv").meta["recipe"] == RECIPE.hash()
    with fits.open(target / f"{name}.fits") as hdus:
        hdus.verify("exception")
        assert f"recipe: {RECIPE.hash()}" in list(hdus[1].header["HISTORY"])


def test_the_quietest_photometer_of_each_key_is_written(tmp_path: Path) -> None:
    quiet = {key: Field(n_frames=60, variable=6, key=key).make() for key in ("1:g", "2:r")}
    noisy = {key: Field(n_frames=60, variable=6, key=key, noise=3.0).make() for key in ("1:g", "2:r")}
    out = tmp_path
    write_night(out, {"1:g": noisy["1:g"], "2:r": quiet["2:r"]}, {"1:g": quiet["1:g"], "2:r": noisy["2:r"]})
    save_selection(out, Selection(requested_target="1:g#6"))
    names = {str(path.relative_to(out)) for path in write_outputs(out, ExportOptions(QUIETEST))}
    assert {name for name in names if name.endswith("_light_curve.csv")} == {
        f"relative_light_curves/{OPTIMAL_LABEL}_source_6_1-g_light_curve.csv",
        f"relative_light_curves/{APERTURE_LABEL}_source_6_2-r_light_curve.csv",
    }
    assert {f"plots/{QUIETEST}_light_curves.png", f"plots/{QUIETEST}_power_spectra.png"} <= names
    assert f"lcs/{OPTIMAL_LABEL}/1-g_source_1.csv" in names
    assert f"lcs/{APERTURE_LABEL}/1-g_source_1.csv" not in names
    head = _head(out / "lcs" / OPTIMAL_LABEL / "1-g_source_1.csv")
    sentence = f"# choice of the photometer: {OPTIMAL_LABEL} has the least scatter of the comparison stars, "
    assert any(line.startswith(sentence) for line in head)


def test_a_photometer_that_a_reduction_will_not_have_is_refused_before_it_begins() -> None:
    for label in ("", QUIETEST, OPTIMAL_LABEL):
        check_photometer(label, RECIPE)
    sentence = f"--photometer 'nonsense' must be quietest or a photometer of the recipe: {APERTURE_LABEL}, "
    with pytest.raises(ConfigurationError, match=sentence):
        check_photometer("nonsense", RECIPE)


def test_one_photometer_alone_is_written(night: Path, tmp_path: Path) -> None:
    paths = export_night(night, "csv", tmp_path / "one", options=ExportOptions(APERTURE_LABEL))
    assert len(paths) == 14
    assert {path.parent.name for path in paths} == {APERTURE_LABEL, "relative_light_curves"}
    with pytest.raises(LedgerError, match=f"label 'nonsense' is no photometer of the ledger: {APERTURE_LABEL}"):
        export_night(night, "csv", tmp_path / "none", options=ExportOptions("nonsense"))


def test_fluxes_are_brought_to_the_largest_aperture(night: Path, tmp_path: Path) -> None:
    options = ExportOptions(OPTIMAL_LABEL, aperture_correction=True)
    paths = export_night(night, "ecsv", tmp_path / "corrected", options=options)
    table = Table.read(next(path for path in paths if path.name == "2-r_source_3.ecsv"), format="ascii.ecsv")
    fluxes = Field(n_frames=N_FRAMES, variable=6, seed=2).make()
    np.testing.assert_allclose(table["flux"], fluxes.flux[:, 2], rtol=1e-9)  # of the only aperture there is
    np.testing.assert_allclose(table["flux_err"], fluxes.flux_err[:, 2], rtol=1e-9)
    np.testing.assert_allclose(table["aperture_correction"], 1.0 / 1.1, rtol=1e-9)
    assert (table["aperture_correction_err"] < 1e-9).all()
    assert "to the flux within 1.5 FWHM, from stars 1, 2, 3, 4, 5, 6" in table.meta["aperture correction"]


def test_csv_export_is_that_of_the_outputs(written_night: tuple[Path, list[Path]], tmp_path: Path) -> None:
    night, _ = written_night
    for path in export_night(night, "csv", tmp_path / "copy"):
        same = night / path.relative_to(tmp_path / "copy")
        assert path.read_bytes() == same.read_bytes()


def test_unknown_format_is_named_before_anything_is_written(night: Path) -> None:
    sentence = "unknown format 'xlsx': one of csv, ecsv, fits, aavso, ds9 is required"
    with pytest.raises(ConfigurationError, match=sentence):
        export_night(night, "xlsx")
    assert not (night / "lcs").exists()


def test_a_selection_of_nothing_is_refused(night: Path) -> None:
    save_selection(night, Selection(targets={"1:g": 40}))
    with pytest.raises(ConfigurationError, match="number 40 is not in the catalog of 1:g"):
        write_outputs(night)
    assert len(list((night / "lcs" / OPTIMAL_LABEL).iterdir())) > 0
    assert not (night / "relative_light_curves").exists()


def test_a_target_in_a_key_that_there_is_not_is_not_replaced_by_another(night: Path) -> None:
    save_selection(night, Selection(requested_target="7:z#2"))
    with pytest.raises(ConfigurationError, match=r"^target 7:z#2: there is no catalog of 7:z, only of 1:g, 2:r$"):
        write_outputs(night)
    assert len(list((night / "lcs" / OPTIMAL_LABEL).iterdir())) > 0
    assert not (night / "relative_light_curves").exists()


def test_a_folder_without_a_night_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="holds no night"):
        write_outputs(tmp_path)


def test_a_night_without_frames_writes_nothing(tmp_path: Path) -> None:
    Ledger(tmp_path, RECIPE, folder=tmp_path / "frames").close()
    assert write_outputs(tmp_path) == []


def test_a_target_without_flux_leaves_the_raw_light_curves(tmp_path: Path) -> None:
    fluxes = Field(n_frames=30).make()
    fluxes.flux[:, 5] *= -1.0
    write_night(tmp_path, {"1:g": fluxes})
    save_selection(tmp_path, Selection(targets={"1:g": 6}))
    names = {path.name for path in write_outputs(tmp_path)}
    assert "1-g_source_6.csv" in names
    assert not (tmp_path / "relative_light_curves").exists()
