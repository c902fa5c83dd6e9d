"""From a closed file to a point that is drawn, seen from within the browser, with other viewers beside it.

Run as ``python -m benchmarks.page_load --seconds 60 --viewers 30``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.camera import CADENCE_S, N_CAMERAS, Cameras
from benchmarks.running import RunningNight, core_by_role, n_outcomes, wait_until
from benchmarks.service import WARM_UP_FRAMES
from benchmarks.viewers import Viewers
from stream.errors import NightError
from stream.night.ledger import LedgerReader
from stream.night.night_folder import read_run_file

BUDGET_S = 0.3
START_S, _DRAIN_S = 60.0, 60.0
_SETTLE_S = 2.0
"""A page that was just loaded goes on to lay itself out for a while."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-proxy-server")
# A plot is painted in the animation frame after a change of its data; the frame after that one follows the paint.
_WATCH = """() => {
    const drawn = window.drawnAt = new Map();
    const names = model => { const data = model.data; return data instanceof Map ? data.get("frame") : data.frame; };
    const sources = Bokeh.documents[0]._all_models;
    for (const model of sources.values()) {
        if (!String(model.name).startsWith("light_curve_")) continue;
        const seen = new Set(names(model));
        const look = () => {
            const fresh = [...names(model)].filter(name => !seen.has(name));
            for (const name of fresh) seen.add(name);
            if (fresh.length) requestAnimationFrame(() => requestAnimationFrame(() => {
                const now = Date.now();
                for (const name of fresh) drawn.set(name, now);
            }));
        };
        model.streaming.connect(look);
        model.properties.data.change.connect(look);
    }
    return true; }"""
HAS_CURVES = """n => { const models = window.Bokeh?.documents?.[0]?._all_models;
    if (models == null) return false;
    const curves = [...models.values()].filter(model => String(model.name).startsWith("light_curve_"));
    return curves.length === n && curves.every(model => model.get_length() > 0); }"""


@dataclass(frozen=True, slots=True)
class PageLoad:
    """What became of the frames of a night that is looked at.

    Attributes
    ----------
    drawn_s : array
        From the closed file to the point on the screen of the browser, of the frames that were drawn.
    n_written, n_measured : int
        Frames of the series, and those with a measurement.
    rate : float
        Frames a second that the night measured.
    core : mapping
        Share of a core that each role used: night, worker, page.
    sent_mb_s : float
        What all other viewers together were sent.
    updates_s : float
        Updates a second of each of them.
    """

    n_viewers: int
    drawn_s: np.ndarray
    n_written: int
    n_measured: int
    rate: float
    core: Mapping[str, float]
    sent_mb_s: float
    updates_s: float

    def sentence(self) -> str:
        """The figures in one line."""
        p50, p99, longest = 1e3 * np.quantile(self.drawn_s, (0.5, 0.99, 1.0))
        core = ", ".join(f"{role} {100.0 * share:.0f} %" for role, share in self.core.items())
        return (
            f"{self.n_viewers} viewers besides: closed file to drawn point p50 {p50:.0f} ms, p99 {p99:.0f} ms, "
            f"longest {longest:.0f} ms of {len(self.drawn_s)} points; {self.n_measured} of {self.n_written} frames "
            f"measured at {self.rate:.1f} frames/s; share of a core: {core}; "
            f"others were sent {self.sent_mb_s:.2f} MB/s, {self.updates_s:.1f} updates/s each"
        )


def measure_page_load(root: Path, *, n_viewers: int, seconds: float, rate: float = N_CAMERAS / CADENCE_S) -> PageLoad:
    """Write frames of three cameras, `rate` a second, to a night with a browser and other viewers on its page."""
    folder, out = root / "frames", root / "out"
    folder.mkdir(parents=True)
    cameras, first = Cameras(), WARM_UP_FRAMES // N_CAMERAS
    exposures = range(first, first + max(1, round(seconds * rate / N_CAMERAS)))
    with RunningNight(folder, out, 2, page=True) as night:
        cameras.write(folder, range(first))
        night.wait_for_outcomes(WARM_UP_FRAMES)
        wait_until(lambda: read_run_file(out).page is not None, START_S, "the page to be served")
        address = read_run_file(out).page or ""
        with browser_page(address) as page, Viewers(address, n_viewers) as viewers:
            wait_for_curves(page)
            page.wait_for_timeout(1e3 * _SETTLE_S)
            page.evaluate(_WATCH)
            before, sent_before, updates_before = core_by_role(night.uses()), viewers.n_bytes, viewers.n_updates
            closed = cameras.write_paced(folder, exposures, N_CAMERAS / rate)
            took_s = len(exposures) * N_CAMERAS / rate
            core = {role: (used - before[role]) / took_s for role, used in core_by_role(night.uses()).items()}
            sent_mb_s = (viewers.n_bytes - sent_before) / took_s / 1e6
            updates_s = (viewers.n_updates - updates_before) / took_s / max(1, n_viewers)
            n_before = WARM_UP_FRAMES
            n_in_time = n_outcomes(out) - n_before
            night.wait_for_outcomes(n_before + len(closed), _DRAIN_S)
            page.wait_for_function("n => window.drawnAt.size >= n", arg=len(closed), timeout=1e3 * _DRAIN_S)
            drawn: dict[str, float] = dict(page.evaluate("() => [...window.drawnAt]"))
            _check_viewers(viewers)
    reader = LedgerReader(out)
    counts = reader.counts()
    reader.close()
    return PageLoad(
        n_viewers,
        np.array([drawn[name] / 1e3 - moment for name, moment in closed.items()]),
        len(closed),
        counts.n_measured - n_before,
        n_in_time / took_s,
        core,
        sent_mb_s,
        updates_s,
    )


def wait_for_curves(page: Page) -> None:
    """Wait until every key has points."""
    page.wait_for_function(HAS_CURVES, arg=N_CAMERAS, timeout=1e3 * START_S, polling=100)


def _check_viewers(viewers: Viewers) -> None:
    if viewers.n_lost:
        raise ConnectionError(f"{viewers.n_lost} of the other viewers lost their connection")


@contextmanager
def browser_page(address: str) -> Iterator[Page]:
    """A page in a browser of its own; raises NightError where there is no browser."""
    executable = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        raise NightError(f"there is no browser: none of {', '.join(_BROWSERS)} on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_ARGUMENTS))
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address, timeout=1e3 * START_S)
            yield page
        finally:
            browser.close()


def main(words: Sequence[str] | None = None) -> int:
    """Measure without other viewers and with them; exit status 1 if a frame is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page_load", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--viewers", type=int, nargs="*", default=[0, 30])
    given = parser.parse_args(words)
    is_complete = True
    for n_viewers in given.viewers:
        with tempfile.TemporaryDirectory() as folder:
            found = measure_page_load(Path(folder), n_viewers=n_viewers, seconds=given.seconds)
        sys.stdout.write(found.sentence() + "\n")
        is_complete &= found.n_measured == found.n_written
    return 0 if is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
