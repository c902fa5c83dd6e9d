"""What was measured on the frames besides fluxes: any column against time or any other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from server.columns import Columns, OrderedColumns, extreme_indices
from stream.analysis.relative import RelativeLightCurve
from stream.messages import Catalog, FloatArray, FrameMeasured
from stream.night.night_reader import FrameConditions
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY

TIME = "time"
QUANTITIES = {
    "fwhm_px": "FWHM / px",
    "fwhm_arcsec": "FWHM / arcsec",
    "ellipticity": "ellipticity, 1 - b/a",
    "sky_e_per_px": "sky / e⁻ per px",
    "transparency": "transparency",
    "shift_x_px": "shift in x / px",
    "shift_y_px": "shift in y / px",
    "rotation_deg": "rotation / degrees",
    "airmass": "airmass",
    "relative_flux": "relative flux of the target",
    "scale": "scale",
    "orientation_deg": "orientation / degrees",
    "n_aligned": "stars aligned on",
    "alignment_rms_px": "alignment / px rms",
    "exposure_s": "exposure / s",
    "core_s": "processor time / s",
}
"""Columns that can be drawn, and what their axes say; ``time`` besides."""
OVERVIEW = ("fwhm_px", "ellipticity", "sky_e_per_px", "transparency", "shift_x_px", "rotation_deg")
MAX_POINTS_OF_ONE, MAX_POINTS_OF_MANY = 2400, 600
_NUMBERS = (
    *(name for name in QUANTITIES if name not in ("fwhm_arcsec", "ellipticity", "relative_flux")),
    "semi_major_sigma_px",
    "semi_minor_sigma_px",
    "time_mjd_utc",
)


@dataclass(frozen=True, slots=True)
class ConditionLook:
    """What one viewer wants to see of the conditions.

    Attributes
    ----------
    x : str
        ``time`` or one of `QUANTITIES`.
    ys : tuple of str
        Of `QUANTITIES`.
    label : str
        Photometer of the relative flux; empty for the first.
    span_ms : tuple of float or None
        Stretch of the night, milliseconds since 1970 UTC.
    window_s : float
        The last so many seconds, where there is no span.
    """

    x: str = TIME
    ys: tuple[str, ...] = OVERVIEW
    label: str = ""
    span_ms: tuple[float, float] | None = None
    window_s: float = math.inf


@dataclass(frozen=True, slots=True)
class ConditionView:
    """Columns of one key as drawn: for each quantity asked for ``x``, ``y`` and ``frame_id``, thinned."""

    strips: Mapping[str, Columns]


class ConditionColumns(OrderedColumns):
    """Columns of the frames of one key, in order of time.

    Parameters
    ----------
    night : FrameConditions
        What the ledger holds.
    catalog : Catalog
        Of the key: its pixel scale makes seconds of arc.
    """

    def __init__(self, night: FrameConditions, catalog: Catalog) -> None:
        super().__init__(dict.fromkeys((*_NUMBERS, "frame_ids")))
        self.key = catalog.key
        self._scale_arcsec = catalog.pixel_scale_arcsec
        self._merge({name: night[name] for name in _NUMBERS} | {"frame_ids": night.frame_ids})

    def insert(self, frames: Sequence[FrameMeasured]) -> int:
        """Add measured frames, in any order; returns how many were new."""
        block = {name: np.array([getattr(frame, name) for frame in frames], dtype=np.float64) for name in _NUMBERS}
        return self._merge(block | {"frame_ids": np.array([frame.frame_id for frame in frames], dtype=np.int64)})

    def column(self, name: str) -> FloatArray:
        """A column by its name, derived ones too; those of the light curve are not among them."""
        if name == "fwhm_arcsec":
            scale = self._scale_arcsec if self._scale_arcsec > 0.0 else math.nan
            return self._arrays["fwhm_px"][: self._n] * scale
        if name == "ellipticity":
            major = self._arrays["semi_major_sigma_px"][: self._n]
            with np.errstate(invalid="ignore", divide="ignore"):
                return 1.0 - self._arrays["semi_minor_sigma_px"][: self._n] / major
        if name == TIME:
            return (self._arrays["time_mjd_utc"][: self._n] - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY * 1e3
        return self._arrays[name][: self._n]


def condition_view(columns: ConditionColumns, look: ConditionLook, curve: RelativeLightCurve | None) -> ConditionView:
    """Take what a look wants from the columns of a key; the light curve is for its relative flux."""
    time_ms = columns.column(TIME)
    first, last = 0, len(time_ms)
    if look.span_ms is not None:
        first, last = (int(np.searchsorted(time_ms, edge)) for edge in look.span_ms)
    elif len(time_ms) and not math.isinf(look.window_s):
        first = int(np.searchsorted(time_ms, time_ms[-1] - 1e3 * look.window_s))
    most = MAX_POINTS_OF_ONE if len(look.ys) == 1 else MAX_POINTS_OF_MANY
    x = _column(columns, look.x, curve)[first:last]
    frame_ids = columns.column("frame_ids")[first:last].astype(np.float64)
    strips = {}
    for name in look.ys:
        y = _column(columns, name, curve)[first:last]
        known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        if look.x == TIME:
            kept = known[extreme_indices(x[known] / 1e3, y[known], most)]
        else:
            kept = known[:: max(1, -(-len(known) // most))]
        strips[name] = {"x": x[kept], "y": y[kept], "frame_id": frame_ids[kept]}
    return ConditionView(strips)


def _column(columns: ConditionColumns, name: str, curve: RelativeLightCurve | None) -> FloatArray:
    if name != "relative_flux":
        return columns.column(name)
    flux = np.full(len(columns), np.nan)
    if curve is not None and len(curve.frame_ids):
        # Both are in order of time, but frames without the catalog's sources have conditions alone.
        places = {frame_id: place for place, frame_id in enumerate(columns.column("frame_ids").tolist())}
        rows = np.array([places.get(frame_id, -1) for frame_id in curve.frame_ids.tolist()])
        flux[rows[rows >= 0]] = curve.flux[rows >= 0]
    return flux
