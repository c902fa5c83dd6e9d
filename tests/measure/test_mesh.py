"""The background of a mesh: without bias, whatever the sky is like and however its counts are written."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stream.config import PhotometerSettings, PhotometrySettings
from stream.measure.mesh import mesh_background
from stream.measure.photometry import StampGeometry, measure_forced_fluxes
from stream.measure.psf import FWHM_PER_SIGMA, Psf
from stream.messages import FloatArray
from tests.measure.synthetic import frame_of, noisy, round_stars

SIDE, SIGMA_PX = 448, 1.5
PSF = Psf(SIGMA_PX**2 + 1.0 / 12.0, 0.0, SIGMA_PX**2 + 1.0 / 12.0)
GEOMETRY = StampGeometry.for_fwhm(FWHM_PER_SIGMA * SIGMA_PX, PhotometrySettings())
PHOTOMETERS = tuple(PhotometerSettings(kind=kind, background="mesh") for kind in ("aperture", "optimal"))


def pulls_on_mesh(flux_e: float, slope_e: float, *, whole: bool) -> dict[str, FloatArray]:
    """Pulls of many stars of one flux on a sky that grows by `slope_e` a column; `whole` rounds the counts."""
    generator = np.random.default_rng(11)
    steps = np.arange(60.0, SIDE - 55.0, 41.0)  # half a box from the edge: beyond, no slope is followed
    found: dict[str, list[FloatArray]] = {photometer.label: [] for photometer in PHOTOMETERS}
    for _ in range(10):
        xy = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        xy = xy + generator.uniform(-0.5, 0.5, xy.shape)
        light = 100.0 + slope_e * np.arange(SIDE) + round_stars((SIDE, SIDE), xy, np.full(len(xy), flux_e), SIGMA_PX)
        image = noisy(light, generator, 3.0)
        image = np.rint(image) if whole else image
        measured = measure_forced_fluxes(
            frame_of(image.astype(np.float32), saturation_adu=1e6),
            xy,
            PSF,
            geometry=GEOMETRY,
            settings=PhotometrySettings(),
            photometers=PHOTOMETERS,
            mesh=mesh_background(image, xy, mesh_px=64, keep_off_px=GEOMETRY.inner_px),
        )
        for label, (flux, error) in measured.fluxes.items():
            found[label].append((flux - flux_e) / error)
    return {label: np.concatenate(pulls) for label, pulls in found.items()}


@pytest.mark.parametrize(("slope_e", "whole"), [(0.0, False), (0.0, True), (0.1, False)])
def test_pulls_of_a_star_too_faint_to_see_are_standard_normal_on_a_mesh(slope_e: float, whole: bool) -> None:
    for label, pulls in pulls_on_mesh(3.0, slope_e, whole=whole).items():
        assert len(pulls) > 700
        assert abs(np.mean(pulls)) < 0.12, label
        assert stats.kstest(pulls, "norm").pvalue > 0.001, label


def test_errors_of_bright_stars_on_a_mesh_are_their_scatter() -> None:
    for label, pulls in pulls_on_mesh(6_000.0, 0.0, whole=True).items():
        assert np.var(pulls) == pytest.approx(1.0, abs=0.12), label


def test_the_noise_of_the_mesh_is_that_of_the_sky_although_its_wings_are_clipped() -> None:
    image = noisy(np.full((512, 512), 100.0), np.random.default_rng(6), 3.0)
    steps = np.arange(40.0, 500.0, 60.0)
    places = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    found = mesh_background(image, places, mesh_px=64, keep_off_px=10.0)
    assert np.mean(found.sigma) == pytest.approx(np.sqrt(109.0), rel=0.008)
    assert np.mean(found.level) == pytest.approx(100.0, abs=0.15)


def test_pixels_without_value_and_bad_ones_do_not_count() -> None:
    generator = np.random.default_rng(4)
    image = noisy(np.full((200, 240), 100.0), generator)
    places = np.array([[60.0, 60.0], [150.2, 99.9], [-50.0, 1e4]])
    clean = mesh_background(image, places, mesh_px=64, keep_off_px=10.0)
    np.testing.assert_allclose(clean.level, 100.0, atol=1.0)
    np.testing.assert_allclose(clean.sigma, np.sqrt(104.0), rtol=0.05)
    assert clean.n_pixels.tolist() == [64 * 64] * 3
    bad = generator.random(image.shape) < 0.1
    image[bad] = 5e4
    np.testing.assert_allclose(
        mesh_background(image, places, mesh_px=64, keep_off_px=10.0, bad_pixels=bad).level, clean.level, atol=0.5
    )
    image[bad] = np.nan
    np.testing.assert_allclose(
        mesh_background(image, places, mesh_px=64, keep_off_px=10.0).level, clean.level, atol=0.5
    )


def test_a_field_that_is_all_sources_has_a_level_too() -> None:
    image = noisy(np.full((64, 64), 100.0), np.random.default_rng(5))
    steps = np.arange(4.0, 64.0, 8.0)
    places = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    found = mesh_background(image, places, mesh_px=64, keep_off_px=10.0)
    np.testing.assert_allclose(found.level, 100.0, atol=1.5)
    assert len(mesh_background(image, np.empty((0, 2)), mesh_px=64, keep_off_px=10.0).level) == 0
