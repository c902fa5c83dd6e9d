"""The field in Chromium: its table by touch on a phone, two viewers at once, north and east, rejected frames."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from astropy.io import fits
from playwright.sync_api import Browser

from tests.browser.accessibility import assert_accessible
from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage, served
from tests.measure.packed_files import header
from tests.server.fake_night import KEYS, VARIABLE, FakeNight
from tests.server.test_compass import sky_header

pytestmark = pytest.mark.clock

FINGER_PX = 40.0
_ROLE_IS = """label => { const data = window.Bokeh?.documents?.[0]?.get_model_by_name("sources")?.data;
    if (data == null) return false;
    return Array.from(data instanceof Map ? data.get("number") : data.number).includes(label); }"""
_HAS_ARROWS = "n => window.Bokeh?.documents?.[0]?.get_model_by_name('compass')?.get_length() === n"
_SAYS_NO_NORTH = "said => Bokeh.documents[0].get_model_by_name('no_compass')?.visible === said"
_HAS_PICTURE = "() => Bokeh.documents[0].get_model_by_name('picture')?.get_length() === 1"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A finished night; the newest frame of the first key is turned by 30 degrees, that of the second mirrored too."""
    folder = tmp_path_factory.mktemp("field")
    night = FakeNight(folder / "night", frames=folder / "frames")
    night.advance(400)
    night.finish()
    for key, mirrored in ((KEYS[0], False), (KEYS[1], True)):
        (newest,) = sorted((folder / "frames").glob(f"frame_{key.replace(':', '-')}_*"))[-1:]
        with fits.open(newest, mode="update") as hdus:
            hdus[0].header.update(header())
            hdus[0].header.update(sky_header(30.0, mirrored=mirrored))
    with served(night.out) as page_address:
        yield page_address


def press(page: NightPage, name: str) -> None:
    page.page.get_by_role("button", name=name, exact=True).tap()


def test_a_finger_chooses_stars_from_the_table_and_another_viewer_is_told(browser: Browser, address: str) -> None:
    with (
        NightPage(browser, address, width=390, height=844, touch=True) as phone,
        NightPage(browser, address) as desk,
    ):
        for page in (phone, desk):
            page.wait(_ROLE_IS, "3c")
            page.page.get_by_text("% of the weight").first.wait_for()
        small = phone.page.evaluate(_SMALL_BUTTONS, FINGER_PX)
        assert small == []
        phone.keep_picture("field-phone")

        press(phone, "compare 3")
        for page in (phone, desk):
            page.wait(_ROLE_IS, "3")
        desk.page.get_by_text("another viewer changed 1:g: source 3 is compared with no more").wait_for()
        assert phone.page.get_by_text("another viewer changed").count() == 0
        phone.page.get_by_text("left out by hand: it would be suggested").wait_for()

        press(phone, "target 4")
        for page in (phone, desk):
            page.wait(_ROLE_IS, "4T")
        press(phone, "undo")
        press(phone, "undo")
        phone.wait(_ROLE_IS, "3c")
        phone.wait(_ROLE_IS, f"{VARIABLE}T")
        assert phone.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        phone.assert_quiet()
        desk.assert_quiet()


_SMALL_BUTTONS = """finger => {
    const found = [];
    const walk = root => {
        for (const element of root.querySelectorAll("*")) {
            if (element.shadowRoot) walk(element.shadowRoot);
            if (!element.matches("button, select, input:not([type=hidden])")) continue;
            const {width, height} = element.getBoundingClientRect();
            const isSmall = width > 0 && (width < finger || height < finger);
            if (isSmall) found.push([element.outerHTML.slice(0, 80), width, height]);
        }
    };
    walk(document);
    return found; }"""


def test_an_observer_at_a_desk_looks_at_the_field(browser: Browser, address: str) -> None:
    with NightPage(browser, address) as page:
        page.wait(_ROLE_IS, f"{VARIABLE}T")
        press_what_there_is_not(page)
        look_for_north_and_east(page)
        look_at_the_focus(page)
        read_why_frames_were_rejected(page)
        page.assert_quiet()


def press_what_there_is_not(page: NightPage) -> None:
    for command in ("drop table 1", "target 99 2"):
        page.page.evaluate("text => { Bokeh.documents[0].get_model_by_name('star_press').value = text; }", command)
    page.page.get_by_text("1:g has no source 99: its catalog has 1 to 6").wait_for()
    page.page.get_by_role("button", name="target 5", exact=True).click()
    page.wait(_ROLE_IS, "5T")
    # The keys of the keyboard go on where they were, though the table was drawn anew.
    page.wait("() => document.activeElement !== document.body", None)
    page.page.get_by_text("undo", exact=True).click()
    page.wait(_ROLE_IS, f"{VARIABLE}T")


def look_for_north_and_east(page: NightPage) -> None:
    page.wait(_HAS_ARROWS, 2)
    turned = page.columns("compass")
    assert turned["text"] == ["N", "E"]
    page.wait(_SAYS_NO_NORTH, False)
    north, east = ([turned[f"{axis}1"][row] - turned[f"{axis}0"][row] for axis in "xy"] for row in (0, 1))
    assert north[0] == pytest.approx(-0.5774 * north[1], rel=1e-3)
    assert east[0] < 0.0
    page.keep_picture("field-compass")
    page.page.locator(".field").get_by_text(KEYS[2], exact=True).first.click()
    page.wait(_HAS_ARROWS, 0)
    page.wait(_HAS_PICTURE, None)
    assert page.columns("compass")["text"] == []
    page.wait(_SAYS_NO_NORTH, True)
    page.page.locator(".field").get_by_text(KEYS[1], exact=True).first.click()
    page.wait(_HAS_ARROWS, 2)
    mirrored = page.columns("compass")
    assert mirrored["x1"][1] > mirrored["x0"][1]
    page.page.locator(".field").get_by_text(KEYS[0], exact=True).first.click()
    page.wait(_ROLE_IS, f"{VARIABLE}T")


def look_at_the_focus(page: NightPage) -> None:
    page.page.locator(".field").get_by_text("focus", exact=True).click()
    page.click_source(3)
    page.page.wait_for_url(re.compile("tab=focus.*focus=1%3Ag%233"))
    for key in KEYS[:2]:
        page.wait("name => Bokeh.documents[0].get_model_by_name(name)?.get_length() === 1", f"focus_{key}#3")
        (width,) = page.columns(f"focus_{key}#3")["y"]
        assert width == pytest.approx(2.355 * 1.7, rel=0.05)
    page.page.get_by_text("frames are no longer there").wait_for()
    page.keep_picture("focus")
    page.click_source(3)
    page.wait("() => Bokeh.documents[0].get_model_by_name('focus_1:g#2') != null", None)
    assert "focus=" not in page.page.url.partition("tab=focus")[2]


def read_why_frames_were_rejected(page: NightPage) -> None:
    button = page.page.get_by_role("button", name="rejected: which and why", exact=True)
    button.click()
    page.page.get_by_text("frame_1-g_000096.fit holds 100 bytes of data").wait_for()
    assert_accessible(page, "focus and rejected frames")
    button.click()
    page.wait("() => !Bokeh.documents[0].get_model_by_name('rejected').visible", None)
