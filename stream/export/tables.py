"""Light curves as tables: columns with units and meaning, the same for every format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stream.analysis.apertures import ApertureCorrection
from stream.analysis.relative import RelativeLightCurve
from stream.export.night import ExportNight, in_file_names, time_fact
from stream.measure.noise import ScintillationSite, scintillation
from stream.messages import FloatArray, SourceFluxes


@dataclass(frozen=True)
class Column:
    """One column; its text is made once, for all the tables that share it.

    Attributes
    ----------
    decimals : int
        Digits after the point in text; -1 for integers and text.
    """

    name: str
    unit: str
    values: NDArray
    decimals: int = -1
    meaning: str = ""

    @cached_property
    def text(self) -> list[str]:
        """The values as CSV has them."""
        if self.values.dtype.kind == "U":
            return [_quoted(value) for value in self.values.tolist()]
        if self.decimals < 0:
            return [str(value) for value in self.values.tolist()]
        pattern = f"%.{self.decimals}f"
        return [pattern % value for value in self.values.tolist()]

    @cached_property
    def exact_text(self) -> list[str]:
        """The values with all their digits, as ECSV has them."""
        return [repr(value) for value in self.values.tolist()] if self.values.dtype.kind == "f" else self.text


@dataclass(frozen=True, slots=True)
class Table:
    """One file to be.

    Attributes
    ----------
    path : str
        Relative to the destination, without suffix.
    facts : dict
        Said in the head of the file, in this order.
    """

    path: str
    columns: tuple[Column, ...]
    facts: dict[str, str]

    def column(self, name: str) -> Column | None:
        """The column of this name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


def tables(night: ExportNight, curves: Sequence[RelativeLightCurve] | None = None) -> Iterator[Table]:
    """All tables of a night: the raw light curve of every source, then the relative ones.

    Those are computed last unless they are given, so that the raw ones are out before a wrong target raises
    ConfigurationError.
    """
    for by_key in night.fluxes.values():
        for fluxes in by_key.values():
            yield from _raw_tables(night, fluxes)
    for curve in night.relative_light_curves() if curves is None else curves:
        yield _relative_table(night, curve)


def _raw_tables(night: ExportNight, fluxes: SourceFluxes) -> Iterator[Table]:
    times = tuple(_time_columns(fluxes))
    conditions = (
        Column("exposure_s", "s", fluxes.exposure_s, 6, "exposure time"),
        Column("airmass", "", fluxes.airmass, 5, "relative airmass; nan where the pointing is unknown"),
        _frame_column(night, fluxes.frame_ids),
        Column("scintillation", "", _scintillation(night, fluxes), 7, "expected, relative to flux; not in flux_err"),
    )
    correction = night.corrections.get((fluxes.label, fluxes.key))
    factor = 1.0 if correction is None else correction.factor
    corrected = _correction_columns(correction, len(fluxes.frame_ids))
    for source in range(fluxes.n_sources):
        measured = (
            Column("flux", "electron", factor * fluxes.flux[:, source], 3, "within the exposure"),
            Column("flux_err", "electron", factor * fluxes.flux_err[:, source], 3, "standard error"),
            Column("flags", "", fluxes.flags[:, source], meaning="bits of stream/flags.py; 0 is good"),
        )
        peak = _peak_column(night, fluxes.key, source)
        facts = _facts(night, fluxes) | {"source": str(source + 1)}
        if correction is not None:
            facts["aperture correction"] = correction.sentence()
        path = f"lcs/{fluxes.label}/{in_file_names(fluxes.key)}_source_{source + 1}"
        yield Table(path, (*times, *measured, *conditions, *peak, *corrected), facts | {"time": time_fact(fluxes)})


def _peak_column(night: ExportNight, key: str, source: int) -> tuple[Column, ...]:
    if key not in night.peak_adu:
        return ()
    meaning = "highest pixel of the standard aperture, counts as in the file"
    return (Column("peak_adu", "adu", night.peak_adu[key][:, source], 1, meaning),)


def _facts(night: ExportNight, made: SourceFluxes | RelativeLightCurve) -> dict[str, str]:
    facts = night.facts | {"key": made.key, "photometer": made.label}
    if made.key in night.photometer_facts:
        facts["choice of the photometer"] = night.photometer_facts[made.key]
    return facts


def _correction_columns(correction: ApertureCorrection | None, n_frames: int) -> tuple[Column, ...]:
    if correction is None:
        return ()
    err = np.full(n_frames, correction.factor_err)
    return (
        Column("aperture_correction", "", np.full(n_frames, correction.factor), 6, "flux was multiplied by it"),
        Column("aperture_correction_err", "", err, 6, "its error, common to all points; not in flux_err"),
    )


def _relative_table(night: ExportNight, curve: RelativeLightCurve) -> Table:
    columns = (
        *_time_columns(curve),
        Column("flux", "", curve.flux, 7, "target over comparison stars, median 1"),
        Column("flux_err", "", curve.flux_err, 7, "standard error"),
        Column("flags", "", curve.flags, meaning="bits of stream/flags.py; 0 is good"),
        Column("transparency", "", curve.transparency, 6, "what the comparison stars saw, median near 1"),
        Column("n_comparisons", "", curve.n_comparisons, meaning="comparison stars that the point rests on"),
        _frame_column(night, curve.frame_ids),
    )
    shares = ", ".join(
        f"{number} ({share:.3f})" for number, share in zip(curve.comparisons, curve.weights, strict=True)
    )
    facts = _facts(night, curve) | {"target": str(curve.target), "comparisons (weights)": shares}
    name = f"{curve.label}_source_{curve.target}_{in_file_names(curve.key)}_light_curve"
    return Table(f"relative_light_curves/{name}", columns, facts | {"time": time_fact(curve)})


def _scintillation(night: ExportNight, fluxes: SourceFluxes) -> FloatArray:
    instrument = night.recipe.instrument
    site = ScintillationSite(instrument.aperture_m, instrument.site.height_m)
    return scintillation(site, fluxes.exposure_s, fluxes.airmass)


def _time_columns(times: SourceFluxes | RelativeLightCurve) -> Iterator[Column]:
    """The best scale first; the barycentric column is left out where no frame has it."""
    utc = Column("time_mjd_utc", "d", times.time_mjd_utc, 10, "middle of the exposure, MJD, UTC")
    barycentric = Column(
        "time_bmjd_tdb", "d", times.time_bmjd_tdb, 10, "middle of the exposure at the barycentre, BJD_TDB - 2400000.5"
    )
    if times.time_scale() == "time_bmjd_tdb":
        yield barycentric
    yield utc
    if times.time_scale() == "time_mjd_utc" and np.isfinite(times.time_bmjd_tdb).any():
        yield barycentric


def _frame_column(night: ExportNight, frame_ids: Iterable[int]) -> Column:
    names = np.array([night.frame_names[int(number)] for number in frame_ids], dtype=np.str_)
    return Column("frame", "", names, meaning="file of the frame")


def _quoted(text: str) -> str:
    """Quote as RFC 4180 does; a ``#`` too, because readers may take it for a comment."""
    if any(sign in text for sign in ',"#\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
