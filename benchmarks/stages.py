"""Core time of a frame, stage by stage, on the public functions that the night itself runs.

Each stage is timed as a loop over all frames of a case, with two looks at the clock: asking it takes microseconds in a
virtual machine. Every loop is run several times, and the least counts: what else the machine does only adds. Core time
is that of the process, all of its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.baseline import Baseline, read_and_convert, run_baseline
from benchmarks.clocks import core_seconds
from benchmarks.sample_frames import SampleFrames
from benchmarks.sinks import CommitBench, PublishBench
from stream.measure.alignment import align
from stream.measure.calibration import calibrate
from stream.measure.exposure import Exposure
from stream.measure.frames import Frame, read_frame
from stream.measure.transform import Transform
from stream.messages import FrameMeasured
from stream.pipeline import Reference, process_frame

_ROWS = 300

Loops = dict[str, tuple[Callable[[], object], int]]
"""What is run, and how many frames it handles, by name."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds of core time a frame.

    Attributes
    ----------
    read, calibrate, align, measure : float
        `calibrate` is only what is done at once: masters are applied to the stamps that `align` and `measure` cut.
        `measure` is the rest of `process_frame`: apertures, background, times, the message.
    commit : float
        Arrival entered and outcome committed, three to a transaction.
    publish : float
        Encoded by the worker, decoded by the broker, published encrypted, received and decoded by a subscriber.
    total : float
        File to committed row, measured in one loop of its own.
    floor, baseline : float
        See `benchmarks.baseline`.
    """

    read: float
    calibrate: float
    align: float
    measure: float
    commit: float
    publish: float
    total: float
    floor: float
    baseline: float

    @property
    def over_floor(self) -> float:
        """How many times the floor the whole way costs."""
        return self.total / self.floor

    @property
    def baseline_over_total(self) -> float:
        """How many times the whole way the baseline costs."""
        return self.baseline / self.total


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured for one case: passes over all frames, and frames of the (slow) baseline."""

    passes: int = 7
    baseline_frames: int = 4
    baseline_passes: int = 3


def measure_stages(frames: SampleFrames, scratch: Path, effort: Effort) -> StageTimes:
    """Measure all stages of one case; `scratch` is a new folder for its ledger."""
    scratch.mkdir(parents=True)
    way, baseline = HotPath(frames), Baseline(frames)
    files, n = frames.paths, len(frames.paths)
    few = files[1 : 1 + effort.baseline_frames]
    read = way.read_all()
    exposures = way.calibrate_all(read)
    messages = way.process_all(read)
    run_baseline(baseline, few[:1])  # the first call of a library fills its caches
    with ExitStack() as stack:
        ledger = stack.enter_context(CommitBench(scratch, way.recipe))
        publish = stack.enter_context(PublishBench(scratch))
        loops: Loops = {
            "read": (way.read_each, n),
            "calibrate": (lambda: way.calibrate_all(read), n),
            "align": (lambda: way.align_all(exposures), n),
            "process": (lambda: way.process_all(read), n),
            "commit": (lambda: ledger.commit(messages, _ROWS), _ROWS),
            "publish": (lambda: publish.publish(messages, _ROWS), _ROWS),
            "total": (lambda: ledger.commit(way.run(), n), n),
            "floor": (lambda: _read_floor(files), n),
        }
        slow: Loops = {"baseline": (lambda: run_baseline(baseline, few), len(few))}
        least = _least([loops | slow] * effort.baseline_passes + [loops] * (effort.passes - effort.baseline_passes))
    measure = least.pop("process") - least["align"] - least["calibrate"]
    return StageTimes(measure=measure, **least)


def _least(rounds: Sequence[Loops]) -> dict[str, float]:
    """Least milliseconds a frame of each loop; the loops take turns, so that a busy minute meets all of them."""
    times: dict[str, list[float]] = {}
    for loops in rounds:
        for name, (work, count) in loops.items():
            times.setdefault(name, []).append(1000.0 * core_seconds(work) / count)
    return {name: min(found) for name, found in times.items()}


def _read_floor(files: Sequence[Path]) -> None:
    for path in files:
        read_and_convert(path)


class HotPath:
    """The way of the frames of one case, as a worker goes it: the transform of a frame is the hint for the next."""

    def __init__(self, frames: SampleFrames) -> None:
        self.recipe, self._files = frames.case.recipe(), frames.paths
        self._reference = Reference.from_catalog(frames.catalog, self.recipe, frames.calibration)

    def read_all(self) -> list[Frame]:
        """Read all frames."""
        return list(self._reading())

    def read_each(self) -> None:
        """Read all frames and keep none: memory is used again and again, as a worker does."""
        for _ in self._reading():
            pass

    def run(self) -> list[FrameMeasured]:
        """Read and measure one frame after the other."""
        return self.process_all(self._reading())

    def calibrate_all(self, read: Sequence[Frame]) -> list[Exposure]:
        """Prepare all frames for being looked at."""
        return [calibrate(frame, self.recipe.calibration, self._reference.calibration) for frame in read]

    def align_all(self, exposures: Sequence[Exposure]) -> None:
        """Align all frames, each from the transform of the one before."""
        hint: Transform | None = None
        for exposure in exposures:
            found = align(
                exposure,
                self._reference.stars,
                hint=hint,
                settings=self.recipe.alignment,
                detection=self.recipe.detection,
                bad_pixels=self._reference.bad_pixels,
            )
            hint = found.transform if found is not None else hint

    def _reading(self) -> Iterator[Frame]:
        return (read_frame(path, path.name, self.recipe.instrument) for path in self._files)

    def process_all(self, read: Iterable[Frame]) -> list[FrameMeasured]:
        """Measure all frames."""
        hint: Transform | None = None
        messages = []
        for frame in read:
            result = process_frame(frame, self._reference, self.recipe, hint)
            hint = result.transform if result.transform is not None else hint
            messages.append(result.message)
        return messages
