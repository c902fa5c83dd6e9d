"""A paint asks the browser for no styles and writes none: each would be a new look at the styles of the whole page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage, served
from tests.server.fake_night import KEYS, FakeNight

pytestmark = pytest.mark.clock

_PAINT = """name => {
    const styles = CSSStyleDeclaration.prototype, asked = styles.getPropertyValue, computed = window.getComputedStyle;
    const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name));
    const sheets = [...view.renderer_views.values()].map(each => each.position?.el).filter(Boolean);
    let nAsked = 0, nPaints = 0;
    view.repaint(); // what an earlier change left to do is done
    styles.getPropertyValue = function (...given) { nAsked += 1; return asked.apply(this, given); };
    window.getComputedStyle = function (...given) { nAsked += 1; return computed.apply(window, given); };
    const written = new MutationObserver(() => {});
    for (const sheet of sheets) written.observe(sheet, {childList: true, characterData: true, subtree: true});
    view.repainted.connect(() => { nPaints += 1; });
    view._invalidate_all = true;
    view.repaint();
    styles.getPropertyValue = asked;
    window.getComputedStyle = computed;
    return [nPaints, sheets.length, nAsked, written.takeRecords().length]; }"""


def test_a_paint_of_a_light_curve_asks_for_no_styles(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(60)
    night.finish()
    with chromium() as browser, served(tmp_path) as address, NightPage(browser, address) as page:
        page.wait_for_points(KEYS[0], 50)
        n_paints, n_sheets, n_asked, n_written = page.page.evaluate(_PAINT, f"strip_{KEYS[0]}")
    assert n_paints > 0
    assert n_sheets > 0
    assert n_asked == 0
    assert n_written == 0
