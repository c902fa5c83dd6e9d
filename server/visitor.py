"""Who looks at the page, and what they may do: everybody let in watches, changing is for the control role."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from server import selecting
from server.choosing import Chooser
from server.feed import Feed
from server.night_view import NightView
from stream.errors import ConfigurationError
from stream.messages import Selection
from stream.notes import Note

WATCHING = (
    "this page only watches: target, comparison stars and notes are changed by whoever opened it by the control address"
)


class Role(StrEnum):
    """What somebody may do who was let in."""

    WATCH = "watch"
    CONTROL = "control"

    def covers(self, other: Role) -> bool:
        """Whether this role may do all that another one may."""
        return self is Role.CONTROL or other is Role.WATCH


class WatchOnly(Chooser):
    """In the place of the feed for those who only watch: every change is refused with a sentence, nothing is written.

    Parameters
    ----------
    feed : Feed
    """

    may_change = False

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed.out)
        self._feed = feed

    @property
    def view(self) -> NightView:
        """The newest snapshot of the night."""
        return self._feed.view

    def _changed(self) -> None:
        """There is nothing to look at: nothing was changed."""

    def _change(self, change: Callable[[Selection, NightView], selecting.Change]) -> tuple[str, ...]:
        return (WATCHING,)

    def _change_notes(self, change: Callable[[tuple[Note, ...]], tuple[Note, ...]]) -> None:
        raise ConfigurationError(WATCHING)


@dataclass(frozen=True, slots=True)
class Visitor:
    """One browser's side of a night: what is read, and the hand that changes it or refuses to."""

    feed: Feed
    chooser: Chooser


def visitor_of(feed: Feed, role: Role) -> Visitor:
    """What somebody of this role gets of a night."""
    return Visitor(feed, feed if role is Role.CONTROL else WatchOnly(feed))
