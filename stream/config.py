"""The recipe: every setting that decides a measurement, and nothing else.

How many workers run, on which port the page is served or how often the folder is scanned changes no number and
therefore stands elsewhere. The recipe is stored with the night, hashed, and compared when a night is resumed.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import tomli_w

from stream.errors import ConfigurationError
from stream.instruments import FrameFacts, Instrument
from stream.own_parts import PartKind, is_part_name, short_name
from stream.timestamps import SkyPosition
from stream.toml_text import parse_toml

Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
PHOTOMETER_KINDS = ("aperture", "optimal")
BACKGROUND_KINDS = ("annulus", "mesh")


class PhotometerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One photometer of a recipe; all of them measure every source of every frame in one pass.

    Raises
    ------
    ConfigurationError
        If the name is not fit for a folder, or kind or background are neither known nor the name of a class.
    """

    kind: str = "aperture"
    """Sum over an aperture (``aperture``), weighted by the profile (``optimal``, Naylor 1998), or a class of the user's
    own as ``package.module:Class``."""
    forced: bool = True
    """Where the catalog says, or, if not forced, where the source itself is found; NaN where it is not."""
    background: str = "annulus"
    """Background of an annulus around the source (``annulus``), of a mesh over the whole frame (``mesh``), or by a
    class of the user's own."""
    radius_fwhm: Positive | None = None
    """Radius of the aperture in FWHM of the frame; None takes `PhotometrySettings.aperture_radius_fwhm`."""
    semi_axes_px: tuple[Positive, Positive] | None = None
    """Semi-major and semi-minor axis of the aperture in pixels, the major one along that of the profile."""
    semi_axes_fwhm: tuple[Positive, Positive] | None = None
    """The same in FWHM of the frame, within the bounds of `PhotometrySettings` for the geometric mean of both."""
    name: str = ""
    """End of the label, where several photometers would have the same."""

    def __post_init__(self) -> None:
        """Refuse names that are no part of a file name, kinds that nobody knows, and an aperture given twice."""
        sizes = ("radius_fwhm", "semi_axes_px", "semi_axes_fwhm")
        if len(given := [size for size in sizes if getattr(self, size) is not None]) > 1:
            raise ConfigurationError(
                f"photometers: only one of {', '.join(sizes)} is allowed, not {' and '.join(given)}"
            )
        for name in sizes[1:]:
            axes = getattr(self, name)
            if isinstance(axes, tuple) and len(axes) == 2 and axes[0] < axes[1]:
                raise ConfigurationError(f"photometers.{name} {axes} must begin with the semi-major axis")
        _check_kind("kind", self.kind, PHOTOMETER_KINDS)
        _check_kind("background", self.background, BACKGROUND_KINDS)
        if not all(character.isalnum() or character in ".-" for character in self.name):
            raise ConfigurationError(f"photometers.name ({self.name!r}) must be letters, digits, '.' and '-'")

    @property
    def is_of_stars_shape(self) -> bool:
        """Whether the axes of the aperture are those of the profile: one radius says all of it."""
        return self.semi_axes_px is None and self.semi_axes_fwhm is None

    @property
    def is_own(self) -> bool:
        """Whether a class of the user's own takes part in it."""
        return bool(self.own_parts())

    def own_parts(self) -> tuple[tuple[str, PartKind], ...]:
        """Classes of the user's own, with what they are."""
        parts: list[tuple[str, PartKind]] = []
        if self.kind not in PHOTOMETER_KINDS:
            parts.append((self.kind, "photometer"))
        if self.background not in BACKGROUND_KINDS:
            parts.append((self.background, "background"))
        return tuple(parts)

    @property
    def label(self) -> str:
        """Name of the photometer in columns and folders: ``forced_aperture_annulus``, ``optimal``, ...

        A class of the user's own stands in it by its name in lower case.
        """
        parts = ["forced"] if self.forced else []
        parts.append(short_name(self.kind))
        parts += [short_name(self.background)] if self.background != "mesh" else []
        parts += [self.name] if self.name else []
        return "_".join(parts)


def _check_kind(field: str, value: str, known: tuple[str, ...]) -> None:
    if value in known:
        return
    if not is_part_name(value):
        raise ConfigurationError(
            f"photometers.{field} ({value!r}) must be {', '.join(known)} or a class as 'package.module:Class'"
        )
    if short_name(value) in known:
        raise ConfigurationError(
            f"photometers.{field} ({value!r}) must be a class with a name of its own: labels with "
            f"{short_name(value)!r} are those of the built-in ones"
        )


APERTURE_LABEL = PhotometerSettings(kind="aperture").label
OPTIMAL_LABEL = PhotometerSettings(kind="optimal").label
DEFAULT_LABEL = OPTIMAL_LABEL
"""The photometer that light curves are shown from unless another one is asked for."""
FORCED_PHOTOMETERS = (PhotometerSettings(kind="aperture"), PhotometerSettings(kind="optimal"))
PHOTOMETER_LABELS = tuple(photometer.label for photometer in FORCED_PHOTOMETERS)
LADDER_FWHM = (0.6, 0.8, 1.0, 1.2, 2.0, 2.5)
"""Radii of the apertures that are measured beside the standard one."""
APERTURE_LADDER = tuple(PhotometerSettings(radius_fwhm=radius, name=f"{radius}fwhm") for radius in LADDER_FWHM)


class DetectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How sources are found on the stacked picture and on frames that lost their alignment.

    Raises
    ------
    ConfigurationError
        If the finder is not named as a class.
    """

    threshold_sigma: Positive = 5.0
    """Detection threshold above the background, in standard deviations of the convolved background."""
    min_pixels: Count = 5
    """Fewest connected pixels of a source."""
    mesh_px: Count = 64
    """Box size of the background mesh, pixels."""
    max_sources: Count = 100
    """The brightest so many sources make the catalog."""
    border_px: NotNegative = 4.0
    """Sources nearer than this to the edge of the stacked picture are left out, pixels."""
    deblend_levels: Annotated[int, msgspec.Meta(ge=2, le=256)] = 32
    """Brightness levels between threshold and peak at which sources that touch are looked at apart."""
    deblend_contrast: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.005
    """Share of the light of a blend that a part must have to be a source of its own; 1 never parts what touches."""
    finder: str = ""
    """Class of the user's own that finds the sources instead, as ``package.module:Class``."""

    def __post_init__(self) -> None:
        """Refuse a finder that is not the name of a class."""
        if self.finder and not is_part_name(self.finder):
            raise ConfigurationError(f"detection.finder ({self.finder!r}) must be a class as 'package.module:Class'")


class BootstrapSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which frames make the catalog of a key."""

    n_frames: Count = 5
    """So many of the first frames are stacked."""
    wait_s: Positive = 30.0
    """The catalog is built from fewer frames when no more came in this time after the first, seconds."""


class AlignmentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the transform from catalog to frame is found."""

    n_stars: Count = 40
    """The brightest so many catalog stars are centred on every frame."""
    n_control_points: Annotated[int, msgspec.Meta(ge=3, le=25)] = 20
    """Points given to astroalign when the prediction failed; its time explodes beyond 25."""
    clip_px: Positive = 1.0
    """A star further than this from the fitted transform is left out of it, pixels."""


class PhotometrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Apertures in units of the full width at half maximum (FWHM) of the frame's point-spread function.

    Raises
    ------
    ConfigurationError
        If an inner bound is not below its outer one.
    """

    aperture_radius_fwhm: Positive = 1.5
    """Radius of the aperture, geometric mean of its axes, in FWHM of the frame."""
    aperture_min_px: Positive = 1.5
    """The radius is never smaller, pixels."""
    aperture_max_px: Positive = 40.0
    """The radius is never larger, pixels; nor than the inner radius of the annulus."""
    annulus_inner_fwhm: Positive = 3.0
    """Inner radius of the background annulus, in FWHM of the catalog."""
    annulus_outer_fwhm: Positive = 5.5
    """Outer radius of the background annulus, in FWHM of the catalog."""
    match_tolerance_fwhm: Positive = 1.0
    """A source that is not forced is itself if it is found this near to where the catalog says, FWHM of the frame."""
    annulus_clip_sigma: Annotated[float, msgspec.Meta(ge=1.0, le=100.0)] = 3.0
    """Pixels of the annulus further than this from their median are left out, standard deviations."""

    def __post_init__(self) -> None:
        """Refuse apertures and annuli without pixels."""
        for inner, outer in (("aperture_min_px", "aperture_max_px"), ("annulus_inner_fwhm", "annulus_outer_fwhm")):
            low, high = getattr(self, inner), getattr(self, outer)
            if not low < high:
                raise ConfigurationError(f"photometry.{inner} ({low}) must be below photometry.{outer} ({high})")


class CalibrationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to a frame before it is measured, apart from its masters, which have a version of their own."""

    zero_level_adu: NotNegative = 0.0
    """Counts of a pixel without light, as the camera writes it, where there are no bias frames; matters for a flat
    field and a linearity correction. 0 takes that of the camera (`Camera.zero_level_adu`)."""
    rebin: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    """Squares of so many pixels on a side are summed."""
    median_filter: bool = False
    """Replace warm pixels by the median of 3 x 3."""
    remove_cosmic_rays: bool = False
    """Look for cosmic rays with L.A.Cosmic, and measure without the pixels that they hit."""

    def zero_level_of(self, facts: FrameFacts) -> float:
        """Counts of a (rebinned) pixel without light, where no bias frames tell; `UNKNOWN_ZERO` if nothing tells."""
        return self.zero_level_adu * self.rebin**2 if self.zero_level_adu else facts.zero_level_adu


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting that decides a measurement.

    Attributes
    ----------
    target_position : SkyPosition or None
        Position in the sky that times are referred to, instead of the pointing of the headers.
    """

    instrument: Instrument
    """How headers are read, and what the detectors are."""
    target_position: SkyPosition | None = None
    detection: DetectionSettings = DetectionSettings()
    bootstrap: BootstrapSettings = BootstrapSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    photometry: PhotometrySettings = PhotometrySettings()
    calibration: CalibrationSettings = CalibrationSettings()
    photometers: tuple[PhotometerSettings, ...] = (*FORCED_PHOTOMETERS, *APERTURE_LADDER)
    """All that is measured of a source; the first ones are shown and exported, those with a name on demand."""

    def __post_init__(self) -> None:
        """Refuse a recipe that measures nothing, two things by one label, or corrects sums of pixels."""
        labels = self.labels()
        if not labels or len(set(labels)) < len(labels):
            raise ConfigurationError(
                f"photometers ({', '.join(labels) or 'none'}) must be at least one, each with a label of its own"
            )
        for name, camera in self.instrument.cameras.items():
            if camera.linearity and self.calibration.rebin > 1:
                raise ConfigurationError(
                    f"calibration.rebin ({self.calibration.rebin}) must be 1: cameras.{name} has a linearity "
                    "correction, which holds for single pixels"
                )

    def labels(self) -> tuple[str, ...]:
        """Labels of the photometers."""
        return tuple(photometer.label for photometer in self.photometers)

    def own_parts(self) -> tuple[tuple[str, PartKind], ...]:
        """Classes of the user's own that the recipe names, with what they are."""
        parts = [part for photometer in self.photometers for part in photometer.own_parts()]
        parts += [(self.detection.finder, "finder")] if self.detection.finder else []
        parts += [(self.instrument.reader, "instrument")] if self.instrument.reader else []
        return tuple(dict.fromkeys(parts))

    def main_labels(self) -> tuple[str, ...]:
        """Labels of the photometers without a name: those that light curves are written of."""
        unnamed = tuple(photometer.label for photometer in self.photometers if not photometer.name)
        return unnamed or self.labels()

    def default_label(self) -> str:
        """The photometer that is shown unless another one is asked for."""
        return DEFAULT_LABEL if DEFAULT_LABEL in self.labels() else self.main_labels()[0]

    def hash(self) -> str:
        """Sixteen hexadecimal digits that change with any setting."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]

    def to_toml(self) -> str:
        """Text of ``night.toml``."""
        return tomli_w.dumps(_without_none(msgspec.to_builtins(self)))


def recipe_from_toml(text: str, origin: str) -> Recipe:
    """Read a recipe; `origin` names the file in errors.

    Raises
    ------
    ConfigurationError
        If the text is not TOML, or a setting is unknown, missing or out of bounds.
    """
    try:
        return msgspec.convert(parse_toml(text), Recipe)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, ConfigurationError) as error:
        raise ConfigurationError(f"recipe {origin}: {error}") from error


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a file; raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"recipe {path}: {error}") from error
    return recipe_from_toml(text, str(path))


def with_settings(recipe: Recipe, texts: Sequence[str]) -> Recipe:
    """Change single settings of a recipe, each given as ``detection.threshold_sigma=4``.

    A value is written as in TOML; what is no TOML is taken for text, so that names need no quotes.

    Raises
    ------
    ConfigurationError
        If a text names no setting, or its value is of another type or out of bounds.
    """
    for text in texts:
        recipe = _with_setting(recipe, text)
    return recipe


def _with_setting(recipe: Recipe, text: str) -> Recipe:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals):
        raise ConfigurationError(f"setting {text!r} must be as detection.threshold_sigma=4")
    content = msgspec.to_builtins(recipe)
    table = content
    *parents, last = name.split(".")
    for parent in parents:
        table = table.get(parent)
        if not isinstance(table, dict):
            raise ConfigurationError(f"setting {name!r} does not exist: {parent!r} is no table of the recipe")
    table[last] = _value_of(value)
    try:
        return msgspec.convert(content, Recipe)
    except (msgspec.ValidationError, ConfigurationError) as error:
        raise ConfigurationError(f"setting {name}={value}: {error}") from error


def _value_of(text: str) -> object:
    try:
        return parse_toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def recipe_differences(old: Recipe, new: Recipe) -> tuple[str, ...]:
    """Settings in which two recipes differ, as ``photometry.aperture_radius_fwhm: 1.0 -> 1.2``."""
    before, after = _flat(msgspec.to_builtins(old)), _flat(msgspec.to_builtins(new))
    names = sorted(before.keys() | after.keys())
    return tuple(
        f"{name}: {before.get(name, 'unset')} -> {after.get(name, 'unset')}"
        for name in names
        if before.get(name, "unset") != after.get(name, "unset")
    )


def _without_none(value: object) -> dict[str, object]:
    assert isinstance(value, dict)  # recipes are nested tables
    return {name: _without_none_within(inner) for name, inner in value.items() if inner is not None}


def _without_none_within(value: object) -> object:
    if isinstance(value, dict):
        return _without_none(value)
    if isinstance(value, list | tuple):
        return [_without_none_within(inner) for inner in value]
    return value


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if value is None:
        return {}
    if isinstance(value, list | tuple) and any(isinstance(inner, dict) for inner in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, object] = {}
    for name, inner in value.items():
        flat.update(_flat(inner, f"{prefix}.{name}" if prefix else str(name)))
    return flat
