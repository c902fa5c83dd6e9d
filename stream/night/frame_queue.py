"""The order in which frames are handed out: the newest of each key first, then the backlog, oldest first."""

from __future__ import annotations

import heapq


class FrameQueue:
    """Frames that wait for a worker. A frame that was added comes out once."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[float, int]] = {}
        self._latest_time: dict[str, float] = {}
        self._backlog: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._newest) + len(self._backlog)

    def add(self, frame_id: int, key: str, *, time: float) -> None:
        """Add a frame; one that is later than all before it of its key goes before the backlog."""
        entry = (time, frame_id)
        if time <= self._latest_time.get(key, float("-inf")):
            heapq.heappush(self._backlog, entry)
            return
        self._latest_time[key] = time
        passed = self._newest.pop(key, None)
        if passed is not None:
            heapq.heappush(self._backlog, passed)
        # Last in the order of insertion: a key that was served lately lets the others go first.
        self._newest[key] = entry

    def pop(self) -> int:
        """Take out the frame that is next.

        Raises
        ------
        IndexError
            If there is none.
        """
        if self._newest:
            key = next(iter(self._newest))
            return self._newest.pop(key)[1]
        return heapq.heappop(self._backlog)[1]
