"""Tokens that let in: one to control, one to watch; the file they are kept in, and the cookie made of them."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import ssl
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from server.visitor import Role
from stream.errors import ConfigurationError

_RANDOM_BYTES = 32
_COOKIE_PURPOSE = b"cookie of the opticam-live page"
_SESSION_PURPOSE = b"sessions of the opticam-live page"
_OTHERS_MAY_READ = 0o077
_TOKEN = msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{20,200}$")


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is shown by whoever wants in."""

    control: Annotated[str, _TOKEN]
    watch: Annotated[str, _TOKEN]

    def role_of(self, shown: str) -> Role | None:
        """The role that a token gives; None for a wrong one. It takes as long whichever character is wrong."""
        return _first_equal(shown, {Role.CONTROL: self.control, Role.WATCH: self.watch})

    def cookie(self, role: Role) -> str:
        """What the browser keeps: made of the token, from which nobody gets the token back."""
        token = self.control if role is Role.CONTROL else self.watch
        return hmac.new(token.encode(), _COOKIE_PURPOSE, hashlib.sha256).hexdigest()

    def session_key(self) -> bytes:
        """What names of sessions are signed with: the same when the page is started again."""
        return hmac.new(self.control.encode(), _SESSION_PURPOSE, hashlib.sha256).hexdigest().encode()

    def role_of_cookie(self, shown: str) -> Role | None:
        """The role that a cookie gives; None for a wrong one."""
        return _first_equal(shown, {role: self.cookie(role) for role in (Role.CONTROL, Role.WATCH)})


def load_or_make_tokens(path: Path) -> Tokens:
    """Read the tokens of a file, or make them and the file, which its owner alone may read.

    Raises
    ------
    ConfigurationError
        If others may read the file, it holds no two different tokens, or it cannot be read or made.
    """
    try:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return _load(path)
        made = Tokens(secrets.token_urlsafe(_RANDOM_BYTES), secrets.token_urlsafe(_RANDOM_BYTES))
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f'control = "{made.control}"\nwatch = "{made.watch}"\n')
    except OSError as error:
        raise ConfigurationError(f"token file {path} cannot be used: {error.strerror}") from error
    return made


def refuse_readable_by_others(path: Path, what: str) -> None:
    """Raise ConfigurationError if others than its owner may read or write a file; OSError if it is not there."""
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS_MAY_READ:
        raise ConfigurationError(f"{what} {path} may be read by others (mode {mode:04o}): chmod 600 is required")


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """What serves by HTTPS with a certificate and its key.

    Raises
    ------
    ConfigurationError
        If others may read the key, or the files cannot be read or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        refuse_readable_by_others(key, "key")
        # Nobody is there to type a passphrase: with an empty one a locked key is an error.
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        reason = error.reason or "no certificate and key in PEM"
        raise ConfigurationError(f"certificate {cert} with key {key} cannot be used: {reason}") from error
    except OSError as error:
        raise ConfigurationError(f"certificate {cert} with key {key} cannot be used: {error.strerror}") from error
    return context


def _load(path: Path) -> Tokens:
    refuse_readable_by_others(path, "token file")
    try:
        tokens = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Tokens)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(
            f"token file {path}: 'control' and 'watch' of 20 to 200 letters, digits, - or _ are required"
        ) from error
    if tokens.control == tokens.watch:
        raise ConfigurationError(f"token file {path}: 'control' and 'watch' must differ")
    return tokens


def _first_equal(shown: str, known: dict[Role, str]) -> Role | None:
    given = shown.encode("utf-8", "replace")
    equal = [role for role, text in known.items() if hmac.compare_digest(given, text.encode())]
    return equal[0] if equal else None
