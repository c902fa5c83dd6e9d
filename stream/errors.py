"""Errors, in three kinds by what has to happen next.

OpticamLiveError
├── FrameRejectedError     this frame is rejected, the night goes on
├── AnalysisError          these light curves cannot be analysed; the measurements stand
├── TryAgainError          nothing is wrong yet: the same call may succeed later
│   └── FrameIncompleteError   the file is still being written
└── NightError             the night cannot go on until somebody changes something
    ├── ConfigurationError     an instrument, a recipe or an option is wrong
    ├── RecipeMismatchError    the output folder belongs to another recipe
    └── LedgerError            the ledger cannot be used
        └── LedgerBusyError        it cannot be written now: the disk is full, or another program holds it

Every text names what was wrong, the value received and what is required, in one sentence.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a frame was rejected; the machine-readable half of the sentence that goes with it."""

    NOT_FITS = "NOT_FITS"
    EMPTY = "EMPTY"
    TRUNCATED = "TRUNCATED"
    UNREADABLE = "UNREADABLE"
    WRONG_SHAPE = "WRONG_SHAPE"
    BAD_KEYWORD = "BAD_KEYWORD"
    BAD_TIME = "BAD_TIME"
    BAD_POINTING = "BAD_POINTING"
    NON_FINITE = "NON_FINITE"
    NOT_SCIENCE = "NOT_SCIENCE"
    NO_STARS = "NO_STARS"
    DISAPPEARED = "DISAPPEARED"
    CRASHED_WORKER = "CRASHED_WORKER"
    OWN_PART_FAILED = "OWN_PART_FAILED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class OpticamLiveError(Exception):
    """Base of every error that opticam-live raises on purpose."""


class FrameRejectedError(OpticamLiveError):
    """This frame cannot be measured; the night goes on without it."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


class AnalysisError(OpticamLiveError):
    """What was asked of light curves cannot be computed from them; the measurements stand and the night goes on."""


class TryAgainError(OpticamLiveError):
    """Nothing is wrong yet: the same call may succeed later."""


class FrameIncompleteError(TryAgainError):
    """The file holds fewer bytes than its header promises: it is still being written."""


class NightError(OpticamLiveError):
    """The night cannot go on until somebody changes something."""


class ConfigurationError(NightError):
    """An instrument, a recipe or an option is wrong."""


class RecipeMismatchError(NightError):
    """The output folder belongs to a night with another recipe."""


class LedgerError(NightError):
    """The ledger cannot be opened, read or written."""


class LedgerBusyError(LedgerError):
    """The ledger cannot be written now, as the disk is full or another program holds it; nothing was written."""
