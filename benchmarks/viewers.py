"""Viewers of a page that draw nothing: each holds a session of the server and takes what a browser would be sent."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from types import TracebackType

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from stream.errors import NightError

_TOKEN = re.compile(r'"token":"([^"]+)"')
_ASK = (json.dumps({"msgid": "1", "msgtype": "PULL-DOC-REQ"}), "{}", "{}")
_REPLY = "PULL-DOC-REPLY"
_ID = r'"id":"(p\d+)","attributes":\{"name":"%s"'
_BEAT = r'"id":"%s"\},"attr":"value","new":"(\d+)"'
_START_S = 90.0
_LARGEST_BYTES = 64 * 2**20


class Viewers:
    """So many sessions on one page, on a thread of their own, while the block lasts.

    Parameters
    ----------
    address : str
        Of the page.
    number : int
    """

    def __init__(self, address: str, number: int) -> None:
        self._address, self._number = address, number
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="viewers", daemon=True)
        self._open = threading.Event()
        self._problem: Exception | None = None
        self._connections: list[WebSocketClientConnection] = []
        self._listeners: list[asyncio.Future[None]] = []
        self.n_bytes = 0
        """What all of them were sent."""
        self.n_updates = 0
        """Updates that all of them took."""
        self.n_lost = 0
        """Connections that ended by themselves."""

    def __enter__(self) -> Viewers:
        self._thread.start()
        if not self._open.wait(_START_S) or self._problem is not None:
            raise NightError(f"{self._number} viewers could not be connected to {self._address}: {self._problem}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._connect())
        except Exception as error:  # noqa: BLE001 it is raised where the block begins
            self._problem = error
        self._open.set()
        self._loop.run_forever()
        for connection in self._connections:
            connection.close()

    async def _connect(self) -> None:
        client = AsyncHTTPClient()
        for _ in range(self._number):
            answer = await client.fetch(self._address, request_timeout=_START_S)
            token = _TOKEN.search(answer.body.decode())
            if token is None:
                raise NightError(f"{self._address} answers without a session")
            request = HTTPRequest(
                self._address.replace("http", "ws", 1) + "ws", headers={"Origin": self._address.rstrip("/")}
            )
            connection = await websocket_connect(
                request, subprotocols=["bokeh", token[1]], max_message_size=_LARGEST_BYTES
            )
            await connection.read_message()
            for part in _ASK:
                await connection.write_message(part)
            while (header := await connection.read_message()) is not None and _REPLY not in str(header):
                pass
            document = [str(await connection.read_message()) for _ in range(2)][1]
            self._connections.append(connection)
            ids = [found[1] if (found := re.search(_ID % name, document)) else "" for name in ("beat", "echo")]
            self._listeners.append(asyncio.ensure_future(self._listen(connection, *ids)))

    async def _listen(self, connection: WebSocketClientConnection, beat: str, echo: str) -> None:
        """Take what is sent and say at once that it is drawn."""
        beats = re.compile(_BEAT % beat)
        while (message := await connection.read_message()) is not None:
            self.n_bytes += len(message)
            found = beats.search(str(message))
            if found is not None:
                self.n_updates += 1
                event = {"kind": "ModelChanged", "model": {"id": echo}, "attr": "value", "new": found[1]}
                for part in ({"msgid": f"e{self.n_updates}", "msgtype": "PATCH-DOC"}, {}, {"events": [event]}):
                    await connection.write_message(json.dumps(part))
        self.n_lost += 1
