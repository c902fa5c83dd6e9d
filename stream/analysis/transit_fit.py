"""A quick look at a transit while it happens: trapezoid and airmass term, with errors that say how well it is known.

No limb darkening and no physics: a fit that helps to decide when to stop, not one to be published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.analysis.series import TimeSeries, check_variable, is_measured, measured_points
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import FloatArray

_FEWEST_POINTS = 12
_NARROWEST_AIRMASS = 1e-3
_SHAPES = (0.1, 0.3, 0.5)
"""First guesses of the ingress in durations."""
_N_MIDDLES = 24
_DURATIONS = (0.15, 0.3, 0.5, 0.7)
"""First guesses of the duration in spans of the light curve."""
_SOFT_SIGMA = 1.0
_SCATTER_OF_THE_ERRORS = 1.2
"""Residuals over errors up to which the errors are taken as they are."""
SEEN_DEPTH_SIGMA = 5.0


@dataclass(frozen=True, slots=True)
class TransitGuess:
    """Where to look; None: anywhere.

    Attributes
    ----------
    middle_s, duration_s : float or None
        From an ephemeris, in the seconds of the light curve.

    Raises
    ------
    ConfigurationError
        If the duration is not greater than 0, or the middle is no number.
    """

    middle_s: float | None = None
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if self.middle_s is not None and not math.isfinite(self.middle_s):
            raise ConfigurationError(f"middle_s ({self.middle_s}) of a transit must be a finite number")
        if self.duration_s is not None and not 0.0 < self.duration_s < math.inf:
            raise ConfigurationError(f"duration_s ({self.duration_s}) of a transit must be greater than 0")


@dataclass(frozen=True, slots=True)
class TransitFit:
    """A trapezoid times a linear trend.

    Attributes
    ----------
    depth, depth_err : float
        Fraction of the flux.
    middle_s, middle_err_s : float
        Seconds of the light curve; infinite error while it could be anywhere, as before the egress.
    duration_s, duration_err_s : float
        From first to last contact; infinite error while the egress, or the ingress, is not in the light curve.
    ingress_s : float
        From first to second contact.
    slope, slope_err : float
        Of the trend: per unit of airmass, or per second where there is none; fraction of the level.
    level : float
        Flux out of transit, at the mean of the airmass, or of the time.
    model : array, shape (n_points,)
        At the times given; NaN where nothing was measured.
    scatter : float
        Robust standard deviation of flux over model, less one.
    n_points : int
    complete : bool
        Points before the ingress and after the egress were measured, and depth is above five of its errors.
    sentence : str
        What was fitted and what is missing, for a plot.
    """

    depth: float
    depth_err: float
    middle_s: float
    middle_err_s: float
    duration_s: float
    duration_err_s: float
    ingress_s: float
    slope: float
    slope_err: float
    level: float
    model: FloatArray
    scatter: float
    n_points: int
    complete: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class _Data:
    """Measured points, time in units of the span and counted from their mean; the covariate of the trend."""

    time: FloatArray
    flux: FloatArray
    flux_err: FloatArray
    covariate: FloatArray


def fit_transit(
    series: TimeSeries, *, airmass: FloatArray | None = None, guess: TransitGuess | None = None
) -> TransitFit:
    """Fit ``level (1 + k z) (1 - depth trapezoid(t))`` by least squares with a soft loss (scipy's ``soft_l1``).

    z is the airmass less its mean, or the time where there is no airmass or where it changes by less than 0.001. The
    trapezoid goes from 0 at half the duration from the middle to 1 one ingress further in, straight. Outliers beyond
    some sigma count linearly. A coarse grid of middles and durations comes first, the depth of each from a linear
    fit, so that no guess is needed. Errors are the square roots of the diagonal of ``(J^T J)^-1`` scaled by the robust
    scatter of the residuals over the errors where that is above 1, with a second fit where it is above 1.2: correlated
    noise makes them too small.

    Parameters
    ----------
    series : TimeSeries
        Seconds, ascending.
    airmass : array, shape (n_points,), optional
        Of each point; NaN is not measured.
    guess : TransitGuess, optional

    Raises
    ------
    AnalysisError
        If there are fewer than twelve measured points, the flux is constant, or nothing that is fainter than the rest
        for a while is found.
    """
    from scipy.optimize import least_squares

    looked_for = guess if guess is not None else TransitGuess()
    data, origin, span, is_airmass = _prepared(series, airmass)
    start = _first_guess(data, _scaled(looked_for, origin, span))
    bounds = ([-np.inf, -np.inf, -1.0, -1.5, 1e-3, 0.01], [np.inf, np.inf, 1.0, 1.5, 3.0, 0.5])
    x_scale = [abs(start[0]), 0.01, 0.01, 0.1, 0.1, 0.1]
    spread = 1.0
    # Once more where the scatter is above the errors: the soft loss must not take all points for outliers.
    for _ in range(2):
        scale = data.flux_err * spread

        def residuals(parameters: FloatArray, scale: FloatArray = scale) -> FloatArray:
            return (data.flux - _model(parameters, data)) / scale

        result = least_squares(
            residuals, start, bounds=bounds, x_scale=x_scale, loss="soft_l1", f_scale=_SOFT_SIGMA, max_nfev=400
        )
        start = np.asarray(result.x, dtype=np.float64)
        found = residuals(start)
        excess = 1.4826 * float(np.median(np.abs(found - np.median(found))))
        if excess < _SCATTER_OF_THE_ERRORS:
            break
        spread = excess
    best, errors = start, _standard_errors(np.asarray(result.jac)) * max(1.0, excess)
    return _as_result(best, errors, data, origin=(origin, span), in_airmass=is_airmass, series=series)


def _prepared(series: TimeSeries, airmass: FloatArray | None) -> tuple[_Data, float, float, bool]:
    good = measured_points(series, "a transit fit", fewest=_FEWEST_POINTS)
    check_variable(good.flux, "transit")
    origin, span = float(good.time_s.mean()), float(good.time_s[-1] - good.time_s[0])
    time = (good.time_s - origin) / span
    used = is_measured(series)
    if airmass is not None and np.shape(airmass) != np.shape(series.time_s):
        raise AnalysisError(
            f"airmass ({np.shape(airmass)}) must be given for each of the {len(series.time_s)} points of a transit"
        )
    if airmass is not None and np.isfinite(airmass[used]).all() and np.ptp(airmass[used]) > _NARROWEST_AIRMASS:
        return _Data(time, good.flux, good.flux_err, airmass[used] - airmass[used].mean()), origin, span, True
    return _Data(time, good.flux, good.flux_err, time), origin, span, False


def _scaled(guess: TransitGuess, origin: float, span: float) -> TransitGuess:
    return TransitGuess(
        None if guess.middle_s is None else (guess.middle_s - origin) / span,
        None if guess.duration_s is None else guess.duration_s / span,
    )


def _first_guess(data: _Data, guess: TransitGuess) -> FloatArray:
    """The best of a grid of trapezoids whose level, slope and depth come from a linear fit each."""
    ends = float(data.time[0]), float(data.time[-1])
    middles = np.linspace(*ends, _N_MIDDLES) if guess.middle_s is None else [guess.middle_s]
    durations = _DURATIONS if guess.duration_s is None else (guess.duration_s,)
    best, least = None, math.inf
    weights = 1.0 / data.flux_err
    for middle in middles:
        for duration in durations:
            for shape in _SHAPES:
                inside = _trapezoid(data.time, float(middle), duration, shape)
                if inside.max() <= 0.0 or inside.min() >= 1.0:
                    continue
                columns = np.column_stack([np.ones(len(data.time)), data.covariate, -inside])
                (level, tilt, dip), *_ = np.linalg.lstsq(columns * weights[:, np.newaxis], data.flux * weights)
                if dip <= 0.0 or level <= 0.0:
                    continue
                chi_square = float(np.sum(((data.flux - columns @ [level, tilt, dip]) * weights) ** 2))
                if chi_square < least:
                    least, best = chi_square, [level, tilt / level, min(0.99, dip / level), middle, duration, shape]
    if best is None:
        raise AnalysisError(
            f"nothing fainter than the rest was found among {len(data.time)} points: a transit fit needs a dip"
        )
    best[4] = min(max(best[4], 2e-3), 2.9)
    best[3] = min(max(best[3], -1.4), 1.4)
    return np.array(best, dtype=np.float64)


def _trapezoid(time: FloatArray, middle: float, duration: float, shape: float) -> FloatArray:
    return np.asarray(np.clip((0.5 * duration - np.abs(time - middle)) / (shape * duration), 0.0, 1.0))


def _model(parameters: FloatArray, data: _Data) -> FloatArray:
    level, slope, depth, middle, duration, shape = parameters
    return np.asarray(
        level * (1.0 + slope * data.covariate) * (1.0 - depth * _trapezoid(data.time, middle, duration, shape))
    )


def _standard_errors(jacobian: FloatArray) -> FloatArray:
    """Of the parameters; infinite where the light curve does not say anything about one."""
    lengths = np.sqrt(np.sum(jacobian**2, axis=0))
    errors = np.full(jacobian.shape[1], np.inf)
    known = lengths > 1e-12 * lengths.max(initial=0.0)
    scaled = jacobian[:, known] / lengths[known]
    _, singular, rows = np.linalg.svd(scaled, full_matrices=False)
    good = singular > 1e-8 * singular[0]
    variances = np.sum((rows[good] / singular[good, np.newaxis]) ** 2, axis=0)
    if not good.all():
        # What lies in the direction that is not constrained is not known at all.
        variances[np.sum(rows[~good] ** 2, axis=0) > 1e-6] = np.inf
    errors[known] = np.sqrt(variances) / lengths[known]
    return errors


def _as_result(
    best: FloatArray,
    errors: FloatArray,
    data: _Data,
    *,
    origin: tuple[float, float],
    in_airmass: bool,
    series: TimeSeries,
) -> TransitFit:
    zero_s, span = origin
    level, slope, depth, middle, duration, shape = (float(value) for value in best)
    _, slope_err, depth_err, middle_err, duration_err, _ = (float(value) for value in errors)
    per_unit = 1.0 if in_airmass else 1.0 / span
    fitted = _model(best, data)
    model = np.full(len(series.time_s), np.nan)
    model[is_measured(series)] = fitted
    ratio = data.flux / fitted - 1.0
    has_before = int((data.time < middle - 0.5 * duration).sum()) >= 3
    has_after = int((data.time > middle + 0.5 * duration).sum()) >= 3
    seen = depth > SEEN_DEPTH_SIGMA * depth_err
    missing = [
        words
        for words, there in (("ingress", has_before), ("egress", has_after), ("a depth above 5 sigma", seen))
        if not there
    ]
    trend = "airmass" if in_airmass else "time"
    return TransitFit(
        depth=depth,
        depth_err=depth_err,
        middle_s=zero_s + middle * span,
        # Farther than the light curve is long is not known at all.
        middle_err_s=middle_err * span if middle_err < 1.0 else math.inf,
        duration_s=duration * span,
        duration_err_s=duration_err * span if has_before and has_after else math.inf,
        ingress_s=duration * shape * span,
        slope=slope * per_unit,
        slope_err=slope_err * per_unit,
        level=level,
        model=model,
        scatter=1.4826 * float(np.median(np.abs(ratio - np.median(ratio)))),
        n_points=len(data.time),
        complete=not missing,
        sentence=f"trapezoid with a linear term in {trend}" + (f"; not seen: {', '.join(missing)}" if missing else ""),
    )
