"""Nights with calibration frames: light that comes back, masters that change, and nights that must not go on."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from astropy.io import fits

from simulator.calibration import CalibrationPlan, generate_calibration
from simulator.night import FrameFactory, generate_observations
from simulator.settings import NightSettings
from simulator.sky import VARIABLE
from simulator.structure import DetectorStructure
from stream.config import APERTURE_LABEL, OPTIMAL_LABEL, BootstrapSettings, Recipe
from stream.errors import ConfigurationError, RecipeMismatchError
from stream.instruments import OPTICAM_MX
from stream.measure.master_files import CalibrationFolders, load_calibration, make_masters, save_masters
from stream.messages import FrameMeasured, UseCalibration
from stream.night.broker_events import CalibrationChanged, Send, WorkerJoined
from stream.night.broker_state import BrokerState
from stream.night.calibration_watch import CalibrationWatch
from stream.night.ledger import LedgerReader
from stream.night.run import NightOptions, run_night
from tests.night.processes import counts_of, run, running, stop, wait_for_outcomes
from tests.night.waiting import wait_until

pytestmark = pytest.mark.clock

STRUCTURE = DetectorStructure(vignetting=0.4, response_rms=0.02, bias_rms_adu=3.0, dark_e_per_s=10.0)
SETTINGS = NightSettings(
    n_images=12, binning=8, n_sources=10, filters=("g",), brightness=3.0, structure=STRUCTURE, scenarios=("dither",)
)
RECIPE = Recipe(instrument=OPTICAM_MX())


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of an uneven camera in ``frames``, its calibration frames in ``calibration``."""
    folder = tmp_path_factory.mktemp("uneven")
    generate_observations(
        folder / "frames", SETTINGS.n_images, circular_aperture=False, binning_scale=8, settings=SETTINGS
    )
    generate_calibration(folder / "calibration", SETTINGS)
    return folder


def folders_of(calibration: Path) -> CalibrationFolders:
    return CalibrationFolders(calibration / "bias", calibration / "darks", calibration / "flats")


def options_of(calibration: Path) -> tuple[str | Path, ...]:
    return (
        *("--bias", calibration / "bias"),
        *("--darks", calibration / "darks"),
        *("--flats", calibration / "flats"),
    )


def measured_of(out: Path) -> list[FrameMeasured]:
    reader = LedgerReader(out)
    outcomes = reader.outcomes_since(0)
    reader.close()
    return [outcome for outcome in outcomes if isinstance(outcome, FrameMeasured)]


def ratios_to_truth(out: Path, label: str) -> np.ndarray:
    """Measured by true electrons of every quiet star, shape (n_frames, n_stars)."""
    reader = LedgerReader(out)
    catalog = reader.catalogs()["1:g"]
    fluxes = reader.source_fluxes("1:g", label)
    reader.close()
    states = [FrameFactory(SETTINGS).states(index)[0] for index in range(SETTINGS.n_images)]
    first = next(state for state in states if state.file_name == catalog.frames[0])
    numbers = np.hypot(catalog.positions()[:, None, 0] - first.x, catalog.positions()[:, None, 1] - first.y).argmin(
        axis=1
    )
    quiet = numbers != VARIABLE
    truth = np.array([state.electrons[numbers] for state in states])
    return np.asarray(fluxes.flux / truth)[:, quiet]


def test_a_night_of_an_uneven_camera_has_the_true_fluxes(night: Path, tmp_path: Path) -> None:
    plain, calibrated = tmp_path / "plain", tmp_path / "calibrated"
    folder = night / "frames"
    options = NightOptions(folder, calibrated, 2, finite=True, calibration=folders_of(night / "calibration"))
    assert run_night(options, RECIPE, stop=threading.Event()).n_measured == SETTINGS.n_images
    assert run_night(NightOptions(folder, plain, 2, finite=True), RECIPE, stop=threading.Event()).n_measured > 0
    for label in (APERTURE_LABEL, OPTIMAL_LABEL):
        without, with_masters = (np.nanmedian(ratios_to_truth(out, label), axis=0) for out in (plain, calibrated))
        assert np.abs(without - 1.0).max() > 0.08, label
        assert np.abs(with_masters - 1.0).max() < 0.01, label
    names = sorted(path.name for path in (calibrated / "calibration").iterdir())
    assert names == ["1-g_bad.fits", "1-g_flat.fits", "1_bad.fits", "1_bias.fits", "1_dark.fits"]
    calibration = load_calibration(calibrated / "calibration", "1:g")
    assert calibration is not None
    assert {message.calibration_version for message in measured_of(calibrated)} == {calibration.version}
    assert {message.calibration_version for message in measured_of(plain)} == {""}


def test_a_night_does_not_go_on_with_other_masters_but_may_be_measured_again(night: Path, tmp_path: Path) -> None:
    folder, out, calibration = night / "frames", tmp_path / "out", tmp_path / "calibration"
    shutil.copytree(night / "calibration", calibration)
    options = NightOptions(folder, out, 2, finite=True, calibration=folders_of(calibration))
    assert run_night(options, RECIPE, stop=threading.Event()).n_measured == SETTINGS.n_images
    # The masters of the night are there, and stay when it cannot go on with others.
    without = NightOptions(folder, out, 2, finite=True)
    assert run_night(without, RECIPE, stop=threading.Event()).n_pending == 0
    before = measured_of(out)[0].calibration_version
    next((calibration / "flats").iterdir()).unlink()
    other = run("reduce", folder, "--out", out, *options_of(calibration))
    assert other.returncode == 1
    assert other.stderr.count("\n") == 1
    assert f"holds frames of 1:g measured with the calibration frames {before}, but there are the" in other.stderr
    kept = load_calibration(out / "calibration", "1:g")
    assert kept is not None
    assert kept.version == before
    again = replace(options, remeasure=True)
    assert run_night(again, RECIPE, stop=threading.Event()).n_measured == SETTINGS.n_images
    now = load_calibration(out / "calibration", "1:g")
    assert now is not None
    assert now.version != before
    assert {message.calibration_version for message in measured_of(out)} == {now.version}


def test_flats_that_come_while_the_night_runs_are_used_from_then_on(night: Path, tmp_path: Path) -> None:
    frames, out, calibration = tmp_path / "frames", tmp_path / "out", tmp_path / "calibration"
    files = sorted((night / "frames").glob("*.fit"))
    for name in ("bias", "darks", "flats"):
        (calibration / name).mkdir(parents=True)
    frames.mkdir()
    for path in files[:8]:
        shutil.copy(path, frames)
    words = ("watch", frames, "--out", out, "--no-page", "--workers", "2", *options_of(calibration))
    with running(*words) as process:
        wait_for_outcomes(out, 8)
        for name in ("bias", "darks", "flats"):
            for path in sorted((night / "calibration" / name).iterdir())[:5]:
                shutil.copy(path, calibration / name)
        log = out / "log" / "night.log"
        wait_until(lambda: "masters from now on: " in log.read_text(), 30.0, "new masters")
        wait_until(lambda: load_calibration(out / "calibration", "1:g") is not None, 5.0, "masters in place")
        calibration_now = load_calibration(out / "calibration", "1:g")
        for path in files[8:]:
            shutil.copy(path, frames)
        wait_for_outcomes(out, 12)
        assert stop(process)[0] == 0
    assert calibration_now is not None
    versions = {message.path: message.calibration_version for message in measured_of(out)}
    assert {versions[path.name] for path in files[:8]} == {""}
    assert versions[files[-1].name] == calibration_now.version
    counts = counts_of(out)
    assert counts is not None
    assert counts.n_measured == 12


def test_all_workers_are_told() -> None:
    state = BrokerState(BootstrapSettings())
    for pid in (1, 2):
        state.handle(WorkerJoined(pid, 2), 0.0)
    assert state.handle(CalibrationChanged(), 1.0) == [Send(1, UseCalibration()), Send(2, UseCalibration())]


def test_the_watch_takes_up_frames_that_hold_still_and_keeps_the_masters_over_bad_ones(
    night: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bias = tmp_path / "bias"
    bias.mkdir()
    watch = CalibrationWatch(CalibrationFolders(bias=bias), RECIPE, tmp_path / "masters", scan_every_s=0.05)
    watch.begin()
    watch.start()
    try:
        assert watch.versions == {}
        source = sorted((night / "calibration" / "bias").iterdir())
        shutil.copy(source[0], bias)
        wait_until(watch.take_change, 10.0, "a change")
        first = dict(watch.versions)
        assert list(first) == ["bias 1"]
        (bias / "bad.fit").write_bytes(b"no frame")
        wait_until(lambda: "calibration frames are left as they were: bias frame" in caplog.text, 10.0, "a warning")
        assert watch.versions == first
        (bias / "bad.fit").unlink()
        shutil.copy(source[1], bias)
        wait_until(watch.take_change, 10.0, "another change")
        assert watch.versions != first
    finally:
        watch.stop()
    with pytest.raises(RecipeMismatchError, match=r"frames of 1:g measured with no calibration frames, but there are"):
        CalibrationWatch(CalibrationFolders(bias=bias), RECIPE, tmp_path / "other").check_measured_with(
            {"1:g": ""}, tmp_path
        )


def change_header(path: Path, **changes: object) -> None:
    with fits.open(path, mode="update") as hdus:
        for name, value in changes.items():
            if value is None:
                del hdus[0].header[name]
            else:
                hdus[0].header[name] = value


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("flats", {"BINNING": "4x4"}, r"^flat frame 231122g\d+f.fit has 256 x 256 pixels at binning 4, but the bias "
         r"frames of 1 have 256 x 256 pixels at binning 8$"),
        ("bias", {"BINNING": "4x4"}, r"^bias frame 231122g\d+b.fit has 256 x 256 pixels at binning 8, but "
         r"231122g\d+b.fit has 256 x 256 pixels at binning 4: those of 1 must be alike$"),
        ("flats", {"FILTER": "x"}, r"^flat frame: keyword FILTER of 231122g\d+f.fit is 'x': OPTICAM-MX knows u, g"),
        ("flats", {"GAIN": 2.0}, r"but 231122g\d+f.fit of 2.0: those of 1:g must be alike$"),
        ("bias", {"IMGTYPE": "dark"}, r"^keyword IMGTYPE of 231122g\d+b.fit is 'dark': a bias frame is required$"),
        ("bias", {"FILTER": None}, r"^bias frame: keyword FILTER of 231122g\d+b.fit is missing$"),
    ],
)  # fmt: skip
def test_a_calibration_frame_that_cannot_be_used_is_one_sentence(
    night: Path, tmp_path: Path, kind: str, changes: dict[str, object], sentence: str
) -> None:
    shutil.copytree(night / "calibration", tmp_path / "c")
    change_header(min((tmp_path / "c" / kind).iterdir()), **changes)
    with pytest.raises(ConfigurationError, match=sentence):
        make_masters(folders_of(tmp_path / "c"), RECIPE)


def test_dark_frames_of_another_shape_than_the_bias_are_one_sentence(night: Path, tmp_path: Path) -> None:
    other = msgspec.structs.replace(SETTINGS, binning=16)
    generate_calibration(tmp_path / "c", other, CalibrationPlan(2, 2, 2))
    folders = CalibrationFolders(night / "calibration" / "bias", tmp_path / "c" / "darks")
    with pytest.raises(
        ConfigurationError,
        match=r"^dark frame \S+ has 128 x 128 pixels at binning 16, but the bias frames of 1 have 256 x 256 pixels",
    ):
        make_masters(folders, RECIPE)
    with pytest.raises(ConfigurationError, match=r"^folder of calibration frames \S+ does not exist$"):
        make_masters(CalibrationFolders(flat=tmp_path / "none"), RECIPE)


def test_a_bias_needs_neither_exposure_nor_filter_where_the_camera_is_named(night: Path, tmp_path: Path) -> None:
    shutil.copytree(night / "calibration" / "bias", tmp_path / "bias")
    for path in (tmp_path / "bias").iterdir():
        change_header(path, EXPOSURE=0.0, FILTER=None, DETECTOR="1", UT=None)
    keywords = msgspec.structs.replace(OPTICAM_MX().keywords, camera="DETECTOR")
    recipe = Recipe(instrument=msgspec.structs.replace(OPTICAM_MX(), keywords=keywords))
    made = make_masters(CalibrationFolders(bias=tmp_path / "bias"), recipe)
    assert list(made.masters) == [("bias", "1")]
    assert made.masters["bias", "1"].exposure_s == 0.0


def test_masters_say_what_they_are_and_are_read_as_they_were_written(night: Path, tmp_path: Path) -> None:
    given = tmp_path / "map.fits"
    bad = np.zeros((256, 256), dtype=np.uint8)
    bad[10, 20] = 1
    fits.writeto(given, bad)
    calibration_folders = folders_of(night / "calibration")
    made = make_masters(
        CalibrationFolders(calibration_folders.bias, calibration_folders.dark, calibration_folders.flat, (given,)),
        RECIPE,
    )
    versions = save_masters(made, tmp_path / "masters")
    assert set(versions) == {"bias 1", "dark 1", "flat 1:g", "bad pixels 1", "bad pixels 1:g", "bad pixels all"}
    assert save_masters(made, tmp_path / "again") == versions
    calibration = load_calibration(tmp_path / "masters", "1:g")
    assert calibration is not None
    for kind, master in (("bias", calibration.bias), ("dark", calibration.dark), ("flat", calibration.flat)):
        expected = made.masters[kind, "1:g" if kind == "flat" else "1"]  # type: ignore[index]
        assert master is not None
        np.testing.assert_array_equal(master.values, expected.values)
        assert (master.n_frames, master.binning) == (expected.n_frames, expected.binning)
        assert master.slope == pytest.approx(expected.slope, rel=1e-12)
    assert calibration.bad_pixels is not None
    assert calibration.bad_pixels[10, 20]
    header = fits.getheader(tmp_path / "masters" / "1-g_flat.fits")
    assert (header["IMGTYPE"], header["NCOMBINE"], header["OPLNAME"]) == ("master flat", 20, "1:g")
    assert load_calibration(tmp_path / "masters", "2:r") is not None  # the map holds for every camera
    save_masters(make_masters(CalibrationFolders(), RECIPE), tmp_path / "masters")
    assert load_calibration(tmp_path / "masters", "1:g") is None
