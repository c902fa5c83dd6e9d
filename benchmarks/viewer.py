"""Somebody who looks at the page of a night, without a browser: takes all that the server sends, and draws nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType

from bokeh.protocol import Protocol
from bokeh.util.token import generate_jwt_token, generate_session_id
from tornado.httpclient import HTTPError
from tornado.websocket import WebSocketClientConnection, WebSocketError, websocket_connect

from benchmarks.running import wait_until
from stream.errors import NightError

_APART_S = 0.02
"""What arrives within so many seconds is of one refresh."""
_START_S = 60.0
_FIRST_MESSAGES = 2  # the page, and the first change of it
_LARGEST_MESSAGE_BYTES = 256 * 2**20


class Viewer:
    """A session of the page at `address`, on a thread of its own; `n_refreshes` counts since `count_anew`."""

    def __init__(self, address: str) -> None:
        self._url = f"ws{address.removeprefix('http')}ws"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)
        self._connection: WebSocketClientConnection | None = None
        self._last_s = 0.0
        self._failure: Exception | None = None
        self.n_refreshes = 0

    def __enter__(self) -> Viewer:
        self._thread.start()
        wait_until(self._is_shown, _START_S, "the page to send itself to a viewer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._leave)
        self._thread.join(_START_S)

    def count_anew(self) -> None:
        """Forget the refreshes so far."""
        self.n_refreshes = 0

    def _is_shown(self) -> bool:
        if self._failure is not None:
            raise NightError(f"the page at {self._url} cannot be looked at: {self._failure}") from self._failure
        return self.n_refreshes >= _FIRST_MESSAGES

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._look())
        except (OSError, WebSocketError, HTTPError) as error:
            self._failure = error
        finally:
            self._loop.close()

    async def _look(self) -> None:
        token = generate_jwt_token(generate_session_id())
        self._connection = await websocket_connect(
            self._url, subprotocols=["bokeh", token], max_message_size=_LARGEST_MESSAGE_BYTES
        )
        await self._connection.read_message()  # the server says that it is ready; what came before is lost
        request = Protocol().create("PULL-DOC-REQ")
        for part in (request.header_json, request.metadata_json, request.content_json):
            await self._connection.write_message(part)
        while await self._connection.read_message() is not None:
            now_s = time.monotonic()
            self.n_refreshes += now_s - self._last_s > _APART_S
            self._last_s = now_s

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
