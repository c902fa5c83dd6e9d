"""``make demo`` as its user sees it: the page in Chromium, Ctrl-C, and the night opened again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from stream.night.supervisor import child_environment
from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage, served
from tests.night.processes import command, counts_of, is_alive
from tests.night.waiting import wait_until

pytestmark = pytest.mark.clock

KEYS = ("1:g", "2:r", "3:i")
ADDRESS = re.compile(r"http://localhost:\d+/")
FREQUENCY_HZ = 0.135
N_BACKLOG, WITHIN_S, ENDS_WITHIN_S = 100, 20.0, 5.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.mark.slow
def test_demo(browser: Browser, tmp_path: Path) -> None:
    out = tmp_path / "night"
    demo = subprocess.Popen(
        command("demo", "--out", out, "--port", "0"),
        env=dict(child_environment()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        address = _wait_for_address(demo)
        began = time.monotonic()
        with NightPage(browser, address) as page:
            for key in KEYS:
                page.wait_for_points(key, N_BACKLOG, timeout_s=WITHIN_S - (time.monotonic() - began))
            # The first spectra are of the first few points; the peak sharpens as the backlog comes in.
            for key in KEYS:
                wait_until(partial(_shows_the_signal, page, key), WITHIN_S, f"the peak of {key} at 0.135 Hz")
            now = page.n_points("1:g")
            page.wait_for_points("1:g", now + 3, timeout_s=15.0)
            page.keep_picture("demo")
            before = page.columns("light_curve_1:g")["flux"][:50]
            page.click_source(3)
            page.wait(
                "([name, before]) => Math.abs(Bokeh.documents[0].get_model_by_name(name).data.get"
                " ? Bokeh.documents[0].get_model_by_name(name).data.get('flux')[0] - before"
                " : Bokeh.documents[0].get_model_by_name(name).data['flux'][0] - before) > 1e-6",
                ["light_curve_1:g", before[0]],
            )
            page.keep_picture("demo-other-target")
            page.assert_quiet()
        children = _children(demo.pid)
        assert len(children) >= 4  # the watching process, two workers, the page
        demo.send_signal(signal.SIGINT)
        stopped = time.monotonic()
        _, errors = demo.communicate(timeout=2.0 * ENDS_WITHIN_S)
        wait_until(lambda: not any(is_alive(pid) for pid in children), ENDS_WITHIN_S, "the end of all processes")
        assert time.monotonic() - stopped < ENDS_WITHIN_S
        assert demo.returncode == 0, errors
    finally:
        if demo.poll() is None:
            for pid in [*_children(demo.pid), demo.pid]:
                os.kill(pid, signal.SIGKILL)
            demo.communicate(timeout=10.0)
    counts = counts_of(out)
    assert counts is not None
    assert counts.n_rejected == 0
    with served(out) as address, NightPage(browser, address) as page:
        for key in KEYS:
            page.wait_for_points(key, N_BACKLOG, timeout_s=WITHIN_S)


def _shows_the_signal(page: NightPage, key: str) -> bool:
    return bool(page.columns(f"peak_{key}").get("text")) and abs(page.peak_hz(key) - FREQUENCY_HZ) < 0.002


def _wait_for_address(demo: subprocess.Popen[str]) -> str:
    assert demo.stdout is not None
    for line in demo.stdout:
        found = ADDRESS.search(line)
        if found:
            return found[0]
    raise AssertionError(f"the demo ended without an address: {demo.stderr.read() if demo.stderr else ''}")


def _children(pid: int) -> list[int]:
    """All processes that descend from one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            found += [int(child), *_children(int(child))]
    return found
