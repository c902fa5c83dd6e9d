"""A light curve that grows: extended frame by frame it says what a solution of all frames says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.analysis.growing import GrowingLightCurve
from stream.analysis.relative import relative_light_curve
from stream.config import DEFAULT_LABEL
from stream.errors import AnalysisError, ConfigurationError
from stream.messages import SourceFluxes
from stream.night.ledger import LedgerReader
from tests.server.fake_night import KEYS, VARIABLE, FakeNight


@pytest.fixture(scope="module")
def fluxes(tmp_path_factory: pytest.TempPathFactory) -> SourceFluxes:
    out: Path = tmp_path_factory.mktemp("night")
    night = FakeNight(out)
    night.advance(1300)
    night.finish()
    reader = LedgerReader(out)
    found = reader.source_fluxes(KEYS[0], DEFAULT_LABEL)
    reader.close()
    return found


def first(fluxes: SourceFluxes, n_frames: int) -> SourceFluxes:
    parts = {field.name: getattr(fluxes, field.name) for field in fields(fluxes)}
    cut: dict[str, Any] = {name: part if isinstance(part, str) else part[:n_frames] for name, part in parts.items()}
    return SourceFluxes(**cut)


def test_an_extension_agrees_with_a_solution(fluxes: SourceFluxes) -> None:
    growing = GrowingLightCurve(VARIABLE, (1, 3, 4, 5))
    growing.solve(first(fluxes, 900))
    for n_frames in range(901, len(fluxes.frame_ids) + 1):
        growing.extend(first(fluxes, n_frames), n_frames - 1)
    extended, solved = growing.curve(), relative_light_curve(fluxes, VARIABLE, (1, 3, 4, 5))
    assert extended is not None
    assert growing.n_solved == 900
    np.testing.assert_array_equal(extended.frame_ids, solved.frame_ids)
    np.testing.assert_array_equal(extended.flags, solved.flags)
    np.testing.assert_array_equal(np.isnan(extended.flux), np.isnan(solved.flux))
    # The scales of 900 frames are uncertain by a thirtieth of an error.
    assert np.nanmax(np.abs(extended.flux - solved.flux) / solved.flux_err) < 0.2
    np.testing.assert_allclose(extended.flux_err, solved.flux_err, rtol=0.02)
    growing.solve(fluxes)
    again = growing.curve()
    assert again is not None
    np.testing.assert_array_equal(again.flux, solved.flux)
    np.testing.assert_array_equal(again.n_comparisons, solved.n_comparisons)


def test_a_late_frame_lands_where_its_time_belongs(fluxes: SourceFluxes) -> None:
    growing = GrowingLightCurve(VARIABLE, (1, 3))
    late = np.arange(len(fluxes.frame_ids)) != 850
    parts = {field.name: getattr(fluxes, field.name) for field in fields(fluxes)}
    without: dict[str, Any] = {name: part if isinstance(part, str) else part[late] for name, part in parts.items()}
    growing.solve(SourceFluxes(**without))
    growing.extend(fluxes, 850)
    curve = growing.curve()
    assert curve is not None
    np.testing.assert_array_equal(curve.frame_ids, fluxes.frame_ids)
    assert len(curve.flux) == len(fluxes.frame_ids)
    assert curve.flux[850] == pytest.approx(relative_light_curve(fluxes, VARIABLE, (1, 3)).flux[850], rel=1e-3)


def test_nothing_grows_before_it_was_solved(fluxes: SourceFluxes) -> None:
    growing = GrowingLightCurve(VARIABLE, (1,))
    assert growing.curve() is None
    with pytest.raises(AnalysisError, match=r"the light curve of 1:g was not solved yet"):
        growing.extend(fluxes, 0)
    growing.solve(fluxes)
    with pytest.raises(ConfigurationError, match="target 9 is not in the catalog"):
        GrowingLightCurve(9, (1,)).solve(fluxes)
