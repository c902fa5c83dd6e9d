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
from stream.batch.reducer import Reducer
from stream.config import APERTURE_LABEL, OPTIMAL_LABEL, BootstrapSettings, CalibrationSettings, Recipe
from stream.errors import ConfigurationError, FrameRejectedError, RecipeMismatchError
from stream.export import export_night
from stream.instruments import OPTICAM_MX
from stream.measure.frames import read_frame
from stream.measure.master_files import (
    CalibrationFolders,
    calibration_folders,
    load_calibration,
    make_masters,
    save_masters,
)
from stream.messages import FrameMeasured, UseCalibration
from stream.night.broker_events import CalibrationChanged, Send, WorkerJoined
from stream.night.broker_state import BrokerState
from stream.night.calibration_watch import CalibrationWatch
from stream.night.ledger import LedgerReader
from stream.night.run import NightOptions, run_night
from tests.night.processes import counts_of, run, wait_for_outcomes
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


def measured_of(out: Path) -> list[FrameMeasured]:
    reader = LedgerReader(out)
    outcomes = reader.outcomes_since(0)
    reader.close()
    return [outcome for outcome in outcomes if isinstance(outcome, FrameMeasured)]


def ratios_to_truth(out: Path, label: str, settings: NightSettings = SETTINGS) -> np.ndarray:
    """Measured by true electrons of every quiet star, shape (n_frames, n_stars)."""
    reader = LedgerReader(out)
    catalog = reader.catalogs()["1:g"]
    fluxes = reader.source_fluxes("1:g", label)
    reader.close()
    states = [FrameFactory(settings).states(index)[0] for index in range(settings.n_images)]
    first = next(state for state in states if state.file_name == catalog.frames[0])
    factor = catalog.binning / settings.binning
    at = (catalog.positions() + 0.5) * factor - 0.5
    numbers = np.hypot(at[:, None, 0] - first.x, at[:, None, 1] - first.y).argmin(axis=1)
    quiet = numbers != VARIABLE
    truth = np.array([state.electrons[numbers] for state in states])
    return np.asarray(fluxes.flux / truth)[:, quiet]


@pytest.fixture(scope="module")
def calibrated(night: Path) -> Path:
    """Output folder of the night, with masters."""
    out = night / "calibrated"
    options = NightOptions(night / "frames", out, 1, finite=True, calibration=folders_of(night / "calibration"))
    assert run_night(options, RECIPE, stop=threading.Event()).n_measured == SETTINGS.n_images
    return out


def test_a_night_of_an_uneven_camera_has_the_true_fluxes(night: Path, calibrated: Path, tmp_path: Path) -> None:
    """The one without masters has calibration frames among those of the sky: their type rejects them."""
    plain, frames = tmp_path / "plain", tmp_path / "frames"
    shutil.copytree(night / "frames", frames)
    for name in ("bias", "darks", "flats"):
        shutil.copy(min((night / "calibration" / name).iterdir()), frames)
    counts = run_night(NightOptions(frames, plain, 1, finite=True), RECIPE, stop=threading.Event())
    assert counts.n_measured == SETTINGS.n_images
    assert counts.by_reason == {"NOT_SCIENCE": 3}
    for label in (APERTURE_LABEL, OPTIMAL_LABEL):
        without, with_masters = (np.nanmedian(ratios_to_truth(out, label), axis=0) for out in (plain, calibrated))
        assert np.abs(without - 1.0).max() > 0.08, label
        assert np.abs(with_masters - 1.0).max() < 0.01, label
    names = sorted(path.name for path in (calibrated / "calibration").glob("*.fits"))
    assert names == ["1-g_bad.fits", "1-g_flat.fits", "1_bad.fits", "1_bias.fits", "1_dark.fits"]
    calibration = load_calibration(calibrated / "calibration", "1:g")
    assert calibration is not None
    assert {message.calibration_version for message in measured_of(calibrated)} == {calibration.version}
    assert {message.calibration_version for message in measured_of(plain)} == {""}


def test_a_rebinned_night_has_the_true_fluxes(night: Path, tmp_path: Path) -> None:
    """Stars twice as wide, so that they are sampled as before; masters are rebinned with the frames."""
    settings = msgspec.structs.replace(SETTINGS, n_images=6, fwhm_px=8.0)
    generate_observations(tmp_path / "frames", 6, circular_aperture=False, binning_scale=8, settings=settings)
    recipe = msgspec.structs.replace(RECIPE, calibration=CalibrationSettings(rebin=2))
    out = tmp_path / "out"
    options = NightOptions(tmp_path / "frames", out, 1, finite=True, calibration=folders_of(night / "calibration"))
    assert run_night(options, recipe, stop=threading.Event()).n_measured == 6
    for label in (APERTURE_LABEL, OPTIMAL_LABEL):
        ratios = np.nanmedian(ratios_to_truth(out, label, settings), axis=0)
        assert len(ratios) >= 8
        assert np.abs(ratios - 1.0).max() < 0.015, label
    reader = LedgerReader(out)
    catalog = reader.catalogs()["1:g"]
    reader.close()
    assert (catalog.binning, catalog.frame_shape) == (16, (128, 128))
    assert catalog.fwhm_px == pytest.approx(2.0, abs=0.2)
    master = load_calibration(out / "calibration", "1:g")
    assert master is not None
    assert master.flat is not None
    assert (master.flat.binning, master.flat.shape) == (16, (128, 128))


def test_a_night_does_not_go_on_with_other_masters_but_may_be_measured_again(
    night: Path, calibrated: Path, tmp_path: Path
) -> None:
    folder, out, calibration = night / "frames", tmp_path / "out", tmp_path / "calibration"
    shutil.copytree(calibrated, out)
    shutil.copytree(night / "calibration", calibration)
    # The masters of the night are there, and stay when it cannot go on with others.
    without = NightOptions(folder, out, 1, finite=True)
    assert run_night(without, RECIPE, stop=threading.Event()).n_pending == 0
    before = measured_of(out)[0].calibration_version
    next((calibration / "flats").iterdir()).unlink()
    options = NightOptions(folder, out, 1, finite=True, calibration=folders_of(calibration))
    with pytest.raises(
        RecipeMismatchError,
        match=f"holds frames of 1:g measured with the calibration frames {before}, but there are the",
    ):
        run_night(options, RECIPE, stop=threading.Event())
    kept = load_calibration(out / "calibration", "1:g")
    assert kept is not None
    assert kept.version == before
    again = replace(options, remeasure=True)
    assert run_night(again, RECIPE, stop=threading.Event()).n_measured == SETTINGS.n_images
    now = load_calibration(out / "calibration", "1:g")
    assert now is not None
    assert now.version != before
    assert {message.calibration_version for message in measured_of(out)} == {now.version}


def test_flats_that_come_while_the_night_runs_are_used_from_then_on_and_are_no_frames_of_the_sky(
    night: Path, tmp_path: Path
) -> None:
    """The folders of the calibration frames lie within that of the frames; their headers say nothing of their kind."""
    frames, out, calibration = tmp_path / "frames", tmp_path / "out", tmp_path / "frames" / "calibration"
    files = sorted((night / "frames").glob("*.fit"))
    for name in ("bias", "darks", "flats"):
        (calibration / name).mkdir(parents=True)
    for path in files[:8]:
        shutil.copy(path, frames)
    map_of = calibration / "map.fits"
    fits.writeto(map_of, np.zeros((256, 256), dtype=np.uint8))
    folders = replace(folders_of(calibration), bad_pixels_of=(("1:g", map_of),))
    options = NightOptions(frames, out, 1, calibration=folders, calibration_scan_s=0.2)
    ended, stopped = threading.Event(), threading.Event()

    def run_on() -> None:
        run_night(options, RECIPE, stop=stopped)
        ended.set()

    running = threading.Thread(target=run_on)
    running.start()
    try:
        wait_for_outcomes(out, 8)
        made_before = load_calibration(out / "calibration", "1:g")
        for name in ("bias", "darks", "flats"):
            for path in sorted((night / "calibration" / name).iterdir())[:5]:
                to = calibration / name / f"new_{path.name}"
                shutil.copy(path, to.with_suffix(".part"))
                change_header(to.with_suffix(".part"), IMGTYPE="object")
                to.with_suffix(".part").rename(to)
        log = out / "log" / "night.log"
        # Masters of the first few files may have been made in between.
        made = out / "calibration" / "1-g_flat.fits"
        wait_until(lambda: made.is_file() and fits.getheader(made)["NCOMBINE"] == 5, 60.0, "masters of all flats")
        told = f"flat 1:g {fits.getheader(made)['OPLHASH']}"
        wait_until(lambda: told in log.read_text(), 30.0, "workers that are told")
        calibration_now = load_calibration(out / "calibration", "1:g")
        for path in files[8:]:
            shutil.copy(path, frames)
        wait_for_outcomes(out, 12)
    finally:
        stopped.set()
        running.join(20.0)
    assert ended.is_set()
    assert made_before is not None
    assert calibration_now is not None
    assert calibration_now.flat is not None
    versions = {message.path: message.calibration_version for message in measured_of(out)}
    assert set(versions) == {path.name for path in files}
    assert {versions[path.name] for path in files[:8]} == {made_before.version}
    assert versions[files[-1].name] == calibration_now.version
    counts = counts_of(out)
    assert counts is not None
    assert (counts.n_frames, counts.n_measured) == (12, 12)
    # A later run that is not told of the folders leaves them out all the same.
    shutil.copy(files[0], frames / "again.fit")
    without = NightOptions(frames, out, 1, finite=True)
    assert run_night(without, RECIPE, stop=threading.Event()).n_frames == 13


def test_a_folder_of_calibration_frames_does_not_hold_those_of_the_sky(night: Path, tmp_path: Path) -> None:
    for flat in (night, night / "frames"):
        options = NightOptions(night / "frames", tmp_path / "out", 1, calibration=CalibrationFolders(flat=flat))
        with pytest.raises(ConfigurationError, match=rf"^folder of calibration frames {flat} holds the frames of the"):
            run_night(options, RECIPE, stop=threading.Event())
    refused = run("reduce", night / "frames", "--out", tmp_path / "out", "--darks", night)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "out").exists()


def test_a_reduction_does_not_pass_over_calibration_frames_that_are_not_there(
    night: Path, calibrated: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    folders = CalibrationFolders(night / "calibration" / "bias", flat=tmp_path / "empty")
    options = NightOptions(night / "frames", tmp_path / "out", 1, finite=True, calibration=folders)
    with pytest.raises(ConfigurationError, match=rf"^folder {tmp_path / 'empty'} holds no flat frames: no file ends "):
        run_night(options, RECIPE, stop=threading.Event())
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigurationError, match="holds no flat frames"):
        Reducer(night / "frames", tmp_path / "out", calibration=folders, show_plots=False)
    given = folders_of(night / "calibration")
    assert given.missing_masters(calibrated / "calibration", ["1:g"]) == ()
    assert given.missing_masters(calibrated / "calibration", ["2:r", "1:r", "1:g"]) == (
        f"no bias frames of 2:r in {given.bias}: measured without them",
        f"no dark frames of 2:r in {given.dark}: measured without them",
        f"no flat frames of 1:r, 2:r in {given.flat}: measured without them",
    )


def test_light_curves_say_what_their_frames_were_calibrated_with(calibrated: Path, tmp_path: Path) -> None:
    (version,) = {message.calibration_version for message in measured_of(calibrated)}
    export_night(calibrated, "csv", tmp_path)
    heads = [path.read_text().split("column", maxsplit=1)[0] for path in tmp_path.rglob("*.csv")]
    assert len(heads) > 10
    assert all(f"\n# calibration: 1:g bias, dark, flat, bad pixels ({version})\n" in head for head in heads)


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
        ("flats", {"GAIN": 2.0}, r"^flat frame 231122g\d+f.fit has a gain of 2.0 e-/count, the bias frames of 1 1.0: "),
        ("bias", {"GAIN": 2.0}, r"but 231122g\d+b.fit of 2.0: those of 1 must be alike$"),
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


@pytest.mark.parametrize("kind", ["bias", "darks", "flats"])
def test_frames_read_with_another_gain_are_not_calibrated_with_each_other(
    night: Path, tmp_path: Path, kind: str
) -> None:
    """Counts of a zero level are not those of another gain: with a flat they would be a false shadow."""
    folder = shutil.copytree(night / "calibration" / kind, tmp_path / kind)
    for path in folder.iterdir():
        change_header(path, GAIN=2.0)
    alone = {
        "bias": CalibrationFolders(bias=folder),
        "darks": CalibrationFolders(dark=folder),
        "flats": CalibrationFolders(flat=folder),
    }[kind]
    save_masters(make_masters(alone, RECIPE), tmp_path / "masters")
    calibration = load_calibration(tmp_path / "masters", "1:g")
    assert calibration is not None
    path = min((night / "frames").glob("*.fit"))
    frame = read_frame(path, path.name, OPTICAM_MX())
    with pytest.raises(FrameRejectedError, match=rf"^{path.name} has a gain of 1.0 e-/count, the .* 2.0: the same is"):
        calibration.check(frame)
    if kind == "flats":
        with_bias = replace(alone, bias=night / "calibration" / "bias")
        with pytest.raises(ConfigurationError, match=r"^flat frame .* of 2.0 e-/count, the bias frames of 1 1.0: the"):
            make_masters(with_bias, RECIPE)


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


def write_map(path: Path, *pixels: tuple[int, int], shape: tuple[int, int] = (256, 256)) -> Path:
    bad = np.zeros(shape, dtype=np.uint8)
    for pixel in pixels:
        bad[pixel] = 1
    fits.writeto(path, bad)
    return path


def test_bad_pixel_maps_of_cameras_and_keys_join_those_of_the_masters(night: Path, tmp_path: Path) -> None:
    maps = {name: write_map(tmp_path / f"{name}.fits", (row, 7)) for row, name in enumerate(("all", "one", "g", "two"))}
    words = (f"1={maps['one']}", f"1:g={maps['g']}", f"2={maps['two']}", str(maps["all"]))
    folders = calibration_folders(None, night / "calibration" / "darks", None, words)
    assert folders.bad_pixels == (maps["all"],)
    save_masters(make_masters(folders, RECIPE), tmp_path / "masters")
    expected = {"1:g": [0, 1, 2], "1:u": [0, 1], "2:r": [0, 3], "3:i": [0]}
    for key, rows in expected.items():
        calibration = load_calibration(tmp_path / "masters", key)
        assert calibration is not None
        assert calibration.bad_pixels is not None
        assert np.flatnonzero(calibration.bad_pixels[:4, 7]).tolist() == rows
        # The hot pixels of the darks are there too, for their camera alone.
        assert bool(calibration.bad_pixels.sum() > len(rows)) is key.startswith("1:")


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("4", (256, 256), r"^bad-pixel map \S+ is for '4': OPTICAM-MX has the cameras 1, 2, 3$"),
        ("1:g", (64, 32), r"^bad-pixel map \S+ has 32 x 64 pixels, that of 1 256 x 256: those of a camera must be"),
        ("2", (64, 32), None),
    ],
)
def test_a_bad_pixel_map_is_of_a_camera_that_there_is_and_of_its_shape(
    night: Path, tmp_path: Path, name: str, shape: tuple[int, int], sentence: str | None
) -> None:
    given = write_map(tmp_path / "map.fits", (3, 4), shape=shape)
    folders = CalibrationFolders(dark=night / "calibration" / "darks", bad_pixels_of=((name, given),))
    if sentence is None:
        assert make_masters(folders, RECIPE).bad[name].sum() == 1
        return
    with pytest.raises(ConfigurationError, match=sentence):
        make_masters(folders, RECIPE)


def test_a_bad_pixel_map_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"^bad-pixel map {tmp_path / 'none.fits'} does not exist$"):
        make_masters(CalibrationFolders(bad_pixels=(tmp_path / "none.fits",)), RECIPE)


def test_masters_say_what_they_are_and_are_read_as_they_were_written(night: Path, tmp_path: Path) -> None:
    given = write_map(tmp_path / "map.fits", (10, 20))
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
