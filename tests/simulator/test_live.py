"""Live nights: frames appear when their exposure has ended, whole or in pieces, and the truth is kept."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec
import pytest
from astropy.io import fits

from simulator.live import LiveNight, LiveOptions
from simulator.night import FrameFactory, start_night
from simulator.settings import NightSettings
from simulator.truth import load_truth
from simulator.writer import write_slowly
from stream.atomic_files import write_atomically

pytestmark = pytest.mark.clock

FRAME_BYTES = 8640 + 34560  # header and 128 x 128 pixels in whole blocks


def live_settings(cadence_s: float = 0.25, n_images: int = 6) -> NightSettings:
    return NightSettings(n_images=n_images, binning=16, cadence_s=cadence_s, start_unix_ms=int(time.time() * 1000))


def live_night(folder: Path, settings: NightSettings, options: LiveOptions) -> LiveNight:
    return LiveNight(folder, FrameFactory(settings), start_night(folder, settings), options)


def test_frames_appear_whole_and_not_before_their_exposure_has_ended(tmp_path: Path) -> None:
    settings = live_settings()
    seen: dict[str, float] = {}
    partial: list[str] = []

    def look() -> None:
        for path in tmp_path.glob("*.fit"):
            seen.setdefault(path.name, time.time())
            if path.stat().st_size != FRAME_BYTES:
                partial.append(path.name)

    done = threading.Event()

    def keep_looking() -> None:
        while not done.wait(0.002):
            look()

    observer = threading.Thread(target=keep_looking)
    observer.start()
    try:
        n_frames = live_night(tmp_path, settings, LiveOptions(last=6)).run(threading.Event())
    finally:
        done.set()
        observer.join()
    look()
    assert n_frames == 6
    assert partial == []
    assert len(seen) == 18
    for name in settings.filters:
        for index in range(6):
            ended = settings.start_of_exposure_unix_ms(index) / 1000.0 + settings.exposure
            assert ended <= seen[settings.file_name(name, index)] < ended + 0.2
    assert not list(tmp_path.glob(".*"))


def test_slow_writes_grow_in_pieces_and_end_whole(tmp_path: Path) -> None:
    contents = [(tmp_path / name, bytes(range(256)) * size) for name, size in (("a.fit", 10), ("b.fit", 33))]
    sizes: list[tuple[int, ...]] = []
    write_slowly(contents, n_pieces=4, pause=lambda: sizes.append(tuple(path.stat().st_size for path, _ in contents)))
    assert sizes == [(640, 2112), (1280, 4224), (1920, 6336)]
    assert [path.read_bytes() for path, _ in contents] == [content for _, content in contents]


def test_a_slow_live_night_shows_growing_files(tmp_path: Path) -> None:
    settings = live_settings(cadence_s=0.4, n_images=2)
    path = tmp_path / settings.file_name("r", 1)
    sizes: set[int] = set()
    done = threading.Event()

    def keep_looking() -> None:
        while not done.wait(0.002):
            if path.exists():
                sizes.add(path.stat().st_size)

    observer = threading.Thread(target=keep_looking)
    observer.start()
    try:
        live_night(tmp_path, settings, LiveOptions(last=2, slow_writes=True, n_pieces=5)).run(threading.Event())
    finally:
        done.set()
        observer.join()
    assert len(sizes) >= 4
    assert max(sizes) == path.stat().st_size == FRAME_BYTES
    assert fits.getdata(path).shape == (128, 128)


def test_a_night_that_is_stopped_keeps_the_truth_of_what_was_written(tmp_path: Path) -> None:
    settings = live_settings(n_images=1000)
    stop = threading.Event()
    n_seen = 0

    def stop_after_nine() -> None:
        nonlocal n_seen
        n_seen += 1
        if n_seen == 9:
            stop.set()

    night = live_night(tmp_path, settings, LiveOptions())
    assert night.run(stop, stop_after_nine) == 3
    truth = load_truth(tmp_path)
    written = sorted(path.name for path in tmp_path.glob("*.fit"))
    assert sorted(truth.summary.frames["file"]) == sorted(set(truth.table["file"])) == written
    assert len(written) == 9


def test_a_machine_that_is_late_writes_at_once(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(live_settings(cadence_s=60.0), start_unix_ms=int(time.time() * 1000) - 600_000)
    started = time.monotonic()
    assert live_night(tmp_path, settings, LiveOptions(first=2, last=6)).run(threading.Event()) == 4
    assert time.monotonic() - started < 10.0
    assert not (tmp_path / settings.file_name("g", 1)).exists()


def test_an_atomic_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "a.fit", fail)
    assert list(tmp_path.iterdir()) == []
