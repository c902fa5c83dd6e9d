"""Files that grow, pause, are renamed, moved, corrected, deleted, doubled or stay half: each frame ends once."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from stream.errors import Reason
from stream.messages import FrameMeasured, FrameRejected
from stream.night.ledger import LedgerCounts
from tests.faults.comparison import closed_once, differences, outcomes_of
from tests.faults.conftest import Report, names
from tests.faults.whole_night import SimulatedNight, Watch, kill_all, put
from tests.night.processes import counts_of
from tests.night.waiting import wait_until

pytestmark = pytest.mark.faults

_PAUSE_S = 0.4  # longer than a complete file must hold still


def pause() -> None:
    threading.Event().wait(_PAUSE_S)


def write_kept_open(frame: Path, folder: Path, n_pieces: int = 4) -> None:
    """Grow a file in place, in pieces with pauses; it is closed once."""
    content = frame.read_bytes()
    size = -(-len(content) // n_pieces)
    with (folder / frame.name).open("wb") as file:
        for start in range(0, len(content), size):
            file.write(content[start : start + size])
            file.flush()
            pause()


def write_in_copies(frame: Path, folder: Path) -> None:
    """The same, but closed after each piece, as an interrupted copy that is resumed."""
    content = frame.read_bytes()
    for piece in (content[:1000], content[1000:3000], content[3000:20000], content[20000:]):
        with (folder / frame.name).open("ab") as file:
            file.write(piece)
        pause()


def write_header_last(frame: Path, folder: Path) -> None:
    """Pixels first and the header in the end, over zeros; the file has its length all the time."""
    content = frame.read_bytes()
    with (folder / frame.name).open("wb") as file:
        file.write(b"\0" * 2880 + content[2880:])
        file.flush()
        pause()
        file.seek(0)
        file.write(content[:2880])


def move_in(frame: Path, folder: Path) -> None:
    """Move a file into the folder from its neighbour."""
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    shutil.copyfile(frame, outside / frame.name)
    (outside / frame.name).rename(folder / frame.name)


def replace_half(frame: Path, folder: Path) -> None:
    """Half of a file, then the whole one in its place under the same name."""
    (folder / frame.name).write_bytes(frame.read_bytes()[:15000])
    pause()
    put([frame], folder)


WRITERS = (write_kept_open, write_in_copies, write_header_last, move_in, replace_half)


def test_frames_that_are_written_slowly_are_measured_when_they_are_complete(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    frames = night.frames[:60]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(frames[:15], watch.folder)
        watch.wait(15)

        def write_every_fifth(first: int) -> None:
            for frame in frames[first::5]:
                WRITERS[first % 5](frame, watch.folder)

        writers = [threading.Thread(target=write_every_fifth, args=(first,)) for first in range(15, 20)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60.0)
        watch.wait(len(frames))
        wait_until(lambda: all_measured(watch, len(frames)), 20.0, "the measurement of files that were completed late")
        assert watch.stop().status == 0
    wrong = differences(watch.out, night.undisturbed, names(frames))
    report("slow writers of five kinds", watch.out, n_faults=45, n_in=len(frames), wrong=wrong)


def all_measured(watch: Watch, n_frames: int) -> bool:
    counts = counts_of(watch.out)
    return counts is not None and counts.n_measured == n_frames


def pending(watch: Watch) -> LedgerCounts:
    counts = counts_of(watch.out)
    assert counts is not None
    return counts


@pytest.mark.slow
def test_a_frame_that_is_gone_before_it_was_read_is_rejected_and_measured_when_it_is_back(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    frames, away = night.frames[:30], tmp_path / "away"
    away.mkdir()
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(frames[:20], watch.folder)
        watch.wait(20)
        kill_all(watch.workers())  # nobody reads until others have started
        put(frames[20:], watch.folder)
        wait_until(lambda: pending(watch).n_frames == 30, 5.0, "the arrival of all frames")
        assert pending(watch).n_pending == 10
        for frame in frames[25:]:
            (watch.folder / frame.name).rename(away / frame.name)
        watch.wait(30)
        outcomes = outcomes_of(watch.out)
        for frame in frames[25:]:
            rejected = outcomes[frame.name]
            assert isinstance(rejected, FrameRejected)
            assert rejected.reason is Reason.DISAPPEARED
            assert frame.name in rejected.sentence
        assert [name for name in names(frames[:25]) if not isinstance(outcomes[name], FrameMeasured)] == []
        assert closed_once(watch.out, names(frames)) == []
        for frame in frames[25:]:
            (away / frame.name).rename(watch.folder / frame.name)
        wait_until(lambda: all_measured(watch, 30), 30.0, "the measurement of frames that are back")
        assert watch.stop().status == 0
    wrong = differences(watch.out, night.undisturbed, names(frames))
    report("files that are gone before they are read", watch.out, n_faults=5, n_in=len(frames), wrong=wrong)


@pytest.mark.slow
def test_a_frame_under_two_names_is_two_frames(night: SimulatedNight, tmp_path: Path) -> None:
    frames = night.frames[:30]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(frames, watch.folder)
        for frame in frames[:6]:
            (watch.folder / f"again-{frame.name}").hardlink_to(watch.folder / frame.name)
        watch.wait(36)
        assert watch.stop().status == 0
    doubled = [*names(frames), *(f"again-{frame.name}" for frame in frames[:6])]
    assert differences(watch.out, night.undisturbed, doubled, original=lambda path: path.removeprefix("again-")) == []


def wrong_pixels(content: bytes) -> bytes:
    """A frame with a stripe of zeros across its stars."""
    start = content.index(b"END".ljust(80)) // 2880 * 2880 + 2880
    return content[: start + 10_000] + bytes(8_000) + content[start + 18_000 :]


def wrong_header(content: bytes) -> bytes:
    """A frame whose exposure time nobody can believe."""
    start = content.index(b"EXPOSURE=")
    return content[:start] + b"EXPOSURE= -1.0".ljust(80) + content[start + 80 :]


def write_wrong(frames: Sequence[Path], folder: Path) -> None:
    """Let versions appear that are to be corrected: by turns with wrong pixels and with a wrong header."""
    for number, frame in enumerate(frames):
        hidden = folder / f"{frame.name}.tmp"
        hidden.write_bytes((wrong_header if number % 2 else wrong_pixels)(frame.read_bytes()))
        hidden.rename(folder / frame.name)


def correct(frames: Sequence[Path], folder: Path) -> None:
    """Overwrite files by the true frames: in place, by renaming, and half of them first."""
    for number, frame in enumerate(frames):
        if number % 3 == 0:
            put([frame], folder)
        if number % 3 == 1:
            shutil.copyfile(frame, folder / frame.name)
        if number % 3 == 2:
            content = frame.read_bytes()
            (folder / frame.name).write_bytes(content[:20000])
            pause()
            with (folder / frame.name).open("ab") as file:
                file.write(content[20000:])


def n_unlike(watch: Watch, night: SimulatedNight) -> int:
    """Frames whose rows are not yet those of the undisturbed night."""
    wrong = differences(watch.out, night.undisturbed, list(outcomes_of(watch.out)))
    return len({sentence.partition(":")[0] for sentence in wrong})


def wait_until_corrected(watch: Watch, night: SimulatedNight) -> None:
    wait_until(lambda: n_unlike(watch, night) == 0, 60.0, "the measurement of the corrected files")


@pytest.mark.slow
def test_frames_that_are_overwritten_by_corrected_ones_are_measured_anew(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    """While the night runs, while nobody measures, while it does not run; and one that is broken keeps its row."""
    frames = night.frames[:60]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(frames[:20], watch.folder)
        write_wrong(frames[20:60], watch.folder)
        watch.wait(60)
        assert n_unlike(watch, night) == 40
        correct(frames[20:32], watch.folder)
        wait_until(lambda: n_unlike(watch, night) == 28, 60.0, "the measurement of twelve corrected files")
        kill_all(watch.workers())  # what changes now may be read before or after
        correct(frames[32:44], watch.folder)
        write_wrong(frames[:10], watch.folder)
        correct(frames[:10], watch.folder)
        wait_until(lambda: n_unlike(watch, night) == 16, 60.0, "the measurement of corrected files by other workers")
        assert watch.stop().status == 0
    correct(frames[44:60], watch.folder)
    with watch:
        wait_until_corrected(watch, night)
        (watch.folder / frames[15].name).write_bytes(b"a text")
        kept = f"{frames[15].name} keeps its measurement: it was overwritten, but {frames[15].name}"
        wait_until(lambda: kept in watch.log(), 30.0, "a line of the log")
        assert watch.stop().status == 0
    assert f"{frames[20].name} was overwritten after it had arrived" in watch.log()
    wrong = differences(watch.out, night.undisturbed, names(frames))
    report("files that are corrected after they were measured", watch.out, n_faults=61, n_in=len(frames), wrong=wrong)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_frame_that_stays_truncated_is_rejected_and_measured_when_it_is_completed(
    night: SimulatedNight, tmp_path: Path
) -> None:
    frames = night.frames[:15]
    late = frames[7]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put([frame for frame in frames if frame is not late], watch.folder)
        (watch.folder / late.name).write_bytes(late.read_bytes()[:20000])
        counts = watch.wait(15, 60.0)
        assert counts.by_reason == {"TRUNCATED": 1}
        with (watch.folder / late.name).open("ab") as file:
            file.write(late.read_bytes()[20000:])
        wait_until(lambda: all_measured(watch, 15), 20.0, "the measurement of the completed frame")
        assert watch.stop().status == 0
    assert differences(watch.out, night.undisturbed, names(frames)) == []
