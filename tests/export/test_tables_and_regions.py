"""FITS tables by the rules of their readers, regions by those of DS9, and how often the ledger is asked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time

from stream.config import APERTURE_LABEL, OPTIMAL_LABEL
from stream.export import export_night
from stream.flags import Flag
from stream.measure.noise import ScintillationSite, scintillation
from stream.night.ledger import LedgerReader
from tests.analysis.synthetic import Field
from tests.export.made_nights import N_FRAMES, RECIPE, XY, make_night
from tests.night.processes import run


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_night(tmp_path_factory.mktemp("night"))


@pytest.fixture(scope="module")
def tables(night: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("fits")
    export_night(night, "fits", target)
    return target


def read_as_lightkurve_does(path: Path, time_format: str | None = None) -> tuple[Time, Table]:
    """The steps of lightkurve's reader of light curves in general (`lightkurve.io.generic`, version 2.6)."""
    with fits.open(path) as hdus:
        table = Table.read(hdus[1], format="fits", unit_parse_strict="silent")
        for name in table.colnames:
            if str(table[name].unit) == "e-/s":
                table[name].unit = "electron/s"
            table.rename_column(name, name.lower())
        header = hdus[1].header
        if time_format is None:
            time_format = {2454833: "bkjd", 2457000: "btjd"}[header["BJDREFI"]]
        assert not np.isnan(table["time"]).any()
        origin = {"bkjd": 2454833.0, "btjd": 2457000.0, "mjd": 2400000.5}[time_format]
        time = Time(origin, np.asarray(table["time"]), format="jd", scale=header["TIMESYS"].lower())
        assert {"flux", "flux_err", "quality"} <= set(table.colnames)
        assert table["quality"].dtype.kind == "i"
        return time, table


def test_light_curves_read_as_those_of_a_space_telescope(tables: Path) -> None:
    fluxes = Field(n_frames=N_FRAMES, variable=6).make()
    time, table = read_as_lightkurve_does(tables / f"lcs/{APERTURE_LABEL}/1-g_source_6.fits")
    assert time.scale == "tdb"
    np.testing.assert_allclose(time.mjd, fluxes.time_bmjd_tdb, rtol=0.0, atol=1e-9)
    good = np.arange(N_FRAMES) != 7
    rate = np.asarray(table["flux"].to("electron/s"))
    np.testing.assert_allclose(rate[good], fluxes.flux[good, 5] / fluxes.exposure_s[good])
    assert np.isnan(rate[7])
    assert table["quality"][7] == int(Flag.NON_FINITE)
    relative = tables / f"relative_light_curves/{OPTIMAL_LABEL}_source_6_1-g_light_curve.fits"
    flux = np.asarray(read_as_lightkurve_does(relative)[1]["flux"])
    assert np.nanmedian(flux) == pytest.approx(1.0, abs=1e-3)


def test_times_that_are_not_barycentric_say_so(tables: Path) -> None:
    path = tables / f"lcs/{APERTURE_LABEL}/2-r_source_1.fits"
    time, _ = read_as_lightkurve_does(path, "mjd")
    assert time.scale == "utc"
    np.testing.assert_allclose(time.mjd, Field(n_frames=N_FRAMES).make().time_mjd_utc, rtol=0.0, atol=1e-9)
    with fits.open(path) as hdus:
        assert "BJDREFI" not in hdus[1].header
        assert (hdus[1].header["TIMESYS"], hdus[1].header["TREFPOS"]) == ("UTC", "TOPOCENTER")


def test_headers_hold_provenance_and_meanings(tables: Path) -> None:
    with fits.open(tables / f"lcs/{APERTURE_LABEL}/1-g_source_6.fits") as hdus:
        hdus.verify("exception")
        header = hdus[1].header
        names = [header[f"TTYPE{number}"] for number in range(1, header["TFIELDS"] + 1)]
        assert names[:4] == ["TIME", "FLUX", "FLUX_ERR", "QUALITY"]
        assert all(header[f"TCOMM{number}"] for number in range(1, len(names) + 1))
        assert (header["TUNIT1"], header["TUNIT2"], header["TUCD2"]) == ("d", "e-/s", "phot.flux")
        assert (header["TIMESYS"], header["TIMEUNIT"], header["JDREFI"]) == ("TDB", "d", 2457000)
        for part in (hdus[0].header, header):
            assert part["CREATOR"].startswith("opticam-live ")
            assert (part["RECIPE"], part["OBJECT"], part["FILTER"]) == (RECIPE.hash(), "1:g#6", "g")


def test_expected_scintillation_is_a_column(tables: Path) -> None:
    _, table = read_as_lightkurve_does(tables / f"lcs/{APERTURE_LABEL}/1-g_source_1.fits")
    instrument = RECIPE.instrument
    site = ScintillationSite(instrument.aperture_m, instrument.site.height_m)
    expected = scintillation(site, np.array([1.0]), np.array([1.25]))
    np.testing.assert_allclose(table["scintillation"], expected[0])


def test_regions_count_pixels_from_one_and_colour_by_role(night: Path, tmp_path: Path) -> None:
    written = export_night(night, "ds9", tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in written] == ["cat/1-g_catalog.reg", "cat/2-r_catalog.reg"]
    lines = written[0].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Region file format: DS9 version 4.1"
    assert "image" in lines
    head = "\n".join(line for line in lines if line.startswith("#"))
    assert f"recipe: {RECIPE.hash()}" in head and "software: opticam-live" in head and "time: none" in head
    shape = re.compile(r"ellipse\(([-\d.]+),([-\d.]+),([\d.]+),([\d.]+),([-\d.]+)\) # color=(\w+) text=\{(\d+)\}")
    found = [match.groups() for line in lines if (match := shape.fullmatch(line))]
    np.testing.assert_allclose([(float(x), float(y)) for x, y, *_ in found], XY + 1.0, atol=1e-3)
    assert [int(row[6]) for row in found] == [1, 2, 3, 4, 5, 6]
    assert found[5][5] == "cyan" and "green" in {row[5] for row in found}


def test_names_of_frames_are_not_asked_for_one_by_one(
    night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(reader: LedgerReader, frame_id: int) -> str:
        raise AssertionError(f"frame {frame_id} was asked for alone")

    monkeypatch.setattr(LedgerReader, "frame_path", refuse)
    assert len(export_night(night, "csv", tmp_path)) == 28


def test_the_command_writes_every_format(night: Path, tmp_path: Path) -> None:
    words = ("--observer", "TST", "--star", "RR Lyr", "--to", tmp_path)
    for format, count in (("aavso", 4), ("ds9", 2)):
        result = run("export", night, "--format", format, *words)
        assert (result.returncode, result.stdout) == (0, f"{count} files written to {tmp_path}\n"), result.stderr
    refused = run("export", night, "--format", "aavso")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: observer '': the AAVSO format requires the observer code")
