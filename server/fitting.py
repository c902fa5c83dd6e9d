"""Words that Bokeh draws on a canvas, which cuts what does not fit: broken into lines as wide as there is room."""

from __future__ import annotations

import textwrap

from bokeh.core.property.descriptors import UnsetValueError
from bokeh.models import Plot

_WIDTH_OF_A_LETTER = 0.49
"""Of its height, in the mean of such words; fonts differ by some hundredths."""
_FEWEST_LETTERS = 16
_BETWEEN = " · "


def fitted(text: str, width_px: float | None, *, font_px: float = 12.0) -> str:
    """Break a text into lines, between its parts where that will do, else between words.

    Parameters
    ----------
    text : str
        Parts with a dot in the middle between them.
    width_px : float or None
        Room for a line; None where it is not known: the text stays as it is.
    font_px : float
        Height of the font.
    """
    if not width_px:
        return text
    most = max(_FEWEST_LETTERS, int(width_px / (_WIDTH_OF_A_LETTER * font_px)))
    return "\n".join(fit for line in text.split("\n") for fit in _lines(line, most))


def room_of(plot: Plot) -> float | None:
    """Width of what is within the axes of a plot, pixels; None until a browser has told it."""
    try:
        return float(plot.inner_width)
    except UnsetValueError:
        return None


def entitle(plot: Plot, text: str) -> None:
    """Write the title of a plot in lines that fit; one that is there already costs nothing."""
    text = fitted(text, room_of(plot))
    n_lines = text.count("\n")
    # Bokeh draws a new title in the room of the old one until something else changes the size of the plot, and takes a
    # moment to measure it: the room is made at the next call.
    if plot.title.text.count("\n") == n_lines and (plot.min_border_top or 0) != n_lines:
        plot.min_border_top = n_lines
    if plot.title.text != text:
        plot.title.text = text


def _lines(text: str, most: int) -> list[str]:
    lines = [""]
    for part in text.split(_BETWEEN):
        longer = f"{lines[-1]}{_BETWEEN}{part}" if lines[-1] else part
        if len(longer) <= most:
            lines[-1] = longer
        else:
            lines = [line for line in lines if line] + textwrap.wrap(part, most)
    return lines
