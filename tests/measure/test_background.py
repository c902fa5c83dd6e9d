"""The annulus background against astropy's sigma clipping."""

from __future__ import annotations

import math
import warnings
from functools import cache

import numpy as np
import pytest
from astropy.stats import sigma_clip
from astropy.utils.exceptions import AstropyUserWarning
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.integrate import quad

from stream.measure.background import annulus_pixels, clipped_background
from stream.messages import FloatArray


@cache
def kept_sigma(clip: float) -> float:
    """Standard deviation that is left of a normal distribution cut at +/- clip, by integration."""
    variance, area = (quad(lambda x, p=p: x**p * math.exp(-0.5 * x**2), -clip, clip)[0] for p in (2, 0))
    return math.sqrt(variance / area)


def assert_as_astropy(values: FloatArray, clip: float) -> None:
    background = clipped_background(values, clip)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)
        clipped = sigma_clip(values, sigma=clip, maxiters=5, axis=1)
    spread = np.nanmax(np.abs(values)) + 1.0
    for row in range(len(values)):
        kept = clipped[row].compressed()
        assert background.n_pixels[row] == len(kept)
        np.testing.assert_allclose(background.level[row], kept.mean(), rtol=1e-9, atol=1e-11 * spread)
        np.testing.assert_allclose(
            background.sigma[row] * kept_sigma(clip), kept.std(), rtol=1e-6, atol=3e-7 * (np.ptp(kept) + 1e-6)
        )


@given(
    seed=st.integers(0, 10**6),
    n_pixels=st.integers(1, 300),
    outliers=st.lists(st.floats(-1e6, 1e6), max_size=30),
    missing=st.floats(0.0, 0.9),
    clip=st.sampled_from([2.0, 2.5, 3.0, 5.0]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_rows_of_noise_and_outliers(
    seed: int, n_pixels: int, outliers: list[float], missing: float, clip: float
) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(1000.0, 10.0, (4, n_pixels))
    for outlier in outliers:
        values[generator.integers(4), generator.integers(n_pixels)] = outlier
    values[1:][generator.random((3, n_pixels)) < missing] = np.nan
    values[1:, generator.integers(n_pixels)] = 990.0  # no row without a number
    assert_as_astropy(values, clip)


@given(arrays.arrays(np.int64, (3, 40), elements=st.integers(-5, 5)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_rows_of_equal_counts(counts: np.ndarray) -> None:
    """Whole counts, as cameras give: many are equal, and some lie exactly on the bound."""
    assert_as_astropy(counts.astype(np.float64), 3.0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("outlier", [1e6, 1e9, 1e14, 1e29])
def test_outliers_however_large_leave_no_trace(sign: float, outlier: float) -> None:
    values = np.random.default_rng(4).normal(100.0, 5.0, (2, 400))
    clean = clipped_background(values[:, 3:], 3.0)
    values[:, :3] = sign * outlier
    dirty = clipped_background(values, 3.0)
    np.testing.assert_allclose(dirty.level, clean.level, rtol=1e-9)
    np.testing.assert_allclose(dirty.sigma, clean.sigma, rtol=1e-6)
    np.testing.assert_array_equal(dirty.n_pixels, clean.n_pixels)


def test_rows_without_numbers_have_no_level() -> None:
    background = clipped_background(np.array([[np.nan] * 5, [1.0, 2.0, 3.0, np.nan, np.nan]]), 3.0)
    assert np.isnan(background.level[0])
    assert background.n_pixels.tolist() == [0, 3]
    assert background.level[1] == 2.0


def test_no_rows_are_no_backgrounds() -> None:
    assert clipped_background(np.empty((0, 50)), 3.0).level.shape == (0,)


def test_sigma_is_that_of_the_noise_although_its_wings_are_clipped() -> None:
    values = np.random.default_rng(8).normal(50.0, 7.0, (40, 2000))
    background = clipped_background(values, 3.0)
    assert background.sigma.mean() == pytest.approx(7.0, rel=0.005)
    assert background.level.mean() == pytest.approx(50.0, abs=5.0 * 7.0 / math.sqrt(80_000))


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    values = np.random.default_rng(9).normal(50.0, 7.0, (5, 300))
    values[1, :290] = np.nan
    together = clipped_background(values, 3.0)
    for row in range(5):
        alone = clipped_background(values[row : row + 1], 3.0)
        assert alone.level[0] == pytest.approx(together.level[row], rel=1e-12)
        assert alone.n_pixels[0] == together.n_pixels[row]


def test_pixels_of_an_annulus() -> None:
    pixels = annulus_pixels(3.0, 5.0, 6)
    rows, columns = np.divmod(pixels, 13)
    radius = np.hypot(rows - 6, columns - 6)
    assert radius.min() == 3.0  # both bounds belong to it
    assert radius.max() == 5.0
    assert len(pixels) == sum(3.0 <= math.hypot(x, y) <= 5.0 for x in range(-6, 7) for y in range(-6, 7))
