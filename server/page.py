"""The page: one document a browser, its panels, and the clock that brings them up to date."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import jinja2
from bokeh.document import Document
from bokeh.themes import Theme

from server import theme
from server.feed import Feed
from server.field_panel import FieldPanel
from server.health_panel import HealthPanel, window_buttons
from server.light_curve_panel import LightCurvePanel
from server.night_view import NightView
from server.power_spectrum_panel import PowerSpectrumPanel

UPDATE_INTERVAL_MS = 300

_TEMPLATE = jinja2.Template(theme.PAGE, autoescape=False)  # Bokeh hands over ready HTML; the title is escaped there


class Page:
    """What one browser sees of the night."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._window_s = math.inf
        self.health = HealthPanel()
        self.window = window_buttons(self._window_chosen)
        self.curves = LightCurvePanel()
        self.spectra = PowerSpectrumPanel()
        self.field = FieldPanel(feed)

    def roots(self) -> list[Any]:
        """Return the models that the template places, each with a name."""
        return [self.health.root, self.window, self.curves.root, self.spectra.root, self.field.root]

    def update(self) -> None:
        """Bring every panel to the newest snapshot; costs little where nothing changed."""
        curves = self._feed.curves(self._window_s)
        view = self._feed.view
        self.health.update(view)
        if not view.keys:
            self.curves.say(_awaited(view))
        self.curves.update(view, curves)
        self.spectra.update(view, curves)
        self.field.update(view)

    def _window_chosen(self, window_s: float) -> None:
        self._window_s = window_s
        self.curves.set_window(window_s)
        self.update()


def make_document(document: Document, feed: Feed) -> None:
    """Fill a new document; called once for each browser that opens the page."""
    page = Page(feed)
    page.update()
    document.title = f"{feed.view.name} · opticam-live"
    document.template = _TEMPLATE
    document.theme = Theme(json=theme.plot_theme())
    for root in page.roots():
        document.add_root(root)
    document.add_periodic_callback(page.update, UPDATE_INTERVAL_MS)


def _awaited(view: NightView) -> str:
    awaited = () if view.status is None else view.status.awaited
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in awaited)
    return f"<b>Light curves appear here as soon as a catalog is built.</b><ul>{lines}</ul>"
