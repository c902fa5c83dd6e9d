"""A finished night, read once for all that is written of it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stream.analysis.apertures import (
    QUIETEST,
    ApertureCorrection,
    aperture_correction,
    aperture_ladder,
    choose_photometer,
    growth_stars,
)
from stream.analysis.choice import KeyChoice, resolve_selection
from stream.analysis.relative import RelativeLightCurve, relative_light_curve
from stream.analysis.requests import refuse_waiting
from stream.atomic_files import write_atomically
from stream.config import Recipe
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import Catalog, FloatArray, SourceFluxes
from stream.night.night_reader import NightReader
from stream.notes import load_notes, time_of_note
from stream.selection import load_selection

if TYPE_CHECKING:
    from stream.measure.calibration import Calibration


@dataclass(frozen=True, slots=True)
class ExportNight:
    """What the files are made of.

    Attributes
    ----------
    fluxes : dict
        Light curves by label and key; a label may have some of the keys.
    choices : dict
        Target and comparison stars by key.
    frame_names : dict
        Path of every frame by its number.
    facts : dict
        What every file says of the night: software, instrument, recipe, folder.
    choice_problem : str
        Why there are no choices: a source that was asked for does not exist.
    photometer_facts : dict
        Why the photometer of a key was chosen, by key; empty where it was asked for.
    corrections : dict
        Aperture corrections by label and key; empty unless they were asked for.
    peak_adu : dict
        Highest pixel of every source on every frame, counts, by key; shape of the fluxes.
    """

    recipe: Recipe
    catalogs: dict[str, Catalog]
    fluxes: dict[str, dict[str, SourceFluxes]]
    choices: dict[str, KeyChoice]
    frame_names: dict[int, str]
    facts: dict[str, str]
    choice_problem: str = ""
    photometer_facts: dict[str, str] = field(default_factory=dict)
    corrections: dict[tuple[str, str], ApertureCorrection] = field(default_factory=dict)
    peak_adu: dict[str, FloatArray] = field(default_factory=dict)

    def relative_light_curves(self) -> list[RelativeLightCurve]:
        """The target of each key over its comparison stars, with each photometer, where that can be computed.

        Raises
        ------
        ConfigurationError
            If the selection of the night names a source that does not exist.
        """
        if self.choice_problem:
            raise ConfigurationError(self.choice_problem)
        curves = []
        for by_key in self.fluxes.values():
            for key, choice in self.choices.items():
                if not choice.comparisons or key not in by_key or not len(by_key[key].frame_ids):
                    continue
                try:
                    curves.append(relative_light_curve(by_key[key], choice.target, choice.comparisons))
                except AnalysisError:
                    # A target without flux in one photometer leaves the others; the page says why.
                    continue
        return curves


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is written of a night.

    Attributes
    ----------
    photometer : str
        Label of the only photometer, also one of the ladder of apertures; ``quietest`` takes for each key the one with
        the least scatter of the comparison stars; empty takes all without a name of their own.
    aperture_correction : bool
        Bring raw fluxes to those of the largest aperture of the ladder.
    """

    photometer: str = ""
    aperture_correction: bool = False


DEFAULT_OPTIONS = ExportOptions()


def read_night(out: Path, options: ExportOptions = DEFAULT_OPTIONS) -> ExportNight:
    """Read the night in `out`.

    Raises
    ------
    LedgerError
        If there is no ledger in `out` or it cannot be read, or it has no such photometer.
    ConfigurationError
        If an aperture correction is asked for that the night has no apertures or stars for.
    """
    label = options.photometer if options.photometer != QUIETEST else None
    reader = NightReader(out, label=label or None)
    try:
        recipe, catalogs = reader.recipe(), reader.catalogs()
        labels = (label,) if label else recipe.labels() if options.photometer else recipe.main_labels()
        # The photometer that the page shows decides the automatic choice, here as there.
        first = recipe.default_label()
        read = {
            name: {key: reader.source_fluxes(key, name) for key in sorted(catalogs)}
            for name in dict.fromkeys((first, *labels))
        }
        largest = _largest_aperture(reader, recipe, catalogs) if options.aperture_correction else {}
        peaks = peaks_of(reader, read[first])
        night = ExportNight(
            recipe, catalogs, read, {}, reader.frame_paths(), facts_of(out, reader, recipe), peak_adu=peaks
        )
    finally:
        reader.close()
    night = _with_choices(night, out, first)
    if options.photometer == QUIETEST:
        night = _with_quietest(night, first)
    elif label:
        night = replace(night, fluxes={label: read[label]})
    return _with_corrections(night, largest) if options.aperture_correction else night


def peaks_of(reader: NightReader, fluxes: Mapping[str, SourceFluxes]) -> dict[str, FloatArray]:
    """Highest pixel of every source on the frames of some light curves, by key."""
    return {key: reader.peak_counts(key, of_key.frame_ids) for key, of_key in fluxes.items()}


def _with_choices(night: ExportNight, out: Path, label: str) -> ExportNight:
    try:
        selection = load_selection(out)
        refuse_waiting(selection, night.catalogs)
        choices = resolve_selection(selection, night.catalogs, night.fluxes[label])
    except ConfigurationError as problem:
        # A mistyped target takes no raw light curve from anybody.
        return replace(night, choice_problem=str(problem))
    return replace(night, choices=choices)


def _with_quietest(night: ExportNight, first: str) -> ExportNight:
    """Leave for each key the photometer whose comparison stars scatter least."""
    fluxes: dict[str, dict[str, SourceFluxes]] = {}
    facts = {}
    for key in sorted(night.catalogs):
        by_label = {
            label: by_key[key] for label, by_key in sorted(night.fluxes.items(), key=lambda item: item[0] != first)
        }
        comparisons = night.choices[key].comparisons if key in night.choices else ()
        choice = choose_photometer(by_label, comparisons)
        fluxes.setdefault(choice.label, {})[key] = by_label[choice.label]
        facts[key] = choice.sentence
    return replace(night, fluxes=fluxes, photometer_facts=facts)


def _largest_aperture(
    reader: NightReader, recipe: Recipe, catalogs: Mapping[str, Catalog]
) -> dict[str, tuple[float, SourceFluxes]]:
    """Radius in FWHM and fluxes of the largest aperture of the ladder, by key."""
    ladder = aperture_ladder(recipe)
    if not ladder:
        raise ConfigurationError(
            "an aperture correction needs a recipe that measures a forced aperture with an annulus"
        )
    radius = max(ladder)
    return {key: (radius, reader.source_fluxes(key, ladder[radius])) for key in catalogs}


def _with_corrections(night: ExportNight, largest: Mapping[str, tuple[float, SourceFluxes]]) -> ExportNight:
    corrections = {}
    for label, by_key in night.fluxes.items():
        for key, fluxes in by_key.items():
            radius, large = largest[key]
            if not len(large.frame_ids):
                continue
            stars = growth_stars(large, night.catalogs[key])
            try:
                corrections[label, key] = aperture_correction(fluxes, large, stars, radius_fwhm=radius)
            except AnalysisError as error:
                raise ConfigurationError(f"photometer {label} of {key}: {error}") from error
    return replace(night, corrections=corrections)


def facts_of(out: Path, reader: NightReader, recipe: Recipe) -> dict[str, str]:
    """What every file says of the night in `out`, the notes of its observers among it."""
    return {
        "software": software_version(),
        "instrument": recipe.instrument.name,
        "recipe": recipe.hash(),
        "folder": str(reader.folder()),
        "calibration": _calibration_fact(reader),
        **{f"note {time_of_note(note)}": note.text for note in load_notes(out)},
    }


def _calibration_fact(reader: NightReader) -> str:
    """Which masters the frames of each key were measured with, in order, as ``1:g bias, flat (1f3a...); 2:r none``."""
    from stream.measure.master_files import load_calibration

    sentences = []
    for key, versions in reader.calibrations().items():
        there = load_calibration(reader.masters_folder(), key) if any(versions) else None
        sentences.append(f"{key} {', then '.join(_masters_text(version, there) for version in versions)}")
    return "; ".join(sentences) or "none"


def _masters_text(version: str, there: Calibration | None) -> str:
    if not version:
        return "none"
    if there is None or there.version != version:
        return f"masters that were replaced since ({version})"
    parts = {"bias": there.bias, "dark": there.dark, "flat": there.flat, "bad pixels": there.bad_pixels}
    return f"{', '.join(name for name, part in parts.items() if part is not None)} ({version})"


def read_catalogs(out: Path) -> dict[str, Catalog]:
    """Read the catalogs of the night in `out`, by key; raises LedgerError if that cannot be done."""
    reader = NightReader(out)
    try:
        return reader.catalogs()
    finally:
        reader.close()


def software_version() -> str:
    """Name and version of this program, as files say it."""
    try:
        return f"opticam-live {importlib.metadata.version('opticam-live')}"
    except importlib.metadata.PackageNotFoundError:
        return "opticam-live of an unknown version"


def in_file_names(key: str) -> str:
    """A key as file names have it: ``1-g`` for ``1:g``."""
    return key.replace(":", "-")


def time_fact(times: SourceFluxes | RelativeLightCurve) -> str:
    """The scale of the best time column, in words."""
    if times.time_scale() == "time_bmjd_tdb":
        return "time_bmjd_tdb is BJD_TDB - 2400000.5, middle of the exposure, days"
    return "time_mjd_utc is MJD in UTC, not corrected to the barycentre, middle of the exposure, days"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file atomically, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
