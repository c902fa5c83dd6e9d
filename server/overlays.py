"""What is drawn over a plot on demand. It costs nothing before: a page is made of hundreds of models as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource
from bokeh.models.glyph import XYGlyph
from bokeh.plotting import figure

from server.columns import Columns


class Overlay:
    """Points or a line of one plot, made when there is something to be drawn for the first time.

    Parameters
    ----------
    plot : figure
    name : str
        Of the data source.
    *glyphs : XYGlyph
        How the columns are drawn.
    """

    def __init__(self, plot: figure, name: str, *glyphs: XYGlyph) -> None:
        self._plot, self._name, self._glyphs = plot, name, glyphs
        self._source: ColumnDataSource | None = None

    @property
    def data(self) -> dict[str, Any]:
        """What is drawn; empty before anything was."""
        return {} if self._source is None else dict(self._source.data)

    def show(self, columns: Columns | dict[str, list[Any]]) -> None:
        """Draw columns instead of those before; empty ones take them away."""
        if self._source is None:
            if not any(len(column) for column in columns.values()):
                return
            self._source = ColumnDataSource(data=dict(columns), name=self._name)
            for glyph in self._glyphs:
                self._plot.add_glyph(self._source, glyph)
        elif columns:
            # What is drawn already is not sent again: a slow browser has enough to do.
            if not all(np.array_equal(column, self._source.data.get(name, ())) for name, column in columns.items()):
                self._source.data = dict(columns)
        elif any(len(column) for column in self._source.data.values()):
            self._source.data = {name: [] for name in self._source.data}
