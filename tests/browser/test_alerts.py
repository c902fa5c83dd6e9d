"""Alerts on the page in Chromium: one that begins while somebody looks, its age, its end, and the list on a phone."""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec
import pytest

from stream.alerts import Alert, AlertKind
from tests.browser.accessibility import assert_accessible
from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage, served
from tests.server.fake_night import FakeNight

pytestmark = pytest.mark.clock


def test_an_alert_comes_grows_old_and_goes_into_the_list(tmp_path: Path) -> None:
    night = FakeNight(tmp_path / "night")
    night.advance(30)
    over = Alert(1, AlertKind.DISK, "/data", "1.0 GB are free", 1000.0, 2000.0, ended="there is room again")
    night.tell(over)
    with (
        served(night.out) as address,
        chromium() as browser,
        NightPage(browser, address, width=390, height=844, touch=True) as page,
    ):
        button = page.page.get_by_role("button", name="1 alert", exact=True)
        button.wait_for()
        assert page.page.get_by_label("alerts", exact=True).count() == 0
        clouds = Alert(2, AlertKind.CLOUDS, "1:g", "transparency of 1:g 0.58 <b>", time.time() - 185.0)
        night.tell(clouds)
        strip = page.page.get_by_label("alerts", exact=True)
        strip.get_by_text("clouds 1:g").wait_for()
        assert re.search(r"for [3-5] min transparency of 1:g 0\.58 <b>", strip.inner_text())
        page.page.get_by_role("button", name="2 alerts").tap()
        page.page.get_by_text("there is room again").wait_for()
        assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert_accessible(page, "alerts")
        night.tell(msgspec.structs.replace(clouds, until_unix_s=time.time(), ended="the light is back"))
        page.page.get_by_text("the light is back").wait_for()
        assert strip.count() == 0
        page.assert_quiet()
    night.finish()
