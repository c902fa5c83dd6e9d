"""What the broker knows of one frame without an outcome, and of one worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from stream.messages import BuildCatalog, FrameToMeasure


class Place(Enum):
    """Where a frame is: before the catalog of its key, before a worker, or with one."""

    WAITING = auto()
    QUEUED = auto()
    IN_WORK = auto()


@dataclass(slots=True)
class OpenFrame:
    """A frame without an outcome.

    Attributes
    ----------
    key : str
        Empty where the header could not be read.
    n_crashes : int
        Workers that died over it.
    """

    frame: FrameToMeasure
    key: str
    time: float
    place: Place = Place.QUEUED
    n_crashes: int = 0


@dataclass(slots=True)
class KnownWorker:
    """A worker, and what it holds.

    Attributes
    ----------
    credit : int
        So many frames it takes at once.
    heard_s, progress_s : float
        When it last gave a sign of life, and when it last answered or began anew.
    alone : bool
        It holds a frame that a worker died over, and gets no other.
    catalogs : dict
        Version of the catalog that it has, by key.
    """

    pid: int
    credit: int
    heard_s: float
    progress_s: float
    frames: set[int] = field(default_factory=set)
    build: BuildCatalog | None = None
    alone: bool = False
    catalogs: dict[str, str] = field(default_factory=dict)

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing."""
        return not self.frames and self.build is None

    @property
    def has_room(self) -> bool:
        """Whether it may be given another frame."""
        return self.build is None and not (self.alone and self.frames) and len(self.frames) < self.credit
