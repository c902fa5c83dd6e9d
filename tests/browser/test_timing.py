"""The panels of timing in Chromium: spectra, dynamic spectrum, lags, folds and a transit, one after the other."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage, served
from tests.server.fake_night import FREQUENCY_HZ, KEYS, Cadence, FakeNight

pytestmark = pytest.mark.clock

DEPTH = 0.05
TRANSIT_S = (450.0, 300.0, 50.0)
_TEXT_HAS = """([name, words]) => {
    const model = window.Bokeh?.documents?.[0]?.get_model_by_name(name);
    return (model?.title?.text ?? model?.text ?? "").includes(words); }"""
_HAS_POINTS = "([name, n]) => (window.Bokeh?.documents?.[0]?.get_model_by_name(name)?.get_length() ?? 0) >= n"


def title_of(page: NightPage, figure: str) -> str:
    text = page.page.evaluate("name => Bokeh.documents[0].get_model_by_name(name).title.text", figure)
    return str(text)


def tab(page: NightPage, name: str) -> None:
    page.page.get_by_role("button", name=name, exact=True).click()


def choose(page: NightPage, words: str) -> None:
    # Trends are chosen above the light curves, too: the panel of timing comes after them.
    page.page.locator("select").filter(has_text=words).last.select_option(label=words)


def write(page: NightPage, placeholder: str, text: str) -> None:
    field = page.page.get_by_placeholder(placeholder)
    field.fill(text)
    field.press("Enter")


def test_an_observer_goes_through_the_panels_of_timing(tmp_path: Path) -> None:
    night = FakeNight(tmp_path / "night", cadence=Cadence(transit_depth=DEPTH, transit_s=TRANSIT_S))
    night.advance(900)
    night.finish()
    with (
        served(night.out) as address,
        chromium() as browser,
        NightPage(browser, address, width=1280, height=800) as page,
    ):
        page.wait_for_points(KEYS[0], 800)
        look_at_spectra(page)
        look_at_folds(page)
        look_at_lags(page)
        look_at_the_correlation(page)
        look_at_the_dynamic_spectrum(page)
        look_at_the_transit(page)
        page.page.reload()
        page.wait(_HAS_POINTS, [f"model_{KEYS[0]}", 100])
        page.assert_quiet()


def look_at_spectra(page: NightPage) -> None:
    # The transit hides the pulsation, until it is taken out.
    choose(page, "running median, 1 min")
    page.wait(_TEXT_HAS, [f"note_of_{KEYS[0]}", "running median of 60 s divided out"])
    assert page.peak_hz(KEYS[0]) == pytest.approx(FREQUENCY_HZ, abs=0.0005)
    title = title_of(page, f"power_{KEYS[0]}")
    assert re.search(r"0\.13\d+ ± 0\.0\d+ Hz\n7\.4\d+ ± 0\.0\d+ s · rms 1\.9\d* ± 0\.0\d+ %", title), title
    page.wait(_TEXT_HAS, [f"alarm_of_{KEYS[0]}", "1 % false alarm, Baluev (2008), white noise"])
    choose(page, "Leahy")
    page.wait(_TEXT_HAS, [f"note_of_{KEYS[0]}", "running median"])
    assert "detrend=median%3A60" in page.page.url


def look_at_folds(page: NightPage) -> None:
    tab(page, "fold")
    page.wait(_HAS_POINTS, [f"fold_points_{KEYS[2]}", 40])
    first = page.columns(f"fold_points_{KEYS[0]}")
    expected = 1.0 + 0.02 * math.sqrt(2.0) * np.cos(2.0 * np.pi * np.array(first["x"]))
    assert np.std(np.array(first["y"]) - expected) < 0.004
    write(page, "period / s, or 2.1 h", "0")
    page.page.get_by_text("period ('0') must be a number greater than 0").wait_for()
    write(page, "period / s, or 2.1 h", f"{2.0 / FREQUENCY_HZ}")
    page.page.get_by_text("phase 0 at the first point").wait_for()
    assert page.page.get_by_text("must be a number").count() == 0
    page.keep_picture("timing-fold")


def look_at_lags(page: NightPage) -> None:
    tab(page, "lags")
    page.page.get_by_text("A positive lag: that key is late behind 1:g.").wait_for()
    name = "lag 2:r behind 1:g"
    page.wait(_HAS_POINTS, [f"lags_points_{name}", 10])
    assert title_of(page, f"lags_strip_{name}").startswith("2:r behind 1:g at ")
    page.keep_picture("timing-lags")


def look_at_the_correlation(page: NightPage) -> None:
    tab(page, "correlation")
    name = "correlation 2:r behind 1:g"
    page.wait(_HAS_POINTS, [f"correlation_points_{name}", 5])
    page.page.get_by_text("A positive lag: that key is late behind 1:g. Points: pairs; line: interpolated;").wait_for()
    found = re.match(r"2:r behind 1:g by ([\d.]+) ± ([\d.]+) s\n", title_of(page, f"correlation_strip_{name}"))
    assert found is not None
    assert float(found[1]) == pytest.approx(0.25 / FREQUENCY_HZ, abs=4.0 * float(found[2]))
    page.keep_picture("timing-correlation")


def look_at_the_dynamic_spectrum(page: NightPage) -> None:
    tab(page, "dynamic")
    page.wait(_HAS_POINTS, ["dynamic_spectrum", 1])
    choose(page, "windows of 60 s")
    page.page.get_by_text("1:g · windows of 60 s every 30 s · running median of 60 s divided out").wait_for()
    data = page.columns("dynamic_spectrum")
    assert len(data["image"]) == 1
    assert data["width"][0] == pytest.approx(9e5, rel=0.1)
    page.keep_picture("timing-dynamic")


def look_at_the_transit(page: NightPage) -> None:
    tab(page, "transit")
    page.wait(_HAS_POINTS, [f"transit_line_{KEYS[0]}", 100])
    depth = re.match(r"1:g · depth ([\d.]+) ± ([\d.]+) % · duration ([\d.]+)", title_of(page, "transit_strip_1:g"))
    assert depth is not None, title_of(page, "transit_strip_1:g")
    assert float(depth[1]) == pytest.approx(100.0 * DEPTH, abs=4.0 * float(depth[2]) + 0.1)
    assert float(depth[3]) == pytest.approx(TRANSIT_S[1] / 60.0, abs=1.0)
    assert page.columns(f"model_{KEYS[0]}").get("flux", []) == []
    page.page.get_by_text("draw on the light curves").click()
    page.wait(_HAS_POINTS, [f"model_{KEYS[0]}", 100])
    drawn = page.columns(f"model_{KEYS[0]}")["flux"]
    assert max(drawn) - min(drawn) == pytest.approx(DEPTH, abs=0.01)
    page.keep_picture("timing-transit")
