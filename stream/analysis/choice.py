"""From what an observer asked for to the target and comparison stars of every key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from stream.analysis.comparisons import FEWEST_FRAMES_TO_JUDGE, TargetChoice, choose_comparisons, choose_target
from stream.analysis.matching import CatalogMatch, match_catalogs
from stream.errors import ConfigurationError
from stream.messages import Catalog, Selection, SourceFluxes

_NUMBERED = re.compile(r"(?:(?P<key>[^#@]+))?#(?P<number>\d+)")
_PIXEL = re.compile(r"(?:(?P<key>[^#@]+)@)?(?P<x>[+-]?\d+(?:\.\d*)?)\s*,\s*(?P<y>[+-]?\d+(?:\.\d*)?)")
_NEAR_PX = 3.0
_NEAR_FWHM = 1.5
_COMPARISONS_WITHOUT_FRAMES = 5


@dataclass(frozen=True, slots=True)
class SourceName:
    """A source as an observer names it: by number, or by a pixel of the reference frame.

    Attributes
    ----------
    text : str
        As it was written.
    key : str or None
        None: the first key of the night, in order of name.
    number : int or None
        Number in the catalog, from 1.
    x, y : float or None
        Pixel of the reference frame, 0-based.
    """

    text: str
    key: str | None = None
    number: int | None = None
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """Target and comparison stars of one key.

    Attributes
    ----------
    target : int
    comparisons : tuple of int
        Heaviest first where they were chosen automatically; empty if there are none, and a sentence says why.
    automatic : bool
        Whether the target was chosen without anybody asking for it.
    sentences : tuple of str
        Why these, for the observer.
    excluded : dict
        Why other sources are not comparison stars, by number, where these were chosen automatically.
    automatic_comparisons : bool
    """

    target: int
    comparisons: tuple[int, ...]
    automatic: bool
    sentences: tuple[str, ...]
    excluded: dict[int, str] = field(default_factory=dict)
    automatic_comparisons: bool = True


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A target on the way to its `KeyChoice`."""

    number: int
    automatic: bool
    sentences: tuple[str, ...]


def parse_source_name(text: str) -> SourceName:
    """Read ``1:g#2`` (source 2 of key 1:g), ``#2``, ``424,286`` (pixel x, y) or ``1:g@424,286``.

    Raises
    ------
    ConfigurationError
        If the text is none of these.
    """
    stripped = text.strip()
    if numbered := _NUMBERED.fullmatch(stripped):
        number = int(numbered["number"])
        if number < 1:
            raise ConfigurationError(f"source {text!r}: sources are numbered from 1")
        return SourceName(stripped, numbered["key"], number)
    if pixel := _PIXEL.fullmatch(stripped):
        return SourceName(stripped, pixel["key"], None, float(pixel["x"]), float(pixel["y"]))
    raise ConfigurationError(
        f"source {text!r} is not understood: 1:g#2 (key and number) or 424,286 (pixel of the first frame) is required"
    )


def resolve_selection(
    selection: Selection, catalogs: Mapping[str, Catalog], fluxes_by_key: Mapping[str, SourceFluxes]
) -> dict[str, KeyChoice]:
    """Find target and comparison stars of every key that has a catalog with a source.

    In this order, for the target of a key: what `Selection.targets` says of it; the target of another key, matched
    by the positions of the stars; `Selection.requested_target`, in its own key or matched; the source that varies most
    beyond its noise in any key, matched. Where stars cannot be matched for sure, the key chooses for itself and a
    sentence says so. Comparison stars likewise, but each key without a wish chooses its own, without a look at
    the target. A request for a key that has no catalog yet waits, and a sentence says so.

    Parameters
    ----------
    catalogs : mapping of key to Catalog
    fluxes_by_key : mapping of key to SourceFluxes
        May lack keys or hold few frames: then the brightest unsaturated source is the target, with a sentence.

    Raises
    ------
    ConfigurationError
        If a source that was asked for does not exist, or no source lies at a pixel that was asked for.
    """
    usable = {key: catalogs[key] for key in sorted(catalogs) if catalogs[key].n_sources}
    matcher = _Matcher(usable)
    targets = _targets(selection, usable, fluxes_by_key, matcher)
    return {key: _with_comparisons(selection, key, targets[key], matcher, fluxes_by_key.get(key)) for key in usable}


class _Matcher:
    """Matches catalogs of the night, each pair once."""

    def __init__(self, catalogs: Mapping[str, Catalog]) -> None:
        self.catalogs = catalogs
        self._matches: dict[tuple[str, str], CatalogMatch] = {}

    def __call__(self, source: str, destination: str) -> CatalogMatch:
        pair = (source, destination)
        if pair not in self._matches:
            self._matches[pair] = match_catalogs(self.catalogs[source], self.catalogs[destination])
        return self._matches[pair]

    def carry(self, targets: dict[str, _Chosen], key: str) -> tuple[_Chosen | None, tuple[str, ...]]:
        """The target of another key found in this one; otherwise why not."""
        failures: list[str] = []
        for origin, chosen in targets.items():
            match = self(origin, key)
            if chosen.number in match.numbers:
                number = match.numbers[chosen.number]
                sentence = f"source {number} of {key} is source {chosen.number} of {origin} ({match.sentence})"
                return _Chosen(number, chosen.automatic, (sentence,)), ()
            missing = match.sentence if not match.sure else f"source {chosen.number} of {origin} is not seen in {key}"
            failures.append(f"{missing}: name the target of {key}")
        return None, tuple(failures)


def _targets(
    selection: Selection,
    catalogs: Mapping[str, Catalog],
    fluxes_by_key: Mapping[str, SourceFluxes],
    matcher: _Matcher,
) -> dict[str, _Chosen]:
    asked, notes = _asked_targets(selection, catalogs)
    automatic = {} if asked else _automatic_target(catalogs, fluxes_by_key)
    targets = asked or dict(automatic)
    found = dict(targets)
    for key in catalogs:
        if key in found:
            continue
        carried, failures = matcher.carry(targets, key)
        found[key] = carried or _own_target(catalogs[key], fluxes_by_key.get(key), failures)
    return {key: _Chosen(chosen.number, chosen.automatic, notes + chosen.sentences) for key, chosen in found.items()}


def _asked_targets(selection: Selection, catalogs: Mapping[str, Catalog]) -> tuple[dict[str, _Chosen], tuple[str, ...]]:
    asked: dict[str, _Chosen] = {}
    for key, number in selection.targets.items():
        if key in catalogs:
            _check_number(number, catalogs[key], "target")
            asked[key] = _Chosen(number, False, (f"source {number} of {key} was chosen as target",))
    if asked or not selection.requested_target or not catalogs:
        return asked, ()
    name = parse_source_name(selection.requested_target)
    key = name.key or min(catalogs)
    if key not in catalogs:
        return {}, (f"the target {name.text} waits for the catalog of {key}",)
    number = find_source(name, catalogs[key])
    return {key: _Chosen(number, False, (f"the target {name.text} is source {number} of {key}",))}, ()


def _automatic_target(catalogs: Mapping[str, Catalog], fluxes_by_key: Mapping[str, SourceFluxes]) -> dict[str, _Chosen]:
    """The most variable source of all keys; of the first key where there are too few frames to tell."""
    choices: dict[str, TargetChoice] = {}
    for key in catalogs:
        fluxes = fluxes_by_key.get(key)
        if fluxes is not None and len(fluxes.frame_ids) >= FEWEST_FRAMES_TO_JUDGE:
            choices[key] = choose_target(fluxes, choose_comparisons(fluxes))
    if choices:
        key = max(choices, key=lambda key: choices[key].excess)
        return {key: _Chosen(choices[key].target, True, (choices[key].sentence,))}
    return {key: _own_target(catalogs[key], fluxes_by_key.get(key), ()) for key in list(catalogs)[:1]}


def _own_target(catalog: Catalog, fluxes: SourceFluxes | None, notes: tuple[str, ...]) -> _Chosen:
    if fluxes is not None and len(fluxes.frame_ids):
        choice = choose_target(fluxes, choose_comparisons(fluxes))
        return _Chosen(choice.target, True, (*notes, choice.sentence))
    sentence = f"source 1 of {catalog.key}, the brightest, stands in until there are frames to judge by"
    return _Chosen(1, True, (*notes, sentence))


def find_source(name: SourceName, catalog: Catalog) -> int:
    """Number of the source that a name means in a catalog.

    A pixel means the nearest source within 3 pixels or 1.5 FWHM, whichever is more.

    Raises
    ------
    ConfigurationError
        If there is no such number, or no source near the pixel; the text names the nearest.
    """
    if name.number is not None:
        _check_number(name.number, catalog, f"source {name.text}")
        return name.number
    if name.x is None or name.y is None:
        raise ConfigurationError(f"source {name.text!r} has neither a number nor a pixel")
    distance = np.hypot(np.subtract(catalog.x, name.x), np.subtract(catalog.y, name.y))
    nearest = int(distance.argmin())
    fwhm = catalog.fwhm_px if math.isfinite(catalog.fwhm_px) else 0.0
    limit = max(_NEAR_PX, _NEAR_FWHM * fwhm)
    if distance[nearest] > limit:
        raise ConfigurationError(
            f"no source of {catalog.key} within {limit:.1f} px of {name.text}: the nearest is source {nearest + 1} "
            f"at {catalog.x[nearest]:.1f},{catalog.y[nearest]:.1f}, {distance[nearest]:.1f} px away"
        )
    return nearest + 1


def _check_number(number: int, catalog: Catalog, role: str) -> None:
    if not 1 <= number <= catalog.n_sources:
        raise ConfigurationError(
            f"{role}: number {number} is not in the catalog of {catalog.key}, "
            f"which has sources 1 to {catalog.n_sources}"
        )


def _with_comparisons(
    selection: Selection, key: str, target: _Chosen, matcher: _Matcher, fluxes: SourceFluxes | None
) -> KeyChoice:
    catalog = matcher.catalogs[key]
    wanted, notes = _asked_comparisons(selection, key, matcher)
    comparisons = tuple(number for number in wanted if number != target.number)
    if len(comparisons) < len(wanted):
        notes += (f"source {target.number} of {key} is the target and no longer a comparison star",)
    if comparisons:
        names = ", ".join(str(number) for number in comparisons)
        sentences = (*target.sentences, *notes, f"{key} is compared with {names}, as asked for")
        return KeyChoice(target.number, comparisons, target.automatic, sentences, {}, False)
    if fluxes is None or not len(fluxes.frame_ids):
        others = [number for number in range(1, catalog.n_sources + 1) if number != target.number]
        comparisons = tuple(others[:_COMPARISONS_WITHOUT_FRAMES])
        sentence = f"{key} is compared with its brightest other stars until there are frames to judge by"
        return KeyChoice(target.number, comparisons, target.automatic, (*target.sentences, *notes, sentence))
    choice = choose_comparisons(fluxes, exclude=(target.number,))
    sentences = (*target.sentences, *notes, choice.sentence)
    return KeyChoice(target.number, choice.comparisons, target.automatic, sentences, choice.excluded)


def _asked_comparisons(selection: Selection, key: str, matcher: _Matcher) -> tuple[tuple[int, ...], tuple[str, ...]]:
    catalogs = matcher.catalogs
    if selection.comparisons.get(key):
        for number in selection.comparisons[key]:
            _check_number(number, catalogs[key], f"comparison star of {key}")
        return tuple(dict.fromkeys(selection.comparisons[key])), ()
    numbers: list[int] = []
    notes: list[str] = []
    for text in selection.requested_comparisons:
        name = parse_source_name(text)
        origin = name.key or min(catalogs)
        if origin not in catalogs:
            notes.append(f"the comparison star {text} waits for the catalog of {origin}")
            continue
        number = find_source(name, catalogs[origin])
        if origin == key:
            numbers.append(number)
        elif number in (match := matcher(origin, key)).numbers:
            numbers.append(match.numbers[number])
        else:
            notes.append(f"the comparison star {text} was not found in {key}")
    return tuple(dict.fromkeys(numbers)), tuple(notes)
