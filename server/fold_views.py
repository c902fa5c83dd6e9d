"""Light curves folded on the highest peak, or on a typed period and epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from server.amounts import period_with_error, with_error
from server.columns import Columns, robust_range
from server.timing_looks import TimingChoices, detrending_of, epoch_mjd, period_s
from server.timing_views import KeyStretch, StripView, TimingView, reference_of, with_errors
from stream.analysis.detrending import Detrended, detrend
from stream.analysis.folding import Ephemeris, FoldedCurve, PhaseBins, ephemeris_of_peak, phase_bin, phase_fold
from stream.analysis.periodogram import lomb_scargle
from stream.errors import OpticamLiveError
from stream.messages import FloatArray
from stream.timestamps import SECONDS_PER_DAY

_MOST_DOTS = 1200
_BEYOND = 0.15


def fold_view(stretches: Sequence[KeyStretch], choices: TimingChoices, _previous: object = None) -> TimingView:
    """Fold every key on one ephemeris, after detrending.

    Raises
    ------
    ConfigurationError, AnalysisError
        If what was typed makes no sense, or the reference key has no peak to fold on.
    """
    reference = reference_of(stretches, choices.reference)
    detrending = detrending_of(choices.trend)
    own = detrend(reference.series, detrending, airmass=reference.airmass)
    ephemeris, whence = _ephemeris(own, reference, choices)
    strips = []
    for stretch in stretches:
        try:
            done = own if stretch is reference else detrend(stretch.series, detrending, airmass=stretch.airmass)
            strips.append(_strip(stretch.key, done, ephemeris, n_bins=choices.n_bins))
        except OpticamLiveError as problem:
            nothing = with_errors(np.empty(0), np.empty(0), np.empty(0))
            strips.append(
                StripView(stretch.key, stretch.key, f"{stretch.key} · {problem}", nothing, (0.9, 1.1), (0.0, 2.0))
            )
    epoch = with_error(reference.julian_date(ephemeris.epoch_s), ephemeris.epoch_err_s / SECONDS_PER_DAY)
    if ephemeris.epoch_err_s <= 0.0:
        epoch = f"{reference.julian_date(ephemeris.epoch_s):.7f}"
    off = ephemeris.phase_err(float(own.series.time_s[-1]))
    text = f"period {period_with_error(ephemeris.period_s, ephemeris.period_err_s)} ({whence})"
    text += f" · phase 0 at {reference.scale} {epoch}"
    text += f" · phase known to {off:.2g} cycles at the last point" if off > 0.0 else ""
    return TimingView(text=text, strips=tuple(strips))


def _ephemeris(own: Detrended, reference: KeyStretch, choices: TimingChoices) -> tuple[Ephemeris, str]:
    series = own.series
    epoch = None
    if choices.epoch.strip():
        epoch = (epoch_mjd(choices.epoch) - reference.origin_day) * SECONDS_PER_DAY
    if choices.period.strip():
        given = period_s(choices.period)
        if epoch is not None:
            return Ephemeris(given, epoch), "typed"
        return Ephemeris(given, float(series.time_s[0])), "typed; phase 0 at the first point"
    spectrum = lomb_scargle(series.time_s - series.time_s[0], series.flux, series.flux_err)
    found = ephemeris_of_peak(spectrum, series)
    whence = f"highest peak of {reference.key}"
    if math.isfinite(spectrum.rival_frequency_hz):
        whence += f", {1.0 / spectrum.rival_frequency_hz:.6g} s as likely"
    if epoch is not None:
        return replace(found, epoch_s=epoch, epoch_err_s=0.0), whence
    return found, f"{whence}, phase 0 at its maximum"


def _strip(key: str, done: Detrended, ephemeris: Ephemeris, *, n_bins: int) -> StripView:
    bins = phase_bin(done.series, ephemeris, n_bins=n_bins)
    folded = phase_fold(done.series, ephemeris)
    n_empty = int(np.count_nonzero(bins.n_points == 0))
    title = f"{key} · {len(folded.phase):,} points in {n_bins} bins" + (f", {n_empty} empty" if n_empty else "")
    return StripView(
        name=key,
        colour_of=key,
        title=title,
        points=_two_cycles(bins),
        dots=_dots(folded),
        y_range=_y_range(bins, folded.flux),
        x_range=(0.0, 2.0),
        note=done.sentence,
    )


def _two_cycles(bins: PhaseBins) -> Columns:
    # The greater of both errors: that of the weights alone is too small where the light curve is not white.
    error = np.fmax(bins.flux_err, np.nan_to_num(bins.scatter_err))
    text = [f"{count} points" for count in bins.n_points.tolist()] * 2
    return with_errors(
        np.concatenate([bins.phase, bins.phase + 1.0]), np.tile(bins.flux, 2), np.tile(error, 2), text=text
    )


def _dots(folded: FoldedCurve) -> Columns:
    # In order of phase, so that every so manieth of them is spread evenly.
    step = max(1, -(-len(folded.phase) // _MOST_DOTS))
    phase, flux = folded.phase[::step], folded.flux[::step]
    return {"x": np.concatenate([phase, phase + 1.0]), "y": np.tile(flux, 2)}


def _y_range(bins: PhaseBins, flux: FloatArray) -> tuple[float, float]:
    """All bins with their errors, and as much of the points behind as does not make them flat."""
    low, high = float(np.nanmin(bins.flux - bins.flux_err)), float(np.nanmax(bins.flux + bins.flux_err))
    bottom, top = robust_range(flux, np.zeros(1))
    room = max(1.5 * (high - low), 1e-9)
    low, high = max(bottom, low - room), min(top, high + room)
    margin = _BEYOND * (high - low) if high > low else 0.05
    return low - margin, high + margin
