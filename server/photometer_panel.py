"""The photometers of a night with the scatter of each, and the choice of one of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from bokeh.layouts import column
from bokeh.models import Button, Column, Div, TextInput

from server import theme
from server.feed import Feed
from server.night_view import NightView
from stream.analysis.choice import KeyChoice
from stream.analysis.relative import relative_light_curve
from stream.errors import OpticamLiveError
from stream.flags import DOUBTFUL
from stream.night.ledger import LedgerReader

PRESS = "photometer_press"
_NOTE = "<span class='why'>rms / from point to point, per cent of the flux; ★ the smallest of the key</span>"


@dataclass(frozen=True, slots=True)
class PhotometerScatter:
    """Scatter of the target of one key with one photometer, relative; NaN where there is no light curve.

    ``rms``: standard deviation of the points without a doubtful flag. ``quick``: from one of them to the next, over
    the root of two, which a slow signal leaves alone.
    """

    rms: float
    quick: float


Scatters = Mapping[str, Mapping[str, PhotometerScatter]]
"""By photometer and key."""


def scatter_of_photometers(out: Path, choices: Mapping[str, KeyChoice]) -> dict[str, dict[str, PhotometerScatter]]:
    """Measure the scatter of the target of every key with every photometer, one after the other, from the ledger.

    Raises
    ------
    LedgerError
        If the ledger cannot be read.
    """
    reader = LedgerReader(out)
    try:
        return {
            label: {key: _scatter(reader, label, key, choice) for key, choice in choices.items()}
            for label in reader.recipe().labels()
        }
    finally:
        reader.close()


def _scatter(reader: LedgerReader, label: str, key: str, choice: KeyChoice) -> PhotometerScatter:
    try:
        curve = relative_light_curve(reader.source_fluxes(key, label), choice.target, choice.comparisons)
    except OpticamLiveError:
        # A photometer without a flux of the target has no scatter; the others have.
        return PhotometerScatter(math.nan, math.nan)
    good = curve.flux[np.isfinite(curve.flux) & ((curve.flags & int(DOUBTFUL)) == 0)]
    if len(good) < 3:
        return PhotometerScatter(math.nan, math.nan)
    return PhotometerScatter(float(np.std(good)), float(np.std(np.diff(good)) / math.sqrt(2.0)))


class PhotometerPanel:
    """Photometers of one document.

    Parameters
    ----------
    feed : Feed
    chosen : callable
        Called with the label of the photometer that was clicked.
    """

    def __init__(self, feed: Feed, chosen: Callable[[str], None]) -> None:
        self._feed = feed
        self._chosen = chosen
        self._future: Future[dict[str, dict[str, PhotometerScatter]]] | None = None
        self._measured_for: object = None
        self._scatters: Scatters = {}
        self._table = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name="scatters")
        self._note = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name="scatters_note")
        self._press = TextInput(visible=False, max_length=200, name=PRESS)
        self._press.on_change("value", lambda _name, _old, new: self._clicked(str(new)))
        self._again = Button(label="measure the scatter again", stylesheets=[theme.WIDGET_STYLE], name="scatter_again")
        self._again.on_click(self._measure)
        self.root: Column = column(
            self._table,
            self._note,
            self._again,
            self._press,
            sizing_mode="stretch_both",
            stylesheets=[theme.STRIPS_SHOWN_STYLE],
            styles={"overflow-y": "auto"},
        )

    def update(self, view: NightView, label: str) -> None:
        """Show the photometers with what is known of their scatter; measured when targets or comparisons change."""
        wanted = tuple((key, choice.target, choice.comparisons) for key, choice in _choices(view).items())
        if wanted and wanted != self._measured_for and self._future is None:
            self._measured_for = wanted
            self._measure()
        if self._future is not None and self._future.done():
            self._take(self._future)
            self._future = None
        text = scatter_table(view.labels, label, tuple(view.keys), self._scatters)
        if text != self._table.text:
            self._table.text = text

    def _measure(self) -> None:
        choices = _choices(self._feed.view)
        self._note.text = "<span class='why'>measuring the scatter of each photometer over the whole night …</span>"
        self._future = self._feed.in_background(scatter_of_photometers, self._feed.out, choices)

    def _take(self, future: Future[dict[str, dict[str, PhotometerScatter]]]) -> None:
        try:
            self._scatters = future.result()
            self._note.text = _NOTE
        except OpticamLiveError as problem:
            self._note.text = f"<span class='problem'>{escape(str(problem))}</span>"

    def _clicked(self, text: str) -> None:
        label = text.rpartition(" ")[0]
        if label in self._feed.view.labels:
            self._chosen(label)


def _choices(view: NightView) -> dict[str, KeyChoice]:
    return {key: shown.choice for key, shown in view.keys.items() if shown.choice is not None}


def scatter_table(labels: Sequence[str], shown: str, keys: Sequence[str], scatters: Scatters) -> str:
    """Photometers as buttons, with the scatter by key, as HTML; the smallest from point to point is marked.

    Parameters
    ----------
    labels : sequence of str
    shown : str
        The photometer that is looked at.
    keys : sequence of str
    scatters : mapping
        By photometer and key; may lack any.
    """
    best = {
        key: min(
            (by_key[key].quick for by_key in scatters.values() if key in by_key and by_key[key].quick > 0.0),
            default=0.0,
        )
        for key in keys
    }
    head = "".join(f"<th scope='col'>{escape(key)}</th>" for key in keys)
    rows = []
    for label in labels:
        found = scatters.get(label, {})
        cells = "".join(f"<td class='best'>{_cell(found.get(key), best[key])}</td>" for key in keys)
        button = (
            f"<button type='button' data-press='{PRESS}' data-value='{escape(label)}'"
            f" aria-pressed='{str(label == shown).lower()}'>{escape(label.replace('_', ' '))}</button>"
        )
        rows.append(f"<tr><th scope='row'>{button}</th>{cells}</tr>")
    return f"<table class='photometers'><tr><th scope='col'>photometer</th>{head}</tr>{''.join(rows)}</table>"


def _cell(scatter: PhotometerScatter | None, best: float) -> str:
    if scatter is None or not math.isfinite(scatter.rms):
        return "–"
    star = " ★" if scatter.quick == best else ""
    return f"{100.0 * scatter.rms:.2f} / {100.0 * scatter.quick:.2f}{star}"
