"""The relative light curve of a night that grows: new frames at the scales and weights that were last found."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.analysis.ensemble import fit_for_comparison
from stream.analysis.relative import RelativeLightCurve, relative_light_curve
from stream.errors import AnalysisError
from stream.flags import Flag
from stream.messages import FloatArray, IntArray, SourceFluxes

_OWN_COLUMNS = ("flux", "flux_err", "flags", "transparency", "n_comparisons")
_FIRST_CAPACITY = 1024


class GrowingLightCurve:
    """A target over its comparison stars, solved now and then and extended in between.

    A solution finds scales and weights of the comparison stars from all frames (`relative_light_curve`); an extension
    applies them to frames that came since, at a cost that does not depend on the length of the night. Fluxes of
    comparison stars that disagree with the others are left out by a solution alone.

    Parameters
    ----------
    target : int
    comparisons : tuple of int
    """

    def __init__(self, target: int, comparisons: tuple[int, ...]) -> None:
        self.target = target
        self.comparisons = comparisons
        self.n_solved = 0
        """Frames that the last solution rests on."""
        self._solution: RelativeLightCurve | None = None
        self._fluxes: SourceFluxes | None = None
        self._n = 0
        self._arrays: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return self._n

    def solve(self, fluxes: SourceFluxes) -> None:
        """Find scales and weights anew from all frames.

        Raises
        ------
        ConfigurationError, AnalysisError
            As `relative_light_curve`; what there was before is forgotten.
        """
        self._solution, self._n = None, 0
        solution = relative_light_curve(fluxes, self.target, self.comparisons)
        self._solution, self._fluxes, self._n = solution, fluxes, len(fluxes.frame_ids)
        self.n_solved = self._n
        self._reserve(self._n)
        for name in _OWN_COLUMNS:
            self._arrays[name][: self._n] = getattr(solution, name)

    def extend(self, fluxes: SourceFluxes, first_row: int) -> None:
        """Take the frames from `first_row` on as they are now; those before are as they were.

        Raises
        ------
        AnalysisError
            If nothing was solved before.
        """
        if self._solution is None:
            raise AnalysisError(f"the light curve of {fluxes.key} was not solved yet: there is nothing to extend")
        total = len(fluxes.frame_ids)
        self._reserve(total)
        for name, column in self._extension(self._solution, fluxes, slice(first_row, total)).items():
            self._arrays[name][first_row:total] = column
        self._fluxes, self._n = fluxes, total

    def curve(self) -> RelativeLightCurve | None:
        """Return the light curve, made of views that hold until the next change; None before the first solution."""
        if self._solution is None or self._fluxes is None:
            return None
        times: dict[str, Any] = {
            name: getattr(self._fluxes, name) for name in ("time_mjd_utc", "time_bmjd_tdb", "frame_ids", "airmass")
        }
        own: dict[str, Any] = {name: array[: self._n] for name, array in self._arrays.items()}
        return replace(self._solution, **times, **own)

    def _extension(
        self, solution: RelativeLightCurve, fluxes: SourceFluxes, rows: slice
    ) -> dict[str, FloatArray | IntArray]:
        part = _rows_of(fluxes, rows)
        columns = np.array(self.comparisons) - 1
        scales, weights = np.array(solution.scales), np.array(solution.weights)
        use = fit_for_comparison(part)[:, columns] & np.isfinite(scales)
        mass = use * weights
        own, own_err = part.flux[:, self.target - 1], part.flux_err[:, self.target - 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(use, part.flux[:, columns] / scales, 0.0)
            relative_err = np.where(use, part.flux_err[:, columns] / scales, 0.0)
            transparency = (mass * relative).sum(axis=1) / mass.sum(axis=1)
            transparency_err = np.sqrt(((mass * relative_err) ** 2).sum(axis=1)) / mass.sum(axis=1)
            ratio = own / transparency
            ratio_err = np.hypot(own_err, ratio * transparency_err) / transparency
        missing = np.where(np.isnan(transparency), int(Flag.NO_COMPARISON), 0)
        return {
            "flux": ratio / solution.level,
            "flux_err": ratio_err / solution.level,
            "flags": (part.flags[:, self.target - 1] | missing).astype(np.int64),
            "transparency": transparency,
            "n_comparisons": (mass > 0.0).sum(axis=1).astype(np.int64),
        }

    def _reserve(self, total: int) -> None:
        if self._arrays and total <= len(self._arrays["flux"]):
            return
        capacity = max(total + total // 2, _FIRST_CAPACITY)
        held = self._arrays
        self._arrays = {
            name: np.empty(capacity, dtype=np.int64 if name in ("flags", "n_comparisons") else np.float64)
            for name in _OWN_COLUMNS
        }
        for name, array in held.items():
            self._arrays[name][: self._n] = array[: self._n]


def _rows_of(fluxes: SourceFluxes, rows: slice) -> SourceFluxes:
    parts = {
        field.name: getattr(fluxes, field.name)[rows] for field in fields(fluxes) if field.name not in ("key", "label")
    }
    return SourceFluxes(key=fluxes.key, label=fluxes.label, **parts)
