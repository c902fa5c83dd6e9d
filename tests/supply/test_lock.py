"""What is installed is pinned by hash, and is what `pyproject.toml` asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply.lock import DEV, EXTRAS, ROOT, RUN, TOOLS, project

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; [^\\]+)?(?: \\)?")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def pins(text: str) -> dict[str, str]:
    """Versions by name; ValueError for a line that is neither a pin nor a hash, or a pin without hashes."""
    found: dict[str, str] = {}
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        pin = _PIN.fullmatch(line)
        if pin is None and not _HASH.fullmatch(line):
            raise ValueError(f"{line!r} must be a version or a hash")
        if pin is not None:
            if not _HASH.fullmatch(after):
                raise ValueError(f"{line!r} has no hash")
            found[canonicalize_name(pin["name"])] = pin["version"]
    return found


def unmet(asked: list[str], locked: dict[str, str]) -> list[str]:
    """What is asked for and not locked."""
    missing = []
    for text in asked:
        wanted = Requirement(text)
        version = locked.get(canonicalize_name(wanted.name))
        if version is None or not wanted.specifier.contains(version):
            missing.append(text)
    return missing


@pytest.mark.parametrize("lock", [RUN, DEV, TOOLS], ids=lambda lock: lock.name)
def test_every_line_of_a_lock_is_a_version_or_a_hash(lock: Path) -> None:
    assert len(pins(lock.read_text(encoding="utf-8"))) > 20


def test_the_locks_hold_what_the_project_asks_for() -> None:
    content = project()
    run, dev, tools = (pins(lock.read_text(encoding="utf-8")) for lock in (RUN, DEV, TOOLS))
    asked = content["project"]["dependencies"] + content["build-system"]["requires"]
    assert not unmet(asked, run), "make lock renews locks/run.txt"
    for extra in EXTRAS:
        asked = asked + content["project"]["optional-dependencies"][extra]
    assert not unmet(asked, dev), "make lock renews locks/dev.txt"
    assert not unmet(content["dependency-groups"]["tools"], tools), "make lock renews locks/tools.txt"
    assert run.items() <= dev.items(), "what is tested must be what is run"
    assert set(content["project"]["optional-dependencies"]) == set(EXTRAS)


def test_nothing_is_installed_past_the_locks() -> None:
    installs = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if "$(PIP)" in line or "$(LOCKED)" in line
    ]
    assert len(installs) == 5
    for line in installs:
        assert "--require-hashes --only-binary=:all:" in line or "$(LOCKED) locks/" in line or "--no-index" in line


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("numpy==2.0\n", "'numpy==2.0' has no hash"),
        ("numpy>=2.0 \\\n    --hash=sha256:" + "0" * 64, "must be a version or a hash"),
        ("--index-url somewhere", "must be a version or a hash"),
        ("numpy==2.0 \\\n    --hash=md5:" + "0" * 32, "has no hash"),
    ],
)
def test_a_lock_with_a_hole_is_found(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        pins(text)


def test_a_version_that_no_longer_fits_is_found() -> None:
    assert unmet(["numpy>=2.5", "scipy", "Bokeh>=3"], {"numpy": "2.4.6", "bokeh": "3.9.2"}) == ["numpy>=2.5", "scipy"]
