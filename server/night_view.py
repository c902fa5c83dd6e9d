"""What the page shows of a night at one moment: snapshots that never change, and how curves and spectra become them.

Made once by the feed, read by every session.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from server.columns import Columns, extreme_indices, robust_range
from stream.analysis.choice import KeyChoice
from stream.analysis.periodogram import PowerSpectrum, lomb_scargle
from stream.analysis.relative import RelativeLightCurve
from stream.errors import OpticamLiveError
from stream.flags import DOUBTFUL, flag_names
from stream.messages import Catalog, FloatArray, NightStatus
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY

MAX_CURVE_POINTS = 3000
MAX_SPECTRUM_POINTS = 1500
_FEWEST_FOR_SPECTRUM = 16
_MJD_TO_JD = 2400000.5
_SMOOTHED_PER_DECADE = 12


@dataclass(frozen=True, slots=True)
class SpectrumView:
    """A power spectrum as drawn; `sentence` says why there is none."""

    columns: Columns
    """``frequency`` (Hz) and ``power`` (fractional rms squared per Hz), thinned with its extremes kept."""
    smooth: Columns
    """The same averaged in bins of equal width in log frequency."""
    peak_frequency_hz: float = math.nan
    peak_power: float = math.nan
    peak_text: str = ""
    noise_level: float = math.nan
    """Mean power that the errors alone would make."""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class CurveView:
    """A relative light curve as drawn, within one window of time."""

    columns: Columns
    y_range: tuple[float, float]
    n_points: int
    """Points in the window before thinning, NaN left out."""
    rms: float
    """Standard deviation of the relative flux of the points without a doubtful flag."""
    typical_err: float
    """Median error of the same points."""
    spectrum: SpectrumView


@dataclass(frozen=True, slots=True)
class KeyView:
    """All that the page knows of one key."""

    key: str
    catalog: Catalog
    choice: KeyChoice | None
    positions: FloatArray
    """Where the sources were on the latest frame, shape (n_sources, 2), pixels; NaN off the frame."""
    n_frames: int
    sentence: str = ""
    """Why there is no light curve."""


@dataclass(frozen=True, slots=True)
class NightView:
    """A snapshot of the night."""

    name: str
    version: int = 0
    keys: Mapping[str, KeyView] = field(default_factory=dict)
    curves: Mapping[float, Mapping[str, CurveView]] = field(default_factory=dict)
    """By window (seconds; infinite for the whole night) and key."""
    status: NightStatus | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    """File and sentence of the newest rejected frames, newest first."""
    n_rejected: int = 0
    notices: tuple[str, ...] = ()
    label: str = ""
    """The photometer that is shown."""


def empty_columns() -> dict[str, FloatArray]:
    """Columns of a light curve without points."""
    return curve_columns(None, window_s=math.inf)


def curve_columns(curve: RelativeLightCurve | None, *, window_s: float) -> dict[str, FloatArray]:
    """Columns of a light curve within the last `window_s` seconds; NaN fluxes are left out, flagged ones hollow.

    ``utc_ms``: middle of the exposure, milliseconds since 1970 UTC. ``bjd_tdb``: days, NaN where the pointing is
    unknown. ``fill_alpha``: 0 for points that carry a flag of `stream.flags.DOUBTFUL`.
    """
    if curve is None or len(curve.frame_ids) == 0:
        names = ("utc_ms", "bjd_tdb", "flux", "flux_err", "lower", "upper", "fill_alpha", "flags", "frame_id")
        return {name: np.empty(0) for name in names}
    first = 0 if math.isinf(window_s) else _first_in_window(curve.time_mjd_utc, window_s)
    shown = first + np.flatnonzero(np.isfinite(curve.flux[first:]))
    flux, error = curve.flux[shown], curve.flux_err[shown]
    error_or_0 = np.nan_to_num(error)
    flags = curve.flags[shown]
    return {
        "utc_ms": (curve.time_mjd_utc[shown] - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY * 1e3,
        "bjd_tdb": curve.time_bmjd_tdb[shown] + _MJD_TO_JD,
        "flux": flux,
        "flux_err": error_or_0,
        "lower": flux - error_or_0,
        "upper": flux + error_or_0,
        "fill_alpha": np.where(flags & int(DOUBTFUL), 0.0, 0.85),
        "flags": flags,
        "frame_id": curve.frame_ids[shown],
    }


def _first_in_window(time_mjd: FloatArray, window_s: float) -> int:
    return int(np.searchsorted(time_mjd, time_mjd[-1] - window_s / SECONDS_PER_DAY))


def thin_curve(columns: Columns) -> dict[str, FloatArray]:
    """Thin a light curve to what a screen can show, extremes kept, and name its flags."""
    kept = extreme_indices(columns["utc_ms"] / 1e3, columns["flux"], MAX_CURVE_POINTS)
    thinned = {name: column[kept] for name, column in columns.items()}
    names = {int(flags): ", ".join(flag_names(int(flags))) or "none" for flags in np.unique(thinned["flags"])}
    thinned["flags"] = np.array([names[int(flags)] for flags in thinned["flags"]], dtype=object)
    return thinned


def spectrum_view(columns: Columns, name: str) -> SpectrumView:
    """Power spectrum of the points of a light curve as `curve_columns` gives them, before thinning."""
    nothing = {"frequency": np.empty(0), "power": np.empty(0)}
    good = columns["flux_err"] > 0.0
    if int(good.sum()) < _FEWEST_FOR_SPECTRUM:
        text = f"{name}: {int(good.sum())} points, a power spectrum needs {_FEWEST_FOR_SPECTRUM}"
        return SpectrumView(nothing, nothing, sentence=text)
    barycentric = columns["bjd_tdb"]
    time_s = columns["utc_ms"] / 1e3 if np.isnan(barycentric).any() else barycentric * SECONDS_PER_DAY
    try:
        spectrum = lomb_scargle((time_s - time_s[0])[good], columns["flux"][good], columns["flux_err"][good])
    except OpticamLiveError as problem:
        return SpectrumView(nothing, nothing, sentence=f"{name}: {problem}")
    return _drawn(spectrum)


def _drawn(spectrum: PowerSpectrum) -> SpectrumView:
    shown = (spectrum.frequency_hz > 0.0) & (spectrum.power > 0.0) & np.isfinite(spectrum.power)
    frequency, power = spectrum.frequency_hz[shown], spectrum.power[shown]
    kept = extreme_indices(np.log2(frequency), power, MAX_SPECTRUM_POINTS)
    peak_hz = float(spectrum.peak_frequency_hz)
    text = f"{significant(peak_hz, spectrum.peak_frequency_err_hz)} Hz"
    text += f" · {_period_text(1.0 / peak_hz)} · rms {100.0 * spectrum.peak_rms:.2f} %"
    return SpectrumView(
        {"frequency": frequency[kept], "power": power[kept]},
        smoothed(frequency, power),
        peak_frequency_hz=peak_hz,
        peak_power=float(spectrum.peak_power),
        peak_text=text,
        noise_level=float(spectrum.noise_level),
    )


def smoothed(frequency: FloatArray, power: FloatArray) -> dict[str, FloatArray]:
    """Average power in bins of equal width in log frequency; the average is of powers, which is unbiased."""
    if len(frequency) == 0:
        return {"frequency": np.empty(0), "power": np.empty(0)}
    bins = np.floor(np.log10(frequency) * _SMOOTHED_PER_DECADE)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(bins)) + 1])
    counts = np.diff(np.concatenate([starts, [len(bins)]]))
    return {
        "frequency": 10.0 ** (np.add.reduceat(np.log10(frequency), starts) / counts),
        "power": np.add.reduceat(power, starts) / counts,
    }


def significant(value: float, error: float) -> str:
    """A number with the digits that its error leaves, one of them uncertain, at most six after the point."""
    if not (math.isfinite(error) and error > 0.0):
        return f"{value:.4g}"
    digits = min(6, max(1, -math.floor(math.log10(error))))
    return f"{value:.{digits}f}"


def _period_text(period_s: float) -> str:
    if period_s < 120.0:
        return f"{period_s:.2f} s"
    return f"{period_s / 60.0:.1f} min" if period_s < 7200.0 else f"{period_s / 3600.0:.2f} h"


def curve_view(columns: Columns, spectrum: SpectrumView) -> CurveView:
    """Make the drawn form of a light curve as `curve_columns` gives it."""
    good = columns["fill_alpha"] > 0.0
    flux, error = columns["flux"][good], columns["flux_err"][good]
    return CurveView(
        columns=thin_curve(columns),
        y_range=robust_range(columns["flux"], columns["flux_err"]),
        n_points=len(columns["flux"]),
        rms=float(np.std(flux)) if len(flux) else math.nan,
        typical_err=float(np.median(error)) if len(error) else math.nan,
        spectrum=spectrum,
    )
