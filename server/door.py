"""The door of the page: every request passes it, whatever it asks for, and every answer gets its headers here."""

from __future__ import annotations

import secrets
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

from server.rates import Rates
from server.tokens import Tokens
from server.visitor import Role
from stream.page_options import Limits, PageAccess, page_limits

TOKEN_ARGUMENT = "token"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HEAVY = ("/api/light_curve/", "/api/figure")
# Bokeh's ways to put a page into another site: they answer every site, and nobody needs them here.
_CLOSED = ("/autoload.js", "/metadata")
_SESSION_ARGUMENTS = ("bokeh-session-id", "bokeh-token")
_BEARER = "Bearer "
# Belongs to a network for documentation: no packet goes there, the system only says by which address it would.
_ELSEWHERE = ("192.0.2.1", 9)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that was let in: as what, and the word by which its page knows its own scripts."""

    role: Role
    nonce: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was not let in: the status of the answer and one sentence."""

    status: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """A request whose address held a token: a cookie takes its place, and the browser asks `address` instead."""

    address: str
    cookie: str


@dataclass(slots=True)
class DoorCounts:
    """What was refused since the server was started.

    Attributes
    ----------
    refusals : Counter of int
        Requests by the status of the answer.
    n_shut_sockets : int
        Pages that were closed because their browser said too much, or nonsense.
    n_shut_connections : int
        Connections that were closed at once because there were too many.
    """

    refusals: Counter[int] = field(default_factory=Counter)
    n_shut_sockets: int = 0
    n_shut_connections: int = 0


class Door:
    """Lets in by host, origin, rate and token.

    Parameters
    ----------
    access : PageAccess
    tokens : Tokens or None
        None where everybody who reaches the page controls it.
    port : int
        Where the page is served.
    limits : Limits, optional
        Without them, those of `access`.

    Attributes
    ----------
    counts : DoorCounts
        What was refused so far.
    session_key : bytes
        What names of sessions are signed with, so that nobody makes one up; new in each process without tokens.
    """

    def __init__(self, access: PageAccess, tokens: Tokens | None, port: int, limits: Limits | None = None) -> None:
        self.limits = limits or page_limits(access.limits)
        self.counts = DoorCounts()
        self.session_key = secrets.token_urlsafe(32).encode() if tokens is None else tokens.session_key()
        self._access, self._tokens = access, tokens
        self._rates = Rates(self.limits)
        self._names = served_names(access)
        self._origins = {origin.lower() for origin in access.origins}
        # Browsers keep cookies by host, not by port: two pages on one machine must not take each other's.
        self.cookie_name = f"opticam-live-access-{port}"

    def websocket_origins(self) -> list[str]:
        """What Bokeh's own check of origins lets through; this door compares with the host of the request besides."""
        elsewhere = [urlsplit(origin).netloc for origin in self._origins]
        return [f"{name}:*" for name in self._names] + [
            netloc if ":" in netloc else f"{netloc}:80" for netloc in elsewhere
        ]

    def receive(self, request: HTTPServerRequest, *, heavy: bool = False) -> Visit | Refusal | Invitation:
        """Decide about a request before anything else looks at it.

        Parameters
        ----------
        heavy : bool
            Whether it asks for a page, which costs more than most.
        """
        # First: what pages elsewhere make a browser ask for is not to use up what its owner may ask for.
        wrong = self._wrong(request)
        if wrong is not None:
            return wrong
        cost = self.limits.heavy if heavy or request.path.startswith(_HEAVY) else 1.0
        if not self._rates.allow(str(request.remote_ip), cost):
            return Refusal(429, "too many requests from this address: try again in a few seconds")
        if self._tokens is None:
            return _visit(Role.CONTROL)
        shown = request.arguments.get(TOKEN_ARGUMENT)
        if shown:
            return self._invited(request, shown[-1].decode("utf-8", "replace"), self._tokens)
        role = self._role(request, self._tokens)
        if role is None:
            return Refusal(401, "this page lets in by the address with a token that it printed when it was started")
        return _visit(role)

    def is_secure(self, request: HTTPServerRequest) -> bool:
        """Whether the browser reached the page by HTTPS, here or at a proxy that was named."""
        return request.protocol == "https" or f"https://{request.host.lower()}" in self._origins

    def _wrong(self, request: HTTPServerRequest) -> Refusal | None:
        if request.method != "GET":
            return Refusal(405, f"method {str(request.method)[:20]!r} must be GET: nothing is changed over HTTP")
        if not self._is_ours(request.host):
            names = ", ".join((*self._names, *sorted(self._origins)))
            return Refusal(403, f"host {request.host[:80]!r} must be one of {names}; --origin names others")
        if not unquote(request.path).isprintable():
            return Refusal(400, "an address of this page has printable characters alone")
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_same(origin, request.host):
            return Refusal(403, f"origin {origin[:80]!r} is another page: --origin names those that may look on")
        if origin is None and _is_drawn_in(request.headers):
            return Refusal(403, "another page asks for this in its own name: only a link to this page is followed")
        if request.path.endswith(_CLOSED):
            return Refusal(404, f"{request.path[:80]} is not served")
        if any(name in request.arguments for name in _SESSION_ARGUMENTS) or "Bokeh-Session-Id" in request.headers:
            # Who names a session could bring somebody else into one that he shares.
            return Refusal(400, "a page begins a session of its own: an address names none")
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether the request asked for us by a name of ours: a page elsewhere may have one that leads here too."""
        known = {urlsplit(origin).netloc for origin in self._origins}
        return _name_of(host) in self._names or host.lower() in known

    def _is_same(self, origin: str, host: str) -> bool:
        return origin.lower() in self._origins or urlsplit(origin.lower()).netloc == host.lower()

    def _invited(self, request: HTTPServerRequest, shown: str, tokens: Tokens) -> Refusal | Invitation:
        role = tokens.role_of(shown)
        if role is None:
            return Refusal(401, "the token in this address is not, or no longer, one of this page")
        # Two slashes at the beginning would lead to another host.
        path = "/" + request.path.lstrip("/\\")
        rest = [(name, text) for name, text in parse_qsl(request.query) if name != TOKEN_ARGUMENT]
        return Invitation(path + ("?" + urlencode(rest) if rest else ""), tokens.cookie(role))

    def _role(self, request: HTTPServerRequest, tokens: Tokens) -> Role | None:
        given = request.headers.get("Authorization", "")
        role = tokens.role_of(given.removeprefix(_BEARER)) if given.startswith(_BEARER) else None
        if role is None and self.cookie_name in request.cookies:
            role = tokens.role_of_cookie(request.cookies[self.cookie_name].value)
        return role or (Role.WATCH if self._access.allow_anyone else None)


def served_names(access: PageAccess) -> tuple[str, ...]:
    """Names by which browsers may ask for the page, without their ports, lower case, IPv6 in brackets."""
    if access.is_loopback:
        names = [*_LOOPBACK_NAMES, access.bind_address]
    elif access.is_everywhere:
        host = socket.gethostname()
        names = [*_LOOPBACK_NAMES, host, f"{host.partition('.')[0]}.local", *_own_address()]
    else:
        names = [access.host]
    return tuple(dict.fromkeys(f"[{name}]" if ":" in name and name[0] != "[" else name.lower() for name in names))


def visit_of(request: Any) -> Visit | None:
    """As what a request was let in; None where it did not come through the door."""
    return getattr(request, "visit", None)


def _own_address() -> list[str]:
    """The address by which this machine would reach others, if it has any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return []
        return [str(probe.getsockname()[0])]


def _is_drawn_in(headers: HTTPHeaders) -> bool:
    """Whether a browser says that a page elsewhere wants this as its picture, frame or script; a link is none of it."""
    is_elsewhere = headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
    return is_elsewhere and headers.get("Sec-Fetch-Dest") != "document"


def _name_of(host: str) -> str:
    """A host without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _visit(role: Role) -> Visit:
    return Visit(role, secrets.token_urlsafe(16))


class SecurityHeaders(OutputTransform):
    """What every answer tells the browser: no other page may frame, read, cache or guess at it.

    Scripts run that come from this server or bear the word of this answer, so that no name of a file, however it is
    written, becomes one. Bokeh compiles the callbacks of its models, hence ``unsafe-eval``, and writes its own styles.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        super().__init__(request)
        self._request = request

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Set the headers."""
        for name, text in _HEADERS.items():
            headers[name] = text
        headers["Content-Security-Policy"] = _content_policy(self._request)
        if "Cache-Control" not in headers:
            headers["Cache-Control"] = "no-store"
        headers.pop("Server", None)
        return status_code, headers, chunk


_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def _content_policy(request: HTTPServerRequest) -> str:
    visit = visit_of(request)
    shut = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; style-src 'unsafe-inline'"
    if visit is None:
        return shut
    # The host is one of ours: the door has compared it.
    return (
        f"{shut} 'self'; script-src 'self' 'nonce-{visit.nonce}' 'unsafe-eval'; img-src 'self' data: blob:; "
        f"font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' ws://{request.host} wss://{request.host}"
    )
