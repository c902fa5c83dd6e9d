"""When frames come: how often those of a camera do, and whether the clock of their headers is that of their files."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from stream.alerts import AlertKind, AlertSettings
from stream.messages import FrameArrived, FrameMeasured
from stream.night.alert_board import AlertBoard, Moment, Patience, Reading, Verdict
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY

_LIVE_S = 300.0
_FEWEST_INTERVALS = 4
_INTERVALS = 50
_PAUSE_FACTOR = 1.5
_BACKLOG_PACE = 0.2

_CLOCK_FRAMES = 20
_CLOCK_EVERY = 5
PROMPT_S = 30.0
_ARCHIVED_S = 13.0 * 3600.0
_MOST_READOUT_S = 60.0
_JITTER_S, _DRIFT, _MOST_DRIFT_S = 0.5, 0.05, 1.5
_CLOCK_LASTS = (Patience(4, 60.0), Patience(2, 10.0))


@dataclass(slots=True)
class CameraRhythm:
    """How often frames of one camera come.

    Only files that were written while we watch count, and of those none that follows the one before in less than a
    fifth of the time between their exposures: a backlog, or a fast replay, whose end is no alert.
    """

    camera: str
    last_s: float = -math.inf
    _intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=_INTERVALS))
    _steps_s: deque[float] = field(default_factory=lambda: deque(maxlen=_INTERVALS))
    _last_mtime_ns: int = -1
    _last_mjd: float = math.nan

    def note(self, arrival: FrameArrived, now_s: float) -> None:
        """Take a frame that arrived now; several of one file count once."""
        is_live = abs(arrival.arrived_unix_s - arrival.mtime_ns * 1e-9) < _LIVE_S
        if not is_live or arrival.mtime_ns == self._last_mtime_ns:
            return
        step_s = math.nan
        if arrival.time_mjd_utc is not None:
            step_s = SECONDS_PER_DAY * abs(arrival.time_mjd_utc - self._last_mjd)
            self._last_mjd = arrival.time_mjd_utc
        interval_s = now_s - self.last_s
        self.last_s, self._last_mtime_ns = now_s, arrival.mtime_ns
        if math.isfinite(interval_s) and not interval_s < _BACKLOG_PACE * step_s:
            self._intervals_s.append(interval_s)
            if math.isfinite(step_s):
                self._steps_s.append(step_s)

    def cadence_s(self) -> float:
        """Median time between frames, that of their arrival or of their headers, whichever is longer; NaN for few."""
        if len(self._intervals_s) < _FEWEST_INTERVALS:
            return math.nan
        medians = [sorted(each)[len(each) // 2] for each in (self._intervals_s, self._steps_s) if each]
        return max(medians)

    def longest_silence_s(self, settings: AlertSettings) -> float:
        """Longest silence without an alert; NaN where the cadence is not known.

        Pauses belong to some rhythms (dithers, changes of the filter): half as long again as the second longest of
        the last fifty is no alert.
        """
        cadence_s = self.cadence_s()
        if math.isnan(cadence_s):
            return math.nan
        pause_s = sorted(self._intervals_s)[-2]
        return max(settings.silent_cadences * cadence_s, settings.silent_s, _PAUSE_FACTOR * pause_s)

    def judge(self, board: AlertBoard, settings: AlertSettings, moment: Moment) -> None:
        """Raise or end the alert of this camera."""
        limit_s, silent_s = self.longest_silence_s(settings), moment.time_s - self.last_s
        if math.isnan(limit_s):
            return

        def say() -> Reading:
            sentence = (
                f"no frame of camera {self.camera} for {silent_s:.0f} s, with one each {self.cadence_s():.2g} s before "
                f"(threshold {limit_s:.0f} s)"
            )
            return Reading(sentence, silent_s, limit_s)

        verdict = Verdict.BAD if silent_s > limit_s else Verdict.GOOD
        board.look((AlertKind.NO_FRAMES, self.camera), verdict, moment, say=say, over="frames come again")


@dataclass(slots=True)
class ClockCheck:
    """Compares the end of the exposures of one key, by their headers, with the times of their files.

    A file may be written later than its exposure ended, by the readout (at most what the cadence leaves for it) and
    by a slow transfer now and then; never earlier. Archived and replayed nights, and backlogs that are still being
    written, are told by times that are half a day apart, or that drift apart: a clock that is off stays off by as much.
    """

    key: str
    _late_s: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_CLOCK_FRAMES))
    _n: int = 0
    _held: tuple[float, float] = (math.nan, math.nan)

    def take(
        self, frame: FrameMeasured, mtime_unix_s: float, *, board: AlertBoard, settings: AlertSettings, moment: Moment
    ) -> None:
        """Take a measured frame whose file was found as soon as it was written."""
        end_unix_s = (frame.time_mjd_utc - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY + 0.5 * frame.exposure_s
        self._late_s.append((end_unix_s, mtime_unix_s - end_unix_s))
        self._n += 1
        if len(self._late_s) == _CLOCK_FRAMES and self._n % _CLOCK_EVERY == 0:
            self._judge(frame.exposure_s, board, settings, moment)

    def _judge(self, exposure_s: float, board: AlertBoard, settings: AlertSettings, moment: Moment) -> None:
        ends = [end for end, _late in self._late_s]
        late = sorted(late for _end, late in self._late_s)
        span_s = max(ends) - min(ends)
        # Slow transfers make some files late: the earlier ones tell of the clock.
        soonest_s, latest_s = late[_CLOCK_FRAMES // 5], late[-1 - _CLOCK_FRAMES // 5]
        readout_s = min(max(span_s / (_CLOCK_FRAMES - 1) - exposure_s, 0.0), _MOST_READOUT_S)
        is_live = abs(soonest_s) < _ARCHIVED_S and latest_s - soonest_s <= _allowed_s(span_s)
        off_s = max(soonest_s - readout_s, -latest_s) if is_live else 0.0
        began_s, held_s = self._held
        is_held = is_live and abs(soonest_s - held_s) <= _allowed_s(max(ends) - began_s)
        if not is_held:
            self._held = (max(ends), soonest_s)

        def say() -> Reading:
            sign = "behind" if soonest_s > readout_s else "ahead of"
            sentence = (
                f"headers of {self.key} are {off_s:.1f} s {sign} the times of their files (threshold "
                f"{settings.clock_s:g} s): the clock of the camera, or which part of the exposure its time means"
            )
            return Reading(sentence, off_s, settings.clock_s)

        verdict = Verdict.BAD if is_held and off_s > settings.clock_s else Verdict.BETWEEN
        if off_s < 0.7 * settings.clock_s:
            verdict = Verdict.GOOD
        over = "they agree, or can no longer be compared"
        board.look((AlertKind.CLOCK, self.key), verdict, moment, say=say, patience=_CLOCK_LASTS, over=over)


def _allowed_s(span_s: float) -> float:
    """How far the lateness of files may wander within so many seconds and still be that of a steady clock."""
    return _JITTER_S + min(_DRIFT * abs(span_s), _MOST_DRIFT_S)
