"""The way of one file through watcher and worker, in this process: what comes of it, how long it takes, its memory.

Whatever a file holds, each frame of it ends measured, or rejected by a reason that a person can act on. An error of
this program itself (`INTERNAL_ERROR`), a warning, a missing answer and a message that the night would drop are faults.
"""

from __future__ import annotations

import resource
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stream.config import Recipe
from stream.errors import FrameIncompleteError, FrameRejectedError, Reason
from stream.instruments import OPTICAM_MX
from stream.measure.compressed import gzip_ends, is_gzip
from stream.measure.frames import list_frames
from stream.messages import (
    ENCODER,
    FROM_WORKER,
    AssignFrame,
    BuildCatalog,
    CatalogBuilt,
    CatalogNotBuilt,
    FrameDescribed,
    FrameMeasured,
    FrameRejected,
    FrameToMeasure,
)
from stream.night.worker import PipelineMeasurer, answer_build, answer_frame
from tests.fuzz.hostile_files import HostileFile
from tests.fuzz.parts import frame_bytes

N_GOOD = 5
RECIPE = Recipe(instrument=msgspec.structs.replace(OPTICAM_MX(), plane_interval_s=2.0))
KEY = "1:g"
Outcome = FrameMeasured | FrameRejected | FrameDescribed
_MOST_FRAMES = 5
_KB_PER_MB = 1024.0


@dataclass
class FuzzFigures:
    """What a run of the fuzz did.

    Attributes
    ----------
    n_accepted, n_rejected : int
        Files of which a frame was measured (or described, where nothing is measured), and files of which none was.
    memory_mb : float
        Most that one file took beyond what the process held before.
    """

    n_files: int = 0
    n_accepted: int = 0
    n_rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    memory_mb: float = 0.0
    slowest: str = ""
    largest: str = ""

    def sentence(self) -> str:
        """All of it, for people."""
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.reasons.most_common())
        return (
            f"{self.n_files} files: {self.n_accepted} with a frame that was taken, {self.n_rejected} without; "
            f"rejections: {reasons}; longest {self.longest_s:.2f} s ({self.slowest[:200]}); "
            f"most memory {self.memory_mb:.0f} MB ({self.largest[:200]})"
        )


class WayOfAFile:
    """A worker with the catalog of a small field, and the folder that files are put into.

    Parameters
    ----------
    measures : bool
        Whether frames are measured, or read and described alone: a fuzzer that goes by branches needs many files.
    """

    def __init__(self, root: Path, *, measures: bool = True) -> None:
        self._measures = measures
        self.folder, out = root / "frames", root / "out"
        self.folder.mkdir(parents=True)
        out.mkdir()
        self._good = []
        for number in range(N_GOOD):
            (self.folder / f"good-{number}.fit").write_bytes(frame_bytes(number))
            self._good.append(FrameToMeasure(number + 1, f"good-{number}.fit"))
        self._measurer = PipelineMeasurer(self.folder, RECIPE, out)
        built = answer_build(self._measurer, BuildCatalog(KEY, tuple(self._good)))
        if not isinstance(built, CatalogBuilt):
            raise AssertionError(f"the honest frames made no catalog: {built}")
        self._measurer.use_catalog(built.catalog)
        self._version = built.catalog.version
        self.figures = FuzzFigures()

    def take(self, hostile: HostileFile) -> list[Outcome]:
        """Let a file come; returns what came of its frames and raises AssertionError over a fault."""
        path = self.folder / f"hostile{hostile.ending}"
        path.write_bytes(hostile.content)
        try:
            with _measured_memory() as memory_mb:
                started = time.monotonic()
                arrivals = self._arrivals(path)
                outcomes = [self._outcome(name, key) for name, key in arrivals]
                for name in [name for name, key in arrivals if key == KEY and self._measures][:1]:
                    self._try_for_catalog(name)
                took_s = time.monotonic() - started
        finally:
            path.unlink()
        self._count(hostile, outcomes, took_s, memory_mb[0])
        return outcomes

    def _arrivals(self, path: Path) -> list[tuple[str, str]]:
        """Names and keys of the frames of a file, as the watcher finds them."""
        try:
            peeks = list_frames(path, path.name, RECIPE.instrument)
            if is_gzip(path.name):
                gzip_ends(path)
        except FrameIncompleteError:
            try:
                peeks = list_frames(path, path.name, RECIPE.instrument, complete=False)
            except (FrameIncompleteError, FrameRejectedError):
                return [(path.name, "")]
        except FrameRejectedError:
            return [(path.name, "")]
        found = []
        for peek in [*peeks[: _MOST_FRAMES - 1], *peeks[-1:]]:
            try:
                found.append((peek.name, RECIPE.instrument.describe(peek.header, peek.name).key))
            except FrameRejectedError:
                found.append((peek.name, ""))
        return found

    def _outcome(self, name: str, key: str) -> Outcome:
        """What a worker says of a frame, as the night hears it."""
        wanted = key if key == KEY and self._measures else ""
        frame = FrameToMeasure(99, name)
        answer = answer_frame(self._measurer, AssignFrame(frame, wanted, self._version if wanted else ""))
        if isinstance(answer, FrameDescribed) and not self._measures:
            return answer
        if isinstance(answer, FrameDescribed) and answer.key == KEY:
            answer = answer_frame(self._measurer, AssignFrame(frame, KEY, self._version))
        elif isinstance(answer, FrameDescribed):
            answer = FrameRejected(99, name, Reason.BAD_KEYWORD, f"{name} is of key {answer.key}")
        heard = FROM_WORKER.decode(ENCODER.encode(answer))
        if not isinstance(heard, FrameMeasured | FrameRejected):
            raise AssertionError(f"{heard} is no outcome of {name}")
        if isinstance(heard, FrameMeasured) and not heard.has_whole_table():
            raise AssertionError(f"{name} came without a whole table")
        if isinstance(heard, FrameRejected):
            _check_rejection(heard)
        return heard

    def _try_for_catalog(self, name: str) -> None:
        """Let the file be the first of those that a catalog is made of."""
        request = BuildCatalog(KEY, (FrameToMeasure(99, name), *self._good[:2]))
        reply = answer_build(self._measurer, request)
        if isinstance(reply, CatalogNotBuilt) and "opticam-live itself" in reply.sentence:
            raise AssertionError(reply.sentence)
        FROM_WORKER.decode(ENCODER.encode(reply))
        for rejected in reply.rejected:
            _check_rejection(rejected)

    def _count(self, hostile: HostileFile, outcomes: list[Outcome], took_s: float, memory_mb: float) -> None:
        figures = self.figures
        is_accepted = any(not isinstance(one, FrameRejected) for one in outcomes)
        figures.n_files += 1
        figures.n_accepted += is_accepted
        figures.n_rejected += not is_accepted
        figures.reasons.update(str(one.reason) for one in outcomes if isinstance(one, FrameRejected))
        if took_s > figures.longest_s:
            figures.longest_s, figures.slowest = took_s, hostile.what
        if memory_mb > figures.memory_mb:
            figures.memory_mb, figures.largest = memory_mb, hostile.what


def _check_rejection(rejected: FrameRejected) -> None:
    if rejected.reason is Reason.INTERNAL_ERROR:
        raise AssertionError(rejected.sentence)
    if "\n" in rejected.sentence or rejected.path.partition("[")[0] not in rejected.sentence:
        raise AssertionError(f"no sentence that names the file: {rejected.sentence!r}")


@contextmanager
def _measured_memory() -> Iterator[list[float]]:
    """Give, at the end, the most memory that was held beyond that of the beginning, megabytes."""
    grown = [0.0]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark begins anew
    before = _kb_of("VmRSS:")
    yield grown
    grown[0] = max(0, _kb_of("VmHWM:") - before) / _KB_PER_MB


def _kb_of(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise AssertionError(f"this system does not tell {name}")


@contextmanager
def strict_process(more_mb: int = 1024) -> Iterator[None]:
    """Make every warning an error, and refuse memory beyond what there is now and so much more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = (_kb_of("VmSize:") + more_mb * 1024) * 1024
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
