"""Files that change after they arrived, files that are closed during a backlog, and folders that are not searched."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import pytest

from stream.errors import Reason
from stream.instruments import OPTICAM_MX
from stream.measure import frames as measure_frames
from stream.measure.compressed import gzip_ends
from stream.measure.frames import FramePeek
from stream.messages import FrameArrived, FrameRejected, FrameToMeasure
from stream.night import watcher as watcher_module
from stream.night.folder_scan import FolderScan
from stream.night.later_looks import MOST_TIMES, LaterLooks
from stream.night.ledger import Ledger, LedgerReader
from stream.night.ledger_sets import KnownFile
from stream.night.watcher import Watcher, WatchSettings
from tests.night.frames import fits_bytes, write_frame
from tests.night.ledger_rows import RECIPE, make_arrival, make_catalog, make_measured
from tests.night.test_watcher import POLLING, QUICK, Inbox, known_files, watching
from tests.night.waiting import wait_until

pytestmark = pytest.mark.clock


def make_watcher(folder: Path, inbox: Inbox, settings: WatchSettings, known: Collection[str] = ()) -> Watcher:
    exclude, files = folder / "out", known_files(folder, known)
    return Watcher(
        folder.resolve(), OPTICAM_MX(), exclude=exclude, deliver=inbox.deliver, known=files, settings=settings
    )


def known_file(path: Path) -> KnownFile:
    status = path.stat()
    return KnownFile(1, status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("settings", [QUICK, POLLING], ids=["events", "polling"])
def test_a_rejected_file_arrives_again_when_it_has_changed(tmp_path: Path, settings: WatchSettings) -> None:
    content = fits_bytes(1)
    path = tmp_path / "late.fit"
    path.write_bytes(content[:3000])
    (tmp_path / "same.fit").write_bytes(content[:3000])
    inbox = Inbox()
    watcher = make_watcher(tmp_path, inbox, settings, ["late.fit", "same.fit"])
    watcher.watch_again("late.fit", known_file(path))
    watcher.watch_again("same.fit", known_file(tmp_path / "same.fit"))
    watcher.start()
    try:
        write_frame(tmp_path, 7)
        inbox.wait_for("000007.fit")
        with path.open("ab") as file:
            file.write(content[3000:])
        inbox.wait_for("000007.fit", "late.fit")
        write_frame(tmp_path, 8)
        inbox.wait_for("000007.fit", "late.fit", "000008.fit")
    finally:
        watcher.stop()
    assert (inbox.arrivals[1].message.key, inbox.arrivals[1].message.size_bytes) == ("1:g", len(content))


@pytest.mark.parametrize("settings", [QUICK, POLLING], ids=["events", "polling"])
def test_a_file_that_is_overwritten_arrives_again_and_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: WatchSettings
) -> None:
    size = len(fits_bytes(1))
    with caplog.at_level(logging.WARNING), watching(tmp_path, settings) as inbox:
        (tmp_path / "1.fit").write_bytes(fits_bytes(1))
        inbox.wait_for("1.fit")
        with (tmp_path / "1.fit").open("ab") as file:
            file.write(b"\0" * 2880)
        inbox.wait_for("1.fit", "1.fit")
    then_and_now = f"{size} bytes then, {size + 2880} now"
    assert caplog.messages == [f"1.fit was overwritten after it had arrived: {then_and_now}: it is measured again"]


@pytest.mark.parametrize("finite", [True, False])
def test_a_file_that_was_overwritten_while_no_night_ran_arrives_again(tmp_path: Path, finite: bool) -> None:
    for number in range(3):
        write_frame(tmp_path, number)
    names = ["000000.fit", "000001.fit", "000002.fit"]
    inbox = Inbox()
    watcher = make_watcher(tmp_path, inbox, WatchSettings(finite=finite, scan_s=0.1, hold_s=0.05), names)
    (tmp_path / names[1]).write_bytes(fits_bytes(9))
    watcher.start()
    try:
        inbox.wait_for(names[1])
        if finite:
            wait_until(lambda: inbox.is_ended)
    finally:
        watcher.stop()
    assert inbox.names() == names[1:2]


def test_a_file_that_is_overwritten_all_the_time_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "newest.fit").write_bytes(b"")
    looks = LaterLooks(tmp_path, known_files(tmp_path, ["newest.fit"]), {})
    for number in range(1, MOST_TIMES + 1):
        (tmp_path / "newest.fit").write_bytes(bytes(number))
        assert looks.is_another("newest.fit")
        looks.note_arrival("newest.fit", (number, (tmp_path / "newest.fit").stat().st_mtime_ns))
    (tmp_path / "newest.fit").write_bytes(b"")
    assert not looks.is_another("newest.fit")
    assert looks.others(all_files=True) == []
    assert len(caplog.messages) == MOST_TIMES + 1
    assert caplog.messages[-1] == "newest.fit was overwritten 100 times: it is left alone for the rest of this run"


def test_all_files_are_looked_at_in_turn(tmp_path: Path) -> None:
    names = [write_frame(tmp_path, number) for number in range(300)]
    looks = LaterLooks(tmp_path, known_files(tmp_path, names), {})
    for name in names[::100]:
        os.utime(tmp_path / name, (1.0, 1.0))
    (tmp_path / names[50]).unlink()
    found: set[str] = set()

    def all_found() -> bool:
        found.update(looks.others())
        return len(found) >= 3

    wait_until(all_found)
    assert sorted(found) == names[::100]
    assert sorted(looks.others(all_files=True)) == names[::100]


def test_a_file_closed_during_a_backlog_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_old = 60
    for number in range(n_old):
        write_frame(tmp_path, number)
    inbox = Inbox()
    watcher = make_watcher(tmp_path, inbox, WatchSettings(use_events=False, old_s=-1.0))
    looked_at: list[str] = []

    def look(path: Path, name: str, instrument: OPTICAM_MX) -> list[FramePeek]:  # type: ignore[valid-type]
        looked_at.append(name)
        if len(looked_at) == 10:
            watcher.hint(write_frame(tmp_path, 99), closed=True)
        return measure_frames.list_frames(path, name, instrument)

    monkeypatch.setattr(watcher_module, "list_frames", look)
    watcher.start()
    try:
        wait_until(lambda: len(inbox.arrivals) == n_old + 1)
    finally:
        watcher.stop()
    assert inbox.names()[0] == "000099.fit"
    assert looked_at.index("000099.fit") < 30


def test_events_obey_the_rules_of_the_scan(tmp_path: Path) -> None:
    for name in ("out/deep", ".trash", "a/.b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "a")
    scan = FolderScan(tmp_path, tmp_path / "out")
    names = ("1.fit", "a/1.fit", "a/new/1.fit", "out/1.fit", "out/deep/1.fit", ".trash/1.fit", "a/.b/1.fit")
    assert [name for name in names if scan.is_searched(name)] == ["1.fit", "a/1.fit", "a/new/1.fit"]
    assert not scan.is_searched("elsewhere/1.fit")
    events_alone = WatchSettings(scan_s=60.0, hold_s=60.0)
    with watching(tmp_path, events_alone) as inbox:
        for number, folder in enumerate(("out/deep", ".trash", "a/.b", "out", "a")):
            write_frame(tmp_path / folder, number)
        inbox.wait_for("a/000004.fit")


def test_a_compressed_file_is_complete_when_its_stream_ends(tmp_path: Path) -> None:
    packed = gzip.compress(fits_bytes(1) + os.urandom(100_000))
    path = tmp_path / "1.fits.gz"
    with watching(tmp_path, WatchSettings(scan_s=0.1, hold_s=0.05, incomplete_s=60.0)) as inbox:
        for start in range(0, len(packed), 40_000):
            with path.open("ab") as file:
                file.write(packed[start : start + 40_000])
            write_frame(tmp_path, start)
            wait_until(lambda name=f"{start:06d}.fit": name in inbox.names())  # type: ignore[misc]
            assert ("1.fits.gz" in inbox.names()) <= (start + 40_000 >= len(packed))
        wait_until(lambda: "1.fits.gz" in inbox.names())
    (arrival,) = [arrival for arrival in inbox.arrivals if arrival.message.path == "1.fits.gz"]
    assert (arrival.message.key, arrival.message.size_bytes) == ("1:g", len(packed))


@pytest.mark.parametrize(
    ("make", "ends"),
    [
        (lambda packed: packed, True),
        (lambda packed: packed * 2, True),
        (lambda packed: packed + b"\0" * 100, True),
        (lambda packed: packed[:-1], False),
        (lambda packed: packed + packed[:-9], False),
        (lambda packed: b"", False),
        (lambda packed: b"no gzip file", True),
    ],
    ids=["one", "two members", "padded", "cut", "second one cut", "empty", "text"],
)
def test_the_end_of_a_gzip_stream(tmp_path: Path, make: object, ends: bool) -> None:
    assert callable(make)
    (tmp_path / "a.gz").write_bytes(make(gzip.compress(os.urandom(3_000_000), 1)))
    assert gzip_ends(tmp_path / "a.gz") is ends


def test_a_watched_folder_that_vanishes_is_complained_about(tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    inbox = Inbox()
    watcher = make_watcher(folder, inbox, POLLING)
    watcher.start()
    try:
        write_frame(folder, 1)
        inbox.wait_for("000001.fit")
        assert watcher.complaints() == ()
        folder.rename(tmp_path / "away")
        wait_until(lambda: bool(watcher.complaints()))
        assert watcher.complaints() == (f"folder {folder} cannot be read: it is looked for every 0.1 s",)
        (tmp_path / "away").rename(folder)
        wait_until(lambda: not watcher.complaints())
        write_frame(folder, 2)
        inbox.wait_for("000001.fit", "000002.fit")
    finally:
        watcher.stop()


def cut(frame: FrameToMeasure, reason: Reason = Reason.TRUNCATED) -> FrameRejected:
    return FrameRejected(frame.frame_id, frame.path, reason, f"{frame.path} is truncated", "1:g")


def test_the_new_outcome_of_a_late_file_replaces_the_old_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE)
    ledger.save_catalog(make_catalog())
    arrivals = [make_arrival(number) for number in range(3)]
    frames = ledger.enter(arrivals)
    ledger.commit([cut(frames[0]), cut(frames[1], Reason.BAD_TIME), make_measured(frames[2], 2)])
    assert list(ledger.reopenable()) == [frames[0].path]
    assert ledger.reopenable_file(frames[0].path) == KnownFile(frames[0].frame_id, 527_040, 0)
    changed = msgspec.structs.replace(arrivals[0], size_bytes=600_000)
    assert ledger.enter(arrivals) == []
    assert ledger.enter([changed, *arrivals[1:]]) == frames[:1]
    reader = LedgerReader(tmp_path)
    # Until the new outcome is there the old one stands: never none, never two.
    assert (reader.counts().n_rejected, reader.counts().n_pending) == (2, 0)
    assert ledger.standing(frames[0].frame_id) == "rejected"
    (committed,) = ledger.commit([make_measured(frames[0], 0)])
    assert committed.sequence == 4
    assert ledger.standing(frames[0].frame_id) is None
    assert ledger.commit([make_measured(frames[0], 0)]) == []
    assert [outcome.sequence for outcome in reader.outcomes_since(0)] == [2, 3, 4]
    assert (reader.counts().n_measured, reader.counts().n_rejected) == (2, 1)
    assert ledger.known_files()[frames[0].path] == (600_000, 0)
    assert ledger.reopenable() == {}
    reader.close()
    ledger.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path, RECIPE)
    ledger.save_catalog(make_catalog())
    yield ledger
    ledger.close()


def overwritten(number: int, mtime_ns: int = 77) -> FrameArrived:
    return msgspec.structs.replace(make_arrival(number), mtime_ns=mtime_ns)


def test_a_measurement_is_replaced_by_that_of_the_corrected_file(ledger: Ledger) -> None:
    (frame,) = ledger.enter([make_arrival(0)])
    ledger.commit([make_measured(frame, 0)])
    assert ledger.enter([overwritten(0)]) == [frame]
    assert ledger.standing(frame.frame_id) == "measured"
    (committed,) = ledger.commit([make_measured(frame, 5)])
    assert committed.sequence == 2
    assert ledger.known_files()[frame.path] == (527_040, 77)
    assert (ledger.counts().n_measured, ledger.counts().n_rejected, ledger.counts().n_pending) == (1, 0, 0)


def test_a_measurement_is_not_replaced_by_a_rejection(ledger: Ledger) -> None:
    (frame,) = ledger.enter([make_arrival(0)])
    (before,) = ledger.commit([make_measured(frame, 0)])
    assert ledger.enter([overwritten(0)]) == [frame]
    assert ledger.commit([cut(frame)]) == []
    assert ledger.enter([overwritten(0)]) == []
    assert ledger.enter([overwritten(0, 78)]) == [frame]
    (committed,) = ledger.commit([make_measured(frame, 5)])
    assert (before.sequence, committed.sequence) == (1, 2)


def test_a_file_that_changes_before_its_outcome_is_measured_again_after_it(ledger: Ledger) -> None:
    (frame,) = ledger.enter([make_arrival(0)])
    assert ledger.enter([overwritten(0)]) == []
    outcomes = ledger.commit([make_measured(frame, 0)])
    (changed,) = ledger.take_changed(outcomes)
    assert ledger.enter([changed]) == [frame]
    assert ledger.enter([changed]) == []
    assert ledger.enter([overwritten(0, 78)]) == []
    (newest,) = ledger.take_changed(ledger.commit([make_measured(frame, 1)]))
    assert newest == overwritten(0, 78)
    assert ledger.take_changed(outcomes) == []


def test_a_file_that_was_gone_and_is_back_as_it_was_is_taken_again(ledger: Ledger) -> None:
    (frame,) = ledger.enter([make_arrival(0)])
    ledger.commit([cut(frame, Reason.DISAPPEARED)])
    assert ledger.reopenable() == {frame.path: KnownFile(frame.frame_id, -1, -1)}
    assert ledger.enter([make_arrival(0)]) == [frame]
    ledger.commit([make_measured(frame, 0)])
    assert ledger.enter([make_arrival(0)]) == []


def test_times_of_files_that_were_moved_without_their_fractions_are_taken_over(tmp_path: Path) -> None:
    """Another folder with the same files is no reason to measure all of them again."""
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "1.fit").write_bytes(b"1")
    mtime_ns = 1_700_000_000_000_000_000
    os.utime(moved / "1.fit", ns=(mtime_ns, mtime_ns))
    ledger = Ledger(tmp_path, RECIPE, folder=tmp_path / "before")
    (frame,) = ledger.enter([FrameArrived("1.fit", 1, mtime_ns + 999_999_999, 0.0, "1:g", 60270.0)])
    ledger.save_catalog(make_catalog())
    ledger.commit([make_measured(frame, 0)])
    ledger.close()
    ledger = Ledger(tmp_path, RECIPE, folder=moved)
    assert ledger.known_files() == {"1.fit": (1, mtime_ns)}
    ledger.close()
