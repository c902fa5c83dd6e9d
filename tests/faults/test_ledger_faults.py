"""A full disk, a folder that nobody can write, a ledger that is locked or damaged: nothing is lost."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from stream.messages import PUBLISHED, NightStatus
from stream.night.ledger import LEDGER_FILE
from stream.night.night_folder import read_run_file
from stream.night.supervisor import child_environment
from tests.faults.comparison import differences
from tests.faults.conftest import Report, names
from tests.faults.subscribers import subscribe
from tests.faults.whole_night import SEED, SimulatedNight, Watch, put
from tests.night.processes import command, counts_of, run
from tests.night.waiting import wait_until

pytestmark = pytest.mark.faults

_DISK_MB = 16
_PAGE_BYTES = 4096


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A disk of its own, in memory; the test is skipped where none may be mounted."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs"]
    mounted = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        if (place / "out" / "log").is_dir():
            shutil.copytree(place / "out" / "log", place.with_name("log"))
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1 << 8):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return filler


@pytest.mark.slow
def test_a_night_waits_while_its_disk_is_full(night: SimulatedNight, tmp_path: Path, report: Report) -> None:
    frames = night.frames[:120]
    with small_disk(tmp_path / "disk") as disk:
        watch = Watch(tmp_path / "frames", disk / "out", night.catalogs)
        refused = f"ledger {watch.out / LEDGER_FILE} cannot be written: database or disk is full"
        with watch:
            put(frames[:40], watch.folder)
            watch.wait(40)
            filler = fill(disk)
            put(frames[40:80], watch.folder)
            wait_until(lambda: refused in heard(watch.out), 30.0, "the sentence in the status that is published")
            with pytest.raises(subprocess.TimeoutExpired):
                watch.running.wait(1.0)
            filler.unlink()
            watch.wait(80)
            filler = fill(disk)
            put(frames[80:], watch.folder)
            wait_until(lambda: refused in heard(watch.out), 30.0, "the sentence in the status that is published")
            ended = watch.stop()
        assert ended.status == 1
        assert f"error: {refused}" in ended.errors
        filler.unlink()
        with watch:
            watch.wait(len(frames))
            assert watch.stop().status == 0
        wrong = differences(watch.out, night.undisturbed, names(frames))
        report("a full disk", watch.out, n_faults=2, n_in=len(frames), wrong=wrong)


def limit_files(pid: int, size_bytes: int) -> None:
    """Let no file that a process writes grow beyond a size, as a quota does; it may be lifted again."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, most))


def test_a_night_waits_while_its_files_must_not_grow(night: SimulatedNight, tmp_path: Path, report: Report) -> None:
    frames = night.frames[:90]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(frames[:30], watch.folder)
        watch.wait(30)
        refused = f"ledger {watch.out / LEDGER_FILE} cannot be written: disk I/O error"
        for n_frames in (60, 90):
            limit_files(watch.running.pid, 4 * _PAGE_BYTES)
            put(frames[n_frames - 30 : n_frames], watch.folder)
            wait_until(lambda: refused in heard(watch.out), 30.0, "the sentence in the status that is published")
            limit_files(watch.running.pid, resource.RLIM_INFINITY)
            watch.wait(n_frames)
        assert watch.stop().status == 0
    wrong = differences(watch.out, night.undisturbed, names(frames))
    report("a quota", watch.out, n_faults=2, n_in=len(frames), wrong=wrong)


@pytest.mark.slow
def test_a_reduction_that_fills_its_disk_ends_with_a_sentence_and_goes_on(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    frames, out = night.frames[:90], tmp_path / "out"
    put(frames, tmp_path / "frames")
    given = [word for path in night.catalogs for word in ("--catalog", str(path))]
    words: list[str | Path] = ["reduce", tmp_path / "frames", "--out", out, "--no-diagnostics", *given]
    with subprocess.Popen(
        command(*words), env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: n_outcomes(out) > 0, 60.0, "the first outcome")
        limit_files(process.pid, 4 * _PAGE_BYTES)
        _, errors = process.communicate(timeout=60.0)
    assert process.returncode == 1
    assert f"error: ledger {out / LEDGER_FILE} cannot be written: disk I/O error" in errors
    assert n_outcomes(out) < len(frames)
    again = run(*words)
    assert again.returncode == 0, again.stderr
    wrong = differences(out, night.undisturbed, names(frames))
    report("a disk that is full during a reduction", out, n_faults=1, n_in=len(frames), wrong=wrong)


def n_outcomes(out: Path) -> int:
    counts = counts_of(out)
    return 0 if counts is None else counts.n_measured + counts.n_rejected


def heard(out: Path) -> str:
    """What the next status that a running night publishes says that it waits for."""
    run_file = read_run_file(out)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with subscribe(context, out, run_file.publisher) as subscriber:
            subscriber.setsockopt(zmq.SUBSCRIBE, b"status")
            if not subscriber.poll(3000):
                return ""
            status = PUBLISHED.decode(subscriber.recv_multipart()[1])
    finally:
        context.destroy(linger=0)
    return "; ".join(status.awaited) if isinstance(status, NightStatus) else ""


def test_outputs_that_cannot_be_written_are_refused(night: SimulatedNight, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        put(night.frames[:3], tmp_path / "frames")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        refused = run("watch", tmp_path / "frames", "--out", disk / "out", "--no-page")
    assert refused.returncode == 1
    assert refused.stderr == f"error: output folder {disk / 'out'} cannot be written: Read-only file system\n"


def test_outputs_on_a_network_file_system_are_refused(night: SimulatedNight, tmp_path: Path) -> None:
    """The process sees another list of what is mounted; where nothing may be mounted the test is skipped."""
    put(night.frames[:3], tmp_path / "frames")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/data {tmp_path} nfs4 rw 0 0\n")
    watch = command("watch", tmp_path / "frames", "--out", tmp_path / "out", "--no-page")
    script = f"mount --bind {mounts} /proc/$$/mounts || exit 77; exec {shlex.join(watch)}"
    refused = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60.0,
    )
    if "unshare" in refused.stderr or refused.returncode == 77:
        pytest.skip(f"nothing can be mounted: {refused.stderr.strip()}")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: {tmp_path / 'out'} lies on a network file system (nfs4 at {tmp_path}), where {LEDGER_FILE} would be "
        "damaged: an output folder on a local disk is required\n"
    )
    assert not (tmp_path / "out" / LEDGER_FILE).exists()


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the ledger of a night for writing, as a program that was opened on it may."""
    with closing(sqlite3.connect(out / LEDGER_FILE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.mark.slow
def test_a_night_waits_while_its_ledger_is_locked(night: SimulatedNight, tmp_path: Path, report: Report) -> None:
    frames = night.frames[:60]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        put(frames[:30], watch.folder)
        watch.wait(30)
        with locked(watch.out):
            put(frames[30:], watch.folder)
            wait_until(lambda: "cannot be written: database is locked" in watch.log(), 30.0, "a line of the log")
        watch.wait(len(frames))
        wait_until(lambda: "the ledger can be written again" in watch.log(), 10.0, "a line of the log")
        assert watch.stop().status == 0
    wrong = differences(watch.out, night.undisturbed, names(frames))
    report("a locked ledger", watch.out, n_faults=1, n_in=len(frames), wrong=wrong)


def overwrite_pages(ledger: Path) -> None:
    """Write nonsense over every fifth page but the first."""
    random = np.random.default_rng(SEED)
    with ledger.open("r+b") as file:
        for page in range(1, ledger.stat().st_size // _PAGE_BYTES, 5):
            file.seek(page * _PAGE_BYTES)
            file.write(random.bytes(_PAGE_BYTES))


def overwrite_head(ledger: Path) -> None:
    """Write zeros over the first page: no program takes it for a database then."""
    with ledger.open("r+b") as file:
        file.write(b"\0" * _PAGE_BYTES)


def cut_in_half(ledger: Path) -> None:
    """Lose the second half, as a file system may that was checked after a power cut."""
    os.truncate(ledger, ledger.stat().st_size // 2 // _PAGE_BYTES * _PAGE_BYTES)


@pytest.mark.parametrize(
    "damage",
    [
        overwrite_pages,
        pytest.param(overwrite_head, marks=pytest.mark.slow),
        pytest.param(cut_in_half, marks=pytest.mark.slow),
    ],
)
def test_a_damaged_ledger_is_rebuilt(
    night: SimulatedNight, tmp_path: Path, report: Report, damage: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(night.undisturbed, out)
    folder = night.undisturbed.parent / "frames"
    damage(out / LEDGER_FILE)
    damaged = (out / LEDGER_FILE).read_bytes()
    refused = run("reduce", folder, "--out", out, "--no-diagnostics")
    assert refused.returncode == 1
    assert f"opticam-live repair {out} rebuilds it" in refused.stderr
    repaired = run("repair", out, "--folder", folder, "--workers", "2", timeout_s=120.0)
    assert repaired.returncode == 0, repaired.stderr
    assert repaired.stdout.startswith("damage: ")
    assert (out / "damaged-1" / LEDGER_FILE).read_bytes() == damaged
    wrong = differences(out, night.undisturbed)
    report(f"a damaged ledger, {damage.__name__}", out, n_faults=1, n_in=len(night.frames), wrong=wrong)
    again = run("repair", out)
    n_frames = len(night.frames)
    assert again.stdout == f"the ledger of {out} is sound: {n_frames} frames, {n_frames} outcomes\n"


@pytest.mark.slow
def test_a_night_that_runs_is_not_repaired(night: SimulatedNight, tmp_path: Path) -> None:
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs) as watch:
        wait_until(lambda: (watch.out / LEDGER_FILE).is_file(), 30.0, "the ledger")
        refused = run("repair", watch.out)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == f"error: {watch.out} is in use by a running night, process {watch.running.pid}\n"
