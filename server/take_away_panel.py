"""What a viewer takes away: light curves and figures as files, a link to this view; and notes pinned to a time."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Mapping
from html import escape

from bokeh.layouts import column, row
from bokeh.models import Button, Column, CustomJS, Div, Select, TextInput

from server import theme
from server.api_reference import FIGURE_FORMATS, LIGHT_CURVE_FORMATS
from server.night_view import KeyView, NightView
from server.view_state import ViewState
from server.visitor import WATCHING, Visitor
from stream.errors import ConfigurationError
from stream.notes import LONGEST_NOTE, Note, time_of_note
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY

_COPY_LINK = """
const text = location.href;
const say = words => { button.label = words; setTimeout(() => { button.label = "copy a link to this view"; }, 2000); };
const show = () => window.prompt("link", text);
if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => say("copied"), show);
else show();
"""
_NEWEST, _MIDDLE = "newest", "middle"


class TakeAwayPanel:
    """Files, link and notes of one document.

    Parameters
    ----------
    visitor : Visitor
    stretch : callable
        Returns the stretch of time on the screen, milliseconds since 1970 UTC.
    """

    def __init__(self, visitor: Visitor, stretch: Callable[[], tuple[float, float]]) -> None:
        self._feed, self._chooser, self._stretch = visitor.feed, visitor.chooser, stretch
        style = [theme.WIDGET_STYLE]
        self._observer = TextInput(placeholder="AAVSO observer code", stylesheets=style, width=150, name="observer")
        self._star = TextInput(placeholder="name of the star", stylesheets=style, width=150, name="star")
        self._files = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name="files")
        link = Button(label="copy a link to this view", stylesheets=style, name="link")
        link.js_on_click(CustomJS(args={"button": link}, code=_COPY_LINK))
        self._note = TextInput(
            placeholder="note, as: clouds", max_length=LONGEST_NOTE, stylesheets=style, width=200, name="note"
        )
        self._where = Select(
            title="where the note is pinned",
            options=[(_NEWEST, "at the newest point"), (_MIDDLE, "in the middle of the view")],
            value=_NEWEST,
            stylesheets=style,
            width=170,
            name="note_place",
        )
        pin = Button(label="pin", stylesheets=style, name="pin")
        pin.on_click(self._pin)
        self._remove = Select(
            title="notes", options=[], stylesheets=style, width=260, name="note_chosen", visible=False
        )
        self._unpin = Button(label="take off", stylesheets=style, name="unpin", visible=False)
        self._unpin.on_click(self._take_off)
        self._answer = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name="note_answer")
        if not self._chooser.may_change:
            for control in (self._note, self._where, pin, self._remove, self._unpin):
                control.disabled = True
            self._say(WATCHING)
        wrap = {"flex-wrap": "wrap"}
        self.root: Column = column(
            self._files,
            row(self._observer, self._star, styles=wrap),
            link,
            row(self._note, self._where, pin, styles=wrap),
            row(self._remove, self._unpin, styles=wrap),
            self._answer,
            sizing_mode="stretch_both",
            stylesheets=[theme.STRIPS_SHOWN_STYLE],
            styles={"overflow-y": "auto"},
            name="take_away",
        )

    def update(self, view: NightView, state: ViewState) -> None:
        """Bring links and notes to a snapshot of the night."""
        asked = {"photometer": state.look.label or view.label}
        asked |= {} if self._feed.is_alone else {"night": self._feed.address_name}
        aavso = {"observer": self._observer.value.strip(), "star": self._star.value.strip()}
        text = files_text(view.keys, asked, aavso)
        if self._files.text != text:
            self._files.text = text
        options = [(str(number), f"{time_of_note(note)} · {note.text}") for number, note in enumerate(view.notes)]
        if self._remove.options != options:
            self._remove.update(options=options, value=options[-1][0] if options else "", visible=bool(options))
            self._unpin.visible = bool(options)

    def _pin(self) -> None:
        start, end = self._stretch()
        newest = self._feed.newest_mjd
        middle = MJD_OF_UNIX_EPOCH + 0.5 * (start + end) / 1e3 / SECONDS_PER_DAY
        if self._where.value == _NEWEST and newest is None:
            self._say("there is no measured frame yet that a note could be pinned to")
            return
        at = middle if self._where.value == _MIDDLE or newest is None else newest
        try:
            self._chooser.pin(Note(at, self._note.value, time.time()))
        except ConfigurationError as problem:
            self._say(str(problem))
            return
        self._note.value = ""
        self._say("pinned: it is shown to all viewers and said in every export")

    def _take_off(self) -> None:
        notes = self._feed.view.notes
        chosen = self._remove.value
        if not chosen.isdigit() or int(chosen) >= len(notes):
            self._say("choose a note first")
            return
        try:
            self._chooser.take_off(notes[int(chosen)])
        except ConfigurationError as problem:
            self._say(str(problem))
            return
        self._say("taken off")

    def _say(self, sentence: str) -> None:
        self._answer.text = f"<span class='why'>{escape(sentence)}</span>"


def files_text(keys: Mapping[str, KeyView], asked: Mapping[str, str], aavso: Mapping[str, str]) -> str:
    """Links to files as HTML: the light curve of the target of each key, and figures of all."""
    lines = []
    for key, shown in keys.items():
        if shown.choice is None:
            continue
        links = []
        for format in LIGHT_CURVE_FORMATS:
            more = dict(aavso) if format == "aavso" else {}
            if format == "aavso" and not all(aavso.values()):
                links.append("<span class='why'>AAVSO: code and star below</span>")
                continue
            path = f"api/light_curve/{urllib.parse.quote(key, safe='')}/target"
            query = urllib.parse.urlencode({"format": format, **asked, **more})
            links.append(f"<a href='{escape(f'{path}?{query}')}' download>{format.upper()}</a>")
        lines.append(f"<tr><th>{escape(key)} light curve</th><td>{' · '.join(links)}</td></tr>")
    for what, name in (("light_curves", "figure of the light curves"), ("power_spectra", "figure of the spectra")):
        links = [
            f"<a href='{escape('api/figure?' + urllib.parse.urlencode({'what': what, 'format': format, **asked}))}'"
            f" download>{format.upper()}</a>"
            for format in FIGURE_FORMATS
        ]
        lines.append(f"<tr><th>{name}</th><td>{' · '.join(links)}</td></tr>")
    return f"<table>{''.join(lines)}</table>" if keys else "<span class='why'>There is no light curve yet.</span>"
