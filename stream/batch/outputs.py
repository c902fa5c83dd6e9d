"""Files of the notebook interface: the light curves of one photometer, and relative ones by the name of the target."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from stream.analysis.relative import RelativeLightCurve
from stream.errors import ConfigurationError
from stream.export.night import ExportNight, in_file_names, peaks_of, software_version
from stream.export.tables import tables
from stream.export.writers import write_csv
from stream.messages import SourceFluxes
from stream.night.night_reader import NightReader


def read_photometer(out: Path, label: str) -> ExportNight:
    """Read all light curves of one photometer from the newest set of measurements that has it; raises LedgerError."""
    reader = NightReader(out, label=label)
    try:
        recipe, catalogs = reader.recipe(), reader.catalogs()
        fluxes = {key: reader.source_fluxes(key, label) for key in sorted(catalogs)}
        return ExportNight(
            recipe=recipe,
            catalogs=catalogs,
            fluxes={label: fluxes},
            choices={},
            frame_names=reader.frame_paths(),
            facts={
                "software": software_version(),
                "instrument": recipe.instrument.name,
                "recipe": recipe.hash(),
                "folder": str(reader.folder()),
            },
            peak_adu=peaks_of(reader, fluxes),
        )
    finally:
        reader.close()


def fluxes_of_all_photometers(out: Path, key: str) -> dict[str, SourceFluxes]:
    """Light curves of a key by label, of all sets of measurements that were made with its newest catalog.

    Raises
    ------
    LedgerError
        If there is no ledger in `out` or it cannot be read.
    ConfigurationError
        If there is no such key.
    """
    with closing(NightReader(out)) as newest:
        labels, catalogs = newest.all_labels(), newest.catalogs()
    if key not in catalogs:
        raise ConfigurationError(f"key {key!r} is not in {out}: {', '.join(sorted(catalogs))}")
    found = {}
    for label in labels:
        with closing(NightReader(out, label=label)) as reader:
            catalog = reader.catalogs().get(key)
            # Numbers of another catalog mean other stars.
            if catalog is not None and catalog.version == catalogs[key].version:
                found[label] = reader.source_fluxes(key, label)
    return found


def write_raw_light_curves(out: Path, label: str) -> list[Path]:
    """Write ``lcs/<label>/<key>_source_<n>.csv`` of every source; raises LedgerError."""
    return [write_csv(out, table) for table in tables(read_photometer(out, label), ())]


def write_relative_light_curves(
    out: Path, night: ExportNight, *, curves: Sequence[RelativeLightCurve], prefix: str
) -> list[Path]:
    """Write ``relative_light_curves/<prefix>_<key>_<label>_light_curve.csv`` of every curve."""
    bare = replace(night, fluxes={})
    return [
        write_csv(out, replace(table, path=f"relative_light_curves/{file_stem(curve, prefix)}_light_curve"))
        for curve, table in zip(curves, tables(bare, curves), strict=True)
    ]


def file_stem(curve: RelativeLightCurve, prefix: str) -> str:
    """Begin of the names of the files of a curve: ``test_1-g_aperture_annulus``."""
    return "_".join(part for part in (prefix, in_file_names(curve.key), curve.label) if part)
