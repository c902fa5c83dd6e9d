"""A server of the page within the process of the test, so that it sees sessions too, and requests of every kind."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tornado.ioloop import IOLoop

from server.nights import Nights
from server.tokens import Tokens
from server.visitor import Role
from server.web_server import make_server
from stream.page_options import Limits, PageAccess
from tests.server.fake_night import FakeNight

TOKENS = Tokens(control="c" * 43, watch="w" * 43)
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    def sentence(self) -> str:
        """Why it was refused."""
        return str(json.loads(self.content)["error"])


@dataclass(slots=True)
class DoorServer:
    """The server, its port, and the loop that it runs on."""

    port: int
    application: Any
    loop: IOLoop
    nights: Nights
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def ask(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        """Send one request, with headers whose underscores are hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20.0)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def listen(self, path: str) -> int:
        """Ask for what never ends, and leave it open; returns the status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20.0)
        self.connections.append(connection)
        connection.request("GET", path)
        return connection.getresponse().status

    def join(self, session_token: str, **headers: str) -> int:
        """Status of the handshake of a websocket: 101 where it is let in."""
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        upgrade |= {
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Protocol": f"bokeh, {session_token}",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20.0)
        try:
            connection.request(
                "GET", "/ws", headers=upgrade | {name.replace("_", "-"): t for name, t in headers.items()}
            )
            return connection.getresponse().status
        finally:
            connection.close()

    def cookie(self, role: Role) -> str:
        """The header of a browser that was let in before."""
        return f"opticam-live-access-{self.port}={TOKENS.cookie(role)}"

    def sessions(self) -> list[Any]:
        """The sessions of Bokeh."""
        return [session for context in self.application.applications.values() for session in context.sessions]

    def with_document(self, session: Any, work: Callable[[Any], _Found]) -> _Found:
        """Do something with the document of a session, as its own callbacks do: on the loop, under its lock."""
        done: Future[_Found] = Future()

        async def carry_out() -> None:
            try:
                await session.with_document_locked(lambda: done.set_result(work(session.document)))
            except Exception as error:  # noqa: BLE001  (the test gets it)
                done.set_exception(error)

        self.loop.add_callback(carry_out)
        return done.result(20.0)


def addresses(server: DoorServer) -> list[str]:
    """One address for each pattern that the application answers."""
    found = []
    for outer in server.application.default_router.rules:
        for rule in outer.target.rules:
            pattern = rule.matcher.regex.pattern.removesuffix("$").replace("/?", "/")
            found.append(re.sub(r"\([^)]*\)", "1", pattern.replace(r"\.", ".")))
    known = {"/static/1": "/static/js/bokeh.min.js", "/api/light_curve/1/1": "/api/light_curve/1:g/1"}
    return sorted({known.get(path, path) for path in found})


def assert_guarded(answer: Answer) -> None:
    """Every answer bears the headers, whatever it says."""
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Cache-Control" in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Server" not in answer.headers


@contextmanager
def door_server(
    out: Path, *, access: PageAccess | None = None, tokens: Tokens | None = TOKENS, limits: Limits | None = None
) -> Iterator[DoorServer]:
    """Serve the page of `out` on a free port of loopback, on a thread of its own."""
    ready: Future[DoorServer] = Future()
    nights = Nights(out)

    def run() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        loop = IOLoop.current()
        try:
            server, port = make_server(nights, 0, access=access or PageAccess(token=True), tokens=tokens, limits=limits)
        except Exception as error:  # noqa: BLE001  (the test gets it)
            ready.set_exception(error)
            return
        server.start()
        loop.add_callback(lambda: ready.set_result(DoorServer(port, server._tornado, loop, nights)))
        loop.start()
        server.stop(wait=False)
        server._http.stop()
        loop.close(all_fds=True)

    thread = threading.Thread(target=run, name="door")
    thread.start()
    try:
        running = ready.result(20.0)
        try:
            yield running
        finally:
            for connection in running.connections:
                connection.close()
            running.loop.add_callback(running.loop.stop)
    finally:
        thread.join(20.0)
        nights.close()


def finished_night(folder: Path) -> Path:
    """A night of thirty frames a key, which nobody reduces any more."""
    out = folder / "night"
    written = FakeNight(out)
    written.advance(30)
    written.finish()
    return out
