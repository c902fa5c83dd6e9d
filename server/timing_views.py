"""What the panels of timing draw, and the light curves that it is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from server.columns import Columns
from server.curve_views import series_of, stretch_of, utc_ms_of
from server.looks import Look
from server.timing_looks import TimingChoices, detrending_of
from stream.analysis.detrending import detrend
from stream.analysis.relative import RelativeLightCurve
from stream.analysis.series import TimeSeries
from stream.errors import AnalysisError
from stream.messages import FloatArray
from stream.timestamps import SECONDS_PER_DAY

_MJD_TO_JD = 2400000.5
_OPAQUE = 0.95


@dataclass(frozen=True, slots=True)
class KeyStretch:
    """One light curve in the stretch that is looked at; what is drawn of it may take a while, so nothing is shared.

    Attributes
    ----------
    key : str
    series : TimeSeries
        Seconds from `origin_day`; flux NaN where it is missing or flagged as doubtful.
    airmass, utc_ms : array, shape (n_points,)
    origin_day : float
        Modified Julian date, in `scale`; the same for all keys of a stretch.
    scale : str
        ``BJD_TDB`` or ``JD_UTC``.
    """

    key: str
    series: TimeSeries
    airmass: FloatArray
    utc_ms: FloatArray
    origin_day: float
    scale: str

    def utc_ms_at(self, time_s: FloatArray | float) -> FloatArray:
        """Milliseconds since 1970 UTC of seconds of the series, straight on beyond its ends."""
        times = self.series.time_s
        inside = np.clip(time_s, times[0], times[-1])
        return np.asarray(np.interp(inside, times, self.utc_ms) + 1e3 * (np.asarray(time_s) - inside))

    def julian_date(self, time_s: float) -> float:
        """Julian date, in `scale`, of a second of the series."""
        return self.origin_day + time_s / SECONDS_PER_DAY + _MJD_TO_JD


@dataclass(frozen=True, slots=True)
class StripView:
    """One picture of points with errors.

    Attributes
    ----------
    name : str
    colour_of : str
        Key whose colour the points have.
    title : str
    points : mapping
        ``x``, ``y``, ``lower``, ``upper``, ``alpha`` and ``text``, what is said of each.
    dots, line : mapping
        ``x`` and ``y`` of small points behind, and of a line in front.
    y_range : tuple of float
    x_range : tuple of float
    note : str
        Written into the picture.
    bands : tuple of tuple of float
        From and to, on the horizontal axis; shaded.
    """

    name: str
    colour_of: str
    title: str
    points: Columns
    y_range: tuple[float, float]
    x_range: tuple[float, float]
    dots: Columns = field(default_factory=dict)
    line: Columns = field(default_factory=dict)
    note: str = ""
    bands: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class DynamicImage:
    """A dynamic spectrum as drawn.

    Attributes
    ----------
    colour : array, shape (n_frequencies, n_times)
        Square root of the power, NaN where a window is empty.
    start_ms, length_ms : float
        Milliseconds since 1970 UTC.
    lowest_hz, height_hz : float
    top : float
        Value of the brightest colour.
    """

    colour: NDArray[np.float32]
    start_ms: float
    length_ms: float
    lowest_hz: float
    height_hz: float
    top: float


@dataclass(frozen=True, slots=True)
class TimingView:
    """What a panel shows: a line of text above, and strips or a picture; or a sentence why there is none.

    ``models``: by key, ``utc_ms`` and ``flux`` of transits for the light curves. ``kept``: what the next one of the
    same look may start from.
    """

    text: str = ""
    sentence: str = ""
    strips: tuple[StripView, ...] = ()
    image: DynamicImage | None = None
    models: Mapping[str, Columns] = field(default_factory=dict)
    kept: object = None


def stretches_of(curves: Mapping[str, RelativeLightCurve | None], look: Look) -> list[KeyStretch]:
    """Copy the stretch of every light curve that has points in it; seconds count from one day for all of them."""
    found = {key: stretch_of(curve, look) for key, curve in curves.items() if curve is not None}
    found = {key: stretch for key, stretch in found.items() if stretch.last > stretch.first}
    origin_day = min((math.floor(stretch.curve.time()[0]) for stretch in found.values()), default=0)
    return [
        KeyStretch(
            key=key,
            series=copied(series_of(stretch, origin_day)),
            airmass=stretch.part("airmass").copy(),
            utc_ms=utc_ms_of(stretch.part("time_mjd_utc")),
            origin_day=origin_day,
            scale="BJD_TDB" if stretch.curve.time_scale() == "time_bmjd_tdb" else "JD_UTC",
        )
        for key, stretch in found.items()
    ]


def copied(series: TimeSeries) -> TimeSeries:
    """The same in arrays of its own."""
    return TimeSeries(series.time_s.copy(), series.flux.copy(), series.flux_err.copy())


def reference_of(stretches: Sequence[KeyStretch], wanted: str) -> KeyStretch:
    """The light curve of the wanted key, or the first.

    Raises
    ------
    AnalysisError
        If there is none at all, or not that key.
    """
    if not stretches:
        raise AnalysisError("there is no light curve yet")
    found = next((stretch for stretch in stretches if not wanted or stretch.key == wanted), None)
    if found is None:
        raise AnalysisError(
            f"there is no light curve of {wanted}: keys are {', '.join(each.key for each in stretches)}"
        )
    return found


def reference_and_others(
    stretches: Sequence[KeyStretch], wanted: str, what: str
) -> tuple[KeyStretch, list[KeyStretch]]:
    """The light curve of the wanted key, or the first, and all others; `what` is wanted of them.

    Raises
    ------
    AnalysisError
        If there are not two keys at least, or their times are not in one scale.
    """
    reference = reference_of(stretches, wanted)
    others = [stretch for stretch in stretches if stretch is not reference]
    if not others:
        raise AnalysisError(f"{what} needs two keys: there is {reference.key} alone")
    if len({stretch.scale for stretch in stretches}) > 1:
        raise AnalysisError(f"{what} needs the times of all keys in one scale: barycentric times are missing for some")
    return reference, others


def detrended(stretch: KeyStretch, choices: TimingChoices) -> tuple[KeyStretch, str]:
    """A light curve without its trend, measured points alone, and what was done."""
    done = detrend(stretch.series, detrending_of(choices.trend), airmass=stretch.airmass)
    return replace(
        stretch, series=done.series, airmass=stretch.airmass[done.used], utc_ms=stretch.utc_ms[done.used]
    ), done.sentence


def with_errors(
    x: FloatArray, y: FloatArray, error: FloatArray, *, text: Sequence[str] = (), alpha: FloatArray | None = None
) -> Columns:
    """Columns of points with errors; those that are not finite are left out."""
    good = np.isfinite(x) & np.isfinite(y)
    known = np.nan_to_num(error, nan=0.0, posinf=0.0)
    words = np.array(text if len(text) else [""] * len(x), dtype=object)
    shade = np.full(len(x), _OPAQUE) if alpha is None else alpha
    columns = {"x": x, "y": y, "lower": y - known, "upper": y + known, "alpha": shade, "text": words}
    return {name: column[good] for name, column in columns.items()}
