"""Catalogs on paper: ECSV tables with units, read back as they were written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from stream.atomic_files import write_atomically
from stream.errors import ConfigurationError
from stream.messages import Catalog

_COLUMNS = {
    "x": "pix",
    "y": "pix",
    "flux_e": "electron",
    "semi_major_sigma_px": "pix",
    "semi_minor_sigma_px": "pix",
    "orientation_deg": "deg",
}
_OF_ANY_SIGN = ("x", "y", "orientation_deg")


def with_version(catalog: Catalog) -> Catalog:
    """Return the catalog with the version that its content has."""
    bare = msgspec.structs.replace(catalog, version="")
    digest = hashlib.sha256(msgspec.msgpack.encode(bare)).hexdigest()[:16]
    return msgspec.structs.replace(catalog, version=digest)


def save_catalog(catalog: Catalog, path: Path) -> None:
    """Write a catalog as an ECSV table, atomically."""
    from astropy.table import Table

    # Through JSON, for lists: YAML has no tuples, and other readers refuse those of Python.
    rest = msgspec.json.decode(msgspec.json.encode(catalog))
    columns = {name: rest.pop(name) for name in _COLUMNS}
    rest.pop("type", None)
    table = Table({"number": np.arange(1, catalog.n_sources + 1)})
    for name, unit in _COLUMNS.items():
        table[name] = np.asarray(columns[name], dtype=np.float64)
        table[name].unit = unit
    table.meta.update(rest)
    write_atomically(path, lambda temporary: table.write(temporary, format="ascii.ecsv"))


def load_catalog(path: Path) -> Catalog:
    """Read a catalog that `save_catalog` wrote, or that somebody edited: the version is that of what is read.

    Raises
    ------
    ConfigurationError
        If the file cannot be read or is not a catalog.
    """
    from astropy.table import Table

    try:
        table = Table.read(path, format="ascii.ecsv")
        content = {**table.meta, **{name: [float(value) for value in table[name]] for name in _COLUMNS}}
        catalog = msgspec.convert(content | {"type": "Catalog"}, Catalog)
        _check(catalog)
    except Exception as error:  # a damaged table makes astropy raise almost anything
        text = " ".join(str(error).split()) or type(error).__name__
        raise ConfigurationError(f"catalog {path} cannot be read: {text}") from error
    return with_version(catalog)


def _check(catalog: Catalog) -> None:
    """Refuse with a ValueError what no frame could be measured against."""
    if not catalog.n_sources:
        raise ValueError("it has no sources")
    for name in _COLUMNS:
        values = np.asarray(getattr(catalog, name))
        if not np.isfinite(values).all() or (name not in _OF_ANY_SIGN and not (values > 0.0).all()):
            raise ValueError(f"column {name} must hold {'' if name in _OF_ANY_SIGN else 'positive '}numbers alone")
    for name in ("fwhm_px", "exposure_s", "pixel_scale_arcsec"):
        if not 0.0 < getattr(catalog, name) < np.inf:
            raise ValueError(f"{name} ({getattr(catalog, name)}) must be greater than 0")
    rows, columns = catalog.frame_shape
    if not all(0 <= pixel < rows * columns for pixel in catalog.hot_pixels):
        raise ValueError(f"hot_pixels must lie within its {columns} x {rows} pixels")
