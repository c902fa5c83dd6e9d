"""The demo: a simulated night, the watching process and its page, in one command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import typer

from simulator.live import LiveNight, LiveOptions, stop_on_signals
from simulator.night import FrameFactory, announce, simulate_night
from simulator.settings import NightSettings
from simulator.sky import VARIABLE, Sky
from stream.errors import ConfigurationError, NightError
from stream.page_options import PageAccess
from stream.processes import refuse_busy_port

N_BACKLOG = 180
FRAMES_FOLDER = "frames"
_NOMINAL_FRAMES = 3600
_DEFAULT_OUT = "demo-night"
_STOP_WITHIN_S = 3.5
_ADDRESS = re.compile(r"https?://\S+")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo is asked to do.

    Attributes
    ----------
    out : Path or None
        Folder of the night, the frames in its subfolder ``frames``; None takes ``demo-night`` or the next free name.
    duration_s : float or None
        Live seconds after which it stops by itself; None goes on.
    watch_command : tuple of str
        Start of the command that watches a folder.
    """

    out: Path | None = None
    port: int = 5006
    access: PageAccess = field(default_factory=PageAccess)
    duration_s: float | None = None
    cadence_s: float = 1.0
    scenarios: tuple[str, ...] = ("drift", "seeing")
    seed: int = 123
    watch_command: tuple[str, ...] = (sys.executable, "-m", "opticam_live", "watch")


def run_demo(options: DemoOptions) -> None:
    """Simulate a backlog, watch it, and go on live until Ctrl-C, SIGTERM, SIGHUP or the time is over.

    No process that was started here outlives this call. Within the main thread.

    Raises
    ------
    ConfigurationError
        If the output folder exists, the port is in use, or an option is out of bounds.
    NightError
        If the watching process ended by itself.
    """
    options.access.check()
    refuse_busy_port(options.port, access=options.access)
    out = _choose_out(options.out)
    folder = out / FRAMES_FOLDER
    settings = _settings(options)
    typer.echo(f"[OPTICAM] demo night in {out}: about {_megabytes_per_minute(settings):.0f} MB a minute")
    announce(settings)
    truth = simulate_night(folder, settings, n_frames=N_BACKLOG, processes=min(2, os.cpu_count() or 1))
    sky = Sky(settings)
    target = f"{sky.x[VARIABLE]:.0f},{sky.y[VARIABLE]:.0f}"
    command = [*options.watch_command, str(folder), "--out", str(out), "--target", target]
    command += ["--port", str(options.port), "--parent", str(os.getpid()), *options.access.words()]
    live = LiveNight(folder, FrameFactory(settings), truth, LiveOptions(first=N_BACKLOG))
    with stop_on_signals() as stop, _watching(command, stop) as watch, _alarm(options.duration_s, stop):
        live.run(stop)
        status = watch.poll()
    if status is not None:
        raise NightError(f"the process that watches {folder} ended by itself with exit status {status}: see {out}/log")
    typer.echo(f"The night is kept. Open it again with: opticam-live serve {out}")


def _choose_out(asked: Path | None) -> Path:
    if asked is not None:
        if asked.exists() and (not asked.is_dir() or any(asked.iterdir())):
            raise ConfigurationError(
                f"output folder {asked} is not empty: another --out is required, or open it with "
                f"'opticam-live serve {asked}'"
            )
        return asked
    number, out = 1, Path(_DEFAULT_OUT)
    while out.exists():
        number += 1
        out = Path(f"{_DEFAULT_OUT}-{number}")
    return out


def _settings(options: DemoOptions) -> NightSettings:
    """A night whose backlog ends now."""
    n_live = _NOMINAL_FRAMES if options.duration_s is None else round(options.duration_s / options.cadence_s)
    return NightSettings(
        n_images=N_BACKLOG + max(n_live, 1),
        cadence_s=options.cadence_s,
        scenarios=options.scenarios,
        seed=options.seed,
        start_unix_ms=int((time.time() - N_BACKLOG * options.cadence_s) * 1000.0),
    )


def _megabytes_per_minute(settings: NightSettings) -> float:
    return 2e-6 * settings.width_px**2 * len(settings.filters) * 60.0 / settings.cadence_s


@contextmanager
def _watching(command: list[str], stop: threading.Event) -> Iterator[subprocess.Popen[str]]:
    """Run the watching process, relay what it says, and set `stop` when it ends; end it in any case.

    It gets a process group of its own: Ctrl-C in a terminal then reaches the demo alone, which ends its children in
    order, and what is left of them can be ended together.
    """
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, process_group=0)
    relay = threading.Thread(target=_relay, args=(child, stop), name="relay", daemon=True)
    relay.start()
    try:
        yield child
    finally:
        _end(child)
        relay.join(timeout=1.0)


def _relay(child: subprocess.Popen[str], stop: threading.Event) -> None:
    """Print the lines of the watching process, the address of the page so that nobody overlooks it."""
    if child.stdout is not None:
        with child.stdout:
            _print_lines(child.stdout)
    child.wait()
    stop.set()


def _print_lines(lines: IO[str]) -> None:
    from rich.console import Console
    from rich.panel import Panel

    announced = False
    for line in lines:
        address = _ADDRESS.search(line)
        if address and not announced:
            announced = True
            # Without a panel where the output is no terminal: whoever reads it by program wants the line.
            console = Console()
            if console.is_terminal:
                console.print(Panel(f"The page is at [bold]{address.group()}[/bold]\nCtrl-C ends the demo"))
            else:
                typer.echo(f"The page is at {address.group()}")
        else:
            typer.echo(line.rstrip("\n"))


def _end(child: subprocess.Popen[str]) -> None:
    """Ask the watching process to end, and end its whole group where it does not."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(timeout=_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextmanager
def _alarm(duration_s: float | None, stop: threading.Event) -> Iterator[None]:
    """Set `stop` after `duration_s`, unless it is None."""
    if duration_s is None:
        yield
        return
    timer = threading.Timer(duration_s, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
