"""What all figures share: colours, the way they are saved, and words for time.

Figures are made as objects and drawn by the Agg canvas: there is no global figure, no window, and several threads or
processes may draw at once.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stream.atomic_files import write_atomically

COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7d5ba6", "#b8860b", "#4a4a4a")
GRID_COLOUR = "#d8d8d8"
LABEL_COLOUR = "#ffd166"
MOST_POINTS = 20_000
"""More points than this are drawn as a picture within the page."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, atomically; the suffix of `path` gives the format (png, pdf, svg)."""
    FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150))


def time_unit(span_s: float) -> tuple[str, float]:
    """Name and seconds of the unit that suits an axis of this length."""
    return ("hours", 3600.0) if span_s > 3600.0 else ("minutes", 60.0) if span_s > 120.0 else ("seconds", 1.0)


def rgb(colour: str) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 1, of ``#rrggbb``."""
    red, green, blue = (int(colour[start : start + 2], 16) / 255.0 for start in (1, 3, 5))
    return red, green, blue


def empty_figure(figure: Figure, words: str) -> Figure:
    """Say on a figure why there is nothing on it."""
    figure.text(0.5, 0.5, words, ha="center", va="center")
    return figure


def grid(axes: Axes) -> None:
    """Draw a light grid below everything else."""
    axes.grid(color=GRID_COLOUR, linewidth=0.6)
    axes.set_axisbelow(True)
