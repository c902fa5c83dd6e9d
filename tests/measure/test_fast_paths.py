"""What is measured on stored whole numbers, and without masks, is what the slower ways and the libraries give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.stats import sigma_clip
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from photutils.aperture import CircularAperture, EllipticalAperture, aperture_photometry
from photutils.centroids import centroid_com
from scipy.stats import truncnorm

from stream.config import (
    APERTURE_LADDER,
    FORCED_PHOTOMETERS,
    AlignmentSettings,
    PhotometerSettings,
    PhotometrySettings,
)
from stream.measure.alignment import AlignmentStars, refine
from stream.measure.apertures import aperture_on_frame
from stream.measure.background import clipped_background
from stream.measure.centroids import centre_stars, window_half_side
from stream.measure.frames import Frame
from stream.measure.medians import median_of, row_medians
from stream.measure.photometry import ForcedFluxes, StampGeometry, measure_forced_fluxes
from stream.measure.psf import FWHM_PER_SIGMA, Psf
from stream.measure.transform import Transform
from stream.messages import FloatArray
from tests.measure.synthetic import frame_of, noisy, round_stars

SHAPE, SIGMA, BLANK = (120, 130), 1.7, -5
PSF = Psf(SIGMA**2, 0.0, SIGMA**2)
PHOTOMETERS = (*FORCED_PHOTOMETERS, *APERTURE_LADDER)


def measured(frame: Frame, xy: FloatArray, bad: np.ndarray | None) -> ForcedFluxes:
    geometry = StampGeometry.for_fwhm(PSF.fwhm_px, PhotometrySettings())
    return measure_forced_fluxes(
        frame, xy, PSF, geometry=geometry, settings=PhotometrySettings(), photometers=PHOTOMETERS, bad_pixels=bad
    )


@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from([">i2", "<i2", ">u1", "<u2"]),
    n_blank=st.sampled_from([0, 0, 1, 300]),
    n_bad=st.sampled_from([0, 0, 2, 200]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_whole_numbers_give_what_floats_give(seed: int, kind: str, n_blank: int, n_bad: int) -> None:
    """Edges, stars off the frame, blanks, bad and saturated pixels, at any scale."""
    generator = np.random.default_rng(seed)
    xy = generator.uniform(-8.0, 138.0, (12, 2))
    flux = np.exp(generator.uniform(3.0, 13.0, 12))
    top = min(np.iinfo(kind).max, 30000)
    counts = np.clip(np.rint(noisy(30.0 + round_stars(SHAPE, xy, flux, SIGMA), generator)), 0, top)
    blank = BLANK if kind.endswith("i2") else None
    if blank is not None:
        counts.flat[generator.integers(0, counts.size, n_blank)] = blank
    bad = np.zeros(SHAPE, dtype=bool)
    bad.flat[generator.integers(0, bad.size, n_bad)] = True
    scale, zero = generator.uniform(0.5, 3.0), generator.uniform(-100.0, 40000.0)
    whole = Frame("a.fit", counts.astype(kind), scale, zero, blank, frame_of(counts).facts, {})
    floats = np.where(counts == blank, np.nan, counts * scale + zero) if blank is not None else counts * scale + zero
    fast, slow = measured(whole, xy, bad), measured(frame_of(floats), xy, bad)
    assert whole.integer_stamps(np.zeros((1, 2), dtype=np.intp), 5) is not None
    assert frame_of(floats).integer_stamps(np.zeros((1, 2), dtype=np.intp), 5) is None
    np.testing.assert_array_equal(fast.flags, slow.flags)
    np.testing.assert_allclose(fast.sky_e_per_px, slow.sky_e_per_px, rtol=1e-9)
    for label, (values, errors) in slow.fluxes.items():
        np.testing.assert_allclose(fast.fluxes[label].flux_err, errors, rtol=1e-6)
        difference = (fast.fluxes[label].flux - values) / errors
        assert np.nanmax(np.abs(difference), initial=0.0) < 1e-5
        np.testing.assert_array_equal(np.isnan(fast.fluxes[label].flux), np.isnan(values))


def test_all_apertures_of_one_call_are_those_of_photutils() -> None:
    generator = np.random.default_rng(4)
    xy = generator.uniform(30.0, 90.0, (40, 2))
    counts = np.rint(noisy(200.0 + round_stars(SHAPE, xy, np.full(40, 3e4), SIGMA), generator)).astype(">i2")
    fluxes = measured(frame_of(counts), xy, None)
    for photometer in APERTURE_LADDER:
        assert photometer.radius_fwhm is not None
        radius = max(photometer.radius_fwhm * PSF.fwhm_px, PhotometrySettings().aperture_min_px)
        aperture = CircularAperture(xy, radius)
        sums = np.asarray(aperture_photometry(counts.astype(float), aperture, method="exact")["aperture_sum"])
        expected = sums - fluxes.sky_e_per_px * aperture.area
        np.testing.assert_allclose(fluxes.fluxes[photometer.label].flux, expected, rtol=1e-6)


AXES = st.floats(0.5, 14.0)
NO_SHRINKING = (Phase.explicit, Phase.generate)  # each look takes a tenth of a second


@given(
    seed=st.integers(0, 10**6),
    axes=st.lists(st.tuples(AXES, AXES), min_size=3, max_size=3, unique=True),
    widths=st.tuples(st.floats(1.0, 2.2), st.floats(1.0, 2.2), st.floats(-0.8, 0.8)),
    n_lost=st.sampled_from([0, 3, 40]),
)
@settings(max_examples=40, phases=NO_SHRINKING, deadline=None, derandomize=True)
def test_fluxes_errors_and_backgrounds_are_those_of_photutils_and_astropy(
    seed: int, axes: list[tuple[float, float]], widths: tuple[float, float, float], n_lost: int
) -> None:
    """Tiny and huge ellipses at any angle, faint and saturated stars, at edges and beside pixels without a number."""
    generator = np.random.default_rng(seed)
    psf = Psf(widths[0] ** 2, widths[2] * widths[0] * widths[1], widths[1] ** 2)
    xy = generator.uniform(0.0, 120.0, (30, 2))
    flux = np.exp(generator.uniform(3.0, 15.0, 30))
    counts = np.minimum(noisy(60.0 + round_stars(SHAPE, xy, flux, SIGMA), generator), 60000.0)
    counts.flat[generator.integers(0, counts.size, n_lost)] = np.nan
    photometers = tuple(
        PhotometerSettings(semi_axes_px=(max(pair), min(pair)), name=f"{number}") for number, pair in enumerate(axes)
    )
    geometry = StampGeometry.for_fwhm(psf.fwhm_px, PhotometrySettings())
    found = measure_forced_fluxes(
        frame_of(counts), xy, psf, geometry=geometry, settings=PhotometrySettings(), photometers=photometers
    )
    level, sigma, n_pixels = np.array([reference_background(counts, place, geometry) for place in xy]).T
    np.testing.assert_allclose(found.sky_e_per_px, level, rtol=1e-9)
    for photometer in photometers:
        half_side = geometry.half_side_px
        size = aperture_on_frame(photometer, psf, PhotometrySettings(), inner_px=half_side, half_side_px=half_side)
        aperture = EllipticalAperture(xy, size.major_px, size.minor_px, theta=np.radians(psf.orientation_deg))
        sums = np.asarray(aperture_photometry(counts, aperture, method="exact")["aperture_sum"])
        seen = [weights.multiply(np.isfinite(counts).astype(float)) for weights in aperture.to_mask(method="exact")]
        whole = np.array([part is not None and part.sum() > (1.0 - 1e-12) * aperture.area for part in seen])
        values, errors = found.fluxes[photometer.label]
        # Where a pixel of the optimal profile or of another aperture is missing, there is no flux at all.
        whole &= np.isfinite(values)
        expected = sums - level * aperture.area
        variance = np.maximum(expected, 0.0) + sigma**2 * (size.squared_weights_px + aperture.area**2 / n_pixels)
        assert (np.abs(values - expected)[whole] <= 1e-7 * sums[whole]).all()
        np.testing.assert_allclose(errors[whole], np.sqrt(variance[whole]), rtol=1e-6)


@given(seed=st.integers(0, 10**6), n_lost=st.sampled_from([0, 3, 40]), window=st.floats(1.2, 2.6))
@settings(max_examples=25, phases=NO_SHRINKING, deadline=None, derandomize=True)
def test_centroids_are_the_centres_of_mass_of_photutils(seed: int, n_lost: int, window: float) -> None:
    """Seen through the window that lies on them: faint and saturated stars, at edges, beside pixels without numbers."""
    generator = np.random.default_rng(seed)
    xy = generator.uniform(0.0, 120.0, (40, 2))
    flux = np.exp(generator.uniform(6.0, 13.0, 40))
    counts = np.minimum(noisy(60.0 + round_stars(SHAPE, xy, flux, SIGMA), generator), 60000.0)
    counts.flat[generator.integers(0, counts.size, n_lost)] = np.nan
    found = centre_stars(frame_of(counts), xy + generator.uniform(-1.0, 1.0, (40, 2)), window)
    half = window_half_side(window)
    for place in found.xy[found.good]:
        column, row = np.rint(place).astype(int) - half
        stamp = counts[max(row, 0) : row + 2 * half + 1, max(column, 0) : column + 2 * half + 1]
        if stamp.shape != (2 * half + 1, 2 * half + 1) or not np.isfinite(stamp).all():
            continue  # mended before it is looked at
        border = stamp.copy()
        border[2:-2, 2:-2] = np.nan
        y, x = np.indices(stamp.shape)
        centre = place - (column, row)
        seen = np.exp(-0.5 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / window**2)
        light = (stamp - np.nanmedian(border)) * seen
        # The centre of mass lies on the window, but for the step at which a search may end.
        np.testing.assert_allclose(centroid_com(light), centre, atol=1e-6)


def reference_background(counts: FloatArray, place: FloatArray, geometry: StampGeometry) -> tuple[float, float, int]:
    """Level, deviation and number of pixels by astropy's clipping of the pixels whose centres lie in the annulus."""
    y, x = np.indices(counts.shape)
    middle = np.rint(place)
    radius = np.hypot(x - middle[0], y - middle[1])
    inner = geometry.inner_px
    outer = inner * PhotometrySettings().annulus_outer_fwhm / PhotometrySettings().annulus_inner_fwhm
    values = counts[(radius >= inner) & (radius <= outer)]
    kept = sigma_clip(values[np.isfinite(values)], sigma=3.0, maxiters=5, cenfunc="median", masked=False)
    return float(kept.mean()), float(kept.std() / truncnorm.std(-3.0, 3.0)), len(kept)


@pytest.mark.parametrize("kind", ["i2", "u2", "f8"])
def test_backgrounds_in_parts_are_those_of_single_rows(kind: str) -> None:
    generator = np.random.default_rng(5)
    values = np.rint(generator.normal(30000.0, 20.0, (60, 9000))).clip(0, 32767).astype(kind)
    values[:, :50] = generator.integers(0, 32767, (60, 50))
    together = clipped_background(values, 3.0)
    for row in range(0, 60, 7):
        alone = clipped_background(values[row : row + 1], 3.0)
        assert together.level[row] == alone.level[0]
        assert together.sigma[row] == alone.sigma[0]
        assert together.n_pixels[row] == alone.n_pixels[0]


def test_whole_numbers_near_the_largest_do_not_overflow() -> None:
    values = np.array([[65000, 65010, 65020, 65030, 65535, 65535]], dtype=np.uint16)
    missing = np.array([[False, False, False, False, True, True]])
    found = clipped_background(values, 3.0, missing)
    assert found.level[0] == 65015.0
    assert found.n_pixels[0] == 4
    nothing = clipped_background(values, 3.0, np.ones_like(missing))
    assert np.isnan(nothing.level[0])
    assert nothing.n_pixels[0] == 0


@pytest.mark.parametrize("n_faint", [0, 6])
def test_stars_that_are_known_are_not_centred_again_and_nothing_moves(n_faint: int) -> None:
    """A frame that moved by three pixels: its second look gives what a first look from the right place gives."""
    generator = np.random.default_rng(6)
    xy = generator.uniform(25.0, 95.0, (14, 2))
    flux = np.concatenate([np.full(14 - n_faint, 2e4), generator.uniform(150.0, 400.0, n_faint)])
    shape = (120, 120)
    moved = xy + np.array([2.6, -1.7])
    counts = noisy(50.0 + round_stars(shape, moved, flux, SIGMA), generator)
    frame = frame_of(np.rint(counts).astype(">i2"))
    stars = AlignmentStars(xy, flux, SIGMA, FWHM_PER_SIGMA * SIGMA)
    near = replace(Transform.identity(shape), shift_x_px=2.6, shift_y_px=-1.7)
    far, known = (
        refine(frame, stars, start, settings=AlignmentSettings()) for start in (Transform.identity(shape), near)
    )
    assert far is not None
    assert known is not None
    np.testing.assert_array_equal(far.used, known.used)
    np.testing.assert_array_equal(far.centres.good, known.centres.good)
    np.testing.assert_allclose(far.centres.xy[far.used], known.centres.xy[far.used], atol=2e-6)
    np.testing.assert_allclose(far.centres.moments[far.used], known.centres.moments[far.used], atol=1e-4)
    np.testing.assert_allclose(far.transform.apply(xy), known.transform.apply(xy), atol=2e-6)


@pytest.mark.parametrize("n", [1, 3, 5, 7, 9])
def test_medians_of_few_numbers(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 4, 5))
    np.testing.assert_array_equal(median_of(list(values)), np.median(values, axis=0))
    np.testing.assert_array_equal(row_medians(values), np.median(values, axis=-1))
    np.testing.assert_allclose(row_medians(values[..., :4]), np.median(values[..., :4], axis=-1))
