"""The reduction on the command line: ``scan``, ``watch``, ``reduce``, ``status`` and the hidden ``worker``.

``export`` and ``diagnose`` stand in `stream.output_commands`.

What is heavy to import is imported by the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream import output_commands, repair_command
from stream.alert_options import AlertThresholds, OnAlert
from stream.page_options import AllowAnyone, Host, Origins, PageAccess, PageLimits, TlsCert, TlsKey, Token, TokenFile
from stream.processes import end_with_parent, on_stop_signals
from stream.recipe_options import Coordinates, InstrumentName, RecipeFile, SingleSettings, make_recipe

if TYPE_CHECKING:
    from stream.alerts import Alert
    from stream.config import Recipe
    from stream.messages import NightStatus
    from stream.night.ledger import LedgerCounts
    from stream.night.run import NightOptions, Onlooker

_ALL_ENDED_S = 2.5  # after Ctrl-C, with everything that was started
_LEAST_EXPORT_S = 0.2

Folder = Annotated[
    Path, typer.Argument(help="Folder of the frames; folders below it are searched too.", metavar="FOLDER")
]
NightOut = Annotated[Path, typer.Argument(help="Output folder of a night.", metavar="OUT")]
Out = Annotated[
    Path, typer.Option("--out", help="Folder of the outputs; it is made if it does not exist.", metavar="OUT")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, max=256, help="Worker processes; one a core unless given.")
]
Target = Annotated[
    str | None, typer.Option("--target", help="1:g#2 (key and number), or 424,286 (pixel of the first frame).")
]
Comparisons = Annotated[
    list[str] | None, typer.Option("--comparisons", help="Comparison stars, named like the target; may be repeated.")
]
Catalogs = Annotated[
    list[Path] | None, typer.Option("--catalog", help="Catalog of an earlier night; may be repeated, once for a key.")
]
Remeasure = Annotated[bool, typer.Option("--remeasure", help="Measure everything again, by a new recipe or catalog.")]
Bias = Annotated[Path | None, typer.Option("--bias", help="Folder of bias frames.", metavar="DIR")]
Darks = Annotated[Path | None, typer.Option("--darks", help="Folder of dark frames.", metavar="DIR")]
Flats = Annotated[Path | None, typer.Option("--flats", help="Folder of flat frames.", metavar="DIR")]
BadPixels = Annotated[
    list[str] | None,
    typer.Option(
        "--bad-pixels",
        help="FITS image in which everything but 0 is a bad pixel, of all cameras or of one: 1=MAP, 1:g=MAP.",
        metavar="MAP",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this folder to `app`."""
    app.command()(scan)
    app.command()(watch)
    app.command()(reduce)
    app.command()(status)
    app.command()(output_commands.export)
    app.command()(output_commands.ensemble)
    app.command()(output_commands.diagnose)
    app.command()(repair_command.repair)
    app.command(hidden=True)(worker)


def scan(folder: Folder, instrument: InstrumentName = None) -> None:
    """Summarise the headers of a folder of frames, and name every problem with its file."""
    from stream.instruments import load_instrument
    from stream.scan import frame_names, scan_with_progress

    used = load_instrument(instrument or "OPTICAM_MX")
    report = scan_with_progress(folder, frame_names(folder), used)
    for line in report.lines():
        typer.echo(line)


def watch(
    folder: Folder,
    out: Out,
    instrument: InstrumentName = None,
    workers: Workers = None,
    target: Target = None,
    comparisons: Comparisons = None,
    coordinates: Coordinates = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any that is free.")] = 5006,
    host: Host = "localhost",
    token: Token = False,
    token_file: TokenFile = None,
    allow_anyone: AllowAnyone = False,
    origin: Origins = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    limit: PageLimits = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the page of the night.")] = True,
    catalog: Catalogs = None,
    remeasure: Remeasure = False,
    polling: Annotated[
        bool, typer.Option("--polling", help="Search the folder every 2 s; for network folders, which send no events.")
    ] = False,
    recipe: RecipeFile = None,
    setting: SingleSettings = None,
    bias: Bias = None,
    darks: Darks = None,
    flats: Flats = None,
    bad_pixels: BadPixels = None,
    on_alert: OnAlert = None,
    alert: AlertThresholds = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process is gone.")] = None,
) -> None:
    """Reduce frames as they appear in a folder, until Ctrl-C; the same command goes on after any stop."""
    from stream.alerts import alert_settings
    from stream.measure.master_files import calibration_folders
    from stream.night.alert_command import split_command
    from stream.night.run import NightOptions

    used = make_recipe(recipe, instrument, coordinates=coordinates, settings=setting)
    options = NightOptions(
        folder,
        out,
        workers or os.cpu_count() or 1,
        use_events=not polling,
        remeasure=remeasure,
        catalogs=tuple(catalog or ()),
        port=port if page else None,
        access=PageAccess(
            host, token, token_file, allow_anyone, tuple(origin or ()), tls_cert, tls_key, tuple(limit or ())
        ),
        calibration=calibration_folders(bias, darks, flats, bad_pixels),
        alerts=alert_settings(alert or ()),
        on_alert=split_command(on_alert) if on_alert is not None else (),
    )
    request = _Request(target, tuple(comparisons or ()))
    with _stop_on_signals() as stop:
        if parent is not None:
            end_with_parent(parent, stop.set)
        for sentence in options.calibration.empty():
            typer.echo(f"{sentence}; frames that come are used from then on", err=True)
        with _health_line() as onlooker:
            counts = _run(options, used, request, stop=stop, onlooker=onlooker)
        _say_counts(counts, options)
        if counts.n_measured:
            _export_in_time(out, stop)


def reduce(
    folder: Folder,
    out: Out,
    instrument: InstrumentName = None,
    workers: Workers = None,
    target: Target = None,
    comparisons: Comparisons = None,
    coordinates: Coordinates = None,
    catalog: Catalogs = None,
    remeasure: Remeasure = False,
    recipe: RecipeFile = None,
    setting: SingleSettings = None,
    bias: Bias = None,
    darks: Darks = None,
    flats: Flats = None,
    bad_pixels: BadPixels = None,
    diagnostics: Annotated[
        bool, typer.Option("--diagnostics/--no-diagnostics", help="Draw how the night went: pictures in OUT/diag.")
    ] = True,
    photometer: output_commands.PhotometerLabel = "",
) -> None:
    """Reduce all frames that are in a folder, write the outputs, and end."""
    from stream.errors import NightError
    from stream.measure.master_files import calibration_folders
    from stream.night.run import NightOptions
    from stream.scan import frame_names

    used = make_recipe(recipe, instrument, coordinates=coordinates, settings=setting)
    output_commands.check_photometer(photometer, used)
    calibration = calibration_folders(bias, darks, flats, bad_pixels)
    frame_names(folder, out, *calibration.paths_outside_of(folder))
    options = NightOptions(
        folder,
        out,
        workers or os.cpu_count() or 1,
        finite=True,
        remeasure=remeasure,
        catalogs=tuple(catalog or ()),
        calibration=calibration,
    )
    request = _Request(target, tuple(comparisons or ()))
    with _stop_on_signals() as stop, _progress_bar() as onlooker:
        counts = _run(options, used, request, stop=stop, onlooker=onlooker)
    _say_counts(counts, options)
    if counts.n_pending:
        raise NightError(f"interrupted with {counts.n_pending} frames left: the same command goes on")
    if not counts.n_measured:
        raise NightError(f"no frame of {folder} could be measured: opticam-live status {out} says why")
    _write_outputs(out, photometer)
    if diagnostics:
        output_commands.draw(out)


def status(out: NightOut, json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Show how many frames are measured, rejected and waiting, and why."""
    from stream.night.report import read_report

    report = read_report(out)
    if json:
        typer.echo(report.to_json())
        return
    for line in report.lines():
        typer.echo(line)


def worker(out: NightOut) -> None:
    """Work for the night that runs in OUT; started by `watch` and `reduce`."""
    import logging

    from stream.night.worker import run_worker

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )
    logging.captureWarnings(True)
    run_worker(out)
    # Taking the interpreter down with all its libraries takes longer than stopping the night may.
    logging.shutdown()
    os._exit(0)


@dataclass(frozen=True, slots=True)
class _Request:
    """Target and comparison stars as asked for on the command line."""

    target: str | None
    comparisons: tuple[str, ...]


def _run(
    options: NightOptions, recipe: Recipe, request: _Request, *, stop: threading.Event, onlooker: Onlooker
) -> LedgerCounts:
    from stream.analysis.choice import parse_source_name
    from stream.night.run import run_night

    for text in (*([request.target] if request.target else []), *request.comparisons):
        parse_source_name(text)
    return run_night(options, recipe, stop=stop, onlooker=onlooker, prepare=lambda out: _save_request(out, request))


def _save_request(out: Path, request: _Request) -> None:
    """Write what was asked for to the selection of the night; what was not asked for stays as it is."""
    import msgspec

    from stream.selection import load_selection, save_selection

    selection = load_selection(out)
    if request.target is not None:
        selection = msgspec.structs.replace(selection, requested_target=request.target, targets={})
    if request.comparisons:
        selection = msgspec.structs.replace(selection, requested_comparisons=request.comparisons, comparisons={})
    if request.target is not None or request.comparisons:
        save_selection(out, selection)


class _Stop(threading.Event):
    """Set when the night is to stop; remembers when that was."""

    at_s = math.inf

    def set(self) -> None:
        """Ask for the stop."""
        self.at_s = min(self.at_s, time.monotonic())
        super().set()


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    """Set an event at SIGINT, SIGTERM or SIGHUP, instead of an exception in the middle of something."""
    stop = _Stop()
    restore = on_stop_signals(stop.set)
    try:
        yield stop
    finally:
        restore()


@contextmanager
def _health_line() -> Iterator[Onlooker]:
    """Show the address of the page and, on a terminal, one line of health that changes in place."""
    from rich.console import Console
    from rich.live import Live

    from stream.night.report import health_sentence
    from stream.night.run import Onlooker

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield Onlooker(on_page=_say_page, on_invitation=typer.echo)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(status: NightStatus) -> None:
            live.update(health_sentence(status), refresh=True)

        def tell(alert: Alert) -> None:
            console.print(f"alert: {alert.line(time.time())}", markup=False, highlight=False)

        yield Onlooker(on_status=show, on_page=_say_page, on_invitation=typer.echo, on_alert=tell)


def _say_page(address: str) -> None:
    typer.echo(f"page: {address}")
    sys.stdout.flush()


@contextmanager
def _progress_bar() -> Iterator[Onlooker]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from stream.night.run import Onlooker

    columns = (TextColumn("Reducing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(file=sys.stderr))
    task = progress.add_task("frames", total=None)

    def show(status: NightStatus) -> None:
        # Not before there is something to show: an error that comes first stands alone.
        progress.start()
        done = status.n_measured + status.n_rejected
        n_open = status.n_waiting + status.n_queued + status.n_in_work
        progress.update(task, completed=done, total=done + n_open)

    try:
        yield Onlooker(on_status=show)
    finally:
        if progress.live.is_started:
            progress.stop()


def _say_counts(counts: LedgerCounts, options: NightOptions) -> None:
    from stream.night.night_folder import CALIBRATION_FOLDER

    by_key = ", ".join(f"{n} {key}" for key, n in sorted(counts.by_key.items()))
    typer.echo(f"{counts.n_frames} frames: {counts.n_measured} measured{f' ({by_key})' if by_key else ''}")
    if counts.n_rejected:
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.by_reason.items()))
        typer.echo(f"{counts.n_rejected} rejected: {reasons}; opticam-live status names each")
    if counts.n_pending:
        typer.echo(f"{counts.n_pending} not measured yet: the same command goes on with them")
    for sentence in options.calibration.missing_masters(options.out / CALIBRATION_FOLDER, counts.by_key):
        typer.echo(sentence)


def _write_outputs(out: Path, photometer: str) -> None:
    from stream.export import ExportOptions, write_outputs

    with _wrong_request_forgotten(out):
        paths = write_outputs(out, ExportOptions(photometer))
    typer.echo(f"{len(paths)} files written to {out}")


@contextmanager
def _wrong_request_forgotten(out: Path) -> Iterator[None]:
    """Take a target or comparison star that does not exist out of the selection: the next run must not fail on it."""
    from stream.errors import ConfigurationError

    try:
        yield
    except ConfigurationError:
        _forget_wrong_request(out, complete=True)
        raise


def _forget_wrong_request(out: Path, *, complete: bool = False) -> None:
    from stream.analysis.requests import without_missing_sources
    from stream.night.ledger import LedgerReader
    from stream.selection import load_selection, save_selection

    reader = LedgerReader(out)
    catalogs = reader.catalogs()
    reader.close()
    selection = load_selection(out)
    kept = without_missing_sources(selection, catalogs, complete=complete)
    if kept != selection:
        save_selection(out, kept)


def _export_in_time(out: Path, stop: _Stop) -> None:
    """Write the light curves when a watch is stopped, unless that would keep whoever pressed Ctrl-C waiting."""
    import subprocess

    from stream.night.supervisor import child_environment

    command = [sys.executable, "-m", "opticam_live", "export", str(out), "--format", "csv"]
    try:
        subprocess.run(
            command,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            timeout=max(min(stop.at_s, time.monotonic()) + _ALL_ENDED_S - time.monotonic(), _LEAST_EXPORT_S),
            check=True,
            start_new_session=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        # It has said why; a wrong target must not fail the next export too.
        _forget_wrong_request(out)
        typer.echo(f"The light curves are written by: opticam-live export {out} --format csv")
