"""The comparison stars of a relative light curve against each other: a table and a figure for each light curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stream.analysis.pairs import PairComparison, compare_pairs
from stream.analysis.relative import RelativeLightCurve, relative_light_curve
from stream.errors import AnalysisError
from stream.export.night import ExportNight, time_fact
from stream.export.tables import Column, Table
from stream.export.writers import write_ecsv
from stream.messages import SourceFluxes

if TYPE_CHECKING:
    from stream.plots import Figure

FOLDER = Path("relative_light_curves") / "diag"
_MOST_DRAWN = 15


def write_pairs_table(destination: Path, night: ExportNight, curve: RelativeLightCurve, *, stem: str) -> Path:
    """Write ``relative_light_curves/diag/<stem>_comparisons.ecsv``: one row for each pair of comparison stars."""
    fluxes = night.fluxes[curve.label][curve.key]
    pairs = compare_pairs(fluxes, curve.comparisons)
    facts = night.facts | {"key": curve.key, "photometer": curve.label, "time": time_fact(fluxes)}
    return write_ecsv(destination, Table(f"{FOLDER}/{stem}_comparisons", _columns(pairs), facts))


def pairs_figure(fluxes: SourceFluxes, curve: RelativeLightCurve, title: str) -> Figure | None:
    """Pairs of comparison stars of a light curve over each other; None with fewer than two.

    Of more than fifteen pairs those with the largest chi-square are drawn, worst first, and the title says so.
    """
    from stream.plots import light_curves_figure

    pairs = compare_pairs(fluxes, curve.comparisons)
    if len(pairs) > _MOST_DRAWN:
        worst_first = sorted(pairs, key=lambda pair: -np.nan_to_num(pair.chi2, nan=-1.0))
        title = f"{title}  the {_MOST_DRAWN} of {len(pairs)} pairs with the largest chi-square"
        pairs = worst_first[:_MOST_DRAWN]
    drawn = []
    for pair in pairs:
        try:
            drawn.append(relative_light_curve(fluxes, pair.first, (pair.second,)))
        except AnalysisError:
            # A star without a positive flux has its row in the table, with the number of frames.
            continue
    return light_curves_figure(drawn, title) if drawn else None


def _columns(pairs: list[PairComparison]) -> tuple[Column, ...]:
    def numbers(name: str) -> np.ndarray:
        return np.array([getattr(pair, name) for pair in pairs])

    return (
        Column("first", "", numbers("first"), meaning="number of the star that is divided"),
        Column("second", "", numbers("second"), meaning="number of the star that it is divided by"),
        Column("n_frames", "", numbers("n_frames"), meaning="frames on which both are fit for comparison"),
        Column("scatter", "", numbers("scatter"), 7, "1.48 median absolute deviations of the ratio, median 1"),
        Column("expected_scatter", "", numbers("expected"), 7, "median error of the ratio, without scintillation"),
        Column("chi2", "", numbers("chi2"), 4, "reduced chi-square against the weighted mean"),
        Column("trend", "h-1", numbers("trend_per_hour"), 7, "slope of the weighted straight line"),
        Column("trend_err", "h-1", numbers("trend_per_hour_err"), 7, "its standard error"),
    )
