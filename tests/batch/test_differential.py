"""Relative light curves by name: matching, diagnostics, and what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from astropy.table import Table

import opticam_live as opticam
from stream import plots
from stream.analysis.matching import CatalogMatch
from stream.batch import differential
from stream.batch.outputs import fluxes_of_all_photometers
from stream.config import APERTURE_LABEL, OPTIMAL_LABEL, PhotometerSettings
from stream.errors import ConfigurationError, LedgerError
from stream.messages import Catalog
from stream.night.ledger import Ledger
from stream.plots import light_curves_figure
from tests.analysis.synthetic import Field, make_catalog
from tests.batch.reduced import LABEL, N_IMAGES, Reduced
from tests.export.made_nights import RECIPE, write_night


@pytest.fixture
def dphot(reduced: Reduced) -> opticam.DifferentialPhotometer:
    return opticam.DifferentialPhotometer(reduced.out, show_plots=False)


def test_every_pair_of_comparison_stars_is_compared(
    reduced: Reduced, dphot: opticam.DifferentialPhotometer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, tuple[int, ...]]] = []

    def record(curves: list, title: str = "") -> object:
        drawn.extend((curve.target, curve.comparisons) for curve in curves)
        return light_curves_figure(curves, title)

    monkeypatch.setattr(plots, "light_curves_figure", record)
    made = dphot.get_relative_light_curve("1:g", 2, [1, 3, 4], phot_label=LABEL, prefix="pairs")
    assert drawn == [(1, (3,)), (1, (4,)), (3, (4,))]
    assert list(made.light_curves) == ["1:g"]
    assert made.light_curves["1:g"].flux.shape == (N_IMAGES,)
    folder = reduced.out / "relative_light_curves" / "diag"
    for name in ("raw", "comparisons"):
        assert (folder / f"pairs_1-g_{LABEL}_{name}.pdf").is_file()
    table = Table.read(folder / f"pairs_1-g_{LABEL}_comparisons.ecsv", format="ascii.ecsv")
    assert list(zip(table["first"], table["second"], strict=True)) == [(1, 3), (1, 4), (3, 4)]
    assert (table["n_frames"] > 0.8 * N_IMAGES).all() and np.isfinite(table["chi2"]).all()


def test_the_light_curve_is_written_with_its_facts(reduced: Reduced, dphot: opticam.DifferentialPhotometer) -> None:
    made = dphot.get_relative_light_curve("2:r", 2, 1, phot_label=LABEL, prefix="facts")
    lines = (reduced.out / "relative_light_curves" / f"facts_2-r_{LABEL}_light_curve.csv").read_text().splitlines()
    facts = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    assert (facts["key"], facts["photometer"], facts["target"]) == ("2:r", LABEL, "2")
    assert facts["comparisons (weights)"] == "1 (1.000)"
    assert facts["recipe"] and facts["software"].startswith("opticam-live ")
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    column = [float(row[rows[0].index("flux")]) for row in rows[1:]]
    np.testing.assert_allclose(column, made.light_curves["2:r"].flux, atol=1e-7)


def test_numbers_that_differ_between_cameras_are_followed(
    dphot: opticam.DifferentialPhotometer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crossed(source: Catalog, destination: Catalog) -> CatalogMatch:
        return CatalogMatch({2: 5, 1: 4}, True, "")

    monkeypatch.setattr(differential, "match_catalogs", crossed)
    made = dphot.get_relative_light_curve("1:g", 2, [1, 3], phot_label=LABEL, match_other_cameras=True)
    other = made.light_curves["2:r"]
    assert (other.target, other.comparisons) == (5, (4,))
    said = capsys.readouterr().out
    assert "[OPTICAM] 1:g target ID 2 was matched to 2:r target ID 5\n" in said
    assert "[OPTICAM] 1:g comparison ID 1 was matched to 2:r comparison ID 4\n" in said
    assert "[OPTICAM] 1:g comparison ID 3 has no match in 2:r\n" in said


@pytest.mark.parametrize(
    ("match", "sentence"),
    [
        (CatalogMatch({}, False, "1:g to 2:r: not matched"), "2:r is left out: 1:g to 2:r: not matched"),
        (CatalogMatch({1: 1}, True, ""), "2:r is left out: target 2 of 1:g is not in its catalog"),
        (CatalogMatch({2: 2}, True, ""), "2:r is left out: none of the comparison stars of 1:g is in its catalog"),
    ],
)
def test_a_key_that_does_not_match_is_left_out_with_a_sentence(
    dphot: opticam.DifferentialPhotometer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    match: CatalogMatch,
    sentence: str,
) -> None:
    monkeypatch.setattr(differential, "match_catalogs", lambda source, destination: match)
    made = dphot.get_relative_light_curve("1:g", 2, [1], phot_label=LABEL, match_other_cameras=True)
    assert list(made.light_curves) == ["1:g"]
    assert f"[OPTICAM] {sentence}\n" in capsys.readouterr().out


def test_the_quietest_photometer_is_that_of_the_comparison_stars(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = Field(n_frames=60, variable=6, noise=3.0).make()
    noisy.flux[:, 5] = np.median(noisy.flux[:, 5])  # a target as quiet as can be
    write_night(tmp_path, {"1:g": noisy}, {"1:g": Field(n_frames=60, variable=6).make()})
    made = opticam.DifferentialPhotometer(tmp_path, show_plots=False).get_relative_light_curve(
        "1:g", 6, [1, 2, 3], phot_label="quietest", prefix="quiet"
    )
    assert made.phot_label == made.light_curves["1:g"].label == OPTIMAL_LABEL
    assert f"[OPTICAM] {OPTIMAL_LABEL} has the least scatter of the comparison stars, " in capsys.readouterr().out
    assert (tmp_path / "relative_light_curves" / f"quiet_1-g_{OPTIMAL_LABEL}_light_curve.csv").is_file()


def test_photometers_of_all_sets_are_compared_if_they_measured_the_same_catalog(tmp_path: Path) -> None:
    """As `Reducer.photometry` leaves them: one set for each photometer."""
    xy = np.array([[60.0, 80.0], [420.0, 100.0]])
    for number, kind in enumerate(("aperture", "optimal")):
        recipe = msgspec.structs.replace(RECIPE, photometers=(PhotometerSettings(kind=kind),))
        ledger = Ledger(tmp_path, recipe, folder=tmp_path, remeasure=number > 0)
        ledger.save_catalog(make_catalog("1:g", xy))
        ledger.close()
    assert list(fluxes_of_all_photometers(tmp_path, "1:g")) == [OPTIMAL_LABEL, APERTURE_LABEL]
    other = msgspec.structs.replace(RECIPE, photometers=(PhotometerSettings(kind="aperture", name="wide"),))
    ledger = Ledger(tmp_path, other, folder=tmp_path, remeasure=True)
    ledger.save_catalog(msgspec.structs.replace(make_catalog("1:g", xy[::-1]), version="v2"))
    ledger.close()
    assert list(fluxes_of_all_photometers(tmp_path, "1:g")) == ["forced_aperture_annulus_wide"]


def test_what_does_not_exist_is_refused_by_name(dphot: opticam.DifferentialPhotometer, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"key '4:z' is not in .*: 1:g, 2:r"):
        dphot.get_relative_light_curve("4:z", 2, [1], phot_label=LABEL)
    with pytest.raises(LedgerError, match=f"label 'aperture' is no photometer of the ledger: {LABEL}"):
        dphot.get_relative_light_curve("1:g", 2, [1], phot_label="aperture")
    with pytest.raises(ConfigurationError, match=r"key '4:z' is not in .*: 1:g, 2:r"):
        dphot.get_relative_light_curve("4:z", 2, [1], phot_label="quietest")
    with pytest.raises(ConfigurationError, match="comparison star 99 is not in the catalog of 1:g"):
        dphot.get_relative_light_curve("1:g", 2, [99], phot_label="quietest")
    with pytest.raises(ConfigurationError, match="target 99 is not in the catalog of 1:g, which has sources 1 to"):
        dphot.get_relative_light_curve("1:g", 99, [1], phot_label=LABEL)
    with pytest.raises(ConfigurationError, match=r"prefix '\.\./x' must be part of a file name"):
        dphot.get_relative_light_curve("1:g", 2, [1], phot_label=LABEL, prefix="../x")
    with pytest.raises(LedgerError, match="holds no night"):
        opticam.DifferentialPhotometer(tmp_path)
