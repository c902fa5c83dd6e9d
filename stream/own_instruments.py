"""Instruments of a user's own: a class that reads the headers, where keywords alone cannot say what they mean."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgspec

from stream.errors import ConfigurationError
from stream.header_values import Header
from stream.instruments import LOWEST_ALTITUDE_DEG, Camera, FrameFacts, Instrument, Site, load_instrument
from stream.own_parts import guarded, load_part, name_of_part, refuse_result
from stream.timestamps import SkyPosition, altitude_deg

_POSITIVE = ("exposure_s", "time_mjd_utc", "gain_e_per_adu", "saturation_adu", "pixel_scale_arcsec")
_NOT_NEGATIVE = ("time_resolution_s", "read_noise_e", "dark_current_e_per_s", "nonlinear_adu")
_LATEST_MJD = 100_000.0  # the year 2132: a Julian date that nobody made modified is beyond it
_LARGEST_BINNING = 64


def instrument_of(given: object) -> Instrument:
    """Return the instrument that a notebook gives: an `Instrument`, its name or file, or a class of the user's own.

    Raises
    ------
    ConfigurationError
        If it is none of these.
    """
    if type(given) is Instrument:
        return given
    if isinstance(given, str):
        return load_instrument(given)
    return instrument_of_class(name_of_part(given, "instrument"))


def instrument_of_class(name: str) -> Instrument:
    """Return the instrument that a user's own class is, with the class as the reader of its headers.

    The class has the attributes `name`, `site`, `aperture_m` and `cameras` of `Instrument`, and may have
    `extensions`; what they hold becomes part of the recipe.

    Raises
    ------
    ConfigurationError
        If the class cannot be loaded, or an attribute is missing or not what `Instrument` requires.
    """
    part = load_part(name, "instrument")
    fields = {field: getattr(part, field, None) for field in ("name", "site", "aperture_m", "cameras")}
    for field, value in fields.items():
        if value is None:
            raise ConfigurationError(f"own instrument {name} must have the attribute {field!r}, as Instrument has it")
    fields["extensions"] = tuple(getattr(part, "extensions", ()))
    try:
        return msgspec.convert({**fields, "reader": name}, Instrument, from_attributes=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"own instrument {name}: {error}") from error


def describe_with_reader(reader: str, header: Header, frame_name: str, *, site: Site) -> FrameFacts:
    """Let a user's own class read a header, and check what it says.

    Raises
    ------
    FrameRejectedError
        What the class raised itself; with `Reason.OWN_PART_FAILED` if it failed or its facts cannot be.
    """
    with guarded(reader, "instrument", frame_name):
        facts = load_part(reader, "instrument").describe(header, frame_name)
        wrong = _what_is_wrong(facts, site)
        if not wrong:
            return _plain(facts)
    raise refuse_result(reader, "instrument", f"{wrong}, for {frame_name}")


def with_detector_of(facts: FrameFacts, camera: Camera) -> FrameFacts:
    """The same with zero level and linearity of the camera, where the class that read the header gave none."""
    return replace(
        facts,
        zero_level_adu=facts.zero_level_adu if facts.zero_level_adu >= 0.0 else camera.zero_level_adu,
        nonlinear_adu=facts.nonlinear_adu or camera.nonlinear_adu,
        linearity=facts.linearity or camera.linearity,
    )


def _what_is_wrong(facts: object, site: Site) -> str:
    """What no facts can be, and what is required instead; empty if nothing is wrong."""
    if not isinstance(facts, FrameFacts):
        return f"{type(facts).__name__} where FrameFacts are required"
    camera, _, filter_name = facts.key.partition(":")
    if not camera or not filter_name or not facts.key.isprintable() or any(mark in filter_name for mark in ":/\\"):
        return f"key {facts.key!r} where a camera and a filter are required, as '1:g'"
    for field in (*_POSITIVE, *_NOT_NEGATIVE):
        value = float(getattr(facts, field))
        if not math.isfinite(value) or value < 0.0 or (value == 0.0 and field in _POSITIVE):
            bound = "greater than 0" if field in _POSITIVE else "at least 0"
            return f"{field} {value} where a number {bound} is required"
    if not math.isfinite(float(facts.zero_level_adu)):
        return f"zero_level_adu {facts.zero_level_adu} where a number is required, -1 where nobody knows it"
    if not all(math.isfinite(float(one)) for one in facts.linearity):
        return f"linearity {facts.linearity} where finite coefficients are required"
    if facts.time_mjd_utc > _LATEST_MJD:
        return f"time_mjd_utc {facts.time_mjd_utc} where a Modified Julian Date is required"
    if facts.binning != int(facts.binning) or not 1 <= facts.binning <= _LARGEST_BINNING:
        return f"binning {facts.binning} where a whole number from 1 to {_LARGEST_BINNING} is required"
    return _wrong_pointing(facts, site)


def _wrong_pointing(facts: FrameFacts, site: Site) -> str:
    pointing = facts.pointing
    if pointing is None:
        return ""
    if not isinstance(pointing, SkyPosition):
        return f"pointing {pointing!r} where a SkyPosition in degrees or None is required"
    if not 0.0 <= pointing.ra_deg <= 360.0 or not -90.0 <= pointing.dec_deg <= 90.0:
        return f"pointing {pointing} where a position in the sky, in degrees, is required"
    altitude = altitude_deg(float(facts.time_mjd_utc), pointing, site.position())
    if altitude < LOWEST_ALTITUDE_DEG:
        return f"a pointing {-altitude:.0f} degrees below the horizon where one above it is required"
    return ""


def _plain(facts: FrameFacts) -> FrameFacts:
    """The same in Python's own numbers: those of numpy fit into no message."""
    numbers: dict[str, Any] = {field: float(getattr(facts, field)) for field in (*_POSITIVE, *_NOT_NEGATIVE)}
    numbers["zero_level_adu"] = float(facts.zero_level_adu)
    numbers["linearity"] = tuple(float(one) for one in facts.linearity)
    return replace(facts, binning=int(facts.binning), **numbers)
