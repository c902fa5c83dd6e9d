"""Photometers and finders of a user's own in the notebook interface."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from stream.batch import photometers
from stream.batch.photometers import Background, DefaultLocalBackground
from stream.config import PhotometerSettings, Recipe
from stream.measure.protocols import Photometer, SourceFinder
from stream.own_parts import name_of_part


@dataclass(frozen=True, slots=True)
class OwnPhotometer:
    """A photometer of the user's own; see `stream.measure.protocols.Photometer`.

    Its label is the name of the class in lower case, with ``forced_`` before and the background after it as those of
    the built-in ones have them.

    Attributes
    ----------
    part : Photometer, class or str
        An object that its class makes without arguments, the class, or its name as ``package.module:Class``.
    local_background_estimator, forced, name
        As in `opticam.AperturePhotometer`; the background is that of an annulus unless said otherwise.
    """

    part: Photometer | str
    local_background_estimator: Background = field(default_factory=DefaultLocalBackground)
    forced: bool = False
    name: str = ""

    def apply_to(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this photometer as its only one; raises ConfigurationError."""
        settings = PhotometerSettings(
            kind=name_of_part(self.part, "photometer"),
            forced=self.forced,
            background=photometers.background_kind(self.local_background_estimator),
            name=self.name,
        )
        return photometers.applied(recipe, settings, self.local_background_estimator)


def recipe_with(photometer: photometers.Photometer | Photometer | str, recipe: Recipe) -> Recipe:
    """Return the recipe with a photometer as its only one: a built-in one, or one of the user's own.

    Raises
    ------
    ConfigurationError
        If it is given something that it cannot work with, or the workers cannot make it.
    """
    if isinstance(photometer, str) or not hasattr(photometer, "apply_to"):
        photometer = OwnPhotometer(photometer)
    return photometer.apply_to(recipe)


def with_finder(recipe: Recipe, finder: SourceFinder | str | None) -> Recipe:
    """Return the recipe with a finder of the user's own; as it is, if None. Raises ConfigurationError."""
    if finder is None:
        return recipe
    detection = msgspec.structs.replace(recipe.detection, finder=name_of_part(finder, "finder"))
    return msgspec.structs.replace(recipe, detection=detection)
