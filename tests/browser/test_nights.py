"""Several nights under one folder in Chromium: their list, one of them opened, and nights that cannot be shown."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from tests.browser.accessibility import assert_accessible
from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage, served
from tests.server.fake_night import KEYS, FakeNight

pytestmark = pytest.mark.clock


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights, one of which was written by a version to come."""
    root = tmp_path_factory.mktemp("nights")
    for name in ("2026-11-21", "2026-11-22"):
        night = FakeNight(root / name)
        night.advance(60)
        night.finish()
    with sqlite3.connect(root / "2026-11-21" / "night.db") as ledger:
        ledger.execute("PRAGMA user_version = 99")
    ledger.close()
    return root


def test_an_archived_night_is_opened_from_the_list_with_the_network_cut_off(browser: Browser, root: Path) -> None:
    with served(root) as address, NightPage(browser, address, width=390, height=844, touch=True) as page:
        wanted: list[str] = []

        def refuse(route: Route) -> None:
            wanted.append(route.request.url)
            route.abort()

        # The resolver of this browser knows no other host; what is asked for all the same is seen here.
        page.page.route(lambda url: not url.startswith((address, "data:", "blob:")), refuse)
        page.page.reload()
        rows = page.page.get_by_role("row")
        assert rows.count() == 3
        later = rows.filter(has_text="2026-11-21").inner_text()
        assert "has version 99: version 2 is required" in later
        assert_accessible(page, "nights")
        page.page.get_by_role("link", name="2026-11-22").tap()
        for key in KEYS:
            page.wait_for_points(key, 50)
        assert page.page.title() == "2026-11-22 · opticam-live"
        page.page.get_by_role("link", name="all nights").tap()
        page.page.get_by_role("heading", name="Nights in").wait_for()
        page.assert_quiet()

        # A night whose ledger is missing, and one of a newer version: a sentence, and the way back.
        for name, sentence in (("2026-11-20", "2026-11-20"), ("2026-11-21", "has version 99")):
            page.page.goto(f"{address}open?night={name}")
            page.page.get_by_role("heading", name="This night cannot be shown").wait_for()
            assert sentence in page.page.locator("main").inner_text()
            page.page.get_by_role("link", name="all nights").tap()
            page.page.get_by_role("heading", name="Nights in").wait_for()
        assert wanted == []
