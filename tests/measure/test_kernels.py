"""The compiled loops, held to photutils, astropy and geometry; and what happens where their code cannot be kept."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest
from astropy.stats import sigma_clip
from photutils.aperture import EllipticalAperture

from stream.measure.background import clipped_background
from stream.measure.compiled import compiled
from stream.measure.ellipse_kernels import ellipse_sums
from stream.measure.fit_kernels import fit_and_clip, mean_moments
from stream.measure.stamp_kernels import clipped_moments, rest_windows, subtract_border_sky

SIDE = 31
MIDDLE = SIDE // 2


def ellipses(n: int, seed: int) -> list[tuple[np.ndarray, float, float, float]]:
    """Centre, semi-axes and angle: smaller than a pixel to as large as the picture, also along the sides of pixels."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(n):
        major, minor = sorted(np.exp(generator.uniform(-2.5, math.log(14.0), 2)), reverse=True)
        angle = generator.uniform(-math.pi / 2, math.pi / 2)
        xy = MIDDLE + generator.uniform(-0.5, 0.5, 2)
        if number % 3 == 0:
            minor = major
        if number % 5 == 0:
            angle = float(generator.choice([0.0, math.pi / 2, -math.pi / 2, math.pi / 4]))
        if number % 7 == 0:
            xy = MIDDLE + generator.choice([0.0, 0.5, -0.5], 2)
        if number % 11 == 0:
            major, minor = np.ceil(major) + 0.5, np.ceil(minor) + 0.5  # its ends touch the sides of pixels
        found.append((xy, float(major), float(minor), float(angle)))
    return found


def test_sums_over_ellipses_are_those_of_photutils() -> None:
    data = np.random.default_rng(1).normal(100.0, 30.0, (1, SIDE, SIDE))
    for xy, major, minor, angle in ellipses(500, 2):
        found = ellipse_sums(data, xy[None], np.array([[major, minor]]), angle)[0, 0]
        expected = EllipticalAperture(tuple(xy), major, minor, theta=angle).do_photometry(data[0], method="exact")[0][0]
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-8 * 100.0 * major * minor), (xy, major, minor, angle)


def test_the_sum_over_ones_is_the_area_of_the_ellipse() -> None:
    ones = np.ones((1, SIDE, SIDE))
    for xy, major, minor, angle in ellipses(2000, 3):
        if max(major, minor) > MIDDLE - 1:
            continue
        found = ellipse_sums(ones, xy[None], np.array([[major, minor]]), angle)[0, 0]
        assert found == pytest.approx(math.pi * major * minor, rel=1e-11), (xy, major, minor, angle)


def test_what_reaches_over_the_picture_counts_as_nothing() -> None:
    ones = np.ones((2, SIDE, SIDE))
    xy = np.array([[-0.5, MIDDLE], [SIDE - 0.5, -0.5]])
    half, quarter = ellipse_sums(ones, xy, np.array([[6.0, 6.0]]), 0.3)[0] / (math.pi * 36.0)
    assert half == pytest.approx(0.5, rel=1e-12)
    assert quarter == pytest.approx(0.25, rel=1e-12)
    assert ellipse_sums(ones, np.array([[MIDDLE, -9.0], [SIDE + 40.0, MIDDLE]]), np.array([[8.0, 2.0]]), 0.0).sum() == 0


def test_no_sources_and_no_apertures_have_no_sums() -> None:
    assert ellipse_sums(np.ones((0, 9, 9)), np.zeros((0, 2)), np.ones((3, 2)), 0.0).shape == (3, 0)
    assert ellipse_sums(np.ones((2, 9, 9)), np.full((2, 2), 4.0), np.ones((0, 2)), 0.0).shape == (0, 2)


def test_clipping_is_that_of_astropy() -> None:
    generator = np.random.default_rng(4)
    rows = generator.normal(1000.0, 8.0, (40, 333))
    rows[:, ::9] += np.exp(generator.uniform(0.0, 20.0, (40, 37))) * generator.choice([-1.0, 1.0], (40, 37))
    n_finite = generator.integers(1, 334, 40)
    for row, n in zip(rows, n_finite, strict=True):
        row[n:] = np.nan
    mean, sigma, count = clipped_moments(np.sort(rows, axis=1), n_finite, 3.0)
    for number, n in enumerate(n_finite):
        kept = sigma_clip(rows[number, :n], sigma=3.0, maxiters=5, cenfunc="median", masked=False)
        assert mean[number] == pytest.approx(kept.mean(), rel=1e-12)
        assert sigma[number] == pytest.approx(kept.std(), rel=1e-9, abs=1e-9)
        assert count[number] == len(kept)


@pytest.mark.parametrize("side", [9, 12, 17])
def test_sky_and_noise_are_medians_of_the_border(side: int) -> None:
    generator = np.random.default_rng(side)
    stamps = generator.normal(50.0, 4.0, (20, side, side))
    stamps[::2] = np.rint(stamps[::2])
    before, shown = stamps.copy(), generator.normal(size=stamps.shape)
    sigma, peak = subtract_border_sky(stamps, shown)
    inner = slice(side // 4, side - side // 4)
    for number, stamp in enumerate(before):
        border = stamp.copy()
        border[2:-2, 2:-2] = np.nan
        sky = np.nanmedian(border)
        np.testing.assert_array_equal(stamps[number], stamp - sky)
        assert sigma[number] == pytest.approx(1.4826 * np.nanmedian(np.abs(border - sky)))
        assert peak[number] == shown[number, inner, inner].max()


def test_windows_rest_where_the_weighted_mean_is_their_middle() -> None:
    generator = np.random.default_rng(5)
    y, x = np.mgrid[-8:9, -8:9].astype(float)
    offsets = generator.uniform(-0.5, 0.5, (30, 2))
    widths = generator.uniform(1.2, 2.2, (30, 2))
    stars = [
        900.0 * np.exp(-0.5 * (((x - at[0]) / w[0]) ** 2 + ((y - at[1]) / w[1]) ** 2))
        for at, w in zip(offsets, widths, strict=True)
    ]
    stamps = np.array(stars) + generator.normal(0.0, 3.0, (30, 17, 17))
    centres, sums, done = rest_windows(stamps, np.zeros((30, 2)), 1.7)
    assert done.all()
    np.testing.assert_allclose(centres, offsets, atol=0.05)
    for stamp, at, found in zip(stamps, centres, sums.T, strict=True):
        light = stamp * np.exp(-0.5 * ((x - at[0]) ** 2 + (y - at[1]) ** 2) / 1.7**2)
        dx, dy = x - at[0], y - at[1]
        powers = [light, light * dx, light * dy, light * dx**2, light * dx * dy, light * dy**2]
        np.testing.assert_allclose(found, [part.sum() for part in powers], atol=2e-5 * light.sum())


def test_stars_do_not_depend_on_those_beside_them() -> None:
    rows = np.random.default_rng(6).integers(0, 30000, (9, 400)).astype("i2")
    together = clipped_background(rows, 3.0)
    for number in range(9):
        alone = clipped_background(rows[number : number + 1], 3.0)
        assert (together.level[number], together.sigma[number]) == (alone.level[0], alone.sigma[0])


def test_a_fit_is_that_of_least_squares_to_the_stars_that_it_keeps() -> None:
    generator = np.random.default_rng(7)
    for angle, n_off in ((0.2, 0), (-2.0, 1), (3.1, 3)):
        catalog = generator.uniform(0.0, 500.0, (14, 2))
        turn = 1.002 * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        places = catalog @ turn + (7.0, -3.0) + generator.normal(0.0, 0.02, (14, 2))
        places[:n_off] += 1.5 if n_off == 1 else 30.0  # found by its residual, or far from the others at once
        weights = generator.uniform(500.0, 2500.0, 14)
        near = (turn[0, 0], turn[0, 1], 7.4, -3.3, 0.0, 0.0)
        found, used, residuals, limits = fit_and_clip(
            catalog, places, weights, np.ones(14, dtype=bool), np.array(near), 5.0
        )
        assert used.tolist() == [False] * n_off + [True] * (14 - n_off)
        (x, y), one, zero = catalog[used].T, np.ones(used.sum()), np.zeros(used.sum())
        rows = np.vstack([np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])])
        root = np.sqrt(np.tile(weights[used], 2))
        expected = np.linalg.lstsq(rows * root[:, None], places[used].T.reshape(-1) * root)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        off = np.hypot(*(places - catalog @ np.array([[found[0], found[1]], [-found[1], found[0]]]) - found[2:]).T)
        np.testing.assert_allclose(residuals, off, atol=1e-9)
        assert (limits[used] > off[used]).all()


def test_no_star_makes_no_fit() -> None:
    places = np.array([[10.0, 10.0], [90.0, 20.0]])
    apart = np.array([[10.0, 10.0], [390.0, 20.0]])
    here = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    found, used, _, _ = fit_and_clip(places, apart, np.ones(2), np.ones(2, dtype=bool), here, 5.0)
    assert not len(found)
    assert not used.any()


def test_a_blend_takes_no_part_in_the_mean_of_moments() -> None:
    generator = np.random.default_rng(8)
    moments = np.column_stack([generator.normal(3.0, 0.01, 9), generator.normal(0.2, 0.01, 9), np.full(9, 2.5)])
    weights = generator.uniform(1.0, 9.0, 9)
    weights[4] = 0.0
    expected = (weights[:, None] * moments)[1:].sum(axis=0) / weights[1:].sum()
    moments[0] += 2.0
    np.testing.assert_allclose(mean_moments(moments, weights), expected, rtol=1e-12)


def test_kernels_are_compiled_anew_where_their_code_cannot_be_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a system that is read-only: a sentence, and the same numbers."""

    def without_cache(signature: str, **options: object) -> Callable[..., object]:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available for file")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", without_cache)
    with caplog.at_level(logging.WARNING):
        decorate = compiled("f8(f8)")
        assert decorate(math.sqrt)(4.0) == 2.0
    assert "no folder for compiled code can be written: sqrt is compiled anew" in caplog.text


def test_what_others_use_of_the_measuring_does_not_load_the_compiler() -> None:
    names = "stream.measure.photometry, stream.measure.psf, stream.measure.transform, stream.timestamps"
    code = f"import sys, {names}; print('numba' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
