"""How well the night was measured: scatter of all stars, and what it is made of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from stream.analysis.apertures import growth_curve
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
from stream.config import PhotometerSettings, Recipe
from stream.diagnostics.folder import choices_of, open_night, save
from stream.diagnostics.frames import detector_of
from stream.errors import AnalysisError
from stream.measure.noise import (
    NoiseBudget,
    NoiseFloor,
    ScintillationSite,
    fit_noise_floor,
    noise_budget,
    scintillation,
)
from stream.messages import FloatArray, SourceFluxes
from stream.night.night_reader import NightReader
from stream.plots.noise import (
    Curve,
    GrowthLine,
    StarScatter,
    growth_figure,
    noise_budget_figure,
    rms_figure,
    signal_to_noise_figure,
)

_FEWEST_FRAMES = 10
_POINTS_OF_A_CURVE = 100
_LEAST_SHARE = 1e-6
_MOST_GROWTH_STARS = 12
_SEEN = 0.05
_LEAST_OWN_SHARE = 0.1
_PART_COLOURS = {
    "shot": "#1b6ca8",
    "sky": "#b8860b",
    "dark current": "#7d5ba6",
    "read noise": "#3a7d44",
    "scintillation": "#c8553d",
}


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
    label, stars = _stars(out, label)
    floors = [fit_noise_floor(one.flux_e, one.relative) for one in stars]
    curves = [[] if floor is None else [_floor_curve(one, floor)] for one, floor in zip(stars, floors, strict=True)]
    return label, rms_figure(stars, curves, f"Scatter against flux, {label}")


def write_signal_to_noise(out: Path, label: str | None = None) -> Path:
    """Write ``diag/<label>_signal_to_noise.png``: of one exposure of every star; for `label` see above.

    Raises
    ------
    AnalysisError
        If no key has ten measured frames.
    """
    label, stars = _stars(out, label)
    return save(signal_to_noise_figure(stars, f"Signal to noise, {label}"), out, f"{label}_signal_to_noise.png")


def write_noise_budget(out: Path) -> Path:
    """Write ``diag/noise_budget.png``: shot, sky, dark, read noise and scintillation against what was measured.

    Of the standard aperture; the error of an optimal flux has no aperture to be split by.

    Raises
    ------
    AnalysisError
        If the night has no aperture photometer, or no key has ten measured frames.
    """
    with open_night(out) as reader:
        photometer = _standard_aperture(reader.recipe())
        _, stars = _stars(out, photometer.label)
        curves = [_budget_curves(reader, one, photometer) for one in stars]
    return save(noise_budget_figure(stars, curves, f"Noise budget, {photometer.label}"), out, "noise_budget.png")


def write_growth_curves(out: Path) -> Path:
    """Write ``diag/growth.png``: curves of growth from the ladder of apertures, of the bright comparison stars.

    Raises
    ------
    AnalysisError
        If the recipe measures fewer than two apertures of different radius, or no star is in all of them.
    """
    lines = []
    with open_night(out) as reader:
        ladder = _ladder(reader.recipe())
        if len(ladder) < 2:
            raise AnalysisError("curves of growth need a recipe that measures two apertures or more")
        for key, choice in choices_of(reader, out).items():
            by_radius = {radius: reader.source_fluxes(key, label) for radius, label in ladder.items()}
            if not len(next(iter(by_radius.values())).frame_ids):
                continue
            numbers = sorted(choice.comparisons or (choice.target,))[:_MOST_GROWTH_STARS]
            curve = growth_curve(by_radius, numbers)
            lines.append(GrowthLine(key, len(numbers), curve.radius_fwhm, curve.fraction, curve.fraction_err))
    if not lines:
        raise AnalysisError("no frame is measured yet")
    return save(growth_figure(lines, "Curves of growth"), out, "growth.png")


def _stars(out: Path, label: str | None) -> tuple[str, list[StarScatter]]:
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


def _floor_curve(stars: StarScatter, floor: NoiseFloor) -> Curve:
    grid = _flux_grid(stars)
    total = floor.scatter(grid)
    words = ["photons"]
    # A part that is nowhere a twentieth of the whole was not seen.
    if floor.background_e2 / grid[0] ** 2 > _SEEN * total[0] ** 2:
        words.append(f"{math.sqrt(floor.background_e2):.3g} e⁻")
    words.append(f"floor {100.0 * floor.floor:.2g} %" if floor.floor**2 > _SEEN * total[-1] ** 2 else "no floor seen")
    return Curve(f"fit: {', '.join(words)}", grid, total, "-", "#222222")


def _flux_grid(stars: StarScatter) -> FloatArray:
    known = stars.flux_e[np.isfinite(stars.flux_e)]
    if not len(known):
        return np.array([1.0, 10.0])
    return np.geomspace(known.min() / 1.3, known.max() * 1.3, _POINTS_OF_A_CURVE)


def _standard_aperture(recipe: Recipe) -> PhotometerSettings:
    apertures = [one for one in recipe.photometers if one.kind == "aperture"]
    if not apertures:
        raise AnalysisError("a noise budget needs an aperture photometer in the recipe")
    return next((one for one in apertures if not one.name), apertures[0])


def _ladder(recipe: Recipe) -> dict[float, str]:
    """Labels of the forced apertures by radius in FWHM; the first of equal ones."""
    ladder: dict[float, str] = {}
    for one in recipe.photometers:
        if one.kind == "aperture" and one.forced and one.semi_axes_px is None and one.background == "annulus":
            ladder.setdefault(one.radius_fwhm or recipe.photometry.aperture_radius_fwhm, one.label)
    return ladder


def _budget_curves(reader: NightReader, stars: StarScatter, photometer: PhotometerSettings) -> list[Curve]:
    """Lines of the parts over the range of fluxes, with the variance of the background as the errors have it."""
    grid = _flux_grid(stars)
    conditions = reader.conditions(stars.key)
    exposure_s = float(np.nanmedian(conditions["exposure_s"]))
    variance = np.nanmedian((stars.expected * stars.flux_e) ** 2 - stars.flux_e)
    background = float(variance) if np.isfinite(variance) else 0.0
    budget = noise_budget(
        grid,
        np.sqrt(grid + max(background, 0.0)),
        area_px=_area_px(reader.recipe(), photometer, conditions["fwhm_px"]),
        exposure_s=exposure_s,
        detector=detector_of(reader, stars.key),
    )
    instrument = reader.recipe().instrument
    site = ScintillationSite(instrument.aperture_m, instrument.site.height_m)
    expected = scintillation(site, conditions["exposure_s"], conditions["airmass"])
    known = expected[np.isfinite(expected)]
    level = float(np.median(known)) if len(known) else math.nan
    whole = NoiseBudget(budget.shot, budget.sky, budget.dark, budget.read, np.full(len(grid), level))
    parts = {
        "shot": whole.shot,
        "sky": whole.sky,
        "dark current": whole.dark,
        "read noise": whole.read,
        "scintillation": whole.scintillation,
    }
    lines = [
        Curve(name, grid, values, "--", _PART_COLOURS[name])
        for name, values in parts.items()
        if np.isfinite(values).any() and np.nanmax(values) > 0.0
    ]
    return [*lines, Curve("all together", grid, whole.total(), "-", "#222222")]


def _area_px(recipe: Recipe, photometer: PhotometerSettings, fwhm_px: FloatArray) -> float:
    """Area of the aperture at the median FWHM of the night."""
    if photometer.semi_axes_px is not None:
        return math.pi * photometer.semi_axes_px[0] * photometer.semi_axes_px[1]
    settings = recipe.photometry
    radius = (photometer.radius_fwhm or settings.aperture_radius_fwhm) * float(np.nanmedian(fwhm_px))
    return math.pi * min(max(radius, settings.aperture_min_px), settings.aperture_max_px) ** 2
