"""What an observer is alerted to: arrivals, outcomes and the health of the night in, alerts raised and ended out.

Pure: it reads no clock, no file and no disk; `stream.night.alert_desk` carries them in and the alerts out. Every frame
costs the same, whatever the length of the night.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stream.alerts import Alert, AlertKind, AlertSettings
from stream.errors import Reason
from stream.messages import FrameArrived, FrameMeasured, FrameRejected, NightStatus
from stream.night.alert_board import AT_ONCE, AlertBoard, Moment, Patience, Reading, Verdict
from stream.night.alert_frames import FRAME_KINDS, KeyChecks, Star
from stream.night.alert_rhythm import PROMPT_S, CameraRhythm, ClockCheck

_HELD_UP_S = 3.0
_QUEUE_S = 30.0
_RESTARTS_S = 300.0
_OBSERVED_NO_MORE_S = 600.0
_MEASURED_AGAIN = Patience(3)
_KEYLESS_GOOD = 10
_DISK_LASTS = (Patience(2), Patience(2))
_UNKNOWN_KEY = ""
_STOPPED = "the night was stopped"


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """Room on the disk of a folder, and how long it lasts at the present rate, seconds; infinite where it grows."""

    folder: str
    free_bytes: float
    lasts_s: float = math.inf


class AlertWatch:
    """All checks of one night.

    Parameters
    ----------
    live : bool
        Frames are awaited as they are taken; False where those that are there are reduced, and neither silence nor
        a queue nor the times of files mean anything.
    restored : iterable of Alert
        Open alerts of an earlier run.
    last_number : int
        Number of the newest alert of earlier runs.
    """

    def __init__(
        self, settings: AlertSettings, *, live: bool = True, restored: Iterable[Alert] = (), last_number: int = 0
    ) -> None:
        self._settings, self._live = settings, live
        self.board = AlertBoard(last_number)
        self.board.restore(restored)
        self._keys: dict[str, KeyChecks] = {}
        self._clocks: dict[str, ClockCheck] = {}
        self._rhythms: dict[str, CameraRhythm] = {}
        self._mtimes_s: dict[int, float] = {}
        self._newest_of_file: dict[str, tuple[int, int]] = {}
        self._n_since_keyless = 0
        self._seen_s: dict[str, float] = {}
        self._queue: deque[tuple[float, int]] = deque()
        self._restarts: deque[float] = deque()
        self._n_restarts = 0
        self._ticked_s = math.inf

    def note_arrival(self, frame_id: int, arrival: FrameArrived, now_s: float) -> None:
        """Note a frame that came in at a moment of the monotonic clock."""
        if arrival.key is None or not self._live:
            return
        camera = camera_of(arrival.key)
        rhythm = self._rhythms.get(camera)
        if rhythm is None:
            rhythm = self._rhythms[camera] = CameraRhythm(camera)
        rhythm.note(arrival, now_s)
        self.board.end((AlertKind.NO_FRAMES, camera), arrival.arrived_unix_s, "frames come again")
        mtime_s = arrival.mtime_ns * 1e-9
        if abs(arrival.arrived_unix_s - mtime_s) < PROMPT_S:
            # The time of a file of several frames is that of the last one.
            mtime_ns, former_id = self._newest_of_file.get(arrival.key, (-1, 0))
            if mtime_ns == arrival.mtime_ns:
                self._mtimes_s.pop(former_id, None)
            self._newest_of_file[arrival.key] = (arrival.mtime_ns, frame_id)
            self._mtimes_s[frame_id] = mtime_s

    def note_outcomes(self, outcomes: Sequence[FrameMeasured | FrameRejected], now_s: float, unix_s: float) -> None:
        """Judge frames that were committed now."""
        for outcome in outcomes:
            if isinstance(outcome, FrameMeasured):
                self._take_measured(outcome, now_s, unix_s)
            else:
                self._mtimes_s.pop(outcome.frame_id, None)
                self._take_rejected(outcome, Moment(unix_s, now_s))

    def learn(self, outcomes: Iterable[FrameMeasured | FrameRejected]) -> None:
        """Learn what is usual from frames of an earlier run."""
        for outcome in outcomes:
            if isinstance(outcome, FrameMeasured):
                self._checks(outcome.key).learn(outcome)

    def change_stars(self, stars: Mapping[str, tuple[Star, ...]], unix_s: float) -> None:
        """Watch the target and the comparison stars of each key."""
        for key in {*stars, *self._keys}:
            self._checks(key).change_stars(stars.get(key, ()), unix_s)

    def tick(self, status: NightStatus, now_s: float, rooms: Iterable[DiskRoom] = ()) -> None:
        """Judge what changes without frames; a few times a second at most."""
        moment = Moment(status.unix_s, now_s)
        was_held_up = now_s - self._ticked_s > _HELD_UP_S
        self._ticked_s = now_s
        if self._live:
            # While the night waited for its disk frames came all the same: they are taken before the next look.
            for rhythm in () if was_held_up else self._rhythms.values():
                rhythm.judge(self.board, self._settings, moment)
            self._judge_queue(status.n_queued + status.n_in_work, moment)
        self._judge_restarts(status.n_worker_restarts, moment)
        for room in rooms:
            self._judge_disk(room, moment)
        self._end_unobserved(moment)

    def finish(self, unix_s: float) -> None:
        """End all alerts: the night is stopped."""
        for alert in self.board.open_alerts():
            self.board.end((alert.kind, alert.subject), unix_s, _STOPPED)

    def _checks(self, key: str) -> KeyChecks:
        checks = self._keys.get(key)
        if checks is None:
            checks = self._keys[key] = KeyChecks(key, self._settings, self.board)
        return checks

    def _take_measured(self, frame: FrameMeasured, now_s: float, unix_s: float) -> None:
        key = frame.key
        self._checks(key).take(frame, unix_s)
        self._seen_s[key] = now_s
        mtime_s = self._mtimes_s.pop(frame.frame_id, None)
        if mtime_s is not None:
            clock = self._clocks.get(key)
            if clock is None:
                clock = self._clocks[key] = ClockCheck(key)
            moment = Moment(unix_s, 86400.0 * frame.time_mjd_utc, frame.time_mjd_utc)
            clock.take(frame, mtime_s, board=self.board, settings=self._settings, moment=moment)
        self._measured_after_rejected(key, Moment(unix_s, now_s), _MEASURED_AGAIN)
        self._n_since_keyless += 1
        if self._n_since_keyless % _KEYLESS_GOOD == 0:
            self._measured_after_rejected(_UNKNOWN_KEY, Moment(unix_s, now_s), AT_ONCE)

    def _measured_after_rejected(self, key: str, moment: Moment, patience: Patience) -> None:
        about = (AlertKind.REJECTED, key)
        if self.board.is_under_watch(about):
            self.board.look(
                about, Verdict.GOOD, moment, say=_nothing, patience=(AT_ONCE, patience), over="frames are measured"
            )

    def _take_rejected(self, frame: FrameRejected, moment: Moment) -> None:
        if frame.reason is Reason.NOT_SCIENCE:
            return
        key, n = frame.key or _UNKNOWN_KEY, self._settings.rejected_frames
        if frame.key is None:
            self._n_since_keyless = 0
        else:
            self._seen_s[key] = moment.time_s

        def say() -> Reading:
            which = f"of {key}" if key else "whose key cannot be read"
            return Reading(f"{n} frames {which} in a row (threshold {n}), the last: {frame.sentence}", n, n)

        self.board.look(
            (AlertKind.REJECTED, key), Verdict.BAD, moment, say=say, patience=(Patience(n), _MEASURED_AGAIN)
        )

    def _judge_queue(self, n_queued: int, moment: Moment) -> None:
        queue, least = self._queue, self._settings.queued_frames
        queue.append((moment.time_s, n_queued))
        while queue[0][0] < moment.time_s - _QUEUE_S:
            queue.popleft()
        third = max(len(queue) // 3, 1)
        counts = [n for _time, n in queue]
        first, middle, last = (sum(part) / third for part in (counts[:third], counts[third:-third], counts[-third:]))
        is_full = queue[-1][0] - queue[0][0] >= 0.8 * _QUEUE_S
        # A thousand files at once are a queue that shrinks.
        grows = is_full and first + 0.1 * least < middle < last - 0.1 * least and n_queued >= last
        verdict = Verdict.BAD if grows and n_queued >= least else Verdict.BETWEEN
        if n_queued < 0.5 * least or (is_full and last < first):
            verdict = Verdict.GOOD

        def say() -> Reading:
            sentence = (
                f"{n_queued} frames wait, {n_queued - counts[0]} more than half a minute ago (threshold {least}): they "
                "come faster than they are measured"
            )
            return Reading(sentence, n_queued, least)

        self.board.look((AlertKind.QUEUE, ""), verdict, moment, say=say, over="it is short or becomes shorter")

    def _judge_restarts(self, n_restarts: int, moment: Moment) -> None:
        self._restarts.extend([moment.time_s] * max(n_restarts - self._n_restarts, 0))
        self._n_restarts = n_restarts
        while self._restarts and self._restarts[0] < moment.time_s - _RESTARTS_S:
            self._restarts.popleft()
        n, least = len(self._restarts), self._settings.restarts

        def say() -> Reading:
            times = "time" if n == 1 else "times"
            sentence = f"workers died and were started again {n} {times} in five minutes (threshold {least})"
            return Reading(sentence, n, least)

        verdict = Verdict.BAD if n >= least else Verdict.BETWEEN if n else Verdict.GOOD
        self.board.look((AlertKind.WORKERS, ""), verdict, moment, say=say, over="none for five minutes")

    def _judge_disk(self, room: DiskRoom, moment: Moment) -> None:
        least_bytes, least_s = 1e9 * self._settings.disk_free_gb, 60.0 * self._settings.disk_left_min
        is_low, is_brief = room.free_bytes < least_bytes, room.lasts_s < least_s

        def say() -> Reading:
            sentence = f"{room.free_bytes / 1e9:.1f} GB are free in {room.folder}"
            if not is_low:
                sentence += f", full in {room.lasts_s / 60.0:.0f} min at this rate"
                return Reading(f"{sentence} (threshold {least_s / 60.0:g} min)", room.lasts_s, least_s)
            return Reading(f"{sentence} (threshold {least_bytes / 1e9:g} GB)", room.free_bytes, least_bytes)

        has_room = room.free_bytes > 1.2 * least_bytes and room.lasts_s > 1.5 * least_s
        verdict = Verdict.GOOD if has_room else Verdict.BAD if is_low or is_brief else Verdict.BETWEEN
        about = (AlertKind.DISK, room.folder)
        self.board.look(about, verdict, moment, say=say, patience=_DISK_LASTS, over="there is room again")

    def _end_unobserved(self, moment: Moment) -> None:
        """End what is said of a key whose camera has gone on to another filter: nothing would ever end it."""
        for alert in self.board.open_alerts():
            key = alert.subject.partition("#")[0]
            if alert.kind not in FRAME_KINDS or not key:
                continue
            seen_s = self._seen_s.setdefault(key, moment.time_s)
            others_s = (at for other, at in self._seen_s.items() if camera_of(other) == camera_of(key))
            if max(others_s) - seen_s > _OBSERVED_NO_MORE_S:
                over = f"{key} was not observed for ten minutes, its camera was"
                self.board.end((alert.kind, alert.subject), moment.unix_s, over)


def camera_of(key: str) -> str:
    """Camera of a key: what stands before the colon."""
    return key.partition(":")[0]


def _nothing() -> Reading:
    return Reading("")
