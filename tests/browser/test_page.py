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

from server.theme import PALETTES
from server.view_state import TABS
from stream.alerts import Alert, AlertKind
from tests.browser.accessibility import assert_accessible
from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage, served
from tests.server.fake_night import FREQUENCY_HZ, KEYS, START_MJD, VARIABLE, FakeNight

pytestmark = pytest.mark.clock

SIZES = ((1920, 1080, "light"), (1280, 800, "dark"), (390, 844, "red"))


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
    night.tell(Alert(1, AlertKind.DISK, "/data", "1.0 GB are free", 1000.0, 2000.0, ended="there is room again"))
    night.finish()
    with served(night.out) as address:
        yield address


@pytest.mark.parametrize(("width", "height", "theme"), SIZES)
def test_the_page_fits_the_screen(browser: Browser, finished: str, width: int, height: int, theme: str) -> None:
    with NightPage(browser, finished, width=width, height=height) as page:
        page.wait_for_points(KEYS[0], 1000)
        if theme != "dark":
            page.page.get_by_label("theme").select_option(theme)
            page.wait("theme => document.getElementById('theme')?.value === theme", theme)
            assert page.page.evaluate("localStorage.getItem('opticam-live-theme')") == theme
        for key in KEYS:
            page.wait_for_points(key, 1000)
        page.wait(_SOURCE_IS, f"{VARIABLE}T")
        background = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
        colour = PALETTES[theme].background
        red, green, blue = bytes.fromhex(colour[1:])
        assert background == f"rgb({red}, {green}, {blue})"
        assert page.page.evaluate("Bokeh.documents[0].get_model_by_name('field_figure').background_fill_color") == (
            PALETTES[theme].panel
        )
        page.wait("() => document.querySelector('main') !== null", None)
        overflow = page.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0
        if width > 820:
            assert page.page.evaluate("document.documentElement.scrollHeight") <= height
        page.keep_picture(f"page-{width}")
        look_at_all_panels(page, theme)
        assert page.page.title() == "night · opticam-live"
        page.assert_quiet()


def look_at_all_panels(page: NightPage, theme: str) -> None:
    """No panel shuts anybody out."""
    page.click_point(KEYS[0], -1)
    page.wait("() => Bokeh.documents[0].get_model_by_name('stamps')?.get_length() > 2", None)
    assert_accessible(page, f"{theme} frame")
    page.page.get_by_role("button", name="1 alert", exact=True).click()
    page.page.get_by_text("there is room again").wait_for()
    assert_accessible(page, f"{theme} alerts", within=".health")
    for tab in TABS:
        if tab != "frame":
            page.press_tab(tab)
            page.wait(
                "tab => { const {labels, active} = Bokeh.documents[0].get_model_by_name('tabs');"
                " return labels[active] === tab; }",
                tab,
            )
            assert_accessible(page, f"{theme} {tab}", within=".middle")


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


def test_an_observer_looks_closer_and_takes_away(browser: Browser, live: Served) -> None:
    with NightPage(browser, live.address) as page:
        key = KEYS[0]
        page.wait_for_points(key, 300)
        # Flagged points are hollow, and the words of a hover are there.
        columns = page.columns(f"light_curve_{key}")
        flagged = [flags for flags, alpha in zip(columns["flags"], columns["fill_alpha"], strict=True) if alpha == 0.0]
        assert set(flagged) == {"SATURATED"}
        assert columns["frame"][0] == "frame_1-g_000000.fit"
        assert columns["bjd_tdb"][0] == pytest.approx(START_MJD + 300.0 / 86400.0 + 2400000.5, abs=1e-6)

        # A drag over the curve stays at that stretch, at full detail, and the address says so.
        page.drag(key, 0.25, 0.75)
        page.page.wait_for_url(re.compile(r"from=\d+&to=\d+"))
        link = page.page.url
        times = page.columns(f"light_curve_{key}")["utc_ms"]
        low, high = (float(found) for found in re.findall(r"=(\d+)", link))
        page.wait(_STRETCH_IS, [f"light_curve_{key}", low - 1000.0, high + 1000.0])
        assert times[0] < low < high < times[-1]
        page.page.get_by_text("check star").click()
        page.wait(_HAS_ROWS, f"check_{key}")
        link = page.page.url
        assert "check=1" in link

        page.click_point(key, -3)
        page.page.get_by_text("is no longer there: its stamps cannot be shown").wait_for()
        page.press_tab("conditions")
        page.wait(_HAS_ROWS, f"conditions_shift_x_px_{key}")
        page.press_tab("photometers")
        page.page.get_by_text("★").first.wait_for()
        page.page.get_by_role("button", name="forced aperture annulus").click()
        page.page.wait_for_url(re.compile("photometer=forced_aperture_annulus"))

        page.press_tab("take away")
        page.page.get_by_placeholder("note, as: clouds").fill("wind shakes the telescope")
        page.page.get_by_text("pin", exact=True).click()
        page.wait("() => Bokeh.documents[0].get_model_by_name('notes')?.get_length() === 1", None)
        with page.page.expect_download() as download:
            page.page.get_by_text("CSV", exact=True).first.click()
        text = download.value.path().read_text(encoding="utf-8")
        assert "wind shakes the telescope" in text
        assert "# photometer: forced_aperture_annulus" in text
        page.assert_quiet()

        # The link restores the view for somebody else; what makes no sense in it is a sentence.
        page.page.goto(link.replace("check=1", "check=1&bin=wide"))
        page.wait(_STRETCH_IS, [f"light_curve_{key}", low - 1000.0, high + 1000.0])
        page.wait("() => Bokeh.documents[0].get_model_by_name('check').active", None)
        page.page.get_by_text("bin ('wide') must be a number").wait_for()


_HAS_ROWS = "name => (Bokeh.documents[0].get_model_by_name(name)?.get_length() ?? 0) > 20"
_STRETCH_IS = """([name, low, high]) => {
    const data = window.Bokeh?.documents?.[0]?.get_model_by_name(name)?.data;
    if (data == null) return false;
    const times = Array.from(data instanceof Map ? data.get("utc_ms") : data.utc_ms);
    return times.length > 20 && times[0] >= low && times[times.length - 1] <= high; }"""


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
        page.wait(_SOURCE_IS, "4c")
        page.page.get_by_text("undo", exact=True).click()
        page.wait(_SOURCE_IS, "4")
        page.page.get_by_text("the last change is taken back").wait_for()
        page.page.get_by_text("choose automatically").click()
        page.wait(_SOURCE_IS, "4c")
        page.assert_quiet()


def test_the_page_names_no_other_host(finished: str) -> None:
    with urllib.request.urlopen(finished, timeout=10.0) as answer:
        html = answer.read().decode()
    assert "/static/js/bokeh.min.js" in html
    assert [address for address in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", html) if "localhost" not in address] == []
