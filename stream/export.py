"""What a night leaves for other programs: light curves as CSV, ECSV or FITS, and figures.

::

    lcs/<label>/<key>_source_<n>.csv                                       raw light curve of every source
    relative_light_curves/<label>_source_<n>_<key>_light_curve.csv         the target over its comparison stars
    plots/<label>_light_curves.png, plots/<label>_power_spectra.png

``<key>`` is written ``1-g``. Every file says in its head what made it and in which scale its times are.
"""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream.analysis.choice import KeyChoice, resolve_selection
from stream.analysis.periodogram import PowerSpectrum, lomb_scargle
from stream.analysis.relative import RelativeLightCurve, relative_light_curve
from stream.atomic_files import write_atomically
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import SourceFluxes
from stream.night.ledger import LedgerReader
from stream.selection import load_selection

if TYPE_CHECKING:
    from astropy.table import Table as AstropyTable


@dataclass(frozen=True)
class _Column:
    """One column; its text is made once, for all the tables that share it."""

    name: str
    unit: str
    values: NDArray
    decimals: int = -1
    """Digits after the point in text; -1 for integers and text."""
    meaning: str = ""

    @cached_property
    def text(self) -> list[str]:
        if self.values.dtype.kind == "U":
            return [_quoted(value) for value in self.values.tolist()]
        if self.decimals < 0:
            return [str(value) for value in self.values.tolist()]
        return [f"{value:.{self.decimals}f}" for value in self.values.tolist()]


@dataclass(frozen=True, slots=True)
class _Table:
    path: str
    """Relative to the destination, without suffix."""
    columns: tuple[_Column, ...]
    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Night:
    """What the tables are made of."""

    fluxes: dict[str, dict[str, SourceFluxes]]
    """By label and key."""
    choices: dict[str, KeyChoice]
    frame_names: dict[int, str]
    facts: dict[str, str]


def write_outputs(out: Path) -> list[Path]:
    """Write all light curves of the night in `out` as CSV, and the figures; return the files.

    Every file is replaced atomically. A key whose relative light curve cannot be computed has none, and its reason
    stands on no file: `resolve_selection` gives it to who asks.

    Raises
    ------
    LedgerError
        If there is no ledger in `out` or it cannot be read.
    ConfigurationError
        If the selection of the night names a source that does not exist.
    """
    night = _read_night(out)
    curves = _relative_light_curves(night)
    written = [_write_csv(out, table) for table in _tables(night, curves)]
    return written + _write_figures(out, curves)


def export_night(out: Path, format: str, destination: Path | None = None) -> list[Path]:
    """Write all light curves of the night in `out` in one format below `destination`; return the files.

    Parameters
    ----------
    format : {'csv', 'ecsv', 'fits'}
        ECSV (astropy's) and FITS carry units and the facts of the head as meta data.
    destination : Path, optional
        Folder to write below; it is made if there is none. Default `out` itself.

    Raises
    ------
    ConfigurationError
        If the format is unknown, or the selection of the night names a source that does not exist.
    LedgerError
        If there is no ledger in `out` or it cannot be read.
    """
    writers: dict[str, Callable[[Path, _Table], Path]] = {
        "csv": _write_csv,
        "ecsv": _write_ecsv,
        "fits": _write_fits,
    }
    if format not in writers:
        raise ConfigurationError(f"unknown format {format!r}: one of {', '.join(writers)} is required")
    night = _read_night(out)
    tables = _tables(night, _relative_light_curves(night))
    return [writers[format](destination or out, table) for table in tables]


def _read_night(out: Path) -> _Night:
    reader = LedgerReader(out)
    try:
        catalogs, recipe = reader.catalogs(), reader.recipe()
        # The photometer that the page shows decides the automatic choice, here as there.
        labels = dict.fromkeys((recipe.default_label(), *recipe.main_labels()))
        fluxes = {label: {key: reader.source_fluxes(key, label) for key in sorted(catalogs)} for label in labels}
        frame_ids = sorted(
            {int(number) for by_key in fluxes.values() for f in by_key.values() for number in f.frame_ids}
        )
        names = {number: reader.frame_path(number) for number in frame_ids}
        facts = {
            "software": f"opticam-live {_version()}",
            "instrument": recipe.instrument.name,
            "recipe": recipe.hash(),
            "folder": str(reader.folder()),
        }
    finally:
        reader.close()
    choices = resolve_selection(load_selection(out), catalogs, fluxes[recipe.default_label()])
    return _Night(fluxes, choices, names, facts)


def _relative_light_curves(night: _Night) -> list[RelativeLightCurve]:
    curves = []
    for by_key in night.fluxes.values():
        for key, choice in night.choices.items():
            if not choice.comparisons or not len(by_key[key].frame_ids):
                continue
            try:
                curves.append(relative_light_curve(by_key[key], choice.target, choice.comparisons))
            except AnalysisError:
                # A target without flux in one photometer leaves the others; the page says why.
                continue
    return curves


def _tables(night: _Night, curves: Sequence[RelativeLightCurve]) -> Iterator[_Table]:
    for by_key in night.fluxes.values():
        for fluxes in by_key.values():
            yield from _raw_tables(night, fluxes)
    for curve in curves:
        yield _relative_table(night, curve)


def _raw_tables(night: _Night, fluxes: SourceFluxes) -> Iterator[_Table]:
    times = tuple(_time_columns(fluxes))
    conditions = (
        _Column("exposure_s", "s", fluxes.exposure_s, 6, "exposure time"),
        _Column("airmass", "", fluxes.airmass, 5, "relative airmass; nan where the pointing is unknown"),
        _frame_column(night, fluxes.frame_ids),
    )
    for source in range(fluxes.n_sources):
        measured = (
            _Column("flux", "electron", fluxes.flux[:, source], 3, "within the exposure"),
            _Column("flux_err", "electron", fluxes.flux_err[:, source], 3, "standard error"),
            _Column("flags", "", fluxes.flags[:, source], meaning="bits of stream/flags.py; 0 is good"),
        )
        facts = night.facts | {"key": fluxes.key, "photometer": fluxes.label, "source": str(source + 1)}
        path = f"lcs/{fluxes.label}/{_in_file_names(fluxes.key)}_source_{source + 1}"
        yield _Table(path, (*times, *measured, *conditions), facts | _time_fact(fluxes))


def _relative_table(night: _Night, curve: RelativeLightCurve) -> _Table:
    columns = (
        *_time_columns(curve),
        _Column("flux", "", curve.flux, 7, "target over comparison stars, median 1"),
        _Column("flux_err", "", curve.flux_err, 7, "standard error"),
        _Column("flags", "", curve.flags, meaning="bits of stream/flags.py; 0 is good"),
        _Column("transparency", "", curve.transparency, 6, "what the comparison stars saw, median near 1"),
        _Column("n_comparisons", "", curve.n_comparisons, meaning="comparison stars that the point rests on"),
        _frame_column(night, curve.frame_ids),
    )
    shares = ", ".join(
        f"{number} ({share:.3f})" for number, share in zip(curve.comparisons, curve.weights, strict=True)
    )
    facts = night.facts | {
        "key": curve.key,
        "photometer": curve.label,
        "target": str(curve.target),
        "comparisons (weights)": shares,
    }
    name = f"{curve.label}_source_{curve.target}_{_in_file_names(curve.key)}_light_curve"
    return _Table(f"relative_light_curves/{name}", columns, facts | _time_fact(curve))


def _time_columns(times: SourceFluxes | RelativeLightCurve) -> Iterator[_Column]:
    """The best scale first; the barycentric column is left out where no frame has it."""
    utc = _Column("time_mjd_utc", "d", times.time_mjd_utc, 10, "middle of the exposure, MJD, UTC")
    barycentric = _Column(
        "time_bmjd_tdb", "d", times.time_bmjd_tdb, 10, "middle of the exposure at the barycentre, BJD_TDB - 2400000.5"
    )
    if times.time_scale() == "time_bmjd_tdb":
        yield barycentric
    yield utc
    if times.time_scale() == "time_mjd_utc" and np.isfinite(times.time_bmjd_tdb).any():
        yield barycentric


def _time_fact(times: SourceFluxes | RelativeLightCurve) -> dict[str, str]:
    if times.time_scale() == "time_bmjd_tdb":
        return {"time": "time_bmjd_tdb is BJD_TDB - 2400000.5, middle of the exposure, days"}
    return {"time": "time_mjd_utc is MJD in UTC, not corrected to the barycentre, middle of the exposure, days"}


def _frame_column(night: _Night, frame_ids: Iterable[int]) -> _Column:
    names = np.array([night.frame_names[int(number)] for number in frame_ids], dtype=np.str_)
    return _Column("frame", "", names, meaning="file of the frame")


def _in_file_names(key: str) -> str:
    return key.replace(":", "-")


def _version() -> str:
    try:
        return importlib.metadata.version("opticam-live")
    except importlib.metadata.PackageNotFoundError:
        return "of an unknown version"


def _write_csv(destination: Path, table: _Table) -> Path:
    """Comma-separated values with one header line below comments; ``nan`` where there is no number."""
    head = [f"# {name}: {value}" for name, value in table.facts.items()]
    head += [f"# column {column.name}{_in_unit(column)}: {column.meaning}" for column in table.columns]
    text = [_one_line(line) for line in head]
    text.append(",".join(column.name for column in table.columns))
    text += [",".join(row) for row in zip(*(column.text for column in table.columns), strict=True)]
    path = destination / f"{table.path}.csv"
    _replace(path, ("\n".join(text) + "\n").encode("utf-8"))
    return path


def _in_unit(column: _Column) -> str:
    return f" ({column.unit})" if column.unit else ""


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _quoted(text: str) -> str:
    """Quote as RFC 4180 does; a ``#`` too, because readers may take it for a comment."""
    if any(sign in text for sign in ',"#\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _write_ecsv(destination: Path, table: _Table) -> Path:
    buffer = io.StringIO()
    _astropy_table(table).write(buffer, format="ascii.ecsv", delimiter=",")
    path = destination / f"{table.path}.ecsv"
    _replace(path, buffer.getvalue().encode("utf-8"))
    return path


def _write_fits(destination: Path, table: _Table) -> Path:
    from astropy.io import fits

    made = _astropy_table(table)
    facts = dict(made.meta)
    made.meta.clear()
    for name in made.colnames:
        made[name].unit = None
    extension = fits.table_to_hdu(made, character_as_bytes=True)
    extension.name = "LIGHT_CURVE"
    for column in table.columns:
        # Set here: the FITS standard knows no electron, and astropy would leave it out with a warning.
        if column.unit:
            extension.columns[column.name].unit = column.unit
    for name, value in facts.items():
        # Facts may be longer than a card and hold any letter; history takes them, in ASCII.
        extension.header.add_history(_one_line(f"{name}: {value}").encode("ascii", "backslashreplace").decode("ascii"))
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), extension]).writeto(buffer)
    path = destination / f"{table.path}.fits"
    _replace(path, buffer.getvalue())
    return path


def _astropy_table(table: _Table) -> AstropyTable:
    from astropy.table import Column, Table

    columns = [
        Column(column.values, name=column.name, unit=column.unit or None, description=column.meaning)
        for column in table.columns
    ]
    return Table(columns, meta=dict(table.facts))


def _write_figures(out: Path, curves: Sequence[RelativeLightCurve]) -> list[Path]:
    from stream.plots import light_curves_figure, power_spectra_figure, save_figure

    written = []
    for label in dict.fromkeys(curve.label for curve in curves):
        chosen = [curve for curve in curves if curve.label == label]
        folder = out / "plots"
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in (
            ("light_curves", light_curves_figure(chosen, label)),
            ("power_spectra", power_spectra_figure(_spectra(chosen), label)),
        ):
            path = folder / f"{label}_{name}.png"
            save_figure(figure, path)
            written.append(path)
    return written


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


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
