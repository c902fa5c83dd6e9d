"""Each promise of docs/reliability.md names the test that keeps it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TEST = re.compile(r"`((?:tests/(?:\w+/)?)?test_\w+\.py)`")


def promises() -> list[list[str]]:
    """Rows of the tables of promises: what is promised, and the tests."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").partition("## What is not promised")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0].strip() not in ("promise", "---")]


def test_every_promise_names_tests_that_are_there() -> None:
    found = promises()
    assert len(found) > 20
    for promise, tests in found:
        named = _TEST.findall(tests)
        assert named, f"no test is named beside: {promise.strip()}"
        for name in named:
            path = ROOT / name if "/" in name else ROOT / "tests" / "faults" / name
            assert path.is_file(), f"{name} is not there: {promise.strip()}"


def test_every_fault_test_keeps_a_promise() -> None:
    named = {name for _, tests in promises() for name in _TEST.findall(tests)}
    ours = {path.name for path in (ROOT / "tests" / "faults").glob("test_*.py")}
    assert ours - named == {"test_comparison.py"}
