"""One progress bar a key, one below the other, while the night measures all keys at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from stream.messages import NightStatus
from stream.night.ledger import LedgerReader
from stream.notebook import Bar, progress

_QUERY_SHARE = 0.05


class KeyBars:
    """Shows the first key that is not finished; its bar is completed before the next one begins.

    Parameters
    ----------
    out : Path
        Folder of the night; the counts come from its ledger.
    totals : dict
        Frames of each key.
    """

    def __init__(self, out: Path, totals: Mapping[str, int]) -> None:
        self._out, self._totals = out, totals
        self._open: list[str] = list(totals)
        self._bar: Bar | None = None
        self._bar_stack = ExitStack()
        self._not_before_s = 0.0

    def show(self, status: NightStatus) -> None:
        """Take the counts of the ledger, but do not keep the night waiting for them."""
        begin = time.monotonic()
        if begin < self._not_before_s:
            return
        reader = LedgerReader(self._out)
        try:
            measured = reader.counts().by_key
        finally:
            reader.close()
        self._advance(measured)
        now = time.monotonic()
        self._not_before_s = now + (now - begin) / _QUERY_SHARE

    def finish(self) -> None:
        """Every frame has its outcome."""
        self._advance(self._totals)

    def close(self) -> None:
        """Leave the bar of an interrupted night as it is; safe to call twice."""
        self._bar_stack.close()
        self._bar = None

    def _advance(self, done: Mapping[str, int]) -> None:
        while self._open:
            key = self._open[0]
            if self._bar is None:
                description = f"Performing photometry on {key} images"
                self._bar = self._bar_stack.enter_context(progress(description, self._totals[key]))
            self._bar.n = min(done.get(key, 0), self._totals[key])
            self._bar.refresh()
            if self._bar.n < self._totals[key]:
                return
            self.close()
            self._open.pop(0)
