"""What one visitor may take of the page: messages, sockets, connections, time, and lines of the log."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from bokeh.document import Document
from bokeh.models import Div
from tornado.httpclient import HTTPRequest
from tornado.iostream import IOStream, StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from server import bounded, web_server
from server.bounded import ShortLines
from server.nights import Nights
from stream.errors import ConfigurationError
from stream.page_options import Limits, PageAccess, page_limits
from tests.night.waiting import wait_until
from tests.server.door_server import DoorServer, door_server
from tests.server.fake_night import FakeNight

LIMITS = Limits(messages_per_s=3.0, burst=100_000.0, connections=40)
ASK = ('{"msgid":"1","msgtype":"SERVER-INFO-REQ"}', "{}", "{}")
PULL = ('{"msgid":"1","msgtype":"PULL-DOC-REQ"}', "{}", "{}")
DEEP = "[" * 200_000


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bounds") / "night"
    written = FakeNight(out)
    written.advance(10)
    written.finish()
    return out


@pytest.fixture(scope="module")
def server(night: Path) -> Iterator[DoorServer]:
    # The page itself takes half a second to build, and is not what is bounded here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web_server, "make_document", empty_page)
        with door_server(night, access=PageAccess(), tokens=None, limits=LIMITS) as running:
            yield running


def empty_page(document: Document, nights: Nights) -> None:
    """A page with one word on it."""
    document.add_root(Div(text=nights.place.name))


def page_token(server: DoorServer) -> str:
    """What joins the session of a page that was just opened."""
    found = re.search(rb'"token":"([^"]+)"', server.ask("/").content)
    assert found is not None
    return found[1].decode()


@asynccontextmanager
async def joined(server: DoorServer, token: str) -> AsyncIterator[WebSocketClientConnection]:
    """The websocket of a page, once it was answered."""
    request = HTTPRequest(f"ws://localhost:{server.port}/ws", headers={"Origin": f"http://localhost:{server.port}"})
    made = await websocket_connect(request, subprotocols=["bokeh", token])
    try:
        await hear(made, 3)
        yield made
    finally:
        made.close()
        # The end is told once.
        while made.close_code is None and await asyncio.wait_for(made.read_message(), 20.0) is not None:
            pass


async def hear(made: WebSocketClientConnection, n_messages: int) -> None:
    """Wait for so many messages."""
    for _ in range(n_messages):
        assert await asyncio.wait_for(made.read_message(), 20.0) is not None


async def say(made: WebSocketClientConnection, messages: Sequence[str]) -> None:
    """Say all of that, or as much as one is let."""
    with suppress(WebSocketClosedError, StreamClosedError):
        for message in messages:
            await made.write_message(message)


async def heard_until_shut(made: WebSocketClientConnection) -> int:
    """How many messages came before the end."""
    for n_heard in range(10_000):
        if await asyncio.wait_for(made.read_message(), 20.0) is None:
            return n_heard
    raise AssertionError("the socket was not closed")


def figure(server: DoorServer, name: str) -> float:
    """One figure of ``/metrics``."""
    found = re.search(rf"^opticam_live_{name} (\S+)$", server.ask("/metrics").content.decode(), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_a_page_that_says_too_much_is_shut_and_counted(server: DoorServer, caplog: pytest.LogCaptureFixture) -> None:
    async def flood() -> tuple[int, int | None, str | None]:
        token = page_token(server)
        async with joined(server, token) as first, joined(server, token) as second:
            # Both draw on the bucket of their session: thirty pieces, three a message.
            await say(second, ASK * 4)
            await hear(second, 3 * 4)
            await say(first, ASK * 50)
            n_heard = await heard_until_shut(first)
            async with joined(server, page_token(server)) as other:
                await say(other, ASK)
                await hear(other, 3)
            return n_heard, first.close_code, first.close_reason

    before = figure(server, "page_shut_sockets_total")
    n_heard, code, reason = asyncio.run(flood())
    assert 3 * 4 <= n_heard <= 3 * 8
    assert (code, reason) == (1008, "too many messages from this page")
    assert figure(server, "page_shut_sockets_total") == before + 1
    assert "the websocket of a page at 127.0.0.1 was closed: too many messages" in caplog.text


def test_the_whole_page_is_not_sent_again_and_again(server: DoorServer) -> None:
    async def ask() -> str | None:
        async with joined(server, page_token(server)) as made:
            await say(made, PULL * 20)
            await heard_until_shut(made)
            return made.close_reason

    assert asyncio.run(ask()) == "too many messages from this page"


def test_large_messages_count_more(server: DoorServer) -> None:
    async def flood() -> str | None:
        async with joined(server, page_token(server)) as made:
            await say(made, ["x" * 600_000])
            await heard_until_shut(made)
            return made.close_reason

    assert asyncio.run(flood()) == "too many messages from this page"


def test_a_session_has_so_many_sockets_and_no_more(server: DoorServer) -> None:
    token = page_token(server)

    async def crowd() -> int:
        async with AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(joined(server, token))
            return await asyncio.to_thread(server.join, token)

    assert asyncio.run(crowd()) == 503


@pytest.mark.parametrize(
    "messages",
    [
        ('{"msgid":"1","msgtype":"PUSH-DOC"}', "{}", '{"doc":{"roots":[],"title":"mine","version":"3"}}'),
        ('{"msgid":"1","msgtype":"PATCH-DOC"}', "{}", '{"events":[{"kind":"RootAdded","model":{}}]}'),
        ('{"msgid":"1","msgtype":"PATCH-DOC"}', "{}", '{"events":[{"kind":"TitleChanged","title":"mine"}]}'),
        ('{"msgid":"1","msgtype":"PATCH-DOC"}', "{}", '{"events":[5]}'),
        ('{"msgid":"1","msgtype":"PATCH-DOC"}', "{}", "[]"),
        ('{"msgid":"1","msgtype":"OK"}', "{}", "{}"),
    ],
)
def test_what_no_browser_says_shuts_the_socket(server: DoorServer, messages: tuple[str, ...]) -> None:
    async def talk() -> str | None:
        async with joined(server, page_token(server)) as made:
            await say(made, messages)
            await heard_until_shut(made)
            return made.close_reason

    assert asyncio.run(talk()) == "a message that makes no sense"
    assert all(session.document.title != "mine" for session in server.sessions())


@pytest.mark.parametrize(
    "nonsense", [DEEP, '{"msgid":' + DEEP, "{}", "\x00" * 100_000], ids=["deep", "deeper", "empty", "bytes"]
)
def test_nonsense_shuts_its_own_socket_with_a_short_line(
    server: DoorServer, caplog: pytest.LogCaptureFixture, nonsense: str
) -> None:
    async def talk() -> str | None:
        async with joined(server, page_token(server)) as made:
            await say(made, [nonsense] * 3)
            await heard_until_shut(made)
            return made.close_reason

    with caplog.at_level(logging.INFO):
        reason = asyncio.run(talk())
    assert reason in ("a message that makes no sense", "too many messages from this page")
    assert server.ask("/api/openapi.json").status == 200
    assert sum(len(record.getMessage()) for record in caplog.records) < 3000
    assert not any(record.exc_info for record in caplog.records)


def test_a_line_of_the_log_has_an_end() -> None:
    try:
        raise ValueError("\n".join("y" * 10_000 for _ in range(500)))
    except ValueError:
        record = logging.LogRecord("page", logging.ERROR, "", 1, "%r", ("x" * 10**6,), sys.exc_info())
    lines = ShortLines("%(levelname)s %(message)s").format(record).split("\n")
    assert lines[0].startswith("ERROR 'xxx")
    assert lines[0].endswith("xxx...")
    assert len(lines) <= 101
    assert max(map(len, lines)) <= 2003


def test_one_address_gets_half_of_the_connections(server: DoorServer) -> None:
    counts = server.application._door.counts
    silent = [socket.create_connection(("127.0.0.1", server.port), 10.0) for _ in range(20)]
    try:
        wait_until(lambda: shuts_at_once(server), 20.0, "a connection too many")
        assert counts.n_shut_connections > 0
    finally:
        for each in silent:
            each.close()
    wait_until(lambda: not shuts_at_once(server), 20.0, "room again")
    assert figure(server, "page_shut_connections_total") == counts.n_shut_connections


def shuts_at_once(server: DoorServer) -> bool:
    """Whether a connection is closed without an answer to what it asks."""
    with closing(socket.create_connection(("127.0.0.1", server.port), 10.0)) as asking:
        try:
            asking.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return asking.recv(100) == b""
        except ConnectionError:
            return True


def test_who_takes_his_time_over_a_request_is_left(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "_IDLE_CONNECTION_S", 0.5)
    with (
        door_server(night, access=PageAccess(), tokens=None) as server,
        closing(socket.create_connection(("127.0.0.1", server.port), 10.0)) as slow,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert slow.recv(100) == b""


def test_what_nobody_reads_is_not_kept(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if bounded._USER_TIMEOUT is None:
        pytest.skip("this system has no TCP_USER_TIMEOUT")
    monkeypatch.setattr(bounded, "_UNREAD_S", 0.3)
    streams: list[IOStream] = []
    begin = bounded.BoundedServer.handle_stream

    def noted(self: bounded.BoundedServer, stream: IOStream, address: tuple[Any, ...]) -> Any:
        streams.append(stream)
        return begin(self, stream, address)

    monkeypatch.setattr(bounded.BoundedServer, "handle_stream", noted)
    with (
        door_server(night, access=PageAccess(), tokens=None) as server,
        closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as deaf,
    ):
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.port))
        # Many MB, more than the system keeps between the two.
        deaf.sendall(b"GET /static/js/bokeh.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        wait_until(lambda: bool(streams) and streams[0].writing(), 20.0, "what cannot be sent")
        wait_until(lambda: streams[0].closed(), 20.0, "the end of the connection")


@pytest.mark.parametrize("request_line", ["GET /api/night?night=" + "x" * 10**7, "GET /" + "../" * 10**6])
def test_an_endless_address_is_not_read_to_its_end(server: DoorServer, request_line: str) -> None:
    with closing(socket.create_connection(("127.0.0.1", server.port), 10.0)) as asking:
        try:
            asking.sendall(f"{request_line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            said = asking.recv(100)
        except ConnectionError:
            said = b""
    assert not said.startswith(b"HTTP/1.1 200")
    assert server.ask("/api/openapi.json").status == 200


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["pages=3"], r"page limit 'pages=3' must be NAME=VALUE with one of requests_per_s, .*sessions"),
        (["sessions"], r"page limit 'sessions' must be NAME=VALUE"),
        (["sessions=many"], r"page limit sessions=many: .*sessions"),
        (["sessions=0"], r"page limit sessions=0: .*>= 1"),
        (["requests_per_s=-1"], r"page limit requests_per_s=-1: .*> 0"),
        (["requests_per_s=nan"], r"page limit requests_per_s=nan"),
    ],
)
def test_limits_that_cannot_be_are_one_sentence(texts: list[str], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        PageAccess(limits=tuple(texts)).check()


def test_limits_that_are_meant_are_taken() -> None:
    access = PageAccess(limits=("sessions=200", "requests_per_s=12.5"))
    access.check()
    assert access.words()[-4:] == ["--limit", "sessions=200", "--limit", "requests_per_s=12.5"]
    limits = page_limits(access.limits)
    assert (limits.sessions, limits.requests_per_s, limits.streams) == (200, 12.5, Limits().streams)
