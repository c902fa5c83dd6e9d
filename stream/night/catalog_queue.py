"""Frames of one key that wait for its catalog, and when to build it from which of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.config import BootstrapSettings
from stream.messages import Catalog


@dataclass(slots=True)
class WaitingFrame:
    """A frame that waits for the catalog of its key.

    Attributes
    ----------
    n_crashes : int
        Workers that died over it; such frames are taken last.
    tried : bool
        It was part of an attempt that gave no catalog.
    """

    time: float
    n_crashes: int
    tried: bool = False


@dataclass(slots=True)
class CatalogQueue:
    """One key before it has its catalog, and after.

    Attributes
    ----------
    builder : int or None
        Worker that builds the catalog now.
    sentence : str
        Why the last attempt gave none.
    """

    key: str
    settings: BootstrapSettings
    catalog: Catalog | None = None
    builder: int | None = None
    sentence: str = ""
    waiting: dict[int, WaitingFrame] = field(default_factory=dict)
    _n_untried: int = 0
    _first_untried_s: float | None = None

    def add(self, frame_id: int, *, time: float, n_crashes: int, at_s: float) -> None:
        """Let a frame wait."""
        self.waiting[frame_id] = WaitingFrame(time, n_crashes)
        self._n_untried += 1
        if self._first_untried_s is None:
            self._first_untried_s = at_s

    def remove(self, frame_id: int) -> None:
        """Take out a frame that has its terminal state; one that does not wait is passed over."""
        frame = self.waiting.pop(frame_id, None)
        if frame is not None and not frame.tried:
            self._n_untried -= 1

    def take_all(self) -> list[int]:
        """Take out all frames, oldest first."""
        frames = sorted(self.waiting.items(), key=lambda item: (item[1].time, item[0]))
        self.waiting.clear()
        self._n_untried, self._first_untried_s = 0, None
        return [frame_id for frame_id, _ in frames]

    def wants_building(self, at_s: float, *, ended: bool) -> bool:
        """Whether the catalog should be built now.

        An attempt is repeated only with frames that it did not have: no picture of clouds is searched twice.
        """
        if self.catalog is not None or self.builder is not None or self._n_untried == 0:
            return False
        if ended or len(self.waiting) >= self._n_wanted():
            return True
        return self._first_untried_s is not None and at_s - self._first_untried_s >= self.settings.wait_s

    def _n_wanted(self) -> int:
        n_tried = len(self.waiting) - self._n_untried
        return self.settings.n_frames if n_tried < self.settings.n_frames else n_tried + self.settings.n_frames

    def choose(self) -> list[int]:
        """Frames that the catalog is built from: no crash first, then untried, then the oldest."""
        ranked = sorted(
            self.waiting.items(), key=lambda item: (item[1].n_crashes, item[1].tried, item[1].time, item[0])
        )
        return [frame_id for frame_id, _ in ranked[: self.settings.n_frames]]

    def attempt_failed(self, frame_ids: tuple[int, ...], *, sentence: str, at_s: float) -> None:
        """Note that these frames gave no catalog."""
        self.builder, self.sentence = None, sentence
        for frame_id in frame_ids:
            frame = self.waiting.get(frame_id)
            if frame is not None and not frame.tried:
                frame.tried = True
                self._n_untried -= 1
        self._first_untried_s = at_s if self._n_untried else None

    def attempt_crashed(self, frame_ids: tuple[int, ...]) -> None:
        """Note that a worker died over these frames."""
        self.builder = None
        for frame_id in frame_ids:
            if frame_id in self.waiting:
                self.waiting[frame_id].n_crashes += 1

    def is_hopeless(self, *, ended: bool) -> bool:
        """Whether every frame was tried in vain and no other will come."""
        return ended and self.catalog is None and self.builder is None and bool(self.waiting) and self._n_untried == 0

    def awaited(self) -> str | None:
        """What the key waits for, in one sentence."""
        if self.catalog is not None or not self.waiting:
            return None
        if self.builder is not None:
            return f"the catalog of {self.key} is being built"
        cause = f" ({self.sentence})" if self.sentence else ""
        n_there = min(len(self.waiting), self._n_wanted())
        return f"{n_there} of {self._n_wanted()} frames for the catalog of {self.key}{cause}"
