"""Undo, and comparison stars kept by a name."""

from __future__ import annotations

from collections.abc import Callable

from bokeh.layouts import row
from bokeh.models import Button, Row, Select, TextInput

from server import theme
from server.choosing import Chooser


class ChangesRow:
    """Buttons below the field of one document.

    Parameters
    ----------
    undo : callable
        Takes the last change back.
    chooser : Chooser
    do : callable
        Carries a change out and says what came of it.
    """

    def __init__(
        self, undo: Callable[[], None], chooser: Chooser, do: Callable[[Callable[[], tuple[str, ...]]], None]
    ) -> None:
        style = [theme.WIDGET_STYLE]
        self.back = Button(label="undo", stylesheets=style, name="undo")
        self.back.on_click(lambda: undo())
        self._name = TextInput(
            title="name of these comparison stars",
            placeholder="name",
            max_length=60,
            stylesheets=style,
            width=90,
            name="ensemble_name",
        )
        save = Button(label="save stars", stylesheets=style, name="ensemble_save")
        save.on_click(lambda: do(lambda: chooser.save_ensemble(self._name.value.strip())))
        self._chosen = Select(
            title="saved comparison stars", options=[], stylesheets=style, width=100, visible=False, name="ensemble"
        )
        self._use = Button(label="use", stylesheets=style, visible=False, name="ensemble_use")
        self._use.on_click(lambda: do(lambda: chooser.use_ensemble(self._chosen.value)))
        for control in (self.back, self._name, save, self._chosen, self._use):
            control.disabled = not chooser.may_change
        self.root: Row = row(
            self._name, save, self._chosen, self._use, styles={"flex-wrap": "wrap"}, sizing_mode="stretch_width"
        )

    def offer(self, names: tuple[str, ...]) -> None:
        """Offer the ensembles that are saved."""
        if list(names) != self._chosen.options:
            value = self._chosen.value if self._chosen.value in names else next(iter(names), "")
            self._chosen.update(options=list(names), value=value, visible=bool(names))
            self._use.visible = bool(names)
