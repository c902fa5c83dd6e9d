"""The table of the sources below the field: what a click on the picture does, by buttons that a finger hits."""

from __future__ import annotations

import re
from collections.abc import Callable

from bokeh.layouts import column
from bokeh.models import Column, CustomJS, Div, TextInput

from server import theme
from server.feed import Feed
from server.night_view import KeyView
from server.star_table import star_table

PRESS = "star_press"
_COMMAND = re.compile(r"(target|in|out) (\d{1,6}) \d{1,9}")
# A table that is drawn anew must not take the focus from whoever presses its buttons by keys.
_KEEP_FOCUS = """
const at = window.lastPressed;
if (!at || at.press !== press) return;
requestAnimationFrame(() => requestAnimationFrame(() => {
  const root = Bokeh.index.find_one(cb_obj)?.shadow_el;
  const number = at.value.split(" ")[1], verb = at.value.startsWith("target") ? "target " : "";
  const again = [...root?.querySelectorAll("button") ?? []].find(button => {
    const [word, of] = button.dataset.value.split(" ");
    return of === number && (verb === "target ") === (word === "target");
  });
  if (again && document.activeElement === document.body) again.focus({preventScroll: true});
}));
"""


class StarList:
    """The table of one document.

    Parameters
    ----------
    feed : Feed
        Knows flux and scatter of the sources.
    may_change : bool
        Whether the buttons can be pressed.
    pressed : callable
        Called with ``target``, ``in`` or ``out`` and the number of a source.
    """

    def __init__(self, feed: Feed, may_change: bool, pressed: Callable[[str, int], None]) -> None:
        self._feed, self._may_change, self._pressed = feed, may_change, pressed
        self._drawn: tuple[object, ...] = ()
        self._table = Div(
            text="", visible=False, stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name="stars"
        )
        self._table.js_on_change("text", CustomJS(args={"press": PRESS}, code=_KEEP_FOCUS))
        self._press = TextInput(visible=False, max_length=40, name=PRESS)
        self._press.on_change("value", lambda _name, _old, new: self._take(str(new)))
        self.root: Column = column(self._table, self._press, sizing_mode="stretch_width")

    def update(self, shown: KeyView | None) -> None:
        """Bring the table to a key; what is drawn already costs nothing."""
        if shown is None or shown.choice is None:
            self._table.update(text="", visible=False)
            self._drawn = ()
            return
        judged = self._feed.stars(shown.key)
        # Numbers of the choice before would stand beside the roles of this one for a moment only.
        facts = () if judged is None or len(judged.facts) != shown.catalog.n_sources else judged.facts
        drawn = (shown.key, shown.choice, id(judged), len(facts))
        if drawn == self._drawn:
            return
        self._drawn = drawn
        text = star_table(
            shown.choice, facts, n_sources=shown.catalog.n_sources, press=PRESS, may_change=self._may_change
        )
        self._table.update(text=text, visible=True)

    def _take(self, text: str) -> None:
        found = _COMMAND.fullmatch(text)
        if found is not None:
            self._pressed(found[1], int(found[2]))
