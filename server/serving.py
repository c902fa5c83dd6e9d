"""The page's server: an address, the feed, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.server.server import BaseServer
from bokeh.settings import settings
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.netutil import bind_sockets

from server.api import Seats, routes
from server.bounded import BoundedServer
from server.door import TOKEN_ARGUMENT, Door
from server.guarded import GuardedTornado
from server.nights import Nights
from server.pace import PAGES_INTERVAL_S
from server.page import make_document
from server.tokens import Tokens, load_or_make_tokens, tls_context
from server.visitor import Role
from stream.errors import ConfigurationError, LedgerError
from stream.night.ledger import LedgerReader
from stream.page_options import TOKENS_FILE, Limits, PageAccess
from stream.processes import end_with_parent, holder_of, on_stop_signals

_LEDGER_WAIT_S = 10.0
_LOOK_INTERVAL_S = 0.2
_UNUSED_SESSION_MS = 15_000
_ORDERLY_END_S = 3.0
_SWITCH_INTERVAL_S = 0.0005
_IDLE_CONNECTION_S = 30.0
_LARGEST_HEADER_BYTES = 16_384
_LARGEST_BODY_BYTES = 1024
_BODY_TIMEOUT_S = 10.0
_TOKEN_OF_SESSION_S = 7 * 86_400


def serve(
    out: Path,
    port: int,
    announce: Callable[[str], None],
    *,
    access: PageAccess | None = None,
    parent: int | None = None,
) -> None:
    """Serve the page of the night in `out` until SIGINT, SIGTERM or SIGHUP.

    `announce` is called with one line an address: those with tokens first, that of the page last.

    Parameters
    ----------
    out : Path
        Folder of a night, or a folder with nights below it: then the page begins with their list.
    port : int
        0 takes any that is free.
    access : PageAccess, optional
        Where it is reached and by whom; without it everybody on this machine controls.
    parent : int, optional
        The night process that started this one: the page ends when it is gone, however it ended.

    Raises
    ------
    ConfigurationError
        If the options of access contradict each other, a file of tokens, certificate or key cannot be used, or the
        port is in use or out of range.
    LedgerError
        If there is no ledger in `out`, nor after ten seconds where a night is just starting.
    """
    stopping = threading.Event()
    on_stop_signals(stopping.set)
    if parent is not None:
        end_with_parent(parent, _end_this_process)
    access = access or PageAccess()
    access.check()
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"port {port} must be from 0 to 65535")
    nights = Nights(out)
    if nights.is_single and not wait_for_ledger(out, stopping):
        return
    try:
        _serve(nights, port, access, announce)
    finally:
        nights.close()
        # The process ends now; taking the documents of all sessions apart one by one would take it seconds.
        gc.freeze()


def _serve(nights: Nights, port: int, access: PageAccess, announce: Callable[[str], None]) -> None:
    """Run the event loop until a signal; whatever a browser was just being sent is dropped then."""
    # Whoever sends something lets the thread that computes go on, and would wait 5 ms for its next turn each time.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    asyncio.set_event_loop(asyncio.new_event_loop())
    loop = IOLoop.current()
    tokens = load_or_make_tokens(access.token_file or nights.place / TOKENS_FILE) if access.has_tokens else None
    server, port = make_server(nights, port, access=access, tokens=tokens)
    on_stop_signals(lambda: loop.add_callback_from_signal(loop.stop))
    if nights.is_single:
        # Read while the server starts: a browser may come before it is done, and is told so.
        nights.open()
    server.start()
    for line in announcements(access, port, tokens):
        announce(line)
    loop.start()
    server.stop(wait=False)


def _end_this_process() -> None:
    """Ask the main thread to end; end without it where it does not get to it."""
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_ORDERLY_END_S)
    os._exit(1)


def announcements(access: PageAccess, port: int, tokens: Tokens | None) -> list[str]:
    """Lines that say where the page is: with a token for each role, if there are any, and without."""
    host = socket.gethostname() if access.is_everywhere else access.host
    address = f"{access.scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
    lines = []
    if tokens is not None:
        lines.append(f"{Role.CONTROL}: {address}?{TOKEN_ARGUMENT}={tokens.control}")
        if not access.allow_anyone:
            lines.append(f"{Role.WATCH}: {address}?{TOKEN_ARGUMENT}={tokens.watch}")
    if access.scheme == "http" and not access.is_loopback and not any("https:" in each for each in access.origins):
        lines.append("note: without --tls-cert and --tls-key whoever listens on the network can read along")
    return [*lines, f"page: {address}"]


def make_server(
    nights: Nights, port: int, *, access: PageAccess, tokens: Tokens | None, limits: Limits | None = None
) -> tuple[BaseServer, int]:
    """Bind the address and make the server of the page on the running event loop; return it with its port.

    Raises
    ------
    ConfigurationError
        If the port cannot be bound, or the certificate cannot be used.
    """
    # Scripts come from this server, never from elsewhere, whatever the environment says.
    settings.resources.set_value("server")
    try:
        sockets = bind_sockets(port, access.bind_address)
    except OSError as error:
        raise ConfigurationError(f"port {port} on {access.host} cannot be used: {error.strerror}") from error
    port = sockets[0].getsockname()[1]
    tls = None if access.tls_cert is None or access.tls_key is None else tls_context(access.tls_cert, access.tls_key)
    door = Door(access, tokens, port, limits)
    application = GuardedTornado(
        {"/" if nights.is_single else "/night": Application(FunctionHandler(partial(make_document, nights=nights)))},
        door,
        extra_patterns=routes(nights, Seats(door.limits.streams), door.counts),
        # Without it Bokeh would lead from / to its only application.
        use_index=nights.is_single,
        redirect_root=nights.is_single,
        # A page that was opened in the evening finds a server that was started again at four in the morning.
        session_token_expiration=_TOKEN_OF_SESSION_S,
        unused_session_lifetime_milliseconds=_UNUSED_SESSION_MS,
        check_unused_sessions_milliseconds=_UNUSED_SESSION_MS // 3,
    )
    http_server = BoundedServer(
        application,
        connections=door.limits.connections,
        counts=door.counts,
        ssl_options=tls,
        idle_connection_timeout=_IDLE_CONNECTION_S,
        max_header_size=_LARGEST_HEADER_BYTES,
        max_body_size=_LARGEST_BODY_BYTES,
        body_timeout=_BODY_TIMEOUT_S,
    )
    http_server.add_sockets(sockets)
    PeriodicCallback(nights.pace.look, 1e3 * PAGES_INTERVAL_S).start()
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
