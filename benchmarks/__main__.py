"""``make bench`` and ``make bench-quick``: run the benchmarks, print their tables, write the page, check the ratios."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.sections import PAGE, Section, page
from benchmarks.stage_table import QUICK, StageTable, all_cases, measure_cases
from benchmarks.stages import Effort


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for; exit status 1 where a ratio falls below its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="within two minutes; writes no page")
    parser.add_argument("--only", choices=("stages",), help="one part alone; writes no page")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page that is written")
    given = parser.parse_args(words)
    console, sections = Console(width=200), []
    with tempfile.TemporaryDirectory() as folder:
        stages = measure_cases(QUICK if given.quick else all_cases(), Path(folder), Effort())
        for section in _sections(stages):
            section.print_to(console)
            sections.append(section)
    if not given.quick and given.only is None:
        given.page.write_text(page(sections), encoding="utf-8")
    return report(stages)


def report(stages: StageTable) -> int:
    """Say which ratios are below their limits; the exit status."""
    failures = stages.failures()
    for sentence in failures:
        sys.stderr.write(f"error: {sentence}\n")
    return 1 if failures else 0


def _sections(stages: StageTable) -> Iterator[Section]:
    yield stages.section()
    yield stages.slopes()


if __name__ == "__main__":
    sys.exit(main())
