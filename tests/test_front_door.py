"""The front door: names, exit status and the one sentence of every error."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from astropy.io import fits

import opticam_live
from stream.instruments import OPTICAM_MX, Instrument
from stream.scan import frame_names, scan_frames
from tests.measure.packed_files import counts, header, write, write_extensions
from tests.night.frames import fits_bytes, write_frame
from tests.night.processes import run, running


def one_sentence(*words: str | Path) -> str:
    """Run a command that must fail, and return its only line on stderr."""
    result = run(*words)
    assert result.returncode == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def test_public_names_are_there_and_unknown_ones_are_not() -> None:
    assert opticam_live.OPTICAM_MX().name == OPTICAM_MX().name
    assert opticam_live.Instrument is Instrument
    for name in opticam_live.__all__:
        assert callable(getattr(opticam_live, name))
    with pytest.raises(AttributeError, match="module 'opticam_live' has no attribute 'Telescope'"):
        _ = opticam_live.Telescope


def test_help_names_the_commands_and_imports_nothing_heavy() -> None:
    shown = run("--help").stdout
    for name in ("demo", "simulate", "replay", "scan", "watch", "reduce", "serve", "status", "export"):
        assert f" {name} " in shown
    assert " worker " not in shown
    code = "import sys, opticam_live\ntry:\n    opticam_live.main()\nexcept SystemExit:\n    print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert not {"numpy", "scipy", "astropy", "bokeh", "matplotlib", "zmq"} & set(result.stdout.split())


def test_wrong_usage_exits_with_2() -> None:
    assert run("watch", "somewhere").returncode == 2
    assert run("reduce", "somewhere", "--out", "out", "--workers", "0").returncode == 2
    assert run("nothing").returncode == 2


def test_scan_prints_what_is_there_and_every_problem(tmp_path: Path) -> None:
    for number in range(3):
        write_frame(tmp_path, number)
    write_frame(tmp_path, 3, FILTER="r")
    write_frame(tmp_path, 4, FILTER=None, EXPOSURE=0)
    (tmp_path / "text.fits").write_text("no FITS")
    result = run("scan", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[OPTICAM] OPTICAM-MX: 3 problems, see below.\n" in result.stdout
    assert "Binning: 4x4\nFilters: 1:g, 2:r\n3 1:g images.\n1 2:r images.\nProblem: " in result.stdout
    assert "Problem: exposure_s (0.0) must be greater than 0" in result.stdout
    assert "Problem: keyword FILTER of 000004.fit is missing\n" in result.stdout
    assert "Problem: text.fits is not a FITS file" in result.stdout


def test_scan_counts_the_frames_of_files_and_doubts_twins(tmp_path: Path) -> None:
    write_extensions(tmp_path / "a.fits", {name: counts() for name in "gri"})
    image = fits.Header({"FILTER": "g"})
    twins = [fits.PrimaryHDU(header=header()), fits.ImageHDU(counts(), image), fits.ImageHDU(counts(), image)]
    write(tmp_path / "b.fits.gz", twins)
    write(tmp_path / "c.fits.fz", [fits.PrimaryHDU(), fits.CompImageHDU(counts(4), header())])
    report = scan_frames(
        tmp_path,
        frame_names(tmp_path),
        instrument=msgspec.structs.replace(opticam_live.OPTICAM_MX(), plane_interval_s=1.0),
    )
    assert (report.n_files, report.by_key) == (3, {"1:g": 7, "2:r": 1, "3:i": 1})
    assert report.problems == (
        "b.fits.gz[1] and b.fits.gz[2] are both of key 1:g at the same time: "
        "extensions of the instrument must name the HDUs that hold frames",
    )
    assert sorted(report.facts)[:4] == ["a.fits[1]", "a.fits[2]", "a.fits[3]", "b.fits.gz[1]"]
    lacking = scan_frames(tmp_path, ["c.fits.fz"], instrument=opticam_live.OPTICAM_MX())
    assert len(lacking.problems) == 4
    assert lacking.problems[0].startswith("c.fits.fz[1,0] is a plane of a cube and nothing tells its time")


def test_scan_data_is_the_same_for_notebooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "0.fit").write_bytes(fits_bytes())
    report = opticam_live.scan_data(tmp_path / "reduced", folder, opticam_live.OPTICAM_MX())
    assert (report.binnings, report.by_key, report.problems) == ((4,), {"1:g": 1}, ())
    shown = capsys.readouterr().out
    assert f"[OPTICAM] {tmp_path / 'reduced'} created.\n" in shown
    assert shown.endswith("Binning: 4x4\nFilters: 1:g\n1 1:g images.\n")


def test_errors_are_one_sentence(tmp_path: Path) -> None:
    nowhere, empty, out = tmp_path / "nowhere", tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    assert one_sentence("scan", nowhere) == f"folder {nowhere} does not exist"
    assert one_sentence("watch", nowhere, "--out", out) == f"folder {nowhere} does not exist"
    assert one_sentence("reduce", empty, "--out", out).startswith(f"folder {empty} holds no frames: no file ends in")
    assert one_sentence("status", empty) == f"{empty} holds no night: there is no night.db in it"
    assert one_sentence("scan", empty, "--instrument", "HAWKI") == (
        "unknown instrument 'HAWKI': neither OPTICAM_MX nor the path of a TOML file"
    )
    assert one_sentence("worker", empty) == f"no night is running in {empty}: there is no night.run.json"
    assert not out.exists()
    words = ("watch", empty, "--out", out)
    assert one_sentence(*words, "--target", "the bright one").startswith("source 'the bright one' is not understood")
    assert one_sentence(*words, "--coordinates", "12").startswith("coordinates '12': '31.0417 46.6897' (degrees)")
    assert one_sentence(*words, "--set", "detection.max_sources=0").startswith("setting detection.max_sources=0: ")
    assert one_sentence(*words, "--recipe", empty / "no.toml").startswith(f"recipe {empty / 'no.toml'}: ")


def test_an_output_folder_of_another_recipe_is_refused_by_name(tmp_path: Path) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    write_frame(folder, 1, FILTER=None)
    nothing = run("reduce", folder, "--out", out, "--workers", "1")
    assert nothing.returncode == 1
    assert nothing.stdout.startswith("1 frames: 0 measured\n1 rejected: 1 BAD_KEYWORD; ")
    assert f"error: no frame of {folder} could be measured: opticam-live status {out} says why" in nothing.stderr
    words = ("--coordinates", "31.0 46.0", "--set", "detection.threshold_sigma=4", "--set", "bootstrap.n_frames=9")
    sentence = one_sentence("reduce", folder, "--out", out, *words)
    assert "(bootstrap.n_frames: 5 -> 9; detection.threshold_sigma: 5.0 -> 4.0; target_position." in sentence
    assert "target_position.dec_deg: unset -> 46.0; target_position.ra_deg: unset -> 31.0" in sentence
    assert "or --remeasure to start a second set of measurements" in sentence


def test_a_port_in_use_ends_the_watch_with_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = one_sentence("watch", folder, "--out", tmp_path / "out", "--port", str(port), "--workers", "1")
    assert str(port) in sentence


def test_watch_says_where_the_page_is(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    with running("watch", folder, "--out", tmp_path / "out", "--port", "0", "--workers", "1") as night:
        assert night.stdout is not None
        line = night.stdout.readline()
        assert line.startswith("page: http://localhost:")
        assert f'"page":"{line.removeprefix("page: ").strip()}"' in (tmp_path / "out" / "night.run.json").read_text()
        night.terminate()
        assert night.wait(5.0) == 0
