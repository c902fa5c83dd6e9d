"""What the broker is told and what it answers: events in, instructions out.

Workers are named by their process id, which the night process chose when it started them.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream.messages import (
    Catalog,
    CatalogPictureLeft,
    CatalogReply,
    FrameMeasured,
    FrameRejected,
    FrameReply,
    FrameToMeasure,
    ToWorker,
)


@dataclass(frozen=True, slots=True)
class FrameEntered:
    """A frame has its number in the ledger and no terminal state.

    Attributes
    ----------
    key, time_mjd_utc
        None where the header could not be read.
    refusal : str or None
        Why the file must not be opened at all, in one sentence.
    """

    frame: FrameToMeasure
    key: str | None
    time_mjd_utc: float | None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class CatalogGiven:
    """There is a catalog already: of an earlier run of this night, or of another night."""

    catalog: Catalog


@dataclass(frozen=True, slots=True)
class CalibrationChanged:
    """There are other masters from now on."""


@dataclass(frozen=True, slots=True)
class ArrivalsEnded:
    """No further frame will come: the folder of a `reduce` has been searched."""


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker said that it is ready, with room for so many assignments."""

    pid: int
    credit: int


@dataclass(frozen=True, slots=True)
class WorkerHeard:
    """A worker is alive."""

    pid: int


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The process of a worker ended."""

    pid: int


@dataclass(frozen=True, slots=True)
class Replied:
    """A worker answered an assignment."""

    pid: int
    message: FrameReply | CatalogReply | CatalogPictureLeft


@dataclass(frozen=True, slots=True)
class ClockTicked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Hand out nothing more; workers finish what they have and leave."""


Event = (
    FrameEntered
    | CatalogGiven
    | CalibrationChanged
    | ArrivalsEnded
    | WorkerJoined
    | WorkerHeard
    | WorkerExited
    | Replied
    | ClockTicked
    | StopRequested
)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a worker."""

    pid: int
    message: ToWorker


@dataclass(frozen=True, slots=True)
class Commit:
    """Write the terminal state of a frame, then publish it."""

    outcome: FrameMeasured | FrameRejected


@dataclass(frozen=True, slots=True)
class SaveCatalog:
    """Write a catalog that was built, then publish it."""

    catalog: Catalog


@dataclass(frozen=True, slots=True)
class WriteCatalogFiles:
    """Have table and picture of a catalog written: a worker has left what that takes."""

    key: str
    version: str


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End a worker that is presumed dead; its frames are handed out again already."""

    pid: int


Instruction = Send | Commit | SaveCatalog | WriteCatalogFiles | KillWorker


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker may say nothing before it is presumed dead, seconds.

    Attributes
    ----------
    silence_s : float
        Without a sign of life; heartbeats come twice a second from a thread of their own, and a process that the
        system sees at work is alive without them.
    frame_s, build_s : float
        With signs of life, but without an answer, over a frame and over a catalog.
    """

    silence_s: float = 1.5
    frame_s: float = 60.0
    build_s: float = 300.0


@dataclass(frozen=True, slots=True)
class BrokerCounts:
    """How many frames are where."""

    n_waiting: int
    n_queued: int
    n_in_work: int
    n_workers: int
