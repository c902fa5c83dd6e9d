"""The nights that a server shows: one, or those under a folder, each followed once somebody opens it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from server.feed import Feed
from server.pace import Pace
from stream.errors import ConfigurationError, LedgerError
from stream.night.ledger import LEDGER_FILE, LedgerReader
from stream.processes import holder_of

_MOST_OPEN = 4
_DEEPEST = 3
_MOST_FOLDERS = 20_000


@dataclass(frozen=True, slots=True)
class NightSummary:
    """One line of the list.

    Attributes
    ----------
    name : str
        Path below the folder that is served, with forward slashes.
    state : str
        ``running``, or ``finished``; empty where the ledger cannot be read.
    n_measured, n_rejected : int
    keys : tuple of str
    modified_unix_s : float
        When the ledger was written last.
    sentence : str
        Why it cannot be opened.
    """

    name: str
    state: str = ""
    n_measured: int = 0
    n_rejected: int = 0
    keys: tuple[str, ...] = ()
    modified_unix_s: float = 0.0
    sentence: str = ""


class Nights:
    """Feeds by the name of the night.

    Parameters
    ----------
    place : Path
        Folder of a night, or a folder with folders of nights below it.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.is_single = (place / LEDGER_FILE).is_file() or holder_of(place) is not None
        self.pace = Pace()
        self._feeds: dict[str, Feed] = {}
        self._used_s: dict[str, float] = {}
        self._opening = threading.Lock()

    def open(self, name: str = "") -> Feed:
        """Return the feed of a night at once; its `reading` is done when what it shows is the whole night so far.

        The one of a single night has no name.

        Raises
        ------
        ConfigurationError
            If there is no such night.
        LedgerError
            If its ledger is missing or cannot be read.
        """
        out = self._folder_of(name)
        with self._opening:
            self._used_s[name] = time.monotonic()
            if name not in self._feeds:
                self._close_oldest()
                feed = Feed(out, address_name="" if self.is_single else name)
                feed.begin()
                self._feeds[name] = feed
            return self._feeds[name]

    def feed(self, name: str = "") -> Feed:
        """Return the feed of a night once it was read; errors as `open`."""
        feed = self.open(name)
        feed.reading.result()
        return feed

    def summaries(self) -> list[NightSummary]:
        """List the nights, the one that was written last first."""
        if self.is_single:
            return [_summary(self.place, self.place.resolve().name)]
        found = [_summary(out, out.relative_to(self.place).as_posix()) for out in _nights_below(self.place)]
        return sorted(found, key=lambda night: -night.modified_unix_s)

    def close(self) -> None:
        """Stop all feeds."""
        with self._opening:
            for feed in self._feeds.values():
                feed.stop()
            self._feeds.clear()

    def _folder_of(self, name: str) -> Path:
        if self.is_single:
            if name not in ("", self.place.resolve().name):
                raise ConfigurationError(f"night {name!r} is not served here: {self.place.resolve().name} is")
            return self.place
        # Only what the list may have is opened: a name with dots, or a link, would lead out of the folder.
        parts = name.split("/")
        steps = [self.place.joinpath(*parts[: n + 1]) for n in range(len(parts))]
        if len(parts) > _DEEPEST or any(part in ("", ".", "..") for part in parts) or any(map(Path.is_symlink, steps)):
            raise ConfigurationError(f"night {name!r} must be one of the list")
        out = self.place / name
        if not (out / LEDGER_FILE).is_file():
            raise ConfigurationError(f"night {name!r} is not there: no {LEDGER_FILE} in {out}")
        return out

    def _close_oldest(self) -> None:
        """Nights that nobody has opened for longest give their memory back; whoever still looks opens them again."""
        while len(self._feeds) >= _MOST_OPEN:
            oldest = min(self._feeds, key=lambda name: self._used_s[name])
            idle = {name for name, feed in self._feeds.items() if not feed.is_watched}
            chosen = oldest if oldest in idle else next(iter(idle), None)
            if chosen is None:
                return
            # It may be at work, and what opens a night waits for nothing.
            threading.Thread(target=self._feeds.pop(chosen).stop, name="closing", daemon=True).start()


def _nights_below(root: Path, depth: int = _DEEPEST) -> list[Path]:
    """Folders with a ledger, at most three levels down; what cannot be read is passed over."""
    nights: list[Path] = []
    level, n_seen = [root], 0
    for _ in range(depth):
        below: list[Path] = []
        for folder in level:
            try:
                children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.is_symlink())
            except OSError:
                continue
            for child in children[: max(0, _MOST_FOLDERS - n_seen)]:
                n_seen += 1
                if (child / LEDGER_FILE).is_file():
                    nights.append(child)
                elif not child.name.startswith("."):
                    below.append(child)
        level = below
    return nights


def _summary(out: Path, name: str) -> NightSummary:
    try:
        modified = (out / LEDGER_FILE).stat().st_mtime
        reader = LedgerReader(out)
        try:
            counts, keys = reader.counts(), tuple(reader.catalogs())
        finally:
            reader.close()
    except (LedgerError, OSError) as problem:
        return NightSummary(name, sentence=str(problem))
    state = "finished" if holder_of(out) is None else "running"
    return NightSummary(name, state, counts.n_measured, counts.n_rejected, keys, modified)
