"""Simulates a whole night into a folder, by one process or several."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import msgspec
import typer

from simulator.detector import detector_of
from simulator.settings import NightSettings
from simulator.signals import PHASE_LAG_RAD
from simulator.sky import VARIABLE, FrameState, Sky
from simulator.truth import SUMMARY_FILE, TABLE_FILE, TruthWriter, load_summary
from simulator.writer import HeaderTemplate, encode_pixels
from stream.atomic_files import write_atomically
from stream.errors import ConfigurationError, NightError

FLAT_ELECTRONS = 20_000.0
_FRAMES_WORTH_A_PROCESS = 150
_MOST_PROCESSES = 8


class FrameFactory:
    """Makes the files of a night in memory; any frame, in any order."""

    def __init__(self, settings: NightSettings) -> None:
        self.settings = settings
        self._sky = Sky(settings)
        self._headers = {name: HeaderTemplate(settings, name) for name in settings.filters}

    def states(self, index: int) -> list[FrameState]:
        """The states of the frames of all keys that are exposed together."""
        return [self._sky.state(name, index) for name in self.settings.filters]

    def content(self, state: FrameState) -> bytes:
        """The file of a frame."""
        header = self._headers[state.filter_name].encode(state.file_name, state.start_unix_ms)
        return header + encode_pixels(detector_of(self.settings, state.filter_name).expose(state))


class SimulateFrames(msgspec.Struct, frozen=True):
    """What a helping process is asked to do: frames `first` to `last` (excluded) of all keys."""

    folder: str
    settings: NightSettings
    first: int
    last: int


def simulate_night(
    folder: Path, settings: NightSettings, *, processes: int = 1, n_frames: int | None = None, overwrite: bool = False
) -> TruthWriter:
    """Write the frames of a night and their truth, with a progress bar.

    The files do not depend on the number of processes: every frame has its own random numbers. Frames of the same
    night that are already there are kept.

    Parameters
    ----------
    n_frames : int, optional
        Write the first so many frames of each key, the backlog of a night that goes on live.

    Returns
    -------
    TruthWriter
        To be continued by a live night.

    Raises
    ------
    ConfigurationError
        If the folder holds other frames and `overwrite` is not set.
    NightError
        If a helping process failed.
    """
    truth = start_night(folder, settings, overwrite=overwrite)
    factory = FrameFactory(settings)
    n_frames = settings.n_images if n_frames is None else n_frames
    with progress_bar("Generating observations", n_frames * len(settings.filters)) as advance:
        if processes > 1:
            _simulate_by_processes(_shares(folder, settings, n_frames, processes), advance)
        else:
            _write_frames(folder, factory, range(n_frames), advance)
        for index in range(n_frames):
            truth.add(factory.states(index))
        truth.flush()
    return truth


def start_night(folder: Path, settings: NightSettings, *, overwrite: bool = False) -> TruthWriter:
    """Make the folder of a night ready for its frames; see `simulate_night` for the errors."""
    _prepare_folder(folder, settings, overwrite)
    return TruthWriter(folder, settings)


def generate_observations(
    out_directory: Path | str,
    n_images: int = 100,
    *,
    circular_aperture: bool = True,
    binning_scale: int = 4,
    overwrite: bool = False,
    settings: NightSettings | None = None,
) -> None:
    """Create synthetic observations as OPTICAM-MX would write them, for tests and for the tutorials.

    Three filters, six sources, one of them variable; the truth goes to ``truth.ecsv`` and ``truth.json`` beside the
    frames. Frames of the same settings that are already there are kept.

    Parameters
    ----------
    out_directory : path
        Folder for the frames; it is created.
    n_images : int
        Frames of each filter.
    circular_aperture : bool
        Whether the circular aperture of the optics leaves the corners dark.
    binning_scale : int
        1, 2, 4, 8 or 16; 4 gives 512 x 512 pixels.
    overwrite : bool
        Replace a former simulation in this folder.
    settings : NightSettings, optional
        Everything else: cadence, scenarios, seed, sources.

    Raises
    ------
    ConfigurationError
        If a setting is out of bounds, or the folder holds other frames and `overwrite` is not set.
    """
    settings = msgspec.structs.replace(
        settings or NightSettings(), n_images=n_images, circular_aperture=circular_aperture, binning=binning_scale
    )
    announce(settings)
    n_frames = n_images * len(settings.filters)
    processes = max(1, min(_MOST_PROCESSES, os.cpu_count() or 1, n_frames // _FRAMES_WORTH_A_PROCESS))
    simulate_night(Path(out_directory), settings, processes=processes, overwrite=overwrite)


def generate_flats(
    out_directory: Path | str,
    n_flats: int = 5,
    *,
    circular_aperture: bool = True,
    binning_scale: int = 4,
    overwrite: bool = False,
) -> None:
    """Create synthetic flat-field frames for each filter, with the same shadow of the aperture as the observations.

    Parameters are those of `generate_observations`; an existing frame is kept unless `overwrite` is set.
    """
    folder = Path(out_directory)
    folder.mkdir(parents=True, exist_ok=True)
    settings = NightSettings(n_images=n_flats, circular_aperture=circular_aperture, binning=binning_scale)
    with progress_bar("Generating flats", n_flats * len(settings.filters)) as advance:
        for name in settings.filters:
            header = HeaderTemplate(settings, name, "flat")
            for index in range(n_flats):
                path = folder / settings.file_name(name, index, "f")
                if overwrite or not path.exists():
                    counts = detector_of(settings, name).expose_flat(index, FLAT_ELECTRONS)
                    start_ms = settings.start_of_exposure_unix_ms(index)
                    write_atomically(path, header.encode(path.name, start_ms) + encode_pixels(counts))
                advance()


def announce(settings: NightSettings) -> None:
    """Print where the variable source is and what it does, word for word as the tutorial shows it.

    The per cent sign is the tutorial's: the number is a fraction of the flux.
    """
    sky = Sky(settings)
    typer.echo(f"[OPTICAM] variable source is at ({sky.x[VARIABLE]:.0f}, {sky.y[VARIABLE]:.0f})")
    typer.echo(f"[OPTICAM] variability RMS: {settings.variable_rms:g} %")
    typer.echo(f"[OPTICAM] variability frequency: {settings.variable_frequency_hz:g} Hz")
    typer.echo("[OPTICAM] variability phase lags:")
    for name in settings.filters:
        typer.echo(f"    [OPTICAM] {name}-band: {PHASE_LAG_RAD[name]:.3f} radians")


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr; yields the function that advances it by one, from any thread."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}:"),
        TaskProgressColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, force_jupyter=False)) as progress:
        task = progress.add_task(description, total=total)
        yield lambda: progress.advance(task)


def run_helping_process() -> None:
    """Body of ``python -m simulator``: reads one `SimulateFrames` from stdin, says a line for each frame written."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=SimulateFrames)

    def say() -> None:
        sys.stdout.write("frame\n")
        sys.stdout.flush()

    _write_frames(Path(job.folder), FrameFactory(job.settings), range(job.first, job.last), say)


def _write_frames(folder: Path, factory: FrameFactory, indices: Iterable[int], advance: Callable[[], None]) -> None:
    for index in indices:
        for state in factory.states(index):
            path = folder / state.file_name
            if not path.exists():
                write_atomically(path, factory.content(state))
            advance()


def _prepare_folder(folder: Path, settings: NightSettings, overwrite: bool) -> None:
    """Make the folder; keep frames of the same night in it, refuse those of another one or remove them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"output folder {folder} cannot be made: {error.strerror}") from error
    former = load_summary(folder) if (folder / SUMMARY_FILE).exists() else None
    if former is not None and former.settings == settings and not overwrite:
        return
    if former is not None and overwrite:
        for name in (*former.frames["file"], TABLE_FILE, SUMMARY_FILE):
            (folder / name).unlink(missing_ok=True)
    if any(path.suffix.lower() in (".fit", ".fits", ".fts") for path in folder.iterdir()):
        raise ConfigurationError(
            f"output folder {folder} already holds frames of another night: an empty folder is required, "
            "or overwriting a former simulation"
        )


def _shares(folder: Path, settings: NightSettings, n_frames: int, processes: int) -> list[SimulateFrames]:
    edges = [n_frames * n // processes for n in range(processes + 1)]
    return [SimulateFrames(str(folder), settings, first, last) for first, last in pairwise(edges) if last > first]


def _simulate_by_processes(jobs: list[SimulateFrames], advance: Callable[[], None]) -> None:
    """Run each job in a process of its own.

    Processes by command line, and not a pool of `concurrent.futures`, because that one sends its work as pickles; and
    not threads, because placing the stars holds the interpreter for half of the time.
    """
    children = [_start_helper() for _ in jobs]
    try:
        with ThreadPoolExecutor(len(jobs)) as pool:
            list(pool.map(lambda child, job: _attend(child, job, advance), children, jobs))
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()


def _start_helper() -> subprocess.Popen[bytes]:
    package_parent = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(part for part in (package_parent, inherited) if part),
    }
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-m", "simulator"], stdin=pipe, stdout=pipe, stderr=pipe, env=environment)


def _attend(child: subprocess.Popen[bytes], job: SimulateFrames, advance: Callable[[], None]) -> None:
    """Give a helper its job, count its frames, and see that it ended well."""
    if child.stdin is None or child.stdout is None or child.stderr is None:
        raise NightError("a process that helps to simulate has no pipes")
    with child.stdin, child.stdout, child.stderr:
        child.stdin.write(msgspec.json.encode(job))
        child.stdin.close()
        for _ in child.stdout:
            advance()
        complaint = child.stderr.read().decode(errors="replace").strip()
    if child.wait() != 0:
        last_line = complaint.splitlines()[-1] if complaint else f"exit status {child.returncode}"
        raise NightError(f"simulating frames {job.first} to {job.last - 1} in {job.folder} failed: {last_line}")
