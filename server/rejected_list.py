"""Rejected frames with their reasons, on demand, beside the line of health."""

from __future__ import annotations

from html import escape

from bokeh.models import Div, Toggle

from server import theme
from server.night_view import NightView

_MOST_LISTED = 100


class RejectedList:
    """Button and list of one document; there is neither while no frame is rejected.

    Attributes
    ----------
    roots : tuple of Model
        ``rejected_toggle`` and ``rejected``, as the template places them.
    """

    def __init__(self) -> None:
        self._view: NightView | None = None
        self._toggle = Toggle(
            label="rejected: which and why", visible=False, stylesheets=[theme.WIDGET_STYLE], name="rejected_toggle"
        )
        self._toggle.on_click(lambda _active: self._show())
        self._list = Div(
            text="",
            visible=False,
            stylesheets=[theme.TEXT_STYLE],
            name="rejected",
            sizing_mode="stretch_width",
        )
        self.roots = (self._toggle, self._list)

    def update(self, view: NightView) -> None:
        """Bring the list to a snapshot of the night."""
        before, self._view = self._view, view
        if self._toggle.visible != bool(view.n_rejected):
            self._toggle.visible = bool(view.n_rejected)
        if before is None or (view.n_rejected, view.rejected) != (before.n_rejected, before.rejected):
            self._show()

    def _show(self) -> None:
        text = rejected_text(self._view) if self._view is not None and self._toggle.active else ""
        if self._list.text != text:
            self._list.update(text=text, visible=bool(text))


def rejected_text(view: NightView) -> str:
    """File and reason of the newest rejected frames, as HTML."""
    listed = view.rejected[:_MOST_LISTED]
    lines = "".join(f"<li>{escape(_with_name(path, sentence))}</li>" for path, sentence in listed)
    more = view.n_rejected - len(listed)
    rest = f"<div class='why'>and {more:,} before these</div>" if more > 0 else ""
    # Whoever has no mouse scrolls what can be focused.
    return f"<div class='scrolls' tabindex='0' role='region' aria-label='rejected frames'><ul>{lines}</ul>{rest}</div>"


def _with_name(path: str, sentence: str) -> str:
    return sentence if path in sentence else f"{path}: {sentence}"
