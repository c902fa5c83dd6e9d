"""Tables of the benchmark: printed to the terminal, and written to one page of the documentation."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
_PACKAGES = (
    "numpy",
    "scipy",
    "astropy",
    "photutils",
    "sep",
    "astroalign",
    "astroscrappy",
    "isal",
    "msgspec",
    "pyzmq",
    "bokeh",
)
_LINE = 120
SOAK_TITLE = "At the highest sustained rate"
"""Of the section that `make soak` writes and `make bench` keeps."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table, with what has to be known to read it.

    Attributes
    ----------
    texts : tuple of str
        Paragraphs before the table.
    columns : tuple of str
    rows : tuple of tuple of str
        One text a column.
    n_words : int
        So many columns from the left hold words; the others hold numbers.
    """

    title: str
    texts: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_words: int = 1

    def print_to(self, console: Console) -> None:
        """Show the table."""
        table = Table(title=self.title)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="left" if number < self.n_words else "right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> list[str]:
        """Lines of the page."""
        rule = ["---"] * self.n_words + ["---:"] * (len(self.columns) - self.n_words)
        return [
            f"## {self.title}",
            "",
            *(line for text in self.texts for line in (*textwrap.wrap(text, _LINE), "")),
            f"| {' | '.join(self.columns)} |",
            f"|{'|'.join(rule)}|",
            *(f"| {' | '.join(row)} |" for row in self.rows),
            "",
        ]


def section_of(text: str, title: str) -> str:
    """The lines of a section of a page, its heading first; empty if there is none."""
    _, heading, rest = text.partition(f"## {title}\n")
    return f"{heading}{rest.partition(f'{chr(10)}## ')[0].rstrip()}\n" if heading else ""


def with_section(text: str, section: Section) -> str:
    """The page with this section in the place of that of the same title, at the end where there was none."""
    new, old = "\n".join(section.markdown()).rstrip() + "\n", section_of(text, section.title)
    return text.replace(old, new) if old else f"{text.rstrip()}\n\n{new}"


def page(sections: Sequence[Section]) -> str:
    """The whole page: when, on what, and every table."""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    head = (
        f"Printed by `make bench` on {today}. Machine: {machine()}. {versions()}. Numerical libraries have one thread. "
        "Times depend on the machine and on what else it does; the ratios, both sides of which were measured in the "
        "same run, are what counts. "
        f"{load()}"
    )
    lines = ["# Benchmarks", "", *textwrap.wrap(head, _LINE), ""]
    for section in sections:
        lines += section.markdown()
    return "\n".join(lines)


def machine() -> str:
    """Processor and number of cores, without the name of the machine."""
    model = platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        named = [line.partition(":")[2].strip() for line in facts.read_text().splitlines() if "model name" in line]
        model = named[0] if named else model
    return f"{model}, {os.cpu_count()} cores"


def load() -> str:
    """How busy the machine was."""
    return f"Load average over the last 15 minutes of the run: {os.getloadavg()[2]:.1f}, the benchmark included."


def versions() -> str:
    """Of Python and the libraries that decide the speed."""
    libraries = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return f"Python {platform.python_version()}, {libraries}"
