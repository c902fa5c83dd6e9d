"""Relative light curves in a notebook: a target, its comparison stars, the same stars in the other cameras."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from stream.analysis.analyzer import Analyzer
from stream.analysis.apertures import QUIETEST, choose_photometer
from stream.analysis.matching import match_catalogs
from stream.analysis.relative import RelativeLightCurve, check_numbers, relative_light_curve
from stream.batch.outputs import (
    file_stem,
    fluxes_of_all_photometers,
    read_photometer,
    write_relative_light_curves,
)
from stream.errors import AnalysisError, ConfigurationError
from stream.export.night import ExportNight
from stream.export.pairs import FOLDER, pairs_figure, write_pairs_table
from stream.messages import Catalog
from stream.night.ledger import LedgerReader
from stream.night.night_folder import CATALOG_FOLDER
from stream.notebook import say, show_figure, show_picture
from stream.plots import light_curves_figure, raw_light_curves_figure, save_figure

_SEPARATORS = ("/", "\\", "\0")


class DifferentialPhotometer:
    """Divides targets by comparison stars, from what `Reducer.photometry` or a night measured.

    Parameters
    ----------
    out_directory : path
        Folder of the reduction.
    show_plots : bool
        Show the catalogs and the light curves below the cells of a notebook.

    Raises
    ------
    LedgerError
        If nothing was measured there yet.
    """

    def __init__(self, out_directory: Path | str, *, show_plots: bool = True) -> None:
        self.out_directory = Path(out_directory)
        self._show = show_plots
        reader = LedgerReader(self.out_directory)
        try:
            self.keys = tuple(sorted(reader.catalogs()))
        finally:
            reader.close()
        say(f"Keys: {', '.join(self.keys)}")
        if show_plots:
            show_picture(self.out_directory / CATALOG_FOLDER / "catalogs.png")

    def get_relative_light_curve(
        self,
        key: str,
        target: int,
        comparisons: int | Collection[int],
        *,
        phot_label: str,
        prefix: str = "",
        match_other_cameras: bool = False,
        show_diagnostics: bool = True,
    ) -> Analyzer:
        """Divide the flux of a target by that of its comparison stars.

        The light curves are written to ``relative_light_curves/<prefix>_<key>_<label>_light_curve.csv``, the
        diagnostics to ``relative_light_curves/diag``: the fluxes as measured, and every pair of comparison stars over
        each other, as a figure and as a table (``_comparisons.ecsv``) of scatter, expected scatter, chi-square and
        trend. Where both stars are good, they are as constant as their errors say.

        Parameters
        ----------
        key : str
            Camera and filter, as ``1:g``.
        target : int
            Number of the target in the catalog of `key`.
        comparisons : int or collection of int
            Numbers of the comparison stars.
        phot_label : str
            Photometer, as ``aperture_annulus``: the name of a folder in ``lcs``. ``quietest`` takes, of all that
            measured the stars of this catalog, the one whose comparison stars scatter least in `key`; the target has
            no voice in it.
        prefix : str
            Begin of the names of the files, usually the name of the target.
        match_other_cameras : bool
            Find the same stars in the catalogs of the other keys, and add their light curves. A key whose catalog
            does not match for sure is left out with a sentence.
        show_diagnostics : bool
            Show the diagnostics below the cell of a notebook; they are saved in any case.

        Raises
        ------
        LedgerError
            If nothing was measured with `phot_label`.
        ConfigurationError
            If there is no such key, target or comparison star, or the prefix is no part of a file name.
        AnalysisError
            If the target has no positive median flux in `key`.
        """
        if any(separator in prefix for separator in _SEPARATORS):
            raise ConfigurationError(f"prefix {prefix!r} must be part of a file name: no slash is allowed in it")
        numbers = (comparisons,) if isinstance(comparisons, int) else tuple(comparisons)
        if phot_label == QUIETEST:
            phot_label = self._quietest(key, target, numbers)
        night = read_photometer(self.out_directory, phot_label)
        fluxes = night.fluxes[phot_label]
        if key not in fluxes:
            raise ConfigurationError(f"key {key!r} is not in {self.out_directory}: {', '.join(fluxes)}")
        curves = {key: relative_light_curve(fluxes[key], target, numbers)}
        if match_other_cameras:
            curves |= self._matched_curves(night, curves[key])
        write_relative_light_curves(self.out_directory, night, curves=list(curves.values()), prefix=prefix)
        for curve in curves.values():
            self._diagnose(night, curve, prefix=prefix, show=show_diagnostics)
        if self._show:
            show_figure(light_curves_figure(list(curves.values()), f"{prefix}  {phot_label}".strip()))
        return Analyzer(self.out_directory, prefix, phot_label, curves)

    def _quietest(self, key: str, target: int, comparisons: tuple[int, ...]) -> str:
        by_label = fluxes_of_all_photometers(self.out_directory, key)
        check_numbers(next(iter(by_label.values())), target, comparisons)
        choice = choose_photometer(by_label, comparisons)
        say(f"{choice.sentence}.")
        return choice.label

    def _matched_curves(self, night: ExportNight, curve: RelativeLightCurve) -> dict[str, RelativeLightCurve]:
        fluxes = night.fluxes[curve.label]
        curves = {}
        for other in fluxes:
            if other == curve.key:
                continue
            stars = _matched_stars(night.catalogs[curve.key], night.catalogs[other], curve)
            if stars is None:
                continue
            try:
                curves[other] = relative_light_curve(fluxes[other], stars[0], stars[1:])
            except AnalysisError as error:
                say(f"{other} is left out: {error}")
        return curves

    def _diagnose(self, night: ExportNight, curve: RelativeLightCurve, *, prefix: str, show: bool) -> None:
        fluxes = night.fluxes[curve.label][curve.key]
        stem = file_stem(curve, prefix)
        title = f"{prefix}  {curve.label}".strip()
        raw = raw_light_curves_figure(fluxes, (curve.target, *curve.comparisons), title)
        self._keep(raw, f"{stem}_raw", show=show)
        figure = pairs_figure(fluxes, curve, f"{title}  comparison stars")
        if figure is not None:
            write_pairs_table(self.out_directory, night, curve, stem=stem)
            self._keep(figure, f"{stem}_comparisons", show=show)

    def _keep(self, figure: Any, name: str, *, show: bool) -> None:
        folder = self.out_directory / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        save_figure(figure, folder / f"{name}.pdf")
        if show:
            show_figure(figure)


def _matched_stars(source: Catalog, destination: Catalog, curve: RelativeLightCurve) -> tuple[int, ...] | None:
    """Numbers of the target and of the comparison stars in another catalog; says what was matched and what not."""
    match = match_catalogs(source, destination)
    if not match.sure:
        say(f"{destination.key} is left out: {match.sentence}")
        return None
    target = match.numbers.get(curve.target)
    found = {number: match.numbers[number] for number in curve.comparisons if number in match.numbers}
    if target is None or not found:
        missing = f"target {curve.target}" if target is None else "none of the comparison stars"
        word = "is not" if target is None else "is"
        say(f"{destination.key} is left out: {missing} of {source.key} {word} in its catalog")
        return None
    say(f"{source.key} target ID {curve.target} was matched to {destination.key} target ID {target}")
    for number in curve.comparisons:
        if number in found:
            say(f"{source.key} comparison ID {number} was matched to {destination.key} comparison ID {found[number]}")
        else:
            say(f"{source.key} comparison ID {number} has no match in {destination.key}")
    return (target, *found.values())
