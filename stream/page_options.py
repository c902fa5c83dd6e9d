"""Options of the command line that say where the page of a night is reached, and by whom."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from stream.errors import ConfigurationError
from stream.named_settings import named_settings

LOOPBACK_HOSTS = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1"}
TOKENS_FILE = ".tokens.toml"
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")

Host = Annotated[
    str,
    typer.Option(
        help="Name or address that the page is served at; another than localhost needs --token or --allow-anyone."
    ),
]
Token = Annotated[
    bool,
    typer.Option(
        "--token",
        help=f"Let in by token alone: the addresses that are printed hold one to control and one to watch; they are "
        f"kept in {TOKENS_FILE} of the night.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="As --token, with the tokens of this file; made (0600) where it does not exist."),
]
AllowAnyone = Annotated[
    bool,
    typer.Option(
        "--allow-anyone",
        help="Whoever reaches the port may watch: every frame, light curve and file name of the night. Changing "
        "needs the control address.",
    ),
]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--origin",
        help="Another address that browsers reach the page at, as https://night.example.org; may be repeated.",
    ),
]
TlsCert = Annotated[Path | None, typer.Option("--tls-cert", help="Certificate (PEM) to serve the page by HTTPS.")]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", help="Its key (PEM, no passphrase); for its owner's eyes alone (0600).")
]
PageLimits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit", help="What the page bears at a time, as sessions=200; may be repeated.", metavar="NAME=VALUE"
    ),
]
_Rate = Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]
_Number = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class Limits(msgspec.Struct, frozen=True):
    """What one server of the page bears.

    Attributes
    ----------
    requests_per_s, burst : float
        Of one address: on average, and at once. A page is about a dozen requests.
    heavy : float
        Requests that a page, a light curve or a figure counts for.
    sessions, streams : int
        Pages, and listeners to ``/api/events``, at a time.
    messages_per_s : float
        Messages over the websocket of one page, on average; ten seconds of them at once.
    connections : int
        Connections at a time; one address gets half of them.
    """

    requests_per_s: _Rate = 60.0
    burst: _Rate = 1200.0
    heavy: _Rate = 10.0
    sessions: _Number = 80
    streams: _Number = 64
    messages_per_s: _Rate = 500.0
    connections: _Number = 600


def page_limits(texts: Sequence[str]) -> Limits:
    """Limits from texts like ``sessions=200``; those that are not named keep their defaults.

    Raises
    ------
    ConfigurationError
        If a text is no assignment, or names a limit or a value that cannot be.
    """
    return named_settings(Limits, texts, "page limit")


@dataclass(frozen=True, slots=True)
class PageAccess:
    """Where the page is reached, and by whom.

    Attributes
    ----------
    host : str
        Name or address to bind.
    token : bool
        Let in by token alone, also on this machine.
    token_file : Path or None
        Where the tokens are; None for that of the night's folder.
    allow_anyone : bool
        Whoever reaches the port may watch without a token.
    origins : tuple of str
        Further addresses that browsers know the page by, as a proxy's.
    tls_cert, tls_key : Path or None
    limits : tuple of str
        What the page bears, each as ``NAME=VALUE``.
    """

    host: str = "localhost"
    token: bool = False
    token_file: Path | None = None
    allow_anyone: bool = False
    origins: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    limits: tuple[str, ...] = ()

    @property
    def bind_address(self) -> str:
        """What the sockets are bound to: ``localhost`` is 127.0.0.1, whatever the system makes of it."""
        return LOOPBACK_HOSTS.get(self.host, self.host)

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches the page."""
        return _is_address(self.bind_address, "is_loopback")

    @property
    def is_everywhere(self) -> bool:
        """Whether the page is served at all addresses of this machine."""
        return _is_address(self.bind_address, "is_unspecified")

    @property
    def has_tokens(self) -> bool:
        """Whether there are tokens; without them everybody who gets in controls."""
        return self.token or self.token_file is not None or self.allow_anyone or not self.is_loopback

    @property
    def scheme(self) -> str:
        """``https`` with a certificate, otherwise ``http``."""
        return "http" if self.tls_cert is None else "https"

    def check(self) -> None:
        """Raise ConfigurationError if the options contradict each other, or would let in by oversight."""
        if not _HOST.fullmatch(self.host):
            raise ConfigurationError(f"host {self.host[:80]!r} must be a name or an address")
        if not (self.is_loopback or self.token or self.token_file or self.allow_anyone):
            raise ConfigurationError(
                f"host {self.host} is reached from other machines: --token lets in by an address with a token, "
                "--allow-anyone lets whoever reaches it watch"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("--tls-cert", "--tls-key") if self.tls_key is None else ("--tls-key", "--tls-cert")
            raise ConfigurationError(f"{given} needs {missing} too")
        page_limits(self.limits)
        for origin in self.origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or not parts.hostname
                or f"{parts.scheme}://{parts.netloc}" != origin
            ):
                raise ConfigurationError(
                    f"origin {origin[:80]!r} must be as https://night.example.org or http://dome:5006"
                )

    def words(self) -> list[str]:
        """These options as words of a command line; no token is among them."""
        words = ["--host", self.host]
        words += ["--token"] * self.token + ["--allow-anyone"] * self.allow_anyone
        for option, path in (
            ("--token-file", self.token_file),
            ("--tls-cert", self.tls_cert),
            ("--tls-key", self.tls_key),
        ):
            words += [] if path is None else [option, str(path)]
        for origin in self.origins:
            words += ["--origin", origin]
        for limit in self.limits:
            words += ["--limit", limit]
        return words


def _is_address(text: str, quality: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(text.partition("%")[0]), quality))
    except ValueError:
        return False
