"""Which photometer serves a night best, and how much of a star's light an aperture holds.

The choice looks at comparison stars alone: a photometer chosen for the quietest target would flatter it. The light of
an aperture is that of bright stars without neighbours, whether they vary or not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream.analysis.ensemble import (
    ensemble_weights,
    fit_for_comparison,
    nan_median,
    relative_error,
    relative_to_others,
    robust_scatter,
)
from stream.config import Recipe
from stream.errors import AnalysisError
from stream.messages import Catalog, FloatArray, SourceFluxes

QUIETEST = "quietest"
"""Name by which the photometer of `choose_photometer` is asked for, where otherwise the label of one stands."""
_FEWEST_STARS = 2
_FEWEST_FRAMES = 10
_COVERAGE = 0.75
_ISOLATION_FWHM, _NEIGHBOUR = 4.0, 0.01
_LEAST_BRIGHTNESS = 1.0 / 30.0
_MOST_GROWTH_STARS = 12


@dataclass(frozen=True, slots=True)
class PhotometerChoice:
    """The photometer with the least scatter of the comparison stars.

    Attributes
    ----------
    label : str
    scatter : dict
        Typical relative scatter of a comparison star against the others, by label; NaN where it cannot be told.
    sentence : str
    """

    label: str
    scatter: dict[str, float]
    sentence: str


@dataclass(frozen=True, slots=True)
class GrowthCurve:
    """Light of a star within apertures, relative to the largest of them.

    Attributes
    ----------
    radius_fwhm : array, shape (n_radii,)
        Increasing.
    fraction, fraction_err : array, shape (n_radii,)
        Mean over the stars, weighted by 1/error^2, of the median over the frames, and its standard error from star to
        star (NaN for one star).
    """

    radius_fwhm: FloatArray
    fraction: FloatArray
    fraction_err: FloatArray


@dataclass(frozen=True, slots=True)
class ApertureCorrection:
    """Factor from the flux of a photometer to that of a large aperture.

    Attributes
    ----------
    factor, factor_err : float
        Of the night, and its standard error from star to star (NaN for one star): common to all points.
    radius_fwhm : float
        Radius of the large aperture.
    stars : tuple of int
        Numbers of the stars that it rests on.
    """

    factor: float
    factor_err: float
    radius_fwhm: float
    stars: tuple[int, ...]

    def sentence(self) -> str:
        """What was done, in words for the head of a file."""
        stars = f"star{'s' if len(self.stars) > 1 else ''} {', '.join(map(str, self.stars))}"
        return (
            f"flux and flux_err are multiplied by {self.factor:.5f} (standard error {self.factor_err:.5f}, common to "
            f"all points and not in flux_err), to the flux within {self.radius_fwhm:g} FWHM, from {stars}"
        )


def comparison_scatter(fluxes: SourceFluxes, comparisons: Collection[int]) -> float:
    """Geometric mean over the comparison stars of their robust scatter against the ensemble of the others.

    NaN with fewer than two stars or ten frames.
    """
    columns = [number - 1 for number in comparisons]
    if len(columns) < _FEWEST_STARS or len(fluxes.frame_ids) < _FEWEST_FRAMES:
        return float("nan")
    flux, error = fluxes.flux[:, columns], fluxes.flux_err[:, columns]
    use = fit_for_comparison(fluxes)[:, columns]
    weights = ensemble_weights(flux, error, use)
    known = weights > 0.0
    if known.sum() < _FEWEST_STARS:
        return float("nan")
    relative, _ = relative_to_others(flux[:, known], error[:, known], use[:, known], weights[known])
    scatter = robust_scatter(relative).whole
    scatter = scatter[np.isfinite(scatter) & (scatter > 0.0)]
    return float(np.exp(np.log(scatter).mean())) if len(scatter) else float("nan")


def choose_photometer(fluxes_by_label: Mapping[str, SourceFluxes], comparisons: Collection[int]) -> PhotometerChoice:
    """Choose the photometer with the least `comparison_scatter`; the first one where none can be told.

    Raises
    ------
    AnalysisError
        If there is no photometer.
    """
    if not fluxes_by_label:
        raise AnalysisError("a photometer is required to choose from: there is none")
    scatter = {label: comparison_scatter(fluxes, comparisons) for label, fluxes in fluxes_by_label.items()}
    told = {label: value for label, value in scatter.items() if np.isfinite(value)}
    first = next(iter(fluxes_by_label))
    if not told:
        words = "the scatter of the comparison stars cannot be told from fewer than two stars or ten frames"
        return PhotometerChoice(first, scatter, f"{first}: {words}")
    best = min(told, key=lambda label: told[label])
    sentence = f"{best} has the least scatter of the comparison stars, {100.0 * told[best]:.3f} %"
    if best != first and first in told:
        sentence += f"; {first} has {100.0 * told[first]:.3f} %"
    return PhotometerChoice(best, scatter, sentence)


def aperture_ladder(recipe: Recipe) -> dict[float, str]:
    """Labels of the forced apertures with an annulus by radius in FWHM, increasing; the first of equal ones."""
    ladder: dict[float, str] = {}
    for one in recipe.photometers:
        if one.kind == "aperture" and one.forced and one.semi_axes_px is None and one.background == "annulus":
            ladder.setdefault(one.radius_fwhm or recipe.photometry.aperture_radius_fwhm, one.label)
    return dict(sorted(ladder.items()))


def growth_stars(largest: SourceFluxes, catalog: Catalog) -> tuple[int, ...]:
    """Numbers of bright stars without neighbours, brightest first, at most twelve.

    A star must be fit for comparison on three quarters of the frames and not fainter than a thirtieth of the
    brightest. Within four FWHM it must have no other source of the catalog with more than a hundredth of its flux:
    that is where the light of the largest aperture, or of a neighbour in it, comes from.

    Parameters
    ----------
    largest : SourceFluxes
        With the largest aperture of the ladder.
    """
    n_frames = len(largest.frame_ids)
    often = fit_for_comparison(largest).sum(axis=0) >= _COVERAGE * max(n_frames, 1)
    flux = nan_median(largest.flux, np.nan)
    places = catalog.positions()
    distance = np.hypot(*(places[:, None, :] - places).transpose(2, 0, 1))
    np.fill_diagonal(distance, np.inf)
    brightness = np.asarray(catalog.flux_e)
    disturbs = (distance < _ISOLATION_FWHM * catalog.fwhm_px) & (brightness > _NEIGHBOUR * brightness[:, None])
    with np.errstate(invalid="ignore"):
        candidates = np.flatnonzero(often & (flux > 0.0) & ~disturbs.any(axis=1))
    order = candidates[np.argsort(-flux[candidates], kind="stable")]
    bright = order[flux[order] >= _LEAST_BRIGHTNESS * flux[order[0]]] if len(order) else order
    return tuple(int(index) + 1 for index in bright[:_MOST_GROWTH_STARS])


def growth_curve(fluxes_by_radius: Mapping[float, SourceFluxes], numbers: Collection[int]) -> GrowthCurve:
    """Curve of growth from the apertures of a ladder.

    Parameters
    ----------
    fluxes_by_radius : mapping of float to SourceFluxes
        By radius in FWHM; the frames must be the same for all.
    numbers : collection of int
        The stars; see `growth_stars`.

    Raises
    ------
    AnalysisError
        If there are fewer than two radii, or no star has flux in all apertures.
    """
    radii = sorted(fluxes_by_radius)
    if len(radii) < 2:
        raise AnalysisError(f"two apertures or more are required for a curve of growth: there are {len(radii)}")
    fraction, error = _shares([fluxes_by_radius[radius] for radius in radii], numbers)
    return GrowthCurve(np.array(radii), fraction, error)


def aperture_correction(
    fluxes: SourceFluxes, largest: SourceFluxes, numbers: Collection[int], *, radius_fwhm: float
) -> ApertureCorrection:
    """Find the factor that brings the fluxes of a photometer, of whatever kind, to those of a large aperture.

    Parameters
    ----------
    largest : SourceFluxes
        With the large aperture, of `radius_fwhm`, on the same frames.
    numbers : collection of int
        The stars; see `growth_stars`.

    Raises
    ------
    AnalysisError
        If no star has flux in both.
    """
    if not numbers:
        raise AnalysisError(f"an aperture correction of {fluxes.key} needs a bright star without neighbours: none is")
    fraction, error = _shares([fluxes, largest], numbers)
    factor = float(1.0 / fraction[0])
    return ApertureCorrection(factor, float(error[0]) * factor**2, radius_fwhm, tuple(numbers))


def _shares(ladder: Sequence[SourceFluxes], numbers: Collection[int]) -> tuple[FloatArray, FloatArray]:
    """Fluxes over those of the last of `ladder`: weighted mean over the stars, and its standard error."""
    columns = [number - 1 for number in numbers]
    last = ladder[-1]
    usable = fit_for_comparison(last)[:, columns]
    largest = np.where(usable, last.flux[:, columns], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        table = np.array([nan_median(one.flux[:, columns] / largest, np.nan) for one in ladder])
        weights = 1.0 / relative_error(last.flux[:, columns], last.flux_err[:, columns], usable) ** 2
    known = np.isfinite(table).all(axis=0) & np.isfinite(weights)
    table, weights = table[:, known], weights[known]
    n_stars = table.shape[1]
    if not n_stars:
        raise AnalysisError("no star has flux in all apertures of the ladder: no curve of growth")
    weights = weights / weights.sum()
    mean = table @ weights
    if n_stars == 1:
        return mean, np.full(len(ladder), np.nan)
    # A heavy star draws the mean to itself; 1 - w makes up for it (exactly so for equal weights: n - 1).
    variance = (weights**2 * (table - mean[:, None]) ** 2 / (1.0 - weights)).sum(axis=1)
    return mean, np.sqrt(variance)
