"""The alerts that are open, and how long something must last before one is raised or ended.

Pure: it reads no clock. What is raised at one threshold ends at another that is farther away, and neither happens
before the verdict has held for a while, so that an alert does not flap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

import msgspec

from stream.alerts import Alert, AlertKind

Subject = tuple[AlertKind, str]


class Verdict(Enum):
    """What one look says; between the two thresholds it says nothing."""

    BAD = auto()
    BETWEEN = auto()
    GOOD = auto()


class Moment(NamedTuple):
    """When a look was taken."""

    unix_s: float
    time_s: float
    """On the clock that the patience is counted in: that of the frames, or of the night process."""
    mjd: float = math.nan
    """Of the frame; NaN where none was looked at."""


class Reading(NamedTuple):
    """What was found when an alert was raised."""

    sentence: str
    value: float = math.nan
    threshold: float = math.nan


@dataclass(frozen=True, slots=True)
class Patience:
    """So many looks in a row that span so many seconds; without the span, where there are very many of them.

    Times may stand still or go back: what was good for `many` looks is good.
    """

    looks: int = 1
    span_s: float = 0.0
    many: int = 300


AT_ONCE = Patience()


@dataclass(slots=True)
class _Run:
    """Equal verdicts in a row."""

    verdict: Verdict = Verdict.BETWEEN
    n: int = 0
    first_s: float = math.inf
    last_s: float = -math.inf

    def add(self, verdict: Verdict, time_s: float) -> None:
        if verdict is not self.verdict:
            self.verdict, self.n, self.first_s, self.last_s = verdict, 0, math.inf, -math.inf
        self.n += 1
        self.first_s, self.last_s = min(self.first_s, time_s), max(self.last_s, time_s)

    def is_enough(self, patience: Patience) -> bool:
        return self.n >= patience.looks and (self.last_s - self.first_s >= patience.span_s or self.n >= patience.many)


@dataclass(slots=True)
class AlertBoard:
    """What is open, and what has changed since somebody asked.

    Parameters
    ----------
    last_number : int
        Number of the newest alert of earlier runs of the night.
    """

    last_number: int = 0
    _open: dict[Subject, Alert] = field(default_factory=dict)
    _runs: dict[Subject, _Run] = field(default_factory=dict)
    _changed: list[Alert] = field(default_factory=list)

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Take up open alerts of an earlier run; each ends as if it had been raised in this one."""
        for alert in alerts:
            self._open[(alert.kind, alert.subject)] = alert
            self.last_number = max(self.last_number, alert.number)

    def open_alerts(self) -> tuple[Alert, ...]:
        """Alerts that last, oldest first."""
        return tuple(sorted(self._open.values(), key=lambda alert: alert.number))

    def get(self, about: Subject) -> Alert | None:
        """The open alert of a kind about a subject."""
        return self._open.get(about)

    def is_under_watch(self, about: Subject) -> bool:
        """Whether anything was ever said of it since its last alert ended."""
        return about in self._runs or about in self._open

    def take_changes(self) -> list[Alert]:
        """Alerts that were raised or ended since the last call, in order."""
        changed, self._changed = self._changed, []
        return changed

    def look(
        self,
        about: Subject,
        verdict: Verdict,
        moment: Moment,
        *,
        say: Callable[[], Reading],
        patience: tuple[Patience, Patience] = (AT_ONCE, AT_ONCE),
        over: str = "",
    ) -> bool:
        """Take one verdict; returns whether the alert ended with it.

        Parameters
        ----------
        say : callable
            Makes the sentence, only when the alert is raised.
        patience : tuple of Patience
            Before it is raised, and before it ends.
        over : str
            Why it ended, if it ends.
        """
        run = self._runs.get(about)
        is_open = about in self._open
        if verdict is Verdict.GOOD and not is_open and (run is None or run.verdict is verdict):
            return False  # nearly every look of nearly every night
        if run is None:
            run = self._runs[about] = _Run()
        run.add(verdict, moment.time_s)
        if verdict is Verdict.BAD and not is_open and run.is_enough(patience[0]):
            self._raise(about, say(), moment)
        elif verdict is Verdict.GOOD and is_open and run.is_enough(patience[1]):
            self.end(about, moment.unix_s, over)
            return True
        return False

    def end(self, about: Subject, unix_s: float, over: str) -> None:
        """End an alert, if it is open."""
        self._runs.pop(about, None)
        alert = self._open.pop(about, None)
        if alert is not None:
            # A clock that was set back must not make an alert end before it began.
            ended = msgspec.structs.replace(alert, until_unix_s=max(unix_s, alert.since_unix_s), ended=over)
            self._changed.append(ended)

    def _raise(self, about: Subject, reading: Reading, moment: Moment) -> None:
        self.last_number += 1
        alert = Alert(
            number=self.last_number,
            kind=about[0],
            subject=about[1],
            sentence=reading.sentence,
            since_unix_s=moment.unix_s,
            value=reading.value,
            threshold=reading.threshold,
            time_mjd_utc=moment.mjd,
        )
        self._open[about] = alert
        self._changed.append(alert)
