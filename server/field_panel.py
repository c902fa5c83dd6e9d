"""The field: the newest picture of one key with its numbered sources, on which target and comparisons are clicked."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.events import DoubleTap, PointEvent, Tap
from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    CustomJS,
    Div,
    LinearColorMapper,
    RadioButtonGroup,
    Range1d,
    RangeSlider,
    Toggle,
)
from bokeh.plotting import figure

from server import theme
from server.changes_row import ChangesRow
from server.night_view import KeyView, NightView
from server.pictures import Picture
from server.selecting import nearest_source
from server.visitor import WATCHING, Visitor
from stream.errors import ConfigurationError
from stream.messages import Selection

CLICK_SETS = ("target", "comparisons")
_TARGET, _COMPARISON = range(2)
_MOST_REJECTED_LISTED = 30
_MOST_NUMBERED = 30


class FieldPanel:
    """Field, choices and rejected frames of one document.

    Parameters
    ----------
    visitor : Visitor
        Where clicks go; its feed is shared with every other document.
    palette : Palette
    key : str
        Shown at first, where there is such a key.
    key_chosen : callable
        Called with the key that a viewer chose.
    """

    def __init__(self, visitor: Visitor, palette: theme.Palette, key: str, key_chosen: Callable[[str], None]) -> None:
        self._feed, self._chooser = visitor.feed, visitor.chooser
        self._told = key_chosen
        self._palette = palette
        self._keys: tuple[str, ...] = ()
        self._key = key
        self._picture: Picture | None = None
        self._view: NightView | None = None
        self._done: list[tuple[Selection, Selection]] = []
        self._image = ColumnDataSource(data={"image": [], "width": [], "height": []}, name="picture")
        self._sources = ColumnDataSource(data=_source_columns(None, palette), name="sources")
        self._x_range, self._y_range = Range1d(-0.5, 511.5), Range1d(-0.5, 511.5)
        style = [theme.WIDGET_STYLE]
        self._key_buttons = RadioButtonGroup(labels=[], active=0, stylesheets=style, name="field_key")
        self._key_buttons.on_change("active", self._key_chosen)
        self._click_sets = RadioButtonGroup(labels=list(CLICK_SETS), active=_TARGET, stylesheets=style, name="click")
        self._automatic = Button(label="choose automatically", stylesheets=style, name="automatic")
        self._automatic.on_click(lambda: self._do(self._chooser.choose_automatically))
        self._mapper = LinearColorMapper(palette=palette.picture_colours(), low=0, high=255)
        self.figure = self._make_figure()
        self._stretch = _stretch_slider(self._mapper)
        self._changes = ChangesRow(self._undo, self._chooser, self._do)
        self._waiting = _text("field_waiting")
        self._answer = _text("answer")
        self._choices = _text("choices")
        if not self._chooser.may_change:
            self._click_sets.disabled = self._automatic.disabled = True
            self._say((WATCHING,))
        self._rejected_toggle = Toggle(label="", visible=False, stylesheets=style, name="rejected_toggle")
        self._rejected_toggle.on_click(lambda _active: self._show_rejected())
        self._rejected = _text("rejected")
        self.root: Column = column(
            self._key_buttons,
            self._waiting,
            self.figure,
            self._stretch,
            row(_label_of("click sets"), self._click_sets, sizing_mode="stretch_width"),
            row(self._automatic, self._changes.back, styles={"flex-wrap": "wrap"}),
            self._changes.root,
            self._answer,
            self._choices,
            self._rejected_toggle,
            self._rejected,
            sizing_mode="stretch_width",
            name="field",
            spacing=4,
        )

    def update(self, view: NightView) -> None:
        """Bring field, choices and rejected frames to a snapshot of the night."""
        first = self._view is None
        changed = first or view is not self._view
        self._view = view
        if tuple(view.keys) != self._keys:
            self._offer_keys(tuple(view.keys))
        shown = view.keys.get(self._key)
        _set_text(self._waiting, self._awaited(shown))
        if shown is not None:
            self._show_picture(shown)
            if changed:
                self._show_sources(shown)
        if changed:
            _set_text(self._choices, _choices_text(view))
            self._changes.offer(view.ensembles)
            self._label_rejected(view)

    def _awaited(self, shown: KeyView | None) -> str:
        if shown is None:
            return "<span class='why'>The field appears here with the first catalog.</span>"
        if self._picture is None:
            return (
                f"<span class='why'>No picture yet: a frame of {escape(shown.key)} that can be read is awaited.</span>"
            )
        return ""

    def _make_figure(self) -> Any:
        plot = figure(
            sizing_mode="scale_width",
            aspect_ratio=1.0,
            x_range=self._x_range,
            y_range=self._y_range,
            tools="",
            toolbar_location=None,
            name="field_figure",
            min_border=0,
        )
        plot.axis.visible = False
        plot.grid.visible = False
        plot.image(
            "image",
            x=-0.5,
            y=-0.5,
            dw="width",
            dh="height",
            source=self._image,
            color_mapper=self._mapper,
        )
        plot.scatter(
            "x", "y", source=self._sources, size=17, fill_color=None, line_color="colour", line_width="line_width"
        )
        plot.text(
            "x",
            "y",
            text="text",
            x_offset=9,
            y_offset=-7,
            source=self._sources,
            text_color="colour",
            text_font=value(theme.FONT),
            text_font_size="12px",
            text_font_style="bold",
        )
        # Bokeh takes the second of two clicks within 0.3 s, wherever it was, for a double click and calls it no tap.
        plot.on_event(Tap, self._clicked)
        plot.on_event(DoubleTap, self._clicked)
        return plot

    def _clicked(self, event: PointEvent) -> None:
        shown = None if self._view is None else self._view.keys.get(self._key)
        if shown is None:
            return
        x, y = float(event.x), float(event.y)
        number = nearest_source(shown.positions, x=x, y=y, frame_shape=shown.catalog.frame_shape)
        if number is None:
            self._say((f"there is no source of {self._key} near x {x:.0f}, y {y:.0f}",))
            return
        modifiers = event.modifiers or {}
        shift = bool(modifiers.get("shift") if isinstance(modifiers, dict) else modifiers.shift)
        if shift or self._click_sets.active == _COMPARISON:
            self._do(lambda: self._chooser.toggle_comparison(self._key, number))
        else:
            self._do(lambda: self._chooser.set_target(self._key, number))

    def _do(self, change: Callable[[], tuple[str, ...]]) -> None:
        """Change the choices, so that it can be taken back."""
        try:
            before = self._chooser.selection()
            self._say(change())
            left = self._chooser.selection()
        except ConfigurationError as problem:
            self._say((str(problem),))
            return
        if left != before:
            self._done.append((before, left))

    def _undo(self) -> None:
        if not self._done:
            self._say(("there is nothing of yours to take back",))
            return
        self._say(self._chooser.undo(*self._done.pop()))

    def _say(self, sentences: tuple[str, ...]) -> None:
        _set_text(self._answer, "".join(f"<div class='why'>{escape(sentence)}</div>" for sentence in sentences))

    def _offer_keys(self, keys: tuple[str, ...]) -> None:
        self._keys = keys
        self._key = self._key if self._key in keys else next(iter(keys), "")
        self._key_buttons.labels = list(keys)
        self._key_buttons.active = keys.index(self._key) if self._key else None
        self._key_buttons.visible = len(keys) > 1

    def _key_chosen(self, _attribute: str, _old: object, active: int | None) -> None:
        if active is None or active >= len(self._keys) or self._keys[active] == self._key:
            return
        self._key, self._picture = self._keys[active], None
        self._told(self._key)
        self._image.data = {"image": [], "width": [], "height": []}
        if self._view is not None:
            self._show_sources(self._view.keys[self._key])
            self._show_picture(self._view.keys[self._key])

    def _show_picture(self, shown: KeyView) -> None:
        rows, columns = shown.catalog.frame_shape
        if (self._x_range.end, self._y_range.end) != (columns - 0.5, rows - 0.5):
            self._x_range.end, self._y_range.end = columns - 0.5, rows - 0.5
            self.figure.aspect_ratio = columns / rows
        picture = self._feed.picture(shown.key)
        if picture is not None and picture is not self._picture:
            self._picture = picture
            rows, columns = picture.shape
            self._image.data = {"image": [picture.pixels], "width": [columns], "height": [rows]}

    def _show_sources(self, shown: KeyView) -> None:
        fresh = _source_columns(shown, self._palette)
        if any(not np.array_equal(fresh[name], self._sources.data[name]) for name in fresh):
            self._sources.data = fresh

    def _label_rejected(self, view: NightView) -> None:
        label = f"{view.n_rejected:,} rejected: which and why"
        if view.n_rejected and self._rejected_toggle.label != label:
            self._rejected_toggle.update(label=label, visible=True)
            self._show_rejected()

    def _show_rejected(self) -> None:
        if self._view is None or not self._rejected_toggle.active:
            _set_text(self._rejected, "")
            return
        lines = [f"<li>{escape(sentence)}</li>" for _path, sentence in self._view.rejected[:_MOST_REJECTED_LISTED]]
        more = self._view.n_rejected - len(lines)
        rest = f"<div class='why'>and {more:,} before these</div>" if more > 0 else ""
        _set_text(self._rejected, f"<ul>{''.join(lines)}</ul>{rest}")


def _source_columns(shown: KeyView | None, palette: theme.Palette) -> dict[str, Any]:
    """Columns of the rings: target and comparison stars stand out, sources off the frame are left out.

    In a crowded field the numbers would hide the stars: there the target alone is named.
    """
    if shown is None:
        return {"x": np.empty(0), "y": np.empty(0), "number": [], "text": [], "colour": [], "line_width": []}
    target = shown.choice.target if shown.choice else 0
    comparisons = set(shown.choice.comparisons) if shown.choice else set()
    inside = np.flatnonzero(np.isfinite(shown.positions).all(axis=1))
    numbers = [int(index) + 1 for index in inside]
    roles = [2 if number == target else 1 if number in comparisons else 0 for number in numbers]
    labels = [_label(number, role) for number, role in zip(numbers, roles, strict=True)]
    crowded = len(numbers) > _MOST_NUMBERED
    return {
        "x": shown.positions[inside, 0],
        "y": shown.positions[inside, 1],
        "number": labels,
        "text": ["" if crowded and role < 2 else label for label, role in zip(labels, roles, strict=True)],
        "colour": [(palette.source, palette.comparison, palette.accent)[role] for role in roles],
        "line_width": [(1.0, 1.6, 2.4)[role] for role in roles],
    }


def _label(number: int, role: int) -> str:
    # Colour is not the only carrier of meaning.
    return f"{number}{('', 'c', 'T')[role]}"


def _choices_text(view: NightView) -> str:
    blocks = []
    for key, shown in view.keys.items():
        if shown.choice is None:
            continue
        stars = ", ".join(str(number) for number in shown.choice.comparisons)
        why = " ".join(escape(sentence) + "." for sentence in shown.choice.sentences if sentence)
        blocks.append(
            f"<div><span class='key'>{escape(key)}</span> <span class='target'>target {shown.choice.target}</span>"
            f" · <span class='comparison'>comparisons {stars}</span><br><span class='why'>{why}</span></div>"
        )
    return f"<div class='keys'>{''.join(blocks)}</div>"


def _stretch_slider(mapper: LinearColorMapper) -> RangeSlider:
    """What of the picture is black and white: changed in the browser alone."""
    slider = RangeSlider(
        start=0,
        end=255,
        value=(0, 255),
        step=1,
        show_value=False,
        title="black to white",
        sizing_mode="stretch_width",
        stylesheets=[theme.WIDGET_STYLE],
        name="stretch",
    )
    code = "const [low, high] = cb_obj.value; mapper.setv({low, high: Math.max(high, low + 1)});"
    slider.js_on_change("value", CustomJS(args={"mapper": mapper}, code=code))
    return slider


def _label_of(text: str) -> Div:
    return Div(text=f"<span class='why'>{text}</span>", stylesheets=[theme.TEXT_STYLE], margin=(10, 0, 5, 5))


def _text(name: str) -> Div:
    return Div(text="", visible=False, stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name=name)


def _set_text(div: Div, text: str) -> None:
    if div.text != text:
        div.update(text=text, visible=bool(text))
