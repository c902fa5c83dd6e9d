"""The simulator's part of the command line: ``simulate``, ``replay`` and ``demo``.

What is heavy to import is imported by the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.scenarios import SCENARIOS
from stream.page_options import AllowAnyone, Host, Origins, PageAccess, PageLimits, TlsCert, TlsKey, Token, TokenFile

if TYPE_CHECKING:
    from simulator.live import LiveOptions
    from simulator.settings import NightSettings

_FRAMES, _ENDLESS_FRAMES = 100, 3600


def _check_scenarios(names: list[str]) -> list[str]:
    for name in names:
        if name not in SCENARIOS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(SCENARIOS)}")
    return names


Scenarios = Annotated[
    list[str],
    typer.Option(
        "--scenario", metavar="NAME", help=f"May be repeated: {', '.join(SCENARIOS)}.", callback=_check_scenarios
    ),
]
Cadence = Annotated[float, typer.Option(help="Seconds from the start of one exposure to the next.")]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal frames.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this folder to `app`."""
    app.command()(simulate)
    app.command()(replay)
    app.command()(demo)


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the frames and their truth; it is created.")],
    frames: Annotated[
        int | None, typer.Option(min=1, help=f"Frames of each key; {_FRAMES}, or endless with --live.")
    ] = None,
    cadence: Cadence = 1.0,
    exposure: Annotated[
        float | None, typer.Option(help="Seconds; nine tenths of the cadence, at most 0.5, unless given.")
    ] = None,
    binning: Annotated[int, typer.Option(help="1, 2, 4, 8 or 16; 4 gives 512 x 512 pixels.")] = 4,
    scenario: Scenarios = [],  # noqa: B006  (typer copies it)
    seed: Seed = 123,
    sources: Annotated[int, typer.Option(min=2, help="Number of stars.")] = 6,
    psf: Annotated[str, typer.Option(help="Profile of the stars: gaussian or moffat.")] = "gaussian",
    circular_aperture: Annotated[bool, typer.Option("--circular-aperture", help="Leave the corners dark.")] = False,
    calibration: Annotated[
        bool,
        typer.Option("--calibration", help="An uneven camera, and its bias, dark and flat frames in folders of OUT."),
    ] = False,
    pointing: Annotated[
        str, typer.Option(help="'auto', 'placeholder' or 'HH MM SS +DD MM SS'.", metavar="RA DEC")
    ] = "auto",
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the work; not with --live.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a former simulation.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Start now and write at the cadence.")] = False,
    slow_writes: Annotated[
        bool, typer.Option("--slow-writes", help="With --live: grow the files in pieces, as scp does.")
    ] = False,
) -> None:
    """Simulate a night of three keys with a known truth."""
    import time

    import msgspec

    from simulator.calibration import UNEVEN_CAMERA, refuse_other_calibration
    from simulator.live import LiveOptions
    from simulator.night import announce, simulate_night
    from simulator.settings import NightSettings
    from stream.errors import ConfigurationError

    if slow_writes and not live:
        raise typer.BadParameter("--slow-writes needs --live")
    if psf not in ("gaussian", "moffat"):
        raise typer.BadParameter(f"--psf {psf!r} is neither gaussian nor moffat")
    given: dict[str, object] = {
        "n_images": frames or (_ENDLESS_FRAMES if live else _FRAMES),
        "cadence_s": cadence,
        "exposure_s": exposure,
        "binning": binning,
        "scenarios": tuple(scenario),
        "seed": seed,
        "n_sources": sources,
        "profile": psf,
        "circular_aperture": circular_aperture,
        "pointing": pointing,
    }
    if calibration:
        given["structure"] = UNEVEN_CAMERA
    if live:
        given["start_unix_ms"] = int(time.time() * 1000.0)
    try:
        settings = msgspec.convert(given, NightSettings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings of the simulation: {error}") from error
    if calibration:
        refuse_other_calibration(out, settings)
    announce(settings)
    if live:
        options = LiveOptions(last=frames, slow_writes=slow_writes)
        _write_live(out, settings, options, overwrite=overwrite, calibration=calibration)
        return
    simulate_night(out, settings, processes=processes, overwrite=overwrite)
    if calibration:
        _write_calibration(out, settings)


def _write_calibration(out: Path, settings: NightSettings) -> None:
    from simulator.calibration import CalibrationPlan, generate_calibration
    from simulator.night import progress_bar

    plan = CalibrationPlan()
    n_frames = sum(n for _, n in plan.counts.values()) * len(settings.filters)
    with progress_bar("Generating calibration frames", n_frames) as advance:
        generate_calibration(out, settings, plan, advance=advance)


def _write_live(
    out: Path, settings: NightSettings, options: LiveOptions, *, overwrite: bool, calibration: bool
) -> None:
    from simulator.live import LiveNight, stop_on_signals
    from simulator.night import FrameFactory, start_night

    truth = start_night(out, settings, overwrite=overwrite)
    if calibration:  # before the night, as at the telescope
        _write_calibration(out, settings)
    with stop_on_signals() as stop:
        n_written = LiveNight(out, FrameFactory(settings), truth, options).run(stop)
    typer.echo(f"{n_written} frames of each of {len(settings.filters)} keys written to {out}")


def replay(
    night: Annotated[Path, typer.Argument(help="Folder of an archived night.")],
    folder: Annotated[Path, typer.Argument(help="Folder that the frames are written to.")],
    speed: Annotated[float | None, typer.Option(help="How many times faster than the night itself; 1.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Without waiting.")] = False,
    instrument: Annotated[str, typer.Option(help="Name or TOML file: how headers are read.")] = "OPTICAM_MX",
) -> None:
    """Re-emit an archived night in order of its own time stamps."""
    from simulator.live import stop_on_signals
    from simulator.night import progress_bar
    from simulator.replay import list_night, replay_night
    from stream.instruments import load_instrument

    if fast and speed is not None:
        raise typer.BadParameter("--fast and --speed exclude each other")
    frames = list_night(night, load_instrument(instrument))
    for frame in frames:
        if frame.problem:
            typer.echo(f"placed by its name: {frame.problem}", err=True)
    pace = None if fast else 1.0 if speed is None else speed
    with stop_on_signals() as stop, progress_bar("Replaying", len(frames)) as advance:
        n_copied = replay_night(frames, night, folder, speed=pace, stop=stop, on_frame=advance)
    typer.echo(f"{n_copied} of {len(frames)} frames replayed to {folder}")


def demo(
    out: Annotated[Path | None, typer.Option(help="Folder of the demo night; it must not exist yet.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 5006,
    host: Host = "localhost",
    token: Token = False,
    token_file: TokenFile = None,
    allow_anyone: AllowAnyone = False,
    origin: Origins = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    limit: PageLimits = None,
    duration: Annotated[float | None, typer.Option(min=0.0, help="Stop by itself after so many live seconds.")] = None,
    cadence: Cadence = 1.0,
    scenario: Scenarios = ["drift", "seeing"],  # noqa: B006  (typer copies it)
    seed: Seed = 123,
) -> None:
    """Simulate a night, watch it and serve its page, in one command; Ctrl-C ends it."""
    from simulator.demo import DemoOptions, run_demo

    options = DemoOptions(
        out=out,
        port=port,
        access=PageAccess(
            host, token, token_file, allow_anyone, tuple(origin or ()), tls_cert, tls_key, tuple(limit or ())
        ),
        duration_s=duration,
        cadence_s=cadence,
        scenarios=tuple(scenario),
        seed=seed,
    )
    run_demo(options)
