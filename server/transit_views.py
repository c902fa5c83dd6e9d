"""Transits, a quick look: the trapezoid that fits each key best, beside its light curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from server.amounts import with_error
from server.columns import Columns, robust_range
from server.timing_looks import TimingChoices
from server.timing_views import KeyStretch, StripView, TimingView, reference_of, with_errors
from stream.analysis.series import TimeSeries
from stream.analysis.transit_fit import SEEN_DEPTH_SIGMA, TransitFit, fit_transit
from stream.errors import OpticamLiveError
from stream.messages import FloatArray
from stream.timestamps import SECONDS_PER_DAY

_MOST_FITTED = 1500
_MOST_DRAWN = 120
_NOTHING: Columns = {"utc_ms": np.empty(0), "flux": np.empty(0)}


def transit_view(stretches: Sequence[KeyStretch], choices: TimingChoices, _previous: object = None) -> TimingView:
    """Fit every key by itself; of more than 1500 points, means of neighbours are fitted.

    Raises
    ------
    AnalysisError
        If there is no light curve.
    """
    reference_of(stretches, choices.reference)
    strips, models = [], {}
    for stretch in stretches:
        try:
            series, airmass = averaged(stretch.series, stretch.airmass, _MOST_FITTED)
            fit = fit_transit(series, airmass=airmass)
        except OpticamLiveError as problem:
            nothing = with_errors(np.empty(0), np.empty(0), np.empty(0))
            title = f"{stretch.key} · {problem}"
            strips.append(StripView(stretch.key, stretch.key, title, nothing, (0.9, 1.1), (0.0, 1.0)))
            continue
        model = {"utc_ms": stretch.utc_ms_at(series.time_s), "flux": fit.model}
        # A line through what is not there would make it look as if it were.
        if is_seen(fit):
            models[stretch.key] = model
        strips.append(_strip(stretch, series, fit, models.get(stretch.key, _NOTHING)))
    text = "Quick look, without limb darkening: errors are those of white noise, correlated noise makes them too small."
    return TimingView(text=text, strips=tuple(strips), models=models)


def is_seen(fit: TransitFit) -> bool:
    """Whether the dip is deeper than noise makes it."""
    return fit.depth > SEEN_DEPTH_SIGMA * fit.depth_err


def averaged(series: TimeSeries, airmass: FloatArray, n_most: int) -> tuple[TimeSeries, FloatArray]:
    """Means, weighted by 1/err^2, of neighbouring measured points, so that there are no more than `n_most`."""
    with np.errstate(invalid="ignore"):
        good = np.isfinite(series.flux) & (series.flux_err > 0.0) & np.isfinite(series.flux_err)
    time, flux, error, air = (column[good] for column in (series.time_s, series.flux, series.flux_err, airmass))
    size = -(-len(time) // n_most)
    if size <= 1:
        return TimeSeries(time, flux, error), air
    starts = np.arange(0, len(time), size)
    weights = error**-2
    total = np.add.reduceat(weights, starts)
    means = [np.add.reduceat(weights * column, starts) / total for column in (time, flux, air)]
    return TimeSeries(means[0], means[1], total**-0.5), means[2]


def _strip(stretch: KeyStretch, series: TimeSeries, fit: TransitFit, model: Columns) -> StripView:
    drawn, _ = averaged(series, np.zeros(len(series.time_s)), _MOST_DRAWN)
    x = stretch.utc_ms_at(drawn.time_s)
    depth = with_error(100.0 * fit.depth, 100.0 * fit.depth_err, "%") if fit.depth_err < 1.0 else "not known"
    title = f"{stretch.key} · depth {depth} · duration {_minutes(fit.duration_s, fit.duration_err_s)}"
    title += f"\n{_mid_time(stretch, fit)}"
    if not is_seen(fit):
        title = f"{stretch.key} · no dip above {SEEN_DEPTH_SIGMA:g} of its errors\ndepth {depth}"
    low, high = robust_range(np.concatenate([drawn.flux, model["flux"]]), drawn.flux_err)
    margin = max(0.02 * (x[-1] - x[0]), 500.0)
    return StripView(
        name=stretch.key,
        colour_of=stretch.key,
        title=title,
        points=with_errors(x, drawn.flux, drawn.flux_err),
        line={"x": model["utc_ms"], "y": model["flux"]},
        y_range=(low, high),
        x_range=(float(x[0] - margin), float(x[-1] + margin)),
        note=fit.sentence.replace("; ", "\n") if is_seen(fit) else fit.sentence.partition(";")[0],
    )


def _minutes(seconds: float, error_s: float) -> str:
    return with_error(seconds / 60.0, error_s / 60.0, "min") if math.isfinite(error_s) else "not known yet"


def _mid_time(stretch: KeyStretch, fit: TransitFit) -> str:
    if not math.isfinite(fit.middle_err_s):
        return "mid-time not known yet"
    moment = np.datetime64(round(float(stretch.utc_ms_at(fit.middle_s))), "ms").astype("datetime64[s]")
    day = with_error(stretch.julian_date(fit.middle_s), fit.middle_err_s / SECONDS_PER_DAY)
    return f"mid {str(moment)[11:]} · {day} {stretch.scale}"
