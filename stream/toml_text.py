"""TOML of people and programs that nobody can trust: whatever the text is, there is one kind of error."""

from __future__ import annotations

import tomllib

_MOST_CHARACTERS = 16 * 2**20


def parse_toml(text: str) -> dict[str, object]:
    """Read TOML.

    Raises
    ------
    tomllib.TOMLDecodeError
        If it is none, is nested more deeply than can be read, or longer than any honest one.
    """
    if len(text) > _MOST_CHARACTERS:
        raise tomllib.TOMLDecodeError(f"it has {len(text)} characters: at most {_MOST_CHARACTERS} are read")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("arrays or tables are nested too deeply") from error
    except ValueError as error:  # of a number with thousands of digits
        raise tomllib.TOMLDecodeError(f"a number cannot be read: {error}") from error
