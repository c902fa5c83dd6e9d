"""Requests for target and comparison stars that no catalog can fulfil."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stream.analysis.choice import find_source, parse_source_name
from stream.errors import ConfigurationError
from stream.messages import Catalog, Selection


def without_missing_sources(selection: Selection, catalogs: Mapping[str, Catalog]) -> Selection:
    """Return the selection without the sources that do not exist; those of keys without a catalog stay and wait."""
    if not catalogs:
        return selection

    def is_there(key: str, number: int) -> bool:
        return key not in catalogs or 1 <= number <= catalogs[key].n_sources

    def exists(text: str) -> bool:
        name = parse_source_name(text)
        key = name.key or min(catalogs)
        try:
            return key not in catalogs or find_source(name, catalogs[key]) > 0
        except ConfigurationError:
            return False

    asked = selection.requested_target
    return msgspec.structs.replace(
        selection,
        targets={key: number for key, number in selection.targets.items() if is_there(key, number)},
        comparisons={
            key: tuple(number for number in numbers if is_there(key, number))
            for key, numbers in selection.comparisons.items()
        },
        requested_target=asked if asked and exists(asked) else "",
        requested_comparisons=tuple(text for text in selection.requested_comparisons if exists(text)),
    )
