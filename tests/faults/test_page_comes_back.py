"""The page's server is killed under a browser: the page comes back by itself, with the frames that it missed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage
from tests.faults.comparison import differences
from tests.faults.conftest import Report, names
from tests.faults.test_stops import page_of, pages_of
from tests.faults.whole_night import KEYS, SimulatedNight, Watch, put

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.mark.timeout(400)
def test_a_browser_comes_back_after_its_server_was_killed_and_shows_every_frame(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    frames = night.frames[:120]
    with (
        chromium() as browser,
        Watch(tmp_path / "frames", tmp_path / "out", night.catalogs, ("--port", "0")) as watch,
    ):
        put(frames[:60], watch.folder)
        watch.wait(60)
        page = NightPage(browser, page_of(watch))
        for key in KEYS:
            page.wait_for_points(key, 20, timeout_s=90.0)
        for n_frames in (90, 120):
            (server,) = pages_of(watch)
            os.kill(server, signal.SIGKILL)
            put(frames[n_frames - 30 : n_frames], watch.folder)
            watch.wait(n_frames)
            for key in KEYS:
                page.wait_for_points(key, n_frames // 3, timeout_s=90.0)
        page.page.close()
        assert watch.stop().status == 0
    wrong = differences(watch.out, night.undisturbed, names(frames))
    report("kill -9 of the page under a browser", watch.out, n_faults=2, n_in=len(frames), wrong=wrong)
