"""How long a long night takes to open: from the address that a browser asks for to light curves that are drawn.

Run as ``python -m benchmarks.page_opening --frames 100000``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.camera import N_CAMERAS, Cameras
from benchmarks.long_night import lengthen
from benchmarks.page_load import HAS_CURVES, START_S, browser_page
from benchmarks.running import RunningNight, answer_address, end, start
from benchmarks.service import WARM_UP_FRAMES

_DRAWN = "() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
_REPEATS = 3
_NIGHT = "night"


@dataclass(frozen=True, slots=True)
class Openings:
    """Seconds to the first light curves of all keys on the screen, one opening each.

    Attributes
    ----------
    unread_s : tuple of float
        Chosen from a list of nights: the server reads the night then.
    read_s : tuple of float
        By somebody who comes later.
    """

    n_frames: int
    unread_s: tuple[float, ...]
    read_s: tuple[float, ...]

    def sentence(self) -> str:
        """The figures in one line."""
        unread, read = (" ".join(f"{value:.2f}" for value in values) for values in (self.unread_s, self.read_s))
        return f"a night of {self.n_frames} frames is drawn {unread} s after it was opened first, {read} s by the next"


def measure_page_opening(root: Path, n_frames: int) -> Openings:
    """Open a night of so many frames, first by somebody for whom it has to be read."""
    folder, nights = root / "frames", root / "nights"
    out = nights / _NIGHT
    folder.mkdir(parents=True)
    nights.mkdir()
    with RunningNight(folder, out, 2) as night:
        Cameras().write(folder, range(WARM_UP_FRAMES // N_CAMERAS))
        night.wait_for_outcomes(WARM_UP_FRAMES)
    lengthen(out, n_frames)
    unread, read = [], []
    for _ in range(_REPEATS):
        process = start(["serve", str(nights), "--port", "0"])
        try:
            address = answer_address(process)
            with browser_page(address) as page:
                unread.append(_opened_s(page, f"{address}night?night={_NIGHT}"))
                read.append(_opened_s(page, f"{address}night?night={_NIGHT}"))
        finally:
            end(process)
    return Openings(n_frames, tuple(unread), tuple(read))


def _opened_s(page: Page, address: str) -> float:
    started = time.perf_counter()
    page.goto(address, wait_until="commit", timeout=1e3 * START_S)
    page.wait_for_function(HAS_CURVES, arg=N_CAMERAS, timeout=1e3 * START_S, polling="raf")
    page.evaluate(_DRAWN)
    return time.perf_counter() - started


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page_opening", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--frames", type=int, default=100_000)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        found = measure_page_opening(Path(folder), given.frames)
    sys.stdout.write(found.sentence() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
