"""``make bench`` and ``make bench-quick``: run the benchmarks, print their tables, write the page, check the ratios."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from benchmarks.budgets import Findings, budget_section
from benchmarks.camera import Cameras
from benchmarks.long_night import ledger_section, look_section, measure_long_night, memory_section
from benchmarks.photometry_table import noise_section, run_bench
from benchmarks.running import RunningNight
from benchmarks.sample_frames import Case, make_frames
from benchmarks.sections import PAGE, SOAK_TITLE, Section, page, section_of
from benchmarks.service import LatencySeries, LiveNight, latency_section, measure_rate, rate_section
from benchmarks.stage_table import QUICK, SMALL, StageTable, all_cases, measure_cases
from benchmarks.startup import measure_start_up, start_up_section


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes
    ----------
    starts : int
        Passes over the start-up times.
    workers : tuple of int
        Numbers of workers whose rate is measured, on a backlog of `backlog_frames`.
    latency : tuple of (float, int)
        Frames a second, and how many frames.
    live_frames : int
        Frames of the live series on a night of 1,000 and of 100,000 rows; 0 leaves both out.
    noise_frames : int
        Frames of each key for the table of noise; 0 leaves it out.
    """

    cases: tuple[Case, ...]
    workers: tuple[int, ...]
    backlog_frames: int
    latency: tuple[tuple[float, int], ...]
    starts: int = 1
    live_frames: int = 0
    noise_frames: int = 0


FULL = Plan(tuple(all_cases()), (1, 2), 4500, ((3.0, 90), (30.0, 1200), (100.0, 1500)), 3, 600, 600)
SHORT = Plan(QUICK, (2,), 600, ((30.0, 240),))
PARTS = ("stages", "rate", "latency", "start-up", "length", "noise")


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for; exit status 1 where a ratio falls below its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="within two minutes; no page unless named")
    parser.add_argument(
        "--only", choices=PARTS, nargs="+", default=PARTS, help="these parts alone; no page unless named"
    )
    parser.add_argument("--page", type=Path, help="where the page is written; that of the documentation by default")
    given = parser.parse_args(words)
    console, sections = Console(width=200), []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(SHORT if given.quick else FULL, tuple(given.only), Path(folder))
        for section in run.sections():
            section.print_to(console)
            sections.append(section)
        run.measure_failing_again()
    budgets = budget_section(run.found)
    budgets.print_to(console)
    is_whole = not given.quick and tuple(given.only) == PARTS
    written = given.page or (PAGE if is_whole else None)
    if written is not None:
        soaked = section_of(written.read_text(encoding="utf-8"), SOAK_TITLE) if written.exists() else ""
        written.write_text(f"{page([budgets, *sections])}{soaked and chr(10)}{soaked}", encoding="utf-8")
    return report(run.found.stages)


def report(stages: StageTable) -> int:
    """Say which ratios are below their limits; the exit status."""
    failures = stages.failures()
    for sentence in failures:
        sys.stderr.write(f"error: {sentence}\n")
    return 1 if failures else 0


@dataclass(slots=True)
class Run:
    """One run of the benchmarks; `found` grows while `sections` is gone through, part by part."""

    plan: Plan
    parts: tuple[str, ...]
    root: Path
    found: Findings = field(default_factory=Findings)

    def sections(self) -> Iterator[Section]:
        """Measure one part after the other, and give each table as soon as it is known."""
        if "stages" in self.parts:
            yield from self._stages()
        if {"rate", "latency", "length"} & set(self.parts):
            yield from self._service(Cameras())
        if "start-up" in self.parts:
            frames = make_frames(self.root / "frames", SMALL, 1)
            times = measure_start_up(frames, self.root / "start-up", self.plan.starts)
            self.found = replace(self.found, start_up=times)
            yield start_up_section(times)
        if "noise" in self.parts and self.plan.noise_frames:
            rows = run_bench(self.root / "noise", self.plan.noise_frames)
            yield noise_section(rows, self.plan.noise_frames)

    def _stages(self) -> Iterator[Section]:
        stages = measure_cases(self.plan.cases, self.root / "stages")
        self.found = replace(self.found, stages=stages)
        yield stages.section()
        yield stages.slopes()

    def measure_failing_again(self) -> None:
        """Measure cases below their limits once more, and take the better: a busy minute is no fault of the program."""
        failing = self.found.stages.failing()
        if failing:
            again = measure_cases(failing, self.root / "again")
            self.found = replace(self.found, stages=self.found.stages.better_of(again))

    def _service(self, cameras: Cameras) -> Iterator[Section]:
        plan = self.plan
        if "rate" in self.parts:
            rates = [measure_rate(cameras, self.root, n, plan.backlog_frames) for n in plan.workers]
            self.found = replace(self.found, rates=rates)
            yield rate_section(rates)
        if "latency" in self.parts:
            latencies = self._latencies(cameras, self.root / "live")
            self.found = replace(self.found, latencies=latencies)
            yield latency_section(latencies)
        if "length" in self.parts and plan.live_frames:
            night = measure_long_night(cameras, self.root, live_frames=plan.live_frames)
            self.found = replace(self.found, night=night)
            yield ledger_section(night)
            yield memory_section(night)
            yield look_section(night)

    def _latencies(self, cameras: Cameras, root: Path) -> list[LatencySeries]:
        folder = root / "frames"
        folder.mkdir(parents=True)
        with RunningNight(folder, root / "out", 2, page=True) as night:
            live = LiveNight(night, cameras)
            live.warm_up()
            return [live.measure(rate, n_frames) for rate, n_frames in self.plan.latency]


if __name__ == "__main__":
    sys.exit(main())
