"""Whole nights with real processes, frames counted; those whose processes are killed are in tests/faults."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from stream.config import OPTIMAL_LABEL, Recipe
from stream.errors import ConfigurationError, Reason
from stream.instruments import OPTICAM_MX
from stream.night.ledger import LedgerReader
from stream.night.run import NightOptions, run_night
from stream.selection import load_selection
from tests.night.conftest import N_IMAGES
from tests.night.frames import fits_bytes
from tests.night.processes import (
    run,
    running,
    stop,
    wait_for_outcomes,
)
from tests.night.waiting import wait_until

KEYS = ("1:g", "2:r", "3:i")
pytestmark = [
    pytest.mark.clock,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc"),
]


def put(frames: list[Path], folder: Path) -> None:
    """Let frames appear in a folder as cameras do: under another name first."""
    folder.mkdir(exist_ok=True)
    for path in frames:
        shutil.copyfile(path, folder / f"{path.name}.tmp")
        (folder / f"{path.name}.tmp").rename(folder / path.name)


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


def catalogs_of(out: Path) -> tuple[Path, ...]:
    return tuple(sorted((out / "cat").glob("*.ecsv")))


def test_a_second_run_takes_what_is_new_and_says_why_frames_were_rejected(
    simulated_frames: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    put(simulated_frames[:6], folder)
    catalogs = catalogs_of(undisturbed)
    options = NightOptions(folder, out, 1, finite=True, catalogs=catalogs)
    assert run_night(options, Recipe(instrument=OPTICAM_MX()), stop=threading.Event()).n_measured == 6
    put(simulated_frames[6:9], folder)
    (folder / "text.fit").write_text("no FITS")
    result = run("reduce", folder, "--out", out, "--workers", "1", "--no-diagnostics")
    assert result.returncode == 0, result.stderr
    assert "10 frames: 9 measured (3 1:g, 3 2:r, 3 3:i)\n1 rejected: 1 NOT_FITS" in result.stdout
    assert (out / "lcs" / OPTIMAL_LABEL).is_dir()
    shown = run("status", out).stdout
    assert shown.startswith(f"{out}: finished\nframes: 10, measured: 9, rejected: 1\n")
    assert "rejected NOT_FITS: 1\n  text.fit is not a FITS file" in shown
    assert '"n_rejected": 1' in run("status", out, "--json").stdout
    taken, original = LedgerReader(out), LedgerReader(undisturbed)
    assert {key: one.version for key, one in taken.catalogs().items()} == {
        key: one.version for key, one in original.catalogs().items()
    }
    taken.close()
    original.close()


def bad_frames(good: Path, folder: Path) -> dict[str, Reason]:
    """Write one frame of each kind that nobody can measure; return what each must be rejected for."""
    content = good.read_bytes()
    n_pixels = 512 * 512

    def changed(keyword: str, value: str) -> bytes:
        start = content.index(keyword.ljust(8).encode() + b"=")
        card = f"{keyword:<8}= {value}".ljust(80)[:80].encode()
        return content[:start] + card + content[start + 80 :]

    header = content[: len(content) - len(content) % 2880]
    noise = np.random.default_rng(5).normal(500.0, 5.0, (512, 512))
    stars_off = (noise - 32768).astype(">i2").tobytes()
    data_start = header.index(b"END".ljust(80)) // 2880 * 2880 + 2880
    floats = fits_bytes(1, BITPIX=-32, NAXIS1=512, NAXIS2=512, BZERO=0)[:2880]
    kinds = {
        "text.fit": (b"a text", Reason.NOT_FITS),
        "empty.fit": (b"", Reason.EMPTY),
        "header-only.fit": (content[:1000], Reason.TRUNCATED),
        "half.fit": (content[: len(content) // 2], Reason.TRUNCATED),
        "small.fit": (fits_bytes(1), Reason.WRONG_SHAPE),
        "cube.fit": (changed("NAXIS", "3"), Reason.BAD_KEYWORD),
        "filterless.fit": (changed("FILTER", "''"), Reason.BAD_KEYWORD),
        "unknown-filter.fit": (changed("FILTER", "'H'"), Reason.BAD_KEYWORD),
        "negative.fit": (changed("EXPOSURE", "-1.0"), Reason.BAD_KEYWORD),
        "timeless.fit": (changed("UT", "'yesterday'"), Reason.BAD_TIME),
        "nan.fit": (floats + np.full(n_pixels, np.nan, ">f4").tobytes(), Reason.NON_FINITE),
        "dark.fit": (content[:data_start] + stars_off, Reason.NO_STARS),
        "packed.fit.gz": (b"this is no gzip file" * 50, Reason.UNREADABLE),
    }
    for name, (changed_content, _) in kinds.items():
        (folder / name).write_bytes(changed_content)
    return {name: reason for name, (_, reason) in kinds.items()}


def test_bad_frames_are_rejected_with_a_sentence_and_the_night_goes_on(
    simulated_frames: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    put(simulated_frames[:3], folder)
    (good,) = [path for path in simulated_frames[:3] if path.name[6] == "g"]
    reasons = bad_frames(good, folder)
    options = NightOptions(folder, tmp_path / "out", 1, finite=True, catalogs=catalogs_of(undisturbed))
    counts = run_night(options, Recipe(instrument=OPTICAM_MX()), stop=threading.Event())
    reader = LedgerReader(tmp_path / "out")
    rejected = {outcome.path: outcome for outcome in reader.rejected()}
    reader.close()
    assert {name: outcome.reason for name, outcome in rejected.items()} == reasons
    for name, outcome in rejected.items():
        assert name in outcome.sentence
        assert "\n" not in outcome.sentence
    assert (counts.n_measured, counts.n_rejected, counts.n_pending) == (3, len(reasons), 0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_late_file_is_measured_and_a_killed_night_leaves_its_port(
    simulated_frames: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    port = free_port()
    words: list[str | Path] = ["watch", folder, "--out", out, "--workers", "1", "--port", str(port)]
    words += [word for path in catalogs_of(undisturbed) for word in ("--catalog", path)]
    put(simulated_frames[:3], folder)
    with running(*words) as night:
        wait_for_outcomes(out, 3)
        (folder / simulated_frames[3].name).write_text("this will be a frame")
        assert wait_for_outcomes(out, 4).by_reason == {"NOT_FITS": 1}
        put(simulated_frames[3:4], folder)
        wait_until(lambda: wait_for_outcomes(out, 4).n_measured == 4, 20.0, "the measurement of the late file")
        assert night.stdout is not None
        assert night.stdout.readline() == f"page: http://localhost:{port}/\n"
        night.kill()
        night.wait(5.0)
    counts = wait_for_outcomes(out, 4)
    assert (counts.n_frames, counts.n_rejected, counts.n_pending) == (4, 0, 0)
    with running(*words) as night:
        assert night.stdout is not None
        assert night.stdout.readline() == f"page: http://localhost:{port}/\n"
        status, _, errors = stop(night, signal.SIGHUP)
        assert (status, errors) == (0, "")


def test_a_mistyped_target_costs_no_light_curve_and_is_forgotten(
    simulated_frames: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    put(simulated_frames[:9], folder)
    catalogs = [word for path in catalogs_of(undisturbed) for word in ("--catalog", path)]
    result = run("reduce", folder, "--out", out, "--workers", "1", "--target", "1:g#99", *catalogs)
    assert result.returncode == 1
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert error == "error: source 1:g#99: number 99 is not in the catalog of 1:g, which has sources 1 to 6"
    assert len(list((out / "lcs" / OPTIMAL_LABEL).glob("*.csv"))) == 18
    assert load_selection(out).requested_target == ""
    again = run("export", out)
    assert again.returncode == 0, again.stderr
    assert list((out / "relative_light_curves").glob("*.csv"))


def test_outputs_among_the_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is the folder of the frames: another one is required"):
        run_night(NightOptions(tmp_path, tmp_path, 1), Recipe(instrument=OPTICAM_MX()), stop=threading.Event())
