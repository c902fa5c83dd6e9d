"""A finished night, read once for all that is written of it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from stream.analysis.choice import KeyChoice, resolve_selection
from stream.analysis.relative import RelativeLightCurve, relative_light_curve
from stream.atomic_files import write_atomically
from stream.config import Recipe
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import Catalog, SourceFluxes
from stream.night.night_reader import NightReader
from stream.selection import load_selection


@dataclass(frozen=True, slots=True)
class ExportNight:
    """What the files are made of.

    Attributes
    ----------
    fluxes : dict
        Light curves by label and key.
    choices : dict
        Target and comparison stars by key.
    frame_names : dict
        Path of every frame by its number.
    facts : dict
        What every file says of the night: software, instrument, recipe, folder.
    choice_problem : str
        Why there are no choices: a source that was asked for does not exist.
    """

    recipe: Recipe
    catalogs: dict[str, Catalog]
    fluxes: dict[str, dict[str, SourceFluxes]]
    choices: dict[str, KeyChoice]
    frame_names: dict[int, str]
    facts: dict[str, str]
    choice_problem: str = ""

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
                if not choice.comparisons or not len(by_key[key].frame_ids):
                    continue
                try:
                    curves.append(relative_light_curve(by_key[key], choice.target, choice.comparisons))
                except AnalysisError:
                    # A target without flux in one photometer leaves the others; the page says why.
                    continue
        return curves


def read_night(out: Path) -> ExportNight:
    """Read the night in `out`.

    Raises
    ------
    LedgerError
        If there is no ledger in `out` or it cannot be read.
    """
    reader = NightReader(out)
    try:
        recipe, catalogs = reader.recipe(), reader.catalogs()
        # The photometer that the page shows decides the automatic choice, here as there.
        labels = tuple(dict.fromkeys((recipe.default_label(), *recipe.main_labels())))
        fluxes = {label: {key: reader.source_fluxes(key, label) for key in sorted(catalogs)} for label in labels}
        names = reader.frame_paths()
        facts = {
            "software": software_version(),
            "instrument": recipe.instrument.name,
            "recipe": recipe.hash(),
            "folder": str(reader.folder()),
        }
    finally:
        reader.close()
    try:
        choices = resolve_selection(load_selection(out), catalogs, fluxes[recipe.default_label()])
    except ConfigurationError as problem:
        # A mistyped target takes no raw light curve from anybody.
        return ExportNight(recipe, catalogs, fluxes, {}, names, facts, str(problem))
    return ExportNight(recipe, catalogs, fluxes, choices, names, facts)


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
