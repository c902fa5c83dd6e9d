"""Re-emits an archived night into a folder, in order of its own time stamps and at its own pace or faster."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from stream.atomic_files import write_atomically
from stream.errors import ConfigurationError, FrameRejectedError, Reason
from stream.frame_names import FRAME_SUFFIXES, is_frame_name
from stream.instruments import PLANE, HeaderValue, Instrument
from stream.timestamps import SECONDS_PER_DAY

_COMMENTARY = ("COMMENT", "HISTORY", "")


@dataclass(frozen=True, slots=True)
class ArchivedFrame:
    """A frame of an archived night.

    Attributes
    ----------
    name : str
        Path relative to the night's folder.
    time_mjd_utc : float
        Middle of the exposure, days; of a frame whose header has no usable time, that of the frame before it by name.
    problem : str
        Why the header has no usable time; empty where it has one.
    """

    name: str
    time_mjd_utc: float
    problem: str = ""


def list_night(night: Path, instrument: Instrument) -> list[ArchivedFrame]:
    """The frames of a folder and those below it, in order of their time stamps.

    A frame that cannot be read is part of the night too: whoever watches the replay has to cope with it.

    Raises
    ------
    ConfigurationError
        If the folder does not exist, holds no frames, or none of them has a time that `instrument` understands.
    """
    if not night.is_dir():
        raise ConfigurationError(f"night {night} is not a folder")
    names = sorted(str(path.relative_to(night)) for path in night.rglob("*") if _is_frame(path))
    if not names:
        raise ConfigurationError(
            f"night {night} holds no frames: files ending in {', '.join(FRAME_SUFFIXES)}, or these and .gz or .fz"
        )
    times: list[float | None] = []
    problems: list[str] = []
    for name in names:
        middle, problem = _time_of(night, name, instrument)
        times.append(middle)
        problems.append(problem)
    known = [middle for middle in times if middle is not None]
    if not known:
        raise ConfigurationError(f"none of the {len(names)} frames of {night} can be placed in time: {problems[0]}")
    frames, latest = [], known[0]
    for name, middle, problem in zip(names, times, problems, strict=True):
        latest = latest if middle is None else middle
        frames.append(ArchivedFrame(name, latest, problem))
    return sorted(frames, key=lambda frame: (frame.time_mjd_utc, frame.name))


def replay_night(
    frames: Sequence[ArchivedFrame],
    night: Path,
    folder: Path,
    *,
    speed: float | None,
    stop: threading.Event,
    on_frame: Callable[[], None] | None = None,
) -> int:
    """Copy `frames` of `night` to `folder`, each atomically; returns how many were copied.

    Parameters
    ----------
    speed : float or None
        How many times faster than the night itself; None copies without waiting.

    Raises
    ------
    ConfigurationError
        If speed is not greater than 0, `folder` is the night itself or within it, or already holds one of the frames.
    """
    if speed is not None and not speed > 0.0:
        raise ConfigurationError(f"speed ({speed}) must be greater than 0")
    _check_destination(frames, night, folder)
    started = time.monotonic()
    for number, frame in enumerate(frames):
        if speed is not None:
            due_s = (frame.time_mjd_utc - frames[0].time_mjd_utc) * SECONDS_PER_DAY / speed
            stop.wait(max(0.0, started + due_s - time.monotonic()))
        if stop.is_set():
            return number
        source, destination = night / frame.name, folder / frame.name
        destination.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(destination, source.read_bytes())
        if on_frame is not None:
            on_frame()
    return len(frames)


def _check_destination(frames: Sequence[ArchivedFrame], night: Path, folder: Path) -> None:
    if folder.resolve().is_relative_to(night.resolve()):
        raise ConfigurationError(f"folder {folder} lies within the night {night}: another folder is required")
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"folder {folder} is a file")
    for frame in frames:
        if (folder / frame.name).exists():
            raise ConfigurationError(f"folder {folder} already holds {frame.name}: an empty folder is required")


def _is_frame(path: Path) -> bool:
    return is_frame_name(path.name) and path.is_file()


def _time_of(night: Path, name: str, instrument: Instrument) -> tuple[float | None, str]:
    """Middle of the exposure (days), or None and the reason."""
    from astropy.io import fits

    path = night / name
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            header = fits.Header.fromfile(file)
        if header.get("NAXIS") != 2:
            return _time_of_first(path, name, instrument), ""
        return instrument.describe(cast(Mapping[str, HeaderValue], header), name).time_mjd_utc, ""
    except FrameRejectedError as rejected:
        return None, rejected.sentence
    except (OSError, EOFError, ValueError, fits.VerifyError) as error:
        return None, f"{name} has no header that can be read: {error}"


def _time_of_first(path: Path, name: str, instrument: Instrument) -> float:
    """Middle of the exposure (days) of the first frame in a file of several; raises FrameRejectedError."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        headers = [
            {keyword: hdu.header[keyword] for keyword in hdu.header if keyword not in _COMMENTARY} for hdu in hdus
        ]
    failure: FrameRejectedError | None = None
    for number, header in enumerate(headers):
        joined = cast(dict[str, HeaderValue], {"EXTNAME": str(number)} | headers[0] | header)
        if header.get("NAXIS") == 3:
            joined[PLANE] = 0
        try:
            return instrument.describe(joined, f"{name}[{number}]" if number else name).time_mjd_utc
        except FrameRejectedError as rejected:
            failure = failure or rejected
    raise failure or FrameRejectedError(Reason.NOT_FITS, f"{name} holds no HDU")
