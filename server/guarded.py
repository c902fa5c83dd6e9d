"""Bokeh's server behind the door: whatever address is asked for, the door has let the request in before."""

from __future__ import annotations

import binascii
import logging
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from bokeh.application import Application
from bokeh.resources import Resources
from bokeh.server.contexts import ApplicationContext
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.ws import WSHandler
from bokeh.util.token import check_token_signature, get_session_id
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from server import theme
from server.bounded import BoundedSocket
from server.door import Door, Invitation, Refusal, SecurityHeaders, Visit, visit_of
from server.gathering import GatheringConnection
from server.page import THEME_COOKIE, problem_page, theme_name
from server.visitor import Role

_WEBSOCKET_BYTES = 2**20
_SOCKETS_OF_A_PAGE = 4
_COOKIE_DAYS = 7
_COMPONENTS = ("bokeh", "bokeh-widgets")
_log = logging.getLogger(__name__)


class GuardedTornado(BokehTornado):  # type: ignore[misc]  # bokeh is untyped here
    """Bokeh's application, of which nothing is reached but through a door.

    Parameters
    ----------
    applications : mapping of address to Application
    door : Door
    given
        What `BokehTornado` takes.
    """

    def __init__(self, applications: Mapping[str, Application], door: Door, **given: Any) -> None:
        self._door = door
        super().__init__(
            applications,
            extra_websocket_origins=door.websocket_origins(),
            # The cookie that lets in is none of the page's scripts: Bokeh would write it into the page otherwise.
            include_cookies=[THEME_COOKIE],
            include_headers=[],
            websocket_max_message_size_bytes=_WEBSOCKET_BYTES,
            sign_sessions=True,
            secret_key=door.session_key,
            transforms=[SecurityHeaders],
            log_function=_log_request,
            **given,
        )
        bounds = {"door": door, "buckets": WeakKeyDictionary()}
        for rule in self.wildcard_router.rules:
            if rule.target is WSHandler:
                rule.target = BoundedSocket
                rule.target_kwargs |= bounds

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """Scripts of a page: the parts of Bokeh that it uses, half of all."""
        return super().resources(absolute_url).clone(components=list(_COMPONENTS))

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Find who answers a request: whom the door does not let in, nobody else sees."""
        place = request.path.rstrip("/")
        context = self.applications.get(place or "/")
        answer = self._door.receive(request, heavy=context is not None)
        if isinstance(answer, Visit):
            socket_of = self.applications.get(place.removesuffix("/ws") or "/") if place.endswith("/ws") else None
            answer = self._seat(request, answer, is_page=context is not None, socket_of=socket_of)
        if isinstance(answer, Visit):
            request.visit = answer  # type: ignore[attr-defined]  # read by `visit_of`
            return super().find_handler(request, **kwargs)
        if isinstance(answer, Invitation):
            given = {"invitation": answer, "name": self._door.cookie_name, "secure": self._door.is_secure(request)}
            return self.get_handler_delegate(request, InvitationHandler, given)
        self._door.counts.refusals[answer.status] += 1
        return self.get_handler_delegate(request, RefusalHandler, {"refusal": answer})

    def new_connection(
        self, protocol: Any, socket: Any, application_context: ApplicationContext, session: Any
    ) -> GatheringConnection:
        """Join a browser to its session."""
        connection = GatheringConnection(protocol, socket, application_context, session)
        self._clients.add(connection)
        return connection

    def _seat(
        self, request: HTTPServerRequest, visit: Visit, *, is_page: bool, socket_of: ApplicationContext | None
    ) -> Visit | Refusal:
        """See that there is room for one more page, and that nobody joins the page of somebody who may do more."""
        begins_page = is_page
        if socket_of is not None:
            asked_for = _session_asked_for(request, self._door.session_key)
            if asked_for is None:
                return Refusal(403, "this websocket is of no page that this server sent: open the page anew")
            session = {session.id: session for session in socket_of.sessions}.get(asked_for)
            begins_page = session is None
            if session is not None and not visit.role.covers(_role_of_session(session)):
                return Refusal(403, "this page belongs to somebody who may change the night: open one of your own")
            if session is not None and session.connection_count >= _SOCKETS_OF_A_PAGE:
                return Refusal(503, f"{session.connection_count} browsers look at this page: open one of your own")
        n_pages = sum(len(list(each.sessions)) for each in self.applications.values())
        if begins_page and n_pages >= self._door.limits.sessions:
            return Refusal(503, f"{n_pages} pages are open, which is the most that this server shows at a time")
        return visit


class RefusalHandler(RequestHandler):
    """Answers whoever was not let in: a page to browsers, JSON to programs."""

    def initialize(self, refusal: Refusal) -> None:
        """Take what is to be said."""
        self._refusal = refusal

    def prepare(self) -> None:
        """Answer, whatever the method."""
        self.set_status(self._refusal.status)
        if self._refusal.status == 401:
            self.set_header("WWW-Authenticate", 'Bearer realm="opticam-live"')
        elif self._refusal.status == 405:
            self.set_header("Allow", "GET")
        elif self._refusal.status in (429, 503):
            self.set_header("Retry-After", "5")
        if "text/html" in self.request.headers.get("Accept", ""):
            palette = theme.PALETTES[theme_name({name: each.value for name, each in self.request.cookies.items()})]
            self.finish(problem_page(palette, self._refusal.sentence, heading="No way in", is_inside=False))
        else:
            self.finish({"error": self._refusal.sentence})


class InvitationHandler(RequestHandler):
    """Puts a cookie in the place of the token of an address, so that the token does not stay in sight."""

    def initialize(self, invitation: Invitation, name: str, secure: bool) -> None:
        """Take what the door decided."""
        self._invitation, self._name, self._secure = invitation, name, secure

    def get(self) -> None:
        """Lead on, with the cookie."""
        # Lax: a link in a message is followed with it, but no page elsewhere can send it with requests of its own.
        self.set_cookie(
            self._name,
            self._invitation.cookie,
            expires_days=_COOKIE_DAYS,
            httponly=True,
            samesite="Lax",
            secure=self._secure,
        )
        self.set_header("Location", self._invitation.address)
        self.set_status(303)


def _role_of_session(session: Any) -> Role:
    """As what the session was begun; the most there is where nobody knows."""
    context = session.document.session_context
    visit = None if context is None else visit_of(context.request)
    return Role.CONTROL if visit is None else visit.role


def _session_asked_for(request: HTTPServerRequest, key: bytes) -> str | None:
    """Name of the session that a websocket wants to join; None where it shows none that this server signed."""
    words = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    if len(words) != 2 or words[0].strip() != "bokeh":
        return None
    token = words[1].strip()
    try:
        return str(get_session_id(token)) if check_token_signature(token, key, signed=True) else None
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, binascii.Error):
        # Bokeh reads the name before it compares the signature.
        return None


def _log_request(handler: RequestHandler) -> None:
    """Log what went wrong here, without what stands behind the ``?``: a token may be there."""
    if handler.get_status() >= 500:
        _log.warning("%d %s %s", handler.get_status(), handler.request.method, handler.request.path)
