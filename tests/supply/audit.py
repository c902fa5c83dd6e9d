"""Asks whether weaknesses are known of what the locks pin: ``python -m tests.supply.audit PIP_AUDIT [OPTION ...]``.

Options go to pip-audit, such as ``--ignore-vuln ID`` for one that was looked at and does not touch this project. Ends
with status 1 where there are findings. Without a way to the database of advisories it says so and ends with 0: that a
machine has no network is no fault of the change it checks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.supply.lock import DEV, ROOT, TOOLS

_TIMEOUT_S = 300
_ARGUMENTS = ("--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json", "--timeout=15")
_LONGEST_REASON = 200


@dataclass(slots=True)
class Audit:
    """What was found.

    Attributes
    ----------
    n_audited : int
        Packages that the database knows.
    findings : list of str
        A line for each weakness.
    skipped : dict of str to str
        Packages that could not be audited, and why.
    failure : str
        Why nothing could be; empty where something was.
    """

    n_audited: int = 0
    findings: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failure: str = ""

    def lines(self) -> list[str]:
        """What is to be said: never that all is well where nobody looked."""
        said = [f"audit: FOUND {finding}" for finding in self.findings]
        if self.failure:
            return [*said, f"audit: NOT AUDITED, nobody answered what is known of the packages: {self.failure}"]
        if self.skipped:
            n_all = self.n_audited + len(self.skipped)
            some = ", ".join(list(self.skipped)[:5])
            reason = next(iter(self.skipped.values()))[:_LONGEST_REASON]
            said.append(f"audit: NOT AUDITED are {len(self.skipped)} of {n_all} packages ({some}, ...): {reason}")
        if self.n_audited:
            said.append(f"audit: {self.n_audited} packages looked up, {len(self.findings)} known weaknesses")
        return said

    @property
    def status(self) -> int:
        """Exit status."""
        return 1 if self.findings else 0


def read_report(text: str) -> Audit:
    """What pip-audit reported in JSON.

    Raises
    ------
    ValueError
        If it is no report.
    """
    audit = Audit()
    report: dict[str, Any] = json.loads(text)
    if "dependencies" not in report:
        raise ValueError("pip-audit reported no dependencies")
    for package in report["dependencies"]:
        if "skip_reason" in package:
            audit.skipped[package["name"]] = package["skip_reason"]
            continue
        audit.n_audited += 1
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            audit.findings.append(f"{found['id']} in {package['name']} {package['version']}, fixed in {fixed}")
    return audit


def run_audit(command: Sequence[str]) -> Audit:
    """Let pip-audit look at the locks."""
    locks = [f"--requirement={path}" for path in (DEV, TOOLS)]
    try:
        done = subprocess.run(
            [*command, *_ARGUMENTS, *locks],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Audit(failure=f"no answer within {_TIMEOUT_S} s")
    try:
        return read_report(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"pip-audit ended with status {done.returncode}"])[-1]
        return Audit(failure=last[:_LONGEST_REASON])


def main(command: list[str]) -> int:
    """Audit, say what came of it, and return the exit status."""
    audit = run_audit(command)
    for line in audit.lines():
        print(line, flush=True)  # noqa: T201
    return audit.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
