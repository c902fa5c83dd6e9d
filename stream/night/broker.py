"""The broker: one loop that carries out what `BrokerState` says.

Arrivals are entered in the ledger before anything else happens to them. Outcomes that came in together are committed
in one transaction, and published when it stands: what the page shows is in the ledger. While frames queue for a worker
nobody waits for the newest row, and outcomes are gathered for a fiftieth of a second.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import zmq

from stream.messages import (
    ENCODER,
    FROM_WORKER,
    CatalogBuilt,
    FrameMeasured,
    FrameRejected,
    NightStatus,
    WorkerHeartbeat,
    WorkerReady,
)
from stream.night.broker_events import (
    ArrivalsEnded,
    CalibrationChanged,
    CatalogGiven,
    ClockTicked,
    Commit,
    Event,
    FrameEntered,
    KillWorker,
    Replied,
    SaveCatalog,
    Send,
    StopRequested,
    WorkerExited,
    WorkerHeard,
    WorkerJoined,
    WriteCatalogFiles,
)
from stream.night.broker_state import BrokerState
from stream.night.ledger import Ledger
from stream.night.ledger_sets import REOPENED_FOR, KnownFile
from stream.night.monitor import Monitor
from stream.night.supervisor import Supervisor
from stream.night.watcher import Arrival
from stream.night.wire import BrokerWire, pid_of, task_identity

if TYPE_CHECKING:
    from stream.night.alert_desk import AlertDesk

ARRIVALS_ENDPOINT = "inproc://arrivals"
_TICK_S = 0.1
_HELD_UP_S = 0.5
_GATHERED_S = 0.02
_STATUS_EVERY_S = 0.5
_SAVE_STATUS_EVERY_S = 1.0
_REPLIES_A_ROUND = 200
_MOST_DROPPED_LOGGED = 100

_log = logging.getLogger(__name__)


class ArrivalPost:
    """Where the watcher's thread leaves arrivals; the broker's loop wakes up for each."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.receiver: zmq.Socket[bytes] = context.socket(zmq.PULL)
        self.receiver.rcvhwm = 0
        self.receiver.bind(ARRIVALS_ENDPOINT)
        self._sender: zmq.Socket[bytes] = context.socket(zmq.PUSH)
        self._sender.sndhwm = 0
        self._sender.connect(ARRIVALS_ENDPOINT)

    def deliver(self, arrivals: list[Arrival], is_last: bool) -> None:
        """Leave arrivals; for the watcher's thread alone."""
        self._sender.send(_ARRIVALS_ENCODER.encode((arrivals, is_last)))

    def take(self) -> list[tuple[list[Arrival], bool]]:
        """All that was left since the last call."""
        taken = []
        while True:
            try:
                taken.append(_ARRIVALS_DECODER.decode(self.receiver.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return taken

    def close(self) -> None:
        """Close both ends, after the watcher has stopped."""
        self._sender.close(linger=0)
        self.receiver.close(linger=0)


_ARRIVALS_ENCODER = msgspec.msgpack.Encoder()
_ARRIVALS_DECODER = msgspec.msgpack.Decoder(tuple[list[Arrival], bool])


class Broker:
    """Joins watcher, ledger, workers and subscribers; everything here runs in one thread.

    Attributes
    ----------
    on_reopenable : callable
        Told of each frame that was rejected and may be complete later: its path, and the file as it was.
    on_picture : callable
        Told key and version of each catalog whose files can be written now.
    complaints : callable
        Sentences that the status of the night is to carry.
    alerts : AlertDesk or None
        Told of arrivals, outcomes and health.
    """

    def __init__(
        self, state: BrokerState, ledger: Ledger, *, wire: BrokerWire, supervisor: Supervisor, monitor: Monitor
    ) -> None:
        self._state, self._ledger = state, ledger
        self._wire, self._supervisor, self._monitor = wire, supervisor, monitor
        self.post = ArrivalPost(wire.context)
        self._poller = zmq.Poller()
        self._poller.register(wire.router, zmq.POLLIN)
        self._poller.register(self.post.receiver, zmq.POLLIN)
        self._outcomes: list[FrameMeasured | FrameRejected] = []
        self._commit_at_s = 0.0
        self._next_tick_s = self._next_status_s = self._next_save_s = 0.0
        self._n_unreadable = 0
        self._waits_for = ""
        self.status: NightStatus | None = None
        self.on_reopenable: Callable[[str, KnownFile], None] = lambda path, known: None
        self.on_picture: Callable[[str, str], None] = lambda key, version: None
        self.complaints: Callable[[], tuple[str, ...]] = tuple
        self.alerts: AlertDesk | None = None

    def resume(self) -> None:
        """Take up what an earlier run of the night left: its catalogs, then its unfinished frames."""
        for catalog in self._ledger.catalogs().values():
            self._tell(CatalogGiven(catalog))
        for entry in self._ledger.unfinished():
            self._tell(FrameEntered(entry.frame, entry.key, entry.time_mjd_utc))

    def change_calibration(self) -> None:
        """Tell all workers that there are other masters."""
        self._tell(CalibrationChanged())

    def run(self, keep_on: Callable[[], bool]) -> None:
        """Go on until no frame is open and none will come, or `keep_on` says no.

        Raises
        ------
        LedgerError
            If the ledger cannot be written.
        NightError
            If workers end as soon as they start.
        """
        while keep_on() and not self._state.is_finished:
            self._round()
        self._commit()

    def drain(self, timeout_s: float) -> None:
        """Hand out nothing more, and commit what workers finish within `timeout_s` seconds."""
        self._tell(StopRequested())
        deadline = time.monotonic() + timeout_s
        while self._state.counts().n_in_work and time.monotonic() < deadline:
            self._round()
        self._commit()

    def save_final_status(self, state: str) -> NightStatus:
        """Store and publish the last status of this run."""
        status = msgspec.structs.replace(self._status(), state=state, n_workers=0, frames_per_s=0.0)
        self._ledger.save_status(status)
        self._publish(b"status", status)
        self.status = status
        return status

    def close(self) -> None:
        """Close the sockets that are the broker's own."""
        self.post.close()

    def _round(self) -> None:
        until_s = min(self._next_tick_s, self._commit_at_s) if self._outcomes else self._next_tick_s
        ready = dict(self._poller.poll(max(0, math.ceil(1000.0 * (until_s - time.monotonic())))))
        if self.post.receiver in ready:
            for arrivals, is_last in self.post.take():
                self._enter(arrivals)
                if is_last:
                    self._tell(ArrivalsEnded())
        if self._wire.router in ready:
            self._take_replies()
        now_s = time.monotonic()
        if not self._state.counts().n_queued or now_s >= self._commit_at_s:
            self._commit()
        if now_s >= self._next_tick_s:
            self._tick()

    def tell_waiting(self, sentence: str) -> NightStatus:
        """Tell whoever looks on that the ledger cannot be written now; the night waits for it."""
        if sentence != self._waits_for:
            self._waits_for = sentence
            _log.error("%s: tried again until it can", sentence)
        status = self._status()
        status = msgspec.structs.replace(status, awaited=(f"{sentence}: nothing is lost", *status.awaited))
        self._publish(b"status", status)
        return status

    def _tick(self) -> None:
        now_s = time.monotonic()
        was_held_up = now_s - self._next_tick_s > _HELD_UP_S
        if was_held_up:
            self._take_replies()  # what was answered meanwhile is no silence
        if self._waits_for and not was_held_up:
            _log.warning("the ledger can be written again")
            self._waits_for = ""
        self._next_tick_s = now_s + _TICK_S
        for pid in self._state.silent(now_s):
            # A long call in a library keeps heartbeats back, a busy machine everybody, and what holds up the night
            # process makes it deaf.
            if was_held_up or self._supervisor.is_working(pid, now_s):
                self._tell(WorkerHeard(pid))
        for ended in self._supervisor.check(now_s):
            self._tell(WorkerExited(ended.pid))
        self._tell(ClockTicked())
        self._commit()
        if now_s >= self._next_status_s:
            self._next_status_s = now_s + _STATUS_EVERY_S
            self.status = self._status()
            self._publish(b"status", self.status)
            if self.alerts is not None:
                self.alerts.judge(self.status)
            if now_s >= self._next_save_s:
                self._next_save_s = now_s + _SAVE_STATUS_EVERY_S
                self._ledger.save_status(self.status)

    def _enter(self, arrivals: list[Arrival]) -> None:
        by_path = {arrival.message.path: arrival for arrival in arrivals}
        for frame in self._ledger.enter([arrival.message for arrival in arrivals]):
            arrival = by_path[frame.path]
            self._monitor.note_arrival(frame.frame_id, arrival.message.arrived_unix_s)
            if self.alerts is not None and self._ledger.standing(frame.frame_id) is None:
                # The times of a file that was completed or corrected later say nothing of camera and clock.
                self.alerts.note_arrival(frame.frame_id, arrival.message)
            self._tell(FrameEntered(frame, arrival.message.key, arrival.message.time_mjd_utc, arrival.refusal))

    def _take_replies(self) -> None:
        for _ in range(_REPLIES_A_ROUND):
            try:
                identity, *parts = self._wire.router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event = self._event_of(identity, parts)
            if event is None:
                self._n_unreadable += 1
                if self._n_unreadable <= _MOST_DROPPED_LOGGED:
                    _log.warning("a message from %r was dropped: it is none of the night's", identity[:40])
            else:
                self._tell(event)

    def _event_of(self, identity: bytes, parts: list[bytes]) -> Event | None:
        pid = pid_of(identity)
        if pid is None or len(parts) != 1:
            return None
        try:
            message = FROM_WORKER.decode(parts[0])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if isinstance(message, FrameMeasured) and not message.has_whole_table():
            return None
        if isinstance(message, WorkerHeartbeat):
            return WorkerHeard(pid)
        if isinstance(message, WorkerReady):
            return WorkerJoined(pid, message.credit) if self._supervisor.joined(pid) else None
        return Replied(pid, message)

    def _tell(self, event: Event) -> None:
        for instruction in self._state.handle(event, time.monotonic()):
            match instruction:
                case Send(pid, message):
                    self._send(pid, ENCODER.encode(message))
                case Commit(outcome):
                    if not self._outcomes:
                        self._commit_at_s = time.monotonic() + _GATHERED_S
                    self._outcomes.append(outcome)
                case SaveCatalog(catalog):
                    self._ledger.save_catalog(catalog)
                    self._publish(b"catalog", CatalogBuilt(catalog))
                case WriteCatalogFiles(key, version):
                    self.on_picture(key, version)
                case KillWorker(pid):
                    _log.warning("worker process %d is presumed dead: killed", pid)
                    self._supervisor.kill(pid)

    def _send(self, pid: int, content: bytes) -> None:
        try:
            self._wire.router.send_multipart([task_identity(pid), content], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # The connection is gone; the supervisor sees the death of the process and its frames go to others.
            _log.warning("worker process %d cannot be reached: %s", pid, error)

    def _commit(self) -> None:
        if not self._outcomes:
            return
        outcomes, self._outcomes = self._outcomes, []
        standing = {outcome.frame_id: self._ledger.standing(outcome.frame_id) for outcome in outcomes}
        committed = self._ledger.commit(outcomes)
        self._note_replaced(outcomes, committed, standing)
        for outcome in committed:
            if isinstance(outcome, FrameRejected) and outcome.reason in REOPENED_FOR:
                self._watch_again(outcome.path)
        measured = [outcome for outcome in committed if isinstance(outcome, FrameMeasured)]
        self._monitor.note_commit(
            [outcome.frame_id for outcome in committed],
            n_measured=len(measured),
            now_s=time.monotonic(),
            unix_s=time.time(),
        )
        for outcome in committed:
            self._publish(b"measured" if isinstance(outcome, FrameMeasured) else b"rejected", outcome)
        if self.alerts is not None:
            self.alerts.note_outcomes(committed)
        changed = self._ledger.take_changed(outcomes)
        if changed:
            self._enter([Arrival(message) for message in changed])

    def _note_replaced(
        self,
        outcomes: list[FrameMeasured | FrameRejected],
        committed: list[FrameMeasured | FrameRejected],
        standing: dict[int, str | None],
    ) -> None:
        replaced = [standing[outcome.frame_id] for outcome in committed]
        self._monitor.note_replaced(replaced.count("measured"), replaced.count("rejected"))
        taken = {outcome.frame_id for outcome in committed}
        for outcome in outcomes:
            if isinstance(outcome, FrameRejected) and outcome.frame_id not in taken and standing[outcome.frame_id]:
                _log.warning("%s keeps its measurement: it was overwritten, but %s", outcome.path, outcome.sentence)

    def _watch_again(self, path: str) -> None:
        known = self._ledger.reopenable_file(path)
        if known is not None:
            self.on_reopenable(path, known)

    def _publish(self, topic: bytes, message: FrameMeasured | FrameRejected | CatalogBuilt | NightStatus) -> None:
        self._wire.publisher.send_multipart([topic, ENCODER.encode(message)])

    def _status(self) -> NightStatus:
        awaited = (*self.complaints(), *self._state.awaited())
        status = self._monitor.status(self._state.counts(), now_s=time.monotonic(), unix_s=time.time(), awaited=awaited)
        n_dropped = self._n_unreadable + self._state.n_repeated
        return msgspec.structs.replace(
            status,
            n_worker_restarts=self._supervisor.n_restarts,
            n_dropped_messages=n_dropped,
            n_refused_peers=self._wire.refused.count(),
        )
