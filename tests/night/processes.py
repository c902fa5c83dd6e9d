"""Running ``opticam-live`` as a process of its own, and looking at what it does."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.errors import LedgerError
from stream.night.ledger import LedgerCounts, LedgerReader
from stream.night.supervisor import child_environment
from tests.night.waiting import wait_until


def command(*words: str | Path) -> list[str]:
    """Return the command line that runs opticam-live with these words."""
    return [sys.executable, "-m", "opticam_live", *map(str, words)]


def run(*words: str | Path, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run opticam-live to its end."""
    return subprocess.run(
        command(*words), env=dict(child_environment()), capture_output=True, text=True, timeout=timeout_s, check=False
    )


@contextmanager
def running(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run opticam-live in the background; end it if it has not ended."""
    process = subprocess.Popen(
        command(*words), env=dict(child_environment()), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10.0)


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    """Send a signal and return exit status, output and errors; fails after five seconds."""
    process.send_signal(number)
    out, errors = process.communicate(timeout=5.0)
    return process.returncode, out, errors


def counts_of(out: Path) -> LedgerCounts | None:
    """Counts of the night in `out`; None before it has a ledger."""
    try:
        reader = LedgerReader(out)
    except LedgerError:
        return None
    try:
        return reader.counts()
    finally:
        reader.close()


def wait_for_outcomes(out: Path, n_frames: int, timeout_s: float = 60.0) -> LedgerCounts:
    """Wait until so many frames have their outcome."""

    def done() -> bool:
        counts = counts_of(out)
        return counts is not None and counts.n_measured + counts.n_rejected >= n_frames

    wait_until(done, timeout_s, f"{n_frames} outcomes in {out}")
    counts = counts_of(out)
    if counts is None:
        raise AssertionError(f"the ledger of {out} is gone")
    return counts


def worker_pids(out: Path) -> list[int]:
    """Process ids of all workers that the night in `out` ever started, by its log."""
    log = (out / "log" / "night.log").read_text(encoding="utf-8")
    return [int(pid) for pid in re.findall(r"worker \d+ started as process (\d+)", log)]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")
