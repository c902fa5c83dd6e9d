"""Which stars to compare with, and which star looks like the target.

A comparison star is judged against the other comparison stars, never by how quiet it makes the target: stars picked
for the quietest target look better than they are.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stream.analysis.ensemble import (
    UNFIT,
    BoolArray,
    ensemble_weights,
    fit_for_comparison,
    judged_rows,
    nan_median,
    relative_error,
    relative_to_others,
    robust_scatter,
    slow_scatter,
)
from stream.errors import ConfigurationError
from stream.flags import Flag, flag_names
from stream.messages import FloatArray, SourceFluxes

FEWEST_FRAMES = 3
FEWEST_FRAMES_TO_JUDGE = 10
"""With fewer frames the scatter of a star says nothing."""
_MOST_COMPARISONS = 30
_COVERAGE = 0.75
_FEWEST_COVERED = 3
_LEAST_COVERAGE = 0.3
_FAINTEST_RELATIVE_ERROR = 0.2
_FLOOR_MAX = 0.01
_LEAST_EXCESS = 1.3
_SLOW_EXCESS = 3.0
_SLOW_SHARE = 0.15
_NEARLY_AS_BAD = 0.8
_NEGLIGIBLE_WEIGHT = 0.002
_LISTED = 8


@dataclass(frozen=True, slots=True)
class ComparisonChoice:
    """Comparison stars of one key.

    Attributes
    ----------
    comparisons : tuple of int
        Numbers of the stars, heaviest first; empty if no star can be used, and `sentence` says why.
    weights : tuple of float
        Share of each in the ensemble, same order, sum 1.
    excluded : dict
        Why each of the other sources was not taken, by number.
    sentence : str
        The choice in words for the observer.
    """

    comparisons: tuple[int, ...]
    weights: tuple[float, ...]
    excluded: dict[int, str]
    sentence: str


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """The source that varies most beyond its noise.

    Attributes
    ----------
    target : int
    sentence : str
    excess : float
        Its scatter over what is expected of a star of its flux.
    significant : bool
        False where the source varies no more than noise may.
    """

    target: int
    sentence: str
    excess: float
    significant: bool


class _Judgement(NamedTuple):
    """Relative scatter of stars, what is expected of them, and their weights, each shape (n_stars,)."""

    scatter: FloatArray
    expected: FloatArray
    slow: FloatArray
    weights: FloatArray


class _Field(NamedTuple):
    """The stars that are being judged: columns of the fluxes, thinned to the frames that are enough."""

    numbers: list[int]
    flux: FloatArray
    flux_err: FloatArray
    use: BoolArray


def choose_comparisons(fluxes: SourceFluxes, exclude: Collection[int] = ()) -> ComparisonChoice:
    """Choose comparison stars by their own scatter against the ensemble of the others.

    Does not look at the sources of `exclude`, which is where the target belongs.

    Thrown out are, in this order: sources that are unflagged on less than three quarters of the frames, sources
    fainter than five times their noise, then, worst first, the stars whose scatter, from frame to frame, over the night
    or slowly, exceeds what is expected of a star of its flux. Expected is ``A error^2 + floor^2`` plus the
    variance of the others' mean; A and the floor are what most stars of the field obey. The weights are those of
    `stream.analysis.ensemble.ensemble_weights`.

    Parameters
    ----------
    fluxes : SourceFluxes
        NaN fluxes are taken as not measured.
    exclude : collection of int
        Numbers of sources that are not candidates.
    """
    excluded = dict.fromkeys(sorted(set(exclude)), "it is the target or was left out on request")
    if len(fluxes.frame_ids) < FEWEST_FRAMES:
        return _brightest(fluxes, excluded)
    use = fit_for_comparison(fluxes)
    candidates = _covered(fluxes, use, excluded)
    candidates = _bright_enough(fluxes, use, candidates, excluded)
    if candidates and len(fluxes.frame_ids) >= FEWEST_FRAMES_TO_JUDGE:
        candidates = _constant(fluxes, use, candidates, excluded)
    if not candidates:
        return ComparisonChoice((), (), excluded, f"no source of {fluxes.key} can serve as a comparison star")
    return _weighted(fluxes, use, candidates, excluded)


def choose_target(fluxes: SourceFluxes, comparisons: ComparisonChoice | Collection[int]) -> TargetChoice:
    """Choose the source with the largest excess of scatter over that of constant stars of its flux.

    Raises
    ------
    ConfigurationError
        If there is no source at all.
    """
    if fluxes.n_sources == 0:
        raise ConfigurationError(f"the catalog of {fluxes.key} has no source: a target cannot be chosen")
    chosen = comparisons.comparisons if isinstance(comparisons, ComparisonChoice) else tuple(comparisons)
    use = fit_for_comparison(fluxes)
    coverage = _coverage(fluxes, use)
    numbers = [number for number in range(1, fluxes.n_sources + 1) if coverage[number - 1] >= 0.5]
    others = [number for number in numbers if number not in chosen] or numbers
    enough = len(fluxes.frame_ids) >= FEWEST_FRAMES_TO_JUDGE
    if not enough or not others or len(set(numbers) | set(chosen)) < 2:
        return _brightest_target(fluxes, numbers, enough=enough)
    field = _field(fluxes, use, sorted(set(others) | set(chosen)))
    in_ensemble = np.array([number in chosen for number in field.numbers])
    judgement = _judge(field, in_ensemble if in_ensemble.any() else np.ones_like(in_ensemble))
    excess = judgement.scatter / judgement.expected
    excess = np.where([number in others for number in field.numbers], excess, np.nan)
    if not np.isfinite(excess).any():
        return _brightest_target(fluxes, numbers, enough=enough)
    best = int(np.nanargmax(excess))
    limit = _excess_limit(len(field.flux))
    target, value = field.numbers[best], float(excess[best])
    scatters = f"{100 * judgement.scatter[best]:.2g} % where {100 * judgement.expected[best]:.2g} % is expected"
    if value < limit:
        words = f"no source of {fluxes.key} clearly varies; source {target} comes nearest: it scatters by {scatters}"
    else:
        words = f"source {target} of {fluxes.key} varies most beyond its noise: it scatters by {scatters}"
    return TargetChoice(target, words, value, value >= limit)


def _coverage(fluxes: SourceFluxes, use: BoolArray) -> FloatArray:
    """Fraction of the frames, of those on which anything was measured, on which each source is fit."""
    alive = np.isfinite(fluxes.flux).any(axis=1)
    return use[alive].mean(axis=0) if alive.any() else np.zeros(fluxes.n_sources)


def _covered(fluxes: SourceFluxes, use: BoolArray, excluded: dict[int, str]) -> list[int]:
    coverage = _coverage(fluxes, use)
    candidates = [number for number in range(1, fluxes.n_sources + 1) if number not in excluded]
    covered = [number for number in candidates if coverage[number - 1] >= _COVERAGE]
    if len(covered) < _FEWEST_COVERED:
        # Better a comparison on half of the frames than a night without a light curve.
        by_coverage = sorted(candidates, key=lambda number: -coverage[number - 1])[:_FEWEST_COVERED]
        covered = sorted(number for number in by_coverage if coverage[number - 1] >= _LEAST_COVERAGE)
    for number in candidates:
        if number not in covered:
            excluded[number] = _why_not_covered(fluxes, number, 1.0 - coverage[number - 1])
    return covered


def _why_not_covered(fluxes: SourceFluxes, number: int, missing: float) -> str:
    words = {
        Flag.SATURATED: "is saturated",
        Flag.NONLINEAR: "is too bright for the detector to be linear",
        Flag.OFF_FRAME: "leaves the field",
        Flag.NEAR_EDGE: "is near the edge of the field",
        Flag.COSMIC_RAY: "was cleaned of cosmic rays",
        Flag.POOR_BACKGROUND: "has a poor background",
        Flag.MOVED: "lies off its place",
        Flag.NON_FINITE: "has non-finite pixels",
    }
    flags = fluxes.flags[:, number - 1]
    counts = {flag: int(((flags & int(flag)) != 0).sum()) for flag in words}
    commonest = max(counts, key=lambda flag: counts[flag])
    if counts[commonest] == 0:
        names = ", ".join(flag_names(int(np.bitwise_or.reduce(flags)) & UNFIT)) or "no flux"
        return f"it is not measured on {100 * missing:.0f} % of the frames ({names})"
    return f"it {words[commonest]}: unfit on {100 * missing:.0f} % of the frames"


def _bright_enough(fluxes: SourceFluxes, use: BoolArray, candidates: list[int], excluded: dict[int, str]) -> list[int]:
    errors = relative_error(fluxes.flux, fluxes.flux_err, use)
    bright: list[int] = []
    for number in candidates:
        error = errors[number - 1]
        if not math.isfinite(error):
            excluded[number] = "its median flux is not greater than 0"
        elif error > _FAINTEST_RELATIVE_ERROR:
            excluded[number] = f"it is too faint: its error is {100 * error:.0f} % a frame"
        else:
            bright.append(number)
    if len(bright) > 2 * _MOST_COMPARISONS:
        # Faint stars carry no weight; the brightest sixty are more than enough to choose thirty from.
        for number in sorted(bright, key=lambda number: errors[number - 1])[2 * _MOST_COMPARISONS :]:
            excluded[number] = "it is too faint to matter beside the others"
            bright.remove(number)
    return bright


def _constant(fluxes: SourceFluxes, use: BoolArray, candidates: list[int], excluded: dict[int, str]) -> list[int]:
    """Throw out, worst first, the stars that scatter more than stars of their flux do."""
    field = _field(fluxes, use, candidates)
    limit = _excess_limit(len(field.flux))
    weights = None
    while len(field.numbers) >= 3:
        everyone = np.ones(len(field.numbers), dtype=bool)
        judgement = _judge(field, everyone, weights)
        excess = judgement.scatter / judgement.expected / limit
        drift = judgement.slow / (_SLOW_EXCESS * _typical_slow(judgement, len(field.flux)))
        badness = np.nan_to_num(np.fmax(excess, drift), nan=0.0)
        # Those nearly as bad as the worst go with it; the others may look better without them.
        out = badness > max(1.0, _NEARLY_AS_BAD * float(badness.max()))
        if not out.any():
            break
        for index in np.flatnonzero(out):
            excluded[field.numbers[index]] = _why_not_constant(judgement, int(index), excess[index] >= drift[index])
        kept = np.flatnonzero(~out)
        numbers = [field.numbers[index] for index in kept]
        field = _Field(numbers, field.flux[:, kept], field.flux_err[:, kept], field.use[:, kept])
        weights = judgement.weights[kept]
    return field.numbers


def _why_not_constant(judgement: _Judgement, index: int, scatters: bool) -> str:
    if not scatters:
        return f"it drifts slowly by {100 * judgement.slow[index]:.2g} % against the other stars"
    return (
        f"it scatters by {100 * judgement.scatter[index]:.2g} % where {100 * judgement.expected[index]:.2g} % "
        "is expected of a star of its flux: variable"
    )


def _excess_limit(n_frames: int) -> float:
    """Scatter over expectation from which a star is called variable: five standard errors of a robust scatter."""
    return max(_LEAST_EXCESS, 1.0 + 5.0 * 1.17 / math.sqrt(n_frames))


def _typical_slow(judgement: _Judgement, n_frames: int) -> FloatArray:
    """Slow scatter that a star may have: that of most stars, or a share of its noise, or what binned noise mimics."""
    of_bins = math.sqrt(min(20.0, n_frames / 5.0) / n_frames)
    share = max(_SLOW_SHARE, 0.5 * of_bins) * judgement.expected
    return np.fmax(nan_median(judgement.slow[:, None], np.inf)[0], share)


def _field(fluxes: SourceFluxes, use: BoolArray, numbers: list[int]) -> _Field:
    rows, columns = judged_rows(len(fluxes.frame_ids)), np.array(numbers, dtype=np.intp) - 1
    return _Field(numbers, fluxes.flux[rows][:, columns], fluxes.flux_err[rows][:, columns], use[rows][:, columns])


def _judge(field: _Field, in_ensemble: BoolArray, start: FloatArray | None = None) -> _Judgement:
    """Scatter of every star of the field against the ensemble, and what constant stars of its flux have."""
    photon = relative_error(field.flux, field.flux_err, field.use)
    weights = np.zeros(len(field.numbers))
    weights[in_ensemble] = ensemble_weights(
        field.flux[:, in_ensemble], field.flux_err[:, in_ensemble], field.use[:, in_ensemble], start
    )
    relative, others = relative_to_others(field.flux, field.flux_err, field.use, weights)
    scatter = robust_scatter(relative)
    found = np.fmax(scatter.whole, scatter.quick)
    own = np.fmax(found**2 - others, 0.0)
    factor, floor = _noise_of_constant_stars(own[in_ensemble], photon[in_ensemble] ** 2)
    expected = np.sqrt(factor * photon**2 + floor + others)
    return _Judgement(found, expected, slow_scatter(relative, scatter.quick), weights)


def _noise_of_constant_stars(variance: FloatArray, photon_variance: FloatArray) -> tuple[float, float]:
    """Fit ``variance = A photon_variance + floor`` to most stars; return A and the floor.

    Every star counts by the logarithm of its misfit and at most by a factor of two, so that variables do not draw
    the relation; the floor (scintillation, flat field) is not let beyond one per cent.
    """
    known = np.isfinite(variance) & (photon_variance > 0.0)
    variance, photon_variance = variance[known], photon_variance[known]
    if len(variance) < 3:
        return 1.0, 0.0
    factors = np.concatenate([[1.0], np.geomspace(0.5, 9.0, 25)])
    floors = np.concatenate([[0.0], np.geomspace(1e-5, _FLOOR_MAX, 40) ** 2])
    model = factors[:, None, None] * photon_variance + floors[None, :, None]
    misfit = np.abs(np.log(np.fmax(variance, 0.05 * photon_variance) / model))
    # A slight preference for the errors as they are, where the stars cannot tell.
    cost = np.fmin(misfit, math.log(4.0)).mean(axis=2) + 0.02 * np.abs(np.log(factors))[:, None]
    best = np.unravel_index(int(cost.argmin()), cost.shape)
    return float(factors[best[0]]), float(floors[best[1]])


def _weighted(
    fluxes: SourceFluxes, use: BoolArray, candidates: list[int], excluded: dict[int, str]
) -> ComparisonChoice:
    columns = np.array(candidates) - 1
    weights = ensemble_weights(fluxes.flux[:, columns], fluxes.flux_err[:, columns], use[:, columns])
    total = weights.sum()
    share = weights / total if total > 0.0 else np.full(len(columns), 1.0 / len(columns))
    order = [int(index) for index in np.argsort(-share, kind="stable")]
    kept = [index for index in order if share[index] >= _NEGLIGIBLE_WEIGHT][:_MOST_COMPARISONS]
    for index in order:
        if index not in kept:
            excluded[candidates[index]] = "it is too noisy to matter beside the others"
    share = share / share[kept].sum()
    comparisons = tuple(candidates[index] for index in kept)
    sentence = _sentence(fluxes, comparisons, excluded)
    return ComparisonChoice(comparisons, tuple(float(share[index]) for index in kept), excluded, sentence)


def _sentence(fluxes: SourceFluxes, comparisons: tuple[int, ...], excluded: dict[int, str]) -> str:
    n_frames = len(fluxes.frame_ids)
    names = ", ".join(str(number) for number in comparisons[:_LISTED]) + (", ..." if len(comparisons) > _LISTED else "")
    stars = f"star {names}" if len(comparisons) == 1 else f"{len(comparisons)} stars ({names})"
    text = f"{fluxes.key} is compared with {stars}, weighted by their own scatter on {n_frames} frames"
    if len(comparisons) < 3 or n_frames < FEWEST_FRAMES_TO_JUDGE:
        text = f"{fluxes.key} is compared with {stars}; too few stars or frames to tell whether one is variable"
    variable = [number for number, why in excluded.items() if "variable" in why or "drifts" in why]
    if variable:
        text += f"; thrown out as variable: {', '.join(str(number) for number in sorted(variable))}"
    return text


def _brightest(fluxes: SourceFluxes, excluded: dict[int, str]) -> ComparisonChoice:
    """Before there are frames to judge by: the brightest sources that are fit wherever they were measured."""
    flags = np.bitwise_or.reduce(fluxes.flags, axis=0) if len(fluxes.flags) else np.zeros(fluxes.n_sources, dtype=int)
    measured = fit_for_comparison(fluxes)
    seen = {number for number in range(1, fluxes.n_sources + 1) if not len(measured) or measured[:, number - 1].any()}
    fit = [
        number
        for number in range(1, fluxes.n_sources + 1)
        if number not in excluded and number in seen and not flags[number - 1] & UNFIT
    ][:5]
    if not fit:
        return ComparisonChoice((), (), excluded, f"no source of {fluxes.key} can serve as a comparison star")
    n_frames = len(fluxes.frame_ids)
    sentence = f"{fluxes.key} is compared with its {len(fit)} brightest fit stars: {n_frames} frames tell no more"
    return ComparisonChoice(tuple(fit), (1.0 / len(fit),) * len(fit), excluded, sentence)


def _brightest_target(fluxes: SourceFluxes, numbers: list[int], *, enough: bool) -> TargetChoice:
    saturated = ((fluxes.flags & int(Flag.SATURATED)) != 0).any(axis=0)
    fit = [number for number in numbers if not saturated[number - 1]]
    target = (fit or numbers or [1])[0]
    why = "there is no other star to judge by" if enough else f"{len(fluxes.frame_ids)} frames are too few to judge by"
    return TargetChoice(target, f"source {target} of {fluxes.key}, the brightest unsaturated: {why}", 1.0, False)
