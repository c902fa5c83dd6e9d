"""What was promised, and what was measured: every budget with its number, met or missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.long_night import LongNight
from benchmarks.sections import Section
from benchmarks.service import LatencySeries, Rate
from benchmarks.stage_table import LARGE, SMALL, StageTable
from benchmarks.startup import StartUp

_LATENCY_AT = 30.0
_MEMORY_MB = {"worker": 200.0, "night": 250.0, "page": 400.0}
_TEXTS = (
    "The budgets of the project, two cores, beside what this run measured. Those that are ratios of two numbers of the "
    "same run hold on any machine; the others are those of this one, with whatever else it did.",
)


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a run measured; what was left out is empty."""

    stages: StageTable = field(default_factory=lambda: StageTable({}))
    rates: Sequence[Rate] = ()
    latencies: Sequence[LatencySeries] = ()
    start_up: StartUp | None = None
    night: LongNight | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """One number that is not to be exceeded or, if `at_least`, to be reached."""

    what: str
    limit: float
    measured: float
    unit: str = ""
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it holds."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def cells(self) -> tuple[str, str, str, str]:
        """Texts of the table."""
        unit = f" {self.unit}" if self.unit else ""
        sign = "at least" if self.at_least else "at most"
        return (
            self.what,
            f"{sign} {self.limit:g}{unit}",
            f"{self.measured:.3g}{unit}",
            "met" if self.is_met else "missed",
        )


def budget_section(found: Findings) -> Section:
    """The table of budgets, as far as this run measured them."""
    rows = tuple(budget.cells() for budget in budgets(found))
    return Section("Budgets", _TEXTS, ("what", "budget", "measured", ""), rows, n_words=4)


def budgets(found: Findings) -> list[Budget]:
    """All budgets that this run says something of."""
    return [
        *_of_stages(found.stages),
        *_of_rates(found.rates),
        *_of_latencies(found.latencies),
        *(_of_start_up(found.start_up) if found.start_up is not None else ()),
        *(_of_length(found.night) if found.night is not None else ()),
    ]


def _of_stages(stages: StageTable) -> Iterator[Budget]:
    for case, ratio, floors, core_ms in ((SMALL, 30.0, 10.0, 2.0), (LARGE, 100.0, 3.0, 8.0)):
        if case in stages.times:
            times = stages.times[case]
            words = f"{case.size_px} x {case.size_px}, {case.n_sources} sources, file to row"
            yield Budget(f"baseline over {words}", ratio, times.baseline_over_total, at_least=True)
            yield Budget(f"{words}, over the floor", floors, times.over_floor)
            yield Budget(f"core time, {words}", core_ms, times.total, "ms")
    slopes = stages.slopes_us()
    if slopes:
        yield Budget("steepest slope a source and photometer", 20.0, max(slope for _, slope in slopes), "µs")


def _of_rates(rates: Sequence[Rate]) -> Iterator[Budget]:
    for rate in rates:
        if rate.n_workers == 2:
            yield Budget("rate of the service, 2 workers", 400.0, rate.frames_per_s, "frames/s", at_least=True)


def _of_latencies(series: Sequence[LatencySeries]) -> Iterator[Budget]:
    for one in series:
        if one.frames_per_s == _LATENCY_AT:
            for quantile, limit_ms in ((0.5, 10.0), (0.99, 50.0)):
                words = f"closed file to published message at {_LATENCY_AT:g} frames/s, p{100 * quantile:g}"
                yield Budget(words, limit_ms, 1000.0 * float(np.quantile(one.published_s, quantile)), "ms")


def _of_start_up(times: StartUp) -> Iterator[Budget]:
    yield Budget("`opticam-live --help`", 0.5, times.help_s, "s")
    yield Budget("a worker is ready", 2.0, times.worker_ready_s, "s")
    yield Budget("the page is served, after `opticam-live watch`", 3.0, times.page_s, "s")


def _of_length(night: LongNight) -> Iterator[Budget]:
    (n_short, short), (n_long, long) = night.live[0], night.live[-1]
    before, after = (one.core_ms["night"] + one.core_ms["worker"] for one in (short, long))
    words = f"core time of night and workers a frame, {n_long}th over {n_short}th frame"
    yield Budget(words, 1.1, after / before)
    yield Budget(f"the page of {n_long} frames answers, after `opticam-live serve`", 2.0, night.ledgers[-1].page_s, "s")
    if night.looks:
        before_ms, after_ms = (look.refresh_ms for look in (night.looks[0], night.looks[-1]))
        words = f"core time of a refresh of the page, {night.looks[-1].n_rows} over {night.looks[0].n_rows} rows"
        yield Budget(words, 1.1, after_ms / before_ms)
    for role, limit_mb in _MEMORY_MB.items():
        largest = max(use.memory_mb for _, one in night.live for use in one.memory if use.role == role)
        yield Budget(f"memory of the {role} process, up to {n_long} frames", limit_mb, largest, "MB")
