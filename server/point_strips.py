"""Pictures of points with errors, one above the other: folds, lags, transits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bokeh.models import (
    BoxAnnotation,
    ColumnDataSource,
    CrosshairTool,
    CustomJSTicker,
    DatetimeTickFormatter,
    HoverTool,
    Label,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from server import theme
from server.fitting import entitle
from server.followed_range import FollowedRange
from server.light_curve_panel import whole_number_formatter
from server.spectrum_figure import FEW_TICKS
from server.timing_views import StripView

_POINTS: dict[str, list[Any]] = {"x": [], "y": [], "lower": [], "upper": [], "alpha": [], "text": []}
_RANGE_CHANGE = 0.08
_SHADE = 0.16
"""Of a band; where one lies on another it is darker."""
_MANY, _SIZE, _SMALL_SIZE = 60, 5.5, 3.5
_PLAIN: dict[str, list[float]] = {"x": [], "y": []}


@dataclass(frozen=True, slots=True)
class StripAxes:
    """What the axes of the strips of a panel are.

    Attributes
    ----------
    panel : str
        For the names of the models.
    x_type : str
        ``linear``, ``log`` or ``datetime``.
    x_label : str
    min_height_px : int
    tooltips : tuple of tuple of str
        Of the points, as `theme.hover` takes them.
    """

    panel: str
    x_type: str
    x_label: str
    min_height_px: int
    tooltips: tuple[tuple[str, str], ...]


class PointStrip:
    """One picture of one document."""

    def __init__(self, view: StripView, axes: StripAxes, palette: theme.Palette, cursor: Span) -> None:
        self._drawn: StripView | None = None
        self._points = ColumnDataSource(data=dict(_POINTS), name=f"{axes.panel}_points_{view.name}")
        self._dots = ColumnDataSource(data=dict(_PLAIN))
        self._line = ColumnDataSource(data=dict(_PLAIN), name=f"{axes.panel}_line_{view.name}")
        self._x_range = FollowedRange(Range1d(*view.x_range))
        self._y_range = FollowedRange(Range1d(*view.y_range), tolerance=_RANGE_CHANGE)
        self._axes = axes
        self._bands: list[BoxAnnotation] = []
        self.figure = figure(
            sizing_mode="stretch_both",
            min_height=axes.min_height_px,
            stylesheets=[theme.STRIP_STYLE],
            x_range=self._x_range.limits,
            y_range=self._y_range.limits,
            x_axis_type=axes.x_type,
            tools="xpan,xwheel_zoom,box_zoom,reset",
            active_drag="box_zoom",
            active_scroll=None,
            toolbar_location="above",
            title=view.title,
            name=f"{axes.panel}_strip_{view.name}",
        )
        self._note = Label(
            x=6,
            y=4,
            x_units="screen",
            y_units="screen",
            text="",
            text_font=theme.FONT,
            text_font_size="11px",
            text_color=palette.text,
            background_fill_color=palette.panel,
            background_fill_alpha=0.65,
        )
        self._decorate(cursor)
        self._colour = palette.key_colour(view.colour_of)
        self._draw(palette, self._colour)

    def _decorate(self, cursor: Span) -> None:
        plot = self.figure
        plot.toolbar.logo = None
        plot.toolbar.autohide = True
        plot.min_border_right = 8
        plot.yaxis.ticker.desired_num_ticks = 4
        if self._axes.x_type == "log":
            plot.xaxis.formatter = whole_number_formatter()
            plot.xaxis.ticker = CustomJSTicker(major_code=FEW_TICKS)
        elif self._axes.x_type == "datetime":
            plot.xaxis.formatter = DatetimeTickFormatter(
                seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M"
            )
            plot.xaxis.ticker.desired_num_ticks = 4
        plot.add_tools(CrosshairTool(overlay=cursor))
        plot.add_layout(self._note)

    def _draw(self, palette: theme.Palette, colour: str) -> None:
        plot = self.figure
        plot.scatter("x", "y", source=self._dots, size=2.5, color=colour, alpha=0.25)
        plot.segment("x", "lower", "x", "upper", source=self._points, color=colour, alpha="alpha")
        points = self._marks = plot.scatter("x", "y", source=self._points, size=_SIZE, color=colour, alpha="alpha")
        plot.line("x", "y", source=self._line, color=palette.text, line_width=1.6)
        formatters = {"@x": "datetime"} if self._axes.x_type == "datetime" else {}
        words = theme.hover(*self._axes.tooltips)
        plot.add_tools(HoverTool(renderers=[points], tooltips=words, formatters=formatters, mode="mouse"))

    def show_axis(self, shown: bool) -> None:
        """Label the horizontal axis, or leave its room to the picture."""
        label = self._axes.x_label if shown else ""
        if self.figure.xaxis[0].axis_label != label:
            self.figure.xaxis.axis_label = label

    def update(self, view: StripView) -> None:
        """Draw a view; the one that is drawn already costs nothing."""
        entitle(self.figure, view.title)
        if view is self._drawn:
            return
        self._drawn = view
        self._points.data = dict(view.points)
        size = _SIZE if len(view.points["x"]) <= _MANY else _SMALL_SIZE
        if self._marks.glyph.size != size:
            self._marks.glyph.size = size
        for source, columns in ((self._dots, view.dots), (self._line, view.line)):
            if len(columns.get("x", ())) or len(source.data["x"]):
                source.data = dict(columns) or dict(_PLAIN)
        if self._note.text != view.note:
            self._note.text = view.note
        self._shade(view.bands)
        self._x_range.show(view.x_range)
        self._y_range.show(view.y_range)

    def _shade(self, bands: tuple[tuple[float, float], ...]) -> None:
        while len(self._bands) < len(bands):
            self._bands.append(
                BoxAnnotation(fill_color=self._colour, fill_alpha=_SHADE, line_color=None, level="underlay")
            )
            self.figure.add_layout(self._bands[-1])
        for number, box in enumerate(self._bands):
            box.visible = number < len(bands)
            if box.visible:
                box.update(left=bands[number][0], right=bands[number][1])
