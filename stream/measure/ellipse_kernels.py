"""Exact sums over ellipses, compiled.

Arrays must be contiguous and of the types of the signatures; see `stream.measure.compiled`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from stream.measure.compiled import compiled, inner
from stream.messages import FloatArray


class _Ellipse(NamedTuple):
    """An ellipse around (x, y): at a distance v above the middle it reaches from ``x + lean v`` by ``wide h(v)``.

    ``h(v) = sqrt(top^2 - v^2)``; `lean_y`, `wide_y` and `right` are the same with both axes exchanged. Its point
    farthest to the right lies `turn` above the middle.
    """

    x: float
    y: float
    lean: float
    wide: float
    top: float
    lean_y: float
    wide_y: float
    right: float
    turn: float


class _Height(NamedTuple):
    """A height v above the middle of an ellipse, h(v) there, and the integral of h from the middle."""

    v: float
    h: float
    area: float


@inner
def _ellipse(x: float, y: float, major: float, minor: float, angle: float) -> _Ellipse:
    cosine, sine = math.cos(angle), math.sin(angle)
    xx = (major * cosine) ** 2 + (minor * sine) ** 2
    yy = (major * sine) ** 2 + (minor * cosine) ** 2
    xy, product = (major * major - minor * minor) * cosine * sine, major * minor
    top, right = math.sqrt(yy), math.sqrt(xx)
    return _Ellipse(x, y, xy / yy, product / yy, top, xy / xx, product / xx, right, xy / right)


@inner
def _height(ellipse: _Ellipse, v: float) -> _Height:
    top = ellipse.top
    h = math.sqrt(max(top * top - v * v, 0.0))
    return _Height(v, h, 0.5 * (v * h + top * top * math.asin(min(max(v / top, -1.0), 1.0))))


@inner
def _left_of_edge(
    line: FloatArray, before: FloatArray, ellipse: _Ellipse, ends: tuple[_Height, _Height], side: float
) -> float:
    """Integral, over heights between `ends`, of all that lies left of the edge of an ellipse in one line of pixels.

    `side` is 1 for the edge on the right and -1 for that on the left; it moves in one direction between the ends.
    `before` holds the sums of the pixels before each.
    """
    start, end = ends
    pixel = math.floor(ellipse.x + ellipse.lean * start.v + side * ellipse.wide * start.h + 0.5)
    last = math.floor(ellipse.x + ellipse.lean * end.v + side * ellipse.wide * end.h + 0.5)
    step = 1 if last >= pixel else -1
    half = 1.0 if start.v + end.v > 2.0 * side * ellipse.turn else -1.0  # above or below where the edge turns
    total, n = 0.0, len(line)
    while True:
        stop = end
        if pixel != last:  # where the edge crosses to the next pixel
            u = pixel + 0.5 * step - ellipse.x
            v = ellipse.lean_y * u + half * ellipse.wide_y * math.sqrt(max(ellipse.right**2 - u * u, 0.0))
            stop = _height(ellipse, min(max(v, start.v), end.v))
        height = stop.v - start.v
        if pixel >= n:
            total += before[n] * height
        elif pixel >= 0:
            within = (ellipse.x + 0.5 - pixel) * height + 0.5 * ellipse.lean * (stop.v * stop.v - start.v * start.v)
            within += side * ellipse.wide * (stop.area - start.area)
            total += before[pixel] * height + line[pixel] * within
        if pixel == last:
            return total
        start = stop
        pixel += step


@inner
def _line_sum(
    line: FloatArray, before: FloatArray, ellipse: _Ellipse, ends: tuple[_Height, _Height], turn_area: float
) -> float:
    """Integral of one line of pixels over the part of an ellipse between two heights."""
    low, high = ends
    total = 0.0
    for side in (1.0, -1.0):
        turn = side * ellipse.turn
        if low.v < turn < high.v:
            h = math.sqrt(max(ellipse.top**2 - turn * turn, 0.0))
            middle = _Height(turn, h, side * turn_area)
            total += side * _left_of_edge(line, before, ellipse, (low, middle), side)
            total += side * _left_of_edge(line, before, ellipse, (middle, high), side)
        else:
            total += side * _left_of_edge(line, before, ellipse, (low, high), side)
    return total


@compiled("f8[:,::1](f8[:,:,::1], f8[:,::1], f8[:,::1], f8)")
def ellipse_sums(data: FloatArray, xy: FloatArray, axes: FloatArray, angle: float) -> FloatArray:
    """Exact sums over ellipses: every pixel counts with the area that it has in common with them.

    A sum is the integral of the picture over the ellipse. Line by line of pixels it is what lies left of the right
    edge less what lies left of the left edge (Green's theorem), and between two crossings of an edge with the sides of
    pixels the integral of the edge itself is a closed expression: no pixel is divided into parts. What reaches over
    the picture counts as 0.

    Parameters
    ----------
    data : array, shape (n_sources, side, side)
        Finite; one picture for each source.
    xy : array, shape (n_sources, 2)
        Centres, pixels of the picture.
    axes : array, shape (n_apertures, 2)
        Semi-major and semi-minor axes, greater than 0.
    angle : float
        Of the major axis from +x towards +y, radians.

    Returns
    -------
    array, shape (n_apertures, n_sources)
    """
    n, side = len(data), data.shape[1]
    sums, before = np.zeros((len(axes), n)), np.zeros((side, side + 1))
    for source in range(n):
        for j in range(side):
            for i in range(side):
                before[j, i + 1] = before[j, i] + data[source, j, i]
        for aperture in range(len(axes)):
            ellipse = _ellipse(xy[source, 0], xy[source, 1], axes[aperture, 0], axes[aperture, 1], angle)
            turn_area = _height(ellipse, ellipse.turn).area
            first = max(math.floor(ellipse.y - ellipse.top + 0.5), 0)
            last = min(math.floor(ellipse.y + ellipse.top + 0.5), side - 1)
            low = _height(ellipse, max(first - 0.5 - ellipse.y, -ellipse.top))
            for j in range(first, last + 1):
                high = _height(ellipse, min(j + 0.5 - ellipse.y, ellipse.top))
                sums[aperture, source] += _line_sum(data[source, j], before[j], ellipse, (low, high), turn_area)
                low = high
    return sums
