"""The noise floor that a figure names is that of the constant stars."""

from __future__ import annotations

import numpy as np
import pytest

from stream.diagnostics.scatter import noise_floor
from stream.measure.noise import NoiseFloor
from stream.plots.noise import StarScatter


def test_the_target_has_no_voice_in_the_noise_floor() -> None:
    flux = np.array([150_000.0, 90_000.0, 40_000.0, 15_000.0, 6_000.0, 2_500.0])
    truth = NoiseFloor(45.0**2, 0.001)
    scatter = truth.scatter(flux)
    scatter[1] = 0.02
    stars = StarScatter(
        key="1:g",
        flux_e=flux,
        raw=scatter,
        relative=scatter,
        expected=truth.scatter(flux),
        target=2,
        comparisons=(1, 3),
    )
    found = noise_floor(stars)
    assert found is not None
    assert found.floor == pytest.approx(truth.floor, rel=0.05)
    assert stars.relative[1] == 0.02
