"""The time of a frame: from what a camera writes to the middle of the exposure in UTC.

`HeaderClock` says what is written, ``docs/times.md`` which conventions there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stream.errors import FrameRejectedError, Reason
from stream.header_values import PLANE, Header, number_of, text_of
from stream.timestamps import SECONDS_PER_DAY, TimeScale, TimeStamp, parse_day_number, parse_time_stamp, utc_of

TimeMarks = Literal["start", "middle", "end"]
TimeFormat = Literal["iso", "mjd", "jd"]
PLANE_MARK = "#"

_MIDDLE = {"start": 0.5, "middle": 0.0, "end": -0.5}
_EARLIEST_MJD, _LATEST_MJD = 40000.0, 88068.0  # 1968-05-24 and 2100-01-01
_REQUIRED = {
    "iso": "a date with a time of day is required, as 2023-11-22T03:02:49.000",
    "mjd": "a modified Julian date is required, as 60270.126956",
    "jd": "a Julian date is required, as 2460270.626956",
}


@dataclass(frozen=True, slots=True)
class HeaderClock:
    """How the headers of an instrument tell the time; names of keywords are empty where there is none.

    Attributes
    ----------
    time, date : str
        Keywords of the time stamp, and of the date where that is the time of day alone.
    plane_time : str
        Keyword of the time stamp of a plane; ``#`` stands for the number of the plane from 1, ``###`` for three digits.
    plane_interval : str
        Keyword of the seconds from one plane of a cube to the next.
    plane_interval_s : float
        The same where no keyword says it; 0 for unknown.
    utc_offset_h : float
        Local time minus UTC of a time stamp without an offset of its own, hours.
    """

    time: str
    date: str = ""
    plane_time: str = ""
    plane_interval: str = ""
    plane_interval_s: float = 0.0
    marks: TimeMarks = "start"
    scale: TimeScale = "utc"
    format: TimeFormat = "iso"
    utc_offset_h: float = 0.0

    def read(self, header: Header, frame_name: str) -> TimeStamp:
        """Return the instant that the header marks, in UTC.

        For a plane of a cube it is that of the plane: its own time stamp, or the one of the cube, which is that of
        plane 0, and the interval as often as there are planes before it.

        Raises
        ------
        FrameRejectedError
            If a keyword is missing, the text is no time, or nothing tells the time of a plane.
        """
        plane = header.get(PLANE)
        if plane is None or not isinstance(plane, int):
            return self._stamp(header, self.time, frame_name)
        if self.plane_time:
            return self._stamp(header, plane_keyword(self.plane_time, plane), frame_name)
        first = self._stamp(header, self.time, frame_name)
        elapsed_s = plane * self._interval_s(header, frame_name)
        return TimeStamp(first.mjd_utc + elapsed_s / SECONDS_PER_DAY, first.resolution_s)

    def middle(self, stamp: TimeStamp, exposure_s: float) -> float:
        """Middle of the exposure, modified Julian date (UTC, days)."""
        return stamp.mjd_utc + _MIDDLE[self.marks] * exposure_s / SECONDS_PER_DAY

    def _stamp(self, header: Header, keyword: str, frame_name: str) -> TimeStamp:
        text = text_of(header, keyword, frame_name)
        try:
            if self.format == "iso":
                date = str(header.get(self.date, "")) or None
                stamp = parse_time_stamp(text, date, utc_offset_h=self.utc_offset_h)
            else:
                stamp = parse_day_number(text, self.format)
            stamp = utc_of(stamp, self.scale)
        except ValueError as error:
            raise FrameRejectedError(
                Reason.BAD_TIME, f"keyword {keyword} of {frame_name} is {text!r}: {_REQUIRED[self.format]}"
            ) from error
        if not _EARLIEST_MJD < stamp.mjd_utc < _LATEST_MJD:
            raise FrameRejectedError(
                Reason.BAD_TIME,
                f"keyword {keyword} of {frame_name} is {text!r}: a date between 1968 and 2100 is required",
            )
        return stamp

    def _interval_s(self, header: Header, frame_name: str) -> float:
        if self.plane_interval:
            value = number_of(header, self.plane_interval, frame_name)
            if not 0.0 < value <= SECONDS_PER_DAY:
                raise FrameRejectedError(
                    Reason.BAD_TIME,
                    f"keyword {self.plane_interval} of {frame_name} is {value}: "
                    "seconds from plane to plane, greater than 0 and at most 86400, are required",
                )
            return value
        if self.plane_interval_s <= 0.0:
            raise FrameRejectedError(
                Reason.BAD_TIME,
                f"{frame_name} is a plane of a cube and nothing tells its time: plane_interval_s, "
                "keywords.plane_interval or keywords.plane_time of the instrument is required",
            )
        return self.plane_interval_s


def plane_keyword(pattern: str, plane: int) -> str:
    """Keyword of a plane (counted from 0): the signs ``#`` of the pattern become its number from 1."""
    first = pattern.find(PLANE_MARK)
    last = pattern.rfind(PLANE_MARK) + 1
    return f"{pattern[:first]}{plane + 1:0{last - first}d}{pattern[last:]}"
