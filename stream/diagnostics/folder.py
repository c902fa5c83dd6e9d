"""Where diagnostics are written, and how a night is opened for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stream.analysis.choice import KeyChoice, resolve_selection
from stream.night.night_reader import NightReader
from stream.selection import load_selection

if TYPE_CHECKING:
    from stream.plots import Figure

FOLDER = "diag"


@contextmanager
def open_night(out: Path, label: str | None = None) -> Iterator[NightReader]:
    """Read the newest set of measurements, or the newest one that the photometer `label` measured.

    Raises
    ------
    LedgerError
        If there is no ledger in `out`, it cannot be read, or it has no such photometer.
    """
    reader = NightReader(out, label=label)
    try:
        yield reader
    finally:
        reader.close()


def choices_of(reader: NightReader, out: Path) -> dict[str, KeyChoice]:
    """Target and comparison stars of every key, as the page shows them."""
    catalogs = reader.catalogs()
    label = reader.recipe().default_label()
    fluxes = {key: reader.source_fluxes(key, label) for key in catalogs}
    return resolve_selection(load_selection(out), catalogs, fluxes)


def save(figure: Figure, out: Path, name: str) -> Path:
    """Write a figure into the folder of diagnostics and return its path."""
    from stream.plots import save_figure

    path = place(out, name)
    save_figure(figure, path)
    return path


def place(out: Path, name: str) -> Path:
    """Path of a file in the folder of diagnostics, which is made if there is none."""
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
