"""Minutes of a night at the highest rate that it sustains, a browser on its page: flat queue, flat memory, all frames?

Run as ``python -m benchmarks.soak --minutes 10``. The rate is searched first, by short stretches of the same night, and
the long stretch is a tenth below it; ``--rate 60`` takes that rate instead. Everything runs on this machine: cameras,
night, two workers, page and browser.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.sections import PAGE, SOAK_TITLE, Section, machine, with_section
from benchmarks.steady_night import ROLES, SteadyNight, Stretch, highest_rate, steady_night
from stream.night.ledger import LedgerReader

_FIRST_RATE, _MOST_RATE = 60.0, 1000.0
_PROBE_S = 24.0
_BELOW = 0.9
_FULL_MINUTES = 10.0
_MOST_GROWTH = 1.15
"""Of memory, from the second quarter of the time to the last, beyond what the frames in between may take."""
_KB_A_FRAME = {"night": 0.5, "worker": 0.0, "page": 2.0}
"""Names and columns that are kept in memory; with these a night of 100,000 frames stays within the budgets."""


@dataclass(frozen=True, slots=True)
class Soak:
    """What became of a night at a steady rate.

    Attributes
    ----------
    tried : sequence of (float, bool)
        Rates of the search and whether they were sustained; empty where the rate was given.
    stretch : Stretch
        The long one.
    """

    tried: Sequence[tuple[float, bool]]
    stretch: Stretch
    written: int
    measured: int
    rejected: int
    points_in_browser: int

    def failures(self) -> list[str]:
        """A sentence for each thing that is not as it has to be."""
        found, samples = [], self.stretch.samples
        if self.measured + self.rejected != self.written:
            found.append(f"{self.written} frames were written, {self.measured + self.rejected} have an outcome")
        if self.rejected:
            found.append(f"{self.rejected} frames were rejected")
        if not self.stretch.kept_pace:
            asked, reached = self.stretch.asked, self.stretch.reached
            found.append(f"{reached:.0f} frames a second could be written in the place of {asked:.0f}")
        quarter = len(samples) // 4
        if not quarter:
            return found
        early, late = samples[quarter : 2 * quarter], samples[-quarter:]
        if np.median([s.waiting for s in late]) > np.median([s.waiting for s in early]) + 0.5 * self.stretch.asked:
            found.append("the queue grew")
        n_between = float(np.median([s.written for s in late]) - np.median([s.written for s in early]))
        for index, role in enumerate(ROLES):
            before, after = (np.median([s.memory_mb[index] for s in part]) for part in (early, late))
            if after > _MOST_GROWTH * before + _KB_A_FRAME[role] * n_between / 1024.0:
                found.append(f"memory of the {role} process grew from {before:.0f} to {after:.0f} MB")
        return found

    def section(self) -> Section:
        """About ten lines of the samples."""
        samples, failures = self.stretch.samples, self.failures()
        step = max(1, len(samples) // 10)
        rows = tuple(
            (f"{s.seconds:.0f}", f"{s.written}", f"{s.waiting}", *(f"{memory:.0f}" for memory in s.memory_mb))
            for s in (*samples[:-1:step], samples[-1])
        )
        today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        minutes = (samples[-1].seconds - samples[0].seconds) / 60.0
        texts = (
            f"Printed by `make soak` on {today}. Machine: {machine()}. Three cameras, 512 x 512, six sources, standard "
            "recipe, two workers, the page open in a browser; the cameras that write the frames and the browser share "
            "the cores with the night.",
            *([_search_sentence(self.tried)] if self.tried else []),
            f"For {minutes:.1f} minutes {self.stretch.reached:.0f} frames a second were written "
            f"({self.stretch.asked:.0f} asked for). Of all {self.written} frames of the night {self.measured} are "
            f"measured and {self.rejected} rejected; the browser held {self.points_in_browser} points of the first key "
            "at the end. Below: seconds since the night was ready, frames written, frames that wait for their outcome, "
            "and memory of the processes in MB, of the workers the larger.",
            f"Not as it has to be: {'; '.join(failures)}."
            if failures
            else "Queue and memory are flat, no frame is lost.",
        )
        return Section(SOAK_TITLE, texts, ("s", "written", "waiting", *ROLES), rows, n_words=0)


def _search_sentence(tried: Sequence[tuple[float, bool]]) -> str:
    words = ", ".join(f"{rate:.0f} ({'held' if held else 'fell behind'})" for rate, held in tried)
    return (
        f"The rate was searched by stretches of {_PROBE_S:.0f} seconds, in frames a second: {words}. A stretch is held "
        "if the cameras kept their pace and in its last third less than half a second of frames waited. The long "
        "stretch is a tenth below the highest that was held."
    )


def soak(root: Path, *, minutes: float, rate: float | None) -> Soak:
    """Search the highest rate, unless it is given, and write a tenth less than that for so many minutes.

    Raises
    ------
    NightError
        If the night does not start, or does not work off what waits within two minutes.
    """
    with steady_night(root) as night:
        tried: list[tuple[float, bool]] = []
        if rate is None:
            held, tried = highest_rate(lambda asked: _is_sustained(night, asked), first=_FIRST_RATE, most=_MOST_RATE)
            rate = _BELOW * (held or tried[-1][0])
        stretch = night.write_for(60.0 * minutes, rate)
        night.drain()
        written, points = night.written, night.count_points()
    reader = LedgerReader(root / "out")
    counts = reader.counts()
    reader.close()
    return Soak(tried, stretch, written, counts.n_measured, counts.n_rejected, points)


def _is_sustained(night: SteadyNight, rate: float) -> bool:
    stretch = night.write_for(_PROBE_S, rate)
    night.drain()
    return stretch.is_sustained


def main(words: Sequence[str] | None = None) -> int:
    """Run it, print the table; exit status 1 if something grew or is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=_FULL_MINUTES)
    parser.add_argument("--rate", type=float, help="frames a second, of all cameras; searched unless given")
    parser.add_argument("--page", type=Path, help="page whose section is replaced; that of the documentation after ten")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), minutes=given.minutes, rate=given.rate)
    section = found.section()
    console = Console(width=160)
    for text in section.texts:
        console.print(text)
    section.print_to(console)
    page = given.page or (PAGE if given.minutes >= _FULL_MINUTES else None)
    if page is not None:
        page.write_text(with_section(page.read_text(encoding="utf-8"), section), encoding="utf-8")
    for sentence in found.failures():
        sys.stderr.write(f"error: {sentence}\n")
    return 1 if found.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
