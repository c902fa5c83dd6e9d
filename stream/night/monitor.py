"""The health of a night: rates, lag, and whether it stands still."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field

from stream.messages import NightStatus
from stream.night.broker_events import BrokerCounts

_RATE_WINDOW_S = 10.0
_LAG_FRAMES = 100
_STALLED_AFTER_S = 15.0


@dataclass(slots=True)
class Monitor:
    """Counts what is committed.

    Parameters
    ----------
    n_measured, n_rejected : int
        Outcomes of earlier runs of the night.
    """

    started_s: float
    n_measured: int = 0
    n_rejected: int = 0
    _last_frame_unix_s: float = math.nan
    _commits: deque[tuple[float, int]] = field(default_factory=deque)
    _lags_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LAG_FRAMES))
    _arrived_unix_s: dict[int, float] = field(default_factory=dict)
    _progress_s: float = -math.inf

    def note_arrival(self, frame_id: int, arrived_unix_s: float) -> None:
        """Note that a frame came in now; those of earlier runs are not noted, their lag says nothing."""
        self._arrived_unix_s[frame_id] = arrived_unix_s
        self._last_frame_unix_s = arrived_unix_s

    def note_commit(self, frame_ids: list[int], *, n_measured: int, now_s: float, unix_s: float) -> None:
        """Note outcomes that were committed together at this moment."""
        self.n_measured += n_measured
        self.n_rejected += len(frame_ids) - n_measured
        self._commits.append((now_s, len(frame_ids)))
        self._progress_s = now_s
        for frame_id in frame_ids:
            arrived = self._arrived_unix_s.pop(frame_id, None)
            if arrived is not None:
                self._lags_s.append(max(unix_s - arrived, 0.0))

    def note_replaced(self, n_measured: int, n_rejected: int) -> None:
        """Note measurements and rejections that other outcomes took the place of."""
        self.n_measured -= n_measured
        self.n_rejected -= n_rejected

    def status(
        self, counts: BrokerCounts, *, now_s: float, unix_s: float, awaited: tuple[str, ...] = ()
    ) -> NightStatus:
        """Health at this moment; restarts and the final state are the caller's to add.

        The night is stalled when frames are queued or in work and none was committed for a while.
        """
        while self._commits and self._commits[0][0] <= now_s - _RATE_WINDOW_S:
            self._commits.popleft()
        n_recent = sum(n for _, n in self._commits)
        # A night that has just begun is not slow because most of the window lies before it.
        window_s = min(_RATE_WINDOW_S, max(now_s - self.started_s, 1.0))
        is_busy = counts.n_queued + counts.n_in_work > 0
        if not is_busy:
            self._progress_s = now_s
        since_s = now_s - max(self._progress_s, self.started_s)
        return NightStatus(
            state="stalled" if is_busy and since_s > _STALLED_AFTER_S else "live",
            unix_s=unix_s,
            n_measured=self.n_measured,
            n_rejected=self.n_rejected,
            n_waiting=counts.n_waiting,
            n_queued=counts.n_queued,
            n_in_work=counts.n_in_work,
            n_workers=counts.n_workers,
            n_worker_restarts=0,
            frames_per_s=n_recent / window_s,
            lag_s=statistics.median(self._lags_s) if self._lags_s else math.nan,
            last_frame_unix_s=self._last_frame_unix_s,
            awaited=awaited,
        )
