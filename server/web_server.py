"""Tornado and Bokeh behind one address: what is served, and the bounds of it."""

from __future__ import annotations

from functools import partial

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.server.server import BaseServer
from bokeh.settings import settings
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.netutil import bind_sockets

from server.api import Seats, routes
from server.bounded import BoundedServer
from server.door import Door
from server.guarded import GuardedTornado
from server.nights import Nights
from server.pace import PAGES_INTERVAL_S
from server.page import make_document
from server.tokens import Tokens, tls_context
from stream.errors import ConfigurationError
from stream.page_options import Limits, PageAccess

_UNUSED_SESSION_MS = 15_000
_IDLE_CONNECTION_S = 30.0
_LARGEST_HEADER_BYTES = 16_384
_LARGEST_BODY_BYTES = 1024
_BODY_TIMEOUT_S = 10.0
_TOKEN_OF_SESSION_S = 7 * 86_400


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
