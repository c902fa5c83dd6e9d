"""Requests for target and comparison stars that no catalog can fulfil."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stream.analysis.choice import find_source, parse_source_name
from stream.errors import ConfigurationError
from stream.messages import Catalog, Selection


def refuse_waiting(selection: Selection, catalogs: Mapping[str, Catalog]) -> None:
    """Refuse a request for a key that has no catalog: what would be written instead is of another star.

    Without any catalog there is nothing to write, and nothing is refused.

    Raises
    ------
    ConfigurationError
        If the target or a comparison star is asked for in such a key, and nothing was chosen since.
    """
    if not catalogs:
        return
    asked = []
    if selection.requested_target and not selection.targets.keys() & catalogs.keys():
        asked.append(("target", selection.requested_target))
    if not selection.comparisons.keys() >= catalogs.keys():
        asked += [("comparison star", text) for text in selection.requested_comparisons]
    for role, text in asked:
        key = parse_source_name(text).key
        if key is not None and key not in catalogs:
            raise ConfigurationError(f"{role} {text}: there is no catalog of {key}, only of {', '.join(catalogs)}")


def without_missing_sources(
    selection: Selection, catalogs: Mapping[str, Catalog], *, complete: bool = False
) -> Selection:
    """Return the selection without the sources that do not exist.

    Those of keys without a catalog stay and wait, unless the night is `complete`: then no other catalog will come.
    """
    if not catalogs:
        return selection

    def is_there(key: str, number: int) -> bool:
        return 1 <= number <= catalogs[key].n_sources if key in catalogs else not complete

    def exists(text: str) -> bool:
        name = parse_source_name(text)
        key = name.key or min(catalogs)
        try:
            return find_source(name, catalogs[key]) > 0 if key in catalogs else not complete
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
