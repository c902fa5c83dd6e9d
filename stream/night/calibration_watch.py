"""The calibration frames of a night: masters when it starts, and again whenever the folders change.

A thread lists the folders every few seconds. Files that are new, gone or replaced, and then hold still from one
listing to the next, are joined into new masters; the night process tells the workers when these are written.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from stream.config import Recipe
from stream.errors import NightError, OpticamLiveError, RecipeMismatchError
from stream.measure.master_files import CalibrationFolders, load_calibration, make_masters, save_masters

SCAN_EVERY_S = 5.0
FOLDERS_FILE = "folders.json"
"""Within the masters: where their frames came from, so that a night that goes on without them leaves them out."""
_LEAVE_S = 1.0

_Listing = tuple[tuple[str, int, int], ...]
_log = logging.getLogger(__name__)


class CalibrationWatch:
    """Keeps the masters of a night up to date; its thread runs from `start` to `stop`.

    The masters are made at once, but put in place by `begin`: until then a night that cannot go on with them keeps
    those that it has.

    Parameters
    ----------
    masters_folder : Path
        Where the workers find the masters.

    Raises
    ------
    ConfigurationError
        If a folder does not exist, or a frame in it cannot be used; one sentence names it.
    """

    def __init__(
        self, folders: CalibrationFolders, recipe: Recipe, masters_folder: Path, scan_every_s: float = SCAN_EVERY_S
    ) -> None:
        self._folders, self._recipe, self._masters_folder = folders, recipe, masters_folder
        self._prepared = masters_folder.with_name(f".{masters_folder.name}")
        self._scan_every_s = scan_every_s
        self._stopped, self._changed = threading.Event(), threading.Event()
        self._used = self._list()
        shutil.rmtree(self._prepared, ignore_errors=True)
        self.versions = save_masters(make_masters(folders, recipe), self._prepared)
        origins = [str(path.resolve()) for path in folders.paths()]
        (self._prepared / FOLDERS_FILE).write_bytes(msgspec.json.encode(origins))
        self._thread = threading.Thread(target=self._run, name="calibration", daemon=True)

    def begin(self) -> None:
        """Put the masters in place."""
        shutil.rmtree(self._masters_folder, ignore_errors=True)
        self._prepared.rename(self._masters_folder)
        _log.info("masters: %s", _sentence(self.versions))

    def start(self) -> None:
        """Begin to look for changes."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; safe to call twice."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_LEAVE_S)

    def sentence(self) -> str:
        """Names and versions of the masters."""
        return _sentence(self.versions)

    def take_change(self) -> bool:
        """Whether there are new masters since the last call."""
        changed = self._changed.is_set()
        self._changed.clear()
        return changed

    def check_measured_with(self, measured: Mapping[str, str], out: Path) -> None:
        """Refuse to go on with a night that was measured with other masters; see `check_masters`."""
        check_masters(self._prepared, measured, out)

    def _run(self) -> None:
        before = self._used
        while not self._stopped.wait(self._scan_every_s):
            try:
                now = self._list()
                if now != self._used and now == before:
                    self._used = now
                    self._remake()
                before = now
            except (OpticamLiveError, OSError) as error:
                _log.warning("calibration frames are left as they were: %s", error)
            except Exception:  # noqa: BLE001  (frames of a folder must not end what looks for others)
                _log.exception("calibration frames are left as they were")

    def _remake(self) -> None:
        versions = save_masters(make_masters(self._folders, self._recipe), self._masters_folder)
        if versions != self.versions:
            self.versions = versions
            self._changed.set()

    def _list(self) -> _Listing:
        paths = [path for files in self._folders.files().values() for path in files]
        stats = [(path, path.stat()) for path in (*paths, *(path for _, path in self._folders.maps()))]
        return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def former_paths(masters_folder: Path) -> tuple[Path, ...]:
    """Folders and files of calibration frames that an earlier run of the night was given; none without masters."""
    path = masters_folder / FOLDERS_FILE
    if not path.is_file():
        return ()
    try:
        return tuple(Path(text) for text in msgspec.json.decode(path.read_bytes(), type=list[str]))
    except (OSError, msgspec.DecodeError) as error:
        raise NightError(f"{path} cannot be read: {error}") from error


def check_masters(folder: Path, measured: Mapping[str, str], out: Path) -> None:
    """Refuse to go on with a night that was measured with other masters than those in a folder.

    Parameters
    ----------
    measured : mapping
        Version of the calibration by key, as the ledger has it; empty for none.

    Raises
    ------
    RecipeMismatchError
        If a key has other masters now.
    """
    for key, version in measured.items():
        calibration = load_calibration(folder, key)
        now = calibration.version if calibration is not None else ""
        if now != version:
            raise RecipeMismatchError(
                f"{out} holds frames of {key} measured with {_named(version)}, but there are {_named(now)} now: take "
                "the same ones, or --remeasure to start a second set of measurements"
            )


def _sentence(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "none"


def _named(version: str) -> str:
    return f"the calibration frames {version}" if version else "no calibration frames"
