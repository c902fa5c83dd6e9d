"""Reading bias, dark and flat frames: what their headers lack is not asked for.

A bias has no exposure time, bias and dark were taken through any filter or none, and where the telescope looked when
flats were taken matters to nobody. Shape, binning, camera and gain have to be those of the frames of the sky.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigurationError, FrameIncompleteError, FrameRejectedError
from stream.frame_names import is_frame_name
from stream.instruments import FrameFacts, Header, HeaderValue, Instrument
from stream.measure.frames import Frame, list_frames, read_frame
from stream.measure.hdus import list_places, open_source
from stream.measure.masters import Kind
from stream.measure.opening import open_regular
from stream.measure.rebinning import rebin_frame

MOST_FRAMES = 50
"""So many frames of a kind and camera are joined; they are in memory together."""

_TIME_KEYWORD, _TIME = "OPL-TIME", "2000-01-01T00:00:00"
_NO_FILTER = "none"
_NO_EXPOSURE_S = 1e-3
_TYPES: dict[Kind, tuple[str, ...]] = {"bias": ("bias", "zero"), "dark": ("dark",), "flat": ("flat",)}


class _CalibrationHeaders(Instrument, frozen=True, kw_only=True):
    """An instrument whose frames are calibration frames of one kind."""

    kind: Kind
    image_type: str
    filters_known: bool

    def describe(self, header: Header, frame_name: str) -> FrameFacts:
        """Read the facts that matter; the time is no time."""
        self._check_kind(header, frame_name)
        patched: dict[str, HeaderValue] = {**header, _TIME_KEYWORD: _TIME}
        if self.kind != "flat" and not self.filters_known:
            patched[self.keywords.filter] = _NO_FILTER
        if self.kind == "bias":
            patched[self.keywords.exposure] = _NO_EXPOSURE_S
        return super().describe(patched, frame_name)

    def _check_kind(self, header: Header, frame_name: str) -> None:
        value = str(header.get(self.image_type, "")).strip() if self.image_type else ""
        for kind, words in _TYPES.items():
            if kind != self.kind and value.lower().startswith(words):
                raise ConfigurationError(
                    f"keyword {self.image_type} of {frame_name} is {value!r}: a {self.kind} frame is required"
                )


def _headers_of(instrument: Instrument, kind: Kind) -> _CalibrationHeaders:
    keywords = msgspec.structs.replace(
        instrument.keywords, ra="", dec="", image_type="", date="", time=_TIME_KEYWORD, plane_time=""
    )
    fields = {name: getattr(instrument, name) for name in Instrument.__struct_fields__}
    fields |= {"keywords": keywords, "time_format": "iso", "time_scale": "utc", "utc_offset_h": 0.0}
    # Where the camera follows from the filter, the filter has to be there for darks too.
    known = bool(instrument.camera_of_filter) and not instrument.keywords.camera
    return _CalibrationHeaders(**fields, kind=kind, image_type=instrument.keywords.image_type, filters_known=known)


def list_calibration_files(folder: Path) -> tuple[Path, ...]:
    """Files of frames in a folder and below it, by name.

    Raises
    ------
    ConfigurationError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"folder of calibration frames {folder} does not exist")
    return tuple(path for path in sorted(folder.rglob("*")) if is_frame_name(path.name) and _is_file(path))


def _is_file(path: Path) -> bool:
    """Whether there is a regular file; `Path.is_file` raises over some links that lead nowhere."""
    try:
        return path.is_file()
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class CalibrationGroup:
    """Calibration frames that make one master: flats of a key, or bias or dark frames of a camera."""

    kind: Kind
    name: str
    places: tuple[Path, ...]

    def read(self, instrument: Instrument, *, rebin: int = 1) -> list[Frame]:
        """Read the frames; raises ConfigurationError with a sentence that names the one that cannot be used."""
        headers = _headers_of(instrument, self.kind)
        frames = []
        for place in self.places:
            try:
                frame = rebin_frame(read_frame(place, place.name, headers), rebin)
            except FrameRejectedError as error:
                raise ConfigurationError(f"{self.kind} frame: {error}") from error
            if self.kind == "bias":
                frame = replace(frame, facts=replace(frame.facts, exposure_s=0.0))
            frames.append(frame)
        return frames


def group_calibration_frames(files: Sequence[Path], kind: Kind, instrument: Instrument) -> list[CalibrationGroup]:
    """Sort calibration frames by what they calibrate, from their headers alone; the first 50 of each.

    Raises
    ------
    ConfigurationError
        If a file is no frame, or one of another kind; the sentence names it.
    """
    headers = _headers_of(instrument, kind)
    places: dict[str, list[Path]] = {}
    for path in files:
        try:
            for peek in list_frames(path, path.name, headers):
                key = headers.describe(peek.header, peek.name).key
                found = places.setdefault(key if kind == "flat" else key.partition(":")[0], [])
                if len(found) < MOST_FRAMES:
                    found.append(path.with_name(peek.name))
        except (FrameRejectedError, FrameIncompleteError, OSError) as error:
            raise ConfigurationError(f"{kind} frame: {error}") from error
    return [CalibrationGroup(kind, name, tuple(found)) for name, found in sorted(places.items())]


def read_bad_pixels(path: Path, *, rebin: int = 1) -> NDArray[np.bool_]:
    """Read a bad-pixel map: a FITS image in which everything but 0 is bad.

    Raises
    ------
    ConfigurationError
        If it is no FITS image of two axes.
    """
    from astropy.io import fits

    try:
        with open_source(path, path.name) as source:  # headers that lie are refused before astropy believes them
            list_places(source, path.name, (), complete=False)
        with open_regular(path, str(path)) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keywords that this project does not use
            with fits.open(file, memmap=False) as hdus:
                image = next((np.asarray(hdu.data) for hdu in hdus if hdu.data is not None), None)
    except Exception as error:  # a damaged file makes astropy raise almost anything
        text = " ".join(str(error).split()) or type(error).__name__
        raise ConfigurationError(f"bad-pixel map {path} cannot be read: {text}") from error
    if image is None or image.ndim != 2 or image.dtype.kind not in "biuf":
        raise ConfigurationError(f"bad-pixel map {path} is no image of two axes")
    bad = image != 0
    rows, columns = (side // rebin for side in bad.shape)
    squares = bad[: rows * rebin, : columns * rebin].reshape(rows, rebin, columns, rebin)
    return np.asarray(squares.any(axis=(1, 3)))
