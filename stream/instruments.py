"""Instruments: what the keywords of a header mean.

An `Instrument` is data, not code: `OPTICAM_MX()` is built in, any other is a TOML file with the same fields
(see ``examples/``). `Instrument.describe` turns the header of one frame into `FrameFacts` or raises one sentence that
names the keyword and what was found; `Instrument.problems` collects all such sentences, for ``scan``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from stream.cameras import Camera, FrameFacts, Positive, Site
from stream.errors import ConfigurationError, FrameRejectedError, Reason
from stream.header_pointing import LOWEST_ALTITUDE_DEG, AngleUnit, HeaderPointing
from stream.header_times import PLANE_MARK, HeaderClock, TimeFormat, TimeMarks
from stream.header_values import PLANE, Header, HeaderValue, number_of, text_of
from stream.own_parts import is_part_name
from stream.timestamps import TimeScale
from stream.toml_text import parse_toml

__all__ = [
    "LOWEST_ALTITUDE_DEG",
    "OPTICAM_MX",
    "PLANE",
    "AngleUnit",
    "Camera",
    "FrameFacts",
    "Header",
    "HeaderValue",
    "Instrument",
    "Keywords",
    "Site",
    "load_instrument",
]

_Read = TypeVar("_Read")

_LONGEST_EXPOSURE_S = 86400.0
_BASELINE_ADU = 100.0  # to which the electronics of the Zyla clamp the zero level
_CALIBRATION_TYPES = ("flat", "dark", "bias", "zero")


class Keywords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of the header keywords; an empty name means that the camera does not write it."""

    time: str = "DATE-OBS"
    """Time stamp of the exposure; see `Instrument.time_marks` for which instant it is."""
    date: str = ""
    """Calendar date, where the time keyword holds the time of day alone."""
    exposure: str = "EXPTIME"
    """Exposure time, seconds."""
    filter: str = "FILTER"
    camera: str = ""
    """Name of the camera; without it see `Instrument.camera_of_filter`."""
    binning: str = ""
    """Pixels summed on each axis: ``4`` or ``'4x4'``."""
    gain: str = ""
    """Gain, electrons per count."""
    dark_current: str = ""
    """Dark current, electrons per binned pixel and second."""
    saturation: str = ""
    """Counts at which a pixel is saturated."""
    ra: str = ""
    dec: str = ""
    image_type: str = ""
    object: str = ""
    plane_time: str = ""
    """Time stamp of each plane of a cube: ``#`` is the number of the plane from 1, ``###`` the same in three digits."""
    plane_interval: str = ""
    """Seconds from one plane of a cube to the next; the time keyword is that of the first plane."""


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the headers of one instrument are to be read, and what it is.

    Attributes
    ----------
    time_marks : {'start', 'middle', 'end'}
        The instant of the exposure that the time keyword holds.
    time_scale : {'utc', 'gps', 'tai', 'tt'}
        What the camera's clock counts.
    time_format : {'iso', 'mjd', 'jd'}
        Text as 2023-11-22T03:02:49.000, or (modified) Julian date.
    utc_offset_h : float
        Local time minus UTC, hours, where the clock is local and the text does not say so.
    plane_interval_s : float
        Seconds from one plane of a cube to the next, where no keyword says it; 0 where there are no cubes.
    extensions : tuple of str
        Names (``EXTNAME``) or numbers of the HDUs that hold frames, in files of several; none for the primary image
        or, where there is none, every image extension.
    ra_unit, dec_unit : str
        ``degrees``, ``hours`` (decimal), ``sexagesimal_hours`` or ``sexagesimal_degrees``. Never guessed.
    cameras : dict
        `Camera` by name.
    camera_of_filter : dict
        Name of the camera by filter, where no keyword names it and there is more than one camera.
    pointing_placeholders : tuple of (str, str)
        Pairs of RA and Dec, as written, that mean "not set".
    reader : str
        Class of the user's own that reads the headers instead, as ``package.module:Class``; see
        `stream.measure.protocols.HeaderReader`.

    Raises
    ------
    ConfigurationError
        If there is no camera, or it cannot be told which camera a frame is from.
    """

    name: str
    site: Site
    aperture_m: Positive
    cameras: dict[str, Camera]
    keywords: Keywords = Keywords()
    time_marks: TimeMarks = "start"
    time_scale: TimeScale = "utc"
    time_format: TimeFormat = "iso"
    utc_offset_h: Annotated[float, msgspec.Meta(ge=-14.0, le=14.0)] = 0.0
    plane_interval_s: Annotated[float, msgspec.Meta(ge=0.0, le=86400.0)] = 0.0
    extensions: tuple[str, ...] = ()
    ra_unit: AngleUnit = "degrees"
    dec_unit: AngleUnit = "degrees"
    camera_of_filter: dict[str, str] = {}
    pointing_placeholders: tuple[tuple[str, str], ...] = ()
    reader: str = ""

    def __post_init__(self) -> None:
        """Refuse what no frame could be read with."""
        if not self.cameras:
            raise ConfigurationError("at least one camera is required, as [cameras.1]")
        for filter_name, camera in self.camera_of_filter.items():
            if camera not in self.cameras:
                raise ConfigurationError(f"camera_of_filter.{filter_name} is {camera!r}, which is none of the cameras")
        if self.reader and not is_part_name(self.reader):
            raise ConfigurationError(f"reader ({self.reader!r}) must be a class as 'package.module:Class'")
        if len(self.cameras) > 1 and not (self.keywords.camera or self.camera_of_filter or self.reader):
            raise ConfigurationError(
                f"{len(self.cameras)} cameras require keywords.camera or camera_of_filter, to tell their frames apart"
            )
        if self.keywords.plane_time and PLANE_MARK not in self.keywords.plane_time:
            raise ConfigurationError(
                f"keywords.plane_time is {self.keywords.plane_time!r}: a {PLANE_MARK} for a plane's number is required"
            )
        if self.utc_offset_h and self.time_format != "iso":
            raise ConfigurationError(
                f"utc_offset_h ({self.utc_offset_h}) requires time_format iso: Julian dates are UT"
            )

    def describe(self, header: Header, frame_name: str) -> FrameFacts:
        """Read the facts of one frame from its header.

        Raises
        ------
        FrameRejectedError
            With `Reason.BAD_KEYWORD`, `BAD_TIME` or `BAD_POINTING`: the first thing that is wrong; with
            `Reason.OWN_PART_FAILED` if a reader of the user's own fails.
        """
        if self.reader:
            return self._read_by_own(header, frame_name)
        found: list[FrameRejectedError] = []
        facts = self._describe(header, frame_name, found.append)
        if found:
            raise found[0]
        assert facts is not None  # a frame without problems has facts
        return facts

    def problems(self, header: Header, frame_name: str) -> tuple[str, ...]:
        """All that is wrong with a header, one sentence each; empty if nothing is."""
        found: list[FrameRejectedError] = []
        if self.reader:
            try:
                self._read_by_own(header, frame_name)
            except FrameRejectedError as problem:
                found.append(problem)
        else:
            self._describe(header, frame_name, found.append)
        return tuple(problem.sentence for problem in found)

    def _read_by_own(self, header: Header, frame_name: str) -> FrameFacts:
        from stream.own_instruments import describe_with_reader, with_detector_of

        facts = describe_with_reader(self.reader, header, frame_name, site=self.site)
        camera = self.cameras.get(facts.key.partition(":")[0])
        return facts if camera is None else with_detector_of(facts, camera)

    def _describe(
        self, header: Header, frame_name: str, report: Callable[[FrameRejectedError], None]
    ) -> FrameFacts | None:
        def attempt(read: Callable[[Header, str], _Read]) -> _Read | None:
            try:
                return read(header, frame_name)
            except FrameRejectedError as problem:
                report(problem)
                return None

        attempt(self._check_image_type)
        clock, sky = self._clock(), self._sky()
        exposure_s, stamp = attempt(self._exposure_s), attempt(clock.read)
        names, binning = attempt(self._camera_and_filter), attempt(self._binning)
        camera = self.cameras[names[0]] if names else next(iter(self.cameras.values()))
        gain = attempt(self._positive(self.keywords.gain, camera.gain_e_per_adu))
        dark = attempt(self._positive(self.keywords.dark_current, camera.dark_current_e_per_s, zero=True))
        saturation = attempt(self._positive(self.keywords.saturation, camera.saturation_adu))
        pointing = attempt(sky.read)
        if exposure_s is None or stamp is None or names is None or binning is None:
            return None
        middle_mjd = clock.middle(stamp, exposure_s)
        if pointing is not None:
            names_of = (frame_name, self.name, self.keywords.time)
            attempt(lambda _header, _name: sky.check_horizon(pointing, middle_mjd, site=self.site, names=names_of))
        if gain is None or dark is None or saturation is None:
            return None
        return FrameFacts(
            key=f"{names[0]}:{names[1]}",
            exposure_s=exposure_s,
            time_mjd_utc=middle_mjd,
            time_resolution_s=stamp.resolution_s,
            binning=binning,
            gain_e_per_adu=gain,
            read_noise_e=camera.read_noise_e,
            dark_current_e_per_s=dark,
            saturation_adu=saturation,
            pixel_scale_arcsec=camera.pixel_scale_arcsec * binning,
            pointing=pointing,
            zero_level_adu=camera.zero_level_adu,
            nonlinear_adu=camera.nonlinear_adu,
            linearity=camera.linearity,
        )

    def _sky(self) -> HeaderPointing:
        names = self.keywords
        return HeaderPointing(names.ra, names.dec, self.ra_unit, self.dec_unit, self.pointing_placeholders)

    def _clock(self) -> HeaderClock:
        names = self.keywords
        return HeaderClock(
            names.time,
            names.date,
            names.plane_time,
            names.plane_interval,
            self.plane_interval_s,
            self.time_marks,
            self.time_scale,
            self.time_format,
            self.utc_offset_h,
        )

    def _check_image_type(self, header: Header, frame_name: str) -> None:
        value = str(header.get(self.keywords.image_type, "")).strip() if self.keywords.image_type else ""
        if value.lower().startswith(_CALIBRATION_TYPES):
            raise FrameRejectedError(
                Reason.NOT_SCIENCE,
                f"keyword {self.keywords.image_type} of {frame_name} is {value!r}: only frames of the sky are measured",
            )

    def _exposure_s(self, header: Header, frame_name: str) -> float:
        value = number_of(header, self.keywords.exposure, frame_name)
        if not 0.0 < value <= _LONGEST_EXPOSURE_S:
            raise FrameRejectedError(
                Reason.BAD_KEYWORD,
                f"exposure_s ({value}) must be greater than 0 and at most {_LONGEST_EXPOSURE_S:.0f}: "
                f"keyword {self.keywords.exposure} of {frame_name}",
            )
        return value

    def _camera_and_filter(self, header: Header, frame_name: str) -> tuple[str, str]:
        filter_name = text_of(header, self.keywords.filter, frame_name)
        if self.keywords.camera:
            camera = text_of(header, self.keywords.camera, frame_name)
        elif self.camera_of_filter:
            camera = self.camera_of_filter.get(filter_name, "")
        else:
            camera = next(iter(self.cameras))
        if camera not in self.cameras:
            known = self.camera_of_filter if self.camera_of_filter else self.cameras
            keyword = self.keywords.camera or self.keywords.filter
            raise FrameRejectedError(
                Reason.BAD_KEYWORD,
                f"keyword {keyword} of {frame_name} is {header.get(keyword)!r}: {self.name} knows {', '.join(known)}",
            )
        name = camera + filter_name  # becomes the name of files
        if not name.isprintable() or any(mark in name for mark in ":/\\"):
            raise FrameRejectedError(
                Reason.BAD_KEYWORD,
                f"keyword {self.keywords.filter} of {frame_name} is {filter_name!r}: "
                "a printable name without colon and slash is required",
            )
        return camera, filter_name

    def _binning(self, header: Header, frame_name: str) -> int:
        if not self.keywords.binning:
            return 1
        text = text_of(header, self.keywords.binning, frame_name)
        try:
            factors = {float(part) for part in text.lower().split("x")}
        except ValueError:
            factors = set()
        binning = factors.pop() if len(factors) == 1 else math.nan
        if not 1.0 <= binning <= 64.0 or not binning.is_integer():
            raise FrameRejectedError(
                Reason.BAD_KEYWORD,
                f"keyword {self.keywords.binning} of {frame_name} is {text!r}: "
                "a binning from 1 to 64, equal on both axes, is required, as 4 or '4x4'",
            )
        return int(binning)

    def _positive(self, keyword: str, default: float, *, zero: bool = False) -> Callable[[Header, str], float]:
        def read(header: Header, frame_name: str) -> float:
            if not keyword or keyword not in header:
                return default
            value = number_of(header, keyword, frame_name)
            if value < 0.0 or (value == 0.0 and not zero):
                bound = "at least 0" if zero else "greater than 0"
                raise FrameRejectedError(
                    Reason.BAD_KEYWORD, f"keyword {keyword} of {frame_name} is {value}: it must be {bound}"
                )
            return value

        return read


def OPTICAM_MX() -> Instrument:  # noqa: N802  (the name of the instrument, as its users write it)
    """OPTICAM-MX on the 2.1 m telescope of San Pedro Martir (Castro et al. 2019, RMxAA 55, 363).

    The header does not say which instant ``UT`` is; it is written when the exposure starts. No linearity is known of
    its cameras: whoever measured it sets `Camera.nonlinear_adu` and `Camera.linearity`.
    """
    return Instrument(
        name="OPTICAM-MX",
        site=Site(longitude_deg=-115.463611, latitude_deg=31.044167, height_m=2790.0),
        aperture_m=2.1,
        cameras={
            "1": Camera(pixel_scale_arcsec=0.1397, read_noise_e=1.1, zero_level_adu=_BASELINE_ADU),
            "2": Camera(pixel_scale_arcsec=0.1406, read_noise_e=1.2, zero_level_adu=_BASELINE_ADU),
            "3": Camera(pixel_scale_arcsec=0.1661, read_noise_e=1.3, zero_level_adu=_BASELINE_ADU),
        },
        keywords=Keywords(
            time="UT",
            date="DATE-OBS",
            exposure="EXPOSURE",
            filter="FILTER",
            binning="BINNING",
            gain="GAIN",
            dark_current="DARKCURR",
            saturation="SATLEVEL",
            ra="RA",
            dec="DEC",
            image_type="IMGTYPE",
            object="OBJECT",
        ),
        time_marks="start",
        ra_unit="sexagesimal_hours",
        dec_unit="sexagesimal_degrees",
        camera_of_filter={"u": "1", "g": "1", "r": "2", "i": "3", "z": "3"},
        pointing_placeholders=(("0", "31"),),
    )


def load_instrument(name_or_file: str) -> Instrument:
    """Return a built-in instrument by its name, a user's own class by its name, or read one from a TOML file.

    Raises
    ------
    ConfigurationError
        If there is neither such a name nor such a file, or file or class are not an instrument.
    """
    if name_or_file.upper().replace("-", "_") == "OPTICAM_MX":
        return OPTICAM_MX()
    path = Path(name_or_file)
    if not path.is_file():
        if is_part_name(name_or_file):
            from stream.own_instruments import instrument_of_class

            return instrument_of_class(name_or_file)
        raise ConfigurationError(f"unknown instrument {name_or_file!r}: neither OPTICAM_MX nor the path of a TOML file")
    try:
        return msgspec.convert(parse_toml(path.read_text(encoding="utf-8")), Instrument)
    except (OSError, ValueError, ConfigurationError) as error:  # of the file, its text, its TOML, its values
        raise ConfigurationError(f"instrument file {path}: {error}") from error
