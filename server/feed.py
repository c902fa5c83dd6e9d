"""One feed a process: keeps up with the night and holds the snapshot that every session reads.

What the broker publishes comes first, gaps and everything older come from the ledger. All work is done on one thread;
sessions read `Feed.view`, which never changes once it is made, and say which window they look at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from server.choosing import Chooser
from server.columns import KeyColumns
from server.conditions import ConditionColumns, ConditionLook, ConditionView
from server.curve_views import CurveView
from server.looks import Look
from server.night_model import NightModel
from server.night_view import NightView
from server.pictures import Picture, read_picture
from server.star_desk import JudgedStars, StarDesk
from server.subscription import Heard, Subscription
from server.timing_desk import TimingDesk
from server.timing_looks import TimingLook
from server.timing_views import TimingView
from stream.errors import ConfigurationError, OpticamLiveError
from stream.messages import Catalog, CatalogBuilt, FrameMeasured, FrameRejected, NightStatus
from stream.night.night_reader import NightReader
from stream.notes import NOTES_FILE, Note, load_notes
from stream.selection import SELECTION_FILE, load_selection

POLL_S = 0.05
LEDGER_INTERVAL_S = 1.0
SELECTION_INTERVAL_S = 0.2
PICTURE_INTERVAL_S = 1.0
ATTENTION_S = 5.0
_RETRY_S = 1.0
_MOST_REJECTED_SHOWN = 200
_LOOK_BACK = 200
_READERS = 2

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")

_log = logging.getLogger(__name__)


class Feed(Chooser):
    """The night of `out`, kept up to date from `start` to `stop`.

    Parameters
    ----------
    out : Path
        Folder of the night.
    label : str
        Photometer whose fluxes are shown.
    address_name : str
        What addresses call the night where several are served; empty for the only one.

    Raises
    ------
    LedgerError
        If there is no ledger in `out` that can be read.
    """

    def __init__(self, out: Path, label: str | None = None, *, address_name: str = "") -> None:
        super().__init__(out)
        self._out = out
        self.address_name = address_name
        self._reader = NightReader(out)
        recipe = self._reader.recipe()
        self._label = label or recipe.default_label()
        self._labels = recipe.labels()
        self._subscription = Subscription(out)
        self._folder = out
        self._model = NightModel(self._label)
        self._view = NightView(out.resolve().name, label=self._label, labels=self._labels)
        self._pictures: dict[str, Picture] = {}
        self._latest: dict[str, FrameMeasured] = {}
        self._attended: dict[Look, float] = {}
        self._attended_conditions: dict[ConditionLook, float] = {}
        self._conditions: dict[ConditionLook, dict[str, ConditionView]] = {}
        self._timing = TimingDesk()
        self._executor = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="reader")
        self._stars = StarDesk(self._executor)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sequence = 0
        self._set = 0
        self._status: NightStatus | None = None
        self._rejected: tuple[tuple[str, str], ...] = ()
        self._n_rejected = 0
        self._selection_stamp: tuple[int, int] | None = (0, 0)
        self._due_s = {"ledger": 0.0, "selection": 0.0}
        self._notices: tuple[str, ...] = ()
        self._selection_problem = ""
        self._notes: tuple[Note, ...] = ()
        self._notes_stamp: tuple[int, int] | None = (0, 0)
        self._notes_problem = ""
        self._dirty = True

    @property
    def view(self) -> NightView:
        """The newest snapshot."""
        return self._view

    @property
    def out(self) -> Path:
        """Folder of the night."""
        return self._out

    @property
    def is_connected(self) -> bool:
        """Whether a running night was found that publishes what it measures."""
        return self._subscription.is_connected

    @property
    def is_alone(self) -> bool:
        """Whether its server shows no other night."""
        return not self.address_name

    @property
    def newest_mjd(self) -> float | None:
        """Time of the newest frame, MJD in UTC; None before the first."""
        return max((frame.time_mjd_utc for frame in list(self._latest.values())), default=None)

    @property
    def is_alive(self) -> bool:
        """Whether its threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def is_watched(self) -> bool:
        """Whether somebody looked within the last seconds."""
        oldest = time.monotonic() - ATTENTION_S
        return any(asked_s >= oldest for asked_s in list(self._attended.values()))

    @property
    def last_sequence(self) -> int:
        """Sequence of the newest outcome that is shown."""
        return self._sequence

    def start(self) -> None:
        """Read the night so far, then follow it on threads of the feed's own."""
        self._reload()
        # What a new page asks for first is there when it does.
        self._attended[Look()] = time.monotonic()
        self._publish()
        for name, work in (("feed", self._step), ("pictures", self._look_at_frames)):
            thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the threads and close ledger and socket; safe to call twice."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5.0)
        self._threads.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._timing.stop()
        self._subscription.close()
        self._reader.close()

    def curves(self, look: Look) -> dict[str, CurveView] | None:
        """Light curves and spectra as one look wants them, by key; None until they are made.

        They are kept up to date for as long as somebody asks for them.

        Raises
        ------
        ConfigurationError
            If the look asks for a photometer that the night does not have.
        """
        if look.label and look.label not in self._labels:
            raise ConfigurationError(f"photometer {look.label!r} must be one of {', '.join(self._labels)}")
        self._attended[look] = time.monotonic()
        curves = self._view.curves.get(look)
        return None if curves is None else dict(curves)

    def conditions(self, look: ConditionLook) -> dict[str, ConditionView] | None:
        """Measured columns as one look wants them, by key; None until they are made. Kept up to date as `curves`."""
        self._attended_conditions[look] = time.monotonic()
        return self._conditions.get(look)

    def timing(self, look: TimingLook) -> TimingView | None:
        """Folds, lags, dynamic spectra or transits as one look wants them; None until they are made."""
        return self._timing.view(look)

    def stars(self, key: str) -> JudgedStars | None:
        """What the night says of each source of a key; None until it is made. Kept up to date as `curves`."""
        return self._stars.stars(key)

    def picture(self, key: str) -> Picture | None:
        """Return the newest picture of a key; None where no frame can be read any more."""
        return self._pictures.get(key)

    def in_background(
        self, work: Callable[_Given, _Found], *given: _Given.args, **named: _Given.kwargs
    ) -> Future[_Found]:
        """Do some reading on a thread that no viewer waits for."""
        return self._executor.submit(work, *given, **named)

    def _changed(self) -> None:
        self._due_s["selection"] = 0.0

    def _run(self, step: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                step()
            except OpticamLiveError as problem:
                self._complain(str(problem))
            except Exception:  # noqa: BLE001 a page that stops growing without a word is worse than any error
                _log.exception("the page could not be brought up to date")
                self._complain("the page could not be brought up to date: see log/serve.log of the night")

    def _complain(self, sentence: str) -> None:
        if self._notices != (sentence,):
            _log.error("%s", sentence)
        self._notices, self._dirty = (sentence,), True
        self._publish()
        self._stopping.wait(_RETRY_S)

    def _step(self) -> None:
        if self._subscription.is_connected:
            self._take(self._subscription.receive(POLL_S))
        else:
            self._stopping.wait(POLL_S)
        now = time.monotonic()
        if now >= self._due_s["selection"]:
            self._due_s["selection"] = now + SELECTION_INTERVAL_S
            self._follow_selection()
            self._follow_notes()
        if now >= self._due_s["ledger"]:
            self._due_s["ledger"] = now + LEDGER_INTERVAL_S
            self._subscription.look()
            self._follow_ledger()
            self._renew_conditions()
        self._dirty |= self._model.refresh()
        self._timing.renew(self._model.timing_version, self._model.timing_stretches)
        self._stars.renew(self._model)
        self._publish()

    def _take(self, messages: list[Heard]) -> None:
        fresh: list[FrameMeasured | FrameRejected] = []
        gap = False
        for message in messages:
            if isinstance(message, NightStatus):
                self._status, self._dirty = message, True
            elif isinstance(message, CatalogBuilt):
                self._add_key(message.catalog)
            elif message.sequence == self._sequence + 1:
                fresh.append(message)
                self._sequence = message.sequence
            elif message.sequence > self._sequence:
                gap = True
        self._add(fresh)
        if gap:
            self._fill()

    def _follow_ledger(self) -> None:
        if self._reader.newest_set() != self._set:
            self._reload()
            return
        if self._reader.last_sequence() > self._sequence:
            self._fill()
        if not self._subscription.is_connected:
            status = self._reader.status()
            if status != self._status:
                self._status, self._dirty = status, True
        if self._notices:
            self._notices, self._dirty = (), True

    def _fill(self) -> None:
        """Read from the ledger what comes after the last sequence."""
        while outcomes := self._reader.outcomes_since(self._sequence):
            self._sequence = outcomes[-1].sequence
            self._add(outcomes)

    def _add(self, outcomes: list[FrameMeasured | FrameRejected]) -> None:
        by_key: dict[str, list[FrameMeasured]] = {}
        rejected = [outcome for outcome in outcomes if isinstance(outcome, FrameRejected)]
        for outcome in outcomes:
            if isinstance(outcome, FrameMeasured):
                by_key.setdefault(outcome.key, []).append(outcome)
        self._model.names.update((outcome.frame_id, outcome.path) for outcome in outcomes)
        for key, frames in by_key.items():
            if key not in self._model.catalogs:
                self._read_catalogs()
            version = self._model.catalogs[key].version if key in self._model.catalogs else ""
            fitting = [frame for frame in frames if frame.catalog_version == version]
            if key in self._model.conditions:
                self._model.conditions[key].insert(frames)
            if fitting:
                for place, columns in self._model.columns.items():
                    if place[1] == key:
                        columns.insert(fitting)
                self._follow_frame(max(fitting, key=lambda frame: frame.time_mjd_utc))
                self._dirty = True
        self._forget_rejections({outcome.path for outcome in outcomes})
        if rejected:
            lines = tuple((frame.path, frame.sentence) for frame in reversed(rejected))
            self._rejected = (lines + self._rejected)[:_MOST_REJECTED_SHOWN]
            self._n_rejected += len(rejected)
            self._dirty = True

    def _forget_rejections(self, paths: set[str]) -> None:
        """A file that was completed later has another outcome now."""
        kept = tuple(line for line in self._rejected if line[0] not in paths)
        if len(kept) < len(self._rejected):
            self._n_rejected -= len(self._rejected) - len(kept)
            self._rejected, self._dirty = kept, True

    def _follow_frame(self, frame: FrameMeasured) -> None:
        latest = self._latest.get(frame.key)
        if latest is None or frame.time_mjd_utc >= latest.time_mjd_utc:
            self._latest[frame.key] = frame
            self._model.positions[frame.key] = frame.source_table()[:2].T.copy()

    def _follow_notes(self) -> None:
        stamp = _stamp_of(self._out / NOTES_FILE)
        if stamp != self._notes_stamp:
            self._notes_stamp, self._dirty = stamp, True
            try:
                self._notes, self._notes_problem = load_notes(self._out), ""
            except ConfigurationError as problem:
                self._notes_problem = str(problem)

    def _follow_selection(self) -> None:
        stamp = _stamp_of(self._out / SELECTION_FILE)
        if stamp != self._selection_stamp:
            self._selection_stamp, self._dirty = stamp, True
            try:
                self._model.change_selection(load_selection(self._out))
                self._selection_problem = ""
            except ConfigurationError as problem:
                # The last good selection stays in use.
                self._selection_problem = str(problem)

    def _reload(self) -> None:
        """Read the whole night: at the start, and when another set of measurements was begun."""
        self._model = NightModel(self._label)
        self._latest.clear()
        self._set = self._reader.newest_set()
        self._folder = self._reader.folder()
        # Before the bulk, so that nothing falls between: frames that are read twice are passed over.
        self._sequence = self._reader.last_sequence()
        self._model.names.update(self._reader.frame_paths())
        self._read_catalogs()
        self._status = self._reader.status()
        self._rejected = tuple((frame.path, frame.sentence) for frame in self._reader.rejected(_MOST_REJECTED_SHOWN))
        self._n_rejected = self._reader.counts().n_rejected
        for outcome in self._reader.outcomes_since(max(0, self._sequence - _LOOK_BACK), limit=_LOOK_BACK):
            if isinstance(outcome, FrameMeasured) and outcome.key in self._model.catalogs:
                self._follow_frame(outcome)
        self._selection_stamp = (0, 0)
        self._follow_selection()
        self._model.refresh()
        self._dirty = True

    def _read_catalogs(self) -> None:
        for catalog in self._reader.catalogs().values():
            self._add_key(catalog)

    def _add_key(self, catalog: Catalog) -> None:
        known = self._model.catalogs.get(catalog.key)
        if known is not None and known.version == catalog.version:
            return
        self._model.add_key(catalog, self._columns_of(catalog, self._label))
        self._dirty = True

    def _columns_of(self, catalog: Catalog, label: str) -> KeyColumns:
        columns = KeyColumns(catalog.key, label, n_sources=catalog.n_sources)
        columns.load(self._reader.source_fluxes(catalog.key, label))
        return columns

    def _read_photometer(self, label: str) -> None:
        """Read the fluxes of a photometer that somebody asks for; from then on they grow with the others."""
        for key, catalog in self._model.catalogs.items():
            if (label, key) not in self._model.columns:
                self._model.columns[(label, key)] = self._columns_of(catalog, label)

    def _renew_conditions(self) -> None:
        """Bring the conditions that somebody looks at up to date."""
        oldest = time.monotonic() - ATTENTION_S
        looks = {look for look, asked_s in list(self._attended_conditions.items()) if asked_s >= oldest}
        if looks:
            for key, catalog in self._model.catalogs.items():
                if key not in self._model.conditions:
                    self._model.conditions[key] = ConditionColumns(self._reader.conditions(key), catalog)
        self._conditions = {look: self._model.condition_views(look) for look in looks}
        for look in set(self._attended_conditions) - looks:
            self._attended_conditions.pop(look, None)

    def _publish(self) -> None:
        oldest = time.monotonic() - ATTENTION_S
        looks = [look for look, asked_s in list(self._attended.items()) if asked_s >= oldest]
        for look in set(self._attended) - set(looks):
            self._attended.pop(look, None)
        for label in {look.label or self._label for look in looks}:
            self._read_photometer(label)
        curves = {look: self._model.curve_views(look) for look in looks}
        self._model.forget_all_but(looks)
        if not self._dirty and _same(curves, self._view.curves):
            return
        self._dirty = False
        self._view = NightView(
            self._view.name,
            version=self._view.version + 1,
            keys=self._model.key_views(),
            curves=curves,
            status=self._status,
            rejected=self._rejected,
            n_rejected=self._n_rejected,
            label=self._label,
            labels=self._labels,
            notes=self._notes,
            ensembles=tuple(self._model.selection.ensembles),
            notices=tuple(filter(None, (*self._notices, self._selection_problem, self._notes_problem))),
        )

    def _look_at_frames(self) -> None:
        """Make pictures of the newest frames while somebody looks."""
        self._stopping.wait(PICTURE_INTERVAL_S)
        if not self.is_watched:
            return
        for key, frame in list(self._latest.items()):
            held = self._pictures.get(key)
            if held is not None and held.frame_id == frame.frame_id:
                continue
            picture = read_picture(self._folder / frame.path, frame_id=frame.frame_id)
            if picture is not None:
                self._pictures[key] = picture


def _stamp_of(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _same(fresh: dict[Look, dict[str, CurveView]], held: object) -> bool:
    """Whether two sets of curves are the very same objects; comparing their columns would cost more than drawing."""
    return (
        isinstance(held, dict)
        and fresh.keys() == held.keys()
        and all(
            curves.keys() == held[look].keys() and all(curves[key] is held[look][key] for key in curves)
            for look, curves in fresh.items()
        )
    )
