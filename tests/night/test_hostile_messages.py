"""What reaches the broker of a night that is none of its workers' business: garbage, giants, repetitions, strangers."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import zmq
import zmq.auth

from stream.errors import Reason
from stream.messages import (
    ENCODER,
    FROM_WORKER,
    AssignFrame,
    FrameArrived,
    FrameRejected,
    FrameToMeasure,
    WorkerHeartbeat,
    WorkerReady,
)
from stream.night import wire as wire_module
from stream.night.broker import Broker
from stream.night.broker_state import BrokerState
from stream.night.ledger import Ledger
from stream.night.ledger_reader import LedgerReader
from stream.night.monitor import Monitor
from stream.night.report import health_sentence, read_report
from stream.night.supervisor import Supervisor
from stream.night.watcher import Arrival
from stream.night.wire import BrokerWire, connect_to_broker, make_keys, task_identity
from stream.night.worker import answer_frame
from tests.night.ledger_rows import RECIPE, make_measured
from tests.night.test_wire_and_folder import BrokenMeasurer
from tests.night.waiting import wait_until

PATH = "a.fit"
OUTCOME = make_measured(FrameToMeasure(1, PATH), 1)


class RunningBroker:
    """A broker without workers, on a thread of its own."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.stopping = threading.Event()
        self.started = threading.Event()
        self.n_dropped: Callable[[], int] = lambda: 0
        self.n_refused: Callable[[], int] = lambda: 0
        self._thread = threading.Thread(target=self._run, name="broker")
        self._thread.start()
        assert self.started.wait(20.0)

    def _run(self) -> None:
        # The ledger belongs to the thread that opened it.
        make_keys(self.out)
        ledger = Ledger(self.out, RECIPE, folder=self.out)
        ledger.begin()
        self.wire = BrokerWire(self.out)
        state = BrokerState(RECIPE.bootstrap)
        broker = Broker(state, ledger, wire=self.wire, supervisor=Supervisor(self.out, 0), monitor=Monitor(0.0, 0, 0))
        self.n_dropped = lambda: 0 if broker.status is None else broker.status.n_dropped_messages
        self.n_refused = lambda: 0 if broker.status is None else broker.status.n_refused_peers
        arrived = FrameArrived(PATH, 100, 1, 1000.0, "1:g", 61000.0)
        broker.post.deliver([Arrival(arrived, None)], False)
        self.started.set()
        broker.run(lambda: not self.stopping.is_set())
        broker.close()
        ledger.close()
        self.wire.close()

    def stop(self) -> None:
        self.stopping.set()
        self._thread.join(20.0)


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningBroker]:
    monkeypatch.setattr(wire_module, "_LARGEST_MESSAGE_BYTES", 100_000)
    running = RunningBroker(tmp_path)
    try:
        yield running
    finally:
        running.stop()


class Peers:
    """Sockets that are closed when the test ends."""

    def __init__(self, broker: RunningBroker) -> None:
        self._broker, self._context = broker, zmq.Context()
        self._open: list[zmq.Socket[bytes]] = []

    def worker(self, identity: bytes, endpoint: str | None = None) -> zmq.Socket[bytes]:
        """A socket with the keys of the night."""
        endpoint = endpoint or self._broker.wire.router_endpoint
        return self._kept(connect_to_broker(self._context, self._broker.out, endpoint=endpoint, identity=identity))

    def socket(self, kind: int, keys: tuple[bytes, bytes | None] | None) -> zmq.Socket[bytes]:
        """A socket with keys of any kind, or with none."""
        made = self._kept(self._context.socket(kind))
        if keys is not None:
            made.curve_publickey, made.curve_secretkey = keys
        return made

    def _kept(self, made: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
        self._open.append(made)
        return made

    def close(self) -> None:
        """Close all."""
        for each in self._open:
            each.close(linger=0)
        self._context.term()


@pytest.fixture
def peers(broker: RunningBroker) -> Iterator[Peers]:
    made = Peers(broker)
    yield made
    made.close()


def test_what_makes_no_sense_is_dropped_and_counted(broker: RunningBroker, peers: Peers) -> None:
    worker, nobody = peers.worker(task_identity(7)), peers.worker(b"somebody")
    outcome = OUTCOME
    nonsense = [
        [b""],
        [b"\xff" * 1000],
        [ENCODER.encode(outcome)[:-3]],
        [ENCODER.encode(outcome), b"and another part"],
        [ENCODER.encode(msgspec.structs.replace(outcome, sources=outcome.sources[:-8]))],
        [ENCODER.encode(msgspec.structs.replace(outcome, frame_id=-1))],
        [ENCODER.encode(msgspec.structs.replace(outcome, path="x" * 10_000))],
        [ENCODER.encode(WorkerReady(7, 2))],  # none of ours
        [ENCODER.encode(WorkerReady(7, 10**6))],
        [ENCODER.encode(WorkerHeartbeat(-4))],
        [msgspec.msgpack.encode({"type": "os.system", "command": "true"})],
    ]
    for parts in nonsense:
        worker.send_multipart(parts)
    nobody.send(ENCODER.encode(outcome))
    wait_until(lambda: broker.n_dropped() == len(nonsense) + 1, 20.0, "the count of what was dropped")
    reader = LedgerReader(broker.out)
    try:
        assert reader.counts().n_pending == 1
        for _ in range(3):
            worker.send(ENCODER.encode(outcome))
        wait_until(lambda: broker.n_dropped() == len(nonsense) + 3, 20.0, "the count of repetitions")
        counts = reader.counts()
        assert (counts.n_measured, counts.n_frames, reader.last_sequence()) == (1, 1, 1)
    finally:
        reader.close()


def test_a_giant_is_cut_off_and_the_others_are_heard(broker: RunningBroker, peers: Peers) -> None:
    peers.worker(task_identity(8)).send(b"x" * 1_000_000)
    peers.worker(task_identity(7)).send(b"nonsense")
    wait_until(lambda: broker.n_dropped() == 1, 20.0, "the message that is small enough")


def test_a_stranger_hears_nothing_and_a_false_broker_is_not_spoken_to(
    broker: RunningBroker, peers: Peers, tmp_path: Path
) -> None:
    keys = tmp_path / ".keys"
    public, secret = zmq.auth.load_certificate(keys / "client.key_secret")
    of_broker, _ = zmq.auth.load_certificate(keys / "broker.key")
    ears = []
    for mine in ((public, secret), zmq.curve_keypair()):
        ear = peers.socket(zmq.SUB, mine)
        ear.curve_serverkey = of_broker
        ear.subscribe(b"")
        ear.connect(broker.wire.publisher_endpoint)
        ears.append(ear)
    friend, stranger = ears
    assert friend.poll(10_000)
    assert not stranger.poll(600)
    false = peers.socket(zmq.ROUTER, zmq.curve_keypair())
    false.curve_server = True
    port = false.bind_to_random_port("tcp://127.0.0.1")
    worker = peers.worker(task_identity(7), f"tcp://127.0.0.1:{port}")
    worker.send(ENCODER.encode(WorkerReady(7, 2)))
    assert not false.poll(600)


def test_strangers_are_counted_and_logged_and_onlookers_are_no_workers(
    broker: RunningBroker, peers: Peers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / ".keys"
    of_broker, _ = zmq.auth.load_certificate(keys / "broker.key")
    client, worker = (zmq.auth.load_certificate(keys / f"{name}.key_secret") for name in ("client", "worker"))
    attempts: list[tuple[int, tuple[bytes, bytes | None] | None, bytes, str]] = [
        (zmq.DEALER, zmq.curve_keypair(), of_broker, broker.wire.router_endpoint),
        (zmq.DEALER, client, of_broker, broker.wire.router_endpoint),
        (zmq.DEALER, None, b"", broker.wire.router_endpoint),
        (zmq.DEALER, worker, zmq.curve_keypair()[0], broker.wire.router_endpoint),
        (zmq.SUB, worker, of_broker, broker.wire.publisher_endpoint),
    ]
    for kind, mine, theirs, endpoint in attempts:
        before = broker.n_refused()
        stranger = peers.socket(kind, mine)
        # It would go on trying.
        stranger.reconnect_ivl = -1
        if mine is not None:
            stranger.curve_serverkey = theirs
        stranger.identity = task_identity(7)
        stranger.connect(endpoint)
        if kind == zmq.DEALER:
            with suppress(zmq.Again):  # refused already
                stranger.send(ENCODER.encode(OUTCOME), zmq.NOBLOCK)
        wait_until(lambda before=before: broker.n_refused() > before, 20.0, "the count of strangers")  # type: ignore[misc]
    peers.worker(task_identity(7)).send(b"nonsense")
    wait_until(lambda: broker.n_dropped() == 1, 20.0, "the one that may speak")
    assert broker.n_refused() == len(attempts)
    assert "peers without the keys of the night were refused: 1 attempts so far" in caplog.text
    report = read_report(tmp_path)
    assert report.status is not None
    assert "strangers refused" in health_sentence(report.status)


def test_keys_are_for_their_owner_from_the_first_moment(tmp_path: Path) -> None:
    make_keys(tmp_path)
    for path in (tmp_path / ".keys", *(tmp_path / ".keys").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_bounds_leave_room_for_every_message_of_a_night() -> None:
    outcome = msgspec.structs.replace(OUTCOME, path="x" * 4096, frame_id=2**40)
    refused = FrameRejected(1, PATH, Reason.BAD_KEYWORD, "s" * 4000)
    for message in (outcome, refused):
        assert ENCODER.encode(FROM_WORKER.decode(ENCODER.encode(message))) == ENCODER.encode(message)
    assert outcome.has_whole_table()
    assert not msgspec.structs.replace(outcome, sources=outcome.sources + b"1").has_whole_table()
    error = ValueError("x" * 10**6)
    reply = answer_frame(BrokenMeasurer(error), AssignFrame(FrameToMeasure(3, PATH), "1:g", "v"))
    assert FROM_WORKER.decode(ENCODER.encode(reply)) == reply
    assert isinstance(reply, FrameRejected)
    assert len(reply.sentence) == 4000
