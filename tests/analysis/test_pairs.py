"""Pairs of comparison stars: constant ones by their errors, one that drifts, one that is hardly there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.analysis.pairs import PairComparison, compare_pairs
from stream.analysis.relative import relative_light_curve
from stream.export.pairs import pairs_figure
from stream.flags import Flag
from tests.analysis.synthetic import Field

N_FRAMES = 600


def by_stars(pairs: list[PairComparison]) -> dict[tuple[int, int], PairComparison]:
    return {(pair.first, pair.second): pair for pair in pairs}


def test_constant_stars_are_as_constant_as_their_errors_say() -> None:
    pairs = compare_pairs(Field(n_frames=N_FRAMES).make(), (4, 1, 2))
    assert [(pair.first, pair.second) for pair in pairs] == [(4, 1), (4, 2), (1, 2)]
    for pair in pairs:
        assert pair.n_frames == N_FRAMES
        assert pair.chi2 == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / N_FRAMES))
        assert pair.scatter == pytest.approx(pair.expected, rel=0.25)
        assert abs(pair.trend_per_hour) < 4.0 * pair.trend_per_hour_err


def test_a_drifting_star_is_told_by_its_trend() -> None:
    fluxes = Field(n_frames=N_FRAMES).make()
    hours = (fluxes.time() - fluxes.time()[0]) * 24.0
    flux = fluxes.flux.copy()
    flux[:, 2] *= 1.0 + 0.5 * hours
    pairs = by_stars(compare_pairs(replace(fluxes, flux=flux), (1, 2, 3)))
    for number in (1, 2):
        # Against the middle of the drift, which is where the ratio is 1.
        expected = -0.5 / (1.0 + 0.5 * hours.mean())
        found = pairs[number, 3]
        assert found.trend_per_hour == pytest.approx(expected, abs=4.0 * found.trend_per_hour_err + 0.02)
        assert found.chi2 > 1.5 * pairs[1, 2].chi2


def test_unfit_frames_do_not_count_and_two_frames_tell_nothing() -> None:
    fluxes = Field(n_frames=N_FRAMES).make()
    flags = fluxes.flags.copy()
    flags[50:, 1] |= int(Flag.SATURATED)
    flags[2:, 3] |= int(Flag.NEAR_EDGE)
    pairs = by_stars(compare_pairs(replace(fluxes, flags=flags), (1, 2, 4)))
    assert (pairs[1, 2].n_frames, pairs[1, 4].n_frames) == (50, 2)
    assert np.isfinite(pairs[1, 2].chi2) and np.isnan(pairs[1, 4].chi2)


def test_of_many_pairs_the_worst_are_drawn() -> None:
    fluxes = Field(n_frames=100, levels=tuple(np.geomspace(6e4, 6e3, 9).tolist())).make()
    flux = fluxes.flux.copy()
    flux[::2, 6] *= 1.5
    fluxes = replace(fluxes, flux=flux)
    curve = relative_light_curve(fluxes, 9, range(1, 9))
    figure = pairs_figure(fluxes, curve, "pairs")
    assert figure is not None
    assert figure.get_suptitle() == "pairs  the 15 of 28 pairs with the largest chi-square"
    assert len(figure.axes) == 15
    assert sum("7" in axes.get_title(loc="left").split("source ")[1] for axes in figure.axes[:7]) == 7
    assert pairs_figure(fluxes, relative_light_curve(fluxes, 9, (1,)), "one") is None
