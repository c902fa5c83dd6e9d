"""Sockets between the processes of a night: on loopback, encrypted, both ends authenticated.

Keys are made anew whenever a night starts; who can read the folder of the night can read its keys, and nobody else.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

KEYS_FOLDER = ".keys"
_CLIENTS_FOLDER = "clients"
_BROKER, _CLIENT = "broker", "client"
_LOOPBACK = "tcp://127.0.0.1"
_LARGEST_MESSAGE_BYTES = 64 * 2**20
_LARGEST_SUBSCRIPTION_BYTES = 1024
_PUBLISHED_AHEAD = 10_000


def make_keys(out: Path) -> None:
    """Make the keys of broker and clients in ``OUT/.keys``, instead of those of an earlier run."""
    keys = out / KEYS_FOLDER
    if keys.exists():
        shutil.rmtree(keys)
    clients = keys / _CLIENTS_FOLDER
    # Shut before there is anything in it.
    keys.mkdir(mode=0o700)
    clients.mkdir(mode=0o700)
    for name in (_BROKER, _CLIENT):
        public, secret = zmq.auth.create_certificates(str(keys), name)
        for path in (public, secret):
            Path(path).chmod(0o600)
    # The broker's authenticator admits whoever has its public key in this folder.
    shutil.copy(keys / f"{_CLIENT}.key", clients)


class BrokerWire:
    """Sockets of the night process: a ROUTER for its workers and a PUB for everybody who looks on."""

    def __init__(self, out: Path) -> None:
        keys = out / KEYS_FOLDER
        self.context = zmq.Context()
        self._authenticator = ThreadAuthenticator(self.context)
        self._authenticator.start()
        self._authenticator.allow("127.0.0.1")
        self._authenticator.configure_curve(domain="*", location=str(keys / _CLIENTS_FOLDER))
        public, secret = zmq.auth.load_certificate(keys / f"{_BROKER}.key_secret")
        self.router: zmq.Socket[bytes] = self.context.socket(zmq.ROUTER)
        self.publisher: zmq.Socket[bytes] = self.context.socket(zmq.PUB)
        self.router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # Whoever sends more is cut off.
        self.router.setsockopt(zmq.MAXMSGSIZE, _LARGEST_MESSAGE_BYTES)
        self.publisher.setsockopt(zmq.MAXMSGSIZE, _LARGEST_SUBSCRIPTION_BYTES)
        self.publisher.setsockopt(zmq.SNDHWM, _PUBLISHED_AHEAD)
        for socket in (self.router, self.publisher):
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = public, secret
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
        self.router.close(linger=0)
        self.publisher.close(linger=200)
        self._authenticator.stop()
        self.context.term()


def connect_to_broker(
    context: zmq.Context[zmq.Socket[bytes]], out: Path, *, endpoint: str, identity: bytes
) -> zmq.Socket[bytes]:
    """Connect a DEALER to the broker of the night in `out`."""
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    keys = out / KEYS_FOLDER
    public, secret = zmq.auth.load_certificate(keys / f"{_CLIENT}.key_secret")
    broker, _ = zmq.auth.load_certificate(keys / f"{_BROKER}.key")
    if secret is None:
        raise ValueError(f"{keys / f'{_CLIENT}.key_secret'} holds no secret key")
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
