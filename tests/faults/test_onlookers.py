"""Who connects and never reads costs the night nothing: neither frames, nor time, nor memory."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from stream.night.night_folder import read_run_file
from tests.faults.comparison import differences
from tests.faults.conftest import Report, names
from tests.faults.resources import held_by
from tests.faults.subscribers import subscribe
from tests.faults.test_folders import link_copies, original
from tests.faults.whole_night import SimulatedNight, Watch, put

pytestmark = [pytest.mark.faults, pytest.mark.slow]

_N_DEAF = 10
_N_FRAMES = 1500
_MORE_MB = 40.0


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
