"""Tables as CSV, ECSV and FITS."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream.export.night import replace_file
from stream.export.tables import Column, Table

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import Table as AstropyTable

_BTJD_ORIGIN = 2457000
_BMJD_TO_BTJD = 2400000.5 - _BTJD_ORIGIN
_RATES = {"FLUX": "electrons per second", "FLUX_ERR": "standard error, electrons per second"}
_UCDS = {
    "TIME": "time.epoch",
    "FLUX": "phot.flux",
    "FLUX_ERR": "stat.error;phot.flux",
    "QUALITY": "meta.code.qual",
    "EXPOSURE_S": "time.duration;obs.exposure",
    "AIRMASS": "obs.airMass",
    "FRAME": "meta.file",
}


def write_csv(destination: Path, table: Table) -> Path:
    """Comma-separated values with one header line below comments; ``nan`` where there is no number."""
    head = [f"# {name}: {value}" for name, value in table.facts.items()]
    head += [f"# column {column.name}{_in_unit(column)}: {column.meaning}" for column in table.columns]
    text = [one_line(line) for line in head]
    text.append(",".join(column.name for column in table.columns))
    text += map(",".join, zip(*(column.text for column in table.columns), strict=True))
    path = destination / f"{table.path}.csv"
    replace_file(path, ("\n".join(text) + "\n").encode("utf-8"))
    return path


def write_ecsv(destination: Path, table: Table) -> Path:
    """ECSV, as astropy has it: units, meanings and facts in the head, all digits of every number."""
    buffer = io.StringIO()
    # The head by astropy, the rows here: astropy takes a second and a half for 30,000 of them.
    _astropy_table(table)[:0].write(buffer, format="ascii.ecsv", delimiter=",")
    rows = map(",".join, zip(*(column.exact_text for column in table.columns), strict=True))
    path = destination / f"{table.path}.ecsv"
    replace_file(path, "\n".join([buffer.getvalue().rstrip("\n"), *rows, ""]).encode("utf-8"))
    return path


def write_fits(destination: Path, table: Table) -> Path:
    """A FITS binary table with the columns that light-curve programs look for: TIME, FLUX, FLUX_ERR, QUALITY.

    Where every frame has a barycentric time, TIME is BJD_TDB - 2457000 (``BJDREFI``), else MJD in UTC; ``TIMESYS``
    says which. FLUX of a raw light curve is a rate with the unit ``e-/s`` of the Kepler and TESS archives, because
    programs made for those know no other unit of electrons. QUALITY holds the flags. The other columns follow in
    capitals, each with its meaning (``TCOMMn``) and its place in the vocabulary of the virtual observatory (``TUCDn``).
    """
    from astropy.io import fits

    columns = _fits_columns(table)
    cells = [_fits_values(column.values) for column in columns]
    extension = fits.BinTableHDU.from_columns(
        [
            fits.Column(column.name, _fits_format(values), array=values)
            for column, values in zip(columns, cells, strict=True)
        ],
        name="LIGHT_CURVE",
    )
    for number, column in enumerate(columns, start=1):
        # Set here: the FITS standard knows no electron, and astropy would leave the unit out with a warning.
        if column.unit:
            extension.columns[column.name].unit = column.unit
        extension.header[f"TCOMM{number}"] = column.meaning
        if column.name in _UCDS:
            extension.header[f"TUCD{number}"] = _UCDS[column.name]
    primary = fits.PrimaryHDU()
    _say_facts(primary.header, table)
    _say_facts(extension.header, table)
    _say_time(extension.header, barycentric=_is_barycentric(table))
    buffer = io.BytesIO()
    fits.HDUList([primary, extension]).writeto(buffer)
    path = destination / f"{table.path}.fits"
    replace_file(path, buffer.getvalue())
    return path


def one_line(text: str) -> str:
    """Text without line breaks."""
    return " ".join(text.splitlines())


def _in_unit(column: Column) -> str:
    return f" ({column.unit})" if column.unit else ""


def _astropy_table(table: Table) -> AstropyTable:
    from astropy.table import Column as AstropyColumn
    from astropy.table import Table as AstropyTable

    columns = [
        AstropyColumn(column.values, name=column.name, unit=column.unit or None, description=column.meaning)
        for column in table.columns
    ]
    return AstropyTable(columns, meta=dict(table.facts))


def _is_barycentric(table: Table) -> bool:
    return table.columns[0].name == "time_bmjd_tdb"


def _fits_columns(table: Table) -> list[Column]:
    best = table.columns[0]
    time = Column("TIME", "d", best.values, meaning=best.meaning)
    if _is_barycentric(table):
        meaning = f"middle of the exposure at the barycentre, BJD_TDB - {_BTJD_ORIGIN}"
        time = Column("TIME", "d", best.values + _BMJD_TO_BTJD, meaning=meaning)
    names = {"flux": "FLUX", "flux_err": "FLUX_ERR", "flags": "QUALITY"}
    first = [
        _as_rate(Column(new, column.unit, column.values, meaning=column.meaning), table.column("exposure_s"))
        for old, new in names.items()
        if (column := table.column(old)) is not None
    ]
    rest = [
        Column(column.name.upper(), column.unit, column.values, meaning=column.meaning)
        for column in table.columns[1:]
        if column.name not in names
    ]
    return [time, *first, *rest]


def _as_rate(column: Column, exposure_s: Column | None) -> Column:
    if column.unit != "electron" or exposure_s is None:
        return column
    return Column(column.name, "e-/s", column.values / exposure_s.values, meaning=_RATES[column.name])


def _fits_values(values: NDArray) -> NDArray:
    if values.dtype.kind == "U":
        return np.array([_ascii(text) for text in values.tolist()], dtype=np.bytes_)
    return values if values.dtype.kind == "f" else values.astype(np.int32)


def _fits_format(values: NDArray) -> str:
    if values.dtype.kind == "S":
        return f"{max(1, values.dtype.itemsize)}A"
    return "D" if values.dtype.kind == "f" else "J"


def _say_facts(header: Header, table: Table) -> None:
    keywords = {
        "software": ("CREATOR", "software and version"),
        "recipe": ("RECIPE", "hash of the settings of the measurement"),
        "instrument": ("INSTRUME", "instrument"),
        "photometer": ("PHOTOM", "how the flux was measured"),
        "source": ("SOURCE", "number in the catalog of the key"),
        "target": ("SOURCE", "number in the catalog of the key"),
    }
    for name, (keyword, comment) in keywords.items():
        if name in table.facts:
            header[keyword] = (_ascii(one_line(table.facts[name]))[:60], comment)
    key = table.facts["key"]
    number = table.facts.get("source") or table.facts["target"]
    header["ORIGIN"] = ("opticam-live", "program that wrote this file")
    header["OBJECT"] = (_ascii(f"{key}#{number}"), "key and number of the source")
    header["FILTER"] = (_ascii(key.partition(":")[2]), "filter")
    for name, value in table.facts.items():
        # Facts may be longer than a card and hold any letter; history takes them, in ASCII.
        header.add_history(_ascii(one_line(f"{name}: {value}")))


def _say_time(header: Header, *, barycentric: bool) -> None:
    """Keywords of the FITS standard (4.0, section 9), and BJDREF as Kepler and TESS have it, which lightkurve reads."""
    header["TIMEUNIT"] = ("d", "unit of TIME")
    if barycentric:
        header["TIMESYS"] = ("TDB", "scale of TIME")
        header["TREFPOS"] = ("BARYCENTER", "place that TIME refers to")
        header["JDREFI"] = (_BTJD_ORIGIN, "TIME counts from this JD")
        header["JDREFF"] = (0.0, "fraction of it")
        header["BJDREFI"] = (_BTJD_ORIGIN, "TIME counts from this BJD")
        header["BJDREFF"] = (0.0, "fraction of it")
    else:
        header["TIMESYS"] = ("UTC", "scale of TIME")
        header["TREFPOS"] = ("TOPOCENTER", "place that TIME refers to")
        header["MJDREFI"] = (0, "TIME counts from this MJD")
        header["MJDREFF"] = (0.0, "fraction of it")


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")
