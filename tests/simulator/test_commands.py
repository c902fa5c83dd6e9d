"""The command line of the simulator, as a person types it; the demo with a stand-in for the watching process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from astropy.io import fits
from typer.testing import CliRunner

from simulator.calibration import UNEVEN_CAMERA
from simulator.commands import register
from simulator.demo import FRAMES_FOLDER, N_BACKLOG, DemoOptions, run_demo
from simulator.truth import load_summary, load_truth
from stream.errors import ConfigurationError, NightError

pytestmark = pytest.mark.clock

ROOT = Path(__file__).resolve().parents[2]

WATCHER = """
import os, pathlib, signal, sys, threading
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(exist_ok=True)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
(out / "arguments").write_text(" ".join(sys.argv[1:]))
(out / "pid").write_text(str(os.getpid()))
print("page: http://localhost:4711/", flush=True)
stop.wait()
print("watching ended in order", flush=True)
"""
STUBBORN_WATCHER = WATCHER.replace("lambda *_: stop.set()", "signal.SIG_IGN")
FAILING_WATCHER = "import sys; sys.exit('port 5006 is in use')"


def app() -> typer.Typer:
    application = typer.Typer()
    register(application)
    return application


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_simulate_writes_calibration_frames_of_an_uneven_camera_beside_the_frames(tmp_path: Path) -> None:
    arguments = ["simulate", str(tmp_path), "--frames", "2", "--binning", "16", "--calibration"]
    assert CliRunner().invoke(app(), arguments).exit_code == 0
    assert load_summary(tmp_path).settings.structure == UNEVEN_CAMERA
    assert len(list(tmp_path.glob("*.fit"))) == 6
    for folder, kind, n_frames in (("bias", "bias", 60), ("darks", "dark", 30), ("flats", "flat", 60)):
        found = sorted((tmp_path / folder).iterdir())
        assert len(found) == n_frames
        header = fits.getheader(found[0])
        assert (header["IMGTYPE"], header["NAXIS1"]) == (kind, 128)
    flat = fits.getdata(min((tmp_path / "flats").iterdir())).astype(float)
    assert flat[:16, :16].mean() < 0.85 * flat[56:72, 56:72].mean()
    again = CliRunner().invoke(app(), [*arguments, "--seed", "5", "--overwrite"])
    assert again.exit_code == 0
    other = tmp_path / "flats" / "mine.fits"
    other.write_bytes(b"")
    refused = CliRunner().invoke(app(), [*arguments, "--seed", "5"])
    assert isinstance(refused.exception, ConfigurationError)
    assert str(refused.exception) == (
        f"{tmp_path / 'flats'} holds mine.fits, a calibration frame of another night: an empty folder is required"
    )


def test_simulate_writes_the_night_that_was_asked_for(tmp_path: Path) -> None:
    arguments = [
        *("simulate", str(tmp_path), "--frames", "3", "--cadence", "0.5", "--binning", "16", "--seed", "4"),
        *("--scenario", "drift", "--scenario", "flare", "--sources", "9", "--psf", "moffat", "--processes", "2"),
    ]
    result = CliRunner().invoke(app(), arguments)
    assert result.exit_code == 0, result.output
    assert "variable source is at (33, 29)" in result.output
    settings = load_truth(tmp_path).summary.settings
    assert (settings.n_images, settings.cadence_s, settings.binning, settings.seed) == (3, 0.5, 16, 4)
    assert settings.scenarios == ("drift", "flare")
    assert (settings.n_sources, settings.profile) == (9, "moffat")
    assert len(list(tmp_path.glob("*.fit"))) == 9


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "OUT", "--scenario", "rain"],
        ["simulate", "OUT", "--slow-writes"],
        ["simulate", "OUT", "--psf", "square"],
        ["simulate", "OUT", "--frames", "0"],
        ["replay", "NIGHT", "OUT", "--fast", "--speed", "2"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    places = {"OUT": str(tmp_path / "out"), "NIGHT": str(tmp_path)}
    result = CliRunner().invoke(app(), [places.get(argument, argument) for argument in arguments])
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_settings_out_of_bounds_are_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(app(), ["simulate", str(tmp_path), "--binning", "5"])
    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception) == "binning (5) must be 1, 2, 4, 8 or 16"


def test_simulate_live_writes_now_and_ends(tmp_path: Path) -> None:
    started = time.time()
    arguments = ["simulate", str(tmp_path), "--live", "--slow-writes", "--frames", "3", "--binning", "16"]
    result = CliRunner().invoke(app(), [*arguments, "--cadence", "0.2"])
    assert result.exit_code == 0, result.output
    assert f"3 frames of each of 3 keys written to {tmp_path}" in result.output
    times = load_truth(tmp_path).column("time_mjd_utc", "1:g")[:, 0]
    assert (times[0] - 40587.0) * 86400.0 == pytest.approx(started, abs=5.0)


def test_replay_copies_a_night(tmp_path: Path) -> None:
    night, out = tmp_path / "night", tmp_path / "out"
    CliRunner().invoke(app(), ["simulate", str(night), "--frames", "2", "--binning", "16"])
    (night / "broken.fit").write_bytes(b"")
    result = CliRunner().invoke(app(), ["replay", str(night), str(out), "--fast"])
    assert result.exit_code == 0, result.output
    assert f"7 of 7 frames replayed to {out}" in result.output
    assert "broken.fit" in result.stderr
    assert len(list(out.glob("*.fit"))) == 7


def demo_script(out: Path, watcher: str, **options: object) -> list[str]:
    """A process that runs the demo with a stand-in for the watching process."""
    chosen = {"out": out, "port": 0, "cadence_s": 0.2, "watch_command": (sys.executable, "-c", watcher), **options}
    program = (
        "from pathlib import Path, PosixPath\n"
        "from simulator.demo import DemoOptions, run_demo\n"
        f"run_demo(DemoOptions(**{chosen!r}))\n"
    )
    return [sys.executable, "-c", program]


@pytest.mark.parametrize(
    ("end", "watcher"),
    [(signal.SIGINT, WATCHER), (signal.SIGTERM, STUBBORN_WATCHER), (signal.SIGHUP, WATCHER)],
    ids=["interrupt, orderly", "terminate, stubborn", "terminal closed, orderly"],
)
def test_demo_runs_until_it_is_ended_and_ends_its_children(tmp_path: Path, end: signal.Signals, watcher: str) -> None:
    out = tmp_path / "night"
    frames = out / FRAMES_FOLDER
    demo = subprocess.Popen(demo_script(out, watcher), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        wait_until(lambda: len(list(frames.glob("*.fit"))) > 3 * N_BACKLOG + 5 and (out / "pid").exists())
        demo.send_signal(end)
        started = time.monotonic()
        said, _ = demo.communicate(timeout=10.0)
        assert time.monotonic() - started < 5.0
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 0
    assert not alive(int((out / "pid").read_text()))
    assert "The page is at http://localhost:4711/" in said
    assert f"opticam-live serve {out}" in said
    assert ("watching ended in order" in said) == (watcher is WATCHER)
    assert (out / "arguments").read_text() == (
        f"{frames} --out {out} --target 131,115 --port 0 --parent {demo.pid} --host localhost"
    )
    truth = load_truth(frames)
    assert len(truth.summary.frames["file"]) == len(list(frames.glob("*.fit")))


def test_demo_ends_by_itself_and_its_backlog_lies_in_the_past(tmp_path: Path) -> None:
    out = tmp_path / "night"
    started = time.time()
    run_demo(DemoOptions(out=out, duration_s=0.5, cadence_s=0.2, port=0, watch_command=(sys.executable, "-c", WATCHER)))
    assert not alive(int((out / "pid").read_text()))
    unix_s = (load_truth(out / FRAMES_FOLDER).column("time_mjd_utc", "2:r")[:, 0] - 40587.0) * 86400.0
    assert (unix_s[:N_BACKLOG] < started + 0.1).all()
    assert unix_s[-1] > started
    assert (out / "arguments").read_text().endswith(f"--port 0 --parent {os.getpid()} --host localhost")


def test_demo_says_when_the_watching_process_failed(tmp_path: Path) -> None:
    with pytest.raises(NightError, match="ended by itself with exit status 1"):
        run_demo(DemoOptions(out=tmp_path / "night", port=0, watch_command=(sys.executable, "-c", FAILING_WATCHER)))


def test_demo_on_a_port_in_use_fails_before_it_simulates(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=f"^port {port} on localhost cannot be used: Address already in use"
        ):
            run_demo(DemoOptions(out=tmp_path / "night", port=port))
    assert not (tmp_path / "night").exists()


def test_demo_never_writes_into_a_folder_that_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConfigurationError, match=f"output folder {tmp_path} is not empty: another --out is required"):
        run_demo(DemoOptions(out=tmp_path, port=0))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo-night").mkdir()
    run_demo(DemoOptions(duration_s=0.0, port=0, watch_command=(sys.executable, "-c", WATCHER)))
    assert (tmp_path / "demo-night-2" / FRAMES_FOLDER / "truth.json").exists()


def test_importing_the_commands_imports_nothing_heavy() -> None:
    program = "import sys, simulator.commands; print([m for m in ('numpy', 'astropy', 'scipy') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert said.stdout.strip() == "[]"
