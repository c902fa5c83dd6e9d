"""The page in Chromium, over a night that grows while it is looked at."""

from __future__ import annotations

import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage, served
from tests.server.fake_night import FREQUENCY_HZ, KEYS, VARIABLE, FakeNight

pytestmark = pytest.mark.clock

SIZES = ((1920, 1080), (1280, 800), (390, 844))


@dataclass(frozen=True, slots=True)
class Served:
    """A night that grows by a frame a key each tenth of a second, and the address of its page."""

    out: Path
    address: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Served]:
    out = tmp_path / "night"
    begun, stopping = threading.Event(), threading.Event()

    def grow() -> None:
        # The ledger belongs to the thread that opened it.
        night = FakeNight(out, frames=tmp_path / "frames")
        night.advance(300)
        begun.set()
        while not stopping.wait(0.1):
            night.advance(1)
        night.finish()

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        assert begun.wait(30.0)
        with served(out) as address:
            yield Served(out, address)
    finally:
        stopping.set()
        growing.join()


def test_an_observer_watches_a_night_and_chooses_another_target(browser: Browser, live: Served) -> None:
    with ExitStack() as stack:
        page = stack.enter_context(NightPage(browser, live.address))
        for key in KEYS:
            page.wait_for_points(key, 100, timeout_s=20.0)
        first = page.n_points(KEYS[0])
        page.wait_for_points(KEYS[0], first + 10)
        for key in KEYS:
            assert page.peak_hz(key) == pytest.approx(FREQUENCY_HZ, abs=0.0005)
        assert f"{VARIABLE}T" in page.columns("sources")["number"]
        before = np.std(page.columns(f"light_curve_{KEYS[2]}")["flux"])

        page.click_source(4)

        page.wait(
            """() => { const flux = Bokeh.documents[0].get_model_by_name("light_curve_3:i").data;
            const values = Array.from((flux instanceof Map ? flux.get("flux") : flux.flux));
            const mean = values.reduce((a, b) => a + b, 0) / values.length;
            return Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length) < 0.012; }""",
            None,
        )
        after = np.std(page.columns(f"light_curve_{KEYS[2]}")["flux"])
        assert before == pytest.approx(0.0205, abs=0.002)
        assert after == pytest.approx(0.0045, abs=0.001)
        page.wait(_SOURCE_IS, "4T")
        page.keep_picture("page-live")
        page.assert_quiet()

        page.page.reload()
        for key in KEYS:
            page.wait_for_points(key, first + 10, timeout_s=20.0)
        page.wait(_SOURCE_IS, "4T")

        second = stack.enter_context(NightPage(browser, live.address))
        second.wait_for_points(KEYS[0], first + 10, timeout_s=20.0)
        second.wait(_SOURCE_IS, "4T")
        second.click_source(3, modifiers=["Shift"])
        page.wait(_SOURCE_IS, "3")
        second.click_source(VARIABLE)
        page.wait(_SOURCE_IS, f"{VARIABLE}T")
        page.assert_quiet()
        second.assert_quiet()


_SOURCE_IS = """label => { const data = window.Bokeh?.documents?.[0]?.get_model_by_name("sources")?.data;
    if (data == null) return false;
    return Array.from(data instanceof Map ? data.get("number") : data.number).includes(label); }"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("finished")
    night = FakeNight(folder / "night", frames=folder / "frames")
    night.advance(2000)
    night.finish()
    with served(night.out) as address:
        yield address


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_page_fits_the_screen(browser: Browser, finished: str, width: int, height: int) -> None:
    with NightPage(browser, finished, width=width, height=height) as page:
        for key in KEYS:
            page.wait_for_points(key, 1000)
        page.wait(_SOURCE_IS, f"{VARIABLE}T")
        page.wait("() => document.querySelector('main') !== null", None)
        overflow = page.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0
        if width > 820:
            assert page.page.evaluate("document.documentElement.scrollHeight") <= height
        page.keep_picture(f"page-{width}")
        assert page.page.title() == "night · opticam-live"
        page.assert_quiet()


def test_a_window_and_the_rejected_frames_are_shown_on_demand(browser: Browser, finished: str) -> None:
    with NightPage(browser, finished) as page:
        page.wait_for_points(KEYS[0], 1000)
        page.page.get_by_text("5 min", exact=True).click()
        page.wait(
            "n => Bokeh.documents[0].get_model_by_name('light_curve_1:g').get_length() < n",
            310,
        )
        times = page.columns(f"light_curve_{KEYS[0]}")["utc_ms"]
        assert times[-1] - times[0] <= 300_000.0
        assert page.page.get_by_text("holds 100 bytes of data").count() == 0
        page.page.get_by_text(re.compile("rejected: which and why")).click()
        page.page.get_by_text("holds 100 bytes of data").first.wait_for()
        page.assert_quiet()


def test_a_touch_toggles_a_comparison_star(browser: Browser, finished: str) -> None:
    with NightPage(browser, finished) as page:
        page.wait(_SOURCE_IS, "3c")
        page.page.get_by_text("comparisons", exact=True).click()
        page.click_source(3)
        page.wait(_SOURCE_IS, "3")
        page.click_source(3)
        page.wait(_SOURCE_IS, "3c")
        # Two clicks so quick that they look like one double click are two clicks.
        page.click_source(4)
        page.click_source(5)
        page.wait(_SOURCE_IS, "4")
        page.wait(_SOURCE_IS, "5")
        page.page.get_by_text("choose automatically").click()
        page.page.get_by_text("are chosen automatically").wait_for()
        page.assert_quiet()


def test_the_page_names_no_other_host(finished: str) -> None:
    with urllib.request.urlopen(finished, timeout=10.0) as answer:
        html = answer.read().decode()
    assert "/static/js/bokeh.min.js" in html
    assert [address for address in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", html) if "localhost" not in address] == []
