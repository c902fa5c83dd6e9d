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
from pathlib import Path

from tornado.ioloop import IOLoop

from server.door import TOKEN_ARGUMENT
from server.nights import Nights
from server.tokens import Tokens, load_or_make_tokens
from server.visitor import Role
from server.web_server import make_server
from stream.errors import ConfigurationError, LedgerError
from stream.night.ledger import LedgerReader
from stream.page_options import TOKENS_FILE, PageAccess
from stream.processes import end_with_parent, holder_of, on_stop_signals

_LEDGER_WAIT_S = 10.0
_LOOK_INTERVAL_S = 0.2
_ORDERLY_END_S = 3.0
_SWITCH_INTERVAL_S = 0.0005


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
        _serve(nights, port, access, announce, stopping=stopping)
    finally:
        nights.close()
        # The process ends now; taking the documents of all sessions apart one by one would take it seconds.
        gc.freeze()


def _serve(
    nights: Nights, port: int, access: PageAccess, announce: Callable[[str], None], *, stopping: threading.Event
) -> None:
    """Run the event loop until a signal; whatever a browser was just being sent is dropped then."""
    # Whoever sends something lets the thread that computes go on, and would wait 5 ms for its next turn each time.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    asyncio.set_event_loop(asyncio.new_event_loop())
    loop = IOLoop.current()
    tokens = load_or_make_tokens(access.token_file or nights.place / TOKENS_FILE) if access.has_tokens else None
    server, port = make_server(nights, port, access=access, tokens=tokens)
    on_stop_signals(lambda: loop.add_callback_from_signal(loop.stop))
    if stopping.is_set():
        return
    if nights.is_single:
        # Read while the server starts: a browser may come before it is done, and is told so. Not while libraries are
        # loaded: SQLite hands its turn on after each row, and reading would last three times as long.
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
