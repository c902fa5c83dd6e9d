"""The comparison stars of a night as one star: how transparent the sky was on each frame.

The flux of star s on frame i is modelled as ``f_is = c_s t_i``: the star's own scale times the transparency that all
stars share. Both are found together, from whatever was measured, so that a star that leaves the field takes its scale
with it and makes no step (Honeycutt 1992, PASP 104, 435, who solves the same model in magnitudes, equation 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.flags import NOT_MEASURED, Flag
from stream.messages import FloatArray, SourceFluxes

BoolArray = NDArray[np.bool_]

UNFIT = int(
    NOT_MEASURED
    | Flag.SATURATED
    | Flag.NONLINEAR
    | Flag.NEAR_EDGE
    | Flag.COSMIC_RAY
    | Flag.POOR_BACKGROUND
    | Flag.MOVED
)
"""With any of these flags a star is no comparison on that frame.

Bad pixels are not among them: the photometers do without such a pixel, and where a camera has a thousand of them hardly
a star is ever free of one.
"""

_MAX_ITERATIONS = 100
_TOLERANCE = 1e-8
_CLIP_SIGMA = 6.0
_CLIPPED_PER_FRAME = 3
_MAD_TO_SIGMA = 1.4826
_FEWEST_TO_CLIP = 3
_FEWEST_TO_JUDGE = 10
_MAX_FRAMES_TO_JUDGE = 2000
_WEIGHT_ROUNDS = 12
_WEIGHT_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Solution of ``f_is = c_s t_i``.

    Attributes
    ----------
    scale : array, shape (n_stars,)
        c_s, electrons; NaN for a star that took no part.
    transparency, transparency_err : array, shape (n_frames,)
        t_i, weighted median over the frames near 1, and its error propagated from the errors of the fluxes; NaN
        where no star of the ensemble was measured.
    used : array of bool, shape (n_frames, n_stars)
        Which fluxes the solution rests on.
    """

    scale: FloatArray
    transparency: FloatArray
    transparency_err: FloatArray
    used: BoolArray


class Scatter(NamedTuple):
    """Robust relative scatter of stars, each shape (n_stars,); NaN with fewer than three frames.

    ``whole``: about the median of the night. ``quick``: from each measured frame to the next.
    """

    whole: FloatArray
    quick: FloatArray


class _Model(NamedTuple):
    """Scale and weight of each star, each shape (n_stars,)."""

    scale: FloatArray
    weights: FloatArray


def fit_for_comparison(fluxes: SourceFluxes) -> BoolArray:
    """Which fluxes may serve as comparison: finite, positive error, no flag of `UNFIT`; shape of the fluxes."""
    with np.errstate(invalid="ignore"):
        measured = np.isfinite(fluxes.flux) & (fluxes.flux_err > 0.0) & np.isfinite(fluxes.flux_err)
    return measured & ((fluxes.flags & UNFIT) == 0)


def solve_ensemble(flux: FloatArray, flux_err: FloatArray, use: BoolArray, weights: FloatArray) -> Ensemble:
    """Find scales and transparencies by weighted least squares on relative fluxes.

    In turn, until nothing moves, ``t_i = sum_s w_s f_is / c_s / sum_s w_s`` over the stars measured on frame i and
    ``c_s = sum_i f_is t_i / sum_i t_i^2`` over the frames of star s, started from the exact solution of the same model
    in logarithms. With ten frames and three stars or more, single fluxes further than six robust standard deviations
    from the other stars of their frame are then left out, at most three a frame, and the solution is repeated. Stars
    that share no frame, not even through others, with the greatest group cannot be put on its scale and are left out.

    Parameters
    ----------
    flux, flux_err : array, shape (n_frames, n_stars)
        Electrons. NaN is allowed where `use` is False.
    use : array of bool, shape (n_frames, n_stars)
    weights : array, shape (n_stars,)
        Inverse variance of the relative flux of each star; greater than 0.
    """
    use = _largest_connected(use)
    filled = np.where(use, flux, 0.0)
    scale, transparency = _alternate(filled, use, weights, _logarithmic_scale(filled, use, weights))
    clipped = _without_outliers(filled, flux_err, use, _Model(scale, weights))
    if not np.array_equal(clipped, use):
        use, filled = clipped, np.where(clipped, flux, 0.0)
        scale, transparency = _alternate(filled, use, weights, scale)
    mass = use * weights
    with np.errstate(invalid="ignore", divide="ignore"):
        relative_err = np.where(use, mass * flux_err / scale, 0.0)
        error = np.sqrt((relative_err**2).sum(axis=1)) / mass.sum(axis=1)
    return Ensemble(scale, transparency, error, use)


def ensemble_weights(
    flux: FloatArray, flux_err: FloatArray, use: BoolArray, start: FloatArray | None = None
) -> FloatArray:
    """Inverse variance of the relative flux of each star, from its own scatter against the ensemble of the others.

    After Broeg, Fernandez & Neuhauser (2005, AN 326, 134): each star is compared with the weighted mean of all
    others, its weight is the inverse of the variance found, and so on until the weights stand. Unlike there, the
    variance of the others' mean is taken off, so that the best star is not judged by the noise of worse ones, and
    no star is believed to be better than its errors. With fewer than three stars or ten frames: errors alone.

    Parameters
    ----------
    start : array, shape (n_stars,), optional
        Weights to start from; without them `quietest_pair_weights`.

    Returns
    -------
    array, shape (n_stars,)
        0 for a star without two usable frames.
    """
    photon = relative_error(flux, flux_err, use) ** 2
    plain = np.where(np.isfinite(photon), 1.0 / np.where(photon > 0.0, photon, 1.0), 0.0)
    n_good = int(((use.sum(axis=0) >= _FEWEST_TO_JUDGE) & (plain > 0.0)).sum())
    if n_good < _FEWEST_TO_CLIP:
        return plain
    rows = judged_rows(len(flux))
    flux, flux_err, use = flux[rows], flux_err[rows], use[rows] & (plain > 0.0)
    weights = quietest_pair_weights(flux, use, photon) if start is None else start
    for _ in range(_WEIGHT_ROUNDS):
        relative, others = relative_to_others(flux, flux_err, use, weights)
        scatter = robust_scatter(relative)
        own = np.fmax(scatter.whole, scatter.quick) ** 2 - others
        variance = np.fmax(own, np.fmin(photon, own + others))
        known = np.isfinite(variance) & (variance > 0.0)
        updated = np.where(plain > 0.0, np.where(known, 1.0 / np.where(known, variance, 1.0), plain), 0.0)
        settled = np.allclose(updated, weights, rtol=_WEIGHT_TOLERANCE, atol=0.0)
        weights = updated
        if settled:
            break
    return weights


def relative_to_others(
    flux: FloatArray, flux_err: FloatArray, use: BoolArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Relative flux of each star against the ensemble of all others, and the variance that the others bring in.

    Returns
    -------
    relative : array, shape (n_frames, n_stars)
        NaN where the star or all others were not measured.
    variance_of_others : array, shape (n_stars,)
        Relative variance of the mean of the others, from the weights; infinite for a star without others.
    """
    ensemble = solve_ensemble(flux, flux_err, use, weights)
    own = np.where(use, flux, np.nan) / ensemble.scale
    mass = ensemble.used * weights
    drawn = np.where(ensemble.used, own, 0.0)
    total, total_mass = (mass * drawn).sum(axis=1, keepdims=True), mass.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        others_mass = total_mass - mass
        others_mass = np.where(others_mass > 1e-12 * total_mass, others_mass, np.nan)
        relative = own * others_mass / (total - mass * drawn)
        variance = 1.0 / np.where(np.isfinite(relative), others_mass, np.nan)
    return relative, nan_median(variance, np.inf)


def robust_scatter(relative: FloatArray) -> Scatter:
    """Scatter of relative fluxes, shape (n_frames, n_stars), NaN where not measured; see `Scatter`."""
    # Measured values moved to the top in order of time, so that a gap does not end the walk from point to point.
    order = np.argsort(~np.isfinite(relative), axis=0, kind="stable")
    ordered = np.take_along_axis(relative, order, axis=0)
    enough = np.isfinite(ordered).sum(axis=0) >= 3
    centre = nan_median(ordered, np.nan)
    with np.errstate(invalid="ignore"):
        positive = centre > 0.0
        ordered = ordered / np.where(positive, centre, np.nan)
        whole = _MAD_TO_SIGMA * nan_median(np.abs(ordered - 1.0), np.inf)
        quick = _MAD_TO_SIGMA * nan_median(np.abs(np.diff(ordered, axis=0)), np.inf) / np.sqrt(2.0)
    return Scatter(np.where(enough, whole, np.nan), np.where(enough, quick, np.nan))


def slow_scatter(relative: FloatArray, quick: FloatArray) -> FloatArray:
    """Scatter of the means of about twenty bins of the night beyond what `quick` explains; shape (n_stars,).

    0 for a star with fewer than twenty measured frames: too few to tell.
    """
    return np.array(
        [_slow(column[np.isfinite(column)], noise) for column, noise in zip(relative.T, quick, strict=True)],
        dtype=np.float64,
    )


def relative_error(flux: FloatArray, flux_err: FloatArray, use: BoolArray) -> FloatArray:
    """Median error over median flux of each star, shape (n_stars,); NaN where it has no positive flux."""
    level = nan_median(np.where(use, flux, np.nan), np.nan)
    error = nan_median(np.where(use, flux_err, np.nan), np.nan)
    with np.errstate(invalid="ignore"):
        return np.where(level > 0.0, error / np.where(level > 0.0, level, 1.0), np.nan)


def judged_rows(n_frames: int) -> slice:
    """Every so many frames that at most two thousand are left: enough to judge a star by."""
    return slice(None, None, max(1, -(-n_frames // _MAX_FRAMES_TO_JUDGE)))


def nan_median(values: FloatArray, empty: float) -> FloatArray:
    """Median of each column without NaN; `empty` for a column of NaN alone."""
    if not len(values):
        return np.full(values.shape[1], empty)
    count = (~np.isnan(values)).sum(axis=0)
    lower, upper = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(values) - 1)
    # Only the middle is looked for; NaN come last, as in a sort.
    middle = np.unique(np.concatenate([lower, upper]))
    ordered = np.partition(np.ascontiguousarray(values.T), middle, axis=1)
    columns = np.arange(values.shape[1])
    found = 0.5 * (ordered[columns, lower] + ordered[columns, upper])
    return np.where(count > 0, found, empty)


def _slow(values: FloatArray, quick: float) -> float:
    n_bins = min(20, len(values) // 5)
    if n_bins < 4 or not np.isfinite(quick):
        return 0.0
    values = values / np.median(values)
    means = np.array([np.mean(part) for part in np.array_split(values, n_bins)])
    return float(np.sqrt(max(0.0, float(np.var(means, ddof=1)) - quick**2 * n_bins / len(values))))


def _largest_connected(use: BoolArray) -> BoolArray:
    """Leave the greatest group of stars that are linked by common frames."""
    linked = (use.T.astype(np.float64) @ use) > 0.0
    n_stars = use.shape[1]
    group = np.arange(n_stars)
    for _ in range(n_stars):
        merged = np.where(linked, group[None, :], n_stars).min(axis=1, initial=n_stars)
        merged = np.minimum(merged, group)
        if np.array_equal(merged, group):
            break
        group = merged
    if len(np.unique(group[use.any(axis=0)])) <= 1:
        return use
    sizes = np.array([int(use[:, group == number].any(axis=1).sum()) for number in range(n_stars)])
    return use & (group == int(sizes.argmax()))


def _logarithmic_scale(filled: FloatArray, use: BoolArray, weights: FloatArray) -> FloatArray:
    """Exact weighted least squares of log f = log c + log t, the transparencies eliminated."""
    positive = use & (filled > 0.0)
    mass = positive * weights
    frame_mass = mass.sum(axis=1, keepdims=True)
    frame_mass = np.where(frame_mass > 0.0, frame_mass, 1.0)
    logarithm = np.log(np.where(positive, filled, 1.0))
    frame_mean = (mass * logarithm).sum(axis=1, keepdims=True) / frame_mass
    normal = np.diag(mass.sum(axis=0)) - (mass / frame_mass).T @ mass
    right = (mass * (logarithm - frame_mean)).sum(axis=0)
    # The common factor of all scales is free: the shortest solution leaves their mean logarithm at 0.
    solution = np.linalg.lstsq(normal, right, rcond=1e-12)[0]
    seen = positive.any(axis=0)
    return np.where(seen, np.exp(np.clip(solution, -500.0, 500.0)), np.nan)


def _alternate(
    filled: FloatArray, use: BoolArray, weights: FloatArray, scale: FloatArray
) -> tuple[FloatArray, FloatArray]:
    scale = np.where(use.any(axis=0), scale, np.nan)
    mass = use * weights
    frame_mass = mass.sum(axis=1)
    share = mass / np.where(frame_mass > 0.0, frame_mass, 1.0)[:, None]
    seen = frame_mass > 0.0
    transparency = np.full(len(filled), np.nan)
    if not seen.any():
        return scale, transparency
    for _ in range(_MAX_ITERATIONS):
        drawn = np.where(np.isfinite(scale) & (scale > 0.0), 1.0 / scale, 0.0)
        level = (share * filled) @ drawn
        level /= np.median(level[seen])
        updated = (filled.T @ level) / (use.T @ level**2).clip(min=1e-300)
        updated = np.where(use.any(axis=0) & (updated > 0.0), updated, np.nan)
        change = np.nanmax(np.abs(updated / scale - 1.0), initial=0.0)
        scale = updated
        if change < _TOLERANCE:
            break
    transparency[seen] = level[seen]
    return scale, transparency


def _without_outliers(flux: FloatArray, flux_err: FloatArray, use: BoolArray, model: _Model) -> BoolArray:
    """Leave out single fluxes that disagree with the other stars of their frame, the worst of a frame first.

    Each is compared with the others alone, in units of its own error times what that star's residuals commonly are:
    one wrong star draws the mean of the frame and makes all look wrong, but itself most.
    """
    if len(flux) < _FEWEST_TO_JUDGE:
        return use
    own = np.where(use, flux / model.scale, np.nan)
    error = np.where(use, flux_err / model.scale, np.nan)
    typical: FloatArray | None = None
    for _ in range(_CLIPPED_PER_FRAME):
        mass = use * model.weights
        drawn = np.where(use, own, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            others = ((mass * drawn).sum(axis=1, keepdims=True) - mass * drawn) / (
                mass.sum(axis=1, keepdims=True) - mass
            )
            residual = np.abs(np.where(use, (own - others) / error, np.nan))
        residual = np.where(np.isfinite(residual), residual, np.nan)
        if typical is None:
            typical = np.fmax(_MAD_TO_SIGMA * nan_median(residual, np.inf), 1.0)
        relative = np.nan_to_num(residual / typical, nan=0.0)
        worst = relative.argmax(axis=1)
        wrong = (relative.max(axis=1) > _CLIP_SIGMA) & (use.sum(axis=1) >= _FEWEST_TO_CLIP)
        if not wrong.any():
            break
        use = use.copy()
        use[wrong, worst[wrong]] = False
    return use


def quietest_pair_weights(flux: FloatArray, use: BoolArray, photon: FloatArray) -> FloatArray:
    """First weights: a star's variance is at most that of its ratio to the star it agrees with best.

    A variable star, however bright, disagrees with all others and starts with little weight; quiet stars find each
    other whatever the rest does.
    """
    n_stars = flux.shape[1]
    order = np.argsort(np.where(np.isfinite(photon), photon, np.inf))[:25]
    smallest = np.full(n_stars, np.inf)
    values = np.where(use & (flux > 0.0), flux, np.nan)
    for star in range(n_stars):
        partners = order[order != star]
        scatter = robust_scatter(values[:, [star]] / values[:, partners])
        variance = np.fmax(scatter.whole, scatter.quick) ** 2
        smallest[star] = np.nanmin(variance, initial=np.inf)
    smallest = np.fmax(smallest, np.where(np.isfinite(photon), photon, 0.0))
    return np.where(np.isfinite(smallest) & (smallest > 0.0), 1.0 / smallest, 0.0)
