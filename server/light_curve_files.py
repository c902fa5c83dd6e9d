"""Light curves and figures as files: one at a time, made by `stream.export` and `stream.plots` when somebody asks."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from stream.analysis.choice import KeyChoice
from stream.analysis.periodogram import lomb_scargle
from stream.analysis.relative import RelativeLightCurve, relative_light_curve
from stream.errors import AnalysisError, ConfigurationError
from stream.export.aavso import AavsoOptions, write_aavso
from stream.export.night import ExportNight, facts_of, peaks_of
from stream.export.tables import Table, tables
from stream.export.writers import write_csv, write_ecsv, write_fits
from stream.night.night_reader import NightReader

_WRITERS: Mapping[str, Callable[[Path, Table], Path]] = {"csv": write_csv, "ecsv": write_ecsv, "fits": write_fits}
_KINDS = {"json": "application/json", "csv": "text/csv", "ecsv": "text/csv", "fits": "application/fits"}
_PICTURES = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}
_Rows = TypeVar("_Rows")


@dataclass(frozen=True, slots=True)
class File:
    """What is sent to a browser or a program."""

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True, slots=True)
class CurveRequest:
    """Which light curve, and how.

    Attributes
    ----------
    source : int or None
        Number for the raw light curve; None for the relative one of the target.
    since_mjd : float
        Later points alone, MJD in UTC.
    aavso : AavsoOptions or None
        Required by the format ``aavso``.
    """

    key: str
    source: int | None
    label: str
    format: str = "json"
    since_mjd: float = -np.inf
    aavso: AavsoOptions | None = None


def light_curve_file(out: Path, request: CurveRequest, choices: Mapping[str, KeyChoice]) -> File:
    """Make one light curve of the night in `out`.

    Raises
    ------
    ConfigurationError
        If key, source, photometer or format do not exist, or what the format requires is missing.
    AnalysisError
        If there is no relative light curve.
    LedgerError
        If the ledger cannot be read.
    """
    night = _night(out, (request.key,), request.label, choices)
    if request.source is None:
        curve = _since(_relative(night, request.label, request.key), request.since_mjd)
        if request.format == "aavso":
            return _aavso(night, curve, request)
        table = next(tables(replace(night, fluxes={}), [curve]))
    else:
        fluxes = night.fluxes[request.label][request.key]
        if not 1 <= request.source <= fluxes.n_sources:
            raise ConfigurationError(
                f"source {request.source} is not in the catalog of {request.key}, "
                f"which has sources 1 to {fluxes.n_sources}"
            )
        if request.format == "aavso":
            raise ConfigurationError("format aavso is for the relative light curve of the target: source 'target'")
        later = _since(fluxes, request.since_mjd)
        first = len(fluxes.frame_ids) - len(later.frame_ids)
        peaks = {key: peak[first:] for key, peak in night.peak_adu.items()}
        part = replace(night, fluxes={request.label: {request.key: later}}, peak_adu=peaks)
        table = next(itertools.islice(tables(part, ()), request.source - 1, None))
    return _as_file(table, request.format)


def figure_file(out: Path, what: str, format: str, label: str, choices: Mapping[str, KeyChoice]) -> File:
    """Draw the relative light curves of all keys, or their power spectra, as a picture for a paper or a message.

    Raises
    ------
    ConfigurationError
        If photometer or format do not exist.
    AnalysisError
        If no key has a light curve.
    """
    from stream.plots import light_curves_figure, power_spectra_figure, save_figure

    if format not in _PICTURES:
        raise ConfigurationError(f"format {format!r} of a figure must be one of {', '.join(_PICTURES)}")
    night = _night(out, tuple(choices), label, choices)
    curves = []
    for key in choices:
        try:
            curves.append(_relative(night, label, key))
        except AnalysisError:
            continue  # a key without a light curve leaves the others
    if not curves:
        raise AnalysisError("no key has a relative light curve yet: there is nothing to draw")
    if what == "power_spectra":
        spectra = {}
        for curve in curves:
            series = curve.series()
            spectra[curve.key] = lomb_scargle(series.time_s, series.flux, series.flux_err)
        figure = power_spectra_figure(spectra, label)
    else:
        figure = light_curves_figure(curves, label)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{label}_{what}.{format}"
        save_figure(figure, path)
        return File(path.name, _PICTURES[format], path.read_bytes())


def _night(out: Path, keys: tuple[str, ...], label: str, choices: Mapping[str, KeyChoice]) -> ExportNight:
    reader = NightReader(out)
    try:
        recipe, catalogs = reader.recipe(), reader.catalogs()
        for key in keys:
            if key not in catalogs:
                raise ConfigurationError(
                    f"key {key!r} has no catalog: there are {', '.join(catalogs) or 'none'} so far"
                )
        if label not in recipe.labels():
            raise ConfigurationError(f"photometer {label!r} must be one of {', '.join(recipe.labels())}")
        fluxes = {label: {key: reader.source_fluxes(key, label) for key in keys}}
        return ExportNight(
            recipe,
            catalogs,
            fluxes,
            dict(choices),
            reader.frame_paths(),
            facts_of(out, reader, recipe),
            peak_adu=peaks_of(reader, fluxes[label]),
        )
    finally:
        reader.close()


def _relative(night: ExportNight, label: str, key: str) -> RelativeLightCurve:
    choice = night.choices.get(key)
    if choice is None or not choice.comparisons:
        raise AnalysisError(f"{key} has no target with comparison stars yet")
    return relative_light_curve(night.fluxes[label][key], choice.target, choice.comparisons)


def _since(rows: _Rows, since_mjd: float) -> _Rows:
    """Cut the beginning of the columns of a light curve."""
    if not is_dataclass(rows) or isinstance(rows, type):
        raise ConfigurationError(f"{type(rows).__name__} has no columns")
    times = rows.time_mjd_utc  # type: ignore[attr-defined]
    first = int(np.searchsorted(times, since_mjd, side="right"))
    columns = {field.name: getattr(rows, field.name) for field in fields(rows)}
    cut: dict[str, Any] = {name: each[first:] for name, each in columns.items() if isinstance(each, np.ndarray)}
    return replace(rows, **cut)


def _aavso(night: ExportNight, curve: RelativeLightCurve, request: CurveRequest) -> File:
    if request.aavso is None:
        raise ConfigurationError("format aavso requires observer and star")
    if request.since_mjd > -np.inf:
        raise ConfigurationError("format aavso is of the whole night: it takes no since")
    with tempfile.TemporaryDirectory() as folder:
        path = write_aavso(Path(folder), night, curve, request.aavso)
        return File(path.name, "text/plain", path.read_bytes())


def _as_file(table: Table, format: str) -> File:
    name = Path(table.path).name
    if format == "json":
        columns = {column.name: column.values.tolist() for column in table.columns}
        content = msgspec.json.encode({"facts": table.facts, "columns": columns})
        return File(f"{name}.json", _KINDS[format], content)
    if format not in _WRITERS:
        raise ConfigurationError(f"format {format!r} must be one of json, {', '.join(_WRITERS)}, aavso")
    with tempfile.TemporaryDirectory() as folder:
        path = _WRITERS[format](Path(folder), table)
        return File(path.name, _KINDS[format], path.read_bytes())
