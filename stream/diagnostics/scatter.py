"""How well the night was measured: scatter of all stars, and what it is made of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from stream.analysis.apertures import aperture_ladder, growth_curve, growth_stars
from stream.analysis.comparisons import choose_comparisons
from stream.analysis.ensemble import (
    ensemble_weights,
    fit_for_comparison,
    judged_rows,
    nan_median,
    relative_error,
    relative_to_others,
    robust_scatter,
)
from stream.diagnostics.folder import choices_of, open_night, save
from stream.errors import AnalysisError
from stream.measure.noise import NoiseFloor, fit_noise_floor
from stream.messages import FloatArray, SourceFluxes
from stream.plots.noise import (
    Curve,
    GrowthLine,
    StarScatter,
    growth_figure,
    rms_figure,
    signal_to_noise_figure,
)

_FEWEST_FRAMES = 10
_POINTS_OF_A_CURVE = 100
_LEAST_SHARE = 1e-6
_SEEN = 0.05
_LEAST_OWN_SHARE = 0.1


def write_rms_vs_median(out: Path, label: str | None = None) -> Path:
    """Write ``diag/<label>_rms_vs_median.pdf``: robust scatter of every star against its median flux.

    The line is `stream.measure.noise.NoiseFloor`, fitted to the scatter over the comparison stars.

    Parameters
    ----------
    label : str, optional
        The photometer; by default the one that the page shows.

    Raises
    ------
    AnalysisError
        If no key has ten measured frames.
    """
    label, figure = rms_vs_median_figure(out, label)
    return save(figure, out, f"{label}_rms_vs_median.pdf")


def rms_vs_median_figure(out: Path, label: str | None = None) -> tuple[str, Any]:
    """Return the photometer and the figure of `write_rms_vs_median`, for who shows it too."""
    label, stars = scatter_of_stars(out, label)
    floors = [noise_floor(one) for one in stars]
    curves = [[] if floor is None else [_floor_curve(one, floor)] for one, floor in zip(stars, floors, strict=True)]
    return label, rms_figure(stars, curves, f"Scatter against flux, {label}")


def write_signal_to_noise(out: Path, label: str | None = None) -> Path:
    """Write ``diag/<label>_signal_to_noise.png``: of one exposure of every star; for `label` see above.

    Raises
    ------
    AnalysisError
        If no key has ten measured frames.
    """
    label, stars = scatter_of_stars(out, label)
    return save(signal_to_noise_figure(stars, f"Signal to noise, {label}"), out, f"{label}_signal_to_noise.png")


def write_growth_curves(out: Path) -> Path:
    """Write ``diag/growth.png``: curves of growth from the ladder of apertures, of bright stars without neighbours.

    Raises
    ------
    AnalysisError
        If the recipe measures fewer than two apertures of different radius, or no star is in all of them.
    """
    lines = []
    with open_night(out) as reader:
        ladder = aperture_ladder(reader.recipe())
        if len(ladder) < 2:
            raise AnalysisError("curves of growth need a recipe that measures two apertures or more")
        for key, catalog in sorted(reader.catalogs().items()):
            by_radius = {radius: reader.source_fluxes(key, label) for radius, label in ladder.items()}
            largest = by_radius[max(by_radius)]
            numbers = growth_stars(largest, catalog)
            if not len(largest.frame_ids) or not numbers:
                continue
            curve = growth_curve(by_radius, numbers)
            lines.append(GrowthLine(key, len(numbers), curve.radius_fwhm, curve.fraction, curve.fraction_err))
    if not lines:
        raise AnalysisError("no frame is measured yet, or no key has a bright star without neighbours")
    return save(growth_figure(lines, "Curves of growth"), out, "growth.png")


def scatter_of_stars(out: Path, label: str | None) -> tuple[str, list[StarScatter]]:
    """The photometer (by default the one that the page shows), and `star_scatter` of every key that has ten frames.

    Raises
    ------
    AnalysisError
        If no key has.
    """
    with open_night(out, label) as reader:
        used = label or reader.recipe().default_label()
        choices = choices_of(reader, out)
        stars = []
        for key in sorted(reader.catalogs()):
            fluxes = reader.source_fluxes(key, used)
            if len(fluxes.frame_ids) < _FEWEST_FRAMES:
                continue
            choice = choices.get(key)
            stars.append(star_scatter(fluxes, choice.target if choice else 0))
    if not stars:
        raise AnalysisError(f"the scatter of stars needs {_FEWEST_FRAMES} measured frames of a key")
    return used, stars


def star_scatter(fluxes: SourceFluxes, target: int = 0) -> StarScatter:
    """Scatter of all sources of a key, as measured and over comparison stars that are chosen without the target.

    What the comparison stars themselves bring into the scatter of a star is taken off in quadrature, as
    `stream.analysis.ensemble.ensemble_weights` does. A star measured on fewer than ten frames has none. Frames on
    which a flux is flagged do not count; of a long night every so many frames are looked at.
    """
    rows = judged_rows(len(fluxes.frame_ids))
    use = fit_for_comparison(fluxes)[rows]
    # The scatter of a few frames says nothing.
    use &= use.sum(axis=0) >= _FEWEST_FRAMES
    flux, error = fluxes.flux[rows], fluxes.flux_err[rows]
    choice = choose_comparisons(fluxes, exclude=(target,) if target else ())
    columns = np.array(choice.comparisons, dtype=np.int64) - 1
    relative = np.full(flux.shape[1], np.nan)
    if len(columns) > 1:
        weights = np.zeros(flux.shape[1])
        weights[columns] = ensemble_weights(flux[:, columns], error[:, columns], use[:, columns])
        # The others are on the scale of the ensemble and have no voice in it.
        silent = (weights == 0.0) & (use.sum(axis=0) > 1)
        weights[silent] = _LEAST_SHARE * weights.max()
        ratio, others = relative_to_others(flux, error, use & (weights > 0.0), np.where(weights > 0.0, weights, 1e-300))
        whole = robust_scatter(ratio).whole
        with np.errstate(invalid="ignore"):
            own = whole**2 - others
            # Where next to nothing is left, what is left says nothing.
            relative = np.sqrt(np.where(own > _LEAST_OWN_SHARE * whole**2, own, np.nan))
    return StarScatter(
        key=fluxes.key,
        flux_e=_positive(nan_median(np.where(use, flux, np.nan), np.nan)),
        raw=robust_scatter(np.where(use, flux, np.nan)).whole,
        relative=relative,
        expected=relative_error(flux, error, use),
        target=target,
        comparisons=choice.comparisons,
    )


def _positive(values: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        return np.where(values > 0.0, values, np.nan)


def noise_floor(stars: StarScatter) -> NoiseFloor | None:
    """Fit the noise floor to all stars but the target: one that varies among six would draw the whole curve."""
    scatter = stars.relative.copy()
    if stars.target:
        scatter[stars.target - 1] = np.nan
    return fit_noise_floor(stars.flux_e, scatter)


def _floor_curve(stars: StarScatter, floor: NoiseFloor) -> Curve:
    grid = flux_grid(stars)
    total = floor.scatter(grid)
    words = ["photons"]
    # A part that is nowhere a twentieth of the whole was not seen.
    if floor.background_e2 / grid[0] ** 2 > _SEEN * total[0] ** 2:
        words.append(f"{math.sqrt(floor.background_e2):.3g} e⁻")
    words.append(f"floor {100.0 * floor.floor:.2g} %" if floor.floor**2 > _SEEN * total[-1] ** 2 else "no floor seen")
    return Curve(f"fit: {', '.join(words)}", grid, total, "-", "#222222")


def flux_grid(stars: StarScatter) -> FloatArray:
    """Fluxes that lines are drawn for, electrons: a little beyond those of the stars."""
    known = stars.flux_e[np.isfinite(stars.flux_e)]
    if not len(known):
        return np.array([1.0, 10.0])
    return np.geomspace(known.min() / 1.3, known.max() * 1.3, _POINTS_OF_A_CURVE)
