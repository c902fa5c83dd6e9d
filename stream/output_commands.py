"""What is written of a night, on the command line: ``export``, ``diagnose`` and ``ensemble``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from stream.config import Recipe
    from stream.messages import Selection

NightOut = Annotated[Path, typer.Argument(help="Output folder of a night.", metavar="OUT")]

PhotometerLabel = Annotated[
    str,
    typer.Option(
        "--photometer",
        help="The only photometer that light curves are written of: its label, also one of the ladder of apertures, or "
        "quietest: for each key the one whose comparison stars scatter least.",
        show_default="those without a name of their own",
    ),
]


def export(
    out: NightOut,
    format: Annotated[str, typer.Option("--format", help="csv, ecsv, fits, aavso or ds9.")] = "csv",
    to: Annotated[Path | None, typer.Option("--to", help="Folder to write below, instead of OUT.")] = None,
    observer: Annotated[str, typer.Option("--observer", help="AAVSO observer code; aavso requires it.")] = "",
    star: Annotated[str, typer.Option("--star", help="Name of the target; aavso requires it.")] = "",
    band: Annotated[
        str | None,
        typer.Option("--band", help="Filter as the AAVSO names it, where that of the key is not understood."),
    ] = None,
    photometer: PhotometerLabel = "",
    aperture_correction: Annotated[
        bool,
        typer.Option("--aperture-correction", help="Bring raw fluxes to those of the largest aperture of the ladder."),
    ] = False,
) -> None:
    """Write the light curves of a night, or its catalogs as DS9 regions."""
    from stream.export import AavsoOptions, ExportOptions, export_night

    upload = AavsoOptions(observer, star, band) if format == "aavso" else None
    options = ExportOptions(photometer, aperture_correction)
    paths = export_night(out, format, to, aavso=upload, options=options)
    typer.echo(f"{len(paths)} files written to {to or out}")


def check_photometer(label: str, recipe: Recipe) -> None:
    """Refuse a photometer that a reduction will not have, before it begins; raises ConfigurationError."""
    from stream.errors import ConfigurationError
    from stream.export import QUIETEST

    if label not in ("", QUIETEST, *recipe.labels()):
        raise ConfigurationError(
            f"--photometer {label!r} must be {QUIETEST} or a photometer of the recipe: {', '.join(recipe.labels())}"
        )


def diagnose(
    out: NightOut,
    films: Annotated[bool, typer.Option("--films/--no-films", help="Read frames again for short films.")] = True,
    photometer: Annotated[
        str | None,
        typer.Option("--photometer", help="Label of the photometer whose scatter and noise are drawn, instead of all."),
    ] = None,
) -> None:
    """Draw how a night went and how well it was measured: pictures in OUT/diag."""
    draw(out, films=films, label=photometer)


def draw(out: Path, *, films: bool = True, label: str | None = None) -> None:
    """Write all diagnostics of a night with a progress bar, and say what could not be drawn and why."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from stream.diagnostics import write_all

    columns = (TextColumn("Drawing diagnostics"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task("diagnostics", total=None)
        diagnosis = write_all(
            out,
            films=films,
            label=label,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    for sentence in diagnosis.missing:
        typer.echo(f"not drawn: {sentence}")
    typer.echo(f"{len(diagnosis.written)} files written to {out / 'diag'}")


def ensemble(
    out: NightOut,
    action: Annotated[Literal["list", "save", "use"], typer.Argument(help="list, save or use.")],
    name: Annotated[str | None, typer.Argument(help="Name of the ensemble; save and use require it.")] = None,
) -> None:
    """Save the comparison stars of a night by a name, and recall them, also while the night runs."""
    from stream.export.night import read_catalogs
    from stream.selection import load_selection

    if (name is None) != (action == "list"):
        raise typer.BadParameter("list takes no name" if name else f"{action} requires a name", param_hint="NAME")
    if name is None:
        read_catalogs(out)  # a folder that is no night has no ensembles either, and that is worth an error
        selection = load_selection(out)
        for saved in selection.ensembles:
            typer.echo(_ensemble_line(selection, saved))
        if not selection.ensembles:
            typer.echo("no ensemble is saved")
    elif action == "save":
        _save_ensemble(out, name)
    else:
        _use_ensemble(out, name)


def _save_ensemble(out: Path, name: str) -> None:
    """Save what light curves are compared with now, be it asked for or chosen automatically."""
    from stream.export.night import read_night
    from stream.selection import load_selection, save_selection, with_ensemble_saved

    comparisons = {key: choice.comparisons for key, choice in read_night(out).choices.items()}
    selection = with_ensemble_saved(load_selection(out), name, comparisons)
    save_selection(out, selection)
    typer.echo(f"saved: {_ensemble_line(selection, name)}")


def _use_ensemble(out: Path, name: str) -> None:
    from stream.export.night import read_catalogs
    from stream.selection import load_selection, save_selection, with_ensemble_used

    n_sources = {key: catalog.n_sources for key, catalog in read_catalogs(out).items()}
    selection = with_ensemble_used(load_selection(out), name, n_sources)
    save_selection(out, selection)
    typer.echo(f"in use: {_ensemble_line(selection, name)}")


def _ensemble_line(selection: Selection, name: str) -> str:
    stars = (f"{key} {', '.join(map(str, numbers))}" for key, numbers in selection.ensembles[name].items())
    return f"{name}: {'; '.join(stars)}"
