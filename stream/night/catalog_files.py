"""Table and picture of a catalog, written by a process of its own that ends when they are there.

Drawing leaves some fifty megabytes in whoever does it, for the rest of the night. A worker leaves the stacked picture
of its catalog as an array; the night process has drawn what lies there, at a lower priority. Run as
``python -m stream.night.catalog_files OUT VERSION...``.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.atomic_files import write_atomically
from stream.messages import Catalog
from stream.night.ledger_reader import LedgerReader
from stream.night.night_folder import CATALOG_FOLDER, LOG_FOLDER
from stream.night.supervisor import child_environment
from stream.processes import end_with_parent

_LEFT_PREFIX, _LEFT_SUFFIX = ".stacked-", ".npy"
_LONGEST_S = 120.0
_LOOK_S = 0.02
_NICE = 10
_FAILED = 1
_ERROR = "error: "
_PROGRAM = (sys.executable, "-m", "stream.night.catalog_files")

_log = logging.getLogger(__name__)


def leave_picture(catalog: Catalog, picture: NDArray[np.float32], cat_folder: Path) -> None:
    """Leave the stacked picture of a catalog where `write_files` finds it; raises OSError."""
    cat_folder.mkdir(parents=True, exist_ok=True)
    path = _left_path(cat_folder, catalog.version)
    write_atomically(path, lambda temporary: np.save(temporary, picture, allow_pickle=False))


def write_files(catalog: Catalog, out: Path) -> None:
    """Write ``<key>_catalog.ecsv`` and ``.png`` of the night in `out`, and take away the array that was left for it.

    Raises
    ------
    OSError, ValueError
        If the array cannot be read or a file cannot be written.
    """
    from stream.measure.catalog import save_catalog
    from stream.plots import catalog_picture

    left = _left_path(out / CATALOG_FOLDER, catalog.version)
    stem = left.with_name(f"{catalog.key.replace(':', '-')}_catalog")
    save_catalog(catalog, stem.with_suffix(".ecsv"))
    catalog_picture(catalog, np.load(left, allow_pickle=False), stem.with_suffix(".png"))
    left.unlink(missing_ok=True)


class CatalogWriter:
    """Has the files of catalogs written, by one process at a time; for the night process, which never waits for it.

    Parameters
    ----------
    out : Path
        Folder of the night's outputs.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._waiting: deque[tuple[str, str]] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._keys = ""
        self._started_s, self._log_start = 0.0, 0
        self._log_path = out / LOG_FOLDER / "catalogs.log"

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being written and nothing waits."""
        return self._process is None and not self._waiting

    def write(self, key: str, version: str) -> None:
        """Have the files of a catalog written soon; its picture must have been left."""
        self._waiting.append((key, version))

    def resume(self, catalogs: Mapping[str, Catalog]) -> None:
        """Have the pictures drawn that an earlier run of the night left for catalogs that it still has."""
        cat_folder = self._out / CATALOG_FOLDER
        wanted = {_left_path(cat_folder, catalog.version): key for key, catalog in catalogs.items()}
        for path in sorted(cat_folder.glob(f"{_LEFT_PREFIX}*{_LEFT_SUFFIX}")):
            if path in wanted:
                self.write(wanted[path], catalogs[wanted[path]].version)
            else:
                path.unlink(missing_ok=True)

    def check(self, now_s: float) -> None:
        """Take note of what has ended, end what takes too long, and start what is next."""
        if self._process is not None:
            if self._process.poll() is None and now_s - self._started_s > _LONGEST_S:
                self._process.kill()
                self._process.wait()
            if self._process.poll() is not None:
                self._note_end(self._process.returncode)
        if self._process is None and self._waiting:
            self._start(now_s)

    def finish(self, timeout_s: float) -> None:
        """Wait for what is asked for, at most so long; what is not written then is drawn by the next run."""
        deadline = time.monotonic() + timeout_s
        while not self.is_idle and time.monotonic() < deadline:
            self.check(time.monotonic())
            time.sleep(_LOOK_S)
        self.stop()

    def stop(self) -> None:
        """End at once; safe to call twice."""
        self._waiting.clear()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _start(self, now_s: float) -> None:
        """Have all that waits written by one process: half of its time it imports what it draws with."""
        versions = [version for _, version in self._waiting]
        self._keys = ", ".join(key for key, _ in self._waiting)
        self._waiting.clear()
        self._started_s = now_s
        try:
            with self._log_path.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    [*_PROGRAM, str(self._out), *versions],
                    env=child_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            _log.warning("the files of the catalogs of %s were not written: %s", self._keys, error)

    def _note_end(self, status: int) -> None:
        self._process = None
        if not status:
            return
        lines = self._log_path.read_bytes()[self._log_start :].decode("utf-8", "replace").splitlines()
        told = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
        if status != _FAILED or not told:
            why = f"their process ended with status {status}: see {self._log_path}"
            told = [f"the files of the catalogs of {self._keys} were not all written: {why}"]
        for sentence in told:
            _log.warning("%s", sentence)


def _left_path(cat_folder: Path, version: str) -> Path:
    return cat_folder / f"{_LEFT_PREFIX}{version}{_LEFT_SUFFIX}"


def main(words: Sequence[str]) -> int:
    """Write the files of some catalogs; exit status 1, and one sentence for each, if that cannot be done."""
    out, versions = Path(words[0]), words[1:]
    # Killed or not, the night is not waited for; frames that are measured meanwhile go first.
    end_with_parent(os.getppid(), lambda: os._exit(_FAILED))
    os.nice(_NICE)
    reader = LedgerReader(out)
    try:
        catalogs = [catalog for catalog in reader.catalogs().values() if catalog.version in versions]
    finally:
        reader.close()
    status = 0
    for catalog in catalogs:
        try:
            write_files(catalog, out)
        except (OSError, ValueError) as error:
            sys.stderr.write(f"{_ERROR}the files of the catalog of {catalog.key} were not written: {error}\n")
            status = _FAILED
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
