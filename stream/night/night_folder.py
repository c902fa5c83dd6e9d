"""The folder of a night's outputs: who may write to it, and what the processes of the night find in it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

import msgspec

from stream.atomic_files import write_atomically
from stream.config import Recipe
from stream.errors import ConfigurationError, LedgerError, NightError
from stream.night.ledger import LEDGER_FILE
from stream.processes import LOCK_FILE

RECIPE_FILE = "night.toml"
RUN_FILE = "night.run.json"
CATALOG_FOLDER = "cat"
CALIBRATION_FOLDER = "calibration"
LOG_FOLDER = "log"
_LOCK_WAIT_S, _LOCK_PAUSE_S = 0.5, 0.02
_MOUNTS = Path("/proc/mounts")
_NETWORK_FILE_SYSTEMS = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "fuse.sshfs",
    "9p",
    "afs",
    "lustre",
    "ceph",
    "glusterfs",
)


class RunFile(msgspec.Struct, frozen=True):
    """``night.run.json``: how the other processes reach the running night."""

    pid: int
    folder: str
    router: str
    """Endpoint of the broker for workers."""
    publisher: str
    """Endpoint that measurements are published on."""
    page: str | None = None
    """Address of the page, once it is served."""


class NightFolder:
    """The folder `OUT`, held by one night process at a time.

    Parameters
    ----------
    out : Path
        Made if it does not exist.

    Raises
    ------
    NightError
        If another night process holds it.
    ConfigurationError
        If it cannot be made or written.
    LedgerError
        If it lies on a network file system, where the ledger cannot be shared between processes.
    """

    def __init__(self, out: Path) -> None:
        self.path = out.resolve()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / LOCK_FILE).open("a+", encoding="ascii")
        except OSError as error:
            raise ConfigurationError(f"output folder {out} cannot be written: {error.strerror}") from error
        try:
            self._take_lock()
            refuse_network_file_system(self.path)
        except NightError:
            self._lock.close()
            raise
        for name in (CATALOG_FOLDER, LOG_FOLDER):
            (self.path / name).mkdir(exist_ok=True)
        (self.path / RUN_FILE).unlink(missing_ok=True)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write ``night.toml``."""
        write_atomically(self.path / RECIPE_FILE, recipe.to_toml())

    def write_run_file(self, content: RunFile) -> None:
        """Tell the other processes how to reach this night."""
        write_atomically(self.path / RUN_FILE, msgspec.json.encode(content).decode())

    def close(self) -> None:
        """Let go of the folder; safe to call twice."""
        if not self._lock.closed:
            (self.path / RUN_FILE).unlink(missing_ok=True)
            self._lock.close()

    def __enter__(self) -> NightFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_lock(self) -> None:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                # Whoever asks whether a night runs holds the lock for an instant.
                if time.monotonic() >= deadline:
                    self._lock.seek(0)
                    holder = self._lock.read().strip() or "unknown"
                    raise NightError(f"{self.path} is in use by a running night, process {holder}") from error
            time.sleep(_LOCK_PAUSE_S)
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()


def read_run_file(out: Path) -> RunFile:
    """Read how to reach the running night of `out`, as it said itself when it started.

    Raises
    ------
    NightError
        If none is running: the file is removed at the end, or stays where a night was killed.
    """
    path = out / RUN_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunFile)
    except FileNotFoundError as error:
        raise NightError(f"no night is running in {out}: there is no {RUN_FILE}") from error
    except (OSError, msgspec.DecodeError) as error:
        raise NightError(f"{path} cannot be read: {error}") from error


def refuse_network_file_system(out: Path, mounts: Path = _MOUNTS) -> None:
    """Raise LedgerError if `out` lies on a network file system, as far as the system tells."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    best_point, best_type = "", ""
    for line in lines:
        fields = line.split()
        point = fields[1].replace("\\040", " ")
        if out.is_relative_to(point) and len(point) >= len(best_point):
            best_point, best_type = point, fields[2]
    if best_type in _NETWORK_FILE_SYSTEMS:
        raise LedgerError(
            f"{out} lies on a network file system ({best_type} at {best_point}), where {LEDGER_FILE} would be damaged: "
            "an output folder on a local disk is required"
        )
