"""A night that cameras write to at steady rates, its page in a browser: what it sustains, and where it falls behind."""

from __future__ import annotations

import math
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks.camera import N_CAMERAS, Cameras
from benchmarks.running import RunningNight, n_outcomes, wait_until
from benchmarks.service import WARM_UP_FRAMES
from stream.night.ledger import LEDGER_FILE
from stream.night.night_folder import read_run_file

ROLES = ("night", "worker", "page")
_CHUNK_S = 2.0
_START_S, _DRAIN_S = 60.0, 120.0
_LATE, _MOST_LATE = 1.05, 1.5
_MOST_WAITING_S = 0.5
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
class Stretch:
    """Some time at one rate.

    Attributes
    ----------
    asked, reached : float
        Frames a second that were to be written, and that were.
    """

    asked: float
    reached: float
    samples: Sequence[Sample]

    @property
    def kept_pace(self) -> bool:
        """Whether as many frames were written as asked for, within a twentieth."""
        return self.reached * _LATE >= self.asked

    @property
    def is_sustained(self) -> bool:
        """Whether cameras kept their pace, and in the last third less than half a second of frames waited."""
        late = self.samples[-max(1, len(self.samples) // 3) :]
        waiting = float(np.median([sample.waiting for sample in late]))
        return self.kept_pace and waiting < _MOST_WAITING_S * self.asked


class SteadyNight:
    """Writes to a running night, and takes away what was measured: a camera fills the disk."""

    def __init__(self, night: RunningNight, cameras: Cameras, count_points: Callable[[], int]) -> None:
        self._night, self._cameras, self.count_points = night, cameras, count_points
        self._next = self._taken_away = 0
        self._began_s = time.monotonic()

    @property
    def written(self) -> int:
        """Frames so far."""
        return N_CAMERAS * self._next

    def warm_up(self) -> None:
        """Write the frames that the catalogs are made of, and some more."""
        self._cameras.write(self._night.folder, range(WARM_UP_FRAMES // N_CAMERAS))
        self._next = WARM_UP_FRAMES // N_CAMERAS
        self.drain()

    def write_for(self, seconds: float, rate: float) -> Stretch:
        """Write `rate` frames a second for so long, and look at the night every two seconds."""
        samples, began_s, first = list[Sample](), time.monotonic(), self.written
        n_exposures = max(1, round(_CHUNK_S * rate / N_CAMERAS))
        for _ in range(max(1, round(seconds / _CHUNK_S))):
            exposures = range(self._next, self._next + n_exposures)
            self._cameras.write_paced(self._night.folder, exposures, N_CAMERAS / rate)
            self._next = exposures.stop
            samples.append(self._sample())
            self._take_away()
            if time.monotonic() - began_s > _MOST_LATE * seconds:
                break
        return Stretch(rate, (self.written - first) / (time.monotonic() - began_s), samples)

    def drain(self) -> None:
        """Wait until nothing waits; raises NightError if that takes more than two minutes."""
        wait_until(lambda: n_outcomes(self._night.out) >= self.written, _DRAIN_S, f"{self.written} outcomes")
        self._take_away()

    def _take_away(self) -> None:
        """Remove the files whose outcomes were committed since the last call; the newest are measured first."""
        connection = sqlite3.connect(f"file:{self._night.out / LEDGER_FILE}?mode=ro", uri=True)
        try:
            rows = connection.execute(
                "SELECT sequence, frame.path FROM outcome JOIN frame USING (frame_id) WHERE sequence > ?",
                (self._taken_away,),
            ).fetchall()
        finally:
            connection.close()
        for sequence, path in rows:
            (self._night.folder / path).unlink(missing_ok=True)
            self._taken_away = max(self._taken_away, sequence)

    def _sample(self) -> Sample:
        uses = self._night.uses()
        largest = tuple(max((use.memory_mb for use in uses if use.role == role), default=0.0) for role in ROLES)
        seconds = time.monotonic() - self._began_s
        return Sample(seconds, self.written, self.written - n_outcomes(self._night.out), largest)


@contextmanager
def steady_night(root: Path) -> Iterator[SteadyNight]:
    """A new night below `root`, two workers, its page open in a browser, warmed up."""
    folder, out = root / "frames", root / "out"
    folder.mkdir(parents=True)
    cameras = Cameras()
    with RunningNight(folder, out, 2, page=True) as night, _browser(out) as count_points:
        steady = SteadyNight(night, cameras, count_points)
        steady.warm_up()
        yield steady


def highest_rate(
    probe: Callable[[float], bool], *, first: float, most: float, within: float = 1.15
) -> tuple[float, list[tuple[float, bool]]]:
    """Search the highest rate that `probe` says is sustained: doubling, then halving the ratio that is left.

    Parameters
    ----------
    first, most : float
        Rates to begin with and not to exceed.
    within : float
        The search ends when the lowest rate that failed is less than so many times the highest that held.

    Returns
    -------
    float
        The highest rate that held; 0 if none did, down to an eighth of `first`.
    list of (rate, whether it held)
        In the order in which they were tried.
    """
    tried: list[tuple[float, bool]] = []
    rate = first
    while True:
        tried.append((rate, probe(rate)))
        held = max((each for each, was_held in tried if was_held), default=0.0)
        failed = min((each for each, was_held in tried if not was_held), default=math.inf)
        if held >= most or failed < within * held or failed <= first / 8.0:
            return held, tried
        if held and math.isfinite(failed):
            rate = math.sqrt(held * failed)
        else:
            rate = min(2.0 * held, most) if held else failed / 2.0


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
