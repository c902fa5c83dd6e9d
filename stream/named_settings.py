"""Settings that an option of the command line gives as ``NAME=VALUE``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from stream.errors import ConfigurationError

_MOST_SHOWN = 200
_Settings = TypeVar("_Settings", bound=msgspec.Struct)


def named_settings(kind: type[_Settings], texts: Sequence[str], what: str) -> _Settings:
    """Settings from texts like ``sessions=200``; those that are not named keep their defaults.

    Parameters
    ----------
    kind : type
        A struct whose fields are the names.
    what : str
        What one of them is called in a sentence, such as ``page limit``.

    Raises
    ------
    ConfigurationError
        If a text is no assignment, or names a setting or a value that cannot be.
    """
    given: dict[str, str] = {}
    names = kind.__struct_fields__
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or name not in names:
            raise ConfigurationError(f"{what} {text[:_MOST_SHOWN]!r} must be NAME=VALUE with one of {', '.join(names)}")
        given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{what} {', '.join(texts)[:_MOST_SHOWN]}: {error}") from error
