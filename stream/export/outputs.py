"""All files of a night in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from stream.analysis.apertures import QUIETEST
from stream.analysis.periodogram import PowerSpectrum, lomb_scargle
from stream.analysis.relative import RelativeLightCurve
from stream.errors import AnalysisError, ConfigurationError
from stream.export.aavso import AavsoOptions, write_aavso
from stream.export.night import DEFAULT_OPTIONS, ExportNight, ExportOptions, in_file_names, read_night
from stream.export.pairs import pairs_figure, write_pairs_table
from stream.export.regions import write_regions
from stream.export.tables import Table, tables
from stream.export.writers import write_csv, write_ecsv, write_fits

_TABLE_WRITERS: dict[str, Callable[[Path, Table], Path]] = {"csv": write_csv, "ecsv": write_ecsv, "fits": write_fits}
FORMATS = (*_TABLE_WRITERS, "aavso", "ds9")


def write_outputs(out: Path, options: ExportOptions = DEFAULT_OPTIONS) -> list[Path]:
    """Write all light curves of the night in `out` as CSV, the catalogs as regions, and figures; return the files.

    Every file is replaced atomically. A key whose relative light curve cannot be computed has none, and its reason
    stands on no file: `resolve_selection` gives it to who asks.

    Raises
    ------
    LedgerError
        If there is no ledger in `out` or it cannot be read.
    ConfigurationError
        If the selection of the night names a source that does not exist; the raw light curves are written then.
    """
    night = read_night(out, options)
    written = _write_all_regions(out, night)
    written += [write_csv(out, table) for table in tables(night, ())]
    curves = night.relative_light_curves()
    written += [write_csv(out, table) for table in tables(replace(night, fluxes={}), curves)]
    written += [path for curve in curves for path in _write_pairs(out, night, curve)]
    return written + _write_figures(out, curves, options)


def export_night(
    out: Path,
    format: str,
    destination: Path | None = None,
    *,
    aavso: AavsoOptions | None = None,
    options: ExportOptions = DEFAULT_OPTIONS,
) -> list[Path]:
    """Write what the night in `out` has for one format below `destination`; return the files.

    Parameters
    ----------
    format : {'csv', 'ecsv', 'fits', 'aavso', 'ds9'}
        CSV, ECSV (astropy's) and FITS: all light curves. AAVSO: the relative ones. DS9: the catalogs.
    destination : Path, optional
        Folder to write below; it is made if there is none. Default `out` itself.
    aavso : AavsoOptions, optional
        Required by the AAVSO format, of no use to others.
    options : ExportOptions
        Which photometer, and whether fluxes are corrected to a large aperture.

    Raises
    ------
    ConfigurationError
        If the format is unknown, what it requires is missing, or the selection of the night names a source that
        does not exist; the raw light curves are written then.
    LedgerError
        If there is no ledger in `out` or it cannot be read.
    """
    if format not in FORMATS:
        raise ConfigurationError(f"unknown format {format!r}: one of {', '.join(FORMATS)} is required")
    if format == "aavso" and aavso is None:
        raise ConfigurationError("the AAVSO format requires an observer code and the name of the star")
    night, place = read_night(out, options), destination or out
    if format == "ds9":
        return _write_all_regions(place, night)
    if aavso is not None and format == "aavso":
        return [write_aavso(place, night, curve, aavso) for curve in night.relative_light_curves()]
    return [_TABLE_WRITERS[format](place, table) for table in tables(night)]


def _write_all_regions(destination: Path, night: ExportNight) -> list[Path]:
    return [write_regions(destination, night, catalog) for _, catalog in sorted(night.catalogs.items())]


def _write_pairs(out: Path, night: ExportNight, curve: RelativeLightCurve) -> list[Path]:
    """The comparison stars against each other; nothing with fewer than two."""
    from stream.plots import save_figure

    figure = pairs_figure(night.fluxes[curve.label][curve.key], curve, f"{curve.label}  comparison stars")
    if figure is None:
        return []
    stem = f"{curve.label}_source_{curve.target}_{in_file_names(curve.key)}"
    table = write_pairs_table(out, night, curve, stem=stem)
    path = table.with_suffix(".pdf")
    save_figure(figure, path)
    return [table, path]


def _write_figures(out: Path, curves: Sequence[RelativeLightCurve], options: ExportOptions) -> list[Path]:
    from stream.plots import light_curves_figure, power_spectra_figure, save_figure

    written = []
    folder = out / "plots"
    for begin, chosen in _figure_groups(curves, options).items():
        folder.mkdir(parents=True, exist_ok=True)
        title = begin if begin != QUIETEST else "    ".join(f"{curve.key} {curve.label}" for curve in chosen)
        for name, figure in (
            ("light_curves", light_curves_figure(chosen, title)),
            ("power_spectra", power_spectra_figure(_spectra(chosen), title)),
        ):
            path = folder / f"{begin}_{name}.png"
            save_figure(figure, path)
            written.append(path)
    return written


def _figure_groups(curves: Sequence[RelativeLightCurve], options: ExportOptions) -> dict[str, list[RelativeLightCurve]]:
    """Curves that share a figure, by the begin of its name: those of a photometer, or of the quietest of each key."""
    groups: dict[str, list[RelativeLightCurve]] = {}
    for curve in curves:
        groups.setdefault(QUIETEST if options.photometer == QUIETEST else curve.label, []).append(curve)
    return {begin: sorted(group, key=lambda curve: curve.key) for begin, group in groups.items()}


def _spectra(curves: Sequence[RelativeLightCurve]) -> dict[str, PowerSpectrum]:
    spectra: dict[str, PowerSpectrum] = {}
    for curve in curves:
        series = curve.series()
        try:
            spectra[curve.key] = lomb_scargle(series.time_s, series.flux, series.flux_err)
        except AnalysisError:
            # Too few points for a spectrum are no reason to leave the others out.
            continue
    return spectra
