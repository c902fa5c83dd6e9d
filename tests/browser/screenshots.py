"""Makes the pictures of the page for the documentation: ``make screenshots``, or of a night that is there already."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from server.theme import PALETTES
from tests.browser.chromium import chromium
from tests.browser.page_driver import PROJECT, NightPage, served

IMAGES = PROJECT / "docs" / "images"
SIZES = {"wide": (1920, 1080), "laptop": (1280, 800), "phone": (390, 844)}
SHOWN = {"dark": "spectrum_{key}", "red": "conditions_fwhm_px_{key}"}
"""What is drawn last on a panel."""
TABS = {"dark": "spectra", "light": "frame", "red": "conditions"}
_COLOURS = 256
_HAS_POINTS = "name => (Bokeh.documents[0].get_model_by_name(name)?.get_length() ?? 0) > 0"


def main() -> None:
    """Simulate and reduce a night, unless one is named, and make pictures of its page in all sizes and themes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(sys.argv[1]) if len(sys.argv) > 1 else reduced_night(Path(folder))
        with served(out) as address, chromium() as browser:
            for theme in PALETTES:
                for size in SIZES:
                    print(picture(browser, address, size, theme).relative_to(PROJECT))  # noqa: T201


def reduced_night(folder: Path) -> Path:
    """A simulated night of three keys with drift and clouds, reduced."""
    command = [sys.executable, "-m", "opticam_live"]
    scenarios = ["--scenario", "drift", "--scenario", "clouds"]
    subprocess.run(
        [*command, "simulate", str(folder / "sim"), "--frames", "300", "--binning", "4", *scenarios], check=True
    )
    subprocess.run([*command, "reduce", str(folder / "sim"), "--out", str(folder / "night")], check=True)
    return folder / "night"


def picture(browser: Browser, address: str, size: str, theme: str) -> Path:
    """Make one picture, of few colours so that the repository stays small."""
    width, height = SIZES[size]
    with NightPage(browser, address, width=width, height=height) as page:
        page.wait("() => (window.Bokeh?.documents?.[0]?.get_model_by_name('field_key')?.labels.length ?? 0) > 0", None)
        if theme != page.page.get_by_label("theme").input_value():
            page.page.get_by_label("theme").select_option(theme)
            page.wait("theme => document.getElementById('theme')?.value === theme", theme)
        key = page.wait_for_any_curve()
        if TABS[theme] == "frame":
            page.click_point(key, 40)
            page.wait("() => Bokeh.documents[0].get_model_by_name('stamps')?.get_length() > 0", None)
        else:
            page.press_tab(TABS[theme])
            page.wait(_HAS_POINTS, SHOWN[theme].format(key=key))
        page.wait("() => Bokeh.documents[0].get_model_by_name('picture')?.get_length() > 0", None)
        page.page.wait_for_timeout(1500.0)  # until the last plot is painted: nothing says when
        IMAGES.mkdir(exist_ok=True)
        path = IMAGES / f"page-{size}-{theme}.png"
        page.page.evaluate("window.scrollTo(0, 0)")
        page.page.screenshot(path=path)
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
    return path


if __name__ == "__main__":
    main()
