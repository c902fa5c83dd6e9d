"""The live side of a night: what its broker publishes, heard over ZeroMQ with the keys of the night.

For display only. A message may be lost, and then the ledger has it.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import msgspec
import zmq
import zmq.auth

from stream.messages import PUBLISHED, CatalogBuilt, FrameMeasured, FrameRejected, NightStatus

Heard = FrameMeasured | FrameRejected | CatalogBuilt | NightStatus

RUN_FILE = "night.run.json"
KEYS_FOLDER = ".keys"
_PID_FIELD, _PUBLISHER_FIELD = "pid", "publisher"
_CLIENT_KEY, _BROKER_KEY = "client.key_secret", "broker.key"
_HIGH_WATER_MARK = 10_000
_MOST_AT_ONCE = 2000
_LARGEST_MESSAGE_BYTES = 64 * 2**20

_log = logging.getLogger(__name__)


class Subscription:
    """A subscriber to the night of `out`; connects, and connects again, as the night comes and goes."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._night: tuple[int, str] | None = None
        self._poller = zmq.Poller()

    @property
    def is_connected(self) -> bool:
        """Whether a running night was found; not whether it still speaks."""
        return self._socket is not None

    def look(self) -> None:
        """Follow the night's run file: connect when it appears or changes, disconnect when it is gone."""
        night = self._find_night()
        if night == self._night:
            return
        self._disconnect()
        if night is not None:
            self._connect(night)

    def receive(self, timeout_s: float) -> list[Heard]:
        """Wait for messages and return all that are there; empty after `timeout_s` seconds of silence."""
        if self._socket is None or not self._poller.poll(round(1000.0 * timeout_s)):
            return []
        heard: list[Heard] = []
        while len(heard) < _MOST_AT_ONCE:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                heard.append(PUBLISHED.decode(parts[-1]))
            except msgspec.DecodeError as error:
                _log.warning("a message on topic %r cannot be read: %s", parts[0], error)
        return heard

    def close(self) -> None:
        """Leave; safe to call twice."""
        self._disconnect()
        self._context.term()

    def _find_night(self) -> tuple[int, str] | None:
        """Process and endpoint: a night that was started again has new keys, maybe at the same endpoint."""
        try:
            content = json.loads((self._out / RUN_FILE).read_text(encoding="utf-8"))
            return int(content[_PID_FIELD]), str(content[_PUBLISHER_FIELD])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s of %s cannot be read: %s", RUN_FILE, self._out, error)
            return None

    def _connect(self, night: tuple[int, str]) -> None:
        keys = self._out / KEYS_FOLDER
        try:
            public, secret = zmq.auth.load_certificate(keys / _CLIENT_KEY)
            broker, _ = zmq.auth.load_certificate(keys / _BROKER_KEY)
        except (OSError, ValueError) as error:
            # The ledger alone shows everything, a second later.
            _log.warning("keys of the night in %s cannot be read: %s", keys, error)
            return
        subscriber = self._context.socket(zmq.SUB)
        subscriber.linger = 0
        subscriber.rcvhwm = _HIGH_WATER_MARK
        subscriber.setsockopt(zmq.MAXMSGSIZE, _LARGEST_MESSAGE_BYTES)
        subscriber.curve_publickey, subscriber.curve_secretkey = public, secret
        subscriber.curve_serverkey = broker
        subscriber.subscribe(b"")
        subscriber.connect(night[1])
        self._poller.register(subscriber, zmq.POLLIN)
        self._socket, self._night = subscriber, night

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._poller.unregister(self._socket)
            self._socket.close(linger=0)
        self._socket, self._night = None, None
