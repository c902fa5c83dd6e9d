"""The page: one document a browser, its panels, and the clock that brings them up to date."""

from __future__ import annotations

import importlib.resources
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any

import jinja2
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.models import CustomJS, Div, TextInput
from bokeh.themes import Theme

from server import theme
from server.ages import age_text
from server.alert_list import AlertList
from server.columns import Columns
from server.curve_controls import CurveControls
from server.curve_views import CurveView
from server.door import visit_of
from server.field_panel import FieldPanel
from server.health_panel import HealthPanel
from server.light_curve_panel import LightCurvePanel
from server.looks import Look
from server.middle_panel import MiddlePanel
from server.night_view import NightView
from server.nights import Nights, NightSummary
from server.pace import LONGEST_S, Pace
from server.rejected_list import RejectedList
from server.timing_looks import timing_look
from server.view_state import ViewState, parse_state
from server.visitor import Role, Visitor, visitor_of
from stream.errors import ConfigurationError, OpticamLiveError

FIELD_INTERVAL_S = 0.5
GATHER_S = 0.015
"""Cameras that are read out together are measured within some milliseconds: their points come in one update."""
REST_INTERVAL_S = 0.15
"""How often it is looked for what no frame brings: ages, answers to clicks, what was still being computed."""
THEME_COOKIE = "opticam-live-theme"

_FILES = importlib.resources.files("server")
# Bokeh hands over ready HTML; the title is escaped in the template.
_TEMPLATE = jinja2.Template((_FILES / "page.html").read_text(encoding="utf-8"), autoescape=False)
_PROBLEM = jinja2.Template((_FILES / "problem.html").read_text(encoding="utf-8"), autoescape=False)
_LIST = jinja2.Template((_FILES / "nights.html").read_text(encoding="utf-8"), autoescape=True)
_NOT_SHOWN = "This night cannot be shown"
_SCRIPT = (_FILES / "page.js").read_text(encoding="utf-8")
_KEEP_ADDRESS = """
const query = new URLSearchParams(cb_obj.value), night = new URLSearchParams(location.search).get("night");
if (night !== null) query.set("night", night);
const text = query.toString();
history.replaceState(null, "", location.pathname + (text ? "?" + text : ""));
"""
_ECHO = "const beat = cb_obj.value; requestAnimationFrame(() => { echo.value = beat; });"


class Page:
    """What one browser sees of the night.

    Parameters
    ----------
    visitor : Visitor
    palette : Palette
    state : ViewState
        What the address asked for.
    sentences : tuple of str
        What was wrong with it.
    """

    def __init__(
        self, visitor: Visitor, palette: theme.Palette, state: ViewState, sentences: tuple[str, ...] = ()
    ) -> None:
        self._feed = visitor.feed
        self._state = state
        self._opened_s = time.perf_counter()
        self._wanted_span: list[tuple[float, float] | None] = []
        self._paused_at: int | None = None
        self._due_s = self._rest_due_s = self._field_due_s = self._patience_s = 0.0
        self._beaten, self._news_s = -1, math.inf
        # A browser that falls behind is sent less: updates that wait for it would be old when it draws them.
        self._beat = TextInput(value="", visible=False, name="beat")
        self._echo = TextInput(value="", visible=False, name="echo")
        self._beat.js_on_change("value", CustomJS(args={"echo": self._echo}, code=_ECHO))
        self._field_choices: tuple[object, ...] = ()
        self.health = HealthPanel()
        self.alerts = AlertList()
        self.rejected = RejectedList()
        self.controls = CurveControls(state.look, self._look_chosen, self._stay)
        self.controls.pause.on_change("active", lambda _name, _old, active: self._pause(bool(active)))
        self.curves = LightCurvePanel(palette, self._wanted_span.append, self._frame_clicked)
        self.middle = MiddlePanel(visitor, palette, state, self._state_chosen, self.curves)
        self.field = FieldPanel(
            visitor,
            palette,
            state.key,
            lambda key: self._state_chosen(replace(self._state, key=key)),
            self._focus_clicked,
        )
        self._sentences = Div(text="", stylesheets=[theme.TEXT_STYLE], visible=False, name="sentences")
        self._address = TextInput(value=state.query(), visible=False, name="address")
        self._address.js_on_change("value", CustomJS(code=_KEEP_ADDRESS))
        self.controls.root.children.extend([self._sentences, self._address, self._beat, self._echo])
        self._said: tuple[str, ...] = ()
        self._say(sentences)

    def roots(self) -> list[Any]:
        """Return the models that the template places, each by its name."""
        panels = (self.health, self.controls, self.curves, self.middle, self.field)
        return [*(panel.root for panel in panels), *self.alerts.roots, *self.rejected.roots]

    def wait_for_browser(self) -> None:
        """Rest until the browser has drawn what it is sent at first, or is slow to say so."""
        self._due_s = time.perf_counter() + LONGEST_S

    def begin(self) -> None:
        """Go on: the browser has drawn the page."""
        self._due_s = 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether there is news, or may be, and its browser has drawn the last update, or is slow to say so."""
        if now_s < self._due_s or (self._echo.value != self._beat.value and now_s < self._patience_s):
            return False
        if self._feed.view.version == self._beaten:
            return now_s >= self._rest_due_s
        self._news_s = min(self._news_s, now_s)
        return now_s >= self._news_s + GATHER_S

    def refresh(self, pace: Pace) -> None:
        """Update the page and ask its browser to say when that is drawn."""
        now_s, version = time.perf_counter(), self._feed.view.version
        pace.update(self, partial(self.update, curves_first=True))
        self._due_s, self._rest_due_s = now_s + pace.interval_s, now_s + max(REST_INTERVAL_S, pace.interval_s)
        self._patience_s, self._news_s = now_s + LONGEST_S, math.inf
        if version != self._beaten:
            self._beaten = version
            self._beat.value = str(version)

    def update(self, *, curves_first: bool = False) -> None:
        """Bring every panel to the newest snapshot; costs little where nothing changed.

        Parameters
        ----------
        curves_first : bool
            When a page opens, leave all else to a later update: a browser that lays out nothing but light curves draws
            them in half of the time.
        """
        self._take_zoom()
        look = self._state.curve_look()
        try:
            curves = self._feed.curves(look)
        except ConfigurationError as problem:
            self._say((*self._said, str(problem)))
            self._look_chosen(replace(self._state.look, label=""))
            return
        view = self._feed.view
        self.health.update(view)
        self.alerts.update(view)
        self.rejected.update(view)
        if self._paused_at is not None:
            self._update_field(view)
            self.controls.say_paused(max(0, _n_frames(view) - self._paused_at))
            self.middle.catch_up(view, self._state)
            return
        if not view.keys:
            self.curves.say(_awaited(view))
        are_new = self.curves.update(view, curves, look)
        if curves_first and (are_new or self._curves_are_near(view, curves)):
            return
        self._update_field(view)
        self.curves.show_models(self._models(), curves or {}, look)
        self.middle.update(view, curves, self._state)

    def _curves_are_near(self, view: NightView, curves: Mapping[str, CurveView] | None) -> bool:
        """Whether this page was opened a moment ago and its light curves are on their way."""
        if time.perf_counter() > self._opened_s + LONGEST_S or not (view.is_being_read or view.keys):
            return False
        return not any(curve.n_points for curve in (curves or {}).values())

    def _update_field(self, view: NightView) -> None:
        """Another choice is shown at once; stars that drift and new pictures less often."""
        choices = tuple(shown.choice for shown in view.keys.values())
        now = time.monotonic()
        if choices != self._field_choices or now >= self._field_due_s:
            self._field_choices, self._field_due_s = choices, now + FIELD_INTERVAL_S
            self.field.update(view)

    def _models(self) -> Mapping[str, Columns]:
        """Transits to be drawn on the light curves, by key."""
        if not self._state.timing.model:
            return {}
        view = self._feed.timing(timing_look("transit", self._state.look, self._state.timing))
        return {} if view is None else view.models

    def _take_zoom(self) -> None:
        """Several strips tell of one zoom, and a wheel of many: the last word counts."""
        if not self._wanted_span:
            return
        span = self._wanted_span[-1]
        self._wanted_span.clear()
        look = self._state.look
        if span != look.span_ms and (span is None or span[0] < span[1]):
            self._look_chosen(replace(look, span_ms=span))

    def _stay(self) -> None:
        span = self.curves.stretch_ms()
        if span[0] < span[1]:
            self._look_chosen(replace(self._state.look, span_ms=span))

    def _look_chosen(self, look: Look) -> None:
        self.controls.show(look)
        self._state_chosen(replace(self._state, look=look))

    def _focus_clicked(self, key: str, number: int) -> None:
        """Look at how wide a star is, or no longer."""
        name, stars = f"{key}#{number}", self._state.focus
        stars = tuple(star for star in stars if star != name) if name in stars else (*stars, name)
        self._state_chosen(replace(self._state, focus=stars, tab="focus"))

    def _frame_clicked(self, key: str, frame_id: int) -> None:
        self.middle.show_frame(key, frame_id)
        self._state_chosen(replace(self._state, tab="frame"))

    def _state_chosen(self, state: ViewState) -> None:
        self._state = state
        if self._address.value != state.query():
            self._address.value = state.query()
        self.middle.update(self._feed.view, None, state)

    def _pause(self, active: bool) -> None:
        self._paused_at = _n_frames(self._feed.view) if active else None
        self.controls.say_paused(0 if active else None)

    def _say(self, sentences: tuple[str, ...]) -> None:
        self._said = sentences
        text = "".join(f"<div class='problem'>{escape(sentence)}</div>" for sentence in sentences)
        self._sentences.update(text=text, visible=bool(text))


def make_document(document: Document, nights: Nights) -> None:
    """Fill a new document; called once for each browser that opens the page."""
    context = document.session_context
    request = None if context is None else context.request
    arguments = {} if request is None else request.arguments
    palette = theme.PALETTES[theme_name({} if request is None else request.cookies)]
    name = b"".join(arguments.get("night", [])[-1:]).decode("utf-8", "replace")
    try:
        feed = nights.open(name)
    except OpticamLiveError as problem:
        document.title = "opticam-live"
        document.template = _PROBLEM
        document.template_variables.update(
            styles_of(palette), heading=_NOT_SHOWN, sentence=str(problem), is_inside=True
        )
        document.add_root(Div(text="", visible=False))
        return
    visit = visit_of(request)
    role = Role.WATCH if visit is None else visit.role
    page = Page(visitor_of(feed, role), palette, *parse_state(arguments))
    page.update(curves_first=True)
    document.title = f"{feed.view.name} · opticam-live"
    document.template = _TEMPLATE
    document.template_variables.update(
        styles_of(palette),
        is_single=nights.is_single,
        nonce="" if visit is None else visit.nonce,
    )
    document.theme = Theme(json=theme.plot_theme(palette))
    # Models are counted once, in the place of once a root.
    with document.models.freeze():
        for root in page.roots():
            document.add_root(root)
    document.js_on_event(DocumentReady, page.field.named)
    document.on_event(DocumentReady, lambda event: page.begin())
    page.wait_for_browser()
    refresh = partial(page.refresh, nights.pace)
    nights.pace.join(page, lambda: document.add_next_tick_callback(refresh))
    document.on_session_destroyed(lambda _context: nights.pace.leave(page))


def styles_of(palette: theme.Palette) -> dict[str, Any]:
    """What templates need of a theme."""
    return {
        "theme": palette.name,
        "themes": list(theme.PALETTES),
        "background": palette.background,
        "palette_style": palette.css(),
        "page_style": theme.PAGE_STYLE,
        "page_script": _SCRIPT,
    }


def problem_page(palette: theme.Palette, sentence: str, *, heading: str = _NOT_SHOWN, is_inside: bool = True) -> str:
    """A page of one sentence; with a link to all nights for whoever was let in."""
    given = styles_of(palette) | {"title": "opticam-live", "is_inside": is_inside}
    return _PROBLEM.render(given, heading=heading, sentence=sentence)


def list_of_nights(nights: Sequence[NightSummary], palette: theme.Palette, place: str) -> str:
    """The list of nights as a page."""
    return _LIST.render(styles_of(palette), nights=nights, place=place, age=age_text, now=time.time())


def theme_name(cookies: Mapping[str, str]) -> str:
    """The theme that this browser asked for last; the default where it never did, or for one that there is not."""
    name = cookies.get(THEME_COOKIE, theme.DEFAULT)
    return name if name in theme.PALETTES else theme.DEFAULT


def _n_frames(view: NightView) -> int:
    return sum(shown.n_frames for shown in view.keys.values())


def _awaited(view: NightView) -> str:
    if view.is_being_read:
        return "<b>The night so far is read; its light curves appear in a moment.</b>"
    awaited = () if view.status is None else view.status.awaited
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in awaited)
    return f"<b>Light curves appear here as soon as a catalog is built.</b><ul>{lines}</ul>"
