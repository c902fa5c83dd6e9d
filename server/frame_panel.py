"""The frame behind a point: stamps of target and comparison stars with their apertures, facts and header."""

from __future__ import annotations

import math
from concurrent.futures import Future
from html import escape
from typing import Any

from bokeh.layouts import column
from bokeh.models import Column, ColumnDataSource, Div, Range1d

from server import theme
from server.feed import Feed
from server.frame_card import FrameCard, Stamp, read_card
from server.picture_figure import add_names, grey_scale, picture_figure
from stream.errors import OpticamLiveError

_PER_ROW = 4
_GAP_PX = 3.0
_NOTHING: dict[str, list[Any]] = {"image": [], "x": [], "y": [], "side": []}
_RINGS: dict[str, list[Any]] = {"x": [], "y": [], "width": [], "height": [], "angle": [], "dash": []}
_WORDS: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
_NOTHING_CLICKED = "<span class='why'>A click on a point of a light curve shows its frame here.</span>"


class FramePanel:
    """The frame that was clicked last in one document.

    Parameters
    ----------
    feed : Feed
    palette : Palette
    """

    def __init__(self, feed: Feed, palette: theme.Palette) -> None:
        self._feed = feed
        self._future: Future[FrameCard] | None = None
        self._images = ColumnDataSource(data=dict(_NOTHING), name="stamps")
        self._rings = ColumnDataSource(data=dict(_RINGS), name="apertures")
        self._words = ColumnDataSource(data=dict(_WORDS), name="stamp_names")
        self._x_range, self._y_range = Range1d(0.0, 1.0), Range1d(0.0, 1.0)
        self.figure = self._make_figure(palette)
        self._text = Div(
            text=_NOTHING_CLICKED, stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name="frame_text"
        )
        self.root: Column = column(
            self.figure,
            self._text,
            sizing_mode="stretch_both",
            stylesheets=[theme.STRIPS_SHOWN_STYLE],
            styles={"overflow-y": "auto"},
            name="frame",
        )

    def show(self, key: str, frame_id: int) -> None:
        """Read a frame; `update` shows it once it is there."""
        view = self._feed.view
        choice = view.keys[key].choice if key in view.keys else None
        self._text.text = "<span class='why'>reading the frame …</span>"
        self._future = self._feed.in_background(read_card, self._feed.out, frame_id, choice, view.label)

    def update(self) -> None:
        """Show the frame that was asked for, if it is there by now."""
        if self._future is None or not self._future.done():
            return
        future, self._future = self._future, None
        try:
            card = future.result()
        except OpticamLiveError as problem:
            card = FrameCard("", sentence=str(problem))
        self._text.text = card_text(card)
        self._draw(card)

    def _make_figure(self, palette: theme.Palette) -> Any:
        plot = picture_figure("frame_figure", self._x_range, self._y_range, visible=False, styles={"flex": "0 0 auto"})
        plot.image("image", x="x", y="y", dw="side", dh="side", source=self._images, color_mapper=grey_scale(palette))
        plot.ellipse(
            "x",
            "y",
            width="width",
            height="height",
            angle="angle",
            source=self._rings,
            fill_color=None,
            line_color=palette.accent,
            line_dash="dash",
            line_width=1.3,
        )
        add_names(plot, self._words, palette.accent, x_offset=3, y_offset=-3)
        return plot

    def _draw(self, card: FrameCard) -> None:
        self.figure.visible = bool(card.stamps)
        images: dict[str, list[Any]] = {name: [] for name in _NOTHING}
        rings: dict[str, list[Any]] = {name: [] for name in _RINGS}
        words: dict[str, list[Any]] = {name: [] for name in _WORDS}
        side = len(card.stamps[0].pixels) + _GAP_PX if card.stamps else 1.0
        n_rows = max(1, math.ceil(len(card.stamps) / _PER_ROW))
        for index, stamp in enumerate(card.stamps):
            left, low = side * (index % _PER_ROW), side * (n_rows - 1 - index // _PER_ROW)
            _add_row(images, image=stamp.pixels, x=left, y=low, side=len(stamp.pixels))
            _add_row(words, x=left, y=low, text=stamp.text)
            for row in _rings_of(stamp, card.annulus_px):
                _add_row(rings, **row | {"x": left + stamp.x + 0.5, "y": low + stamp.y + 0.5})
        n_columns = min(_PER_ROW, max(1, len(card.stamps)))
        self._x_range.update(start=0.0, end=side * n_columns - _GAP_PX)
        self._y_range.update(start=0.0, end=side * n_rows - _GAP_PX)
        self.figure.aspect_ratio = (side * n_columns - _GAP_PX) / (side * n_rows - _GAP_PX)
        self._images.data, self._rings.data, self._words.data = images, rings, words


def _add_row(columns: dict[str, list[Any]], **cells: Any) -> None:
    for name, cell in cells.items():
        columns[name].append(cell)


def _rings_of(stamp: Stamp, annulus_px: tuple[float, float]) -> list[dict[str, Any]]:
    """Apertures as full lines, the annulus of the background dotted."""
    angle = math.radians(stamp.orientation_deg) if math.isfinite(stamp.orientation_deg) else 0.0
    rings = [
        {"width": 2.0 * one.major_px, "height": 2.0 * one.minor_px, "angle": angle, "dash": "solid"}
        for one in stamp.apertures
    ]
    annulus = [{"width": 2.0 * radius, "height": 2.0 * radius, "angle": 0.0, "dash": "dotted"} for radius in annulus_px]
    return rings + annulus


def card_text(card: FrameCard) -> str:
    """A frame in words, as HTML."""
    parts = [f"<b>{escape(card.name)}</b>"] if card.name else []
    if card.sentence:
        parts.append(f"<div class='problem'>{escape(card.sentence)}</div>")
    if card.stamps:
        lines = (f"<tr><th>{stamp.text}</th><td>{escape(stamp.sentence)}</td></tr>" for stamp in card.stamps)
        parts.append(f"<table>{''.join(lines)}</table>")
    if card.facts:
        lines = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in card.facts)
        parts.append(f"<table>{''.join(lines)}</table>")
    if card.header:
        lines = (
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td><td class='why'>{escape(comment)}</td></tr>"
            for name, text, comment in card.header
        )
        parts.append(
            f"<details><summary>header: {len(card.header)} keywords</summary><table>{''.join(lines)}</table></details>"
        )
    return "".join(parts)
