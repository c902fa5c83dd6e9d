"""AAVSO reports against the published rules of the format (Extended File Format, version 1.2)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from stream.config import APERTURE_LABEL
from stream.errors import ConfigurationError
from stream.export import AavsoOptions, export_night
from stream.flags import Flag
from stream.messages import Selection
from stream.selection import save_selection
from tests.analysis.synthetic import Field
from tests.export.made_nights import N_FRAMES, make_night, write_night

OPTIONS = AavsoOptions("TST01", "V0000 Tst")
FIELDS = (
    *("star", "date", "mag", "err", "filter", "trans", "mtype", "cname", "cmag"),
    *("kname", "kmag", "airmass", "group", "chart", "notes"),
)
LONGEST = {"star": 30, "date": 16, "mag": 8, "err": 6, "filter": 5, "cname": 20, "cmag": 8, "kname": 20, "kmag": 8}
LONGEST |= {"airmass": 7, "group": 5, "chart": 20}
BANDS = set("U,B,V,R,I,J,H,K,TG,TB,TR,CV,CR,SZ,SU,SG,SR,SI,STU,STV,STB,STY,STHBW,STHBN".split(","))  # noqa: SIM905
BANDS |= {"MA", "MB", "MI", "ZS", "Y", "HA", "HAC"}
REQUIRED = ("TYPE", "OBSCODE", "SOFTWARE", "DELIM", "DATE", "OBSTYPE")


def read_report(path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Read a report and check it by the rules; return its parameters and its observations."""
    text = path.read_text(encoding="ascii")
    lines = text.splitlines()
    assert path.suffix in (".txt", ".csv", ".tsv")
    assert all(line.strip() for line in lines), "blank lines are not accepted"
    parameters = dict(line[1:].split("=", 1) for line in lines[:6])
    assert tuple(parameters) == REQUIRED
    assert parameters["TYPE"].upper() == "EXTENDED"
    assert parameters["OBSCODE"]
    assert 0 < len(parameters["SOFTWARE"]) <= 255
    assert parameters["DATE"] in ("JD", "HJD", "EXCEL")
    assert parameters["OBSTYPE"] in ("CCD", "DSLR", "PEP")
    delimiter = parameters["DELIM"]
    assert delimiter == "," and delimiter not in "|# "
    rows = list(csv.reader([line for line in lines if not line.startswith("#")], delimiter=delimiter))
    observations = [dict(zip(FIELDS, row, strict=True)) for row in rows]
    for observation in observations:
        check_observation(observation)
    return parameters, observations


def check_observation(observation: dict[str, str]) -> None:
    for field, longest in LONGEST.items():
        assert 0 < len(observation[field]) <= longest, field
    assert 2_400_000.0 < float(observation["date"]) < 2_500_000.0
    assert "." in observation["mag"] and np.isfinite(float(observation["mag"].removeprefix("<")))
    for field in ("err", "cmag", "kmag", "airmass"):
        assert observation[field] == "na" or np.isfinite(float(observation[field])), field
    assert observation["filter"] in BANDS
    assert observation["trans"] in ("YES", "NO")
    assert observation["mtype"] in ("STD", "DIF", "ABS")
    if observation["mtype"] == "DIF":
        assert observation["cname"] != "na", "a differential magnitude requires its comparison star"
    assert observation["group"] == "na" or observation["group"].isdigit()


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_night(tmp_path_factory.mktemp("night"))


def test_reports_pass_the_published_rules(night: Path) -> None:
    written = export_night(night, "aavso", aavso=OPTIONS)
    assert len(written) == 4
    for path in written:
        parameters, observations = read_report(path)
        assert parameters["OBSCODE"] == "TST01"
        assert parameters["SOFTWARE"].startswith("opticam-live ")
        assert {one["star"] for one in observations} == {"V0000 Tst"}
        assert {one["filter"] for one in observations} == {"SG" if "1-g" in path.name else "SR"}
        head = path.read_text(encoding="ascii")
        assert "# recipe: " in head and "# time: JD in UTC, middle of the exposure" in head


def test_magnitudes_and_errors_are_those_of_the_fluxes(night: Path) -> None:
    path = next(
        path for path in export_night(night, "aavso", aavso=OPTIONS) if f"{APERTURE_LABEL}_source_6_1-g" in path.name
    )
    _, observations = read_report(path)
    fluxes = Field(n_frames=N_FRAMES, variable=6).make()
    good = np.arange(N_FRAMES) != 7
    truth = -2.5 * np.log10(fluxes.flux[good, 5] / fluxes.flux[good, :5].sum(axis=1))
    magnitude = np.array([float(one["mag"]) for one in observations])
    error = np.array([float(one["err"]) for one in observations])
    assert len(observations) == N_FRAMES - 1, "the frame without a flux is left out"
    assert np.median(magnitude - truth) == pytest.approx(0.0, abs=0.003)
    assert np.std(magnitude - truth) < 0.005
    photon = 2.5 / np.log(10.0) * (fluxes.flux_err / fluxes.flux)[good, 5]
    assert np.median(error / photon) == pytest.approx(1.0, abs=0.1)
    date = np.array([float(one["date"]) for one in observations])
    np.testing.assert_allclose(date, fluxes.time_mjd_utc[good] + 2400000.5, rtol=0.0, atol=1e-8)


def test_several_comparison_stars_are_an_ensemble_and_one_has_its_magnitude(tmp_path: Path) -> None:
    fluxes = Field(n_frames=40, variable=6).make()
    write_night(tmp_path, {"1:g": fluxes})
    save_selection(tmp_path, Selection(targets={"1:g": 6}, comparisons={"1:g": (1, 2)}))
    _, observations = read_report(export_night(tmp_path, "aavso", tmp_path / "many", aavso=OPTIONS)[0])
    assert {(one["cname"], one["cmag"]) for one in observations} == {("ENSEMBLE", "na")}
    save_selection(tmp_path, Selection(targets={"1:g": 6}, comparisons={"1:g": (2,)}))
    paths = export_night(tmp_path, "aavso", tmp_path / "one", aavso=OPTIONS)
    _, observations = read_report(next(path for path in paths if APERTURE_LABEL in path.name))
    assert {one["cname"] for one in observations} == {"source 2"}
    instrumental = [float(one["cmag"]) for one in observations]
    np.testing.assert_allclose(instrumental, -2.5 * np.log10(fluxes.flux[:, 1]), atol=6e-4)


def test_doubtful_points_are_left_out_and_counted(tmp_path: Path) -> None:
    fluxes = Field(n_frames=40, variable=6).make()
    fluxes.flags[3:8, 5] = int(Flag.SATURATED)
    write_night(tmp_path, {"1:g": fluxes})
    save_selection(tmp_path, Selection(targets={"1:g": 6}))
    path = export_night(tmp_path, "aavso", aavso=OPTIONS)[0]
    assert len(read_report(path)[1]) == 35
    assert "# 5 points without a flux or with a flag" in path.read_text(encoding="ascii")


def test_a_filter_that_the_format_does_not_know_is_named(tmp_path: Path) -> None:
    write_night(tmp_path, {"1:Zoo": Field(n_frames=20, key="1:Zoo").make()})
    with pytest.raises(ConfigurationError, match="filter 'Zoo' of 1:Zoo is not one of the AAVSO format: --band names"):
        export_night(tmp_path, "aavso", aavso=OPTIONS)
    written = export_night(tmp_path, "aavso", aavso=AavsoOptions("TST01", "V0000 Tst", "CR"))
    assert {one["filter"] for one in read_report(written[0])[1]} == {"CR"}


@pytest.mark.parametrize(
    ("observer", "star", "band", "sentence"),
    [
        ("", "RR Lyr", None, "observer '': the AAVSO format requires the observer code"),
        ("TOOLONG", "RR Lyr", None, "observer 'TOOLONG': "),
        ("TST", "", None, "star '': the AAVSO format requires the name of the target, at most 30 plain"),
        ("TST", "RR Lyr, twice", None, "star 'RR Lyr, twice': "),
        ("TST", "R" * 31, None, "star 'RRR"),
        ("TST", "RR Lyr", "O", "band 'O' is not one of the AAVSO format: B, CR, CV"),
    ],
)
def test_what_an_upload_would_be_refused_for_is_refused(
    observer: str, star: str, band: str | None, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        AavsoOptions(observer, star, band)


def test_the_format_without_its_options_is_refused(night: Path) -> None:
    with pytest.raises(ConfigurationError, match="the AAVSO format requires an observer code and the name of the star"):
        export_night(night, "aavso")
