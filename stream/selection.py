"""Target and comparison stars of a night, kept in ``selection.toml``.

The file stands apart from the ledger so that a finished night can be looked at with other comparison stars: the
ledger has one writer, the night process, and holds measurements alone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
import tomli_w

from stream.atomic_files import write_atomically
from stream.errors import ConfigurationError
from stream.messages import Selection
from stream.toml_text import parse_toml

SELECTION_FILE = "selection.toml"
_LONGEST_NAME = 60


def load_selection(out: Path) -> Selection:
    """Read the selection of the night in `out`; an absent file is an empty selection.

    Raises
    ------
    ConfigurationError
        If the file cannot be read or is not a selection.
    """
    path = out / SELECTION_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Selection()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"selection {path} cannot be read: {error}") from error
    try:
        return msgspec.convert(parse_toml(text), Selection)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"selection {path}: {error}") from error


def save_selection(out: Path, selection: Selection) -> None:
    """Replace the selection of the night in `out`, atomically."""
    write_atomically(out / SELECTION_FILE, tomli_w.dumps(msgspec.to_builtins(selection)))


def with_ensemble_saved(selection: Selection, name: str, comparisons: Mapping[str, Collection[int]]) -> Selection:
    """Save comparison stars under a name; what had the name before is replaced.

    Parameters
    ----------
    comparisons : mapping of key to source numbers
        Keys without a star are left out.

    Raises
    ------
    ConfigurationError
        If the name is empty, too long or not printable, or there is no comparison star at all.
    """
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise ConfigurationError(f"ensemble {name!r}: a name of 1 to {_LONGEST_NAME} printable characters is required")
    ensemble = {key: tuple(numbers) for key, numbers in comparisons.items() if numbers}
    if not ensemble:
        raise ConfigurationError(f"ensemble {name!r}: there is no comparison star to save")
    return msgspec.structs.replace(selection, ensembles={**selection.ensembles, name: ensemble})


def with_ensemble_used(selection: Selection, name: str, n_sources: Mapping[str, int]) -> Selection:
    """Recall the comparison stars that were saved under a name; the target stays.

    A key that the ensemble does not name has its comparison stars chosen automatically.

    Parameters
    ----------
    n_sources : mapping of key to int
        Sources of the catalogs that there are. A key without a catalog yet is not checked.

    Raises
    ------
    ConfigurationError
        If no ensemble has this name, or one of its stars is not in the catalog of its key.
    """
    if name not in selection.ensembles:
        names = ", ".join(selection.ensembles) or "none"
        raise ConfigurationError(f"ensemble {name!r} was not saved in this night; saved are: {names}")
    ensemble = selection.ensembles[name]
    for key, numbers in ensemble.items():
        absent = [number for number in numbers if key in n_sources and not 1 <= number <= n_sources[key]]
        if absent:
            raise ConfigurationError(
                f"ensemble {name!r}: source {absent[0]} is not in the catalog of {key}, "
                f"which has sources 1 to {n_sources[key]}"
            )
    return msgspec.structs.replace(selection, comparisons=dict(ensemble), requested_comparisons=())
