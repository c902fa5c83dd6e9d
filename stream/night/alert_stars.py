"""Which stars matter: target and comparison stars of every key, found as the page finds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stream.analysis.choice import KeyChoice, resolve_selection
from stream.messages import Catalog, Selection
from stream.night.alert_frames import Star
from stream.night.ledger_reader import LedgerReader
from stream.selection import SELECTION_FILE, load_selection

_NEWEST_FRAMES = 1000
_MOST_LATER = 20_000
_NEVER = 2**62


class StarFinder:
    """Looks at selection, catalogs and light curves of the night in `out`; belongs to one thread.

    What the observer chose is resolved again when it changes. What is chosen automatically is chosen by the newest
    thousand frames, again when the night has grown to twice its length and each 20,000 frames.
    """

    def __init__(self, out: Path) -> None:
        self._out, self._reader = out, LedgerReader(out)
        self._label = self._reader.recipe().default_label()
        self._stamp: object = None
        self._versions: dict[str, str] = {}
        self._judge_at = 0

    def look(self) -> Mapping[str, tuple[Star, ...]] | None:
        """Stars of each key, the target first; None where nothing can have changed since the last look.

        Raises
        ------
        ConfigurationError
            If a source that was asked for does not exist, or the selection cannot be read.
        LedgerError
            If the ledger cannot be read.
        """
        stamp, n_outcomes = self._stamp_of_selection(), self._reader.last_sequence()
        catalogs = self._reader.catalogs()
        versions = {key: catalog.version for key, catalog in catalogs.items()}
        if (stamp, versions) == (self._stamp, self._versions) and n_outcomes < self._judge_at:
            return None
        # Noted before it is tried: a target that does not exist is no reason to try again each second.
        self._stamp, self._versions = stamp, versions
        self._judge_at = n_outcomes + min(max(n_outcomes, 10), _MOST_LATER)
        if not catalogs:
            return {}
        choices = self._choose(load_selection(self._out), catalogs)
        return {key: _stars_of(choice) for key, choice in choices.items()}

    def close(self) -> None:
        """Close the ledger."""
        self._reader.close()

    def _choose(self, selection: Selection, catalogs: dict[str, Catalog]) -> dict[str, KeyChoice]:
        choices = resolve_selection(selection, catalogs, {})
        if all(not choice.automatic and not choice.automatic_comparisons for choice in choices.values()):
            self._judge_at = _NEVER
            return choices
        fluxes = {key: self._reader.source_fluxes(key, self._label, newest=_NEWEST_FRAMES) for key in catalogs}
        return resolve_selection(selection, catalogs, fluxes)

    def _stamp_of_selection(self) -> object:
        try:
            status = (self._out / SELECTION_FILE).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino


def _stars_of(choice: KeyChoice) -> tuple[Star, ...]:
    others = (Star(number, False) for number in choice.comparisons if number != choice.target)
    return (Star(choice.target, True), *others)
