"""The example of docs/own_parts.md on a simulated night, in a notebook and on the command line, with real workers."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest
import tomli_w

import opticam_live as opticam
from simulator.night import simulate_night
from simulator.settings import NightSettings
from stream.errors import ConfigurationError, Reason
from stream.flags import Flag
from stream.instruments import OPTICAM_MX
from stream.measure.frames import read_frame
from stream.messages import FrameMeasured, FrameRejected
from stream.night.ledger import LedgerReader
from tests.night.processes import run, running, stop, wait_for_outcomes
from tests.nights import REAL_DENSITY

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "own_parts.md"
N_IMAGES = 9
SETTINGS = NightSettings(n_images=N_IMAGES, binning=8, n_sources=15, filters=("g",), scales=REAL_DENSITY, seed=7)
MOODY = """
from dataclasses import replace

from my_parts import CoreSum, MedianAnnulus, MyCamera

RAISES_MJD, WRONG_MJD, NO_EXPOSURE = {raises_mjd!r}, {wrong_mjd!r}, {no_exposure!r}


class Moody(CoreSum):
    def measure(self, stamps):
        if abs(stamps.facts.time_mjd_utc - RAISES_MJD) < 1e-9:
            raise RuntimeError("not this one")
        return super().measure(stamps)


class MoodyAnnulus(MedianAnnulus):
    def estimate(self, stamps):
        level, sigma, n_pixels = super().estimate(stamps)
        return level, (-sigma if abs(stamps.facts.time_mjd_utc - WRONG_MJD) < 1e-9 else sigma), n_pixels


class MoodyCamera(MyCamera):
    def describe(self, header, frame_name):
        facts = super().describe(header, frame_name)
        return replace(facts, exposure_s=0.0) if frame_name == NO_EXPOSURE else facts
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own_night") / "frames"
    simulate_night(folder, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def my_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The example as a module, in a folder that only this process has on its search path."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "my_parts.py").write_text(blocks("python")[0], encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("my_parts")
    sys.path.remove(str(folder))
    del sys.modules["my_parts"]


def outcomes(out: Path, label: str | None = None) -> list[FrameMeasured | FrameRejected]:
    reader = LedgerReader(out, label=label) if label else LedgerReader(out)
    try:
        return list(reader.outcomes_since(0))
    finally:
        reader.close()


def fluxes(message: FrameMeasured | FrameRejected, name: str) -> np.ndarray:
    assert isinstance(message, FrameMeasured)
    return np.asarray(message.source_table()[message.columns().index(name)])


def test_the_example_in_a_notebook(
    frames: Path, my_parts: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"opticam": _OneWorker, "my_parts": my_parts, "data": frames, "out": tmp_path / "out"}
    exec(compile(blocks("python")[1], str(DOCUMENT), "exec"), names)
    capsys.readouterr()
    own = outcomes(tmp_path / "out", "forced_coresum_annulus")
    assert len(own) == N_IMAGES
    mixed = outcomes(tmp_path / "out", "aperture_medianannulus")
    assert (tmp_path / "out" / "lcs" / "forced_coresum_annulus" / "1-g_source_1.csv").is_file()
    assert (tmp_path / "out" / "lcs" / "aperture_medianannulus" / "1-g_source_1.csv").is_file()
    first = {message.path: message for message in own}
    for message in mixed:
        core = fluxes(first[message.path], "forced_coresum_annulus_flux")
        error = fluxes(first[message.path], "forced_coresum_annulus_flux_err")
        aperture = fluxes(message, "aperture_medianannulus_flux")
        both = np.isfinite(core) & np.isfinite(aperture)
        assert both.sum() >= 5
        np.testing.assert_allclose(core[both], aperture[both], atol=6.0 * error[both].max())


class _OneWorker:
    """The names of the front door, with one worker and without figures."""

    OwnPhotometer = opticam.OwnPhotometer
    AperturePhotometer = opticam.AperturePhotometer

    @staticmethod
    def Reducer(data: Path, out: Path, **parts: object) -> opticam.Reducer:  # noqa: N802
        return opticam.Reducer(data, out, n_workers=1, show_plots=False, **parts)  # type: ignore[arg-type]


def test_the_example_in_a_live_night_and_frames_that_fail(
    frames: Path, my_parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All four parts are the user's own. Frames that come later make three of them fail, and the night goes on."""
    folder, parts, out = tmp_path / "frames", tmp_path / "parts", tmp_path / "out"
    parts.mkdir()
    (parts / "my_parts.py").write_text(blocks("python")[0], encoding="utf-8")
    *early, raises, wrong, no_exposure, last = sorted(frames.glob("*.fit"))
    times = {"raises_mjd": time_of(my_parts, raises), "wrong_mjd": time_of(my_parts, wrong)}
    (parts / "moody.py").write_text(MOODY.format(**times, no_exposure=no_exposure.name), encoding="utf-8")
    recipe = recipe_of_the_document().replace("my_parts:CoreSum", "moody:Moody")
    recipe = recipe.replace("my_parts:MedianAnnulus", "moody:MoodyAnnulus")
    (tmp_path / "recipe.toml").write_text(recipe, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(parts))
    folder.mkdir()
    for path in early:
        shutil.copy(path, folder)
    words = ("--instrument", "moody:MoodyCamera", "--recipe", tmp_path / "recipe.toml", "--workers", "1", "--no-page")
    with running("watch", folder, "--out", out, *words) as night:
        wait_for_outcomes(out, len(early))
        for n_done, path in enumerate((raises, wrong, no_exposure, last), start=len(early) + 1):
            shutil.copy(path, folder)
            wait_for_outcomes(out, n_done)
        status, shown, errors = stop(night)
    assert status == 0, errors
    assert f"{N_IMAGES} frames: {N_IMAGES - 3} measured (" in shown
    assert f"3 rejected: 3 {Reason.OWN_PART_FAILED}" in shown
    rejected = {one.path: one.sentence for one in outcomes(out) if isinstance(one, FrameRejected)}
    assert rejected == {
        raises.name: f"{raises.name}: own photometer moody:Moody failed with RuntimeError: not this one",
        wrong.name: "own background moody:MoodyAnnulus returned sigma of "
        f"{wrong.name} with negative numbers where at least 0 is required",
        no_exposure.name: "own instrument moody:MoodyCamera returned exposure_s 0.0 where a number greater than 0 is "
        f"required, for {no_exposure.name}",
    }
    assert 'raise RuntimeError("not this one")' in (out / "log" / "worker-1.log").read_text(encoding="utf-8")
    good = [one for one in outcomes(out) if isinstance(one, FrameMeasured)]
    assert good[-1].path == last.name
    for message in good:
        assert np.isfinite(fluxes(message, "forced_moody_moodyannulus_flux")).sum() >= 5
        assert message.flags & Flag.NO_POINTING  # as MyCamera says


def recipe_of_the_document() -> str:
    """The recipe of the document, with an instrument, which `--instrument` replaces."""
    content = {**tomllib.loads(blocks("toml")[0]), "instrument": msgspec.to_builtins(OPTICAM_MX())}
    return tomli_w.dumps(content)


def time_of(my_parts: ModuleType, path: Path) -> float:
    header = read_frame(path, path.name, OPTICAM_MX()).header
    return float(my_parts.MyCamera().describe(header, path.name).time_mjd_utc)


def test_a_night_does_not_begin_with_a_part_that_is_not_there(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no module nowhere in PYTHONPATH or in "):
        opticam.Reducer(frames, tmp_path / "out", finder="nowhere:Finder", show_plots=False)
    ended = run("scan", frames, "--instrument", "nowhere:Camera")
    assert ended.returncode == 1
    assert "error: own instrument nowhere:Camera: there is no module nowhere in PYTHONPATH or in " in ended.stderr
    recipe = recipe_of_the_document().replace("my_parts:CoreSum", "nowhere:Sum").replace("my_parts:", "nowhere:")
    (tmp_path / "recipe.toml").write_text(recipe, encoding="utf-8")
    ended = run("reduce", frames, "--out", tmp_path / "out", "--recipe", tmp_path / "recipe.toml")
    assert ended.returncode == 1
    assert "error: own photometer nowhere:Sum: there is no module nowhere in PYTHONPATH or in " in ended.stderr
    assert not (tmp_path / "out" / "night.db").exists()
