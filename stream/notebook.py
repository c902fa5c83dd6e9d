"""What the notebook interface says and shows: lines, progress bars, and figures where there is a notebook."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import typer

PREFIX = "[OPTICAM]"


class SavableFigure(Protocol):
    """What of a figure is needed to show it."""

    def savefig(self, fname: IO[bytes], *, format: str, dpi: int) -> None:
        """Draw into a file."""


class Bar(Protocol):
    """A progress bar."""

    total: float | None
    n: float

    def update(self, n: float = 1) -> bool | None:
        """Advance by so many."""

    def refresh(self) -> object:
        """Draw it as it is."""


def say(text: str = "") -> None:
    """Write a line as the tutorial shows it; an empty line as it is."""
    typer.echo(f"{PREFIX} {text}" if text else "")


@contextmanager
def progress(description: str, total: int) -> Iterator[Bar]:
    """A progress bar on stderr, of text alone, so that it is the same in a notebook and on a terminal."""
    from tqdm import tqdm

    bar_without_thread = type("bar_without_thread", (tqdm,), {"monitor_interval": 0})
    with bar_without_thread(
        total=total,
        desc=f"{PREFIX} {description}",
        file=sys.stderr,
        dynamic_ncols=True,
        bar_format="{desc}: {percentage:3.0f}%|{bar}|[{elapsed}<{remaining}]",
    ) as bar:
        yield bar
    sys.stderr.flush()  # before what is said next


def step(bar: Bar) -> None:
    """Advance a bar by one."""
    bar.update(1)


def show_figure(figure: SavableFigure) -> None:
    """Show a figure below the cell that runs; nothing happens outside a notebook."""
    if in_notebook():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        _display(buffer.getvalue())


def show_picture(path: Path) -> None:
    """Show a PNG file below the cell that runs; nothing happens outside a notebook or without the file."""
    if in_notebook() and path.is_file():
        _display(path.read_bytes())


def in_notebook() -> bool:
    """Whether a notebook runs this process. IPython is asked only if it is there already: it is no dependency."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _display(png: bytes) -> None:
    from IPython.display import Image, display

    display(Image(data=png))
