"""``make bench`` and ``make bench-quick``: run the benchmarks, print their tables, write the page, check the ratios."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.camera import Cameras
from benchmarks.long_night import ledger_section, measure_long_night, memory_section
from benchmarks.photometry_table import noise_section, run_bench
from benchmarks.running import RunningNight
from benchmarks.sample_frames import Case, make_frames
from benchmarks.sections import PAGE, Section, page
from benchmarks.service import LiveNight, latency_section, measure_rate, rate_section
from benchmarks.stage_table import QUICK, SMALL, StageTable, all_cases, measure_cases
from benchmarks.stages import Effort
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


FULL = Plan(tuple(all_cases()), (1, 2), 1800, ((3.0, 90), (30.0, 1200), (100.0, 1500)), 3, 600, 600)
SHORT = Plan(QUICK, (2,), 600, ((30.0, 240),))
PARTS = ("stages", "rate", "latency", "start-up", "length", "noise")


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for; exit status 1 where a ratio falls below its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="within two minutes; writes no page")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="these parts alone; writes no page")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page that is written")
    given = parser.parse_args(words)
    plan, console = SHORT if given.quick else FULL, Console(width=200)
    sections: list[Section] = []
    with tempfile.TemporaryDirectory() as folder:
        stages, root = StageTable({}), Path(folder)
        if "stages" in given.only:
            stages = measure_cases(plan.cases, root / "stages", Effort())
        for section in _sections(plan, given.only, root, stages):
            section.print_to(console)
            sections.append(section)
    if not given.quick and tuple(given.only) == PARTS:
        given.page.write_text(page(sections), encoding="utf-8")
    return report(stages)


def report(stages: StageTable) -> int:
    """Say which ratios are below their limits; the exit status."""
    failures = stages.failures()
    for sentence in failures:
        sys.stderr.write(f"error: {sentence}\n")
    return 1 if failures else 0


def _sections(plan: Plan, parts: Sequence[str], root: Path, stages: StageTable) -> Iterator[Section]:
    """Measure one part after the other; each table is there as soon as it is known."""
    if stages.times:
        yield stages.section()
        yield stages.slopes()
    cameras = Cameras() if {"rate", "latency", "length"} & set(parts) else None
    if cameras is not None and "rate" in parts:
        yield rate_section([measure_rate(cameras, root, n, plan.backlog_frames) for n in plan.workers])
    if cameras is not None and "latency" in parts:
        yield _latency(plan, cameras, root / "live")
    if "start-up" in parts:
        frames = make_frames(root / "frames", SMALL, 1)
        yield start_up_section(measure_start_up(frames, root / "start-up", plan.starts))
    if cameras is not None and "length" in parts and plan.live_frames:
        night = measure_long_night(cameras, root, live_frames=plan.live_frames)
        yield ledger_section(night)
        yield memory_section(night)
    if "noise" in parts and plan.noise_frames:
        yield noise_section(run_bench(root / "noise", plan.noise_frames), plan.noise_frames)


def _latency(plan: Plan, cameras: Cameras, root: Path) -> Section:
    folder = root / "frames"
    folder.mkdir(parents=True)
    with RunningNight(folder, root / "out", 2, page=True) as night:
        live = LiveNight(night, cameras)
        live.warm_up()
        return latency_section([live.measure(rate, n_frames) for rate, n_frames in plan.latency])


if __name__ == "__main__":
    sys.exit(main())
