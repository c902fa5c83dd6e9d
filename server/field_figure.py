"""The picture of the field: the newest frame of a key, its numbered sources, north and east where they are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import Arrow, ColumnDataSource, Label, LinearColorMapper, Range1d, VeeHead

from server import theme
from server.compass import arrows
from server.night_view import KeyView
from server.picture_figure import add_names, grey_scale, picture_figure
from server.pictures import Picture
from server.star_table import NEITHER, TARGET, role_of

_MOST_NUMBERED = 30
_NEAR_RIGHT_EDGE = 0.88
_NO_PICTURE: dict[str, list[Any]] = {"image": [], "width": [], "height": []}


class FieldFigure:
    """Picture, rings and arrows of one document.

    Parameters
    ----------
    palette : Palette
    """

    def __init__(self, palette: theme.Palette) -> None:
        self._palette = palette
        self._picture: Picture | None = None
        self._image = ColumnDataSource(data=dict(_NO_PICTURE), name="picture")
        self._sources = ColumnDataSource(data=source_columns(None, palette), name="sources")
        self._arrows = ColumnDataSource(data=arrows(None, (1, 1)), name="compass")
        self._no_arrows = _words(palette)
        self._x_range, self._y_range = Range1d(-0.5, 511.5), Range1d(-0.5, 511.5)
        self.mapper: LinearColorMapper = grey_scale(palette)
        self.plot = picture_figure("field_figure", self._x_range, self._y_range)
        self.plot.image("image", x=-0.5, y=-0.5, dw="width", dh="height", source=self._image, color_mapper=self.mapper)
        self.plot.scatter(
            "x", "y", source=self._sources, size=17, fill_color=None, line_color="colour", line_width="line_width"
        )
        add_names(self.plot, self._sources, "colour", x_offset="x_offset", y_offset=-7, text_align="text_align")
        self._add_arrows()

    def _add_arrows(self) -> None:
        colour = self._palette.text
        head = VeeHead(size=9, line_color=colour, fill_color=colour)
        ends = {"x_start": "x0", "y_start": "y0", "x_end": "x1", "y_end": "y1"}
        self.plot.add_layout(Arrow(end=head, source=self._arrows, line_color=colour, line_width=1.6, **ends))
        add_names(self.plot, self._arrows, colour, text_align="center", text_baseline="middle")
        self.plot.add_layout(self._no_arrows)

    @property
    def has_picture(self) -> bool:
        """Whether a picture is shown."""
        return self._picture is not None

    def forget_picture(self) -> None:
        """Show no picture until the next one."""
        self._picture = None
        self._image.data = dict(_NO_PICTURE)
        self._arrows.data = arrows(None, (1, 1))
        self._no_arrows.visible = False

    def show_picture(self, shown: KeyView, picture: Picture | None) -> None:
        """Show a picture of a key, if it is another one than before."""
        rows, columns = shown.catalog.frame_shape
        if (self._x_range.end, self._y_range.end) != (columns - 0.5, rows - 0.5):
            self._x_range.end, self._y_range.end = columns - 0.5, rows - 0.5
            self.plot.aspect_ratio = columns / rows
        if picture is None or picture is self._picture:
            return
        self._picture = picture
        # Of a frame that is rebinned to be measured, squares of pixels are one pixel of the catalog.
        factor = max(1, round(picture.shape[0] / rows))
        height, width = (side / factor for side in picture.shape)
        self._image.data = {"image": [picture.pixels], "width": [width], "height": [height]}
        fresh = arrows(picture.compass, shown.catalog.frame_shape)
        if fresh != self._arrows.data:
            self._arrows.data = fresh
        if self._no_arrows.visible != (picture.compass is None):
            self._no_arrows.visible = picture.compass is None

    def show_sources(self, shown: KeyView) -> None:
        """Show where the sources are, and which role each has."""
        fresh = source_columns(shown, self._palette)
        if any(not np.array_equal(fresh[name], self._sources.data[name]) for name in fresh):
            self._sources.data = fresh


def _words(palette: theme.Palette) -> Label:
    """What stands in the place of the arrows where a header does not tell: nobody wonders whether they are to come."""
    return Label(
        x=6,
        y=5,
        x_units="screen",
        y_units="screen",
        text="north not known: no WCS in the header",
        text_font=theme.FONT,
        text_font_size="10px",
        text_color=palette.text,
        background_fill_color=palette.panel,
        background_fill_alpha=0.65,
        visible=False,
        name="no_compass",
    )


def source_columns(shown: KeyView | None, palette: theme.Palette) -> dict[str, Any]:
    """Columns of the rings: target and comparison stars stand out, sources off the frame are left out.

    In a crowded field the numbers would hide the stars: there the target alone is named.
    """
    names = ("x", "y", "number", "text", "colour", "line_width", "x_offset", "text_align")
    if shown is None:
        return {name: np.empty(0) if name in ("x", "y") else [] for name in names}
    inside = np.flatnonzero(np.isfinite(shown.positions).all(axis=1))
    numbers = [int(index) + 1 for index in inside]
    roles = [role_of(number, shown.choice) for number in numbers]
    # Colour is not the only carrier of meaning.
    labels = [f"{number}{role}" for number, role in zip(numbers, roles, strict=True)]
    crowded = len(numbers) > _MOST_NUMBERED
    looks = {TARGET: (palette.accent, 2.4), NEITHER: (palette.source, 1.0)}
    drawn = [looks.get(role, (palette.comparison, 1.6)) for role in roles]
    x = shown.positions[inside, 0]
    is_right = x > _NEAR_RIGHT_EDGE * shown.catalog.frame_shape[1]
    return {
        "x": x,
        "y": shown.positions[inside, 1],
        "number": labels,
        "text": ["" if crowded and role != TARGET else label for label, role in zip(labels, roles, strict=True)],
        "colour": [colour for colour, _width in drawn],
        "line_width": [width for _colour, width in drawn],
        "x_offset": [-9 if right else 9 for right in is_right],
        "text_align": ["right" if right else "left" for right in is_right],
    }
