"""``opticam-live repair``: a damaged ledger on the command line."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated

import typer

from stream.processes import on_stop_signals


def repair(
    out: Annotated[Path, typer.Argument(help="Output folder of a night.", metavar="OUT")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder of the frames, if the ledger no longer tells it.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=256, help="Worker processes; one a core unless given.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure now what was lost; else the next run of the night.")
    ] = True,
) -> None:
    """Rebuild the damaged ledger of a night: what can be read is kept, the rest is measured again."""
    from stream.errors import NightError
    from stream.night.night_folder import RECIPE_FILE, NightFolder
    from stream.night.repair import repair_ledger
    from stream.night.run import NightOptions, run_night

    if not (out / RECIPE_FILE).is_file() and not list(out.glob("night.db*")):
        raise NightError(f"{out} holds no night: there is neither night.db nor {RECIPE_FILE} in it")
    with NightFolder(out) as home:
        repaired = repair_ledger(home.path, folder)
        if not repaired.problems:
            typer.echo(f"the ledger of {out} is sound: {repaired.n_frames} frames, {repaired.n_outcomes} outcomes")
            return
        home.write_recipe(repaired.recipe)
    for problem in repaired.problems:
        typer.echo(f"damage: {problem}")
    typer.echo(f"kept: {repaired.n_frames} frames with {repaired.n_outcomes} outcomes")
    typer.echo(f"the damaged ledger is in {repaired.kept_at}")
    if not measure:
        typer.echo("frames that were lost are measured by the next run of the night")
        return
    options = NightOptions(repaired.folder, out, workers or os.cpu_count() or 1, finite=True)
    stop = threading.Event()
    restore = on_stop_signals(stop.set)
    try:
        counts = run_night(options, repaired.recipe, stop=stop)
    finally:
        restore()
    if counts.n_pending:
        raise NightError(f"interrupted with {counts.n_pending} frames left: the next run of the night goes on")
    typer.echo(f"{counts.n_frames} frames: {counts.n_measured} measured, {counts.n_rejected} rejected")
    typer.echo(f"The light curves are written by: opticam-live export {out} --format csv")
