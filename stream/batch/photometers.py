"""Photometers as a notebook names them; each says which settings of a recipe it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from stream.config import PhotometerSettings, PhotometrySettings, Recipe
from stream.errors import ConfigurationError
from stream.measure.protocols import LocalBackgroundEstimator
from stream.own_parts import name_of_part


@dataclass(frozen=True, slots=True)
class DefaultLocalBackground:
    """Background of each source from an annulus around it, sigma-clipped.

    Radii are in units of the FWHM of the catalog. A value that is None is that of the recipe
    (`stream.config.PhotometrySettings`).
    """

    inner_fwhm: float | None = None
    outer_fwhm: float | None = None
    clip_sigma: float | None = None


Background = DefaultLocalBackground | LocalBackgroundEstimator | str | None
"""An annulus, a class of the user's own (an object of it, or ``package.module:Class``), or None for the mesh."""


class Photometer(Protocol):
    """What `Reducer.photometry` takes."""

    def apply_to(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this photometer as its only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AperturePhotometer:
    """Sum over an elliptical aperture.

    Attributes
    ----------
    local_background_estimator : DefaultLocalBackground, LocalBackgroundEstimator, str or None
        With the default one, the background is that of an annulus around the source and the label ends in
        ``_annulus``; with a class of the user's own (`stream.measure.protocols`), what that says, and the label ends in
        its name; without, that of a mesh over the whole frame.
    forced : bool
        Measure where the catalog says, and begin the label with ``forced_``; else where the source itself is found,
        and nothing where it is not.
    radius_fwhm : float or None
        Geometric mean of the axes in FWHM of the frame; None takes that of the recipe.
    semi_axes_px : pair of float or None
        Semi-major and semi-minor axis in pixels, instead of `radius_fwhm`.
    semi_axes_fwhm : pair of float or None
        The same in FWHM of the frame.
    name : str
        End of the label, to tell photometers of the same kind apart.
    """

    local_background_estimator: Background = None
    forced: bool = False
    radius_fwhm: float | None = None
    semi_axes_px: tuple[float, float] | None = None
    semi_axes_fwhm: tuple[float, float] | None = None
    name: str = ""

    def apply_to(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this photometer as its only one; raises ConfigurationError."""
        settings = PhotometerSettings(
            kind="aperture",
            forced=self.forced,
            background=background_kind(self.local_background_estimator),
            radius_fwhm=self.radius_fwhm,
            semi_axes_px=self.semi_axes_px,
            semi_axes_fwhm=self.semi_axes_fwhm,
            name=self.name,
        )
        return applied(recipe, settings, self.local_background_estimator)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimalPhotometer:
    """Pixels weighted by the profile of the stars (Naylor 1998, MNRAS 296, 339).

    `local_background_estimator`, `forced` and `name` as in `AperturePhotometer`.
    """

    local_background_estimator: Background = None
    forced: bool = False
    name: str = ""

    def apply_to(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this photometer as its only one; raises ConfigurationError."""
        settings = PhotometerSettings(
            kind="optimal",
            forced=self.forced,
            background=background_kind(self.local_background_estimator),
            name=self.name,
        )
        return applied(recipe, settings, self.local_background_estimator)


def background_kind(estimator: Background) -> str:
    """Name of a background in a recipe; raises ConfigurationError for a class that the workers cannot make."""
    if estimator is None:
        return "mesh"
    return "annulus" if isinstance(estimator, DefaultLocalBackground) else name_of_part(estimator, "background")


def applied(recipe: Recipe, settings: PhotometerSettings, background: Background) -> Recipe:
    """The recipe, checked as one that comes from a file is: attributes of notebooks may be anything."""
    estimator = background if isinstance(background, DefaultLocalBackground) else None
    asked = {
        "annulus_inner_fwhm": estimator.inner_fwhm if estimator else None,
        "annulus_outer_fwhm": estimator.outer_fwhm if estimator else None,
        "annulus_clip_sigma": estimator.clip_sigma if estimator else None,
    }
    content = msgspec.to_builtins(recipe.photometry)
    content |= {name: value for name, value in asked.items() if value is not None}
    try:
        checked = msgspec.convert(msgspec.to_builtins(settings), PhotometerSettings)
        photometry = msgspec.convert(content, PhotometrySettings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"photometer {settings.label}: {error}") from error
    return msgspec.structs.replace(recipe, photometers=(checked,), photometry=photometry)
