"""The feed's own state of a night: columns that grow, and curves and spectra recomputed as often as they are worth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from server.columns import KeyColumns
from server.night_view import CurveView, KeyView, SpectrumView, curve_columns, curve_view, spectrum_view
from stream.analysis.choice import KeyChoice, resolve_selection
from stream.analysis.relative import RelativeLightCurve, relative_light_curve
from stream.errors import OpticamLiveError
from stream.messages import Catalog, FloatArray, Selection

SPECTRUM_INTERVAL_S = 2.0
_CURVE_REST = 4.0
_FIRST_CHOICES = (1, 3, 10)


@dataclass(frozen=True, slots=True)
class _Held:
    """A curve and its spectrum as last made, each with the version of the curve it was made from."""

    curve_version: int
    view: CurveView
    spectrum_version: int
    spectrum_due_s: float


class NightModel:
    """Columns, choices, curves and spectra of a night.

    Not safe to be used from several threads: it belongs to the feed's.

    Parameters
    ----------
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.columns: dict[str, KeyColumns] = {}
        self.catalogs: dict[str, Catalog] = {}
        self.positions: dict[str, FloatArray] = {}
        self.problem = ""
        """Why the selection cannot be applied; empty where it can."""
        self._clock = clock
        self._selection = Selection()
        self._choices: dict[str, KeyChoice] = {}
        self._choose_at: dict[str, int] | None = None
        self._curves: dict[str, RelativeLightCurve] = {}
        self._sentences: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self._computed: dict[str, int] = {}
        self._due_s: dict[str, float] = {}
        self._held: dict[tuple[float, str], _Held] = {}

    @property
    def selection(self) -> Selection:
        """The selection as the observer left it."""
        return self._selection

    def change_selection(self, selection: Selection) -> None:
        """Take another selection; the next `refresh` applies it to the whole night."""
        self._selection = selection
        self._choose_at = None

    def add_key(self, catalog: Catalog, columns: KeyColumns) -> None:
        """Take the catalog of a key, with columns that fit it."""
        self.catalogs = dict(sorted((self.catalogs | {catalog.key: catalog}).items()))
        self.columns[catalog.key] = columns
        self.positions[catalog.key] = catalog.positions()
        self._choose_at = None

    def refresh(self) -> bool:
        """Bring choices and curves up to date where that is due; returns whether anything changed."""
        changed = self._choose() if self._choice_is_due() else False
        now = self._clock()
        for key, columns in self.columns.items():
            if self._computed.get(key) != len(columns) and now >= self._due_s.get(key, 0.0):
                self._compute(key, columns)
                changed = True
        return changed

    def key_views(self) -> dict[str, KeyView]:
        """Return what is known of every key."""
        return {
            key: KeyView(
                key=key,
                catalog=catalog,
                choice=self._choices.get(key),
                positions=self.positions[key],
                n_frames=len(self.columns[key]),
                sentence=self.problem or self._sentences.get(key, ""),
            )
            for key, catalog in self.catalogs.items()
        }

    def curve_views(self, window_s: float) -> dict[str, CurveView]:
        """Return light curves and power spectra within a window; what did not change is the same object as before."""
        return {key: self._curve_view(window_s, key) for key in self.catalogs}

    def _choice_is_due(self) -> bool:
        if self._choose_at is None:
            return bool(self.catalogs)
        return any(len(self.columns[key]) >= n_frames for key, n_frames in self._choose_at.items())

    def _choose(self) -> bool:
        """Resolve the selection; again only when a key's night has doubled, so that the page does not flicker."""
        fluxes = {key: columns.fluxes() for key, columns in self.columns.items()}
        self._choose_at = {key: _next_choice(len(columns)) for key, columns in self.columns.items()}
        try:
            choices = resolve_selection(self._selection, self.catalogs, fluxes)
        except OpticamLiveError as problem:
            self.problem = str(problem)
            return True
        self.problem = ""
        for key, choice in choices.items():
            former = self._choices.get(key)
            if former is None or (former.target, former.comparisons) != (choice.target, choice.comparisons):
                self._computed.pop(key, None)
                self._due_s.pop(key, None)
        self._choices = dict(choices)
        return True

    def _compute(self, key: str, columns: KeyColumns) -> None:
        started = self._clock()
        choice = self._choices.get(key)
        self._computed[key] = len(columns)
        if choice is None:
            return
        try:
            self._curves[key] = relative_light_curve(columns.fluxes(), choice.target, choice.comparisons)
            self._sentences.pop(key, None)
        except OpticamLiveError as problem:
            self._curves.pop(key, None)
            self._sentences[key] = str(problem)
        self._versions[key] = self._versions.get(key, 0) + 1
        # A long night takes longer to solve and is solved less often: never more than a fifth of the time.
        finished = self._clock()
        self._due_s[key] = finished + _CURVE_REST * (finished - started)

    def _curve_view(self, window_s: float, key: str) -> CurveView:
        version, now = self._versions.get(key, 0), self._clock()
        held = self._held.get((window_s, key))
        if held is not None:
            spectrum_is_due = held.spectrum_version != version and now >= held.spectrum_due_s
            if held.curve_version == version and not spectrum_is_due:
                return held.view
        columns = curve_columns(self._curves.get(key), window_s=window_s)
        if held is None or (held.spectrum_version != version and now >= held.spectrum_due_s):
            spectrum: SpectrumView = spectrum_view(columns, key)
            spectrum_version, due_s = version, now + SPECTRUM_INTERVAL_S
        else:
            spectrum, spectrum_version, due_s = held.view.spectrum, held.spectrum_version, held.spectrum_due_s
        view = curve_view(columns, spectrum)
        self._held[(window_s, key)] = _Held(version, view, spectrum_version, due_s)
        return view


def _next_choice(n_frames: int) -> int:
    for n_first in _FIRST_CHOICES:
        if n_frames < n_first:
            return n_first
    return max(2 * n_frames, _FIRST_CHOICES[-1] + 1)
