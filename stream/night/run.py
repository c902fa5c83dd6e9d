"""One night from start to end: the assembly of watcher, broker, workers and page."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from stream.alerts import Alert, AlertSettings
from stream.config import Recipe
from stream.errors import ConfigurationError, NightError
from stream.measure.master_files import CalibrationFolders
from stream.messages import Catalog, NightStatus
from stream.night.alert_command import AlertCommand
from stream.night.alert_desk import AlertDesk
from stream.night.broker import Broker
from stream.night.broker_events import Patience
from stream.night.broker_state import BrokerState
from stream.night.calibration_watch import SCAN_EVERY_S, CalibrationWatch, check_masters, former_paths
from stream.night.catalog_files import CatalogWriter
from stream.night.ledger import Ledger, LedgerCounts
from stream.night.monitor import Monitor
from stream.night.night_folder import CALIBRATION_FOLDER, CATALOG_FOLDER, LOG_FOLDER, NightFolder, RunFile
from stream.night.supervisor import PageServer, Supervisor
from stream.night.watcher import Watcher, WatchSettings
from stream.night.wire import BrokerWire, make_keys
from stream.own_parts import check_parts
from stream.page_options import PageAccess
from stream.processes import give_back_memory, process_facts, refuse_busy_port

_DRAIN_S = 1.5
_LEAVE_S = 1.0
_LONG_SILENCE_S = 5.0
_LOOK_S = 0.05
_PORT_WAIT_S = 2.0
_LEDGER_PAUSE_S = 0.5
_FILES_S, _FILES_AT_STOP_S = 20.0, 0.3
_INCOMPLETE_FINITE_S = 3.0
_SWITCH_INTERVAL_S = 0.0005
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NightOptions:
    """What a night is started with, apart from its recipe: nothing of it changes a number.

    Attributes
    ----------
    finite : bool
        Reduce the frames that are there and end.
    use_events : bool
        False for folders on file systems that send no events.
    catalogs : tuple of Path
        Catalogs of an earlier night, one file for a key.
    port : int or None
        Port of the page, 0 for any; None for no page.
    access : PageAccess
        Where the page is reached, and by whom.
    calibration : CalibrationFolders
        Where calibration frames are; without any the masters of an earlier run of the night are used, and none with
        `remeasure`. What lies within `folder` is no frame of the sky.
    calibration_scan_s : float
        Seconds between two looks at them.
    alerts : AlertSettings
        When the observer is alerted.
    on_alert : tuple of str
        Program, with its arguments, that is run at each alert; empty for none.
    """

    folder: Path
    out: Path
    n_workers: int
    finite: bool = False
    use_events: bool = True
    remeasure: bool = False
    catalogs: tuple[Path, ...] = ()
    port: int | None = None
    access: PageAccess = field(default_factory=PageAccess)
    calibration: CalibrationFolders = field(default_factory=CalibrationFolders)
    calibration_scan_s: float = SCAN_EVERY_S
    alerts: AlertSettings = field(default_factory=AlertSettings)
    on_alert: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Onlooker:
    """What the caller of a night is told while it runs; all in the thread that runs it."""

    on_status: Callable[[NightStatus], None] = lambda status: None
    on_page: Callable[[str], None] = lambda address: None
    on_invitation: Callable[[str], None] = lambda line: None
    """Told, before `on_page`, a line for each address that lets in by a token."""
    on_alert: Callable[[Alert], None] = lambda alert: None


def run_night(
    options: NightOptions,
    recipe: Recipe,
    *,
    stop: threading.Event,
    onlooker: Onlooker | None = None,
    prepare: Callable[[Path], None] = lambda out: None,
) -> LedgerCounts:
    """Run a night until `stop` is set or, if it is finite, until every frame has its outcome.

    The same call on the same output folder goes on where an earlier run ended, however it ended. `prepare` is called
    with the output folder once that is known to be free and of this recipe.

    Raises
    ------
    ConfigurationError
        If the folder of the frames does not exist or is not the night's, the outputs would lie among the frames
        themselves, a folder of calibration frames holds those of the sky, a catalog or a class of the user's own
        cannot be used, or the port is in use; of a finite night also if a folder of calibration frames holds none.
        With `remeasure` no set was begun then.
    RecipeMismatchError
        If the output folder belongs to another recipe.
    NightError
        If the output folder is in use, the ledger cannot be written, or workers or page do not start.
    """
    folder = _checked_folder(options)
    check_parts(recipe.own_parts())
    catalogs = _load_catalogs(options.catalogs)
    # Watcher and broker share this process: neither waits long for the other.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with ExitStack() as stack:
        home = stack.enter_context(NightFolder(options.out))
        _log_to(home.path / LOG_FOLDER / "night.log", stack)
        if options.port is not None:
            options.access.check()
            refuse_busy_port(options.port, _PORT_WAIT_S, access=options.access)
        versions = {key: catalog.version for key, catalog in catalogs.items()}
        ledger = Ledger(home.path, recipe, folder=folder, remeasure=options.remeasure, catalogs=versions)
        stack.callback(ledger.close)
        calibration = _prepare_calibration(options, recipe, ledger, home.path)
        prepare(home.path)
        make_keys(home.path)
        night = _Night(options, recipe, home=home, ledger=ledger, folder=folder)
        night.calibration = calibration
        stack.callback(night.close)
        # A new set hides the former one: not before everything that may fail at the start has succeeded.
        ledger.begin()
        for catalog in catalogs.values():
            ledger.save_catalog(catalog)
        home.write_recipe(recipe)
        if calibration is not None:
            calibration.begin()
        elif options.remeasure:
            shutil.rmtree(home.path / CALIBRATION_FOLDER, ignore_errors=True)
        _write_tables(catalogs, home.path)
        stack.callback(gc.unfreeze)  # whoever called this may go on with other things
        night.run(stop, onlooker or Onlooker())
        _write_tables({key: one for key, one in ledger.catalogs().items() if not _has_table(one, home.path)}, home.path)
        return ledger.counts()


class _Night:
    """The parts of a running night."""

    def __init__(
        self, options: NightOptions, recipe: Recipe, *, home: NightFolder, ledger: Ledger, folder: Path
    ) -> None:
        self._home, self._folder, self._ledger = home, folder, ledger
        self._is_finite = options.finite
        counts = ledger.counts()
        self._wire = BrokerWire(home.path)
        self._supervisor = Supervisor(home.path, options.n_workers)
        monitor = Monitor(time.monotonic(), counts.n_measured, counts.n_rejected)
        self._broker = Broker(
            BrokerState(recipe.bootstrap, _patience()),
            ledger,
            wire=self._wire,
            supervisor=self._supervisor,
            monitor=monitor,
        )
        settings = WatchSettings(finite=options.finite, use_events=options.use_events)
        if options.finite:
            settings = WatchSettings(finite=True, incomplete_s=_INCOMPLETE_FINITE_S)
        self._watcher = Watcher(
            folder,
            recipe.instrument,
            exclude=(home.path, *options.calibration.paths(), *former_paths(home.path / CALIBRATION_FOLDER)),
            deliver=self._broker.post.deliver,
            known=ledger.known_files(),
            reopenable=ledger.reopenable(),
            settings=settings,
        )
        self._broker.on_reopenable = self._watcher.watch_again
        self._broker.complaints = self._watcher.complaints
        self._files = CatalogWriter(home.path)
        self._files.resume(ledger.catalogs())
        self._broker.on_picture = self._files.write
        self._alerts = AlertDesk(
            home.path,
            folder,
            ledger=ledger,
            settings=options.alerts,
            live=not options.finite,
            command=AlertCommand(options.on_alert, home.path) if options.on_alert else None,
        )
        self._broker.alerts = self._alerts
        self._page = None if options.port is None else PageServer(home.path, options.port, options.access)
        self._page_told: str | None = None
        self._next_look_s = 0.0
        self._status_told: NightStatus | None = None
        self.calibration: CalibrationWatch | None = None

    def run(self, stop: threading.Event, onlooker: Onlooker) -> None:
        self._ledger.on_busy = lambda sentence: self._wait_for_ledger(sentence, stop, onlooker)
        self._write_run_file()
        self._supervisor.start()
        if self._page is not None:
            self._page.start()
        self._broker.resume()
        self._alerts.on_alert = onlooker.on_alert
        self._alerts.start()
        if self.calibration is not None:
            self.calibration.start()
        self._watcher.start()
        give_back_memory()
        self._broker.run(lambda: self._look_around(onlooker) and not stop.is_set())
        if self._page is not None:
            self._page.ask_to_end()
        self._watcher.stop()
        self._broker.drain(_DRAIN_S)
        self._supervisor.stop(_LEAVE_S)
        self._files.finish(_FILES_AT_STOP_S if stop.is_set() else _FILES_S)
        self._alerts.finish()
        onlooker.on_status(self._broker.save_final_status("finished"))

    def close(self) -> None:
        """End all that runs; after a failure nobody else does."""
        self._watcher.stop()
        if self.calibration is not None:
            self.calibration.stop()
        self._alerts.close()
        self._supervisor.stop(0.0)
        self._files.stop()
        if self._page is not None:
            self._page.stop(_LEAVE_S)
        self._broker.close()
        self._wire.close()

    def _look_around(self, onlooker: Onlooker) -> bool:
        """Look after all but the broker, twenty times a second at most: asking after processes takes system calls."""
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return True
        self._next_look_s = now_s + _LOOK_S
        if self.calibration is not None and self.calibration.take_change():
            self._broker.change_calibration()
            _log.info("masters from now on: %s", self.calibration.sentence())
        self._files.check(now_s)
        if self._watcher.failure is not None:
            raise NightError(f"the watcher of {self._folder} ended: {self._watcher.failure}") from self._watcher.failure
        if self._page is not None:
            self._page.check(now_s)
            if self._page.address is not None and self._page.address != self._page_told:
                self._page_told = self._page.address
                self._write_run_file()
                for line in self._page.invitations:
                    onlooker.on_invitation(line)
                onlooker.on_page(self._page.address)
        if self._broker.status is not None and self._broker.status is not self._status_told:
            self._status_told = self._broker.status
            onlooker.on_status(self._status_told)
        return True

    def _wait_for_ledger(self, sentence: str, stop: threading.Event, onlooker: Onlooker) -> bool:
        """Wait a moment for a full disk or a locked ledger, unless nobody would see it; whether to try again."""
        if self._is_finite or stop.is_set():
            return False
        onlooker.on_status(self._broker.tell_waiting(sentence))
        return not stop.wait(_LEDGER_PAUSE_S)

    def _write_run_file(self) -> None:
        self._home.write_run_file(
            RunFile(
                pid=os.getpid(),
                folder=str(self._folder),
                router=self._wire.router_endpoint,
                publisher=self._wire.publisher_endpoint,
                page=self._page_told,
            )
        )


def _patience() -> Patience:
    """Silence alone decides where the system does not tell whether a process works: then it takes longer."""
    return Patience() if process_facts(os.getpid()) is not None else Patience(silence_s=_LONG_SILENCE_S)


def _checked_folder(options: NightOptions) -> Path:
    folder = options.folder.resolve()
    if not folder.is_dir():
        raise ConfigurationError(f"folder {options.folder} does not exist")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigurationError(f"folder {options.folder} cannot be read")
    refuse_same_folder(folder, options.out)
    options.calibration.paths_outside_of(folder)
    if options.finite:
        options.calibration.refuse_empty()
    return folder


def refuse_same_folder(folder: Path, out: Path) -> None:
    """Refuse to write among the frames themselves; raises ConfigurationError."""
    if out.resolve() == folder.resolve():
        raise ConfigurationError(f"output folder {out} is the folder of the frames: another one is required")


def _prepare_calibration(options: NightOptions, recipe: Recipe, ledger: Ledger, out: Path) -> CalibrationWatch | None:
    """Make the masters of the night, and see that frames were measured with the same before."""
    measured = ledger.calibrations()
    if options.calibration:
        scan_s = options.calibration_scan_s
        calibration = CalibrationWatch(options.calibration, recipe, out / CALIBRATION_FOLDER, scan_every_s=scan_s)
        calibration.check_measured_with(measured, out)
        return calibration
    if not options.remeasure and any(measured.values()):
        check_masters(out / CALIBRATION_FOLDER, measured, out)
    return None


def _load_catalogs(paths: tuple[Path, ...]) -> dict[str, Catalog]:
    """Read catalogs of an earlier night, one for a key."""
    if not paths:
        return {}
    from stream.measure.catalog import load_catalog

    catalogs: dict[str, Catalog] = {}
    for path in paths:
        catalog = load_catalog(path)
        if catalog.key in catalogs:
            raise ConfigurationError(f"catalog {path} is a second one of {catalog.key}: one for a key is required")
        catalogs[catalog.key] = catalog
    return catalogs


def _table_of(catalog: Catalog, out: Path) -> Path:
    return out / CATALOG_FOLDER / f"{catalog.key.replace(':', '-')}_catalog.ecsv"


def _has_table(catalog: Catalog, out: Path) -> bool:
    path = _table_of(catalog, out)
    return path.is_file() and catalog.version in path.read_text(encoding="utf-8", errors="replace")


def _write_tables(catalogs: dict[str, Catalog], out: Path) -> None:
    """Write the tables of catalogs that no worker of this night wrote, or one that died over it."""
    if not catalogs:
        return
    from stream.measure.catalog import save_catalog

    for catalog in catalogs.values():
        save_catalog(catalog, _table_of(catalog, out))


def _log_to(path: Path, stack: ExitStack) -> None:
    """Write the log of this process to a file for as long as the night runs."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_LOG_FORMAT))
    logger = logging.getLogger("stream")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def restore() -> None:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()

    stack.callback(restore)
