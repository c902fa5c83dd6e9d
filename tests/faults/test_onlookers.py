"""Who looks on costs the night nothing, however many there are and whether they read: no frames, no time, no memory."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq

from benchmarks.viewers import Viewers
from stream.night.night_folder import read_run_file
from tests.browser.chromium import chromium
from tests.browser.page_driver import NightPage
from tests.faults.browsers import deaf_browsers, n_stuck
from tests.faults.comparison import differences
from tests.faults.conftest import Report, names
from tests.faults.resources import Held, held_by
from tests.faults.subscribers import subscribe
from tests.faults.test_folders import link_copies, original
from tests.faults.test_stops import page_of, pages_of
from tests.faults.whole_night import KEYS, SimulatedNight, Watch, put
from tests.night.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

_N_DEAF = 10
_N_FRAMES = 1500
_MORE_MB = 40.0
_N_VIEWERS, _N_DEAF_BROWSERS = 30, 30
_RATE_HZ, _LIVE_S = 30.0, 20.0
_IN_TIME_S = 5.0


@contextmanager
def deaf_subscribers(out: Path) -> Iterator[None]:
    """Subscribers with the keys of the night that take everything and read nothing, and peers that say nothing."""
    run = read_run_file(out)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    host, _, port = run.publisher.removeprefix("tcp://").rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(_N_DEAF)]
    deaf = []
    for _ in range(_N_DEAF):
        subscriber = subscribe(context, out, run.publisher, most_queued=1)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        deaf.append(subscriber)
    try:
        yield
    finally:
        for peer in silent:
            peer.close()
        for subscriber in deaf:
            subscriber.close()
        context.destroy(linger=0)


def seconds_for(watch: Watch, made: list[str], n_before: int) -> float:
    started = time.monotonic()
    watch.wait(n_before + len(made), 240.0)
    return time.monotonic() - started


@pytest.mark.timeout(600)
def test_subscribers_that_never_read_cost_neither_frames_nor_memory(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(night.frames[:30], watch.folder)
        watch.wait(30)
        alone = link_copies(night.frames, watch.folder, _N_FRAMES)
        alone_s = seconds_for(watch, alone, 30)
        before = held_by(watch.running.pid)
        with deaf_subscribers(watch.out):
            more = link_copies(night.frames, watch.folder / "more", _N_FRAMES)
            deaf_s = seconds_for(watch, more, 30 + len(alone))
            after = held_by(watch.running.pid)
        assert watch.stop().status == 0
    paths = [*names(night.frames[:30]), *alone, *(f"more/{name}" for name in more)]
    wrong = differences(watch.out, night.undisturbed, paths, original=lambda path: original(path.removeprefix("more/")))
    assert after.memory_mb < before.memory_mb + _MORE_MB
    assert deaf_s < 2.0 * alone_s + 5.0
    remark = f"{after.memory_mb - before.memory_mb:+.0f} MB; {alone_s:.1f} s without, {deaf_s:.1f} s with them"
    report("subscribers that never read", watch.out, n_faults=_N_DEAF, n_in=len(paths), wrong=wrong, remark=remark)


@dataclass(frozen=True)
class Stretch:
    """A stretch of a live night: frames that were written, how late the last was measured, and what was held after."""

    made: list[str]
    late_s: float
    night: Held
    page: Held


def live(watch: Watch, frames: Sequence[Path], folder: str) -> Stretch:
    """Let frames come at the pace of three cameras at 10 Hz, and wait for the last one."""
    place, n_before = watch.folder / folder, watch.n_outcomes()
    place.mkdir()
    made, pause = [], threading.Event()
    started = time.monotonic()
    for number in range(round(_RATE_HZ * _LIVE_S)):
        frame = frames[number % len(frames)]
        made.append(f"{folder}/{number:06d}-{frame.name}")
        (watch.folder / made[-1]).hardlink_to(frame)
        pause.wait(max(0.0, started + (number + 1) / _RATE_HZ - time.monotonic()))
    written = time.monotonic()
    watch.wait(n_before + len(made))
    (page,) = pages_of(watch)
    return Stretch(made, time.monotonic() - written, held_by(watch.running.pid), held_by(page))


@pytest.mark.timeout(600)
def test_thirty_browsers_and_those_that_never_read_cost_neither_frames_nor_memory(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    """Stretches of one live night: undisturbed; with onlookers of all kinds, who have come; with the same, going on."""
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs, ("--port", "0")) as watch:
        put(night.frames[:30], watch.folder)
        watch.wait(30)
        address = page_of(watch)
        stretches = [live(watch, night.frames, "alone")]
        with (
            chromium() as browser,
            Viewers(address, _N_VIEWERS) as viewers,
            deaf_browsers(address, _N_DEAF_BROWSERS) as deaf,
            deaf_subscribers(watch.out),
        ):
            page = NightPage(browser, address)
            stretches += [live(watch, night.frames, folder) for folder in ("first", "second")]
            wait_until(lambda: n_stuck(deaf) == _N_DEAF_BROWSERS, 30.0, "browsers that hold up what they are sent")
            n_frames = 30 + sum(len(stretch.made) for stretch in stretches)
            for key in KEYS:
                page.wait_for_points(key, n_frames // len(KEYS), timeout_s=60.0)
            page.page.close()
            assert viewers.n_lost == 0
            assert viewers.n_updates > _N_VIEWERS
        assert watch.stop().status == 0
    alone, first, second = stretches
    paths = [*names(night.frames[:30]), *alone.made, *first.made, *second.made]
    wrong = differences(watch.out, night.undisturbed, paths, original=lambda path: original(path.rpartition("/")[2]))
    remark = (
        f"the last frame was measured {alone.late_s:.2f} s after it was written, with onlookers {first.late_s:.2f} and "
        f"{second.late_s:.2f}; night {alone.night.memory_mb:.0f}, {first.night.memory_mb:.0f} and "
        f"{second.night.memory_mb:.0f} MB, page {alone.page.memory_mb:.0f}, {first.page.memory_mb:.0f} and "
        f"{second.page.memory_mb:.0f} MB"
    )
    n_onlookers = 1 + _N_VIEWERS + _N_DEAF_BROWSERS + 2 * _N_DEAF
    report("browsers and subscribers", watch.out, n_faults=n_onlookers, n_in=len(paths), wrong=wrong, remark=remark)
    assert max(first.late_s, second.late_s) < alone.late_s + _IN_TIME_S
    assert second.night.memory_mb < alone.night.memory_mb + _MORE_MB
    assert second.page.memory_mb < first.page.memory_mb + _MORE_MB
