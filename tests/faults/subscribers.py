"""Onlookers of a running night, with its keys."""

from __future__ import annotations

from pathlib import Path

import zmq
import zmq.auth

from stream.night.wire import KEYS_FOLDER


def subscribe(
    context: zmq.Context[zmq.Socket[bytes]], out: Path, endpoint: str, *, most_queued: int = 1000
) -> zmq.Socket[bytes]:
    """A socket that is connected to what the night in `out` publishes, and has asked for nothing yet."""
    public, secret = zmq.auth.load_certificate(out / KEYS_FOLDER / "client.key_secret")
    broker, _ = zmq.auth.load_certificate(out / KEYS_FOLDER / "broker.key")
    subscriber: zmq.Socket[bytes] = context.socket(zmq.SUB)
    subscriber.curve_publickey, subscriber.curve_secretkey, subscriber.curve_serverkey = public, secret, broker
    subscriber.setsockopt(zmq.RCVHWM, most_queued)
    subscriber.connect(endpoint)
    return subscriber
