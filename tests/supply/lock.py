"""Renews the locks: the exact versions that are installed, with the hashes of all their files.

``python -m tests.supply.lock UV [--upgrade]`` reads what `pyproject.toml` asks for and writes `locks/run.txt` (to run),
`locks/dev.txt` (to test and check as well) and `locks/tools.txt` (to renew and to audit the locks). They hold for every
system and Python that the project runs on. Versions stay as they are where they still fit, without ``--upgrade``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "locks"
RUN, DEV, TOOLS = LOCKS / "run.txt", LOCKS / "dev.txt", LOCKS / "tools.txt"
EXTRAS = ("test", "lint")
_TIMEOUT_S = 600
_COMPILE = (
    "pip",
    "compile",
    "--quiet",
    "--universal",
    "--generate-hashes",
    # What had to be built would need tools to build with, and nobody pins those.
    "--only-binary=:all:",
    "--no-annotate",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--custom-compile-command=make lock",
)


def project() -> dict[str, Any]:
    """What `pyproject.toml` says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def main(arguments: list[str]) -> int:
    """Write the three locks; returns the exit status."""
    uv, *options = arguments
    content = project()
    oldest = content["project"]["requires-python"].removeprefix(">=")
    compile_ = [uv, *_COMPILE, f"--python-version={oldest}", *options]
    with tempfile.TemporaryDirectory() as folder:
        # The project itself is built in the environment that it is installed in.
        build = Path(folder) / "build.in"
        build.write_text("\n".join(content["build-system"]["requires"]) + "\n", encoding="utf-8")
        sources = ["pyproject.toml", str(build)]
        extras = [f"--extra={name}" for name in EXTRAS]
        _run([*compile_, *sources, *extras, f"--output-file={DEV}"])
        _run([*compile_, *sources, f"--constraint={DEV}", f"--output-file={RUN}"])
    _run([*compile_, "--group=tools", f"--output-file={TOOLS}"])
    return 0


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
