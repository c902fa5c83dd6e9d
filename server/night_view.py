"""What the page shows of a night at one moment: snapshots that never change, made once by the feed, read by all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.curve_views import CurveView
from server.looks import Look
from stream.alerts import Alert
from stream.analysis.choice import KeyChoice
from stream.messages import Catalog, FloatArray, NightStatus
from stream.notes import Note


@dataclass(frozen=True, slots=True)
class KeyView:
    """All that the page knows of one key."""

    key: str
    catalog: Catalog
    choice: KeyChoice | None
    positions: FloatArray
    """Where the sources were on the latest frame, shape (n_sources, 2), pixels; NaN off the frame."""
    n_frames: int
    sentence: str = ""
    """Why there is no light curve."""


@dataclass(frozen=True, slots=True)
class NightView:
    """A snapshot of the night."""

    name: str
    version: int = 0
    keys: Mapping[str, KeyView] = field(default_factory=dict)
    curves: Mapping[Look, Mapping[str, CurveView]] = field(default_factory=dict)
    """By look and key."""
    status: NightStatus | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    """File and sentence of the newest rejected frames, newest first."""
    n_rejected: int = 0
    alerts: tuple[Alert, ...] = ()
    """Newest first, those of the past included."""
    notices: tuple[str, ...] = ()
    label: str = ""
    """The photometer that is shown unless a look asks for another."""
    labels: tuple[str, ...] = ()
    """All photometers of the night."""
    notes: tuple[Note, ...] = ()
    ensembles: tuple[str, ...] = ()
    """Names of saved comparison stars."""
    is_being_read: bool = False
    """Whether the night so far is still being read: then there is nothing else here."""
