"""Figures that show pictures of the sky: pixels that are square, no axes, names beside the stars."""

from __future__ import annotations

from typing import Any

from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, LinearColorMapper, Range1d
from bokeh.plotting import figure

from server import theme


def picture_figure(name: str, x_range: Range1d, y_range: Range1d, **more: Any) -> Any:
    """A figure without axes and tools, as wide as there is room, as high as its picture asks for."""
    plot = figure(
        sizing_mode="scale_width",
        aspect_ratio=1.0,
        x_range=x_range,
        y_range=y_range,
        tools="",
        toolbar_location=None,
        min_border=0,
        name=name,
        **more,
    )
    plot.axis.visible = False
    plot.grid.visible = False
    return plot


def grey_scale(palette: theme.Palette) -> LinearColorMapper:
    """From the 8 bits of a picture to the colours of a theme."""
    return LinearColorMapper(palette=palette.picture_colours(), low=0, high=255)


def add_names(plot: Any, source: ColumnDataSource, colour: str, **more: Any) -> None:
    """Write the column ``text`` at ``x`` and ``y``; `colour` may be that of a column."""
    plot.text(
        "x",
        "y",
        text="text",
        source=source,
        text_color=colour,
        text_font=value(theme.FONT),
        text_font_size="12px",
        text_font_style="bold",
        **more,
    )
