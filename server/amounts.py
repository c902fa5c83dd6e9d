"""Numbers with their errors as a page writes them."""

from __future__ import annotations

import math

_MOST_DIGITS = 9


def with_error(value: float, error: float, unit: str = "") -> str:
    """A number with its error, both to the first digit of the error, or the second where that begins with a 1.

    An error of 0 belongs to a value that was given; one that is not finite, to a value that is not known.
    """
    space = f" {unit}" if unit else ""
    if not math.isfinite(error) or not math.isfinite(value):
        return "not known"
    if error <= 0.0:
        return f"{value:.8g}{space}"
    exponent = math.floor(math.log10(error))
    if error / 10.0**exponent < 1.95:
        exponent -= 1
    if exponent >= 0:
        step = 10.0**exponent
        return f"{round(value / step) * step:.0f} ± {round(error / step) * step:.0f}{space}"
    digits = min(_MOST_DIGITS, -exponent)
    return f"{value:.{digits}f} ± {error:.{digits}f}{space}"


def period_with_error(period_s: float, error_s: float) -> str:
    """A period in seconds, minutes or hours, whichever it has a few of."""
    for unit, length_s, from_s in (("h", 3600.0, 7200.0), ("min", 60.0, 120.0), ("s", 1.0, 0.0)):
        if period_s >= from_s:
            return with_error(period_s / length_s, error_s / length_s, unit)
    return "not known"
