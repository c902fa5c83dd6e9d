"""All diagnostics of a night in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stream.diagnostics.budget import write_noise_budget
from stream.diagnostics.conditions import write_alignment, write_background, write_header_times, write_psf
from stream.diagnostics.folder import open_night
from stream.diagnostics.pictures import write_aligned_films, write_apertures, write_target_films
from stream.diagnostics.scatter import (
    write_growth_curves,
    write_rms_vs_median,
    write_signal_to_noise,
)
from stream.errors import AnalysisError


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was written, and one sentence for each picture that could not be made."""

    written: tuple[Path, ...]
    missing: tuple[str, ...]


def write_all(
    out: Path,
    *,
    films: bool = True,
    label: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Write every diagnostic that the night in `out` has the numbers for.

    Parameters
    ----------
    films : bool
        Write the films too; they read up to sixty frames of each key again.
    label : str, optional
        The photometer whose scatter and noise are drawn; by default those that light curves are written of.
    on_progress : callable
        Told how many kinds of pictures are dealt with, and of how many, before the first and after each.

    Raises
    ------
    LedgerError
        If there is no ledger in `out` or it cannot be read, or it has no such photometer.
    ConfigurationError
        If the selection of the night names a source that does not exist.
    """
    written: list[Path] = []
    missing: list[str] = []
    writers = list(_writers(out, films, label))
    on_progress(0, len(writers))
    for number, (name, write) in enumerate(writers, start=1):
        try:
            written += write()
        except AnalysisError as error:
            missing.append(f"{name}: {error}")
        on_progress(number, len(writers))
    return Diagnosis(tuple(written), tuple(missing))


def _writers(out: Path, films: bool, label: str | None) -> Iterator[tuple[str, Callable[[], list[Path]]]]:
    with open_night(out, label) as reader:
        labels = (label,) if label else reader.recipe().main_labels()
    yield "header_times", lambda: [write_header_times(out)]
    yield "background", lambda: [write_background(out)]
    yield "psf", lambda: [write_psf(out)]
    yield "alignment", lambda: [write_alignment(out)]
    for label in labels:
        yield f"{label}_rms_vs_median", lambda label=label: [write_rms_vs_median(out, label)]  # type: ignore[misc]
        yield f"{label}_signal_to_noise", lambda label=label: [write_signal_to_noise(out, label)]  # type: ignore[misc]
        yield f"{label}_noise_budget", lambda label=label: [write_noise_budget(out, label)]  # type: ignore[misc]
    yield "growth", lambda: [write_growth_curves(out)]
    yield "apertures", lambda: write_apertures(out)
    if films:
        yield "aligned", lambda: write_aligned_films(out)
        yield "target", lambda: write_target_films(out)
