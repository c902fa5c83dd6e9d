"""Keys, locks and workers' answers: who gets in, who has to wait, and what an error becomes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq
import zmq.auth

from stream.errors import FrameIncompleteError, FrameRejectedError, LedgerError, NightError, Reason
from stream.messages import (
    ENCODER,
    FROM_WORKER,
    AssignFrame,
    BuildCatalog,
    Catalog,
    CatalogNotBuilt,
    CatalogReply,
    FrameRejected,
    FrameReply,
    FrameToMeasure,
    WorkerReady,
)
from stream.night.broker_events import BrokerCounts
from stream.night.monitor import Monitor
from stream.night.night_folder import NightFolder, RunFile, read_run_file, refuse_network_file_system
from stream.night.wire import BrokerWire, connect_to_broker, make_keys, pid_of, task_identity
from stream.night.worker import answer_build, answer_frame


def test_only_who_has_the_keys_of_the_night_is_heard(tmp_path: Path) -> None:
    make_keys(tmp_path)
    wire = BrokerWire(tmp_path)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stranger: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
    stranger.curve_serverkey, _ = zmq.auth.load_certificate(tmp_path / ".keys" / "broker.key")
    plain: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    friend = connect_to_broker(context, tmp_path, endpoint=wire.router_endpoint, identity=task_identity(7))
    for socket, text in ((stranger, b"stranger"), (plain, b"plain")):
        socket.linger = 0
        socket.connect(wire.router_endpoint)
        socket.send(text)
    friend.send(ENCODER.encode(WorkerReady(7, 2)))
    assert wire.router.poll(5000)
    identity, message = wire.router.recv_multipart()
    assert (pid_of(identity), FROM_WORKER.decode(message)) == (7, WorkerReady(7, 2))
    assert not wire.router.poll(300)
    for socket in (stranger, plain, friend):
        socket.close(linger=0)
    context.term()
    wire.close()


def test_keys_are_for_their_owner_and_new_every_time(tmp_path: Path) -> None:
    make_keys(tmp_path)
    secret = tmp_path / ".keys" / "client.key_secret"
    before = secret.read_text()
    assert stat.S_IMODE((tmp_path / ".keys").stat().st_mode) == 0o700
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    make_keys(tmp_path)
    assert secret.read_text() != before


@pytest.mark.parametrize("identity", [b"", b"worker", b"worker-x", b"subscriber-7", b"\x00\x01"])
def test_addresses_of_nobody(identity: bytes) -> None:
    assert pid_of(identity) is None


def test_a_folder_is_held_by_one_night_at_a_time(tmp_path: Path) -> None:
    with NightFolder(tmp_path / "out") as first:
        run = RunFile(os.getpid(), "/frames", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
        first.write_run_file(run)
        assert read_run_file(tmp_path / "out") == run
        with pytest.raises(NightError, match=f"is in use by a running night, process {os.getpid()}"):
            NightFolder(tmp_path / "out")
        assert read_run_file(tmp_path / "out") == run
    with pytest.raises(NightError, match=r"no night is running in .*: there is no night\.run\.json"):
        read_run_file(tmp_path / "out")
    NightFolder(tmp_path / "out").close()


def test_network_file_systems_are_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\nserver:/data /data nfs4 rw 0 0\n/dev/sdb /data/local\\040disk ext4 rw 0 0\n"
    )
    refuse_network_file_system(Path("/home/night"), mounts)
    refuse_network_file_system(Path("/data/local disk/out"), mounts)
    with pytest.raises(LedgerError, match=r"/data/night lies on a network file system \(nfs4 at /data\).*a local disk"):
        refuse_network_file_system(Path("/data/night"), mounts)


class BrokenMeasurer:
    """Raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def use_catalog(self, catalog: Catalog) -> None:
        raise self._error

    def use_calibration(self) -> None:
        raise self._error

    def measure(self, assignment: AssignFrame) -> FrameReply:
        raise self._error

    def build(self, request: BuildCatalog) -> CatalogReply:
        raise self._error

    def leave_picture(self, version: str) -> bool:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason", "sentence"),
    [
        (FrameRejectedError(Reason.BAD_TIME, "a.fit has no time"), Reason.BAD_TIME, "a.fit has no time"),
        (FrameIncompleteError("a.fit holds 3 of 5 bytes"), Reason.TRUNCATED, "a.fit holds 3 of 5 bytes"),
        (
            ZeroDivisionError("division\nby zero"),
            Reason.INTERNAL_ERROR,
            "a.fit: an error in opticam-live itself, ZeroDivisionError: division by zero",
        ),
    ],
)
def test_whatever_goes_wrong_over_a_frame_is_its_rejection(error: Exception, reason: Reason, sentence: str) -> None:
    reply = answer_frame(BrokenMeasurer(error), AssignFrame(FrameToMeasure(3, "a.fit"), "1:g", "v"))
    assert reply == FrameRejected(3, "a.fit", reason, sentence, "1:g")


def test_whatever_goes_wrong_over_a_catalog_leaves_its_frames() -> None:
    reply = answer_build(BrokenMeasurer(ValueError("no")), BuildCatalog("1:g", ()))
    assert reply == CatalogNotBuilt("1:g", "catalog of 1:g: an error in opticam-live itself, ValueError: no", ())


def test_the_monitor_counts_rates_and_lag_and_sees_a_standstill() -> None:
    monitor = Monitor(started_s=100.0, n_measured=5)
    busy, idle = BrokerCounts(0, 1, 1, 2), BrokerCounts(3, 0, 0, 2)
    for number in range(20):
        monitor.note_arrival(number, 1000.0)
    for number in range(20):
        monitor.note_commit([number], n_measured=number % 2, now_s=101.0 + 0.1 * number, unix_s=1000.05)
    status = monitor.status(busy, now_s=104.0, unix_s=1004.0)
    assert (status.state, status.n_measured, status.n_rejected) == ("live", 15, 10)
    assert status.frames_per_s == pytest.approx(20 / 4.0)
    assert status.lag_s == pytest.approx(0.05)
    assert status.last_frame_unix_s == 1000.0
    assert monitor.status(busy, now_s=118.1, unix_s=0.0).state == "stalled"
    assert monitor.status(busy, now_s=118.1, unix_s=0.0).frames_per_s == 0.0
    assert monitor.status(idle, now_s=119.0, unix_s=0.0).state == "live"
    assert monitor.status(busy, now_s=120.0, unix_s=0.0).state == "live"
