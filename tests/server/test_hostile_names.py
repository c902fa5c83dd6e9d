"""A night whose filters, frames, headers, notes and folders are named to become scripts: they stay text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import quote

import msgspec
import pytest
from astropy.io import fits
from playwright.sync_api import Page

from stream.messages import Selection
from stream.notes import Note, save_notes
from stream.page_options import PageAccess
from stream.selection import SELECTION_FILE, save_selection
from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage
from tests.server import fake_night
from tests.server.door_server import DoorServer, door_server
from tests.server.fake_night import START_MJD, FakeNight

pytestmark = pytest.mark.clock

EVIL = "\"'><img src=x onerror=hit()>"
EVIL_KEY = f"1:g{EVIL}"
_ELEMENTS = re.compile(r"<img src=x", re.IGNORECASE)
# Every element of the page, those within the shadow trees of widgets too.
_INJECTED = """() => {
    const found = [];
    const walk = root => {
        for (const element of root.querySelectorAll("*")) {
            if (element.matches('img[src="x"], [onerror]')) found.push(element.outerHTML);
            if (element.shadowRoot) walk(element.shadowRoot);
        }
    };
    walk(document);
    return found;
}"""


@dataclass(frozen=True, slots=True)
class Hostile:
    """The server of a folder of nights, and the name of the one in it."""

    server: DoorServer
    name: str


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    root = tmp_path_factory.mktemp("nights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake_night, "KEYS", (EVIL_KEY,))
        night = FakeNight(root / EVIL, frames=root / "frames")
        night.advance(120)
        (frame,) = night.advance(1)
        status = msgspec.structs.replace(night.save_status("stalled"), awaited=(f"2 of 3 {EVIL}",))
        night._ledger.save_status(status)
        night._ledger.close()
    fits.setval(root / "frames" / frame.path, "OBJECT", value=EVIL, comment=EVIL)
    save_notes(night.out, (Note(START_MJD, EVIL, 0.0),))
    save_selection(night.out, Selection(ensembles={EVIL: {EVIL_KEY: (3,)}}))
    assert EVIL in tomllib.loads((night.out / SELECTION_FILE).read_text(encoding="utf-8"))["ensembles"]
    with door_server(root, access=PageAccess(), tokens=None) as server:
        yield Hostile(server, EVIL)


class _Elements(HTMLParser):
    """Collects the attributes of elements that nobody here writes."""

    def __init__(self) -> None:
        super().__init__()
        self.injected: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img" or any(name.startswith("on") for name, _value in attrs):
            self.injected.append(str(self.get_starttag_text()))

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_text_alone(html: str) -> str:
    """No element of the names is in the page; returns its text."""
    parser = _Elements()
    parser.feed(html)
    assert parser.injected == []
    return parser.text


def test_pages_of_the_server_write_names_as_text(hostile: Hostile) -> None:
    listed = hostile.server.ask("/").content.decode()
    assert EVIL in assert_text_alone(listed)
    page = hostile.server.ask(f"/night?night={quote(EVIL)}&tab={quote(EVIL)}&key={quote(EVIL)}").content.decode()
    assert EVIL in assert_text_alone(page)
    unknown = hostile.server.ask(f"/night?night={quote(EVIL + '2')}").content.decode()
    assert "is not there" in assert_text_alone(unknown)


def test_answers_for_programs_are_never_taken_for_pages(hostile: Hostile) -> None:
    night = f"night={quote(EVIL)}"
    curve = f"/api/light_curve/{quote(EVIL_KEY, safe='')}/target"
    paths = [f"/api/night?{night}", f"/api/keys?{night}", "/api/nights", f"/api/frames?{night}", f"/metrics?{night}"]
    paths += [f"{curve}?{night}", f"{curve}?{night}&format=csv", f"/api/{quote(EVIL)}", f"/api/night?{quote(EVIL)}=1"]
    for path in paths:
        answer = hostile.server.ask(path)
        kind = answer.headers["Content-Type"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not kind.startswith("text/html") or not _ELEMENTS.search(answer.content.decode()), path
    kept = hostile.server.ask(f"{curve}?{night}&format=csv").headers["Content-Disposition"]
    assert re.fullmatch(r"attachment; filename=\"[\w.() -]+\"; filename\*=UTF-8''[\w.%~-]+", kept), kept


def injected(page: Page) -> list[str]:
    """Elements that came of a name, and the proof that a script of theirs ran."""
    assert page.evaluate("window.scriptsRun") == 0
    found = page.evaluate(_INJECTED)
    assert isinstance(found, list)
    return found


def test_the_browser_makes_no_element_of_a_name(hostile: Hostile) -> None:
    address = f"http://localhost:{hostile.server.port}/"
    with chromium() as browser, NightPage(browser, f"{address}night?night={quote(EVIL)}") as page:
        page.page.evaluate("() => { window.scriptsRun = 0; window.hit = () => { window.scriptsRun += 1; }; }")
        page.wait_for_points(EVIL_KEY, 100)
        labels = page.page.evaluate("Bokeh.documents[0].get_model_by_name('tabs').labels")
        for tab in labels:
            page.press_tab(tab)
            page.page.wait_for_timeout(100.0)  # whatever the panel shows at first
            assert injected(page.page) == [], tab
        page.click_point(EVIL_KEY, -1)
        page.wait(
            "() => Bokeh.documents[0].get_model_by_name('frame_text')?.text.includes('keywords')", None, timeout_s=60.0
        )
        assert injected(page.page) == []
        page.click_source(3, modifiers=["Shift"])
        page.wait("() => Bokeh.documents[0].get_model_by_name('answer')?.text.length > 0", None)
        assert injected(page.page) == []
        assert page.faults == []


def test_the_policy_of_the_page_would_stop_such_a_script(hostile: Hostile) -> None:
    policy = hostile.server.ask("/").headers["Content-Security-Policy"]
    scripts = dict(part.strip().split(" ", 1) for part in policy.split(";"))["script-src"].split()
    assert "'unsafe-inline'" not in scripts
    assert len([source for source in scripts if source.startswith("'nonce-")]) == 1
    assert hostile.server.ask("/").headers["Content-Security-Policy"] != policy
