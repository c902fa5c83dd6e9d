"""A look at a folder before anything is reduced: what is there, and what is wrong with it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from stream.errors import ConfigurationError, FrameIncompleteError, FrameRejectedError
from stream.instruments import FrameFacts, Instrument
from stream.measure.frames import FramePeek, list_frames
from stream.night.folder_scan import FolderScan, refusal_of, safe_name


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What the headers of a folder say.

    Attributes
    ----------
    binnings : tuple of int
        Binnings that occur; more than one means that the frames are of different observations.
    by_key : dict
        Frames of each key.
    problems : tuple of str
        One sentence for each thing that is wrong; it names the file.
    facts : dict
        What the header of each usable frame says, by name of the frame.
    """

    n_files: int
    binnings: tuple[int, ...]
    by_key: dict[str, int]
    problems: tuple[str, ...]
    facts: Mapping[str, FrameFacts] = field(default_factory=dict, repr=False)

    def lines(self) -> list[str]:
        """The report as the seed of this project printed it, then its problems."""
        lines = [f"Binning: {', '.join(f'{binning}x{binning}' for binning in self.binnings)}"]
        lines.append(f"Filters: {', '.join(self.by_key)}")
        lines += [f"{n} {key} images." for key, n in self.by_key.items()]
        if len(self.binnings) > 1:
            lines.append("Problem: frames with different binnings are in one folder; a catalog fits only one of them.")
        lines += [f"Problem: {problem}" for problem in self.problems]
        return lines


def frame_names(folder: Path, *exclude: Path) -> list[str]:
    """Paths of all frames in `folder` and below, relative to it, in order of path, but for what is excluded.

    Raises
    ------
    ConfigurationError
        If the folder does not exist or holds no frame.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"folder {folder} does not exist")
    names = sorted(FolderScan(folder, *exclude).new_names())
    if not names:
        raise ConfigurationError(
            f"folder {folder} holds no frames: no file ends in .fit, .fits or .fts (or these and .gz or .fz)"
        )
    return names


def scan_frames(
    folder: Path, names: Sequence[str], *, instrument: Instrument, advance: Callable[[], None] = lambda: None
) -> ScanReport:
    """Read the headers of files, each of which may hold several frames; `advance` is called after each file."""
    binnings: set[int] = set()
    by_key: Counter[str] = Counter()
    problems: list[str] = []
    usable: dict[str, FrameFacts] = {}
    for name in names:
        found = _facts_of(folder, name, instrument, problems.append)
        for facts in found.values():
            binnings.add(facts.binning)
            by_key[facts.key] += 1
        usable |= found
        advance()
    return ScanReport(len(names), tuple(sorted(binnings)), dict(sorted(by_key.items())), tuple(problems), usable)


def scan_data(out_directory: Path | str, data_directory: Path | str, instrument: Instrument) -> ScanReport:
    """Print what a folder of frames holds, as the command ``scan`` does, and return it.

    Parameters
    ----------
    out_directory : path
        Folder of the outputs; it is made if it does not exist, and left out of the scan.
    data_directory : path
        Folder of the frames.

    Raises
    ------
    ConfigurationError
        If the folder of the frames does not exist or holds no frame.
    """
    out, folder = Path(out_directory), Path(data_directory)
    names = frame_names(folder, out)
    if not out.is_dir():
        typer.echo(f"[OPTICAM] {out} not found, attempting to create ...")
        out.mkdir(parents=True)
        typer.echo(f"[OPTICAM] {out} created.")
    report = scan_with_progress(folder, names, instrument)
    for line in report.lines():
        typer.echo(line)
    return report


def scan_with_progress(folder: Path, names: Sequence[str], instrument: Instrument) -> ScanReport:
    """Read headers with a progress bar on the terminal, and say how the instrument fits."""
    from rich.console import Console
    from rich.progress import Progress

    typer.echo(f"[OPTICAM] Checking instrument {instrument.name}.")
    with Progress(console=Console(file=sys.stderr, force_jupyter=False)) as progress:
        task = progress.add_task("[cyan]\\[OPTICAM][/cyan] Parsing file headers", total=len(names))
        report = scan_frames(folder, names, instrument=instrument, advance=lambda: progress.advance(task))
    if report.problems:
        typer.echo(f"[OPTICAM] {instrument.name}: {len(report.problems)} problems, see below.")
    else:
        typer.echo(f"[OPTICAM] {instrument.name} successfully passed all checks.")
    typer.echo("")
    return report


def _facts_of(folder: Path, name: str, instrument: Instrument, report: Callable[[str], None]) -> dict[str, FrameFacts]:
    """Facts of the usable frames of a file, by name of the frame."""
    refusal = refusal_of(folder, name)
    if refusal is not None:
        report(refusal)
        return {}
    try:
        peeks = list_frames(folder / name, name, instrument)
    except (FrameRejectedError, FrameIncompleteError) as error:
        report(str(error))
        return {}
    except OSError as error:
        report(f"{safe_name(name)} cannot be read: {error.strerror}")
        return {}
    facts: dict[str, FrameFacts] = {}
    for peek in peeks:
        problems = instrument.problems(peek.header, peek.name)
        for problem in problems:
            report(problem)
        if not problems:
            facts[peek.name] = instrument.describe(peek.header, peek.name)
    _report_twins(facts, peeks, report)
    return facts


def _report_twins(facts: Mapping[str, FrameFacts], peeks: Sequence[FramePeek], report: Callable[[str], None]) -> None:
    """Say so where frames of one file share key and time: one of them may be errors or a mask."""
    first: dict[tuple[str, float], str] = {}
    for peek in peeks:
        fact = facts.get(peek.name)
        if fact is None:
            continue
        twin = first.setdefault((fact.key, fact.time_mjd_utc), peek.name)
        if twin != peek.name:
            report(
                f"{twin} and {peek.name} are both of key {fact.key} at the same time: "
                "extensions of the instrument must name the HDUs that hold frames"
            )
            return
