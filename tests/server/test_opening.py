"""A night is opened at once and read beside everything else; many pages are brought up to date less often than one."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest
from bokeh.document import Document

from server import theme
from server.health_panel import health_text
from server.nights import Nights
from server.pace import LONGEST_S, SHORTEST_S, Pace
from server.page import Page
from server.view_state import ViewState
from server.visitor import Role, visitor_of
from stream.errors import LedgerError
from stream.messages import SourceFluxes
from stream.night.night_reader import NightReader
from tests.server.fake_night import KEYS, FakeNight
from tests.server.test_feed import curve_of, wait_for


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Light curves cannot be read before this is set."""
    may_read, read = threading.Event(), NightReader.source_fluxes

    def read_later(self: NightReader, key: str, label: str) -> SourceFluxes:
        assert may_read.wait(20.0)
        return read(self, key, label)

    monkeypatch.setattr(NightReader, "source_fluxes", read_later)
    return may_read


def test_a_page_is_there_before_its_night_is_read_and_says_so(tmp_path: Path, reading: threading.Event) -> None:
    for name in ("first", "second"):
        night = FakeNight(tmp_path / name)
        night.advance(50)
        night.finish()
    nights = Nights(tmp_path)
    try:
        feed = nights.open("first")
        assert feed.view.is_being_read
        assert not feed.reading.done()
        assert "reading" in health_text(feed.view, 0.0)
        page, document = Page(visitor_of(feed, Role.WATCH), theme.PALETTES["dark"], ViewState()), Document()
        for root in page.roots():
            document.add_root(root)
        page.update()
        assert any("The night so far is read" in str(getattr(model, "text", "")) for model in document.models)
        # Another night is not held up by that.
        assert nights.open("second") is not feed
        reading.set()
        feed.reading.result(20.0)
        assert curve_of(feed).n_points == 50
        wait_for(lambda: not feed.view.is_being_read)
        page.update()
        assert document.get_model_by_name(f"light_curve_{KEYS[0]}") is not None
    finally:
        reading.set()
        nights.close()


def test_a_night_that_is_closed_while_it_is_read_tells_those_who_wait(tmp_path: Path, reading: threading.Event) -> None:
    FakeNight(tmp_path).finish()
    nights = Nights(tmp_path)
    feed = nights.open()
    nights.close()
    with pytest.raises(LedgerError, match="was closed before it was read"):
        feed.reading.result(20.0)
    reading.set()


def test_all_pages_together_leave_most_of_a_core_to_others() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])

    def update() -> None:
        now[0] += 0.004

    pages = [_Ready() for _ in range(1100)]
    called: list[_Ready] = []
    pace.join(pages[0], lambda: None)
    for _ in range(100):
        pace.update(pages[0], update)
    assert pace.interval_s == SHORTEST_S
    for page in pages[1:30]:
        pace.join(page, partial(called.append, page))
    assert pace.interval_s == pytest.approx(0.36, rel=1e-3)
    assert 30 * 0.004 / pace.interval_s < 0.34
    # None is called a second time before it had its turn, and none whose turn it is not.
    pages[1].ready = False
    for _ in range(3):
        pace.look()
    assert called == pages[2:30]
    pace.update(pages[2], update)
    pace.look()
    assert called == [*pages[2:30], pages[2]]
    for page in pages[30:]:
        pace.join(page, lambda: None)
    assert pace.interval_s == LONGEST_S
    for page in pages[1:]:
        pace.leave(page)
    assert pace.interval_s == SHORTEST_S


class _Ready:
    """A page whose turn it is, or is not."""

    ready = True

    def is_due(self, _now_s: float) -> bool:
        return self.ready
