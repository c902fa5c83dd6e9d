"""Connections, websockets and lines of the log, of which there are only so many: who says too much loses his."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from bokeh.server.views.ws import WSHandler
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from server.door import Door, DoorCounts
from server.rates import Bucket, network_of

_BURST_S = 10.0
_BYTES_OF_A_MESSAGE = 16_384
_POLICY_VIOLATED = 1008
_WHOLE_PAGE, _WHOLE_PAGE_S = "PULL-DOC-REQ", 3.0
_QUESTIONS, _CHANGES = frozenset({_WHOLE_PAGE, "SERVER-INFO-REQ"}), "PATCH-DOC"
_KINDS_OF_CHANGES = frozenset({"ModelChanged", "MessageSent"})
_TOO_MUCH = "too many messages from this page"
_TOO_EARLY = "a message before the page was there"
_NONSENSE = "a message that makes no sense"

_UNREAD_S = 120.0
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it
_LONGEST_LINE, _MOST_LINES = 2000, 100

_log = logging.getLogger(__name__)


class ShortLines(logging.Formatter):
    """Lines of a log that nobody fills a disk with: a message may hold what a visitor sent."""

    def format(self, record: logging.LogRecord) -> str:
        """Cut what is too long, and leave out what is in the middle of too many lines."""
        lines = super().format(record).split("\n")
        if len(lines) > _MOST_LINES:
            lines = [*lines[: _MOST_LINES // 2], "...", *lines[-_MOST_LINES // 2 :]]
        return "\n".join(line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + "..." for line in lines)


class BoundedSocket(WSHandler):  # type: ignore[misc]  # bokeh is untyped here
    """Bokeh's websocket, which is closed where its page says more than a browser has to say."""

    def initialize(self, door: Door, buckets: WeakKeyDictionary[Any, Bucket], **given: Any) -> None:
        """Take the bounds; all sockets of one session draw on one bucket."""
        super().initialize(**given)
        self._door, self._buckets = door, buckets
        self._is_shut = False

    async def on_message(self, fragment: str | bytes) -> None:
        """Pass a message on, or close; what comes after that is thrown away unread."""
        if self._is_shut:
            return
        if self.connection is None or self.receiver is None:
            self._shut(_TOO_EARLY)
        elif not self._bucket().take(1.0 + len(fragment) / _BYTES_OF_A_MESSAGE, time.monotonic()):
            self._shut(_TOO_MUCH)
        else:
            await super().on_message(fragment)

    async def _handle(self, message: Any) -> Any:
        if not _is_of_a_browser(message):
            self._shut(_NONSENSE)
            return None
        # A whole page once more is some tenths of a second of the server's time; a browser asks for it once.
        cost = _WHOLE_PAGE_S * self._door.limits.messages_per_s
        if message.msgtype == _WHOLE_PAGE and not self._bucket().take(cost, time.monotonic()):
            self._shut(_TOO_MUCH)
            return None
        return await super()._handle(message)

    async def _receive(self, fragment: str | bytes) -> Any:
        try:
            return await self.receiver.consume(fragment)
        except Exception:  # noqa: BLE001  (whatever a stranger's bytes do to the parser; Bokeh would log all of them)
            self._shut(_NONSENSE)
            return None

    def _bucket(self) -> Bucket:
        per_s = self._door.limits.messages_per_s
        session = self.connection.session
        bucket = self._buckets.get(session)
        if bucket is None:
            bucket = self._buckets[session] = Bucket(per_s, _BURST_S * per_s, time.monotonic())
        return bucket

    def _shut(self, sentence: str) -> None:
        self._is_shut = True
        self._door.counts.n_shut_sockets += 1
        _log.warning("the websocket of a page at %s was closed: %s", self.request.remote_ip, sentence)
        self.close(_POLICY_VIOLATED, sentence)


def _is_of_a_browser(message: Any) -> bool:
    """Whether a browser says this: a program could put models into a page without end, or another page in its place."""
    if message.msgtype != _CHANGES:
        return message.msgtype in _QUESTIONS
    events = message.content.get("events") if isinstance(message.content, dict) else None
    return isinstance(events, list) and all(
        isinstance(event, dict) and event.get("kind") in _KINDS_OF_CHANGES for event in events
    )


class BoundedServer(HTTPServer):
    """An HTTP server with so many connections at a time and no more, of which one address gets half."""

    def initialize(self, *given: Any, connections: int = 600, counts: DoorCounts | None = None, **named: Any) -> None:
        """Take the bounds, and what tornado's own server takes."""
        super().initialize(*given, **named)
        self._most, self._counts = connections, counts or DoorCounts()
        self._open: dict[str, WeakSet[IOStream]] = {}

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> Any:
        """Begin to listen to a connection, or close it."""
        # A closed stream may still be referred to from somewhere.
        self._open = {
            name: kept
            for name, streams in self._open.items()
            if (kept := WeakSet(s for s in streams if not s.closed()))
        }
        mine = self._open.setdefault(network_of(str(address[0])), WeakSet())
        if len(mine) >= max(self._most // 2, 1) or sum(map(len, self._open.values())) >= self._most:
            self._counts.n_shut_connections += 1
            stream.close()
            return None
        mine.add(stream)
        if _USER_TIMEOUT is not None:
            # What was written for somebody who does not read it is kept no longer.
            stream.socket.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, round(1000.0 * _UNREAD_S))
        return super().handle_stream(stream, address)
