"""The page's server: an address, the feed, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.settings import settings
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from server.api import routes
from server.nights import Nights
from server.page import make_document
from stream.errors import ConfigurationError, LedgerError
from stream.night.ledger import LedgerReader
from stream.processes import end_with_parent, holder_of, on_stop_signals

LOOPBACK_HOSTS = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1"}
_LEDGER_WAIT_S = 10.0
_LOOK_INTERVAL_S = 0.2
_UNUSED_SESSION_MS = 15_000
_ORDERLY_END_S = 3.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page is served; port 0 takes any that is free."""

    host: str = "localhost"
    port: int = 5006


def serve(out: Path, address: Address, announce: Callable[[str], None], *, parent: int | None = None) -> None:
    """Serve the page of the night in `out` until SIGINT, SIGTERM or SIGHUP; `announce` is called with its address.

    Parameters
    ----------
    out : Path
        Folder of a night, or a folder with nights below it: then the page begins with their list.
    parent : int, optional
        The night process that started this one: the page ends when it is gone, however it ended.

    Raises
    ------
    ConfigurationError
        If the host is not a loopback one, or the port is in use or out of range.
    LedgerError
        If there is no ledger in `out`, nor after ten seconds where a night is just starting.
    """
    stopping = threading.Event()
    on_stop_signals(stopping.set)
    if parent is not None:
        end_with_parent(parent, _end_this_process)
    _check(address)
    nights = Nights(out)
    if nights.is_single and not wait_for_ledger(out, stopping):
        return
    try:
        _serve(nights, address, announce)
    finally:
        nights.close()
        # The process ends now; taking the documents of all sessions apart one by one would take it seconds.
        gc.freeze()


def _serve(nights: Nights, address: Address, announce: Callable[[str], None]) -> None:
    """Run the event loop until a signal; whatever a browser was just being sent is dropped then."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    loop = IOLoop.current()
    server, port = make_server(nights, address)
    on_stop_signals(lambda: loop.add_callback_from_signal(loop.stop))
    if nights.is_single:
        nights.feed()
    server.start()
    announce(f"http://{address.host}:{port}/".replace("//::1:", "//[::1]:"))
    loop.start()
    server.stop(wait=False)


def _end_this_process() -> None:
    """Ask the main thread to end; end without it where it does not get to it."""
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_ORDERLY_END_S)
    os._exit(1)


def make_server(nights: Nights, address: Address) -> tuple[BaseServer, int]:
    """Bind the address and make the server of the page on the running event loop; return it with its port.

    Raises
    ------
    ConfigurationError
        If the port cannot be bound.
    """
    # Scripts come from this server, never from elsewhere, whatever the environment says.
    settings.resources.set_value("server")
    try:
        sockets = bind_sockets(address.port, LOOPBACK_HOSTS[address.host])
    except OSError as error:
        raise ConfigurationError(f"port {address.port} on {address.host} cannot be used: {error.strerror}") from error
    port = sockets[0].getsockname()[1]
    application = BokehTornado(
        {"/" if nights.is_single else "/night": Application(FunctionHandler(partial(make_document, nights=nights)))},
        extra_patterns=routes(nights),
        # Without it Bokeh would lead from / to its only application.
        use_index=nights.is_single,
        redirect_root=nights.is_single,
        # Named one by one: a page elsewhere must not reach this server through a visitor's browser.
        extra_websocket_origins=[f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]")],
        unused_session_lifetime_milliseconds=_UNUSED_SESSION_MS,
        check_unused_sessions_milliseconds=_UNUSED_SESSION_MS // 3,
    )
    http_server = HTTPServer(application)
    http_server.add_sockets(sockets)
    return BaseServer(IOLoop.current(), application, http_server), port


def wait_for_ledger(out: Path, stopping: threading.Event, timeout_s: float = _LEDGER_WAIT_S) -> bool:
    """Wait until there is a ledger in `out`; a night that is just starting has none yet. False when told to stop.

    Raises
    ------
    LedgerError
        If `out` has no readable ledger: at once where no night holds the folder, otherwise after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            reader = LedgerReader(out)
            try:
                reader.recipe()
                return True
            finally:
                reader.close()
        except LedgerError:
            if time.monotonic() >= deadline or holder_of(out) is None:
                raise
        if stopping.wait(_LOOK_INTERVAL_S):
            return False


def _check(address: Address) -> None:
    if address.host not in LOOPBACK_HOSTS:
        raise ConfigurationError(
            f"host {address.host} must be one of {', '.join(LOOPBACK_HOSTS)}: the page has no password, "
            "so that it is reached from elsewhere through ssh -L alone"
        )
    if not 0 <= address.port <= 65535:
        raise ConfigurationError(f"port {address.port} must be from 0 to 65535")
