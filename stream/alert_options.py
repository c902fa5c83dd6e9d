"""Options of the command line about alerts."""

from __future__ import annotations

from typing import Annotated

import typer

OnAlert = Annotated[
    str | None,
    typer.Option("--on-alert", help="Program that is run at each alert, told by JSON on its input.", metavar="CMD"),
]
AlertThresholds = Annotated[
    list[str] | None,
    typer.Option(
        "--alert", help="Threshold of an alert, as clouds_fraction=0.7; may be repeated.", metavar="NAME=VALUE"
    ),
]
