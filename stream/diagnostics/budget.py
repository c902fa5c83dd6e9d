"""What the noise of a photometer is made of: photons, sky, dark current, read noise, scintillation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from stream.config import PhotometerSettings, Recipe
from stream.diagnostics.apertures import median_psf, night_aperture, photometer_of, pixels_of_background
from stream.diagnostics.folder import open_night, save
from stream.diagnostics.frames import detector_of
from stream.diagnostics.scatter import flux_grid, scatter_of_stars
from stream.errors import AnalysisError
from stream.measure.flux_weights import WeightsOf, aperture_weights, optimal_weights, pixel_variance
from stream.measure.noise import NoiseBudget, ScintillationSite, noise_budget, scintillation
from stream.messages import Catalog, FloatArray
from stream.night.night_reader import FrameConditions, NightReader
from stream.plots.noise import Curve, StarScatter, noise_budget_figure

_FEWEST_FAINT = 3
_PART_COLOURS = {
    "shot": "#1b6ca8",
    "sky": "#b8860b",
    "dark current": "#7d5ba6",
    "read noise": "#3a7d44",
    "scintillation": "#c8553d",
}


def write_noise_budget(out: Path, label: str | None = None) -> Path:
    """Write ``diag/<label>_noise_budget.png``: the parts of the noise of any flux, against what was measured.

    Parameters
    ----------
    label : str, optional
        The photometer, also one of the ladder of apertures; by default the one that the page shows.

    Raises
    ------
    AnalysisError
        If the photometer is a class of the user's own, whose weights nobody knows, or no key has ten measured frames.
    LedgerError
        If no set of measurements has such a photometer.
    """
    with open_night(out, label) as reader:
        recipe = reader.recipe()
        photometer = photometer_of(recipe, label or recipe.default_label())
        if photometer.is_own:
            raise AnalysisError(f"the noise of {photometer.label} cannot be split: it is of a class of your own")
        _, stars = scatter_of_stars(out, photometer.label)
        curves = [_curves(reader, one, photometer) for one in stars]
    title = f"Noise budget, {photometer.label}"
    return save(noise_budget_figure(stars, curves, title), out, f"{photometer.label}_noise_budget.png")


def night_budget(
    reader: NightReader, stars: StarScatter, photometer: PhotometerSettings, flux_e: FloatArray
) -> NoiseBudget:
    """Parts of the noise of fluxes (electrons) on a median frame of a key.

    The variance of a pixel is the one that the errors of the fainter half of the stars were made of: in those of bright
    stars it is lost.
    """
    recipe, catalog = reader.recipe(), reader.catalogs()[stars.key]
    conditions = reader.conditions(stars.key)
    weights_of = _weights_of(photometer, recipe, catalog, conditions)
    n_background = pixels_of_background(photometer, recipe, catalog)
    error = stars.expected * stars.flux_e
    found = pixel_variance(stars.flux_e, error, weights_of=weights_of, n_background=n_background)
    faint_first = np.argsort(stars.flux_e)[: max(_FEWEST_FAINT, int(np.isfinite(stars.flux_e).sum()) // 2)]
    variance = np.full(len(flux_e), np.nanmedian(found[faint_first]))
    weights = weights_of(flux_e, variance)
    budget = noise_budget(
        flux_e,
        np.sqrt(weights.variance(flux_e, variance, n_background)),
        weights=weights,
        exposure_s=float(np.nanmedian(conditions["exposure_s"])),
        detector=detector_of(reader, stars.key),
    )
    return replace(budget, scintillation=np.full(len(flux_e), _median_scintillation(recipe, conditions)))


def _weights_of(
    photometer: PhotometerSettings, recipe: Recipe, catalog: Catalog, conditions: FrameConditions
) -> WeightsOf:
    psf = median_psf(catalog, conditions)
    if photometer.kind == "optimal":
        return optimal_weights(psf)
    return aperture_weights(night_aperture(photometer, recipe, catalog, psf=psf))


def _median_scintillation(recipe: Recipe, conditions: FrameConditions) -> float:
    site = ScintillationSite(recipe.instrument.aperture_m, recipe.instrument.site.height_m)
    expected = scintillation(site, conditions["exposure_s"], conditions["airmass"])
    known = expected[np.isfinite(expected)]
    return float(np.median(known)) if len(known) else math.nan


def _curves(reader: NightReader, stars: StarScatter, photometer: PhotometerSettings) -> list[Curve]:
    grid = flux_grid(stars)
    budget = night_budget(reader, stars, photometer, grid)
    parts = {
        "shot": budget.shot,
        "sky": budget.sky,
        "dark current": budget.dark,
        "read noise": budget.read,
        "scintillation": budget.scintillation,
    }
    lines = [
        Curve(name, grid, values, "--", _PART_COLOURS[name])
        for name, values in parts.items()
        if np.isfinite(values).any() and np.nanmax(values) > 0.0
    ]
    return [*lines, Curve("all together", grid, budget.total(), "-", "#222222")]
