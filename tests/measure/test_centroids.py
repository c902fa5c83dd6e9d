"""Centroids and the point-spread function on stars whose place and shape are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream.measure.centroids import StarCentres, centre_stars, window_half_side
from stream.measure.psf import FWHM_PER_SIGMA, Psf, psf_from_stars
from tests.measure.synthetic import frame_of, long_star, noisy, round_stars

SHAPE = (60, 64)
SKY_E = 100.0


def scattered(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20.0, 40.0, (n, 2))


@pytest.mark.parametrize("sigma_px", [1.0, 1.2, 2.0, 3.0])
@pytest.mark.parametrize("window_of_star", [0.8, 1.0, 1.5])
def test_noiseless_stars_are_centred_anywhere_within_a_pixel(sigma_px: float, window_of_star: float) -> None:
    for number, place in enumerate(scattered(12, seed=1)):
        frame = frame_of(SKY_E + round_stars(SHAPE, place[None], [50_000.0], sigma_px))
        guess = place + np.random.default_rng(number).uniform(-0.7, 0.7, 2)
        centres = centre_stars(frame, guess[None], window_of_star * sigma_px)
        assert centres.good[0]
        assert np.abs(centres.xy[0] - place).max() < 0.01


def test_centroids_do_not_depend_on_the_guess() -> None:
    place = np.array([[31.37, 28.81]])
    image = noisy(SKY_E + round_stars(SHAPE, place, [8_000.0], 1.5), np.random.default_rng(2))
    found = []
    angles = np.linspace(0.0, 2.0 * math.pi, 60)
    for guess in place + np.outer(np.linspace(0.0, 3.0, 60), [1.0, 1.0]) * np.column_stack(
        [np.cos(angles), np.sin(angles)]
    ):
        centres = centre_stars(frame_of(image), guess[None], 1.5)
        assert centres.good[0]
        found.append([*centres.xy[0], centres.flux[0], *centres.moments[0]])
    spread = np.ptp(found, axis=0)
    assert spread[:2].max() < 1e-5
    assert spread[2] < 1e-6 * found[0][2]


def test_undersampled_stars_are_centred_within_a_twentieth() -> None:
    """A full width of 1.9 pixels: the sum over the window is no integral any more."""
    for place in scattered(12, seed=1):
        frame = frame_of(SKY_E + round_stars(SHAPE, place[None], [50_000.0], 0.8))
        assert np.abs(centre_stars(frame, place[None], 0.8).xy[0] - place).max() < 0.06


def test_a_star_beyond_the_search_radius_is_not_found() -> None:
    place = np.array([[31.0, 29.0]])
    frame = frame_of(noisy(SKY_E + round_stars(SHAPE, place, [20_000.0], 1.5), np.random.default_rng(2)))
    far = centre_stars(frame, place + np.array([3.6 * 1.5, 0.0]), 1.5)
    assert not far.good[0]


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 90.0, 135.0])
def test_long_stars_are_centred_and_their_shape_is_known(angle_deg: float) -> None:
    place = (31.37, 28.81)
    frame = frame_of(SKY_E + long_star(SHAPE, place, 80_000.0, (2.6, 1.7, angle_deg)))
    centres = centre_stars(frame, np.array([[31.9, 28.2]]), 2.1)
    assert centres.good[0]
    assert np.abs(centres.xy[0] - place).max() < 0.01
    psf = psf_from_stars(centres, np.array([True]), 2.1)
    pixel = 1.0 / 12.0
    assert psf.semi_major_sigma_px == pytest.approx(math.sqrt(2.6**2 + pixel), rel=0.02)
    assert psf.semi_minor_sigma_px == pytest.approx(math.sqrt(1.7**2 + pixel), rel=0.02)
    turned = (psf.orientation_deg - angle_deg + 90.0) % 180.0 - 90.0
    assert abs(turned) < 1.0


@pytest.mark.parametrize("peak_e", [500.0, 5_000.0, 50_000.0])
def test_a_hot_pixel_is_no_star(peak_e: float) -> None:
    image = noisy(np.full(SHAPE, SKY_E), np.random.default_rng(4))
    image[30, 30] += peak_e
    for guess in ([30.0, 30.0], [30.4, 29.7], [31.5, 31.0]):
        assert not centre_stars(frame_of(image), np.array([guess]), 1.5).good[0]


def test_noise_holds_no_star() -> None:
    image = noisy(np.full((300, 300), SKY_E), np.random.default_rng(5))
    guesses = np.random.default_rng(6).uniform(10.0, 290.0, (300, 2))
    assert centre_stars(frame_of(image), guesses, 1.5).good.sum() <= 1


def test_a_marked_hot_pixel_does_not_move_a_star() -> None:
    place = np.array([[31.37, 28.81]])
    image = SKY_E + round_stars(SHAPE, place, [20_000.0], 1.8)
    clean = centre_stars(frame_of(image), place, 1.8)
    image[30, 32] += 30_000.0
    marked = np.zeros(SHAPE, dtype=bool)
    marked[30, 32] = True
    mended = centre_stars(frame_of(image), place, 1.8, marked)
    ignored = centre_stars(frame_of(image), place, 1.8)
    assert mended.good[0]
    assert np.abs(mended.xy - clean.xy).max() < 0.1
    assert np.abs(ignored.xy - clean.xy).max() > 0.3


def test_saturated_stars_are_said_to_be_and_not_good() -> None:
    place = np.array([[31.0, 29.0]])
    image = np.minimum(SKY_E + round_stars(SHAPE, place, [2e6], 1.5), 60_000.0)
    centres = centre_stars(frame_of(image), place, 1.5)
    assert centres.saturated[0]
    assert not centres.good[0]
    twice = frame_of(image / 2.0, gain_e_per_adu=2.0)
    twice = frame_of(twice.pixels, gain_e_per_adu=2.0, saturation_adu=30_000.0)
    assert not centre_stars(twice, place, 1.5).good[0]


@pytest.mark.parametrize("guess", [(-5.0, 20.0), (200.0, 20.0), (20.0, 59.8), (0.1, 0.1), (1e6, -1e6)])
def test_guesses_at_and_beyond_the_edge_are_not_good_and_do_no_harm(guess: tuple[float, float]) -> None:
    frame = frame_of(noisy(np.full(SHAPE, SKY_E), np.random.default_rng(5)))
    centres = centre_stars(frame, np.array([guess]), 1.5)
    assert not centres.good.any()


@pytest.mark.parametrize("value", [0.0, 1000.0, np.nan])
def test_flat_and_empty_frames_hold_no_star(value: float) -> None:
    centres = centre_stars(frame_of(np.full(SHAPE, value)), np.array([[30.0, 30.0], [2.0, 2.0]]), 1.5)
    assert not centres.good.any()
    assert (centres.signal_to_noise == 0.0).all()


def test_no_guesses_give_no_centres() -> None:
    assert centre_stars(frame_of(np.zeros(SHAPE)), np.empty((0, 2)), 1.5).xy.shape == (0, 2)


def test_missing_pixels_are_mended_from_their_neighbours() -> None:
    place = np.array([[31.37, 28.81]])
    image = SKY_E + round_stars(SHAPE, place, [20_000.0], 1.8)
    image[33, 35] = np.nan
    image[:, 2] = np.nan
    centres = centre_stars(frame_of(image), place, 1.8)
    assert centres.good[0]
    assert np.abs(centres.xy[0] - place[0]).max() < 0.03


def test_scatter_is_that_of_the_signal_to_noise() -> None:
    """The best possible centroid scatters by sigma over the signal-to-noise ratio (King 1983, PASP 95, 163)."""
    generator = np.random.default_rng(7)
    places = scattered(150, seed=8)
    offsets, ratios = [], []
    for place in places:
        image = noisy(SKY_E + round_stars(SHAPE, place[None], [10_000.0], 1.5), generator)
        centres = centre_stars(frame_of(image), np.rint(place)[None], 1.5)
        offsets.append(centres.xy[0] - place)
        ratios.append(centres.signal_to_noise[0])
    best = 1.5 / np.median(ratios)
    assert 0.8 * best < np.std(offsets) < 1.6 * best
    assert abs(np.mean(offsets)) < 4.0 * np.std(offsets) / math.sqrt(300.0)


def test_stamps_hold_four_widths_of_the_window() -> None:
    assert [window_half_side(sigma) for sigma in (0.1, 1.0, 2.0)] == [4, 5, 9]


def stars_of(moments: list[list[float]], signal_to_noise: list[float]) -> StarCentres:
    n = len(moments)
    yes = np.ones(n, dtype=bool)
    return StarCentres(np.zeros((n, 2)), np.ones(n), np.array(signal_to_noise), np.array(moments), ~yes, yes)


def test_a_blend_does_not_widen_the_profile() -> None:
    alike = [[1.1, 0.0, 1.1]] * 6
    clean = psf_from_stars(stars_of(alike, [100.0] * 6), np.ones(6, dtype=bool), 1.5)
    with_blend = stars_of([*alike, [1.7, 0.3, 1.7]], [100.0] * 7)
    assert psf_from_stars(with_blend, np.ones(7, dtype=bool), 1.5) == clean


def test_moments_that_no_star_can_have_still_make_a_profile() -> None:
    for moments in ([9.0, 0.0, 9.0], [-1.0, 0.0, -1.0], [0.0, 0.0, 0.0], [2.2, 2.0, 2.2]):
        psf = psf_from_stars(stars_of([moments], [50.0]), np.array([True]), 1.5)
        assert 0.0 < psf.semi_minor_sigma_px <= psf.semi_major_sigma_px < 20.0
        assert math.isfinite(psf.fwhm_px)


def test_numbers_of_a_profile() -> None:
    psf = Psf(4.0, 0.0, 1.0)
    assert (psf.semi_major_sigma_px, psf.semi_minor_sigma_px, psf.orientation_deg) == (2.0, 1.0, 0.0)
    assert psf.fwhm_px == pytest.approx(FWHM_PER_SIGMA * math.sqrt(2.0))
    assert Psf(1.0, 0.0, 4.0).orientation_deg == 90.0
    assert Psf(2.5, 1.5, 2.5).orientation_deg == pytest.approx(45.0)
    assert Psf(2.5, -1.5, 2.5).orientation_deg == pytest.approx(-45.0)
