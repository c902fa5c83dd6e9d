"""One feed a process: keeps up with the night and holds the snapshot that every session reads.

What the broker publishes comes first, gaps and everything older come from the ledger. All work is done on one thread;
sessions read `Feed.view`, which never changes once it is made, and say which window they look at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from server.attention import Attention
from server.choosing import Chooser
from server.columns import Columns
from server.conditions import ConditionLook, ConditionView
from server.curve_views import CurveView
from server.focus import FocusDesk, FocusView, Star
from server.followed_file import FollowedFile
from server.looks import Look
from server.night_follower import NightFollower
from server.night_view import KeyView, NightView
from server.pictures import Picture, read_picture
from server.solving import MOST_AT_ONCE, Solver
from server.star_desk import JudgedStars, StarDesk
from server.subscription import Subscription
from server.timing_desk import TimingDesk
from server.timing_looks import TimingLook
from server.timing_views import TimingView
from stream.errors import ConfigurationError, LedgerError, OpticamLiveError
from stream.messages import Selection
from stream.notes import NOTES_FILE, Note, load_notes
from stream.selection import SELECTION_FILE, load_selection

POLL_S = 0.05
LEDGER_INTERVAL_S = 1.0
SELECTION_INTERVAL_S = 0.2
PICTURE_INTERVAL_S = 1.0
_RETRY_S = 1.0
_STOP_S = 1.5
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
        self._solver = Solver(MOST_AT_ONCE)
        self._night = NightFollower(out, label, self._solver)
        self._subscription = Subscription(out)
        self._selection = FollowedFile(out / SELECTION_FILE, lambda: load_selection(out), Selection())
        self._notes = FollowedFile[tuple[Note, ...]](out / NOTES_FILE, lambda: load_notes(out), ())
        self._view = NightView(
            out.resolve().name, label=self._night.label, labels=self._night.labels, is_being_read=True
        )
        self._pictures: dict[str, Picture] = {}
        self._looks, self._condition_looks = Attention[Look](), Attention[ConditionLook]()
        self._conditions: dict[ConditionLook, dict[str, ConditionView]] = {}
        self._timing = TimingDesk()
        self._executor = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="reader")
        self._stars = StarDesk(self._executor)
        self._focus = FocusDesk(out, self._executor)
        self._stopping = threading.Event()
        self._reading: Future[None] = Future()
        self._threads: list[threading.Thread] = []
        self._was_begun = False
        self._due_s = {"ledger": 0.0, "selection": 0.0}
        self._notices: tuple[str, ...] = ()
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
        return max((frame.time_mjd_utc for frame in list(self._night.latest.values())), default=None)

    @property
    def is_alive(self) -> bool:
        """Whether its threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def is_watched(self) -> bool:
        """Whether somebody looked within the last seconds."""
        return bool(self._looks)

    @property
    def last_sequence(self) -> int:
        """Sequence of the newest outcome that is shown."""
        return self._night.sequence

    def begin(self) -> None:
        """Read the night so far and follow it, on threads of the feed's own."""
        self._was_begun = True
        # What a new page asks for first is there when it does.
        self._looks.ask(Look())
        for name, work in (("feed", self._follow), ("pictures", self._follow_pictures)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def start(self) -> None:
        """Begin, and wait until the night so far was read.

        Raises
        ------
        LedgerError
            If it cannot be read now; the feed goes on trying.
        """
        self.begin()
        self._reading.result()

    @property
    def reading(self) -> Future[None]:
        """Done when the night so far was read; with a LedgerError while that cannot be done."""
        return self._reading

    def stop(self) -> None:
        """End the threads; ledger and socket are closed with them. Safe to call twice."""
        self._stopping.set()
        deadline_s = time.monotonic() + _STOP_S
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline_s - time.monotonic()))
        # One that is just reading a long night ends with that: whoever stops a page does not wait for it.
        self._threads.clear()
        self._say_read(f"the page of {self._out} was closed before it was read")
        self._focus.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._solver.stop()
        self._timing.stop()
        if not self._was_begun:
            self._close()

    def curves(self, look: Look) -> dict[str, CurveView] | None:
        """Light curves and spectra as one look wants them, by key; None until they are made.

        They are kept up to date for as long as somebody asks for them.

        Raises
        ------
        ConfigurationError
            If the look asks for a photometer that the night does not have.
        """
        labels = self._night.labels
        if look.label and look.label not in labels:
            raise ConfigurationError(f"photometer {look.label!r} must be one of {', '.join(labels)}")
        self._looks.ask(look)
        curves = self._view.curves.get(look)
        return None if curves is None else dict(curves)

    def conditions(self, look: ConditionLook) -> dict[str, ConditionView] | None:
        """Measured columns as one look wants them, by key; None until they are made. Kept up to date as `curves`."""
        self._condition_looks.ask(look)
        return self._conditions.get(look)

    def timing(self, look: TimingLook) -> TimingView | None:
        """Folds, lags, dynamic spectra or transits as one look wants them; None until they are made."""
        return self._timing.view(look)

    def stars(self, key: str) -> JudgedStars | None:
        """What the night says of each source of a key; None until it is made. Kept up to date as `curves`."""
        return self._stars.stars(key)

    def focus(self, stars: Sequence[Star], frames: Mapping[str, Columns], versions: Mapping[str, str]) -> FocusView:
        """Widths of some stars on the frames that are given; see `FocusDesk.view`."""
        return self._focus.view(stars, frames, versions)

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

    def _follow(self) -> None:
        try:
            self._run(self._step)
        finally:
            self._close()

    def _follow_pictures(self) -> None:
        self._run(self._look_at_frames)

    def _close(self) -> None:
        self._subscription.close()
        self._night.close()

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
        # What cannot be made is not tried again here: the rest stays as it was.
        self._view = replace(self._view, version=self._view.version + 1, notices=(sentence,))
        self._say_read(sentence)
        self._stopping.wait(_RETRY_S)

    def _say_read(self, problem: str = "") -> None:
        """Answer those who wait for the night to be read; a later success goes before an earlier failure."""
        if self._night.is_read:
            if not self._reading.done() or self._reading.exception() is not None:
                waiting, self._reading = self._reading, Future()
                self._reading.set_result(None)
                if not waiting.done():
                    waiting.set_result(None)
        elif not self._reading.done():
            self._reading.set_exception(LedgerError(problem))

    def _step(self) -> None:
        night, now = self._night, time.monotonic()
        if now >= self._due_s["selection"]:
            self._due_s["selection"] = now + SELECTION_INTERVAL_S
            if self._selection.look():
                night.model.change_selection(self._selection.content)
                self._dirty = True
            self._dirty |= self._notes.look()
        if now >= self._due_s["ledger"]:
            self._due_s["ledger"] = now + LEDGER_INTERVAL_S
            self._subscription.look()
            night.follow_ledger(self._selection.content, is_connected=self._subscription.is_connected)
            if self._notices:
                self._notices, self._dirty = (), True
            self._renew_conditions()
        self._dirty |= night.model.refresh()
        self._timing.renew(night.model.timing_version, night.model.timing_stretches)
        self._stars.renew(night.model)
        self._publish()
        self._say_read()
        if self._subscription.is_connected:
            night.take(self._subscription.receive(POLL_S))
        else:
            self._stopping.wait(POLL_S)

    def _renew_conditions(self) -> None:
        """Bring the conditions that somebody looks at up to date."""
        looks = self._condition_looks.current()
        if looks:
            self._night.want_conditions()
        self._conditions = {look: self._night.model.condition_views(look) for look in looks}

    def _publish(self) -> None:
        night, looks = self._night, self._looks.current()
        night.want_photometers({look.label or night.label for look in looks})
        curves = {look: night.model.curve_views(look) for look in looks}
        night.model.forget_all_but(looks)
        self._dirty |= night.take_change()
        if not self._dirty and _same(curves, self._view.curves):
            return
        self._dirty = False
        self._view = NightView(
            self._view.name,
            version=self._view.version + 1,
            is_being_read=not night.is_read,
            keys=night.model.key_views(),
            curves=curves,
            status=night.status,
            rejected=night.rejected,
            n_rejected=night.n_rejected,
            alerts=night.alerts,
            label=night.label,
            labels=night.labels,
            notes=self._notes.content,
            ensembles=tuple(night.model.selection.ensembles),
            notices=tuple(filter(None, (*self._notices, self._selection.problem, self._notes.problem))),
        )

    def _look_at_frames(self) -> None:
        """Make pictures of the newest frames while somebody looks."""
        self._stopping.wait(PICTURE_INTERVAL_S)
        if not self.is_watched or any(_is_awaited(shown) for shown in self._view.keys.values()):
            return
        for key, frame in list(self._night.latest.items()):
            held = self._pictures.get(key)
            if held is not None and held.frame_id == frame.frame_id:
                continue
            picture = read_picture(self._night.folder / frame.path, frame_id=frame.frame_id)
            if picture is not None:
                self._pictures[key] = picture


def _is_awaited(shown: KeyView) -> bool:
    """Whether stars of a key are being chosen: what reads pictures takes a second to load and would make that last."""
    return shown.choice is None and not shown.sentence


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
