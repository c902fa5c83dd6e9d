"""A folder in which somebody left what no camera writes: names, links, pipes, sockets, devices, lies."""

from __future__ import annotations

import gzip
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream.night.folder_scan import safe_name
from tests.fuzz.parts import CARD_BYTES, bomb, frame_bytes
from tests.measure.fits_files import BLOCK_BYTES, header_bytes

FAR_FUTURE_NS = 15 * 10**18  # the year 2445: more nanoseconds than a ledger can count


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the folder.

    Attributes
    ----------
    name : bytes
        As the system has it, relative to the folder.
    make : callable
        Makes it at a path.
    reason : str
        Of the rejection; empty where the file is an honest frame, ``absent`` where it is no frame and nothing to say.
    sentence : str
        Pattern that the rest of the sentence has to match.
    """

    name: bytes
    make: Callable[[Path], object]
    reason: str = ""
    sentence: str = ""

    @property
    def ledger_name(self) -> str:
        """Name in the ledger."""
        return safe_name(os.fsdecode(self.name))


def good(number: int) -> Callable[[Path], object]:
    """Write an honest frame."""
    return lambda path: path.write_bytes(frame_bytes(number))


def _sparse(path: Path, n_bytes: int, start: bytes) -> None:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(n_bytes)


def _listen(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _from_future(path: Path) -> None:
    good(20)(path)
    os.utime(path, ns=(0, FAR_FUTURE_NS))


def _from_past(path: Path) -> None:
    good(21)(path)
    os.utime(path, ns=(0, -(10**18)))


def promising(side: int) -> bytes:
    """An empty primary HDU, and an extension whose header tells of an image of `side` x `side` pixels."""
    return header_bytes(NAXIS=0, NAXIS1=None, NAXIS2=None) + b"".join(
        card.ljust(CARD_BYTES).encode()
        for card in (
            "XTENSION= 'IMAGE   '",
            *("BITPIX  = 16", "NAXIS   = 2", f"NAXIS1  = {side}", f"NAXIS2  = {side}", "PCOUNT  = 0", "GCOUNT  = 1"),
            "END",
        )
    ).ljust(BLOCK_BYTES)


def _cards(n_cards: int) -> bytes:
    return frame_bytes()[: 80 * 5] + b"COMMENT x".ljust(80) * n_cards


UNPRINTABLE = "a file name of printable characters is required"
ENTRIES: tuple[Entry, ...] = (
    # names
    Entry(b"two\nlines.fit", good(1), "UNREADABLE", UNPRINTABLE),
    Entry(b"caf\xe9.fit", good(2), "UNREADABLE", UNPRINTABLE),
    Entry(b"caf\\xe9.fit", good(3)),  # printed, the one above looks like this one
    Entry("right\u202eto left.fit".encode(), good(4), "UNREADABLE", UNPRINTABLE),
    Entry(b"\x1b[31mred.fit", good(5), "UNREADABLE", UNPRINTABLE),
    Entry("größe 星.fit".encode(), good(6)),
    Entry(b"'; DROP TABLE frame; --.fit", good(7)),
    Entry(b'"><img src=x onerror=alert(1)>.fit', good(8)),
    Entry(b"$(touch pwned) `x` %s {0} &.fit", good(9)),
    Entry(b"-rf.fit", good(10)),
    Entry(b"...fit", good(11), "absent"),
    Entry(b"night[0,1].fit", good(12)),
    Entry(b"n" * 251 + b".fit", good(13)),
    Entry(b"\xff" * 251 + b".fit", good(14), "UNREADABLE", UNPRINTABLE),
    # what is no regular file
    Entry(b"pipe.fit", lambda path: os.mkfifo(path), "UNREADABLE", "is not a regular file"),
    Entry(b"pipe.fits.gz", lambda path: os.mkfifo(path), "UNREADABLE", "is not a regular file"),
    Entry(b"socket.fit", _listen, "UNREADABLE", "is not a regular file"),
    Entry(b"folder.fit", lambda path: path.mkdir(), "UNREADABLE", "is not a regular file"),
    Entry(b"zero.fit", lambda path: path.symlink_to("/dev/zero"), "UNREADABLE", "a link to a file outside"),
    # links
    Entry(b"outside.fit", lambda path: path.symlink_to("../outside.fit"), "UNREADABLE", "is a link to a file outside"),
    Entry(b"passwd.fit", lambda path: path.symlink_to("/etc/passwd"), "UNREADABLE", "is a link to a file outside"),
    Entry(b"loop.fit", lambda path: path.symlink_to("loop.fit"), "UNREADABLE", "cannot be followed: Too many"),
    Entry(b"nowhere.fit", lambda path: path.symlink_to("gone"), "UNREADABLE", "cannot be followed: No such"),
    Entry(b"far.fit", lambda path: path.symlink_to("f" * 300), "UNREADABLE", "cannot be followed: File name"),
    Entry(b"inside.fit", lambda path: path.symlink_to("-rf.fit")),
    Entry(b"sub/out", lambda path: path.symlink_to("out"), "absent"),  # a loop with the name of the outputs
    Entry(b"sub/up", lambda path: path.symlink_to(".."), "absent"),  # folders behind links are not searched
    # sizes and times that lie
    Entry(b"sparse.fit", lambda path: _sparse(path, 1 << 40, frame_bytes(16))),
    Entry(b"sparse.fits.gz", lambda path: _sparse(path, 1 << 40, b"\x1f\x8b\x08"), "UNREADABLE", "cannot be unpacked"),
    Entry(b"endless.fit", lambda path: _sparse(path, 1 << 40, _cards(10)), "NOT_FITS", "the header does not end"),
    Entry(
        b"petabyte.fit",
        lambda path: path.write_bytes(promising(10**15) + bytes(5000)),
        "BAD_KEYWORD",
        "promises 2e.30 bytes of data",
    ),
    Entry(
        b"giant.fit",
        lambda path: _sparse(path, 1 << 40, header_bytes(NAXIS1=32768, NAXIS2=32768)),
        "WRONG_SHAPE",
        "has 32768 x 32768 pixels: at most",
    ),
    Entry(b"bomb.fits.gz", lambda path: path.write_bytes(bomb(1200 << 20, frame_bytes(17))), "UNREADABLE", "unpacks"),
    Entry(
        b"bomb-behind.fits.gz",
        lambda path: path.write_bytes(bomb(1200 << 20, promising(10**7))),
        "UNREADABLE",
        "unpacks to more than",
    ),
    Entry(b"future.fit", _from_future),
    Entry(b"past.fit", _from_past),
    Entry(b"year9999.fit", lambda path: path.write_bytes(frame_bytes().replace(b"2023-11-22 0", b"9999-11-22 0")),
          "BAD_TIME", "a date between 1968 and 2100"),
    # headers
    Entry(b"cards.fit", lambda path: path.write_bytes(_cards(100_000)), "NOT_FITS", "the header does not end"),
    Entry(b"noise.fits.fz", lambda path: path.write_bytes(bytes(range(256)) * 40), "NOT_FITS", "is not a FITS file"),
    Entry(b"text.fits.gz", lambda path: path.write_bytes(gzip.compress(b"no frame")), "NOT_FITS", "is not a FITS file"),
    Entry(b"negative.fit", lambda path: path.write_bytes(header_bytes(NAXIS1=-48)), "WRONG_SHAPE", "NAXIS1 .* is -48"),
    Entry(b"scale.fit", lambda path: path.write_bytes(header_bytes(BSCALE=0)), "BAD_KEYWORD", "BSCALE .* is 0"),
)  # fmt: skip


def fill(folder: Path) -> None:
    """Make all entries in a folder; a file that links lead to lies beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "sub").mkdir()
    (folder.parent / "outside.fit").write_bytes(frame_bytes(15))
    for entry in ENTRIES:
        entry.make(folder / os.fsdecode(entry.name))


def complaints(outcomes: dict[str, tuple[str, str]]) -> list[str]:
    """What is wrong with the outcomes of the entries: reason (empty for measured) and sentence by name."""
    wrong = []
    for entry in ENTRIES:
        reason, sentence = outcomes.get(entry.ledger_name, ("absent", ""))
        if reason != entry.reason or not re.search(entry.sentence, sentence):
            wrong.append(f"{entry.ledger_name[:60]}: {reason} {sentence!r} where {entry.reason!r} is right")
        if reason not in ("", "absent") and entry.ledger_name not in sentence:
            wrong.append(f"{entry.ledger_name[:60]} is not named in {sentence!r}")
    return wrong
