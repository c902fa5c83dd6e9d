"""What is written of a night, on the command line: ``export`` and ``diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NightOut = Annotated[Path, typer.Argument(help="Output folder of a night.", metavar="OUT")]


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
) -> None:
    """Write the light curves of a night, or its catalogs as DS9 regions."""
    from stream.export import AavsoOptions, export_night

    options = AavsoOptions(observer, star, band) if format == "aavso" else None
    paths = export_night(out, format, to, aavso=options)
    typer.echo(f"{len(paths)} files written to {to or out}")


def diagnose(
    out: NightOut,
    films: Annotated[bool, typer.Option("--films/--no-films", help="Read frames again for short films.")] = True,
) -> None:
    """Draw how a night went and how well it was measured: pictures in OUT/diag."""
    from stream.diagnostics import write_all

    diagnosis = write_all(out, films=films)
    for sentence in diagnosis.missing:
        typer.echo(f"not drawn: {sentence}")
    typer.echo(f"{len(diagnosis.written)} files written to {out / 'diag'}")
