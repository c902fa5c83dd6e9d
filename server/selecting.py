"""What a click on the field means: one selection made from another. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from stream.analysis.choice import KeyChoice
from stream.analysis.matching import match_catalogs
from stream.errors import ConfigurationError
from stream.messages import Catalog, FloatArray, Selection

_REACH_OF_FRAME = 0.04
_LEAST_REACH_PX = 8.0


@dataclass(frozen=True, slots=True)
class Change:
    """A new selection, and one sentence a key about what follows from it there."""

    selection: Selection
    sentences: tuple[str, ...]


def nearest_source(positions: FloatArray, *, x: float, y: float, frame_shape: tuple[int, int]) -> int | None:
    """Number of the source nearest to a click, or None if there is none within 4 % of the frame.

    Parameters
    ----------
    positions : array, shape (n_sources, 2)
        Pixels; NaN where a source has no position on this frame.
    """
    distances = np.hypot(positions[:, 0] - x, positions[:, 1] - y)
    if not np.isfinite(distances).any():
        return None
    index = int(np.nanargmin(distances))
    reach = max(_LEAST_REACH_PX, _REACH_OF_FRAME * max(frame_shape))
    return index + 1 if distances[index] <= reach else None


def with_target(selection: Selection, catalogs: Mapping[str, Catalog], *, key: str, number: int) -> Change:
    """Make one source the target, of its own key and of every other key in which it is found.

    Raises
    ------
    ConfigurationError
        If there is no such source.
    """
    _check_source(catalogs, key, number)
    targets, comparisons = {}, dict(selection.comparisons)
    sentences = []
    for other, catalog in catalogs.items():
        found, sentence = _same_source(catalogs[key], catalog, number)
        sentences.append(sentence)
        if found is None:
            # The former target of that key would be another star than the one just asked for.
            continue
        targets[other] = found
        if found in comparisons.get(other, ()):
            comparisons[other] = tuple(star for star in comparisons[other] if star != found)
            if not comparisons[other]:
                del comparisons[other]
    changed = msgspec.structs.replace(selection, targets=targets, comparisons=comparisons, requested_target="")
    return Change(changed, tuple(sentences))


def with_comparison_toggled(
    selection: Selection,
    catalogs: Mapping[str, Catalog],
    choices: Mapping[str, KeyChoice],
    *,
    key: str,
    number: int,
    wanted: bool | None = None,
) -> Change:
    """Add a comparison star, or take it out where it is one, in its own key and in the others.

    What was chosen automatically becomes the start of the observer's own list. The last comparison star of a key
    cannot be taken out, nor can the target become one; a sentence says so.

    Parameters
    ----------
    wanted : bool, optional
        Whether it is to be one, for who saw a choice that others may have changed since.

    Raises
    ------
    ConfigurationError
        If there is no such source.
    """
    _check_source(catalogs, key, number)
    comparisons = dict(selection.comparisons)
    # What was just chosen goes before what is shown: a second click may come before the first is on the page.
    shown = {other: comparisons.get(other, choice.comparisons) for other, choice in choices.items()}
    is_one = number in shown.get(key, ())
    if wanted is is_one:
        words = "is a comparison star already" if is_one else "is no comparison star any more"
        return Change(selection, (f"{key}: source {number} {words}: somebody else changed that before",))
    adding = not is_one
    sentences = []
    for other, catalog in catalogs.items():
        if other not in choices:
            continue
        found, sentence = _same_source(catalogs[key], catalog, number)
        present = shown[other]
        if found is None:
            sentences.append(sentence)
        elif found == selection.targets.get(other, choices[other].target):
            sentences.append(f"{other}: source {found} is the target and cannot be a comparison star")
        elif adding:
            comparisons[other] = tuple(sorted({*present, found}))
            sentences.append(f"{other}: source {found} is a comparison star now")
        elif set(present) == {found}:
            sentences.append(f"{other}: source {found} is the last comparison star and stays")
        else:
            comparisons[other] = tuple(star for star in present if star != found)
            sentences.append(f"{other}: source {found} is no comparison star any more")
    changed = msgspec.structs.replace(selection, comparisons=comparisons, requested_comparisons=())
    return Change(changed, tuple(sentences))


def automatic(selection: Selection) -> Change:
    """Let target and comparison stars be chosen automatically again; saved ensembles stay."""
    return Change(Selection(ensembles=selection.ensembles), ("target and comparison stars are chosen automatically",))


def _check_source(catalogs: Mapping[str, Catalog], key: str, number: int) -> None:
    if key not in catalogs:
        raise ConfigurationError(f"key {key!r} has no catalog: there is {', '.join(catalogs) or 'none yet'}")
    if not 1 <= number <= catalogs[key].n_sources:
        raise ConfigurationError(f"{key} has no source {number}: its catalog has 1 to {catalogs[key].n_sources}")


def _same_source(source: Catalog, destination: Catalog, number: int) -> tuple[int | None, str]:
    if destination.key == source.key:
        return number, f"{source.key}: source {number}, as clicked"
    match = match_catalogs(source, destination)
    found = match.numbers.get(number) if match.sure else None
    if found is None:
        return None, f"{destination.key}: source {number} of {source.key} was not found ({match.sentence})"
    return found, f"{destination.key}: source {found} ({match.sentence})"
