"""Finds a browser for the tests, and starts it so that it speaks to this host alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

REQUIRE = "REQUIRE_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    # The network is cut off: no name is known but this host's own.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


def system_chromium() -> str | None:
    """Path of a Chromium that the system has; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def own_chromium() -> str | None:
    """Path of the Chromium that playwright downloaded; None where it did not."""
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium: the system's, or playwright's own.

    Without one the test is skipped with the reason; where REQUIRE_BROWSER is 1 it fails.
    """
    with sync_playwright() as playwright:
        executable = system_chromium()
        if executable is None and Path(playwright.chromium.executable_path).exists():
            executable = playwright.chromium.executable_path
        if executable is None:
            refuse(f"there is no browser: none of {', '.join(NAMES)} on the PATH, nor playwright's own")
        try:
            browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS), headless=True)
        except Error as error:
            refuse(f"{executable} does not start: {error}")
        try:
            yield browser
        finally:
            browser.close()


def refuse(reason: str) -> None:
    """Skip the test, or fail it where a browser is required."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(reason)
    pytest.skip(reason)
