"""Focus: how wide the stars are that were clicked, over the night, in all keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import Button, Column, ColumnDataSource, DatetimeTickFormatter, Div, HoverTool, Range1d
from bokeh.plotting import figure

from server import theme
from server.columns import Columns, robust_range
from server.conditions import ConditionLook
from server.feed import Feed
from server.focus import FocusView, Star
from server.light_curve_panel import set_range
from server.night_view import KeyView, NightView
from server.star_table import role_of
from server.view_state import ViewState
from stream.analysis.choice import parse_source_name

_FROM_COMPARISONS = 3
_MOST_STARS = 8
_MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "plus", "x", "star")
_MARGIN_MS = 1500.0
_NOTHING: dict[str, list[float]] = {"x": [], "y": []}
_WAITING = "<span class='why'>The widths of the stars appear here with the first measured frames.</span>"
_HOW = "Press <b>focus</b> below the field, then click stars: their widths appear here."


def chosen_stars(view: NightView, names: Sequence[str]) -> tuple[Star, ...]:
    """The stars of all keys that names as ``1:g#3`` mean; target and first comparison stars where there is no name.

    A star is looked for in all keys by the positions of the stars; names of what there is not are passed over.
    """
    from stream.analysis.matching import match_catalogs

    stars: dict[Star, None] = {}
    for name in names:
        found = parse_source_name(name)
        origin = view.keys.get(found.key or "")
        if origin is None or found.number is None or not 1 <= found.number <= origin.catalog.n_sources:
            continue
        for key, other in view.keys.items():
            match = match_catalogs(origin.catalog, other.catalog)
            number = found.number if key == origin.key else match.numbers.get(found.number) if match.sure else None
            if number is not None:
                stars[(key, number)] = None
    if not names:
        for key, shown in view.keys.items():
            if shown.choice is not None:
                numbers = (shown.choice.target, *shown.choice.comparisons[:_FROM_COMPARISONS])
                stars |= dict.fromkeys((key, number) for number in numbers)
    return tuple(star for key in view.keys for star in [star for star in stars if star[0] == key][:_MOST_STARS])


def unknown_stars(view: NightView, names: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each name as ``1:g#3`` of a star that the night does not have."""
    sentences = []
    for name in names:
        found = parse_source_name(name)
        shown = view.keys.get(found.key or "")
        if shown is None:
            sentences.append(f"{name}: the night has no key {found.key}")
        elif found.number is None or not 1 <= found.number <= shown.catalog.n_sources:
            sentences.append(
                f"{found.key} has no source {found.number}: its catalog has 1 to {shown.catalog.n_sources}"
            )
    return tuple(sentences)


class _Strip:
    """Widths of the stars of one key."""

    def __init__(self, key: str, labels: Mapping[int, str], palette: theme.Palette, x_range: Range1d) -> None:
        self.key = key
        self._frames = ColumnDataSource(data=dict(_NOTHING), name=f"focus_frames_{key}")
        self._stars: dict[int, ColumnDataSource] = {}
        self._y_range = Range1d(0.0, 1.0)
        self.figure = figure(
            sizing_mode="stretch_both",
            min_height=150,
            stylesheets=[theme.STRIP_STYLE],
            x_range=x_range,
            y_range=self._y_range,
            x_axis_type="datetime",
            tools="xpan,box_zoom,reset",
            active_drag="box_zoom",
            toolbar_location="above",
            title=key,
            y_axis_label="FWHM / px",
            name=f"focus_{key}",
        )
        plot = self.figure
        # An axis without numbers would have ticks of microseconds.
        plot.visible = False
        plot.toolbar.logo = None
        plot.toolbar.autohide = True
        plot.min_border_right = 8
        plot.yaxis.ticker.desired_num_ticks = 4
        plot.xaxis.formatter = DatetimeTickFormatter(
            minutes="%H:%M", seconds="%H:%M:%S", minsec="%H:%M:%S", hourmin="%H:%M", hours="%H:%M"
        )
        self._draw(labels, palette)

    def _draw(self, labels: Mapping[int, str], palette: theme.Palette) -> None:
        plot = self.figure
        plot.line("x", "y", source=self._frames, color=palette.faint, alpha=0.6, legend_label="frame")
        for place, (number, label) in enumerate(labels.items()):
            source = self._stars[number] = ColumnDataSource(data=dict(_NOTHING), name=f"focus_{self.key}#{number}")
            points = plot.scatter(
                "x",
                "y",
                source=source,
                size=5,
                color=palette.keys[place % len(palette.keys)],
                marker=_MARKERS[place % len(_MARKERS)],
                fill_alpha=0.7,
                legend_label=label,
            )
            tips = theme.hover(("star", label), ("UTC", "@x{%H:%M:%S}"), ("FWHM", "@y{0.00} px"))
            plot.add_tools(HoverTool(renderers=[points], tooltips=tips, formatters={"@x": "datetime"}))
        plot.legend.orientation = "horizontal"
        plot.legend.location = "top_left"

    def update(self, frames: Columns, stars: Mapping[int, Columns], title: str) -> None:
        """Draw what is known by now."""
        if not self.figure.visible:
            self.figure.visible = True
        if self.figure.title.text != title:
            self.figure.title.text = title
        _set(self._frames, frames["x"], frames["y"])
        for number, source in self._stars.items():
            _set(source, stars[number]["time_ms"], stars[number]["fwhm_px"])
        values = np.concatenate([frames["y"], *(columns["fwhm_px"] for columns in stars.values())])
        values = values[np.isfinite(values)]
        if len(values):
            set_range(self._y_range, robust_range(values, np.zeros(1)))


def _set(source: ColumnDataSource, x: Any, y: Any) -> None:
    held = source.data
    if not (np.array_equal(held["x"], x) and np.array_equal(held["y"], y, equal_nan=True)):
        source.data = {"x": x, "y": y}


class FocusPanel:
    """Focus of one document.

    Parameters
    ----------
    feed : Feed
    palette : Palette
    cleared : callable
        Called when a viewer wants the stars of the night again in the place of those that were clicked.
    """

    def __init__(self, feed: Feed, palette: theme.Palette, cleared: Callable[[], None]) -> None:
        self._feed, self._palette = feed, palette
        self._strips: dict[str, _Strip] = {}
        self._stars: tuple[Star, ...] = ()
        self._made_of: tuple[object, ...] = ()
        self._unknown: tuple[str, ...] = ()
        self._x_range = Range1d(0.0, 1.0)
        self._text = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name="focus_text")
        clear = Button(label="target and comparisons", stylesheets=[theme.WIDGET_STYLE], name="focus_clear")
        clear.on_click(cleared)
        self._head = row(clear, styles={"flex-wrap": "wrap"}, sizing_mode="stretch_width")
        self.root: Column = column(
            self._head,
            self._text,
            sizing_mode="stretch_both",
            stylesheets=[theme.STRIPS_SHOWN_STYLE],
            styles={"overflow-y": "auto"},
            name="focus",
            spacing=2,
        )

    def update(self, view: NightView, state: ViewState) -> None:
        """Bring the strips to what was read by now."""
        look = ConditionLook(ys=("fwhm_px",), span_ms=state.look.span_ms, window_s=state.look.window_s)
        conditions = self._feed.conditions(look)
        made_of = (state.focus, *((shown.catalog.version, shown.choice) for shown in view.keys.values()))
        if made_of != self._made_of:
            self._made_of, self._stars = made_of, chosen_stars(view, state.focus)
            self._lay_out(view)
            self._unknown = unknown_stars(view, state.focus) if view.keys else ()
        problems = "".join(f"<div class='problem'>{escape(sentence)}</div>" for sentence in self._unknown)
        if conditions is None or not self._stars:
            self._say(problems or _WAITING)
            return
        frames = {key: each.strips["fwhm_px"] for key, each in conditions.items()}
        versions = {key: shown.catalog.version for key, shown in view.keys.items()}
        found = self._feed.focus(self._stars, frames, versions)
        self._say(problems + focus_text(found, view.keys, frames))
        times = np.concatenate([columns["x"] for columns in frames.values()] or [np.empty(0)])
        if len(times):
            set_range(self._x_range, (float(times.min()) - _MARGIN_MS, float(times.max()) + _MARGIN_MS))
        for key, strip in self._strips.items():
            if key in frames:
                stars = {number: found.stars[(of, number)] for of, number in self._stars if of == key}
                strip.update(frames[key], stars, f"{key} · {_best(stars)}")

    def _lay_out(self, view: NightView) -> None:
        self._x_range = Range1d(0.0, 1.0)
        self._strips = {}
        for key, shown in view.keys.items():
            labels = {number: f"{number}{role_of(number, shown.choice)}" for of, number in self._stars if of == key}
            if labels:
                self._strips[key] = _Strip(key, labels, self._palette, self._x_range)
        self.root.children = [self._head, self._text, *(strip.figure for strip in self._strips.values())]

    def _say(self, text: str) -> None:
        if self._text.text != text:
            self._text.text = text


def _best(stars: Mapping[int, Columns]) -> str:
    """The sharpest moment: the lowest median of the stars on a frame."""
    times = np.concatenate([columns["time_ms"] for columns in stars.values()])
    widths = np.concatenate([columns["fwhm_px"] for columns in stars.values()])
    known = np.isfinite(widths)
    if not known.any():
        return "no star had a width yet"
    moments, place = np.unique(times[known], return_inverse=True)
    medians = np.array([np.median(widths[known][place == index]) for index in range(len(moments))])
    best = int(medians.argmin())
    clock = str(np.datetime64(int(moments[best]), "ms"))[11:19]
    return f"now {medians[-1]:.2f} px, sharpest {medians[best]:.2f} px at {clock} UTC"


def focus_text(found: FocusView, keys: Mapping[str, KeyView], frames: Mapping[str, Columns]) -> str:
    """The newest width of every star, and how far the reading is, as HTML."""
    rows = []
    for key, shown in keys.items():
        stars = {number: columns for (of, number), columns in found.stars.items() if of == key}
        if not stars:
            continue
        scale = shown.catalog.pixel_scale_arcsec
        whole = frames[key]["y"][-1] if key in frames and len(frames[key]["y"]) else math.nan
        cells = "".join(
            f"<td>{number}{role_of(number, shown.choice)} <b>{_width(columns['fwhm_px'])}</b></td>"
            for number, columns in stars.items()
        )
        arcsec = f" ({whole * scale:.2f}″)" if scale > 0.0 and math.isfinite(whole) else ""
        rows.append(f"<tr><th scope='row'>{escape(key)}</th><td>frame {_width([whole])}{arcsec}</td>{cells}</tr>")
    words = [_HOW]
    if found.n_read < found.n_wanted:
        words.append(f"Read {found.n_read:,} of {found.n_wanted:,} frames …")
    if found.n_gone:
        words.append(f"{found.n_gone:,} frames are no longer there.")
    problem = f"<div class='problem'>{escape(found.sentence)}</div>" if found.sentence else ""
    return f"<table>{''.join(rows)}</table>{problem}<div class='why'>{' '.join(words)} FWHM in pixels.</div>"


def _width(widths: Any) -> str:
    return f"{widths[-1]:.2f}" if len(widths) and math.isfinite(widths[-1]) else "–"
