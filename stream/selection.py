"""Target and comparison stars of a night, kept in ``selection.toml``.

The file stands apart from the ledger so that a finished night can be looked at with other comparison stars: the
ledger has one writer, the night process, and holds measurements alone.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import tomli_w

from stream.atomic_files import write_atomically
from stream.errors import ConfigurationError
from stream.messages import Selection

SELECTION_FILE = "selection.toml"


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
        return msgspec.convert(tomllib.loads(text), Selection)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"selection {path}: {error}") from error


def save_selection(out: Path, selection: Selection) -> None:
    """Replace the selection of the night in `out`, atomically."""
    write_atomically(out / SELECTION_FILE, tomli_w.dumps(msgspec.to_builtins(selection)))
