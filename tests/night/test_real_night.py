"""Whole nights with real processes: workers and the night itself are killed, and frames are counted."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from stream.config import OPTIMAL_LABEL, Recipe
from stream.errors import ConfigurationError
from stream.instruments import OPTICAM_MX
from stream.messages import FrameMeasured, FrameRejected
from stream.night.ledger import LedgerReader
from stream.night.run import NightOptions, run_night
from tests.night.conftest import N_IMAGES
from tests.night.processes import (
    counts_of,
    is_alive,
    run,
    running,
    stop,
    wait_for_outcomes,
    worker_pids,
)
from tests.night.waiting import wait_until

KEYS = ("1:g", "2:r", "3:i")
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


def put(frames: list[Path], folder: Path) -> None:
    """Let frames appear in a folder as cameras do: under another name first."""
    folder.mkdir(exist_ok=True)
    for path in frames:
        shutil.copyfile(path, folder / f"{path.name}.tmp")
        (folder / f"{path.name}.tmp").rename(folder / path.name)


def fluxes_of(out: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    reader = LedgerReader(out)
    found = {key: reader.source_fluxes(key, OPTIMAL_LABEL) for key in KEYS}
    reader.close()
    return {key: (fluxes.flux, fluxes.flux_err) for key, fluxes in found.items()}


@pytest.fixture(scope="module")
def undisturbed(simulated_frames: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of the night reduced in one go."""
    root = tmp_path_factory.mktemp("undisturbed")
    put(simulated_frames, root / "frames")
    options = NightOptions(root / "frames", root / "out", 2, finite=True)
    counts = run_night(options, Recipe(instrument=OPTICAM_MX()), stop=threading.Event())
    assert counts.by_key == dict.fromkeys(KEYS, N_IMAGES)
    assert counts.n_pending == counts.n_rejected == 0
    return root / "out"


def assert_same_measurements(out: Path, undisturbed: Path) -> None:
    """The same rows, and values within a thousandth of their error."""
    expected = fluxes_of(undisturbed)
    for key, (flux, _) in fluxes_of(out).items():
        before, error = expected[key]
        assert flux.shape == before.shape
        np.testing.assert_array_less(np.abs(flux - before), 1e-3 * error)


def test_every_frame_is_measured_once_and_in_sequence(undisturbed: Path) -> None:
    reader = LedgerReader(undisturbed)
    outcomes = reader.outcomes_since(0)
    status = reader.status()
    assert [outcome.sequence for outcome in outcomes] == list(range(1, 3 * N_IMAGES + 1))
    assert len({outcome.frame_id for outcome in outcomes}) == 3 * N_IMAGES
    assert sorted(reader.catalogs()) == list(KEYS)
    assert status is not None
    assert (status.state, status.n_measured, status.n_queued, status.n_workers) == ("finished", 3 * N_IMAGES, 0, 0)
    reader.close()
    assert not (undisturbed / "night.run.json").exists()
    assert sorted(path.name for path in (undisturbed / "cat").glob("*.ecsv")) == [
        f"{key.replace(':', '-')}_catalog.ecsv" for key in KEYS
    ]


def test_no_frame_is_lost_when_workers_are_killed(
    simulated_frames: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    put(simulated_frames[:30], folder)
    with running("watch", folder, "--out", out, "--no-page", "--workers", "2") as night:
        wait_for_outcomes(out, 30)
        put(simulated_frames[30:], folder)
        wait_for_outcomes(out, 31)
        first, second = worker_pids(out)
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGKILL)
        counts = wait_for_outcomes(out, 3 * N_IMAGES)
        assert len(worker_pids(out)) == 4
        status, text, errors = stop(night)
    assert (status, errors) == (0, "")
    assert f"{3 * N_IMAGES} frames: {3 * N_IMAGES} measured" in text
    assert counts.by_key == dict.fromkeys(KEYS, N_IMAGES)
    assert_same_measurements(out, undisturbed)
    assert not any(is_alive(pid) for pid in worker_pids(out))


def test_a_worker_that_hangs_is_replaced(simulated_frames: list[Path], undisturbed: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    put(simulated_frames[:30], folder)
    with running("watch", folder, "--out", out, "--no-page", "--workers", "1") as night:
        wait_for_outcomes(out, 30)
        (hung,) = worker_pids(out)
        os.kill(hung, signal.SIGSTOP)
        put(simulated_frames[30:], folder)
        wait_for_outcomes(out, 3 * N_IMAGES)
        assert stop(night, signal.SIGTERM)[0] == 0
    assert not is_alive(hung)
    assert_same_measurements(out, undisturbed)


def test_the_same_command_goes_on_after_the_night_was_killed(
    simulated_frames: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    words = ("watch", folder, "--out", out, "--no-page", "--workers", "2")
    put(simulated_frames[:40], folder)
    with running(*words) as night:
        wait_for_outcomes(out, 20)
        refused = run(*words)
        assert refused.returncode == 1
        assert refused.stderr == f"error: {out} is in use by a running night, process {night.pid}\n"
        night.kill()
        night.wait(5.0)
    put(simulated_frames[40:], folder)
    wait_until(lambda: not any(is_alive(pid) for pid in worker_pids(out)), 10.0, "the end of the orphaned workers")
    with running(*words) as night:
        counts = wait_for_outcomes(out, 3 * N_IMAGES)
        assert stop(night)[0] == 0
    assert counts.by_key == dict.fromkeys(KEYS, N_IMAGES)
    assert_same_measurements(out, undisturbed)


def test_frames_that_came_while_nothing_ran_are_reduced_by_the_same_command(
    simulated_frames: list[Path], tmp_path: Path
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    put(simulated_frames[:18], folder)
    recipe = Recipe(instrument=OPTICAM_MX())
    options = NightOptions(folder, out, 1, finite=True)
    assert run_night(options, recipe, stop=threading.Event()).n_measured == 18
    put(simulated_frames[18:24], folder)
    assert run_night(options, recipe, stop=threading.Event()).n_measured == 24
    reader = LedgerReader(out)
    versions = {outcome.catalog_version for outcome in reader.outcomes_since(0) if isinstance(outcome, FrameMeasured)}
    assert len(versions) == len(reader.catalogs()) == 3
    reader.close()


def test_a_catalog_of_another_night_is_taken(simulated_frames: list[Path], undisturbed: Path, tmp_path: Path) -> None:
    # Two frames would not make a catalog before the end of the search.
    put(simulated_frames[-3:], tmp_path / "frames")
    paths = tuple(sorted((undisturbed / "cat").glob("*.ecsv")))
    options = NightOptions(tmp_path / "frames", tmp_path / "out", 1, finite=True, catalogs=paths)
    assert run_night(options, Recipe(instrument=OPTICAM_MX()), stop=threading.Event()).n_measured == 3
    taken, original = LedgerReader(tmp_path / "out"), LedgerReader(undisturbed)
    assert {key: one.version for key, one in taken.catalogs().items()} == {
        key: one.version for key, one in original.catalogs().items()
    }
    taken.close()
    original.close()


def test_outputs_among_the_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is the folder of the frames: another one is required"):
        run_night(NightOptions(tmp_path, tmp_path, 1), Recipe(instrument=OPTICAM_MX()), stop=threading.Event())


def test_status_tells_what_was_rejected_and_why(simulated_frames: list[Path], tmp_path: Path) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    put(simulated_frames[:6], folder)
    (folder / "text.fit").write_text("no FITS")
    result = run("reduce", folder, "--out", out, "--workers", "1")
    assert result.returncode == 0, result.stderr
    assert "7 frames: 6 measured (2 1:g, 2 2:r, 2 3:i)\n1 rejected: 1 NOT_FITS" in result.stdout
    assert (out / "lcs" / OPTIMAL_LABEL).is_dir()
    shown = run("status", out).stdout
    assert shown.startswith(f"{out}: finished\nframes: 7, measured: 6, rejected: 1\n")
    assert "rejected NOT_FITS: 1\n  text.fit is not a FITS file" in shown
    assert '"n_rejected": 1' in run("status", out, "--json").stdout
    counts = counts_of(out)
    assert counts is not None
    assert counts.by_reason == {"NOT_FITS": 1}
    reader = LedgerReader(out)
    (rejected,) = reader.rejected()
    reader.close()
    assert isinstance(rejected, FrameRejected)
