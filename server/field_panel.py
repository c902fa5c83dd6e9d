"""The field: the newest picture of one key with its numbered sources, on which target and comparisons are clicked."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from bokeh.events import DoubleTap, PointEvent, Tap
from bokeh.layouts import column, row
from bokeh.models import Button, Column, CustomJS, Div, LinearColorMapper, RadioButtonGroup, RangeSlider

from server import theme
from server.changes_row import ChangesRow
from server.choice_changes import what_changed
from server.field_figure import FieldFigure
from server.night_view import KeyView, NightView
from server.selecting import nearest_source
from server.star_list import StarList
from server.visitor import WATCHING, Visitor
from stream.analysis.choice import KeyChoice
from stream.errors import ConfigurationError
from stream.messages import Selection

_NAME_HANDLES = """
const handles = Bokeh.index.find_one(slider)?.shadow_el.querySelectorAll(".noUi-handle") ?? [];
["black", "white"].forEach((name, index) => handles[index]?.setAttribute("aria-label", `${name} of the picture`));
"""
CLICK_SETS = ("target", "comparisons", "focus")
_TARGET, _COMPARISON, _FOCUS = range(3)


class FieldPanel:
    """Field and choices of one document.

    Parameters
    ----------
    visitor : Visitor
        Where clicks go; its feed is shared with every other document.
    palette : Palette
    key : str
        Shown at first, where there is such a key.
    key_chosen : callable
        Called with the key that a viewer chose.
    focus_clicked : callable
        Called with key and number of a star whose width a viewer wants to see, or no longer.
    """

    def __init__(
        self,
        visitor: Visitor,
        palette: theme.Palette,
        key: str,
        key_chosen: Callable[[str], None],
        focus_clicked: Callable[[str, int], None],
    ) -> None:
        self._feed, self._chooser = visitor.feed, visitor.chooser
        self._told, self._focus_clicked = key_chosen, focus_clicked
        self._keys: tuple[str, ...] = ()
        self._key = key
        self._view: NightView | None = None
        self._done: list[tuple[Selection, Selection]] = []
        self._choices: dict[str, KeyChoice] = {}
        self._is_mine = False
        style = [theme.WIDGET_STYLE]
        self._key_buttons = RadioButtonGroup(labels=[], active=0, stylesheets=style, name="field_key")
        self._key_buttons.on_change("active", self._key_chosen)
        self._click_sets = RadioButtonGroup(labels=list(CLICK_SETS), active=_TARGET, stylesheets=style, name="click")
        self._automatic = Button(label="choose automatically", stylesheets=style, name="automatic")
        self._automatic.on_click(lambda: self._do(self._chooser.choose_automatically))
        self._figure = FieldFigure(palette)
        # Bokeh takes the second of two clicks within 0.3 s, wherever it was, for a double click and calls it no tap.
        for event in (Tap, DoubleTap):
            self._figure.plot.on_event(event, self._clicked)
        stretch = _stretch_slider(self._figure.mapper)
        self.named = CustomJS(args={"slider": stretch}, code=_NAME_HANDLES)
        """To be run when the page is there: those who do not see the page learn what the handles are."""
        self._changes = ChangesRow(self._undo, self._chooser, self._do)
        self._stars = StarList(self._feed, self._chooser.may_change, self._pressed)
        self._waiting, self._answer, self._reasons = _text("field_waiting"), _text("answer"), _text("choices")
        if not self._chooser.may_change:
            self._automatic.disabled = True
            self._click_sets.update(disabled=True, active=_FOCUS)
            self._say((WATCHING,))
        self.root: Column = column(
            self._key_buttons,
            self._waiting,
            self._figure.plot,
            stretch,
            row(_label_of("click"), self._click_sets, sizing_mode="stretch_width"),
            row(self._automatic, self._changes.back, styles={"flex-wrap": "wrap"}),
            self._changes.root,
            self._answer,
            self._stars.root,
            self._reasons,
            sizing_mode="stretch_width",
            name="field",
            spacing=4,
        )

    def update(self, view: NightView) -> None:
        """Bring field and choices to a snapshot of the night."""
        changed = view is not self._view
        self._view = view
        if tuple(view.keys) != self._keys:
            self._offer_keys(tuple(view.keys))
        shown = view.keys.get(self._key)
        if shown is not None:
            self._figure.show_picture(shown, self._feed.picture(shown.key))
            if changed:
                self._figure.show_sources(shown)
        _set_text(self._waiting, self._awaited(shown))
        self._stars.update(shown)
        if changed:
            self._tell_of_others(view)
            _set_text(self._reasons, _choices_text(view))
            self._changes.offer(view.ensembles)

    def _awaited(self, shown: KeyView | None) -> str:
        if shown is None:
            return "<span class='why'>The field appears here with the first catalog.</span>"
        if not self._figure.has_picture:
            return (
                f"<span class='why'>No picture yet: a frame of {escape(shown.key)} that can be read is awaited.</span>"
            )
        return ""

    def _tell_of_others(self, view: NightView) -> None:
        """Say what another viewer changed: stars that one was looking at should not vanish without a word."""
        choices = {key: shown.choice for key, shown in view.keys.items() if shown.choice is not None}
        if choices == self._choices:
            return
        sentences = what_changed(self._choices, choices)
        self._choices = choices
        if sentences and not self._is_mine:
            self._say(sentences)
        self._is_mine = False

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
        if self._click_sets.active == _FOCUS and not shift:
            self._focus_clicked(self._key, number)
        elif shift or self._click_sets.active == _COMPARISON:
            self._do(lambda: self._chooser.toggle_comparison(self._key, number))
        else:
            self._do(lambda: self._chooser.set_target(self._key, number))

    def _pressed(self, verb: str, number: int) -> None:
        key = self._key
        if verb == "target":
            self._do(lambda: self._chooser.set_target(key, number))
        else:
            self._do(lambda: self._chooser.toggle_comparison(key, number, wanted=verb == "in"))

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
            self._is_mine = True

    def _undo(self) -> None:
        if not self._done:
            self._say(("there is nothing of yours to take back",))
            return
        self._is_mine = True
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
        self._key = self._keys[active]
        self._told(self._key)
        self._figure.forget_picture()
        if self._view is not None:
            shown = self._view.keys[self._key]
            self._figure.show_sources(shown)
            self._figure.show_picture(shown, self._feed.picture(self._key))
            self._stars.update(shown)


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
