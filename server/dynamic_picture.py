"""The picture of a dynamic power spectrum: time to the right, frequency upwards, the more power the brighter."""

from __future__ import annotations

from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    DatetimeTickFormatter,
    HoverTool,
    LinearColorMapper,
    Range1d,
)
from bokeh.plotting import figure

from server import theme
from server.followed_range import FollowedRange
from server.timing_views import DynamicImage


class DynamicPicture:
    """The picture of one document."""

    def __init__(self, palette: theme.Palette) -> None:
        self._source = ColumnDataSource(
            data={"image": [], "x": [], "y": [], "width": [], "height": []}, name="dynamic_spectrum"
        )
        self._mapper = LinearColorMapper(palette=palette.picture_colours(), low=0.0, high=1.0, nan_color=palette.grid)
        self._times, self._frequencies = FollowedRange(Range1d(0.0, 1.0)), FollowedRange(Range1d(0.0, 1.0))
        self.figure = figure(
            sizing_mode="stretch_both",
            min_height=260,
            stylesheets=[theme.PICTURE_STYLE],
            x_range=self._times.limits,
            y_range=self._frequencies.limits,
            x_axis_type="datetime",
            x_axis_label="UTC",
            y_axis_label="frequency / Hz",
            tools="pan,box_zoom,reset",
            active_drag="box_zoom",
            toolbar_location="above",
            name="dynamic_figure",
        )
        plot = self.figure
        plot.toolbar.logo = None
        plot.toolbar.autohide = True
        plot.grid.visible = False
        plot.xaxis.ticker.desired_num_ticks = 4
        plot.xaxis.formatter = DatetimeTickFormatter(
            seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M"
        )
        drawn = plot.image(
            "image", x="x", y="y", dw="width", dh="height", source=self._source, color_mapper=self._mapper
        )
        words = ("UTC", "$x{%H:%M:%S}"), ("frequency", "$y{0.00000} Hz"), ("√ power", "@image{0.000e+0}")
        plot.add_tools(HoverTool(renderers=[drawn], tooltips=theme.hover(*words), formatters={"$x": "datetime"}))
        bar = ColorBar(
            color_mapper=self._mapper,
            width=9,
            background_fill_color=palette.panel,
            major_label_text_color=palette.faint,
            major_label_text_font_size="11px",
            padding=4,
        )
        plot.add_layout(bar, "right")

    def update(self, image: DynamicImage) -> None:
        """Draw a picture; the axes follow it."""
        self._source.data = {
            "image": [image.colour],
            "x": [image.start_ms],
            "y": [image.lowest_hz],
            "width": [image.length_ms],
            "height": [image.height_hz],
        }
        self._mapper.high = image.top
        self._times.show((image.start_ms, image.start_ms + image.length_ms))
        self._frequencies.show((image.lowest_hz, image.lowest_hz + image.height_hz))
