"""Light curves as they are drawn: a stretch of a night, thinned, binned, averaged and scaled as a viewer wants it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.columns import Columns, GrowingThinning, robust_range
from server.curve_trend import CurveTrend, TrendMaker
from server.grown import GrownCurve
from server.looks import Look
from server.solving import RENEWAL, Solver
from server.spectrum_views import SpectrumMaker, SpectrumView, no_spectrum
from stream.analysis.detrending import Trend
from stream.analysis.relative import RelativeLightCurve
from stream.analysis.series import TimeSeries
from stream.flags import DOUBTFUL, flag_names
from stream.messages import FloatArray, IntArray
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY

MAX_CURVE_POINTS = 3000
MAX_MEAN_POINTS = 600
MAX_CHECK_POINTS = 1000
_MOST_JUDGED = 20_000
_SCATTER_INTERVAL_S = 1.0
_NO_ROWS: IntArray = np.empty(0, dtype=np.int64)
_COMPUTED = "the power spectrum is being computed"
_MJD_TO_JD = 2400000.5
_POGSON = 2.5 / math.log(10.0)
_NUMBERS = ("utc_ms", "bjd_tdb", "flux", "flux_err", "lower", "upper", "fill_alpha", "frame_id")
_TEXTS = ("flags", "frame")


@dataclass(frozen=True, slots=True)
class CurveView:
    """A relative light curve as drawn, within one stretch of time."""

    columns: Columns
    """``utc_ms``: middle of the exposure, milliseconds since 1970 UTC. ``bjd_tdb``: days, NaN where the pointing is
    unknown. ``flux``, ``flux_err``, ``lower``, ``upper``: on the scale of the look. ``fill_alpha``: 0 for points that
    carry a flag of `stream.flags.DOUBTFUL`. ``flags``, ``frame``: in words."""
    y_range: tuple[float, float]
    n_points: int
    """Points in the stretch before thinning and binning, NaN left out."""
    rms: float
    """Standard deviation of the relative flux of the points without a doubtful flag."""
    typical_err: float
    """Median error of the same points."""
    spectrum: SpectrumView
    mean: Columns = field(default_factory=dict)
    """``utc_ms`` and ``flux`` of the rolling mean; empty where none is wanted."""
    check: Columns = field(default_factory=dict)
    """``utc_ms`` and ``flux`` of a comparison star over the others, shifted below the target."""
    check_text: str = ""
    unit: float = 1.0
    """What fluxes are divided by."""
    trend: CurveTrend = field(default_factory=CurveTrend)
    """What they are divided by besides."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows of a light curve that are looked at."""

    curve: RelativeLightCurve
    first: int
    last: int

    def part(self, name: str) -> FloatArray:
        return getattr(self.curve, name)[self.first : self.last]

    def good(self) -> IntArray:
        """Rows, counted in the whole curve, that have a flux and no doubtful flag."""
        fit = np.isfinite(self.part("flux")) & ((self.part("flags").astype(np.int64) & int(DOUBTFUL)) == 0)
        return self.first + np.flatnonzero(fit)


@dataclass(frozen=True, slots=True)
class _Words:
    """Flags and files of points in words: looking them up one by one is most of what a drawn point costs."""

    frame_ids: IntArray = field(default_factory=lambda: _NO_ROWS)
    bits: IntArray = field(default_factory=lambda: _NO_ROWS)
    flags: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=object))
    frames: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=object))

    def of(self, frame_ids: IntArray, bits: IntArray, names: Mapping[int, str]) -> _Words:
        """Words of these points: those of the points that were there before are taken over."""
        n_common, held = 0, slice(0, 0)
        gone = np.flatnonzero(self.frame_ids == frame_ids[0]) if len(frame_ids) else _NO_ROWS
        if len(gone):
            n_common = min(len(self.frame_ids) - int(gone[0]), len(frame_ids))
            held = slice(int(gone[0]), int(gone[0]) + n_common)
            same = (self.frame_ids[held] == frame_ids[:n_common]) & (self.bits[held] == bits[:n_common])
            if not same.all():
                n_common = int(np.argmin(same))
                held = slice(held.start, held.start + n_common)
        fresh_ids, fresh_bits = frame_ids[n_common:], bits[n_common:]
        words = {each: ", ".join(flag_names(each)) or "none" for each in set(fresh_bits.tolist())}
        flags = np.array([words[each] for each in fresh_bits.tolist()], dtype=object)
        frames = np.array([names.get(each, "") for each in fresh_ids.tolist()], dtype=object)
        return _Words(
            frame_ids,
            bits,
            np.concatenate([self.flags[held], flags]),
            np.concatenate([self.frames[held], frames]),
        )


def empty_columns() -> dict[str, FloatArray]:
    """Columns of a light curve without points."""
    return {name: np.empty(0) for name in _NUMBERS} | {name: np.empty(0, dtype=object) for name in _TEXTS}


class CurveMaker:
    """Keeps what one look shows of one key up to date; as long as nothing changed it is the same object.

    Parameters
    ----------
    look : Look
    key : str
    solver : Solver
        Of power spectra.
    names : mapping of int to str
        File of every frame.
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(
        self,
        look: Look,
        key: str,
        solver: Solver,
        *,
        names: Mapping[int, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._key = key
        self._solver = solver
        self._names = names
        self._thinning, self._check_thinning = GrowingThinning(MAX_CURVE_POINTS), GrowingThinning(MAX_CHECK_POINTS)
        self._spectrum = SpectrumMaker(key, clock, look)
        self._trend = TrendMaker(look.trend, solver, clock)
        self._transform: Future[None] | None = None
        self._shown = self._spectrum.view
        self._clock = clock
        self._scatter, self._scatter_due_s = (math.nan, math.nan), -math.inf
        self._words = _Words()
        self._versions = (-1, -1)
        self._view: CurveView | None = None

    def view(self, grown: GrownCurve, check: GrownCurve | None) -> CurveView:
        """Return what is drawn of a light curve as it is now."""
        if self._look.spectra:
            self._order_spectrum(grown)
        self._order_trend(grown)
        versions = (grown.version, check.version if check else 0)
        if self._trend.take() or self._view is None or versions != self._versions:
            self._view = self._made(grown, check)
            self._versions = versions
        self._take_spectrum()
        if self._view.spectrum is not self._shown and self._view.n_points:
            self._view = replace(self._view, spectrum=self._shown)
        return self._view

    def _order_spectrum(self, grown: GrownCurve) -> None:
        """Have the spectrum made where it is due, one at a time."""
        curve = grown.curve()
        if self._transform is not None or curve is None or not len(curve.frame_ids):
            return
        if not self._spectrum.is_due(grown.version):
            return
        stretch = stretch_of(curve, self._look)
        # The columns go on growing while it is made.
        series = replace(series_of(stretch), flux_err=stretch.part("flux_err").copy())
        airmass = stretch.part("airmass").copy()
        size: float = RENEWAL
        if self._view is None or not self._view.n_points:
            self._shown, size = no_spectrum(f"{self._key}: {_COMPUTED}"), len(airmass)
        self._transform = self._solver.order(size, self._spectrum.make, series, airmass, grown.version)

    def _order_trend(self, grown: GrownCurve) -> None:
        curve = None if self._look.trend.trend is Trend.NONE else grown.curve()
        if curve is None or not len(curve.frame_ids):
            return
        stretch = stretch_of(curve, self._look)

        def points() -> tuple[TimeSeries, FloatArray, FloatArray]:
            series = series_of(stretch)
            kept = replace(series, flux_err=series.flux_err.copy())
            return kept, stretch.part("airmass").copy(), stretch.part("time_mjd_utc").copy()

        self._trend.order(grown.version, points)

    def _take_spectrum(self) -> None:
        """Show what was made last; what the solver is at is not touched."""
        if self._transform is not None and self._transform.done():
            self._transform.result()
            self._transform = None
            self._shown = self._spectrum.view

    def _made(self, grown: GrownCurve, check: GrownCurve | None) -> CurveView:
        curve = grown.curve()
        if curve is None or not len(curve.frame_ids):
            return CurveView(empty_columns(), (0.9, 1.1), 0, math.nan, math.nan, no_spectrum())
        stretch = stretch_of(curve, self._look)
        first_changed = grown.first_changed(self._versions[0])
        good = self._good_rows(stretch, is_solved=first_changed <= stretch.first)
        unit = _unit(curve, good, self._look)
        if self._look.bin_s:
            columns = self._binned(curve, good)
        else:
            within = stretch.first, stretch.last
            columns = self._points(curve, self._thinning.rows(curve.time_mjd_utc, curve.flux, within, first_changed))
        columns = _scaled(columns, self._look, unit)
        view = CurveView(
            columns=columns,
            y_range=_y_range(columns, self._look),
            n_points=int(np.count_nonzero(np.isfinite(stretch.part("flux")))),
            rms=self._scatter[0],
            typical_err=self._scatter[1],
            spectrum=self._shown,
            unit=unit,
            trend=self._trend.trend,
            mean=self._mean(curve, good, unit) if self._look.mean_s else {},
        )
        return self._with_check(view, check) if self._look.check and check is not None else view

    def _good_rows(self, stretch: Stretch, *, is_solved: bool) -> IntArray:
        """Rows that count; of a curve that only grew, the last ones again for a second where nothing but the scatter
        depends on them: a few frames more do not change it."""
        look = self._look
        is_used = look.bin_s > 0.0 or look.mean_s > 0.0 or look.scale == "shown"
        if not (is_solved or is_used) and self._clock() < self._scatter_due_s:
            return _NO_ROWS
        self._scatter_due_s = self._clock() + _SCATTER_INTERVAL_S
        good = stretch.good()
        judged = good[:: max(1, -(-len(good) // _MOST_JUDGED))]
        curve = stretch.curve
        self._scatter = (
            (float(np.std(self._without_trend(curve, good))), float(np.median(curve.flux_err[judged])))
            if len(good)
            else (math.nan, math.nan)
        )
        return good

    def _without_trend(self, curve: RelativeLightCurve, rows: IntArray) -> FloatArray:
        trend = self._trend.trend
        return curve.flux[rows] / trend.at(curve.time_mjd_utc[rows]) if trend.columns else curve.flux[rows]

    def _points(self, curve: RelativeLightCurve, rows: IntArray) -> dict[str, FloatArray]:
        flags = curve.flags[rows]
        share = self._trend.trend.at(curve.time_mjd_utc[rows])
        frame_ids = curve.frame_ids[rows]
        self._words = self._words.of(frame_ids, flags, self._names)
        return {
            "utc_ms": utc_ms_of(curve.time_mjd_utc[rows]),
            "bjd_tdb": curve.time_bmjd_tdb[rows] + _MJD_TO_JD,
            "flux": curve.flux[rows] / share,
            "flux_err": np.nan_to_num(curve.flux_err[rows]) / share,
            "fill_alpha": np.where(flags & int(DOUBTFUL), 0.0, 0.85),
            "frame_id": frame_ids.astype(np.float64),
            "flags": self._words.flags,
            "frame": self._words.frames,
        }

    def _binned(self, curve: RelativeLightCurve, good: IntArray) -> dict[str, FloatArray]:
        """Means weighted by 1/err^2 in bins that begin at whole multiples of their width since 1970."""
        with np.errstate(invalid="ignore"):
            good = good[curve.flux_err[good] > 0.0]
        if not len(good):
            return empty_columns()
        bins = np.floor(utc_ms_of(curve.time_mjd_utc[good]) / (1e3 * self._look.bin_s))
        starts = np.concatenate([[0], np.flatnonzero(np.diff(bins)) + 1])
        counts = np.diff(np.concatenate([starts, [len(good)]]))
        share = self._trend.trend.at(curve.time_mjd_utc[good])
        weights = (share / curve.flux_err[good]) ** 2
        total = np.add.reduceat(weights, starts)

        def mean(values: FloatArray) -> FloatArray:
            return np.add.reduceat(weights * values, starts) / total

        return {
            "utc_ms": utc_ms_of(mean(curve.time_mjd_utc[good])),
            "bjd_tdb": mean(curve.time_bmjd_tdb[good]) + _MJD_TO_JD,
            "flux": mean(curve.flux[good] / share),
            "flux_err": total**-0.5,
            "fill_alpha": np.full(len(starts), 0.85),
            "frame_id": curve.frame_ids[good[starts]].astype(np.float64),
            "flags": np.full(len(starts), "none", dtype=object),
            "frame": np.array([f"{count} frames" for count in counts.tolist()], dtype=object),
        }

    def _mean(self, curve: RelativeLightCurve, good: IntArray, unit: float) -> dict[str, FloatArray]:
        """Mean of the points without a doubtful flag within half a width on either side."""
        if not len(good):
            return {"utc_ms": np.empty(0), "flux": np.empty(0)}
        times, sums = curve.time_mjd_utc[good], np.concatenate([[0.0], np.cumsum(self._without_trend(curve, good))])
        at = np.linspace(times[0], times[-1], MAX_MEAN_POINTS)
        half = 0.5 * self._look.mean_s / SECONDS_PER_DAY
        low, high = np.searchsorted(times, at - half), np.searchsorted(times, at + half, side="right")
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (sums[high] - sums[low]) / (high - low)
        # A line that bridges a gap would show what nobody measured: NaN ends it there.
        return {"utc_ms": utc_ms_of(at), "flux": on_scale(mean, self._look, unit)}

    def _with_check(self, view: CurveView, check: GrownCurve) -> CurveView:
        curve = check.curve()
        if curve is None or not len(curve.frame_ids):
            return view
        stretch = stretch_of(curve, self._look)
        rows = self._check_thinning.rows(
            curve.time_mjd_utc,
            curve.flux,
            (stretch.first, stretch.last),
            check.first_changed(self._versions[1]),
        )
        flux = on_scale(curve.flux[rows], self._look, _unit(curve, stretch.good(), self._look))
        below, above = robust_range(flux, np.zeros(0))
        bottom, top = view.y_range
        # Magnitudes grow downwards.
        up, height, middle = math.copysign(1.0, top - bottom), abs(above - below), 0.5 * (above + below)
        # In steps, so that the points do not tremble with the range of the target's.
        step = 2.0 ** math.floor(math.log2(max(abs(top - bottom), 1e-9) / 16.0))
        shift = math.floor((bottom - up * 0.6 * height - middle) / step) * step
        lowest = min(bottom * up, (middle + shift) * up - 0.6 * height) * up
        shifted = {"utc_ms": utc_ms_of(curve.time_mjd_utc[rows]), "flux": flux + shift}
        text = f"{curve.target} over the others, shifted"
        return replace(view, check=shifted, check_text=text, y_range=(lowest, top))


def utc_ms_of(time_mjd: FloatArray) -> FloatArray:
    """Milliseconds since 1970 UTC."""
    return (time_mjd - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY * 1e3


def mjd_of(utc_ms: FloatArray) -> FloatArray:
    """Modified Julian date in UTC of milliseconds since 1970."""
    return MJD_OF_UNIX_EPOCH + utc_ms / 1e3 / SECONDS_PER_DAY


def stretch_of(curve: RelativeLightCurve, look: Look) -> Stretch:
    """The rows of a light curve that a look is at."""
    times = curve.time_mjd_utc
    if look.span_ms is not None:
        low, high = mjd_of(np.array(look.span_ms)).tolist()
        return Stretch(curve, int(np.searchsorted(times, low)), int(np.searchsorted(times, high, side="right")))
    if math.isinf(look.window_s):
        return Stretch(curve, 0, len(times))
    return Stretch(curve, int(np.searchsorted(times, times[-1] - look.window_s / SECONDS_PER_DAY)), len(times))


def series_of(stretch: Stretch, origin_day: int | None = None) -> TimeSeries:
    """Seconds since a day, that of the curve's first point, so that points keep their numbers.

    A flux that is flagged as doubtful is NaN, as it takes no part in the timing of a notebook either.
    """
    days = stretch.curve.time()
    origin = math.floor(days[0]) if origin_day is None else origin_day
    doubtful = (stretch.part("flags").astype(np.int64) & int(DOUBTFUL)) != 0
    return TimeSeries(
        (days[stretch.first : stretch.last] - origin) * SECONDS_PER_DAY,
        np.where(doubtful, np.nan, stretch.part("flux")),
        stretch.part("flux_err"),
    )


def _unit(curve: RelativeLightCurve, good: IntArray, look: Look) -> float:
    """What fluxes are divided by: 1, or their median in the stretch."""
    if look.scale != "shown" or not len(good):
        return 1.0
    level = float(np.median(curve.flux[good]))
    return level if level > 0.0 else 1.0


def on_scale(flux: FloatArray, look: Look, unit: float) -> FloatArray:
    """Relative fluxes as a look shows them: over `unit`, or in magnitudes, NaN where they are not above 0."""
    if look.scale != "magnitude":
        return flux / unit
    return -_POGSON * np.log(np.where(flux > 0.0, flux, np.nan))


def _scaled(columns: dict[str, FloatArray], look: Look, unit: float) -> dict[str, FloatArray]:
    flux = columns["flux"]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = columns["flux_err"] * _POGSON / flux if look.scale == "magnitude" else columns["flux_err"] / unit
        scaled = on_scale(flux, look, unit)
    columns = columns | {"flux": scaled, "flux_err": error, "lower": scaled - error, "upper": scaled + error}
    finite = np.isfinite(scaled)
    return columns if finite.all() else {name: column[finite] for name, column in columns.items()}


def _y_range(columns: Columns, look: Look) -> tuple[float, float]:
    limits = robust_range(columns["flux"], columns["flux_err"])
    if not len(columns["flux"]) and look.scale == "magnitude":
        return 0.1, -0.1
    return (limits[1], limits[0]) if look.scale == "magnitude" else limits
