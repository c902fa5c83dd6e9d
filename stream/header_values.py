"""Values of header keywords, and the one sentence for a value that is missing or absurd."""

from __future__ import annotations

import math
from collections.abc import Mapping

from stream.errors import FrameRejectedError, Reason

HeaderValue = str | int | float | bool
Header = Mapping[str, HeaderValue]

PLANE = "plane"
"""Entry that the header of a plane of a cube has besides its keywords, which have no small letters: counted from 0."""


def text_of(header: Header, keyword: str, frame_name: str) -> str:
    """Text of a keyword without spaces around it; raises FrameRejectedError if it is missing or empty."""
    value = str(header.get(keyword, "")).strip()
    if not value:
        state = "empty" if keyword in header else "missing"
        raise FrameRejectedError(Reason.BAD_KEYWORD, f"keyword {keyword} of {frame_name} is {state}")
    return value


def number_of(header: Header, keyword: str, frame_name: str) -> float:
    """Number of a keyword; raises FrameRejectedError if it is missing or not a finite number."""
    text = text_of(header, keyword, frame_name)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FrameRejectedError(
            Reason.BAD_KEYWORD, f"keyword {keyword} of {frame_name} is {text!r}: a number is required"
        )
    return value
