"""The page on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.page_options import AllowAnyone, Host, Origins, PageAccess, PageLimits, TlsCert, TlsKey, Token, TokenFile

_LOG_BYTES = 10_000_000


def register(app: typer.Typer) -> None:
    """Add the commands of the page."""
    app.command("serve")(serve_night)


def serve_night(
    out: Annotated[
        Path, typer.Argument(help="Output folder of a night, or a folder with nights below it.", metavar="OUT")
    ],
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes any that is free.")] = 5006,
    host: Host = "localhost",
    token: Token = False,
    token_file: TokenFile = None,
    allow_anyone: AllowAnyone = False,
    origin: Origins = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    limit: PageLimits = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process is gone.")] = None,
) -> None:
    """Serve the page of a night, running or finished, or of all nights under a folder, until Ctrl-C."""
    from stream.night.ledger import LedgerReader
    from stream.processes import holder_of

    access = PageAccess(
        host, token, token_file, allow_anyone, tuple(origin or ()), tls_cert, tls_key, tuple(limit or ())
    )
    access.check()
    if holder_of(out) is None and not _holds_nights(out):
        # Before the libraries of the page are imported, which takes a second: a mistyped name is told at once.
        LedgerReader(out).close()
    from server.serving import serve

    _log_to(out)
    serve(out, port, typer.echo, access=access, parent=parent)


def _holds_nights(place: Path) -> bool:
    """Whether there are nights below a folder that is none itself."""
    from stream.night.ledger import LEDGER_FILE

    if (place / LEDGER_FILE).is_file():
        return False
    return any(next(place.glob(f"{'*/' * depth}{LEDGER_FILE}"), None) is not None for depth in (1, 2, 3))


def _log_to(out: Path) -> None:
    """Log to the night's own folder; a night on a disk that cannot be written is served without a log."""
    import logging
    from logging.handlers import RotatingFileHandler

    from server.bounded import ShortLines
    from stream.night.ledger import LEDGER_FILE

    try:
        # Nothing is written to a folder that holds no night: its name may be mistyped.
        (out / LEDGER_FILE).stat()
        (out / "log").mkdir(exist_ok=True)
        # However long somebody makes a page complain, the disk of the night is not what he fills.
        path, most = out / "log" / "serve.log", _LOG_BYTES
        handler: logging.Handler = RotatingFileHandler(path, maxBytes=most, backupCount=1, encoding="utf-8")
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(ShortLines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("bokeh").setLevel(logging.WARNING)
    logging.getLogger("tornado").setLevel(logging.WARNING)
