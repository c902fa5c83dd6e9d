"""The feed's own state of a night: columns that grow, choices, and what is drawn of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, fields, replace

from server.columns import KeyColumns
from server.conditions import ConditionColumns, ConditionLook, ConditionView, condition_view
from server.curve_views import CurveMaker, CurveView
from server.grown import GrownCurve
from server.looks import Look
from server.night_view import KeyView
from server.solving import RENEWAL, Solver
from server.timing_desk import Version
from server.timing_looks import TimingLook
from server.timing_views import KeyStretch, stretches_of
from stream.analysis.choice import KeyChoice, resolve_selection
from stream.analysis.ensemble import judged_rows
from stream.errors import OpticamLiveError
from stream.messages import Catalog, FloatArray, Selection, SourceFluxes

_FIRST_CHOICES = (1, 3, 10)


@dataclass(frozen=True, slots=True)
class _Choosing:
    """Target and comparison stars that are being chosen, and of what."""

    selection: Selection
    catalogs: dict[str, Catalog]
    future: Future[dict[str, KeyChoice]]


class NightModel:
    """Columns, choices, curves and spectra of a night.

    Not safe to be used from several threads: it belongs to the feed's.

    Parameters
    ----------
    label : str
        Photometer that decides the automatic choices.
    clock : callable
        Monotonic time, seconds.
    solver : Solver
        Of what takes long; without one everything is done at once.
    """

    def __init__(
        self, label: str, clock: Callable[[], float] = time.monotonic, *, solver: Solver | None = None
    ) -> None:
        self.label = label
        self._solver = solver or Solver()
        self.columns: dict[tuple[str, str], KeyColumns] = {}
        """By photometer and key."""
        self.catalogs: dict[str, Catalog] = {}
        self.positions: dict[str, FloatArray] = {}
        self.names: dict[int, str] = {}
        """File of every frame."""
        self.problem = ""
        """Why the selection cannot be applied; empty where it can."""
        self.conditions: dict[str, ConditionColumns] = {}
        """Columns of the frames of each key, once somebody has asked for them."""
        self._clock = clock
        self._selection = Selection()
        self._choices: dict[str, KeyChoice] = {}
        self._choose_at: dict[str, int] | None = None
        self._choosing: _Choosing | None = None
        self._grown: dict[tuple[str, str, bool], GrownCurve] = {}
        self._makers: dict[tuple[Look, str], CurveMaker] = {}

    @property
    def selection(self) -> Selection:
        """The selection as the observer left it."""
        return self._selection

    def change_selection(self, selection: Selection) -> None:
        """Take another selection; the next `refresh` applies it to the whole night."""
        self._selection = selection
        self._choose_at = None

    def add_key(self, catalog: Catalog, columns: KeyColumns) -> None:
        """Take the catalog of a key, with columns of the first photometer that fit it; those of others are gone."""
        self.catalogs = dict(sorted((self.catalogs | {catalog.key: catalog}).items()))
        for place in [place for place in self.columns if place[1] == catalog.key]:
            del self.columns[place]
        self._makers = {place: maker for place, maker in self._makers.items() if place[1] != catalog.key}
        self._grown = {place: grown for place, grown in self._grown.items() if place[1] != catalog.key}
        self.conditions.pop(catalog.key, None)
        self.columns[(self.label, catalog.key)] = columns
        self.positions[catalog.key] = catalog.positions()
        self._choose_at = None

    def refresh(self) -> bool:
        """Bring the choices up to date where that is due; returns whether anything changed."""
        if self._choice_is_due() and (self._choosing is None or self._choosing.future.cancel()):
            self._choose()
        return self._take_choices()

    def choice(self, key: str) -> KeyChoice | None:
        """Target and comparison stars of a key; None while there are none."""
        return self._choices.get(key)

    def n_frames(self, key: str) -> int:
        """Frames of a key with fluxes."""
        return len(self.columns[(self.label, key)])

    def some_fluxes(self, key: str) -> SourceFluxes:
        """Fluxes of all sources on as many frames as are enough to judge them by; copies."""
        fluxes = self.columns[(self.label, key)].fluxes()
        rows = judged_rows(len(fluxes.frame_ids))
        names = [field.name for field in fields(fluxes)]
        return replace(fluxes, **{name: getattr(fluxes, name)[rows].copy() for name in names[2:]})

    def key_views(self) -> dict[str, KeyView]:
        """Return what is known of every key."""
        return {
            key: KeyView(
                key=key,
                catalog=catalog,
                choice=self._choices.get(key),
                positions=self.positions[key],
                n_frames=self.n_frames(key),
                sentence=self.problem or self._sentence(key),
            )
            for key, catalog in self.catalogs.items()
        }

    def curve_views(self, look: Look) -> dict[str, CurveView]:
        """Return light curves and power spectra as one look wants them; what did not change is the same object."""
        label = look.label or self.label
        views = {}
        for key in self.catalogs:
            if (label, key) not in self.columns:
                continue
            grown, check = self._grown_curve(label, key), None
            if look.check:
                check = self._grown_curve(label, key, check=True)
            if (look, key) not in self._makers:
                self._makers[(look, key)] = CurveMaker(look, key, self._solver, names=self.names, clock=self._clock)
            views[key] = self._makers[(look, key)].view(grown, check)
        return views

    def condition_views(self, look: ConditionLook) -> dict[str, ConditionView]:
        """Return measured columns as one look wants them, of the keys whose columns were read."""
        label = look.label or self.label
        return {
            key: condition_view(
                columns, look, self._grown_curve(label, key).curve() if (label, key) in self.columns else None
            )
            for key, columns in sorted(self.conditions.items())
        }

    def timing_version(self, look: TimingLook) -> Version:
        """What changes with the light curves of a look."""
        grown = self._grown_curves(look)
        return tuple((key, id(each), each.version) for key, each in grown.items())

    def timing_stretches(self, look: TimingLook) -> list[KeyStretch]:
        """Light curves of a look, of those keys that have any points in its stretch; copies."""
        return stretches_of({key: each.curve() for key, each in self._grown_curves(look).items()}, look.look)

    def _grown_curves(self, look: TimingLook) -> dict[str, GrownCurve]:
        label = look.look.label or self.label
        return {key: self._grown_curve(label, key) for key in self.catalogs if (label, key) in self.columns}

    def forget_all_but(self, looks: Collection[Look]) -> None:
        """Free what nobody looks at any more."""
        for place in [place for place in self._makers if place[0] not in looks]:
            del self._makers[place]

    def _grown_curve(self, label: str, key: str, *, check: bool = False) -> GrownCurve:
        grown = self._grown.get((label, key, check))
        if grown is None:
            grown = GrownCurve(self.columns[(label, key)], self._clock, solver=self._solver)
            self._grown[(label, key, check)] = grown
        choice = self._choices.get(key)
        if choice is not None:
            target, comparisons = choice.target, choice.comparisons
            if check:
                target, comparisons = next(iter(comparisons), 0), comparisons[1:]
            if check and not comparisons:
                # A single comparison star has no others to be drawn over.
                return GrownCurve(self.columns[(label, key)], self._clock)
            grown.update(target, comparisons)
        return grown

    def _sentence(self, key: str) -> str:
        sentences = (grown.sentence for place, grown in self._grown.items() if place[1] == key and not place[2])
        return next(filter(None, sentences), "")

    def _choice_is_due(self) -> bool:
        if self._choose_at is None:
            return bool(self.catalogs)
        return any(len(self.columns[(self.label, key)]) >= n_frames for key, n_frames in self._choose_at.items())

    def _choose(self) -> None:
        """Resolve the selection; again only when a key's night has doubled, so that the page does not flicker."""
        is_new = self._choose_at is None
        columns = {key: self.columns[(self.label, key)] for key in self.catalogs}
        self._choose_at = {key: _next_choice(len(each)) for key, each in columns.items()}
        fluxes = {key: each.kept_fluxes() for key, each in columns.items()}
        size = max(map(len, columns.values())) if is_new else RENEWAL
        future = self._solver.order(size, resolve_selection, self._selection, self.catalogs, fluxes)
        self._choosing = _Choosing(self._selection, self.catalogs, future)

    def _take_choices(self) -> bool:
        """Take what was chosen, unless something else is to be chosen by now; returns whether anything was taken."""
        chosen = self._choosing
        if chosen is None or not chosen.future.done():
            return False
        self._choosing = None
        if chosen.selection is not self._selection or chosen.catalogs is not self.catalogs:
            return False
        try:
            self._choices, self.problem = chosen.future.result(), ""
        except OpticamLiveError as problem:
            self.problem = str(problem)
        return True


def _next_choice(n_frames: int) -> int:
    for n_first in _FIRST_CHOICES:
        if n_frames < n_first:
            return n_first
    return max(2 * n_frames, _FIRST_CHOICES[-1] + 1)
