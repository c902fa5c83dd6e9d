"""A worker: takes assignments from the broker, one frame at a time, and answers each.

It runs in a process of its own, is started by the night process and leaves when that is gone. Signs of life come
from a thread, so that a long computation is not taken for death; whether the work advances is the broker's to judge.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import zmq

from stream.config import Recipe, load_recipe
from stream.errors import FrameIncompleteError, FrameRejectedError, Reason
from stream.messages import (
    ENCODER,
    TO_WORKER,
    AssignFrame,
    BuildCatalog,
    Catalog,
    CatalogBuilt,
    CatalogNotBuilt,
    CatalogPictureLeft,
    CatalogReply,
    FrameDescribed,
    FrameRejected,
    FrameReply,
    SaveCatalogFiles,
    StopWorker,
    UseCalibration,
    UseCatalog,
    WorkerHeartbeat,
    WorkerReady,
)
from stream.night.night_folder import CALIBRATION_FOLDER, CATALOG_FOLDER, RECIPE_FILE, read_run_file
from stream.night.wire import connect_to_broker, heartbeat_identity, task_identity
from stream.processes import bound_memory, give_back_memory

if TYPE_CHECKING:
    from stream.measure.calibration import Calibration
    from stream.night.bootstrap import CatalogBuild

CREDIT = 2
"""One frame in work and one at hand, so that no worker waits for the broker."""
HEARTBEAT_S = 0.5
_LONGEST_SENTENCE = 4000
_MEMORY_SHARE = 0.75

_log = logging.getLogger(__name__)


class Measurer(Protocol):
    """What a worker does with its assignments."""

    def use_catalog(self, catalog: Catalog) -> None:
        """Take the catalog that later frames of its key are measured against."""

    def use_calibration(self) -> None:
        """Take the masters that are in the folder of the night now."""

    def measure(self, assignment: AssignFrame) -> FrameReply:
        """Measure a frame."""

    def build(self, request: BuildCatalog) -> CatalogReply:
        """Build a catalog."""

    def leave_picture(self, version: str) -> bool:
        """Leave the picture of the catalog that was built last, if it is of this version; whether it was."""


class PipelineMeasurer:
    """Measures with `stream.pipeline`: frames of `folder`, by `recipe`; catalogs are saved in `out`."""

    def __init__(self, folder: Path, recipe: Recipe, out: Path) -> None:
        from stream import pipeline
        from stream.measure.frames import read_frame
        from stream.measure.transform import Transform

        self._pipeline, self._read_frame = pipeline, read_frame
        self._folder, self._recipe, self._out = folder, recipe, out
        self._references: dict[str, pipeline.Reference] = {}
        self._calibrations: dict[str, Calibration | None] = {}
        self._hints: dict[str, Transform] = {}
        self._built: CatalogBuild | None = None

    def use_catalog(self, catalog: Catalog) -> None:
        """Prepare what every frame of the key needs."""
        calibration = self._calibration(catalog.key)
        self._references[catalog.key] = self._pipeline.Reference.from_catalog(catalog, self._recipe, calibration)
        self._hints.pop(catalog.key, None)

    def use_calibration(self) -> None:
        """Read the masters anew when they are asked for."""
        self._calibrations.clear()
        for reference in list(self._references.values()):
            self.use_catalog(reference.catalog)

    def _calibration(self, key: str) -> Calibration | None:
        if key not in self._calibrations:
            from stream.measure.master_files import load_calibration

            self._calibrations[key] = load_calibration(self._out / CALIBRATION_FOLDER, key)
        return self._calibrations[key]

    def measure(self, assignment: AssignFrame) -> FrameReply:
        """Read and measure a frame; raises FrameRejectedError."""
        name = assignment.frame.path
        frame = self._read_frame(self._folder / name, name, self._recipe.instrument)
        if not assignment.key:
            return FrameDescribed(assignment.frame.frame_id, frame.facts.key, frame.facts.time_mjd_utc)
        hint = self._hints.get(assignment.key)
        measurement = self._pipeline.process_frame(frame, self._references[assignment.key], self._recipe, hint)
        if measurement.transform is not None:
            self._hints[assignment.key] = measurement.transform
        return measurement.to_message(assignment.frame.frame_id)

    def build(self, request: BuildCatalog) -> CatalogReply:
        """Build a catalog from the first frames of its key."""
        from stream.night.bootstrap import build_catalog

        self._built = build_catalog(request, self._folder, self._recipe, self._calibration(request.key))
        return self._built.reply

    def leave_picture(self, version: str) -> bool:
        """Leave the picture of the catalog that was built last, once, if it is of this version; whether it was."""
        built, self._built = self._built, None
        if built is None or not isinstance(built.reply, CatalogBuilt) or built.reply.catalog.version != version:
            return False
        built.leave_picture(self._out / CATALOG_FOLDER)
        return True


def answer_frame(measurer: Measurer, assignment: AssignFrame) -> FrameReply:
    """Measure a frame; whatever goes wrong becomes its rejection."""
    frame = assignment.frame
    try:
        return measurer.measure(assignment)
    except FrameRejectedError as rejection:
        reason, sentence = rejection.reason, rejection.sentence
    except FrameIncompleteError as incomplete:
        reason, sentence = Reason.TRUNCATED, str(incomplete)
    except MemoryError:
        reason, sentence = Reason.UNREADABLE, f"{frame.path} takes more memory than a worker may have"
    except Exception as error:  # noqa: BLE001  (one frame must not end the night, whatever a library raises over it)
        _log.exception("frame %s", frame.path)
        reason, sentence = Reason.INTERNAL_ERROR, _internal_error(frame.path, error)
    # Whatever a library put into its error, the message stays one that the broker takes.
    return FrameRejected(frame.frame_id, frame.path, reason, sentence[:_LONGEST_SENTENCE], assignment.key or None)


def answer_build(measurer: Measurer, request: BuildCatalog) -> CatalogReply:
    """Build a catalog; whatever goes wrong is a catalog that was not built."""
    try:
        return measurer.build(request)
    except Exception as error:  # noqa: BLE001  (the frames stay, and others may make the catalog)
        _log.exception("catalog of %s", request.key)
        return CatalogNotBuilt(request.key, _internal_error(f"catalog of {request.key}", error), ())


def leave_picture(measurer: Measurer, request: SaveCatalogFiles) -> CatalogPictureLeft | None:
    """Leave the picture of a catalog that the night took; the catalog itself is safe in the ledger."""
    try:
        if measurer.leave_picture(request.version):
            return CatalogPictureLeft(request.key, request.version)
    except Exception:  # noqa: BLE001  (a picture must not end the night, whatever a library raises over it)
        _log.exception("picture of the catalog of %s", request.key)
    return None


def _internal_error(what: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{what}: an error in opticam-live itself, {type(error).__name__}: {text or 'no text'}"


def serve_assignments(socket: zmq.Socket[bytes], measurer: Measurer) -> None:
    """Answer assignments until the broker says stop."""
    is_new = False
    socket.send(ENCODER.encode(WorkerReady(os.getpid(), CREDIT)))
    while True:
        message = TO_WORKER.decode(socket.recv())
        match message:
            case AssignFrame():
                socket.send(ENCODER.encode(answer_frame(measurer, message)))
                if is_new:
                    # Building a catalog and the first frame of a key leave more behind than all that follow.
                    give_back_memory()
                is_new = False
            case UseCatalog(catalog):
                measurer.use_catalog(catalog)
                is_new = True
            case UseCalibration():
                measurer.use_calibration()
                is_new = True
            case BuildCatalog():
                socket.send(ENCODER.encode(answer_build(measurer, message)))
            case SaveCatalogFiles():
                left = leave_picture(measurer, message)
                if left is not None:
                    socket.send(ENCODER.encode(left))
            case StopWorker():
                return


class _Heart(threading.Thread):
    """Sends signs of life, and ends the process when the night process is gone."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], out: Path, endpoint: str) -> None:
        super().__init__(name="heart", daemon=True)
        self._context, self._out, self._endpoint = context, out, endpoint
        self._parent = os.getppid()
        self.stopped = threading.Event()

    def run(self) -> None:
        """Beat until stopped."""
        pid = os.getpid()
        socket = connect_to_broker(self._context, self._out, endpoint=self._endpoint, identity=heartbeat_identity(pid))
        with socket:
            socket.linger = 0
            beat = ENCODER.encode(WorkerHeartbeat(pid))
            while not self.stopped.wait(HEARTBEAT_S):
                if os.getppid() != self._parent:
                    _log.warning("the night process %d is gone: leaving", self._parent)
                    # Not sys.exit: the main thread may be in the middle of a long computation.
                    os._exit(1)
                # A night that waits for its disk hears nothing: this thread must go on looking for its end.
                with suppress(zmq.Again):
                    socket.send(beat, zmq.NOBLOCK)


def run_worker(out: Path) -> None:
    """Work for the night that runs in `out`, until it says stop or is gone.

    Raises
    ------
    NightError
        If no night runs in `out`, or its recipe cannot be read.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    bound_memory(_MEMORY_SHARE)
    run = read_run_file(out)
    if run.pid != os.getppid():
        _log.warning("the night process %d is not the parent of this worker: leaving", run.pid)
        return
    recipe = load_recipe(out / RECIPE_FILE)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    heart = _Heart(context, out, run.router)
    heart.start()
    measurer = PipelineMeasurer(Path(run.folder), recipe, out)
    try:
        with connect_to_broker(context, out, endpoint=run.router, identity=task_identity(os.getpid())) as socket:
            serve_assignments(socket, measurer)
    finally:
        heart.stopped.set()
        heart.join(2 * HEARTBEAT_S)
        context.term()
