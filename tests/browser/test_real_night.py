"""The page as an observer uses it, over a night that is being reduced: what is awaited, every panel, and lost ground.

The index of clauses and their tests stands in docs/page.md.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.accessibility import assert_accessible
from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage
from tests.browser.real_night import RealNight, reduced_while_it_is_observed
from tests.faults.test_stops import pages_of

pytestmark = pytest.mark.clock

KEYS = ("1:g", "2:r", "3:i")
_ROWS = "([name, n]) => (window.Bokeh?.documents?.[0]?.get_model_by_name(name)?.get_length() ?? 0) >= n"
_IS_THERE = "name => window.Bokeh?.documents?.[0]?.get_model_by_name(name) != null"
_TITLE_HAS = """([name, words]) =>
    (window.Bokeh?.documents?.[0]?.get_model_by_name(name)?.title?.text ?? "").replaceAll("\\n", " ").includes(words)"""
_ROLE_IS = """label => { const data = window.Bokeh?.documents?.[0]?.get_model_by_name("sources")?.data;
    if (data == null) return false;
    return Array.from(data instanceof Map ? data.get("number") : data.number).includes(label); }"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNight]:
    with reduced_while_it_is_observed(tmp_path_factory.mktemp("real")) as running:
        yield running


def choose(page: NightPage, label: str, words: str) -> None:
    curves, middle = (page.page.locator(place) for place in (".curves", ".middle"))
    place = curves if label in ("bins", "rolling mean", "trend", "scale of flux") else middle
    place.get_by_label(label, exact=True).select_option(label=words)


def press(page: NightPage, name: str) -> None:
    page.page.get_by_role("button", name=name, exact=True).click()


def test_a_night_without_a_catalog_says_what_it_waits_for(browser: Browser, night: RealNight) -> None:
    with NightPage(browser, night.address, width=390, height=844, touch=True) as page:
        for key in KEYS:
            page.page.locator(".curves").get_by_text(f"3 of 5 frames for the catalog of {key}").wait_for()
        page.page.locator(".health").get_by_text("3 of 5 frames for the catalog of 2:r").wait_for()
        page.page.get_by_text("The field appears here with the first catalog.").wait_for()
        page.page.get_by_text("Power spectra appear here with the light curves").wait_for()
        assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert_accessible(page, "waiting")
        # What is awaited comes, and the page becomes that of a night without being loaded again.
        night.go_on.set()
        for key in KEYS:
            page.wait_for_points(key, 12)
        for place in (".health", ".curves"):
            page.page.locator(place).get_by_text("frames for the catalog").first.wait_for(state="hidden")
        page.assert_quiet()


def test_an_observer_looks_at_light_curves_and_their_spectra(browser: Browser, night: RealNight) -> None:
    night.go_on.set()
    with NightPage(browser, night.address) as page:
        page.wait_for_points(KEYS[0], 40)
        look_at_health(page, night)
        look_at_curves(page)
        pause_and_change_the_target(page)
        look_at_spectra(page)
        page.keep_picture("real-night")
        page.assert_quiet()


def look_at_health(page: NightPage, night: RealNight) -> None:
    strip = page.page.locator(".health .line")
    strip.get_by_text("live", exact=True).wait_for()
    for words in ("measured", "frames/s", "lag", "queue", "workers", "last frame"):
        strip.get_by_text(words, exact=True).wait_for()
    night.put_frame_without_header("231122g299999999o.fit")
    press(page, "rejected: which and why")
    page.page.get_by_text(re.compile(r"231122g299999999o\.fit")).first.wait_for()
    press(page, "rejected: which and why")


def look_at_curves(page: NightPage) -> None:
    key = KEYS[0]
    n_points = page.n_points(key)
    words = page.hover_point(key, 5)
    assert re.search(r"UTC\s*2023-11-22 03:\d\d:\d\d\.\d{3}", words), words
    assert re.search(r"flux\s*[01]\.\d{5} ± 0\.\d{5}", words), words
    assert re.search(r"frame\s*231122g200143\d+o\.fit", words), words

    choose(page, "bins", "5 s bins")
    page.wait("n => Bokeh.documents[0].get_model_by_name('light_curve_1:g').get_length() < n", n_points)
    choose(page, "bins", "each point")
    page.wait_for_points(key, n_points)
    choose(page, "rolling mean", "mean of 10 s")
    page.wait(_ROWS, [f"mean_{key}", 100])
    page.page.get_by_text("check star", exact=True).click()
    page.wait(_ROWS, [f"check_{key}", 20])
    choose(page, "trend", "straight line")
    page.wait(_TITLE_HAS, [f"strip_{key}", "polynomial of degree 1 divided out"])
    choose(page, "scale of flux", "magnitude difference")
    page.wait("name => Bokeh.documents[0].get_model_by_name(name).y_range.start > 0", f"strip_{key}")
    page.page.wait_for_url(re.compile(r"mean=10&check=1&trend=polynomial%3A1&scale=magnitude"))
    choose(page, "scale of flux", "relative flux")
    choose(page, "trend", "not detrended")
    page.page.get_by_text("free", exact=True).click()
    page.page.wait_for_url(re.compile(r"from=\d+&to=\d+"))
    page.page.get_by_text("night", exact=True).click()
    page.wait("() => !location.search.includes('from=')", None)


def pause_and_change_the_target(page: NightPage) -> None:
    """While light curves rest the rest goes on: another target is seen in the field at once."""
    page.page.keyboard.press(" ")
    page.page.get_by_text("light curves and what is made of them rest").wait_for()
    page.page.get_by_text(re.compile(r"resume · [1-9]\d* new")).wait_for()
    resting = page.columns(f"light_curve_{KEYS[0]}")["flux"]
    press(page, "target 3")
    page.wait(_ROLE_IS, "3T")
    assert page.columns(f"light_curve_{KEYS[0]}")["flux"] == resting
    page.page.keyboard.press(" ")
    page.wait_for_points(KEYS[0], len(resting) + 1)
    page.wait(_TITLE_HAS, [f"strip_{KEYS[0]}", "target 3 /"])
    press(page, "undo")
    page.wait(_TITLE_HAS, [f"strip_{KEYS[0]}", "target 2 /"])


def look_at_spectra(page: NightPage) -> None:
    for key in KEYS:
        page.wait(_ROWS, [f"spectrum_{key}", 20])
    choose(page, "axes", "linear frequency")
    page.page.wait_for_url(re.compile("axes=semilog"))
    page.wait("() => Bokeh.documents[0].get_model_by_name('power_1:g').x_scale.type === 'LinearScale'", None)
    press(page, "overlaid")
    for key in KEYS:
        page.wait(_ROWS, [f"overlaid_{key}", 20])
    page.page.locator(".middle").get_by_text(re.compile(r"0\.1\d+ ± 0\.\d+ Hz · \d")).first.wait_for()
    choose(page, "axes", "linear axes")
    page.wait("() => Bokeh.documents[0].get_model_by_name('power_overlaid').y_scale.type === 'LinearScale'", None)
    press(page, "overlaid")
    choose(page, "axes", "log axes")
    page.wait(_ROWS, [f"spectrum_{KEYS[2]}", 20])


def test_an_observer_goes_through_all_panels(browser: Browser, night: RealNight) -> None:
    night.go_on.set()
    with NightPage(browser, night.address) as page:
        page.wait_for_points(KEYS[0], 60)
        for tab, source, n_rows in PANELS:
            page.press_tab(tab)
            page.wait(_ROWS, [source, n_rows])
        look_at_conditions(page)
        look_at_a_frame(page)
        choose_a_photometer(page)
        take_away(page, browser)
        page.assert_quiet()


PANELS = (
    ("dynamic", "dynamic_spectrum", 1),
    ("lags", "lags_points_lag 2:r behind 1:g", 1),
    ("correlation", "correlation_points_correlation 2:r behind 1:g", 3),
    ("fold", "fold_points_1:g", 20),
    ("transit", "transit_points_1:g", 10),
    ("focus", "focus_1:g#2", 1),
)


def look_at_conditions(page: NightPage) -> None:
    page.press_tab("conditions")
    for name in ("fwhm_px", "ellipticity", "sky_e_per_px", "transparency", "shift_x_px", "rotation_deg"):
        page.wait(_ROWS, [f"conditions_{name}_{KEYS[2]}", 20])
    choose(page, "what is drawn", "sky / e⁻ per px")
    choose(page, "against what", "against FWHM / px")
    page.wait("name => Bokeh.documents[0].get_model_by_name(name)?.x_range.end < 50", "conditions_sky_e_per_px")
    press(page, "seeing")
    page.wait(_ROWS, [f"conditions_fwhm_px_{KEYS[0]}", 20])


def look_at_a_frame(page: NightPage) -> None:
    page.click_point(KEYS[0], 30)
    page.wait(_ROWS, ["stamps", 3])
    for words in ("no flag", "exposure", "aligned on", "flags of the frame"):
        page.page.locator(".middle").get_by_text(words).first.wait_for()
    page.page.locator(".middle").get_by_text(re.compile(r"header: \d+ keywords")).click()
    page.page.locator(".middle").get_by_text("EXPOSURE", exact=True).wait_for()


def choose_a_photometer(page: NightPage) -> None:
    page.press_tab("photometers")
    page.page.get_by_text("★").first.wait_for()
    page.page.get_by_role("button", name="forced aperture annulus", exact=True).click()
    page.page.wait_for_url(re.compile("photometer=forced_aperture_annulus"))


def take_away(page: NightPage, browser: Browser) -> None:
    page.press_tab("take away")
    for placeholder, words in (("AAVSO observer code", "XYZA"), ("name of the star", "V1")):
        page.page.get_by_placeholder(placeholder).fill(words)
        page.page.get_by_placeholder(placeholder).press("Enter")
    page.page.get_by_placeholder("note, as: clouds").fill("refocus <b>")
    press(page, "pin")
    page.wait(_ROWS, ["notes", 1])
    for name, start in BEGINNINGS.items():
        with page.page.expect_download() as download:
            page.page.locator(".middle").get_by_text(name, exact=True).first.click()
        content = download.value.path().read_bytes()
        assert content.startswith(start), (name, content[:80])
        if name in ("CSV", "ECSV", "AAVSO"):
            assert b"refocus <b>" in content, name
    # The link, with all that was chosen, opens the same view in another window.
    with NightPage(browser, page.page.url) as other:
        other.page.get_by_placeholder("note, as: clouds").wait_for()
        assert other.page.url == page.page.url


BEGINNINGS = {
    "CSV": b"#",
    "ECSV": b"# %ECSV",
    "FITS": b"SIMPLE",
    "AAVSO": b"#TYPE=EXTENDED",
    "PNG": b"\x89PNG",
    "SVG": b"<?xml",
}


def test_an_observer_works_in_the_field_by_mouse_keyboard_and_table(browser: Browser, night: RealNight) -> None:
    night.go_on.set()
    with NightPage(browser, night.address) as page:
        page.wait(_ROLE_IS, "2T")
        page.wait(_ROWS, ["picture", 1])
        page.wait("() => Bokeh.documents[0].get_model_by_name('no_compass').visible", None)
        page.page.locator(".field").get_by_text(re.compile(r"of \d stars matched")).first.wait_for()
        page.page.get_by_label("white of the picture").press("ArrowLeft")
        page.wait("() => Bokeh.documents[0].get_model_by_name('stretch').value[1] < 255", None)

        page.click_source(3, modifiers=["Shift"])
        page.wait(_ROLE_IS, "3")
        page.page.get_by_placeholder("name", exact=True).fill("without 3")
        page.page.get_by_placeholder("name", exact=True).press("Enter")
        press(page, "save stars")
        page.page.get_by_label("saved comparison stars").wait_for()
        press(page, "compare 3")
        page.wait(_ROLE_IS, "3c")
        page.page.get_by_label("saved comparison stars").select_option("without 3")
        press(page, "use")
        page.wait(_ROLE_IS, "3")
        press(page, "undo")
        page.wait(_ROLE_IS, "3c")

        page.page.keyboard.press("2")
        page.wait("() => Bokeh.documents[0].get_model_by_name('field_key').active === 1", None)
        page.page.keyboard.press("t")
        page.wait("() => Bokeh.documents[0].get_model_by_name('click').active === 1", None)
        page.page.keyboard.press("?")
        page.page.get_by_role("dialog").get_by_text("light curves and what is made of them").wait_for()
        page.page.keyboard.press("Escape")
        page.assert_quiet()


def test_a_finger_does_what_a_mouse_does(browser: Browser, night: RealNight) -> None:
    night.go_on.set()
    with NightPage(browser, night.address, width=390, height=844, touch=True) as page:
        page.wait_for_points(KEYS[0], 60)
        page.tap_point(KEYS[0], 20)
        page.wait(_ROWS, ["stamps", 3])
        page.page.get_by_role("button", name="comparisons", exact=True).tap()
        page.page.touchscreen.tap(*page.place_of_source(3))
        page.wait(_ROLE_IS, "3")
        page.page.get_by_role("button", name="undo", exact=True).tap()
        page.wait(_ROLE_IS, "3c")
        page.page.get_by_role("button", name="pause", exact=True).tap()
        page.page.get_by_text("light curves and what is made of them rest").wait_for()
        assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.assert_quiet()


@pytest.mark.parametrize(
    ("query", "sentences"),
    [
        (
            "window=0&from=5&to=5&axes=round&photometer=best&tab=focus&focus=1:g%2399",
            (
                "window (0 s) must be greater than 0",
                "from (5) must be before to (5)",
                "axes (round) must be one of log, semilog, linear",
                "photometer 'best' must be one of forced_",
                "1:g has no source 99: its catalog has 1 to",
            ),
        ),
        ("tab=fold&period=0", ("period ('0') must be a number greater than 0",)),
    ],
)
def test_what_makes_no_sense_in_an_address_is_a_sentence(
    browser: Browser, night: RealNight, query: str, sentences: tuple[str, ...]
) -> None:
    night.go_on.set()
    with NightPage(browser, f"{night.address}?{query}") as page:
        for sentence in sentences:
            page.page.get_by_text(sentence).first.wait_for()
        page.wait_for_points(KEYS[0], 12)


def test_a_lost_connection_is_said_and_the_page_comes_back(browser: Browser, night: RealNight) -> None:
    night.go_on.set()
    with NightPage(browser, night.address) as page:
        page.wait_for_points(KEYS[0], 12)
        (server,) = pages_of(night.watch)
        os.kill(server, signal.SIGKILL)
        page.page.get_by_text("The page lost its server").wait_for()
        page.wait_for_points(KEYS[0], 20)
        page.page.get_by_text("The page lost its server").wait_for(state="hidden")
