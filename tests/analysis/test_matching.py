from __future__ import annotations

import numpy as np
import pytest

from stream.analysis.matching import match_catalogs
from stream.messages import FloatArray
from tests.analysis.synthetic import make_catalog

SCALE = 0.56 / 0.66


def _second_view(xy: FloatArray, turn_rad: float, random: np.random.Generator, mirrored: bool = False) -> FloatArray:
    cosine, sine = np.cos(turn_rad), np.sin(turn_rad)
    turned = (xy - 256.0) @ (SCALE * np.array([[cosine, sine], [-sine, cosine]])) + 256.0
    if mirrored:
        turned[:, 1] = 512.0 - turned[:, 1]
    moved: FloatArray = turned + random.uniform(-40.0, 40.0, 2) + random.normal(0.0, 0.2, xy.shape)
    return moved


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_turned_scaled_shifted_and_incomplete_catalogs_are_matched(seed: int, mirrored: bool) -> None:
    random = np.random.default_rng(seed)
    n_stars = int(random.integers(8, 70))
    xy = random.uniform(0.0, 512.0, (n_stars, 2))
    view = _second_view(xy, random.uniform(-np.pi, np.pi), random, mirrored)
    seen = np.flatnonzero(((view > 0.0) & (view < 512.0)).all(axis=1) & (random.random(n_stars) < 0.85))
    seen = seen[np.argsort(seen + random.normal(0.0, 3.0, len(seen)))]  # another filter, another order of flux
    strangers = random.uniform(0.0, 512.0, (n_stars // 6, 2))
    match = match_catalogs(make_catalog("1:g", xy), make_catalog("3:i", np.vstack([view[seen], strangers]), 0.66))
    truth = {int(star) + 1: place + 1 for place, star in enumerate(seen)}
    assert match.sure, match.sentence
    assert ("mirrored" in match.sentence) == mirrored
    right = sum(match.numbers.get(star) == place for star, place in truth.items())
    assert right >= 0.9 * len(truth)
    wrong = {s: d for s, d in match.numbers.items() if truth.get(s) != d}
    assert len(wrong) <= 1


def test_three_stars_are_enough_when_they_are_alone() -> None:
    xy = np.array([[100.0, 120.0], [400.0, 90.0], [250.0, 430.0]])
    view = _second_view(xy, 0.7, np.random.default_rng(0))
    match = match_catalogs(make_catalog("1:g", xy), make_catalog("2:r", view, 0.66))
    assert match.sure
    assert match.numbers == {1: 1, 2: 2, 3: 3}
    assert match.sentence.startswith("1:g to 2:r: 3 of 3 stars matched turned by ")


@pytest.mark.parametrize("n_stars", [1, 2, 6])
def test_frames_that_lie_alike_need_no_search(n_stars: int) -> None:
    xy = np.random.default_rng(7).uniform(20.0, 490.0, (n_stars, 2))
    order = np.arange(n_stars)[::-1]
    match = match_catalogs(make_catalog("1:g", xy), make_catalog("2:r", xy[order] + [0.6, -0.4]))
    assert match.sure
    assert match.numbers == {star + 1: n_stars - star for star in range(n_stars)}
    assert "as the frames lie" in match.sentence


def test_scale_of_the_pixels_is_applied_about_the_centre() -> None:
    xy = np.array([[100.0, 120.0], [400.0, 90.0]])
    match = match_catalogs(make_catalog("1:g", xy), make_catalog("3:i", (xy - 255.5) * SCALE + 255.5, 0.66))
    assert match.numbers == {1: 1, 2: 2}


def test_two_moved_stars_are_not_guessed() -> None:
    xy = np.array([[100.0, 100.0], [400.0, 130.0]])
    match = match_catalogs(make_catalog("1:g", xy), make_catalog("2:r", xy + 60.0))
    assert (match.sure, match.numbers) == (False, {})
    assert match.sentence == "1:g to 2:r: not matched, no arrangement of the 2 stars stands out"


def test_a_square_that_was_moved_fits_in_four_ways_and_is_not_guessed() -> None:
    square = np.array([[100.0, 100.0], [400.0, 100.0], [400.0, 400.0], [100.0, 400.0]])
    match = match_catalogs(make_catalog("1:g", square), make_catalog("2:r", square + 60.0))
    assert (match.sure, match.numbers) == (False, {})
    assert match.sentence.endswith("4 stars agree in more than one arrangement")


def test_unrelated_fields_are_not_matched() -> None:
    for seed in range(30):
        random = np.random.default_rng(seed)
        first = random.uniform(0.0, 512.0, (int(random.integers(1, 60)), 2))
        second = random.uniform(0.0, 512.0, (int(random.integers(1, 60)), 2))
        match = match_catalogs(make_catalog("1:g", first), make_catalog("2:r", second, 0.66))
        assert not match.sure, match.sentence
        assert match.numbers == {}


def test_wrong_scale_is_refused_and_unknown_scale_is_found() -> None:
    random = np.random.default_rng(2)
    xy = random.uniform(50.0, 460.0, (20, 2))
    view = _second_view(xy, 0.4, random)
    assert not match_catalogs(make_catalog("1:g", xy), make_catalog("2:r", view, 0.56)).sure
    found = match_catalogs(make_catalog("1:g", xy), make_catalog("2:r", view, float("nan")))
    assert found.sure
    assert found.numbers == {number: number for number in range(1, 21)}


def test_a_catalog_without_sources_is_named() -> None:
    match = match_catalogs(make_catalog("1:g", [[10.0, 10.0]]), make_catalog("2:r", []))
    assert match.sentence == "1:g to 2:r: not matched, the catalog of 2:r has no source"


def test_the_result_repeats() -> None:
    random = np.random.default_rng(9)
    xy = random.uniform(0.0, 512.0, (40, 2))
    first, second = make_catalog("1:g", xy), make_catalog("2:r", _second_view(xy, 2.0, random), 0.66)
    assert match_catalogs(first, second) == match_catalogs(first, second)


def test_equal_pixels_are_matched_though_the_pixel_scales_say_otherwise() -> None:
    xy = np.random.default_rng(3).uniform(0.0, 512.0, (6, 2))
    match = match_catalogs(make_catalog("1:g", xy), make_catalog("3:i", xy, 0.66))
    assert match.sure, match.sentence
    assert match.numbers == {number: number for number in range(1, 7)}
