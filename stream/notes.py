"""What observers pin to a time of the night, as "clouds" or "refocus": kept in ``notes.toml``, said in every export."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import numpy as np
import tomli_w

from stream.atomic_files import write_atomically
from stream.errors import ConfigurationError
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY
from stream.toml_text import parse_toml

NOTES_FILE = "notes.toml"
LONGEST_NOTE = 200
MOST_NOTES = 1000
_LATEST_MJD = 1e6  # beyond the year 4500: farther than any page or table can show


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A few words at a time."""

    time_mjd_utc: float
    """Days."""
    text: str
    written_unix_s: float = 0.0
    """When it was written."""


class _Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the file."""

    note: tuple[Note, ...] = ()


def load_notes(out: Path) -> tuple[Note, ...]:
    """Read the notes of the night in `out`, in order of time; an absent file holds none.

    Raises
    ------
    ConfigurationError
        If the file cannot be read or does not hold notes.
    """
    path = out / NOTES_FILE
    try:
        content = msgspec.convert(parse_toml(path.read_text(encoding="utf-8")), _Notes)
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"notes {path} cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"notes {path}: {error}") from error
    if len(content.note) > MOST_NOTES:
        raise ConfigurationError(f"notes {path}: {len(content.note)} notes are there, {MOST_NOTES} at most are read")
    try:
        notes = [_checked(note) for note in content.note]
    except ConfigurationError as error:
        raise ConfigurationError(f"notes {path}: {error}") from error
    return tuple(sorted(notes, key=lambda note: note.time_mjd_utc))


def with_note(notes: tuple[Note, ...], note: Note) -> tuple[Note, ...]:
    """Add a note.

    Raises
    ------
    ConfigurationError
        If it has no words, too many or such that cannot be printed, no time, or there are a thousand notes already.
    """
    checked = _checked(note)
    if len(notes) >= MOST_NOTES:
        raise ConfigurationError(f"the night has {len(notes)} notes already: {MOST_NOTES} at most")
    return tuple(sorted((*notes, checked), key=lambda each: each.time_mjd_utc))


def _checked(note: Note) -> Note:
    """The note with single spaces; raises ConfigurationError if its words or its time are none."""
    text = " ".join(note.text.split())
    if not text or len(text) > LONGEST_NOTE or not text.isprintable():
        raise ConfigurationError(f"note {text[:40]!r}: 1 to {LONGEST_NOTE} printable characters are required")
    if not 0.0 <= note.time_mjd_utc <= _LATEST_MJD:
        raise ConfigurationError(f"time_mjd_utc ({note.time_mjd_utc}) of a note must be a finite number of days")
    return msgspec.structs.replace(note, text=text)


def save_notes(out: Path, notes: tuple[Note, ...]) -> None:
    """Replace the notes of the night in `out`, atomically."""
    write_atomically(out / NOTES_FILE, tomli_w.dumps(msgspec.to_builtins(_Notes(notes))))


def time_of_note(note: Note) -> str:
    """Time of a note in words, to the second."""
    seconds = round((note.time_mjd_utc - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY)
    return f"{np.datetime64(seconds, 's')}".replace("T", " ") + " UTC"
