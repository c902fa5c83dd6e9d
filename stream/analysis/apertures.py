"""Which photometer serves a night best, and how much of a star's light an aperture holds.

Both look at comparison stars alone: a photometer chosen for the quietest target would flatter it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from stream.analysis.ensemble import (
    ensemble_weights,
    fit_for_comparison,
    nan_median,
    relative_to_others,
    robust_scatter,
)
from stream.errors import AnalysisError
from stream.messages import FloatArray, SourceFluxes

_FEWEST_STARS = 2
_FEWEST_FRAMES = 10


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
        Mean over the stars of the median over the frames, and its standard error from star to star (NaN for one star).
    """

    radius_fwhm: FloatArray
    fraction: FloatArray
    fraction_err: FloatArray

    def correction(self, radius_fwhm: float) -> float:
        """Factor that brings a flux within `radius_fwhm` to that of the largest aperture, interpolated."""
        return float(1.0 / np.interp(radius_fwhm, self.radius_fwhm, self.fraction))


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


def growth_curve(fluxes_by_radius: Mapping[float, SourceFluxes], numbers: Collection[int]) -> GrowthCurve:
    """Curve of growth from the apertures of a ladder, on bright stars without neighbours.

    Parameters
    ----------
    fluxes_by_radius : mapping of float to SourceFluxes
        By radius in FWHM; the frames must be the same for all.
    numbers : collection of int
        The stars.

    Raises
    ------
    AnalysisError
        If there are fewer than two radii, or no star has flux in all apertures.
    """
    radii = sorted(fluxes_by_radius)
    columns = [number - 1 for number in numbers]
    if len(radii) < 2:
        raise AnalysisError(f"two apertures or more are required for a curve of growth: there are {len(radii)}")
    usable = fit_for_comparison(fluxes_by_radius[radii[-1]])[:, columns]
    largest = np.where(usable, fluxes_by_radius[radii[-1]].flux[:, columns], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [nan_median(fluxes_by_radius[radius].flux[:, columns] / largest, np.nan) for radius in radii]
    table = np.array(shares)
    table = table[:, np.isfinite(table).all(axis=0)]
    if not table.shape[1]:
        raise AnalysisError("no star has flux in all apertures of the ladder: no curve of growth")
    n_stars = table.shape[1]
    error = table.std(axis=1, ddof=1) / np.sqrt(n_stars) if n_stars > 1 else np.full(len(radii), np.nan)
    return GrowthCurve(np.array(radii), table.mean(axis=1), error)
