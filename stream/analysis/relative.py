"""The relative light curve of a target: its flux over the transparency that the comparison stars saw."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from stream.analysis.ensemble import ensemble_weights, fit_for_comparison, solve_ensemble
from stream.analysis.series import TimeSeries
from stream.errors import AnalysisError, ConfigurationError
from stream.flags import DOUBTFUL, Flag
from stream.messages import FloatArray, IntArray, SourceFluxes
from stream.timestamps import SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class RelativeLightCurve:
    """A target relative to its comparison stars, in order of time, one point for every measured frame.

    Attributes
    ----------
    key, label : str
        Key and photometer.
    time_mjd_utc, time_bmjd_tdb : array, shape (n_frames,)
        Middle of the exposures, days; the barycentric ones may be NaN.
    flux, flux_err : array, shape (n_frames,)
        Relative flux, median 1, and its error; NaN where the target or all comparison stars have none.
    flags : array of int, shape (n_frames,)
        Those of the target and its frame, and NO_COMPARISON.
    frame_ids : array of int, shape (n_frames,)
    target : int
    comparisons : tuple of int
    weights : tuple of float
        Share of each comparison star, sum 1.
    transparency : array, shape (n_frames,)
        What the comparison stars saw, median near 1; NaN where none was measured.
    n_comparisons : array of int, shape (n_frames,)
        Comparison stars that each point rests on.
    airmass : array, shape (n_frames,)
        NaN where it is not known.
    scales : tuple of float
        c_s of each comparison star, electrons; NaN for one that took no part.
    level : float
        What the ratio of target to transparency was divided by, electrons.
    """

    key: str
    label: str
    time_mjd_utc: FloatArray
    time_bmjd_tdb: FloatArray
    flux: FloatArray
    flux_err: FloatArray
    flags: IntArray
    frame_ids: IntArray
    target: int
    comparisons: tuple[int, ...]
    weights: tuple[float, ...]
    transparency: FloatArray
    n_comparisons: IntArray
    airmass: FloatArray
    scales: tuple[float, ...] = ()
    level: float = 1.0

    def time_scale(self) -> str:
        """Name of the best time column: barycentric where every frame has it."""
        barycentric = len(self.time_bmjd_tdb) > 0 and not np.isnan(self.time_bmjd_tdb).any()
        return "time_bmjd_tdb" if barycentric else "time_mjd_utc"

    def time(self) -> FloatArray:
        """The column that `time_scale` names."""
        return self.time_bmjd_tdb if self.time_scale() == "time_bmjd_tdb" else self.time_mjd_utc

    def series(self, origin_day: float | None = None) -> TimeSeries:
        """Return the same in seconds, as the transforms need it.

        Seconds count from `origin_day`, in the scale of `time_scale`, or from the first point. Light curves whose
        phases are to be compared need the same origin.
        """
        days = self.time()
        origin = origin_day if origin_day is not None else (float(days[0]) if len(days) else 0.0)
        return TimeSeries((days - origin) * SECONDS_PER_DAY, self.flux, self.flux_err)


def relative_light_curve(fluxes: SourceFluxes, target: int, comparisons: Collection[int]) -> RelativeLightCurve:
    """Divide the target by the ensemble of the comparison stars.

    The ensemble is the solution of ``f_is = c_s t_i`` (see `stream.analysis.ensemble`) with the weights of
    `ensemble_weights`; the target takes no part in it. The relative flux is ``f_i / t_i`` over its median among the
    unflagged frames, its relative variance the sum of those of f_i and t_i, both from the errors of the fluxes:
    scintillation and flat-field errors are not in it.

    Raises
    ------
    ConfigurationError
        If there is no comparison star, or target or comparison is not a source of the catalog, or both are the same.
    AnalysisError
        If the target has no positive median flux.
    """
    numbers = tuple(dict.fromkeys(int(number) for number in comparisons))
    check_numbers(fluxes, target, numbers)
    columns = np.array(numbers) - 1
    flux, flux_err = fluxes.flux[:, columns], fluxes.flux_err[:, columns]
    use = fit_for_comparison(fluxes)[:, columns]
    weights = ensemble_weights(flux, flux_err, use)
    ensemble = solve_ensemble(flux, flux_err, use, weights)
    own, own_err = fluxes.flux[:, target - 1], fluxes.flux_err[:, target - 1]
    flags = fluxes.flags[:, target - 1] | np.where(np.isnan(ensemble.transparency), int(Flag.NO_COMPARISON), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = own / ensemble.transparency
        ratio_err = np.hypot(own_err, ratio * ensemble.transparency_err) / ensemble.transparency
    level = _level(ratio, flags, fluxes, target)
    total = weights.sum()
    return RelativeLightCurve(
        key=fluxes.key,
        label=fluxes.label,
        time_mjd_utc=fluxes.time_mjd_utc,
        time_bmjd_tdb=fluxes.time_bmjd_tdb,
        flux=ratio / level,
        flux_err=ratio_err / level,
        flags=flags.astype(np.int64),
        frame_ids=fluxes.frame_ids,
        target=target,
        comparisons=numbers,
        weights=tuple(float(weight / total) if total > 0.0 else 0.0 for weight in weights),
        transparency=ensemble.transparency,
        n_comparisons=(ensemble.used & (weights > 0.0)).sum(axis=1).astype(np.int64),
        airmass=fluxes.airmass,
        scales=tuple(float(scale) for scale in ensemble.scale),
        level=level,
    )


def check_numbers(fluxes: SourceFluxes, target: int, comparisons: tuple[int, ...]) -> None:
    """Refuse sources that are not in the catalog, or are target and comparison star; raises ConfigurationError."""
    if not comparisons:
        raise ConfigurationError(f"a relative light curve of {fluxes.key} needs at least one comparison star")
    for number, role in ((target, "target"), *((number, "comparison star") for number in comparisons)):
        if not 1 <= number <= fluxes.n_sources:
            raise ConfigurationError(
                f"{role} {number} is not in the catalog of {fluxes.key}, which has sources 1 to {fluxes.n_sources}"
            )
    if target in comparisons:
        raise ConfigurationError(f"source {target} of {fluxes.key} cannot be target and comparison star at once")


def _level(ratio: FloatArray, flags: IntArray, fluxes: SourceFluxes, target: int) -> float:
    measured = np.isfinite(ratio)
    if not measured.any():
        return 1.0
    trusted = measured & ((flags & int(DOUBTFUL)) == 0)
    level = float(np.median(ratio[trusted if trusted.any() else measured]))
    if level <= 0.0:
        raise AnalysisError(
            f"source {target} of {fluxes.key} has a median flux of {level:.3g} electrons: "
            "a relative light curve needs one greater than 0"
        )
    return level
