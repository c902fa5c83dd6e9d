"""What the processes of a night tell of each other: when to end, which port is taken, whether a night runs."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stream.errors import ConfigurationError
from stream.page_options import PageAccess

LOCK_FILE = ".lock"
_LOOK_AT_PARENT_S = 0.2
_LOOK_AT_PORT_S = 0.1
_FIRST_TO_GO = "800"  # of at most 1000


def on_stop_signals(request: Callable[[], object]) -> Callable[[], None]:
    """Call `request` at SIGINT, SIGTERM and SIGHUP instead of an exception in the middle of something.

    SIGHUP comes when the terminal is closed; it stays ignored where it was (``nohup``). For the main thread.

    Returns
    -------
    callable
        Puts the former handlers back.
    """

    def handle(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        request()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    former = {number: signal.signal(number, handle) for number in numbers}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    return restore


def _leave_terminal() -> None:
    """Point output that went to the closed terminal to nowhere: every write to it would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def end_with_parent(parent: int, leave: Callable[[], object]) -> None:
    """Call `leave`, from a thread of its own, once process `parent` is no longer the parent of this one."""

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(_LOOK_AT_PARENT_S)
        leave()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def refuse_busy_port(port: int, timeout_s: float = 0.0, *, access: PageAccess | None = None) -> None:
    """Raise ConfigurationError if a page cannot be served at a port; 0 is never refused.

    Parameters
    ----------
    timeout_s : float
        How long to wait for the port: the page of a night that was killed leaves it a moment later.
    access : PageAccess, optional
        At which address of this machine; localhost without it.
    """
    access = access or PageAccess()
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            family, kind, _protocol, _name, place = socket.getaddrinfo(
                access.bind_address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
                return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                text = f"port {port} on {access.host} cannot be used: {error.strerror}"
                raise ConfigurationError(text) from error
        time.sleep(_LOOK_AT_PORT_S)


def holder_of(out: Path) -> int | None:
    """Process that holds the output folder `out` as its running night; None if there is none.

    0 where one runs that has not written its number yet. A number alone proves nothing: it may have been given to
    another process since; the lock on the file ends with the night.
    """
    try:
        with (out / LOCK_FILE).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = lock.read().strip()
                return int(text) if text.isdigit() else 0
    except OSError:
        return None
    return None


def give_back_memory() -> None:
    """Give memory that is free back to the system, and look at the objects that are left no more.

    For a process that has taken up what it works with all night. Tables that astropy reads once leave 80 MB of holes
    which the C library keeps otherwise; and the garbage collector would go through hundreds of thousands of objects of
    libraries again and again. Where the C library is not glibc only the second is done.
    """
    gc.collect()
    gc.freeze()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def bound_memory(share: float) -> None:
    """Let this process take at most a share of the memory of this machine, and be the first to go where none is left.

    A file may hold what unpacks to more than there is: the process that opens it then gets a MemoryError, and should
    the system have to end one nevertheless, it is not the one that keeps the night. Where the system knows no such
    bounds nothing is done.
    """
    with suppress(OSError, ValueError):
        most = int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * share)
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bounds = [limit for limit in (soft, hard, most) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What the system knows of a process.

    Attributes
    ----------
    state : str
        One letter: ``R`` runs or waits for a core, ``S`` sleeps, ``D`` waits for a disk, ``T`` was stopped, ``Z`` has
        ended.
    core_ticks : int
        Core time of all its threads since it was started, in ticks of the system (hundredths of a second).
    """

    state: str
    core_ticks: int


def process_facts(pid: int) -> ProcessFacts | None:
    """Look a process up; None if there is none, or on a system without ``/proc``."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return ProcessFacts(fields[0], int(fields[11]) + int(fields[12]))
