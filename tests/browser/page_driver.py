"""What a test does on the page of a night: as an observer would, and a look at the data behind what is drawn."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

PROJECT = Path(__file__).resolve().parents[2]
ARTIFACTS = PROJECT / "test-artifacts"
LINE = re.compile(r"page: (http://localhost:\d+/)\n")
_START_S = 60.0

# Bokeh counts its models when the browser has nothing else to do: till then a figure that was made anew is there twice.
_PATIENT = """argument => {
    try { return (CONDITION)(argument); } catch (error) {
        if (!String(error).includes("Multiple models")) throw error;
        Bokeh.documents[0]._recompute_all_models();
        return false;
    } }"""


@contextmanager
def served(out: Path) -> Iterator[str]:
    """The address of the page of `out`, served by the command line on a free port; ended by SIGINT within 5 s."""
    command = [sys.executable, "-m", "opticam_live", "serve", str(out), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = LINE.fullmatch(line)
        assert found is not None, f"{line!r}: {process.stderr.read() if process.stderr else ''}"
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        _output, errors = process.communicate(timeout=5.0)
    assert process.returncode == 0, errors


class NightPage:
    """One browser window on the page of a night."""

    def __init__(
        self, browser: Browser, address: str, *, width: int = 1280, height: int = 800, touch: bool = False
    ) -> None:
        self.address = address
        self.page: Page = browser.new_page(
            viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch
        )
        self.faults: list[str] = []
        self.addresses: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        self.page.on("request", lambda request: self.addresses.append(request.url))
        self.page.on("websocket", lambda socket: self.addresses.append(socket.url))
        self.page.goto(address)

    def __enter__(self) -> NightPage:
        return self

    def __exit__(self, *_error: object) -> None:
        self.page.close()

    def columns(self, source: str) -> dict[str, list[Any]]:
        """Columns of a data source of the page, by its name; empty while there is none."""
        found = self.page.evaluate(
            """name => {
                const model = window.Bokeh?.documents?.[0]?.get_model_by_name(name);
                if (model == null) return {};
                const data = model.data instanceof Map ? Object.fromEntries(model.data) : model.data;
                return Object.fromEntries(Object.entries(data).map(([key, column]) => [key, Array.from(column)]));
            }""",
            source,
        )
        assert isinstance(found, dict)
        return found

    def n_points(self, key: str) -> int:
        """Points of the light curve that the browser holds."""
        return len(self.columns(f"light_curve_{key}").get("flux", []))

    def wait_for_points(self, key: str, n_points: int, *, timeout_s: float = 60.0) -> None:
        """Wait until the light curve of a key has so many points."""
        self.wait(
            "([name, n]) => (window.Bokeh?.documents?.[0]?.get_model_by_name(name)?.get_length() ?? 0) >= n",
            [f"light_curve_{key}", n_points],
            timeout_s=timeout_s,
        )

    def wait_for_any_curve(self) -> str:
        """Wait until the first key has a light curve; returns the key."""
        name = "Bokeh.documents[0].get_model_by_name('field_key').labels[0]"
        self.wait("() => (window.Bokeh?.documents?.[0]?.get_model_by_name('field_key')?.labels.length ?? 0) > 0", None)
        key = str(self.page.evaluate(name))
        self.wait_for_points(key, 50)
        return key

    def wait(self, condition: str, argument: Any, *, timeout_s: float = 30.0) -> None:
        """Wait until a function of the page is true."""
        self.page.wait_for_function(
            _PATIENT.replace("CONDITION", condition), arg=argument, timeout=1000.0 * timeout_s, polling=50
        )

    def peak_hz(self, key: str) -> float:
        """Frequency written at the peak of a power spectrum."""
        (text,) = self.columns(f"peak_{key}")["text"]
        number, unit = text.split()
        assert unit == "Hz"
        return float(number)

    def click_source(self, number: int, *, modifiers: list[str] | None = None) -> None:
        """Click a source on the picture of the field."""
        place = self.place_of_source(number)
        self.page.mouse.move(*place)
        for key in modifiers or []:
            self.page.keyboard.down(key)
        self.page.mouse.click(*place)
        for key in modifiers or []:
            self.page.keyboard.up(key)

    def place_of_source(self, number: int) -> tuple[float, float]:
        """Where in the window a source of the field is drawn, once it rests."""
        columns = self.columns("sources")
        names = [int(re.sub(r"\D", "", label)) for label in columns["number"]]
        index = names.index(number)
        resting = self.page.wait_for_function(
            """([x, y]) => {
                const figure = Bokeh.documents[0].get_model_by_name("field_figure");
                const view = Bokeh.index.find_one(figure);
                const canvas = view.canvas_view.el.getBoundingClientRect();
                const place = [canvas.left + view.frame.x_scale.compute(x), canvas.top + view.frame.y_scale.compute(y)];
                const before = window.sourceRested;
                window.sourceRested = String(place);
                return before === String(place) ? place : null;
            }""",
            arg=[columns["x"][index], columns["y"][index]],
            polling=150,
        )
        left, top = resting.json_value()
        return float(left), float(top)

    def drag(self, key: str, start: float, end: float) -> None:
        """Drag over a light curve, from one part of its width to another."""
        place = self.page.evaluate(
            """name => {
                const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name));
                const canvas = view.canvas_view.el.getBoundingClientRect();
                const {left, top, width, height} = view.frame.bbox;
                return [canvas.left + left, canvas.top + top + height / 2, width];
            }""",
            f"strip_{key}",
        )
        self.page.mouse.move(place[0] + start * place[2], place[1])
        self.page.mouse.down()
        self.page.mouse.move(place[0] + 0.5 * (start + end) * place[2], place[1] + 2)
        self.page.mouse.move(place[0] + end * place[2], place[1])
        self.page.mouse.up()

    def click_point(self, key: str, index: int) -> None:
        """Click a point of a light curve as soon as it rests where it is drawn; -1 is the last."""
        self.page.mouse.click(*self.place_of_point(key, index))

    def tap_point(self, key: str, index: int) -> None:
        """Touch a point of a light curve."""
        self.page.touchscreen.tap(*self.place_of_point(key, index))

    def hover_point(self, key: str, index: int) -> str:
        """Point at a point of a light curve; returns what is then said of it."""
        self.page.mouse.move(*self.place_of_point(key, index))
        words = self.page.locator(".hover").first
        words.wait_for()
        return words.inner_text()

    def place_of_point(self, key: str, index: int) -> tuple[float, float]:
        """Where in the window a point is drawn, once it rests."""
        frame = self.columns(f"light_curve_{key}")["frame"][index]
        resting = self.page.wait_for_function(
            """([strip, curve, frame]) => {
                const model = Bokeh.documents[0].get_model_by_name(curve);
                const column = name => Array.from(model.data instanceof Map ? model.data.get(name) : model.data[name]);
                const row = column("frame").indexOf(frame);
                const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(strip));
                const canvas = view.canvas_view.el.getBoundingClientRect();
                const place = [canvas.left + view.frame.x_scale.compute(column("utc_ms")[row]),
                    canvas.top + view.frame.y_scale.compute(column("flux")[row])];
                const before = window.pointRested;
                window.pointRested = String(place);
                return before === String(place) ? place : null;
            }""",
            arg=[f"strip_{key}", f"light_curve_{key}", frame],
            polling=300,
        )
        x, y = resting.json_value()
        return float(x), float(y)

    def press_tab(self, name: str) -> None:
        """Show one of the panels in the middle."""
        self.page.locator(".middle").get_by_role("button", name=name, exact=True).click()

    def keep_picture(self, name: str) -> Path:
        """Keep a picture of the window in ``test-artifacts/``."""
        ARTIFACTS.mkdir(exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def assert_quiet(self) -> None:
        """No script failed, and nothing but the page's own server was asked."""
        assert self.faults == []
        own = (self.address, self.address.replace("http:", "ws:"), "data:", "blob:")
        assert [address for address in self.addresses if not address.startswith(own)] == []
