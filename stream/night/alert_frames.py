"""What the measured frames of one key tell: alignment, clouds, seeing, sky, and the stars that matter.

Pure, and cheap enough for every frame of a fast camera: nothing here grows with the night.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from stream.alerts import AlertKind, AlertSettings
from stream.flags import Flag
from stream.messages import FrameMeasured, source_columns
from stream.night.alert_board import AlertBoard, Moment, Patience, Reading, Subject, Verdict
from stream.night.alert_levels import UsualLevel

_COLUMNS = source_columns(())
_X, _Y, _PEAK, _FLAGS = (_COLUMNS.index(name) for name in ("x", "y", "peak_adu", "flags"))
_UNALIGNED = int(Flag.UNALIGNED)
_MARKS = {AlertKind.SATURATED: int(Flag.SATURATED), AlertKind.EDGE: int(Flag.NEAR_EDGE | Flag.OFF_FRAME)}
_HISTORY_FRAMES = 10
_HISTORY = (1 << _HISTORY_FRAMES) - 1

_CLOUDS_WINDOW_S, _JUMP_WINDOW_S = 2400.0, 900.0
_CLEAR_QUANTILE = 0.75
_LEAST_SKY_E = 5.0
# A star that sets to airmass 2 loses less in an hour; what stays lower for longer is the usual by then.
_SAG_PER_HOUR, _MOST_SAG = 0.15, 0.7
_LASTS = (Patience(3, 10.0), Patience(5, 20.0))
_MARKS_LAST = (Patience(), Patience(_HISTORY_FRAMES, 30.0))
_FOUND_AGAIN = Patience(3)

FRAME_KINDS = frozenset(
    {
        AlertKind.REJECTED,
        AlertKind.UNALIGNED,
        AlertKind.SATURATED,
        AlertKind.EDGE,
        AlertKind.CLOUDS,
        AlertKind.SEEING,
        AlertKind.SKY,
        AlertKind.CLOCK,
    }
)
"""Kinds whose subject is a key, or a source of it."""


class Star(NamedTuple):
    """A source of a key that light curves rest on."""

    number: int
    is_target: bool


class _Marks:
    """On which of the last ten frames a star was flagged, for one kind of alert."""

    __slots__ = ("about", "history", "mask", "star")

    def __init__(self, key: str, star: Star, kind: AlertKind) -> None:
        self.star, self.mask = star, _MARKS[kind]
        self.about: Subject = (kind, f"{key}#{star.number}")
        self.history = 0


class KeyChecks:
    """The checks of one key; alerts go to the board."""

    def __init__(self, key: str, settings: AlertSettings, board: AlertBoard) -> None:
        self._key, self._settings, self._board = key, settings, board
        self._transparency = UsualLevel(_CLOUDS_WINDOW_S, _CLEAR_QUANTILE)
        self._fwhm_px = UsualLevel(_JUMP_WINDOW_S)
        self._sky_e_per_s = UsualLevel(_JUMP_WINDOW_S)
        self._marks: list[_Marks] = []
        self._clouds: Subject = (AlertKind.CLOUDS, key)
        self._seeing: Subject = (AlertKind.SEEING, key)
        self._sky: Subject = (AlertKind.SKY, key)
        self._alignment: Subject = (AlertKind.UNALIGNED, key)
        self._unaligned_lasts = (Patience(settings.unaligned_frames, 3.0, 50), _FOUND_AGAIN)

    def change_stars(self, stars: tuple[Star, ...], unix_s: float) -> None:
        """Watch these stars; alerts about others end."""
        known = {(each.star, each.about): each for each in self._marks}
        fresh = [_Marks(self._key, star, kind) for star in stars for kind in _MARKS]
        self._marks = [known.get((each.star, each.about), each) for each in fresh]
        wanted = {each.about for each in self._marks}
        for alert in self._board.open_alerts():
            about = (alert.kind, alert.subject)
            if alert.kind in _MARKS and alert.subject.startswith(f"{self._key}#") and about not in wanted:
                self._board.end(about, unix_s, "it is neither target nor comparison star any more")

    def learn(self, frame: FrameMeasured) -> None:
        """Let the usual levels follow a frame of an earlier run, without judging it."""
        if not frame.flags & _UNALIGNED:
            if math.isfinite(frame.transparency) and self._board.get(self._clouds) is None:
                self._transparency.learn(frame.transparency, _seconds(frame))
            if math.isfinite(frame.fwhm_px):
                self._fwhm_px.learn(frame.fwhm_px, _seconds(frame))
            if math.isfinite(frame.sky_e_per_px) and frame.exposure_s > 0.0:
                self._sky_e_per_s.learn(frame.sky_e_per_px / frame.exposure_s, _seconds(frame))

    def take(self, frame: FrameMeasured, unix_s: float) -> None:
        """Judge a frame that was committed now."""
        moment = Moment(unix_s, _seconds(frame), frame.time_mjd_utc)
        unaligned = bool(frame.flags & _UNALIGNED)
        self._board.look(
            self._alignment,
            Verdict.BAD if unaligned else Verdict.GOOD,
            moment,
            say=self._say_unaligned,
            patience=self._unaligned_lasts,
            over="frames are aligned again",
        )
        if unaligned:
            return
        if math.isfinite(frame.transparency):
            self._judge_transparency(frame.transparency, moment)
        if math.isfinite(frame.fwhm_px):
            self._judge_fwhm(frame.fwhm_px, moment)
        if math.isfinite(frame.sky_e_per_px) and frame.exposure_s > 0.0:
            self._judge_sky(frame.sky_e_per_px / frame.exposure_s, _LEAST_SKY_E / frame.exposure_s, moment)
        if self._marks:
            self._judge_stars(frame, moment)

    def _say_unaligned(self) -> Reading:
        n = self._settings.unaligned_frames
        return Reading(f"{n} frames of {self._key} in a row could not be aligned (threshold {n})", n, n)

    def _judge_transparency(self, value: float, moment: Moment) -> None:
        level, fraction = self._transparency, self._settings.clouds_fraction
        smoothed = level.smooth(value)
        alert = self._board.get(self._clouds)
        if alert is None:
            usual = level.usual
            level.learn(value, moment.time_s)
        else:
            hours = 24.0 * abs(moment.mjd - alert.time_mjd_utc)
            usual = alert.threshold / fraction * (1.0 - min(_SAG_PER_HOUR * hours, _MOST_SAG))
        if math.isnan(smoothed) or math.isnan(usual):
            return

        def say() -> Reading:
            sentence = (
                f"transparency of {self._key} {smoothed:.2f}, {100.0 * (1.0 - smoothed / usual):.0f} % below the "
                f"{usual:.2f} of the last 40 minutes (threshold {100.0 * (1.0 - fraction):.0f} %)"
            )
            return Reading(sentence, smoothed, fraction * usual)

        verdict = _verdict(usual - smoothed, (1.0 - fraction) * usual)
        if self._board.look(self._clouds, verdict, moment, say=say, patience=_LASTS, over="the light is back"):
            level.begin_again(smoothed)

    def _judge_fwhm(self, value: float, moment: Moment) -> None:
        level, factor = self._fwhm_px, self._settings.seeing_factor
        smoothed, usual = level.smooth(value), level.usual
        level.learn(value, moment.time_s)
        if math.isnan(smoothed) or math.isnan(usual):
            return

        def say() -> Reading:
            sentence = (
                f"stars of {self._key} are {smoothed:.1f} px wide (FWHM), {smoothed / usual:.1f} times the "
                f"{usual:.1f} px of the last 15 minutes (threshold {factor:g} times)"
            )
            return Reading(sentence, smoothed, factor * usual)

        verdict = _verdict(smoothed - usual, (factor - 1.0) * usual)
        over = "it is near what was usual lately"
        self._board.look(self._seeing, verdict, moment, say=say, patience=_LASTS, over=over)

    def _judge_sky(self, value: float, least: float, moment: Moment) -> None:
        level, factor = self._sky_e_per_s, self._settings.sky_factor
        smoothed, usual = level.smooth(value), level.usual
        level.learn(value, moment.time_s)
        if math.isnan(smoothed) or math.isnan(usual):
            return
        limit = max((factor - 1.0) * abs(usual), least)

        def say() -> Reading:
            sentence = (
                f"sky of {self._key} {smoothed:.0f} electrons a second and pixel, where the last 15 minutes had "
                f"{usual:.0f} (threshold {usual + limit:.0f})"
            )
            return Reading(sentence, smoothed, usual + limit)

        verdict = _verdict(smoothed - usual, limit)
        over = "it is near what was usual lately"
        self._board.look(self._sky, verdict, moment, say=say, patience=_LASTS, over=over)

    def _judge_stars(self, frame: FrameMeasured, moment: Moment) -> None:
        table = memoryview(frame.sources).cast("d")
        n_sources = len(table) // (len(_COLUMNS) + 2 * len(frame.labels))
        for marks in self._marks:
            index = marks.star.number - 1
            flags = int(table[_FLAGS * n_sources + index]) if index < n_sources else 0
            marks.history = (marks.history << 1 | bool(flags & marks.mask)) & _HISTORY
            if marks.history or self._board.get(marks.about) is not None:
                place = (table[_X * n_sources + index], table[_Y * n_sources + index], table[_PEAK * n_sources + index])
                self._judge_marks(marks, place, moment)

    def _judge_marks(self, marks: _Marks, place: tuple[float, float, float], moment: Moment) -> None:
        n, threshold = marks.history.bit_count(), self._settings.flagged_frames

        def say() -> Reading:
            role = "target" if marks.star.is_target else "comparison star"
            what = (
                f"is saturated (peak {place[2]:.0f} counts)"
                if marks.about[0] is AlertKind.SATURATED
                else f"is at the edge of the frame or beyond (x {place[0]:.0f}, y {place[1]:.0f})"
            )
            sentence = (
                f"the {role}, source {marks.star.number} of {self._key}, {what} on {n} of the last {_HISTORY_FRAMES} "
                f"frames (threshold {threshold})"
            )
            return Reading(sentence, n, threshold)

        verdict = Verdict.BAD if n >= threshold else Verdict.BETWEEN if n else Verdict.GOOD
        over = "not on any of the last ten frames and for half a minute"
        self._board.look(marks.about, verdict, moment, say=say, patience=_MARKS_LAST, over=over)


def _verdict(excess: float, limit: float) -> Verdict:
    """Bad beyond the limit, good within half of it."""
    if excess > limit:
        return Verdict.BAD
    return Verdict.GOOD if excess < 0.5 * limit else Verdict.BETWEEN


def _seconds(frame: FrameMeasured) -> float:
    return 86400.0 * frame.time_mjd_utc
