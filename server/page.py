"""The page: one document a browser, its panels, and the clock that brings them up to date."""

from __future__ import annotations

import importlib.resources
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

THEME_COOKIE = "opticam-live-theme"

_FILES = importlib.resources.files("server")
# Bokeh hands over ready HTML; the title is escaped in the template.
_TEMPLATE = jinja2.Template((_FILES / "page.html").read_text(encoding="utf-8"), autoescape=False)
_SCRIPT = (_FILES / "page.js").read_text(encoding="utf-8")


class Page:
    """What one browser sees of the night."""

    def __init__(self, feed: Feed, palette: theme.Palette) -> None:
        self._feed = feed
        self._window_s = math.inf
        self.health = HealthPanel()
        self.window = window_buttons(self._window_chosen)
        self.curves = LightCurvePanel(palette)
        self.spectra = PowerSpectrumPanel(palette)
        self.field = FieldPanel(feed, palette)

    def roots(self) -> list[Any]:
        """Return the models that the template places, each by its name."""
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
    palette = theme.PALETTES[_theme_of(document)]
    page = Page(feed, palette)
    page.update()
    document.title = f"{feed.view.name} · opticam-live"
    document.template = _TEMPLATE
    document.template_variables.update(
        theme=palette.name,
        themes=list(theme.PALETTES),
        background=palette.background,
        palette_style=palette.css(),
        page_style=theme.PAGE_STYLE,
        page_script=_SCRIPT,
    )
    document.theme = Theme(json=theme.plot_theme(palette))
    for root in page.roots():
        document.add_root(root)
    document.add_periodic_callback(page.update, UPDATE_INTERVAL_MS)


def _theme_of(document: Document) -> str:
    """The theme that this browser asked for last; the default where it never did, or for one that there is not."""
    context = document.session_context
    cookies = {} if context is None or context.request is None else context.request.cookies
    name = cookies.get(THEME_COOKIE, theme.DEFAULT)
    return name if name in theme.PALETTES else theme.DEFAULT


def _awaited(view: NightView) -> str:
    awaited = () if view.status is None else view.status.awaited
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in awaited)
    return f"<b>Light curves appear here as soon as a catalog is built.</b><ul>{lines}</ul>"
