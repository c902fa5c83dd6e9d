"""What the audit says: findings are named, and what nobody looked at is never said to be well."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.supply.audit import main

_AUDITED: dict[str, Any] = {"name": "numpy", "version": "2.4.6", "vulns": []}
_SKIPPED = {"name": "scipy", "skip_reason": "Dependency not found on PyPI and could not be audited: scipy (1.17.1)"}
_WEAK = {
    "name": "bokeh",
    "version": "3.8.1",
    "vulns": [{"id": "GHSA-793v-589g-574v", "fix_versions": ["3.8.2"]}, {"id": "PYSEC-1", "fix_versions": []}],
}


def auditor(folder: Path, report: object, *, status: int = 0) -> list[str]:
    """The command of a program that answers as pip-audit does."""
    program = folder / "auditor.py"
    text = report if isinstance(report, str) else json.dumps({"dependencies": report, "fixes": []})
    program.write_text(
        f"import sys\nsys.stdout.write({text!r})\nsys.stderr.write('no route\\nto the host')\nsys.exit({status})\n"
    )
    return [sys.executable, str(program)]


@pytest.mark.parametrize(
    ("report", "status", "lines"),
    [
        ([_AUDITED], 0, ["audit: 1 packages looked up, 0 known weaknesses"]),
        (
            [_AUDITED, _WEAK],
            1,
            [
                "audit: FOUND GHSA-793v-589g-574v in bokeh 3.8.1, fixed in 3.8.2",
                "audit: FOUND PYSEC-1 in bokeh 3.8.1, fixed in no version yet",
                "audit: 2 packages looked up, 2 known weaknesses",
            ],
        ),
        ([_SKIPPED], 0, ["audit: NOT AUDITED are 1 of 1 packages (scipy, ...): Dependency not found on PyPI"]),
        (
            [_AUDITED, _SKIPPED],
            0,
            ["audit: NOT AUDITED are 1 of 2 packages (scipy", "audit: 1 packages looked up, 0 known weaknesses"],
        ),
        ("", 0, ["audit: NOT AUDITED, nobody answered what is known of the packages: to the host"]),
        ('{"error": 1}', 0, ["audit: NOT AUDITED, nobody answered"]),
    ],
)
def test_what_is_said_of_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, report: object, status: int, lines: list[str]
) -> None:
    assert main(auditor(tmp_path, report, status=status)) == status
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(lines)
    assert all(one.startswith(expected) for one, expected in zip(said, lines, strict=True)), said
