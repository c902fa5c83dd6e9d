"""What an alert is: its kinds, its words, and the thresholds that raise it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

import msgspec

from stream.errors import ConfigurationError
from stream.named_settings import named_settings


class AlertKind(StrEnum):
    """What an observer is told about while it lasts."""

    NO_FRAMES = "no_frames"
    REJECTED = "rejected"
    UNALIGNED = "unaligned"
    SATURATED = "saturated"
    EDGE = "edge"
    CLOUDS = "clouds"
    SEEING = "seeing"
    SKY = "sky"
    QUEUE = "queue"
    WORKERS = "workers"
    DISK = "disk"
    CLOCK = "clock"


TITLES: Mapping[AlertKind, str] = MappingProxyType(
    {
        AlertKind.NO_FRAMES: "no frames",
        AlertKind.REJECTED: "frames rejected",
        AlertKind.UNALIGNED: "alignment lost",
        AlertKind.SATURATED: "saturated",
        AlertKind.EDGE: "at the edge",
        AlertKind.CLOUDS: "clouds",
        AlertKind.SEEING: "seeing jumped",
        AlertKind.SKY: "sky jumped",
        AlertKind.QUEUE: "queue grows",
        AlertKind.WORKERS: "workers restarted",
        AlertKind.DISK: "disk nearly full",
        AlertKind.CLOCK: "clock off",
    }
)
"""Two words for each kind: it must be understood without its colour."""
_OF_THE_SKY = frozenset({AlertKind.CLOUDS, AlertKind.SEEING, AlertKind.SKY})
_SAME_SKY_S = 120.0


class Alert(msgspec.Struct, frozen=True):
    """Something that an observer should know of, from its start to its end."""

    number: int
    """Order within the night, from 1."""
    kind: AlertKind
    subject: str
    """Whom it is about: a camera ``1``, a key ``1:g``, a source ``1:g#2``, a folder; empty for the night as a whole."""
    sentence: str
    """What was measured, and the threshold that it crossed."""
    since_unix_s: float
    until_unix_s: float = math.nan
    """NaN as long as it lasts, and for ever where the night was killed meanwhile and not started again."""
    value: float = math.nan
    """What was measured when it began, in the unit of `threshold`; NaN where it is no number."""
    threshold: float = math.nan
    time_mjd_utc: float = math.nan
    """Middle of the exposure of the frame that it began with, days; NaN where no frame told of it."""
    ended: str = ""
    """Why it is over, in one sentence."""

    @property
    def is_open(self) -> bool:
        """Whether it lasts."""
        return math.isnan(self.until_unix_s)

    @property
    def title(self) -> str:
        """Kind and subject in a few words, as ``clouds 1:g``."""
        return f"{TITLES[self.kind]} {self.subject}".strip()

    def line(self, now_unix_s: float) -> str:
        """One line for people, with its age or its length."""
        begun = time.strftime("%H:%M:%S", time.gmtime(self.since_unix_s))
        if self.is_open:
            return f"{self.title} since {begun} UTC ({_length(now_unix_s - self.since_unix_s)}): {self.sentence}"
        ended = time.strftime("%H:%M:%S", time.gmtime(self.until_unix_s))
        words = f"; {self.ended}" if self.ended else ""
        return f"{self.title} from {begun} to {ended} UTC: {self.sentence}{words}"


def gathered(alerts: Sequence[Alert]) -> list[Alert]:
    """Open alerts as people are shown them: one cloud, and not one for each key that it is seen in.

    Clouds, seeing and sky of several keys that began within two minutes are one, which bears all keys as its subject
    and otherwise is the first of them. Nothing else is joined; the order is that of `alerts`.
    """
    shown: list[Alert] = []
    for alert in alerts:
        if not alert.is_open:
            continue
        place = next((at for at, other in enumerate(shown) if _is_same_sky(alert, other)), None)
        if place is None:
            shown.append(alert)
            continue
        first, second = sorted((alert, shown[place]), key=lambda each: each.number)
        subjects = ", ".join(sorted({*first.subject.split(", "), *second.subject.split(", ")}))
        shown[place] = msgspec.structs.replace(first, subject=subjects)
    return shown


def _is_same_sky(alert: Alert, other: Alert) -> bool:
    is_near = abs(alert.since_unix_s - other.since_unix_s) <= _SAME_SKY_S
    return alert.kind in _OF_THE_SKY and alert.kind is other.kind and is_near


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds of the alerts. They decide no measurement, so they are no part of the recipe.

    Raises
    ------
    ConfigurationError
        If a threshold is out of bounds.
    """

    silent_cadences: float = 3.0
    """No frame of a camera for so many times its cadence."""
    silent_s: float = 5.0
    """But no shorter silence, seconds: folders that are polled are searched every two."""
    rejected_frames: int = 5
    """So many frames of a key rejected in a row."""
    unaligned_frames: int = 3
    """So many frames of a key without alignment in a row."""
    flagged_frames: int = 3
    """So many of the last ten frames on which the target or a comparison star is saturated, or at the edge."""
    clouds_fraction: float = 0.8
    """Transparency below this fraction of that of the last 40 minutes."""
    seeing_factor: float = 1.5
    """FWHM of the stars above so many times that of the last 15 minutes."""
    sky_factor: float = 1.5
    """Sky above so many times that of the last 15 minutes, and by at least 5 electrons a pixel."""
    queued_frames: int = 50
    """A queue of at least so many frames that grows for half a minute."""
    restarts: int = 1
    """So many workers started again within five minutes."""
    disk_free_gb: float = 2.0
    """Less room than this on the disk of the frames or of the outputs, 1e9 bytes."""
    disk_left_min: float = 20.0
    """Or full within so many minutes at the rate of the last ten."""
    clock_s: float = 1.0
    """Times of headers and files apart by more than this, seconds, readout allowed for."""

    def __post_init__(self) -> None:
        """Refuse thresholds that would always or never be crossed."""
        limits = {
            "clouds_fraction": (0.05, 0.95),
            "seeing_factor": (1.05, 100.0),
            "sky_factor": (1.05, 100.0),
            "flagged_frames": (1, 10),
            "silent_cadences": (1.5, 1e6),
        }
        for name in self.__struct_fields__:
            low, high = limits.get(name, (0 if name.startswith("disk") else 0.1, 1e9))
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigurationError(f"alert threshold {name} ({value}) must be from {low:g} to {high:g}")


def alert_settings(texts: Sequence[str]) -> AlertSettings:
    """Thresholds from texts like ``clouds_fraction=0.7``; those that are not named keep their defaults.

    Raises
    ------
    ConfigurationError
        If a text is no assignment, or names a threshold or a value that cannot be.
    """
    return named_settings(AlertSettings, texts, "alert threshold")


def _length(duration_s: float) -> str:
    if duration_s < 120.0:
        return f"{max(duration_s, 0.0):.0f} s"
    return f"{duration_s / 60.0:.0f} min" if duration_s < 7200.0 else f"{duration_s / 3600.0:.1f} h"
