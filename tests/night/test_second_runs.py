"""What a night finds from an earlier run: its set of measurements, its folder of frames, its run file."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from stream.config import PhotometrySettings, Recipe
from stream.errors import ConfigurationError, Reason
from stream.instruments import OPTICAM_MX
from stream.messages import (
    BuildCatalog,
    CatalogBuilt,
    FrameArrived,
    FrameRejected,
)
from stream.night.broker_events import ClockTicked, Patience, Replied, Send, WorkerJoined
from stream.night.broker_state import BrokerState
from stream.night.ledger import Ledger, LedgerReader
from stream.night.night_folder import RUN_FILE, NightFolder, RunFile
from stream.night.report import read_report
from stream.night.run import NightOptions, run_night
from stream.night.worker import PipelineMeasurer
from stream.processes import holder_of, on_stop_signals
from tests.night.frames import write_frame
from tests.night.ledger_rows import RECIPE, make_arrival, make_catalog, make_measured
from tests.night.processes import counts_of

pytestmark = pytest.mark.clock

OTHER = msgspec.structs.replace(RECIPE, photometry=PhotometrySettings(aperture_radius_fwhm=1.25))


def measure_a_set(out: Path, recipe: Recipe = RECIPE, *, n_frames: int = 2, remeasure: bool = False) -> None:
    """Measure frame 0 of `n_frames`, of which the others stay unfinished."""
    ledger = Ledger(out, recipe, remeasure=remeasure)
    ledger.save_catalog(make_catalog())
    ledger.enter([make_arrival(number) for number in range(n_frames)])
    frame = ledger.unfinished()[0].frame
    ledger.commit([make_measured(frame, 0)])
    ledger.close()


def set_of(out: Path) -> int:
    reader = LedgerReader(out)
    try:
        return reader.newest_set()
    finally:
        reader.close()


def test_a_second_set_opens_with_its_first_write(tmp_path: Path) -> None:
    measure_a_set(tmp_path)
    second = Ledger(tmp_path, OTHER, remeasure=True)
    assert (second.catalogs(), second.counts().n_pending) == ({}, 2)
    reader = LedgerReader(tmp_path)
    assert (reader.newest_set(), reader.counts().n_measured, reader.recipe()) == (1, 1, RECIPE)
    second.begin()
    assert (reader.newest_set(), reader.counts().n_measured, reader.recipe()) == (2, 0, OTHER)
    second.close()
    reader.close()


def test_remeasure_again_goes_on_with_an_unfinished_second_set(tmp_path: Path) -> None:
    measure_a_set(tmp_path, n_frames=3)
    measure_a_set(tmp_path, remeasure=True)
    measure_a_set(tmp_path, remeasure=True)
    assert set_of(tmp_path) == 2
    for recipe, catalogs in ((OTHER, {}), (RECIPE, {"1:g": "another"})):
        third = Ledger(tmp_path, recipe, remeasure=True, catalogs=catalogs)
        assert third.counts().n_measured == 0
        third.close()
    agrees = Ledger(tmp_path, RECIPE, remeasure=True, catalogs={"1:g": "abc", "2:r": "new"})
    assert agrees.counts().n_measured == 2
    agrees.commit([make_measured(agrees.unfinished()[0].frame, 2)])
    agrees.close()
    measure_a_set(tmp_path, remeasure=True)
    assert set_of(tmp_path) == 3


def enter_files(out: Path, folder: Path, *, rejected: str | None = None) -> None:
    ledger = Ledger(out, RECIPE, folder=folder)
    arrivals = []
    for path in sorted(folder.iterdir()):
        status = path.stat()
        arrivals.append(FrameArrived(path.name, status.st_size, status.st_mtime_ns, 0.0))
    for frame in ledger.enter(arrivals):
        if frame.path == rejected:
            ledger.commit([FrameRejected(frame.frame_id, frame.path, Reason.TRUNCATED, "it is cut")])
    ledger.close()


def test_a_folder_may_be_moved_but_not_exchanged(tmp_path: Path) -> None:
    a, moved, copied, b, c = (tmp_path / name for name in ("a", "moved", "copied", "b", "c"))
    out = tmp_path / "out"
    for folder in (a, out, b, c):
        folder.mkdir()
    for number in range(3):
        write_frame(a, number)
    enter_files(out, a, rejected="000002.fit")
    (a / "000002.fit").write_bytes(b"completed, and longer than before" * 1000)
    a.rename(moved)
    shutil.copytree(moved, copied)
    (copied / "000001.fit").unlink()
    for folder in (moved, copied):
        Ledger(out, RECIPE, folder=folder).close()
        reader = LedgerReader(out)
        assert reader.folder() == folder
        reader.close()
    write_frame(b, 0)
    os.utime(b / "000000.fit", (1.6e9, 1.6e9))
    write_frame(c, 7)
    belongs = f"^{out} belongs to the frames of {copied}: take another output folder for those of "
    with pytest.raises(ConfigurationError, match=rf"{belongs}{b} \(000000\.fit is another file there\)$"):
        Ledger(out, RECIPE, folder=b)
    with pytest.raises(ConfigurationError, match=rf"{belongs}{c} \(none of its 2 files is there\)$"):
        Ledger(out, RECIPE, folder=c)
    reader = LedgerReader(out)
    assert reader.folder() == copied
    reader.close()


def test_an_error_at_the_start_leaves_the_measurements_shown(tmp_path: Path) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    measure_a_set(out)
    stopped = threading.Event()
    stopped.set()
    catalog = tmp_path / "none.ecsv"
    with pytest.raises(ConfigurationError, match=f"catalog {catalog} cannot be read"):
        run_night(NightOptions(folder, out, 1, remeasure=True, catalogs=(catalog,)), OTHER, stop=stopped)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} on localhost cannot be used"):
            run_night(NightOptions(folder, out, 1, remeasure=True, port=port), OTHER, stop=stopped)
    counts = counts_of(out)
    assert counts is not None
    assert (set_of(out), counts.n_measured) == (1, 1)


def test_a_run_file_proves_nothing_without_the_lock(tmp_path: Path) -> None:
    measure_a_set(tmp_path)
    run_file = RunFile(os.getpid(), "/frames", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
    (tmp_path / RUN_FILE).write_bytes(msgspec.json.encode(run_file))
    assert holder_of(tmp_path) is None
    assert read_report(tmp_path).state == "stopped"
    with NightFolder(tmp_path) as home:
        home.write_run_file(run_file)
        assert holder_of(tmp_path) == os.getpid()
        assert read_report(tmp_path).running == run_file
    assert holder_of(tmp_path / "none") is None


def test_only_the_worker_whose_catalog_was_accepted_writes_its_files() -> None:
    from stream.messages import CatalogPictureLeft, FrameToMeasure, SaveCatalogFiles
    from stream.night.broker_events import FrameEntered, WriteCatalogFiles

    state = BrokerState(RECIPE.bootstrap, Patience(silence_s=5.0))
    state.handle(WorkerJoined(1, 2), 0.0)
    for number in range(RECIPE.bootstrap.n_frames):
        state.handle(FrameEntered(FrameToMeasure(number, f"{number}.fit"), "1:g", float(number)), 0.0)
    state.handle(ClockTicked(), 6.0)
    (build,) = [one.message for one in state.handle(WorkerJoined(2, 2), 6.0) if isinstance(one, Send)]
    assert isinstance(build, BuildCatalog)
    accepted = state.handle(Replied(2, CatalogBuilt(make_catalog(version="new"))), 7.0)
    assert Send(2, SaveCatalogFiles("1:g", "new")) in accepted
    assert state.handle(Replied(2, CatalogPictureLeft("1:g", "new")), 7.0) == [WriteCatalogFiles("1:g", "new")]
    assert state.handle(Replied(1, CatalogBuilt(make_catalog(version="late"))), 8.0) == []


def test_a_worker_leaves_no_picture_before_it_is_told(tmp_path: Path) -> None:
    saved: list[Path] = []

    class Build:
        reply = CatalogBuilt(make_catalog(version="built"))

        def leave_picture(self, folder: Path) -> None:
            saved.append(folder)

    measurer = PipelineMeasurer(tmp_path, Recipe(instrument=OPTICAM_MX()), tmp_path)
    for version in ("another", "built"):
        measurer._built = Build()  # type: ignore[assignment]
        assert measurer.leave_picture(version) == (version == "built")
        assert not measurer.leave_picture(version)
        assert len(saved) == (version == "built")


HANGUP = """
import os, signal, sys, threading
from stream.processes import on_stop_signals
stop = threading.Event()
on_stop_signals(stop.set)
print("ignored" if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else "ready", flush=True)
stop.wait(20.0)
print("stopped" if stop.is_set() else "not told", flush=True)
"""


@pytest.mark.parametrize("ignored", [False, True], ids=["closed terminal", "nohup"])
def test_a_hangup_is_a_stop_unless_it_was_ignored(ignored: bool) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)

    with subprocess.Popen(
        [sys.executable, "-c", HANGUP], stdout=subprocess.PIPE, text=True, preexec_fn=ignore
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == ("ignored\n" if ignored else "ready\n")
        process.send_signal(signal.SIGHUP)
        if ignored:
            process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopped\n"
    before = signal.getsignal(signal.SIGINT)
    on_stop_signals(lambda: None)()
    assert signal.getsignal(signal.SIGINT) is before
