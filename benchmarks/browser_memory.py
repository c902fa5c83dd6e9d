"""Memory of a browser on a page that stays open for hours: so many points through the real page, faster than they come.

Run as ``python -m benchmarks.browser_memory --frames 72000``: two hours at ten frames a second of each of three keys.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import CDPSession, Page

from benchmarks.camera import N_CAMERAS, Cameras
from benchmarks.long_night import lengthen
from benchmarks.page_load import browser_page, wait_for_curves
from benchmarks.running import RunningNight, answer_address, end, n_outcomes, start
from benchmarks.service import WARM_UP_FRAMES
from stream.errors import NightError

MOST_GROWTH = 1.15
"""Of the heap of the browser, from the first half of the points to the last."""
_N_SAMPLES = 8
_SEEN_S = 60.0
_N_POINTS = """() => { const title = Bokeh.documents[0].get_model_by_name("strip_1:g").title.text;
    const found = /([0-9,]+) points/.exec(title); return found ? Number(found[1].replaceAll(",", "")) : 0; }"""


@dataclass(frozen=True, slots=True)
class Sample:
    """A browser at one moment: points of one key that the page tells of, heap after a collection, nodes of the page."""

    n_points: int
    heap_mb: float
    n_nodes: int


def measure_browser_memory(root: Path, n_frames: int) -> list[Sample]:
    """Lengthen a night by `n_frames` of each key, in steps, before the eyes of a browser.

    Rows are put into the ledger as a night would put them, and the page follows it as that of a night whose broker
    cannot be heard: once a second, with all that is new.
    """
    folder, out = root / "frames", root / "out"
    folder.mkdir(parents=True)
    with RunningNight(folder, out, 2) as night:
        Cameras().write(folder, range(WARM_UP_FRAMES // N_CAMERAS))
        night.wait_for_outcomes(WARM_UP_FRAMES)
    process = start(["serve", str(out), "--port", "0"])
    samples: list[Sample] = []
    try:
        with browser_page(answer_address(process)) as page:
            wait_for_curves(page)
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable")
            # The browser sees each of many small growths, as it would in the night.
            n_steps = max(_N_SAMPLES, n_frames // 300)
            for step in range(1, n_steps + 1):
                lengthen(out, WARM_UP_FRAMES + N_CAMERAS * (n_frames * step // n_steps))
                _wait_for_points(page, n_outcomes(out) // N_CAMERAS)
                if step * _N_SAMPLES // n_steps > len(samples):
                    samples.append(_sample(page, session))
    finally:
        end(process)
    return samples


def _wait_for_points(page: Page, n_points: int) -> None:
    deadline = time.monotonic() + _SEEN_S
    while int(page.evaluate(_N_POINTS)) < 0.95 * n_points:
        if time.monotonic() > deadline:
            raise NightError(f"the page did not tell of {n_points} points within {_SEEN_S:g} s")
        page.wait_for_timeout(50.0)


def _sample(page: Page, session: CDPSession) -> Sample:
    session.send("HeapProfiler.collectGarbage")
    found = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return Sample(int(page.evaluate(_N_POINTS)), found["JSHeapUsedSize"] / 2**20, int(found["Nodes"]))


def growth(samples: Sequence[Sample]) -> float:
    """Of the heap, from the first half of the samples to the last one, each at its largest."""
    half = len(samples) // 2
    return max(each.heap_mb for each in samples[half:]) / max(each.heap_mb for each in samples[:half])


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; exit status 1 if memory grew."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.browser_memory", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--frames", type=int, default=72_000, help="of each key")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        samples = measure_browser_memory(Path(folder), given.frames)
    for sample in samples:
        sys.stdout.write(f"{sample.n_points:8d} points  {sample.heap_mb:6.1f} MB  {sample.n_nodes} nodes\n")
    found = growth(samples)
    sys.stdout.write(f"from the first half to the second: {found:.2f} times\n")
    return 1 if found > MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
