"""The watcher on a real folder: complete files only, each once, with events and without."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from astropy.io import fits

from stream.errors import FrameRejectedError, Reason
from stream.instruments import OPTICAM_MX, Instrument
from stream.measure.frames import read_frame
from stream.night.folder_events import FolderEvents
from stream.night.folder_scan import FolderScan, is_frame_name, refusal_of, safe_name
from stream.night.ledger_sets import FileStamp
from stream.night.watcher import Arrival, Watcher, WatchSettings
from tests.measure.packed_files import counts, header, write, write_extensions
from tests.night.frames import fits_bytes, write_frame
from tests.night.waiting import wait_until

pytestmark = pytest.mark.clock

QUICK = WatchSettings(scan_s=0.1, hold_s=0.1, odd_hold_s=0.2, incomplete_s=0.4)
POLLING = WatchSettings(use_events=False, scan_s=0.1, hold_s=0.1, odd_hold_s=0.2, incomplete_s=0.4)


class Inbox:
    """What a watcher delivered."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.is_ended = False

    def deliver(self, arrivals: list[Arrival], is_last: bool) -> None:
        self.arrivals += arrivals
        self.is_ended = self.is_ended or is_last

    def names(self) -> list[str]:
        return [arrival.message.path for arrival in self.arrivals]

    def wait_for(self, *names: str) -> None:
        wait_until(lambda: len(self.arrivals) >= len(names), 10.0, f"the arrival of {names}")
        assert self.names() == list(names)


def known_files(folder: Path, paths: Collection[str]) -> dict[str, FileStamp]:
    """Frames of the ledger whose files are as they were."""
    files = {path: (folder / path.partition("[")[0]).stat() for path in paths}
    return {path: (status.st_size, status.st_mtime_ns) for path, status in files.items()}


@contextmanager
def watching(
    folder: Path, settings: WatchSettings, known: Collection[str] = (), instrument: Instrument | None = None
) -> Iterator[Inbox]:
    inbox = Inbox()
    watcher = Watcher(
        folder.resolve(),
        instrument or OPTICAM_MX(),
        exclude=folder / "out",
        deliver=inbox.deliver,
        known=known_files(folder, known),
        settings=settings,
    )
    watcher.start()
    try:
        yield inbox
    finally:
        watcher.stop()
    assert watcher.failure is None


def test_what_is_there_comes_in_order_of_time_and_only_if_unknown(tmp_path: Path) -> None:
    for number in (3, 1, 2, 0):
        write_frame(tmp_path, number)
    (tmp_path / "a.fit").write_bytes(fits_bytes(10))
    with watching(tmp_path, QUICK, known={"000001.fit"}) as inbox:
        inbox.wait_for("000000.fit", "000002.fit", "000003.fit", "a.fit")
    message = inbox.arrivals[1].message
    assert message.key == "1:g"
    assert message.time_mjd_utc == pytest.approx(60270.1 + 2.25 / 86400.0, abs=1e-8)
    assert message.size_bytes == len(fits_bytes(2))


def test_a_closed_file_arrives_at_once_by_its_event(tmp_path: Path) -> None:
    slow = WatchSettings(scan_s=60.0, hold_s=60.0)
    with watching(tmp_path, slow) as inbox:
        name = write_frame(tmp_path, 1)
        inbox.wait_for(name)
        assert time.time() - inbox.arrivals[0].message.mtime_ns * 1e-9 < 5.0


def test_a_renamed_file_arrives_under_its_final_name(tmp_path: Path) -> None:
    slow = WatchSettings(scan_s=60.0, hold_s=60.0)
    with watching(tmp_path, slow) as inbox:
        (tmp_path / ".1.fit.tmp").write_bytes(fits_bytes(1))
        (tmp_path / "1.tmp").write_bytes(fits_bytes(1))
        (tmp_path / "1.tmp").rename(tmp_path / "1.fit")
        inbox.wait_for("1.fit")


@pytest.mark.parametrize("settings", [QUICK, POLLING], ids=["events", "polling"])
def test_a_growing_file_arrives_when_its_last_byte_is_there(tmp_path: Path, settings: WatchSettings) -> None:
    content = fits_bytes(1, padded=False)
    settings = WatchSettings(settings.finite, settings.use_events, 0.1, 0.1, 0.2, incomplete_s=60.0)
    with watching(tmp_path, settings) as inbox:
        path = tmp_path / "grows.fit"
        for start in range(0, len(content), 1000):
            with path.open("ab") as file:
                file.write(content[start : start + 1000])
            write_frame(tmp_path, start)  # it comes in after the piece was seen
            wait_until(lambda name=f"{start:06d}.fit": name in inbox.names())  # type: ignore[misc]
            assert ("grows.fit" in inbox.names()) <= (start + 1000 >= len(content))
        wait_until(lambda: "grows.fit" in inbox.names())
        assert inbox.names().count("grows.fit") == 1
    (arrival,) = [arrival for arrival in inbox.arrivals if arrival.message.path == "grows.fit"]
    assert (arrival.message.key, arrival.message.size_bytes) == ("1:g", len(content))


def test_without_events_the_scan_finds_files_also_in_new_folders(tmp_path: Path) -> None:
    with watching(tmp_path, POLLING) as inbox:
        write_frame(tmp_path, 1)
        inbox.wait_for("000001.fit")
        (tmp_path / "late" / "later").mkdir(parents=True)
        write_frame(tmp_path / "late" / "later", 2)
        inbox.wait_for("000001.fit", "late/later/000002.fit")
        (tmp_path / "out").mkdir()
        write_frame(tmp_path / "out", 3)
        write_frame(tmp_path, 4)
        inbox.wait_for("000001.fit", "late/later/000002.fit", "000004.fit")


def test_a_file_that_stays_incomplete_arrives_without_a_key(tmp_path: Path) -> None:
    with watching(tmp_path, QUICK) as inbox:
        (tmp_path / "cut.fit").write_bytes(fits_bytes(1)[:3000])
        (tmp_path / "empty.fits").write_bytes(b"")
        wait_until(lambda: len(inbox.arrivals) == 2)
    assert {arrival.message.path: arrival.message.key for arrival in inbox.arrivals} == {
        "cut.fit": None,
        "empty.fits": None,
    }


def test_a_header_that_says_nothing_arrives_without_a_key(tmp_path: Path) -> None:
    with watching(tmp_path, QUICK) as inbox:
        (tmp_path / "text.fit").write_text("this is no FITS file")
        (tmp_path / "filterless.fit").write_bytes(fits_bytes(1, FILTER=None))
        wait_until(lambda: len(inbox.arrivals) == 2)
    assert all(arrival.message.key is None and arrival.refusal is None for arrival in inbox.arrivals)


def test_compressed_files_arrive_when_they_hold_still(tmp_path: Path) -> None:
    with watching(tmp_path, POLLING) as inbox:
        (tmp_path / "1.fits.gz").write_bytes(gzip.compress(fits_bytes(1)))
        inbox.wait_for("1.fits.gz")
    assert inbox.arrivals[0].message.key == "1:g"


def test_every_frame_of_a_file_arrives_once_all_of_it_is_there(tmp_path: Path) -> None:
    whole = write_extensions(tmp_path / "whole.tmp", {name: counts() for name in "gri"}).read_bytes()
    with watching(tmp_path, WatchSettings(use_events=False, scan_s=0.1, hold_s=0.1, incomplete_s=60.0)) as inbox:
        # First the last extension is cut.
        for number, n_bytes in enumerate((len(whole) - 2880 - 400, len(whole))):
            (tmp_path / "night.fits").write_bytes(whole[:n_bytes])
            name = write_frame(tmp_path, number)
            wait_until(lambda name=name: name in inbox.names())  # type: ignore[misc]
            assert ("night.fits[1]" in inbox.names()) <= (n_bytes == len(whole))
        wait_until(lambda: len(inbox.arrivals) == 5, 10.0, "the three extensions")
    found = {arrival.message.path: arrival.message for arrival in inbox.arrivals if "[" in arrival.message.path}
    assert {name: message.key for name, message in found.items()} == {
        "night.fits[1]": "1:g",
        "night.fits[2]": "2:r",
        "night.fits[3]": "3:i",
    }
    assert {message.size_bytes for message in found.values()} == {len(whole)}


def test_planes_arrive_in_order_of_time_and_after_a_restart_only_the_missing_ones(tmp_path: Path) -> None:
    instrument = msgspec.structs.replace(OPTICAM_MX(), plane_interval_s=2.0)
    write(tmp_path / "b.fits.fz", [fits.PrimaryHDU(), fits.CompImageHDU(counts(3), header())])
    write(tmp_path / "a.fit", [fits.PrimaryHDU(counts(3), header(UT="2023-11-22 03:02:50.000"))])
    order = ["b.fits.fz[1,0]", "a.fit[0,0]", "b.fits.fz[1,1]", "a.fit[0,1]", "b.fits.fz[1,2]", "a.fit[0,2]"]
    with watching(tmp_path, WatchSettings(finite=True, hold_s=0.1), instrument=instrument) as inbox:
        inbox.wait_for(*order)
        wait_until(lambda: inbox.is_ended)
    assert {arrival.message.key for arrival in inbox.arrivals} == {"1:g"}
    known = {"b.fits.fz[1,0]", "b.fits.fz[1,2]", "a.fit[0,0]", "a.fit[0,1]", "a.fit[0,2]"}
    with watching(tmp_path, WatchSettings(finite=True, hold_s=0.1), known, instrument) as inbox:
        wait_until(lambda: inbox.is_ended)
    assert inbox.names() == ["b.fits.fz[1,1]"]


def test_of_a_file_that_nobody_completes_every_frame_arrives(tmp_path: Path) -> None:
    instrument = msgspec.structs.replace(OPTICAM_MX(), plane_interval_s=2.0)
    cube = write(tmp_path / "cube.fit", [fits.PrimaryHDU(counts(4), header())])
    night = write_extensions(tmp_path / "night.fit", {name: counts() for name in "gri"})
    cube.write_bytes(cube.read_bytes()[:6000])
    night.write_bytes(night.read_bytes()[: 2880 + 2 * 5760 - 2500])
    with watching(tmp_path, QUICK, instrument=instrument) as inbox:
        wait_until(lambda: len(inbox.arrivals) == 6, 10.0, "four planes and two extensions")
    assert sorted(inbox.names()) == [f"cube.fit[0,{plane}]" for plane in range(4)] + ["night.fit[1]", "night.fit[2]"]
    readable = []
    for name in inbox.names():
        try:
            readable.append(read_frame(tmp_path / name, name, instrument).name)
        except FrameRejectedError as rejection:
            assert rejection.reason is Reason.TRUNCATED
    assert sorted(readable) == ["cube.fit[0,0]", "cube.fit[0,1]", "night.fit[1]"]


def test_planes_whose_time_nothing_tells_arrive_without_a_key(tmp_path: Path) -> None:
    write(tmp_path / "a.fit", [fits.PrimaryHDU(counts(2), header())])
    with watching(tmp_path, QUICK) as inbox:
        inbox.wait_for("a.fit[0,0]", "a.fit[0,1]")
    # Nothing is known of plane 1; plane 0 would be known, but half a cube is none.
    assert [arrival.message.key for arrival in inbox.arrivals] == [None, None]


def test_a_finite_search_ends_and_waits_for_nothing_old(tmp_path: Path) -> None:
    write_frame(tmp_path, 1)
    (tmp_path / "cut.fit").write_bytes(fits_bytes(1)[:3000])
    long_ago = time.time() - 60.0
    os.utime(tmp_path / "cut.fit", (long_ago, long_ago))
    with watching(tmp_path, WatchSettings(finite=True, hold_s=0.1, incomplete_s=60.0)) as inbox:
        wait_until(lambda: inbox.is_ended, 10.0)
    assert sorted(inbox.names()) == ["000001.fit", "cut.fit"]


def test_files_that_must_not_be_opened_arrive_with_the_reason(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside.fit", tmp_path / "night"
    folder.mkdir()
    outside.write_bytes(fits_bytes(1))
    (folder / "link.fit").symlink_to(outside)
    os.mkfifo(folder / "pipe.fit")
    (folder / "two\nlines.fit").write_bytes(fits_bytes(1))
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.fit")).write_bytes(fits_bytes(1))
    with watching(folder, QUICK) as inbox:
        wait_until(lambda: len(inbox.arrivals) == 4)
    assert {arrival.message.path: arrival.refusal for arrival in inbox.arrivals} == {
        "link.fit": "link.fit is a link to a file outside of the night's folder",
        "pipe.fit": "pipe.fit is not a regular file",
        "'two\\nlines.fit'": "'two\\nlines.fit': a file name of printable characters is required",
        "'caf\\xe9.fit'": "'caf\\xe9.fit': a file name of printable characters is required",
    }


@pytest.mark.parametrize(
    ("name", "is_frame"),
    [
        ("231122g200143431o.fit", True),
        ("a.FITS", True),
        ("a.fts.gz", True),
        ("a.FIT.FZ", True),
        ("a.fits.fz", True),
        ("a.fits[1]", False),
        ("a.fz", False),
        (".a.fit", False),
        ("a.fit.tmp", False),
        ("a.fit.part", False),
        ("truth.ecsv", False),
        ("a.gz", False),
    ],
)
def test_names_of_frames(name: str, is_frame: bool) -> None:
    assert is_frame_name(name) is is_frame


def test_a_folder_that_stands_still_is_not_listed_again_until_it_changes(tmp_path: Path) -> None:
    write_frame(tmp_path, 1)
    scan = FolderScan(tmp_path, tmp_path / "out", full_every=4)
    found = [list(scan.new_names()) for _ in range(4)]
    assert found == [["000001.fit"], ["000001.fit"], [], []]
    assert list(scan.new_names()) == ["000001.fit"]
    write_frame(tmp_path, 2)
    assert list(scan.new_names()) == ["000001.fit", "000002.fit"]


def test_excluded_folders_and_files_are_neither_listed_nor_hinted_at(tmp_path: Path) -> None:
    for name in ("flats", "more/flats", "out"):
        (tmp_path / name).mkdir(parents=True)
        write_frame(tmp_path / name, 1)
    write_frame(tmp_path, 1)
    write_frame(tmp_path, 2)
    (tmp_path / "link").symlink_to(tmp_path / "flats")
    scan = FolderScan(tmp_path, tmp_path / "out", tmp_path / "link", tmp_path / "000002.fit")
    assert sorted(scan.new_names()) == ["000001.fit", "more/flats/000001.fit"]
    names = ("flats/1.fit", "flats/deep/1.fit", "000002.fit", "link/1.fit", "more/flats/1.fit", "000001.fit")
    assert [name for name in names if scan.is_searched(name)] == ["more/flats/1.fit", "000001.fit"]


def test_a_folder_that_vanishes_is_searched_again_when_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    write_frame(folder, 1)
    scan = FolderScan(folder, tmp_path)
    assert list(scan.new_names()) == ["000001.fit"]
    folder.rename(tmp_path / "away")
    assert list(scan.new_names()) == []
    assert not scan.is_reachable
    (tmp_path / "away").rename(folder)
    assert list(scan.new_names()) == ["000001.fit"]
    assert scan.is_reachable


@pytest.mark.parametrize("is_deleted", [True, False])
def test_events_of_a_folder_that_took_the_place_of_the_first_are_followed(tmp_path: Path, is_deleted: bool) -> None:
    """As of a disk that was mounted again; the scan alone would find its files after seconds."""
    folder = tmp_path / "mount"
    folder.mkdir()
    events: list[str] = []
    followed = FolderEvents(folder, lambda relative, closed: events.append(relative))
    followed.start()
    try:
        assert not followed.renew()
        shutil.rmtree(folder) if is_deleted else folder.rename(tmp_path / "away")
        wait_until(lambda: not followed.renew(), 5.0)
        folder.mkdir()
        wait_until(followed.renew, 10.0, "the new folder")
        assert not followed.renew()
        name = write_frame(folder, 1)
        wait_until(lambda: name in events, 10.0, "an event of the new folder")
    finally:
        followed.stop()


def test_a_watcher_that_scans_seldom_follows_the_events_of_a_folder_that_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    with watching(folder, WatchSettings(scan_s=1.0)) as inbox:
        inbox.wait_for(write_frame(folder, 1))
        folder.rename(tmp_path / "away")
        folder.mkdir()
        inbox.wait_for("000001.fit", write_frame(folder, 2))  # by the scan, which follows the new folder from then on
        delays_s = []
        for number in range(3, 7):
            started = time.monotonic()
            write_frame(folder, number)
            inbox.wait_for(*(f"{each:06d}.fit" for each in range(1, number + 1)))
            delays_s.append(time.monotonic() - started)
    assert sorted(delays_s)[1] < 0.25


def test_a_safe_name_is_the_name_itself_wherever_it_can_be() -> None:
    assert safe_name("Nacht 1/größe.fit") == "Nacht 1/größe.fit"
    assert safe_name("a\tb.fit") == "'a\\tb.fit'"


def test_a_file_that_is_gone_is_not_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, "gone.fit") is None
