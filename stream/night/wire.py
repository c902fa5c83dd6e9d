"""Sockets between the processes of a night: on loopback, encrypted, both ends authenticated.

Keys are made anew whenever a night starts; who can read the folder of the night can read its keys, and nobody else.
Workers have a key of their own: with that of those who look on, nobody can answer for a worker.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import parse_monitor_message

KEYS_FOLDER = ".keys"
_BROKER, _WORKER, _CLIENT = "broker", "worker", "client"
_ADMITTED = {_WORKER: "workers", _CLIENT: "clients"}
"""Folder of the public keys that a socket lets in, by their holders; the name of the folder is the socket's domain."""
_LOOPBACK = "tcp://127.0.0.1"
_HANDSHAKE_MS = 10_000
_FAILED_HANDSHAKES = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_LOGGED_EVERY_S = 60.0
_LARGEST_MESSAGE_BYTES = 64 * 2**20
_LARGEST_SUBSCRIPTION_BYTES = 1024
_PUBLISHED_AHEAD = 10_000


_log = logging.getLogger(__name__)


def make_keys(out: Path) -> None:
    """Make the keys of broker, workers and clients in ``OUT/.keys``, instead of those of an earlier run.

    Workers answer for frames; clients only listen to what is published.
    """
    keys = out / KEYS_FOLDER
    if keys.exists():
        shutil.rmtree(keys)
    # Shut before there is anything in it.
    keys.mkdir(mode=0o700)
    for folder in _ADMITTED.values():
        (keys / folder).mkdir(mode=0o700)
    for name in (_BROKER, *_ADMITTED):
        public, secret = zmq.auth.create_certificates(str(keys), name)
        for path in (public, secret):
            Path(path).chmod(0o600)
    # The broker's authenticator admits whoever has its public key in such a folder.
    for name, folder in _ADMITTED.items():
        shutil.copy(keys / f"{name}.key", keys / folder)


class RefusedPeers:
    """Counts peers that sockets did not let in: without keys, or with others than those of the night.

    Who speaks no ZeroMQ at all is cut off by the library and not counted.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], sockets: Sequence[zmq.Socket[bytes]]) -> None:
        self._sockets = sockets
        self._ears: list[zmq.Socket[bytes]] = []
        self._n = 0
        self._n_logged, self._log_at_s = 0, 0.0
        for number, socket in enumerate(sockets):
            endpoint = f"inproc://refused-{number}"
            socket.monitor(endpoint, _FAILED_HANDSHAKES)
            ear: zmq.Socket[bytes] = context.socket(zmq.PAIR)
            # The library would wait where the night looks away for long and its queue is full.
            ear.rcvhwm = 0
            ear.connect(endpoint)
            self._ears.append(ear)

    def count(self) -> int:
        """How many attempts were refused so far; a peer that tries again counts again."""
        for ear in self._ears:
            while ear.poll(0):
                self._n += bool(parse_monitor_message(ear.recv_multipart())["event"] & _FAILED_HANDSHAKES)
        now_s = time.monotonic()
        if self._n > self._n_logged and now_s >= self._log_at_s:
            _log.warning("peers without the keys of the night were refused: %d attempts so far", self._n)
            self._n_logged, self._log_at_s = self._n, now_s + _LOGGED_EVERY_S
        return self._n

    def close(self) -> None:
        """Stop counting."""
        for socket, ear in zip(self._sockets, self._ears, strict=True):
            socket.disable_monitor()
            ear.close(linger=0)


class BrokerWire:
    """Sockets of the night process: a ROUTER for its workers and a PUB for everybody who looks on."""

    def __init__(self, out: Path) -> None:
        keys = out / KEYS_FOLDER
        self.context = zmq.Context()
        self._authenticator = ThreadAuthenticator(self.context)
        self._authenticator.start()
        self._authenticator.allow("127.0.0.1")
        for folder in _ADMITTED.values():
            self._authenticator.configure_curve(domain=folder, location=str(keys / folder))
        public, secret = zmq.auth.load_certificate(keys / f"{_BROKER}.key_secret")
        self.router: zmq.Socket[bytes] = self.context.socket(zmq.ROUTER)
        self.publisher: zmq.Socket[bytes] = self.context.socket(zmq.PUB)
        self.router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # Whoever sends more is cut off.
        self.router.setsockopt(zmq.MAXMSGSIZE, _LARGEST_MESSAGE_BYTES)
        self.publisher.setsockopt(zmq.MAXMSGSIZE, _LARGEST_SUBSCRIPTION_BYTES)
        self.publisher.setsockopt(zmq.SNDHWM, _PUBLISHED_AHEAD)
        self.refused = RefusedPeers(self.context, (self.router, self.publisher))
        for socket, holder in ((self.router, _WORKER), (self.publisher, _CLIENT)):
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = public, secret
            socket.setsockopt_string(zmq.ZAP_DOMAIN, _ADMITTED[holder])
            socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
            socket.linger = 0
            socket.bind(f"{_LOOPBACK}:*")

    @property
    def router_endpoint(self) -> str:
        """Where workers connect to."""
        return self.router.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def publisher_endpoint(self) -> str:
        """Where subscribers connect to."""
        return self.publisher.getsockopt_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        """Close all; what was not delivered yet is dropped."""
        self.refused.close()
        self.router.close(linger=0)
        self.publisher.close(linger=200)
        self._authenticator.stop()
        self.context.term()


def connect_to_broker(
    context: zmq.Context[zmq.Socket[bytes]], out: Path, *, endpoint: str, identity: bytes
) -> zmq.Socket[bytes]:
    """Connect a DEALER to the broker of the night in `out`, with the key of its workers."""
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    keys = out / KEYS_FOLDER
    public, secret = zmq.auth.load_certificate(keys / f"{_WORKER}.key_secret")
    broker, _ = zmq.auth.load_certificate(keys / f"{_BROKER}.key")
    if secret is None:
        raise ValueError(f"{keys / f'{_WORKER}.key_secret'} holds no secret key")
    socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = public, secret, broker
    socket.identity = identity
    socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST_MESSAGE_BYTES)
    socket.linger = 1000
    socket.connect(endpoint)
    return socket


def task_identity(pid: int) -> bytes:
    """Address of the worker with this process id."""
    return b"worker-%d" % pid


def heartbeat_identity(pid: int) -> bytes:
    """Address that a worker's signs of life come from; they have a socket of their own."""
    return b"heartbeat-%d" % pid


def pid_of(identity: bytes) -> int | None:
    """Process id behind an address; None if it is no worker's."""
    name, _, number = identity.partition(b"-")
    return int(number) if name in (b"worker", b"heartbeat") and number.isdigit() else None
