"""Relative light curves by name: matching, diagnostics, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

import opticam_live as opticam
from stream import plots
from stream.analysis.matching import CatalogMatch
from stream.batch import differential
from stream.errors import ConfigurationError, LedgerError
from stream.messages import Catalog
from stream.plots import light_curves_figure
from tests.batch.reduced import LABEL, N_IMAGES, Reduced


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


def test_what_does_not_exist_is_refused_by_name(dphot: opticam.DifferentialPhotometer, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"key '4:z' is not in .*: 1:g, 2:r"):
        dphot.get_relative_light_curve("4:z", 2, [1], phot_label=LABEL)
    with pytest.raises(LedgerError, match=f"label 'aperture' is no photometer of the ledger: {LABEL}"):
        dphot.get_relative_light_curve("1:g", 2, [1], phot_label="aperture")
    with pytest.raises(ConfigurationError, match="target 99 is not in the catalog of 1:g, which has sources 1 to"):
        dphot.get_relative_light_curve("1:g", 99, [1], phot_label=LABEL)
    with pytest.raises(ConfigurationError, match=r"prefix '\.\./x' must be part of a file name"):
        dphot.get_relative_light_curve("1:g", 2, [1], phot_label=LABEL, prefix="../x")
    with pytest.raises(LedgerError, match="holds no night"):
        opticam.DifferentialPhotometer(tmp_path)
