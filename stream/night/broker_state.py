"""The broker's mind: which frame goes to which worker, and what becomes of it.

`BrokerState.handle` takes an event and the moment it happened and returns instructions; it reads no clock, opens no
file and no socket. `stream.night.broker` carries the instructions out, in their order.

A frame is in one of four places: it waits for the catalog of its key, is queued for a worker, is in work, or is closed
with exactly one outcome. Outcomes are taken from whoever brings them first, also from a worker that was given up; a
second outcome of a frame is dropped.

A worker that dies leaves suspects: every frame that it held. A suspect is handed out alone, to a worker that holds
nothing else, so that a frame that kills its worker takes no innocent one with it; after the second death it is
rejected as `CRASHED_WORKER`. Catalogs are built alone for the same reason.
"""

from __future__ import annotations

from collections import deque

from stream.config import BootstrapSettings
from stream.errors import Reason
from stream.messages import (
    AssignFrame,
    BuildCatalog,
    Catalog,
    CatalogBuilt,
    CatalogNotBuilt,
    CatalogPictureLeft,
    CatalogReply,
    FrameDescribed,
    FrameMeasured,
    FrameRejected,
    FrameReply,
    SaveCatalogFiles,
    StopWorker,
    UseCalibration,
    UseCatalog,
)
from stream.night.broker_events import (
    ArrivalsEnded,
    BrokerCounts,
    CalibrationChanged,
    CatalogGiven,
    ClockTicked,
    Commit,
    Event,
    FrameEntered,
    Instruction,
    KillWorker,
    Patience,
    Replied,
    SaveCatalog,
    Send,
    StopRequested,
    WorkerExited,
    WorkerHeard,
    WorkerJoined,
    WriteCatalogFiles,
)
from stream.night.catalog_queue import CatalogQueue
from stream.night.frame_queue import FrameQueue
from stream.night.open_work import KnownWorker, OpenFrame, Place

MAX_CRASHES = 2
_UNKNOWN_KEY = ""


class BrokerState:
    """Frames, catalogs and workers of a running night."""

    def __init__(self, bootstrap: BootstrapSettings, patience: Patience | None = None) -> None:
        self._bootstrap = bootstrap
        self._patience = patience or Patience()
        self._open: dict[int, OpenFrame] = {}
        self._keys: dict[str, CatalogQueue] = {}
        self._queue = FrameQueue()
        self._suspects: deque[int] = deque()
        self._workers: dict[int, KnownWorker] = {}
        self._places = dict.fromkeys(Place, 0)
        self._ended = False
        self._stopping = False
        self._out: list[Instruction] = []
        self.n_repeated = 0
        """Outcomes of frames that had one already, or that nobody was given: dropped."""

    def handle(self, event: Event, at_s: float) -> list[Instruction]:
        """Take one event and return what is to be done, in order.

        Parameters
        ----------
        at_s : float
            When it happened, seconds on a clock that never goes back.
        """
        match event:
            case FrameEntered():
                self._enter(event, at_s)
            case CatalogGiven(catalog):
                self._use_catalog(catalog, at_s)
            case Replied(pid, message):
                self._hear(pid, at_s, progress=True)
                self._take_reply(pid, message, at_s)
            case WorkerJoined(pid, credit):
                self._workers.setdefault(pid, KnownWorker(pid, max(credit, 1), at_s, at_s))
                if self._stopping:
                    self._out.append(Send(pid, StopWorker()))
            case WorkerHeard(pid):
                self._hear(pid, at_s, progress=False)
            case WorkerExited(pid):
                self._lose_worker(pid, at_s)
            case CalibrationChanged():
                self._out += [Send(pid, UseCalibration()) for pid in self._workers]
            case ArrivalsEnded():
                self._ended = True
            case StopRequested():
                self._stopping = True
                self._out += [Send(pid, StopWorker()) for pid in self._workers]
            case ClockTicked():
                self._give_up_silent_workers(at_s)
        if not self._stopping:
            self._hand_out(at_s)
        instructions, self._out = self._out, []
        return instructions

    @property
    def is_finished(self) -> bool:
        """Whether no frame is open and none will come."""
        return self._ended and not self._open

    @property
    def n_open(self) -> int:
        """Frames without an outcome."""
        return len(self._open)

    def counts(self) -> BrokerCounts:
        """Count frames by place."""
        return BrokerCounts(
            self._places[Place.WAITING],
            self._places[Place.QUEUED],
            self._places[Place.IN_WORK],
            len(self._workers),
        )

    def awaited(self) -> tuple[str, ...]:
        """What the night waits for, one sentence each."""
        sentences = [queue.awaited() for queue in self._keys.values()]
        return tuple(sentence for sentence in sentences if sentence is not None)

    def silent(self, at_s: float) -> list[int]:
        """Workers that said nothing for half of what makes them presumed dead: it is time to look at them."""
        longest_s = 0.5 * self._patience.silence_s
        return [worker.pid for worker in self._workers.values() if at_s - worker.heard_s > longest_s]

    # Frames

    def _enter(self, event: FrameEntered, at_s: float) -> None:
        frame = event.frame
        if frame.frame_id in self._open:
            return
        time = event.time_mjd_utc if event.time_mjd_utc is not None else float("-inf")
        self._open[frame.frame_id] = OpenFrame(frame, event.key or _UNKNOWN_KEY, time)
        self._places[Place.QUEUED] += 1
        if event.refusal is not None:
            self._reject(frame.frame_id, Reason.UNREADABLE, event.refusal)
        else:
            self._route(self._open[frame.frame_id], at_s)

    def _route(self, entry: OpenFrame, at_s: float) -> None:
        """Queue a frame, or let it wait for the catalog of its key."""
        key_queue = self._key_queue(entry.key) if entry.key != _UNKNOWN_KEY else None
        if key_queue is not None and key_queue.catalog is None:
            self._move(entry, Place.WAITING)
            key_queue.add(entry.frame.frame_id, time=entry.time, n_crashes=entry.n_crashes, at_s=at_s)
            return
        self._move(entry, Place.QUEUED)
        if entry.n_crashes:
            self._suspects.append(entry.frame.frame_id)
        else:
            self._queue.add(entry.frame.frame_id, entry.key, time=entry.time)

    def _move(self, entry: OpenFrame, place: Place) -> None:
        self._places[entry.place] -= 1
        self._places[place] += 1
        entry.place = place

    def _close(self, outcome: FrameMeasured | FrameRejected) -> None:
        """Give a frame its outcome, unless it has one."""
        entry = self._open.pop(outcome.frame_id, None)
        if entry is None:
            self.n_repeated += 1
            return
        self._places[entry.place] -= 1
        if entry.key != _UNKNOWN_KEY:
            self._key_queue(entry.key).remove(outcome.frame_id)
        self._out.append(Commit(outcome))

    def _reject(self, frame_id: int, reason: Reason, sentence: str) -> None:
        entry = self._open[frame_id]
        self._close(FrameRejected(frame_id, entry.frame.path, reason, sentence, entry.key or None))

    def _crashed(self, frame_id: int, at_s: float | None) -> None:
        """Note that a worker died over a frame; `at_s` is None where the frame waits for its catalog and goes on to."""
        entry = self._open[frame_id]
        entry.n_crashes += 1
        if entry.n_crashes >= MAX_CRASHES:
            sentence = f"{entry.frame.path}: {MAX_CRASHES} workers died over this frame"
            self._reject(frame_id, Reason.CRASHED_WORKER, sentence)
        elif at_s is not None:
            self._route(entry, at_s)

    # Replies

    def _take_reply(
        self,
        pid: int,
        message: FrameReply | CatalogReply | CatalogPictureLeft,
        at_s: float,
    ) -> None:
        match message:
            case FrameMeasured() | FrameRejected():
                self._release(pid, message.frame_id)
                self._close(message)
            case FrameDescribed():
                self._release(pid, message.frame_id)
                self._describe(message, at_s)
            case CatalogBuilt():
                self._release_build(pid, message.catalog.key)
                self._accept_catalog(pid, message, at_s)
            case CatalogNotBuilt():
                frame_ids = self._release_build(pid, message.key)
                for rejected in message.rejected:
                    self._close(rejected)
                if frame_ids:
                    self._key_queue(message.key).attempt_failed(frame_ids, sentence=message.sentence, at_s=at_s)
            case CatalogPictureLeft(key, version):
                self._out.append(WriteCatalogFiles(key, version))

    def _describe(self, message: FrameDescribed, at_s: float) -> None:
        entry = self._open.get(message.frame_id)
        if entry is None or entry.key != _UNKNOWN_KEY or self._held(message.frame_id):
            return
        entry.key, entry.time = message.key, message.time_mjd_utc
        self._route(entry, at_s)

    def _accept_catalog(self, pid: int, message: CatalogBuilt, at_s: float) -> None:
        for rejected in message.rejected:
            self._close(rejected)
        if self._key_queue(message.catalog.key).catalog is None:
            self._out.append(SaveCatalog(message.catalog))
            if pid in self._workers:
                # Told, not presumed: a worker that was given up must not write over the files of another's catalog.
                self._out.append(Send(pid, SaveCatalogFiles(message.catalog.key, message.catalog.version)))
            self._use_catalog(message.catalog, at_s)

    def _use_catalog(self, catalog: Catalog, at_s: float) -> None:
        """Take the first catalog of a key, and queue what waited for it."""
        key_queue = self._key_queue(catalog.key)
        if key_queue.catalog is not None:
            return
        key_queue.catalog = catalog
        for frame_id in key_queue.take_all():
            self._route(self._open[frame_id], at_s)

    def _key_queue(self, key: str) -> CatalogQueue:
        return self._keys.setdefault(key, CatalogQueue(key, self._bootstrap))

    # Workers

    def _hear(self, pid: int, at_s: float, *, progress: bool) -> None:
        worker = self._workers.get(pid)
        if worker is not None:
            worker.heard_s = at_s
            if progress:
                worker.progress_s = at_s

    def _held(self, frame_id: int) -> bool:
        return any(frame_id in worker.frames for worker in self._workers.values())

    def _release(self, pid: int, frame_id: int) -> None:
        worker = self._workers.get(pid)
        if worker is not None:
            worker.frames.discard(frame_id)
            worker.alone = worker.alone and bool(worker.frames)

    def _release_build(self, pid: int, key: str) -> tuple[int, ...]:
        """Free a worker of its catalog; return the frames of the attempt, none if it was given up before."""
        worker = self._workers.get(pid)
        if worker is None or worker.build is None or worker.build.key != key:
            return ()
        build, worker.build = worker.build, None
        self._key_queue(key).builder = None
        return tuple(frame.frame_id for frame in build.frames)

    def _give_up_silent_workers(self, at_s: float) -> None:
        for worker in list(self._workers.values()):
            patience_s = self._patience.build_s if worker.build is not None else self._patience.frame_s
            is_silent = at_s - worker.heard_s > self._patience.silence_s
            is_stuck = not worker.is_idle and at_s - worker.progress_s > patience_s
            if is_silent or is_stuck:
                self._out.append(KillWorker(worker.pid))
                self._lose_worker(worker.pid, at_s)

    def _lose_worker(self, pid: int, at_s: float) -> None:
        worker = self._workers.pop(pid, None)
        if worker is None:
            return
        if worker.build is not None:
            frame_ids = tuple(frame.frame_id for frame in worker.build.frames)
            self._key_queue(worker.build.key).attempt_crashed(frame_ids)
            for frame_id in frame_ids:
                if frame_id in self._open and self._open[frame_id].place is Place.WAITING:
                    self._crashed(frame_id, None)
        for frame_id in sorted(worker.frames):
            if frame_id in self._open and self._open[frame_id].place is Place.IN_WORK:
                self._crashed(frame_id, at_s)

    # Handing out

    def _hand_out(self, at_s: float) -> None:
        builds = [queue for queue in self._keys.values() if queue.wants_building(at_s, ended=self._ended)]
        n_alone = len(builds) + len(self._suspects)
        for queue in builds:
            worker = self._idle_worker()
            if worker is None:
                break
            self._start_build(worker, queue, at_s)
            n_alone -= 1
        while self._suspects and (worker := self._idle_worker()) is not None:
            entry = self._next_queued(self._suspects.popleft())
            n_alone -= 1
            if entry is not None:
                worker.alone = True
                self._assign(worker, entry, at_s)
        self._hand_out_queue(n_alone, at_s)
        for queue in list(self._keys.values()):
            if queue.is_hopeless(ended=self._ended):
                self._reject_hopeless(queue)

    def _hand_out_queue(self, n_reserved: int, at_s: float) -> None:
        """Hand queued frames to workers with room; so many workers run empty for tasks that need one alone."""
        if not len(self._queue):
            return
        by_load = sorted(self._workers.values(), key=lambda worker: (worker.build is not None, len(worker.frames)))
        candidates = [worker for worker in by_load[n_reserved:] if worker.has_room]
        while candidates and len(self._queue):
            entry = self._next_queued(self._queue.pop())
            if entry is None:
                continue
            worker = min(candidates, key=lambda candidate: len(candidate.frames))
            self._assign(worker, entry, at_s)
            if not worker.has_room:
                candidates.remove(worker)

    def _next_queued(self, frame_id: int) -> OpenFrame | None:
        """Entry of a frame that came out of a queue; None if it got its outcome in the meantime."""
        entry = self._open.get(frame_id)
        return entry if entry is not None and entry.place is Place.QUEUED else None

    def _idle_worker(self) -> KnownWorker | None:
        return next((worker for worker in self._workers.values() if worker.is_idle), None)

    def _assign(self, worker: KnownWorker, entry: OpenFrame, at_s: float) -> None:
        catalog = self._keys[entry.key].catalog if entry.key != _UNKNOWN_KEY else None
        version = catalog.version if catalog is not None else ""
        if catalog is not None and worker.catalogs.get(entry.key) != version:
            worker.catalogs[entry.key] = version
            self._out.append(Send(worker.pid, UseCatalog(catalog)))
        if worker.is_idle:
            worker.progress_s = at_s
        worker.frames.add(entry.frame.frame_id)
        self._move(entry, Place.IN_WORK)
        self._out.append(Send(worker.pid, AssignFrame(entry.frame, entry.key, version)))

    def _start_build(self, worker: KnownWorker, queue: CatalogQueue, at_s: float) -> None:
        frames = tuple(self._open[frame_id].frame for frame_id in queue.choose())
        queue.builder = worker.pid
        worker.build = BuildCatalog(queue.key, frames)
        worker.progress_s = at_s
        self._out.append(Send(worker.pid, worker.build))

    def _reject_hopeless(self, queue: CatalogQueue) -> None:
        for frame_id in list(queue.waiting):
            path = self._open[frame_id].frame.path
            sentence = f"{path}: there is no catalog of {queue.key} to measure it against: {queue.sentence}"
            self._reject(frame_id, Reason.NO_STARS, sentence)
