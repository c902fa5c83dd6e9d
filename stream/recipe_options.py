"""Options of the command line that decide the recipe, and the recipe that they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream.config import Recipe

InstrumentName = Annotated[
    str | None,
    typer.Option(
        "--instrument",
        help="OPTICAM_MX (the default), a TOML file that describes a camera, or a class as package.module:Class.",
    ),
]
Coordinates = Annotated[
    str | None,
    typer.Option("--coordinates", help="Of the target, for barycentric times: '31.04 46.69' or '02:04:10 +46:41:23'."),
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="TOML file of settings, as night.toml of another night.")
]
SingleSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="One setting of the recipe, as detection.threshold_sigma=4; may be repeated.",
        metavar="NAME=VALUE",
    ),
]


def make_recipe(
    file: Path | None, instrument: str | None, *, coordinates: str | None, settings: Sequence[str] | None
) -> Recipe:
    """Take the recipe of a file, or the default one, with what the other options say.

    Raises
    ------
    ConfigurationError
        If a file, the instrument, the coordinates or a setting cannot be used.
    """
    import msgspec

    from stream.config import Recipe, load_recipe, with_settings
    from stream.coordinates import parse_sky_position
    from stream.instruments import load_instrument

    if file is None:
        made = Recipe(instrument=load_instrument(instrument or "OPTICAM_MX"))
    else:
        made = load_recipe(file)
        if instrument is not None:
            made = msgspec.structs.replace(made, instrument=load_instrument(instrument))
    if coordinates is not None:
        made = msgspec.structs.replace(made, target_position=parse_sky_position(coordinates))
    return with_settings(made, settings or ())
