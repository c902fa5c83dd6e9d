"""Keeps the model of a night up to date: what its broker publishes first, gaps and the past from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from server.columns import KeyColumns
from server.conditions import ConditionColumns
from server.night_model import NightModel
from server.solving import Solver
from server.subscription import Heard
from stream.alerts import Alert
from stream.messages import Catalog, CatalogBuilt, FrameMeasured, FrameRejected, NightStatus, Selection
from stream.night.night_reader import NightReader

_MOST_REJECTED_SHOWN = 200
_LOOK_BACK = 200

_Columns = TypeVar("_Columns", KeyColumns, ConditionColumns)


@dataclass(frozen=True, slots=True)
class _Order:
    """Columns of some catalogs that are being read, and the newest outcome when that began."""

    sequence: int
    catalogs: list[Catalog]
    future: Future[Any]


class NightFollower:
    """One night as its ledger and its messages tell it. Belongs to one thread.

    Parameters
    ----------
    out : Path
        Folder of the night.
    label : str, optional
        Photometer that decides the automatic choices; without it the one that the recipe puts first.
    solver : Solver
        Of what takes long.

    Raises
    ------
    LedgerError
        If there is no ledger in `out` that can be read.
    """

    def __init__(self, out: Path, label: str | None, solver: Solver) -> None:
        self._out = out
        self._solver = solver
        self._reader = NightReader(out)
        recipe = self._reader.recipe()
        self.label = label or recipe.default_label()
        self.labels = recipe.labels()
        self.model = NightModel(self.label, solver=solver)
        self.latest: dict[str, FrameMeasured] = {}
        """The newest frame of each key."""
        self.folder = out
        """Where the frames are."""
        self.sequence = 0
        """Sequence of the newest outcome that was taken."""
        self.status: NightStatus | None = None
        self.rejected: tuple[tuple[str, str], ...] = ()
        """File and sentence of the newest rejected frames, newest first."""
        self.n_rejected = 0
        self.alerts: tuple[Alert, ...] = ()
        """Newest first, those of the past included."""
        self.is_read = False
        """Whether the night so far was read."""
        self._set = 0
        self._orders: dict[str, _Order] = {}
        self._is_changed = True

    def close(self) -> None:
        """Close the ledger."""
        self._reader.close()

    def take_change(self) -> bool:
        """Whether anything but light curves has changed since this was asked last."""
        changed, self._is_changed = self._is_changed, False
        return changed

    def take(self, messages: list[Heard]) -> None:
        """Take what was published."""
        fresh: list[FrameMeasured | FrameRejected] = []
        gap = False
        for message in messages:
            if isinstance(message, NightStatus):
                self.status, self._is_changed = message, True
            elif isinstance(message, CatalogBuilt):
                self._add_key(message.catalog)
            elif message.sequence == self.sequence + 1:
                fresh.append(message)
                self.sequence = message.sequence
            elif message.sequence > self.sequence:
                gap = True
        self._add(fresh)
        if gap:
            self._fill()

    def follow_ledger(self, selection: Selection, *, is_connected: bool) -> None:
        """Take what the ledger has more; read all of it at first, and when another set of measurements was begun."""
        alerts = self._reader.alerts()
        if [(alert.number, alert.is_open) for alert in alerts] != [(old.number, old.is_open) for old in self.alerts]:
            self.alerts, self._is_changed = alerts, True
        if not self.is_read or self._reader.newest_set() != self._set:
            self._read_night(selection)
            return
        if self._reader.last_sequence() > self.sequence:
            self._fill()
        if not is_connected:
            status = self._reader.status()
            if status != self.status:
                self.status, self._is_changed = status, True

    def want_photometers(self, labels: Iterable[str]) -> None:
        """Have the fluxes of photometers read that somebody asks for; from then on they grow with the others."""
        for label in labels:
            missing = [each for key, each in self.model.catalogs.items() if (label, key) not in self.model.columns]
            for columns in self._reading(f"photometer {label}", missing, _read_photometer, label):
                self.model.columns[(label, columns.key)] = columns

    def want_conditions(self) -> None:
        """Have the conditions of the night read, which somebody asks for; from then on they grow, too."""
        missing = [each for key, each in self.model.catalogs.items() if key not in self.model.conditions]
        for columns in self._reading("conditions", missing, _read_conditions, ""):
            self.model.conditions[columns.key] = columns

    def _reading(
        self, name: str, missing: list[Catalog], read: Callable[[Path, list[Catalog], str], list[_Columns]], label: str
    ) -> list[_Columns]:
        """Order columns of the whole night where some are missing; return them once they are there."""
        order = self._orders.get(name)
        if order is None and missing:
            # Every frame that comes after this is among what is filled up, at least.
            future = self._solver.order(len(self.model.names), read, self._out, missing, label)
            order = self._orders[name] = _Order(self.sequence, missing, future)
        if order is None or not order.future.done():
            return []
        del self._orders[name]
        found: list[_Columns] = order.future.result()
        since = self._reader.outcomes_since(order.sequence) if order.sequence < self.sequence else []
        for columns, catalog in zip(found, order.catalogs, strict=True):
            fresh = _frames_of(since, catalog)
            columns.forget([frame.frame_id for frame in fresh])
            columns.insert(fresh)
        return [
            columns
            for columns, catalog in zip(found, order.catalogs, strict=True)
            if self.model.catalogs.get(catalog.key) is catalog
        ]

    def _read_night(self, selection: Selection) -> None:
        self.model = NightModel(self.label, solver=self._solver)
        self.model.change_selection(selection)
        self.latest.clear()
        self._orders.clear()
        self._set = self._reader.newest_set()
        self.folder = self._reader.folder()
        # Before the bulk, so that nothing falls between: frames that are read twice are passed over.
        self.sequence = self._reader.last_sequence()
        self.model.names.update(self._reader.frame_paths())
        self._read_catalogs()
        self.status = self._reader.status()
        self.rejected = tuple((frame.path, frame.sentence) for frame in self._reader.rejected(_MOST_REJECTED_SHOWN))
        self.n_rejected = self._reader.counts().n_rejected
        for outcome in self._reader.outcomes_since(max(0, self.sequence - _LOOK_BACK), limit=_LOOK_BACK):
            if isinstance(outcome, FrameMeasured) and outcome.key in self.model.catalogs:
                self._follow_frame(outcome)
        self.is_read = self._is_changed = True

    def _fill(self) -> None:
        """Read from the ledger what comes after the last sequence."""
        while outcomes := self._reader.outcomes_since(self.sequence):
            self.sequence = outcomes[-1].sequence
            self._add(outcomes)

    def _add(self, outcomes: Sequence[FrameMeasured | FrameRejected]) -> None:
        self.model.names.update((outcome.frame_id, outcome.path) for outcome in outcomes)
        # The newest outcome counts: a file that was corrected was measured again.
        newest = {outcome.frame_id: outcome for outcome in outcomes}
        measured = [outcome for outcome in newest.values() if isinstance(outcome, FrameMeasured)]
        if any(frame.key not in self.model.catalogs for frame in measured):
            self._read_catalogs()
        for columns in (*self.model.columns.values(), *self.model.conditions.values()):
            columns.forget(newest)
        for key, catalog in self.model.catalogs.items():
            frames = [frame for frame in measured if frame.key == key]
            if frames and key in self.model.conditions:
                self.model.conditions[key].insert(frames)
            fitting = _frames_of(frames, catalog)
            if fitting:
                for place, columns in self.model.columns.items():
                    if place[1] == key:
                        columns.insert(fitting)
                self._follow_frame(max(fitting, key=lambda frame: frame.time_mjd_utc))
                self._is_changed = True
        self._add_rejections(outcomes)

    def _add_rejections(self, outcomes: Sequence[FrameMeasured | FrameRejected]) -> None:
        # A file that was completed later has another outcome now.
        paths = {outcome.path for outcome in outcomes}
        kept = tuple(line for line in self.rejected if line[0] not in paths)
        n_forgotten = len(self.rejected) - len(kept)
        rejected = [outcome for outcome in outcomes if isinstance(outcome, FrameRejected)]
        if rejected or n_forgotten:
            lines = tuple((frame.path, frame.sentence) for frame in reversed(rejected))
            self.rejected = (lines + kept)[:_MOST_REJECTED_SHOWN]
            self.n_rejected += len(rejected) - n_forgotten
            self._is_changed = True

    def _follow_frame(self, frame: FrameMeasured) -> None:
        latest = self.latest.get(frame.key)
        if latest is None or frame.time_mjd_utc >= latest.time_mjd_utc:
            self.latest[frame.key] = frame
            self.model.positions[frame.key] = frame.source_table()[:2].T.copy()

    def _read_catalogs(self) -> None:
        for catalog in self._reader.catalogs().values():
            self._add_key(catalog)

    def _add_key(self, catalog: Catalog) -> None:
        known = self.model.catalogs.get(catalog.key)
        if known is not None and known.version == catalog.version:
            return
        self.model.add_key(catalog, _columns_of(self._reader, catalog, self.label))
        self._is_changed = True


def _columns_of(reader: NightReader, catalog: Catalog, label: str) -> KeyColumns:
    columns = KeyColumns(catalog.key, label, n_sources=catalog.n_sources)
    columns.load(reader.source_fluxes(catalog.key, label))
    return columns


def _read_photometer(out: Path, catalogs: list[Catalog], label: str) -> list[KeyColumns]:
    reader = NightReader(out)
    try:
        return [_columns_of(reader, catalog, label) for catalog in catalogs]
    finally:
        reader.close()


def _read_conditions(out: Path, catalogs: list[Catalog], _label: str) -> list[ConditionColumns]:
    reader = NightReader(out)
    try:
        return [ConditionColumns(reader.conditions(catalog.key), catalog) for catalog in catalogs]
    finally:
        reader.close()


def _frames_of(outcomes: Sequence[FrameMeasured | FrameRejected], catalog: Catalog) -> list[FrameMeasured]:
    """Those that were measured with a catalog."""
    return [
        outcome
        for outcome in outcomes
        if isinstance(outcome, FrameMeasured)
        and outcome.key == catalog.key
        and outcome.catalog_version == catalog.version
    ]
