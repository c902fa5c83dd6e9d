"""Makes sure that there is a browser for the tests: the system's, playwright's own, or Debian's package.

Says what it did in one line. Ends with status 1 only where REQUIRE_BROWSER is 1 and no browser could be had; otherwise
the browser tests are skipped with their reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tests.browser.chromium import REQUIRE, own_chromium, system_chromium

INSTALL_S = 600


def main() -> int:
    """Look for a browser, try to install one, and say which it is."""
    if not (system_chromium() or own_chromium()):
        print("No Chromium found: trying to install one for the browser tests.", flush=True)  # noqa: T201
        _install_debian_package()
    if not (system_chromium() or own_chromium()):
        _run([sys.executable, "-m", "playwright", "install", "chromium"])
    found = system_chromium() or own_chromium()
    print(f"Browser for the tests: {found or 'none'}", flush=True)  # noqa: T201
    return 1 if found is None and os.environ.get(REQUIRE) == "1" else 0


def _install_debian_package() -> None:
    if shutil.which("apt-get") is None:
        return
    prefix: list[str] = []
    if os.geteuid() != 0:
        if shutil.which("sudo") is None or not _run(["sudo", "-n", "true"]):
            return
        prefix = ["sudo", "-n"]
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    if _run([*prefix, *environment, "apt-get", "update", "-qq"]):
        _run([*prefix, *environment, "apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium"])


def _run(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=INSTALL_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
