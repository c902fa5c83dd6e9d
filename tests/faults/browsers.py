"""Browsers that open the page of a night and never read what they are sent."""

from __future__ import annotations

import base64
import json
import re
import secrets
import socket
import struct
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.night.waiting import wait_until

_TOKEN = re.compile(r'"token":"([^"]+)"')
_ASK = (json.dumps({"msgid": "1", "msgtype": "PULL-DOC-REQ"}), "{}", "{}")
_SMALL_BYTES = 4096
_TIMEOUT_S = 30.0


@contextmanager
def deaf_browsers(address: str, number: int) -> Iterator[list[socket.socket]]:
    """So many browsers that ask for the page at `address`, join its websocket, and read nothing any more."""
    with ExitStack() as stack:
        yield [stack.enter_context(_deaf_browser(address)) for _ in range(number)]


def n_stuck(browsers: list[socket.socket]) -> int:
    """Of how many the server has something that it cannot get rid of."""
    ports = {browser.getsockname()[1] for browser in browsers}
    found = 0
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, _, remote, _, queues, *_ = line.split()
        found += int(remote.rpartition(":")[2], 16) in ports and int(queues.partition(":")[0], 16) > 0
    return found


def _deaf_browser(address: str) -> socket.socket:
    with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
        token = _TOKEN.search(answer.read().decode())
    if token is None:
        raise AssertionError(f"{address} answers without a session")
    host = urlsplit(address).netloc
    browser = socket.socket()
    # As little as the system gives, so that the server has the rest.
    browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BYTES)
    browser.settimeout(_TIMEOUT_S)
    browser.connect(("127.0.0.1", int(host.rpartition(":")[2])))
    lines = (
        "GET /ws HTTP/1.1",
        f"Host: {host}",
        f"Origin: http://{host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: bokeh, {token[1]}",
    )
    browser.sendall("\r\n".join((*lines, "", "")).encode())
    _wait_for_first_words(browser)
    for part in _ASK:
        browser.sendall(_masked(part.encode()))
    return browser


def _wait_for_first_words(browser: socket.socket) -> None:
    """Read until the server has acknowledged the session; what follows is never read."""
    heard = bytearray()

    def is_greeted() -> bool:
        heard.extend(browser.recv(1))
        while b"ACK" not in heard and (more := browser.recv(1)):
            heard.extend(more)
        return b"ACK" in heard

    wait_until(is_greeted, _TIMEOUT_S, "the greeting of the page")
    if not heard.startswith(b"HTTP/1.1 101"):
        raise AssertionError(f"the websocket was refused: {heard.decode().splitlines()[0]}")


def _masked(content: bytes) -> bytes:
    """One whole text message as a browser sends it, with a mask of zeros."""
    length = (
        bytes([0x80 | len(content)]) if len(content) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(content))
    )
    return b"\x81" + length + bytes(4) + content
