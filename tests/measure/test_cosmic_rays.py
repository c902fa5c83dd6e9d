"""Cosmic rays are found, and the stars do not lose by it."""

from __future__ import annotations

import numpy as np
import pytest
from astroscrappy import detect_cosmics

from stream.config import APERTURE_LABEL, OPTIMAL_LABEL, CalibrationSettings, PhotometrySettings
from stream.flags import Flag
from stream.measure.calibration import calibrate
from stream.measure.centroids import centre_stars
from stream.measure.cosmic_rays import MARGIN_PX, PixelNoise, find_cosmic_rays
from stream.measure.exposure import Exposure
from stream.measure.photometry import ForcedFluxes, StampGeometry, measure_forced_fluxes
from stream.measure.psf import Psf
from stream.messages import FloatArray
from tests.measure.synthetic import frame_of, noisy, round_stars

SIDE, SIGMA, SKY_E, READ_NOISE_E = 512, 1.7, 50.0, 2.0
SETTINGS = CalibrationSettings(remove_cosmic_rays=True)
LABELS = (APERTURE_LABEL, OPTIMAL_LABEL)


def field(seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Places and fluxes of stars of all magnitudes, and the counts of a frame of them."""
    generator = np.random.default_rng(seed)
    steps = np.arange(24, SIDE - 24, 40, dtype=float)
    xy = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    xy += generator.uniform(-0.5, 0.5, xy.shape)
    flux = np.exp(generator.uniform(np.log(300.0), np.log(5e5), len(xy)))
    return xy, flux, noisy(SKY_E + round_stars((SIDE, SIDE), xy, flux, SIGMA), generator, READ_NOISE_E)


def with_rays(counts: FloatArray, xy: FloatArray, seed: int) -> FloatArray:
    """Short tracks of a few hundred to some thousand electrons within 4 pixels of every star."""
    generator = np.random.default_rng(seed)
    hit = counts.copy()
    for x, y in xy:
        angle, length = generator.uniform(0.0, 2.0 * np.pi), generator.integers(1, 5)
        start_x, start_y = x + generator.uniform(-4.0, 4.0), y + generator.uniform(-4.0, 4.0)
        energy = generator.uniform(500.0, 4000.0)
        for step in range(length):
            column, row = int(start_x + step * np.cos(angle)), int(start_y + step * np.sin(angle))
            hit[row, column] += energy
    return hit


def measure(exposure: Exposure, xy: FloatArray) -> ForcedFluxes:
    variance = SIGMA**2 + 1.0 / 12.0
    geometry = StampGeometry.for_fwhm(2.3548 * SIGMA, PhotometrySettings())
    psf = Psf(variance, 0.0, variance)
    return measure_forced_fluxes(exposure, xy, psf, geometry=geometry, settings=PhotometrySettings())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stars_without_cosmic_rays_keep_their_flux(seed: int) -> None:
    xy, _, counts = field(seed)
    frame = frame_of(counts.astype(np.float32))
    plain, cleaned = measure(frame, xy), measure(calibrate(frame, SETTINGS), xy)
    for label in LABELS:
        change = (cleaned.fluxes[label].flux - plain.fluxes[label].flux) / plain.fluxes[label].flux_err
        assert np.abs(change).max() < 0.5, label
        assert (change != 0.0).mean() < 0.03, label
    assert ((cleaned.flags & int(Flag.COSMIC_RAY)) != 0).mean() < 0.03


def test_stars_that_were_hit_have_the_flux_that_they_had() -> None:
    xy, _, counts = field(4)
    hit = frame_of(with_rays(counts, xy, 5).astype(np.float32))
    clean, spoilt = measure(frame_of(counts.astype(np.float32)), xy), measure(hit, xy)
    cleaned = measure(calibrate(hit, SETTINGS), xy)
    for label in LABELS:
        truth, error = clean.fluxes[label]
        before = np.abs(spoilt.fluxes[label].flux - truth) / error
        after = np.abs(cleaned.fluxes[label].flux - truth) / error
        assert np.median(before) > 3.0, label
        assert np.isnan(after).mean() < 0.1, label  # too much of the profile was hit
        assert np.nanmedian(after) < 0.5, label
        assert np.nanpercentile(after, 70.0) < 2.0, label
    assert ((cleaned.flags & int(Flag.COSMIC_RAY)) != 0).mean() > 0.75
    assert not ((spoilt.flags & int(Flag.COSMIC_RAY)) != 0).any()


def test_centroids_do_not_follow_cosmic_rays() -> None:
    xy, flux, counts = field(6)
    hit = frame_of(with_rays(counts, xy, 7).astype(np.float32))
    bright = (flux > 5e3) & (flux < 1e5)
    offsets = []
    for exposure in (hit, calibrate(hit, SETTINGS)):
        centres = centre_stars(exposure, xy[bright], SIGMA)
        offsets.append(np.hypot(*(centres.xy - xy[bright]).T))
    assert np.median(offsets[1]) < 0.5 * np.median(offsets[0])


def test_the_quick_look_misses_nothing_that_the_method_finds() -> None:
    """Against astroscrappy on the whole frame: what it finds well within a stamp is found there too."""
    xy, _, counts = field(8)
    hit = with_rays(counts, xy, 9)
    variance = (np.maximum(hit, 0.0) + READ_NOISE_E**2).astype(np.float32)
    whole, _ = detect_cosmics(
        hit.astype(np.float32), invar=variance, sigclip=4.5, sigfrac=0.3, objlim=5.0, gain=1.0, readnoise=0.0,
        satlevel=1e30, niter=3, sepmed=True,
    )  # fmt: skip
    side = 33
    corners = np.rint(xy).astype(int) - side // 2
    stamps = np.stack([hit[y : y + side, x : x + side] for x, y in corners])
    found = find_cosmic_rays(stamps, PixelNoise(READ_NOISE_E))
    assert found is not None
    reference = np.stack([whole[y : y + side, x : x + side] for x, y in corners])
    inner = (slice(None), slice(MARGIN_PX, -MARGIN_PX), slice(MARGIN_PX, -MARGIN_PX))
    assert reference[inner].sum() > 300
    # A pixel or two at the edge of what a stamp shows may hang on what lies beyond it.
    assert (found[inner] != reference[inner]).sum() <= 0.002 * reference[inner].sum()
    assert not found[:, :MARGIN_PX].any()


def test_nothing_is_found_where_nothing_is() -> None:
    generator = np.random.default_rng(10)
    stamps = noisy(np.full((20, 25, 25), SKY_E), generator, READ_NOISE_E)
    assert find_cosmic_rays(stamps, PixelNoise(READ_NOISE_E)) is None
    stamps[3, 12, 12] += 500.0
    stamps[4] = np.nan
    found = find_cosmic_rays(stamps, PixelNoise(READ_NOISE_E))
    assert found is not None
    assert found[3, 12, 12]
    assert found.sum() <= 3
