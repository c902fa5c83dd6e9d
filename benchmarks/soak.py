"""A night at a steady rate for minutes, a browser on its page: is the queue flat, is memory flat, is every frame there?

Run as ``python -m benchmarks.soak --minutes 10 --rate 60``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright
from rich.console import Console

from benchmarks.camera import CADENCE_S, N_CAMERAS, Cameras
from benchmarks.running import RunningNight, n_outcomes, wait_until
from benchmarks.sections import Section
from benchmarks.service import WARM_UP_FRAMES
from stream.night.ledger import LedgerReader
from stream.night.night_folder import read_run_file

_ROLES = ("night", "worker", "page")
_CHUNK_S = 10.0
_KEPT_CHUNKS = 2
_DRAIN_S = 60.0
_START_S = 60.0
_MOST_GROWTH = 1.15
"""Of memory, from the second quarter of the time to the last."""
_N_POINTS = """() => {
    const model = Bokeh.documents[0].get_model_by_name("light_curve_1:g");
    return model == null ? 0 : model.get_length(); }"""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class Sample:
    """The night at one moment.

    Attributes
    ----------
    waiting : int
        Frames that are written and have no outcome.
    memory_mb : tuple of float
        Largest of the processes of each role: night, worker, page.
    """

    seconds: float
    written: int
    waiting: int
    memory_mb: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Soak:
    """What became of a night at a steady rate."""

    rate: float
    samples: Sequence[Sample]
    written: int
    measured: int
    rejected: int
    points_in_browser: int

    def failures(self) -> list[str]:
        """A sentence for each thing that is not as it has to be."""
        found = []
        if self.measured + self.rejected != self.written:
            found.append(f"{self.written} frames were written, {self.measured + self.rejected} have an outcome")
        if self.rejected:
            found.append(f"{self.rejected} frames were rejected")
        quarter = len(self.samples) // 4
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        if quarter and np.median([s.waiting for s in late]) > np.median([s.waiting for s in early]) + self.rate:
            found.append("the queue grew")
        for index, role in enumerate(_ROLES):
            before, after = (np.median([s.memory_mb[index] for s in part]) for part in (early, late))
            if quarter and after > _MOST_GROWTH * before:
                found.append(f"memory of the {role} process grew from {before:.0f} to {after:.0f} MB")
        return found

    def section(self) -> Section:
        """About ten lines of the samples."""
        step = max(1, len(self.samples) // 10)
        rows = tuple(
            (f"{s.seconds:.0f}", f"{s.written}", f"{s.waiting}", *(f"{memory:.0f}" for memory in s.memory_mb))
            for s in (*self.samples[:-1:step], self.samples[-1])
        )
        text = (
            f"{self.rate:g} frames a second of three cameras, 512 x 512, written beside the reduction, two workers, "
            f"the page open in a browser. Of {self.written} frames {self.measured} are measured and {self.rejected} "
            f"rejected; the browser held {self.points_in_browser} points of the first key at the end. Memory in MB, "
            "of workers the largest."
        )
        columns = ("s", "frames written", "waiting", *_ROLES)
        return Section("A steady night", (text,), columns, rows, n_words=0)


def soak(root: Path, *, minutes: float, rate: float) -> Soak:
    """Write frames at `rate` frames a second for so many minutes, and look at the night every ten seconds."""
    folder, out = root / "frames", root / "out"
    folder.mkdir(parents=True)
    cameras, samples, old = Cameras(), list[Sample](), list[list[Path]]()
    cadence_s, per_chunk = N_CAMERAS / rate, max(1, round(_CHUNK_S * rate / N_CAMERAS))
    next_exposure = WARM_UP_FRAMES // N_CAMERAS
    with RunningNight(folder, out, 2, page=True) as night, _browser(out) as count_points:
        cameras.write(folder, range(next_exposure))
        night.wait_for_outcomes(WARM_UP_FRAMES)
        started = time.monotonic()
        while time.monotonic() - started < 60.0 * minutes:
            names = cameras.write_paced(folder, range(next_exposure, next_exposure + per_chunk), cadence_s)
            next_exposure += per_chunk
            samples.append(_sample(night, time.monotonic() - started, N_CAMERAS * next_exposure))
            old.append([folder / name for name in names])
            # A camera fills the disk; what is measured is not needed here. What waits still is.
            if len(old) > _KEPT_CHUNKS and samples[-1].waiting < len(names):
                for path in old.pop(0):
                    path.unlink()
        written = N_CAMERAS * next_exposure
        wait_until(lambda: n_outcomes(out) >= written, _DRAIN_S, f"{written} outcomes")
        points = count_points()
    reader = LedgerReader(out)
    counts = reader.counts()
    reader.close()
    return Soak(rate, samples, written, counts.n_measured, counts.n_rejected, points)


@contextmanager
def _browser(out: Path) -> Iterator[Callable[[], int]]:
    """The page of the night in a browser; what is given counts the points that it holds of the first key."""
    wait_until(lambda: _page_address(out) is not None, _START_S, "the page to be served")
    executable = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(_page_address(out) or "")
            yield lambda: int(page.evaluate(_N_POINTS))
        finally:
            browser.close()


def _page_address(out: Path) -> str | None:
    return read_run_file(out).page


def _sample(night: RunningNight, seconds: float, written: int) -> Sample:
    uses = night.uses()
    largest = tuple(max((use.memory_mb for use in uses if use.role == role), default=0.0) for role in _ROLES)
    return Sample(seconds, written, written - n_outcomes(night.out), largest)


def main(words: Sequence[str] | None = None) -> int:
    """Run it, print the table; exit status 1 if something grew or is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=N_CAMERAS / CADENCE_S, help="frames a second, of all cameras")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), minutes=given.minutes, rate=given.rate)
    console = Console(width=160)
    section = found.section()
    console.print(section.texts[0])
    section.print_to(console)
    for sentence in found.failures():
        sys.stderr.write(f"error: {sentence}\n")
    return 1 if found.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
