"""The table of stages, the ratios to baseline and floor, and the limits that they are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.sample_frames import GZIPPED, PLAIN, TILED, Case, make_frames
from benchmarks.sections import Section
from benchmarks.stages import Effort, StageTimes, measure_stages
from stream.config import Recipe
from stream.instruments import OPTICAM_MX

SMALL, LARGE = Case(512, 6), Case(2048, 50)
"""The cases that budgets are set for."""
LEAST_RATIO: Mapping[Case, float] = {SMALL: 30.0, LARGE: 100.0}
"""Baseline over hot path: `make bench-quick` fails below."""
SIZES, COUNTS = (512, 1024, 2048), (6, 50, 500)
QUICK = (SMALL, LARGE, Case(512, 50))
_UNBINNED_FWHM_PX = 12.0
_FRAMES_OF_SIZE = {512: 24, 1024: 12, 2048: 6}
_FULL, _LESS = Effort(), Effort(passes=5, baseline_frames=2, baseline_passes=2)
_COLUMNS = (
    "frame",
    "sources",
    "storage",
    "with",
    "read",
    "calibrate",
    "align",
    "measure",
    "commit",
    "publish",
    "file to row",
    "floor",
    "baseline",
    "/ floor",
    "baseline /",
)
_TEXTS = (
    "Milliseconds of core time a frame, one process, and the least of several passes. *read*: file to pixels and "
    "header. *calibrate*: what is done at once; masters and the search for cosmic rays act on the stamps that *align* "
    "and *measure* cut, and are seen there. *measure*: the rest of the pipeline, with barycentric times and all eight "
    "photometers of the standard recipe. *commit*: arrival entered and outcome committed, three frames to a "
    "transaction. *publish*: encoded by the worker, decoded by the broker, published encrypted, received and decoded "
    "by a subscriber. *file to row* is one loop over all of it but *publish*. Stars have a FWHM of 4 pixels unless it "
    "says otherwise; the catalog is that of the truth, so that every source is measured.",
    "*floor*: read the bytes, unpack them and convert them to float32. *baseline*: the loop of a competent user "
    "(`benchmarks/baseline.py`): astropy, photutils Background2D, detection and SourceCatalog, astroalign on the 20 "
    "brightest, ApertureStats with a sigma-clipped annulus, one aperture; calibration and L.A.Cosmic on the whole "
    "frame where the row has them. *baseline /* is baseline over file to row. `make bench-quick` measures a part of "
    "this in two minutes, and fails where that ratio is below "
    + " or ".join(
        f"{ratio:g} ({case.size_px} x {case.size_px}, {case.n_sources} sources)" for case, ratio in LEAST_RATIO.items()
    )
    + ".",
)


@dataclass(frozen=True, slots=True)
class StageTable:
    """Times of all cases that were measured."""

    times: Mapping[Case, StageTimes]

    def section(self) -> Section:
        """The table."""
        rows = tuple(_row(case, times) for case, times in self.times.items())
        return Section("Core time of a frame, by stage", _TEXTS, _COLUMNS, rows, n_words=4)

    def slopes(self) -> Section:
        """What a source more costs, from the rows that differ in nothing else."""
        rows = tuple((*words, f"{slope:.1f}") for words, slope in self.slopes_us())
        texts = (
            "Core time, file to row, of one more source measured by one more photometer: the difference between two "
            "rows of the table above, divided by the sources and by the photometers of the standard recipe.",
        )
        return Section("Slope per source", texts, ("frame", "sources", "µs a source and photometer"), rows, n_words=2)

    def failing(self) -> list[Case]:
        """Cases whose ratio is below its limit."""
        return [
            case
            for case, least in LEAST_RATIO.items()
            if case in self.times and self.times[case].baseline_over_total < least
        ]

    def better_of(self, other: StageTable) -> StageTable:
        """Of each case the measurement with the higher ratio, both sides of which were measured together."""
        merged = dict(self.times)
        for case, times in other.times.items():
            if case not in merged or times.baseline_over_total > merged[case].baseline_over_total:
                merged[case] = times
        return StageTable(merged)

    def failures(self) -> list[str]:
        """A sentence for each ratio below its limit."""
        return [
            f"{case.size_px} x {case.size_px} with {case.n_sources} sources: the baseline takes "
            f"{self.times[case].baseline_over_total:.1f} times as long as file to row: {least:g} is required"
            for case, least in LEAST_RATIO.items()
            if case in self.failing()
        ]

    def slopes_us(self) -> list[tuple[tuple[str, str], float]]:
        """Microseconds a source and photometer, by size of the frame and numbers of sources."""
        slopes, n_photometers = [], len(Recipe(OPTICAM_MX()).photometers)
        for size in SIZES:
            plain = [Case(size, count) for count in COUNTS if Case(size, count) in self.times]
            for few, many in pairwise(plain):
                more_ms = self.times[many].total - self.times[few].total
                slope = 1000.0 * more_ms / ((many.n_sources - few.n_sources) * n_photometers)
                slopes.append(((f"{size}", f"{few.n_sources} to {many.n_sources}"), slope))
        return slopes


def all_cases() -> list[Case]:
    """Every size with every number of sources, and what storage, calibration and cosmic rays add to some of them."""
    cases = [Case(size, count) for size in SIZES for count in COUNTS]
    for plain in (SMALL, Case(1024, 50), LARGE):
        size, count = plain.size_px, plain.n_sources
        cases += [Case(size, count, storage) for storage in (GZIPPED, TILED)]
        cases += [
            Case(size, count, calibrated=calibrated, cleaned=cleaned)
            for calibrated, cleaned in ((True, False), (False, True), (True, True))
        ]
    return [*cases, Case(2048, 50, fwhm_px=_UNBINNED_FWHM_PX)]


def measure_cases(cases: Sequence[Case], root: Path) -> StageTable:
    """Make the frames of each case below `root` and measure them."""
    times = {}
    for number, case in enumerate(cases):
        frames = make_frames(root / "frames", case, _FRAMES_OF_SIZE[case.size_px])
        times[case] = measure_stages(frames, root / "ledgers" / str(number), _FULL if case in LEAST_RATIO else _LESS)
    return StageTable(times)


def _row(case: Case, times: StageTimes) -> tuple[str, ...]:
    extras = [
        *(["masters"] if case.calibrated else []),
        *(["cosmic rays"] if case.cleaned else []),
        *([f"FWHM {case.fwhm_px:g} px"] if case.fwhm_px == _UNBINNED_FWHM_PX else []),
    ]
    numbers = (
        times.read,
        times.calibrate,
        times.align,
        times.measure,
        times.commit,
        times.publish,
        times.total,
        times.floor,
        times.baseline,
    )
    return (
        f"{case.size_px}",
        f"{case.n_sources}",
        case.storage if case.storage != PLAIN else "plain",
        ", ".join(extras) or "-",
        *(f"{number:.2f}" if number < 100.0 else f"{number:.0f}" for number in numbers),
        f"{times.over_floor:.1f}",
        f"{times.baseline_over_total:.1f}",
    )
