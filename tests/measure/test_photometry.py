"""Forced photometry against photutils, geometry and the Cramer-Rao limit."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from astropy.stats import sigma_clip
from astropy.utils.exceptions import AstropyUserWarning
from photutils.aperture import CircularAnnulus, EllipticalAperture, aperture_photometry

from stream.config import PhotometerSettings, PhotometrySettings
from stream.flags import NOT_MEASURED, Flag
from stream.measure.frames import Frame
from stream.measure.photometry import ForcedFluxes, StampGeometry, measure_forced_fluxes
from stream.measure.psf import FWHM_PER_SIGMA, Psf
from stream.messages import FloatArray
from tests.measure.synthetic import frame_of, noisy, round_stars

SETTINGS = PhotometrySettings()
SIGMA_PX = 1.6
PIXEL_VARIANCE = 1.0 / 12.0
ROUND = Psf(SIGMA_PX**2 + PIXEL_VARIANCE, 0.0, SIGMA_PX**2 + PIXEL_VARIANCE)
SKY_E = 80.0
SHAPE = (120, 130)


def measure(
    frame: Frame, positions: FloatArray, psf: Psf = ROUND, *, bad: np.ndarray | None = None, fwhm_px: float = 3.8
) -> ForcedFluxes:
    geometry = StampGeometry.for_fwhm(fwhm_px, SETTINGS)
    return measure_forced_fluxes(frame, positions, psf, geometry=geometry, settings=SETTINGS, bad_pixels=bad)


def turned(major: float, minor: float, angle_deg: float) -> Psf:
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return Psf(
        major**2 * cosine**2 + minor**2 * sine**2,
        (major**2 - minor**2) * sine * cosine,
        major**2 * sine**2 + minor**2 * cosine**2,
    )


@pytest.mark.parametrize("psf", [ROUND, turned(2.4, 1.5, 25.0), turned(2.0, 1.6, -80.0), turned(1.9, 1.3, 90.0)])
def test_apertures_agree_with_photutils(psf: Psf) -> None:
    generator = np.random.default_rng(11)
    positions = generator.uniform(35.0, 85.0, (30, 2))
    image = generator.uniform(0.0, 1000.0, SHAPE)
    image[generator.random(SHAPE) < 0.02] *= 20.0
    frame = frame_of(image, saturation_adu=1e9)
    fluxes = measure(frame, positions, psf)
    axes = [1.5 * FWHM_PER_SIGMA * sigma for sigma in (psf.semi_major_sigma_px, psf.semi_minor_sigma_px)]
    for number, (x, y) in enumerate(positions):
        middle = (float(np.rint(x)), float(np.rint(y)))
        mask = CircularAnnulus(middle, 3.0 * 3.8, 5.5 * 3.8).to_mask(method="center")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)
            kept = sigma_clip(mask.get_values(image), sigma=3.0, maxiters=5).compressed()
        aperture = EllipticalAperture((x, y), *axes, theta=math.radians(psf.orientation_deg))
        total = float(aperture_photometry(image, aperture, method="exact")["aperture_sum"][0])
        flux = total - kept.mean() * aperture.area
        variance = (kept.std() / 0.98658) ** 2  # of a normal distribution cut at 3 sigma
        squared = float((aperture.to_mask(method="exact").data ** 2).sum())  # pixels on the edge count in part
        error = math.sqrt(max(flux, 0.0) + variance * (squared + aperture.area**2 / len(kept)))
        assert fluxes.sky_e_per_px[number] == pytest.approx(kept.mean(), rel=1e-10)
        assert fluxes.aperture_flux[number] == pytest.approx(flux, abs=1e-6 * abs(total))
        assert fluxes.aperture_flux_err[number] == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize("psf", [ROUND, turned(2.4, 1.5, 25.0), turned(2.2, 1.0, 60.0)])
def test_the_sum_over_ones_is_the_area(psf: Psf) -> None:
    """Zeros around, ones under the source: without noise the flux is the area of the ellipse."""
    positions = np.array([[60.3, 61.8], [61.5, 60.5], [60.0, 60.0]])
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ones = (np.hypot(columns - 60.5, rows - 60.5) < 3.0 * 3.8 - 1.0).astype(float)
    fluxes = measure(frame_of(ones), positions, psf)
    radius = 1.5 * psf.fwhm_px
    np.testing.assert_allclose(fluxes.aperture_flux, math.pi * radius**2, rtol=1e-6)
    np.testing.assert_array_equal(fluxes.sky_e_per_px, 0.0)


def test_fluxes_are_electrons_whatever_the_gain_and_linear_in_the_light() -> None:
    place = np.array([[60.3, 61.8]])
    light = SKY_E + round_stars(SHAPE, place, [30_000.0], SIGMA_PX)
    plain = measure(frame_of(light), place)
    by_gain = measure(frame_of(light / 4.0, gain_e_per_adu=4.0), place)
    assert by_gain.optimal_flux == pytest.approx(plain.optimal_flux, rel=1e-9)
    assert by_gain.aperture_flux == pytest.approx(plain.aperture_flux, rel=1e-9)
    assert by_gain.peak_adu[0] == pytest.approx(plain.peak_adu[0] / 4.0)
    for flux in (plain.aperture_flux[0], plain.optimal_flux[0]):
        assert flux == pytest.approx(30_000.0, rel=0.005)


def test_a_source_does_not_depend_on_its_neighbours_in_the_list() -> None:
    generator = np.random.default_rng(12)
    positions = generator.uniform(5.0, 115.0, (15, 2))
    frame = frame_of(noisy(SKY_E + round_stars(SHAPE, positions, np.full(15, 9e3), SIGMA_PX), generator))
    together = measure(frame, positions)
    for number in range(15):
        alone = measure(frame, positions[number : number + 1])
        np.testing.assert_allclose(alone.aperture_flux[0], together.aperture_flux[number], rtol=1e-9)
        np.testing.assert_allclose(alone.optimal_flux[0], together.optimal_flux[number], rtol=1e-9)
        assert alone.flags[0] == together.flags[number]


def test_a_trail_longer_than_its_stamp_takes_no_light_of_the_next_source() -> None:
    """Aperture limited: 3 FWHM of the catalog on the geometric mean would be over 6 FWHM along the trail."""
    positions = np.array([[60.0, 60.0], [60.0, 60.0]])
    image = np.zeros(SHAPE)
    frame, psf = frame_of(image), turned(9.0, 2.2, 90.0)
    dark = measure(frame, positions, psf)
    geometry = StampGeometry.for_fwhm(3.8, SETTINGS)
    image[60 + geometry.half_side_px - 1, 60] = 1e4
    fluxes = measure(frame, positions, psf)
    assert np.isfinite(dark.aperture_flux).all()
    assert fluxes.aperture_flux[0] == fluxes.aperture_flux[1]


@pytest.mark.parametrize("flux_e", [60_000.0, 6_000.0, 900.0, 0.0])
def test_pulls_are_standard_normal_and_the_optimal_error_is_the_cramer_rao_limit(flux_e: float) -> None:
    generator = np.random.default_rng(13)
    places = np.column_stack([grid.ravel() for grid in np.mgrid[25:425:50, 25:425:50]]) + generator.uniform(
        -1, 1, (64, 2)
    )
    light = SKY_E + round_stars((450, 450), places, np.full(64, flux_e), SIGMA_PX)
    variance, profile = light + 2.0**2, round_stars((450, 450), places[:1], [1.0], SIGMA_PX)
    limit = 1.0 / math.sqrt(float((profile**2 / variance).sum()))
    pulls: dict[str, list[FloatArray]] = {"aperture": [], "optimal": []}
    errors, fluxes = [], []
    for _ in range(6):
        measured = measure(frame_of(noisy(light, generator)), places)
        assert not measured.flags.any()
        pulls["aperture"].append((measured.aperture_flux - flux_e) / measured.aperture_flux_err)
        pulls["optimal"].append((measured.optimal_flux - flux_e) / measured.optimal_flux_err)
        errors.append(measured.optimal_flux_err)
        fluxes.append(measured.optimal_flux)
    n = 6 * 64
    for pull in pulls.values():
        # 0.998 of the light is within the aperture; the Gaussian integrated over pixels is not quite a Gaussian.
        systematic = 0.004 * flux_e / float(np.mean(errors))
        assert abs(np.mean(pull)) < 4.0 / math.sqrt(n) + systematic
        assert np.std(pull) == pytest.approx(1.0, abs=4.0 / math.sqrt(2.0 * n) + 0.02)
    assert np.mean(errors) == pytest.approx(limit, rel=0.03)
    assert np.std(fluxes) == pytest.approx(limit, rel=4.0 / math.sqrt(2.0 * n) + 0.02)


def test_bad_pixels_under_a_star_bias_neither_flux() -> None:
    generator = np.random.default_rng(14)
    place = np.array([[60.3, 61.8]])
    light = SKY_E + round_stars(SHAPE, place, [20_000.0], SIGMA_PX)
    bad = np.zeros(SHAPE, dtype=bool)
    bad[62, 61] = bad[70, 75] = bad[60, 60] = True
    fluxes = []
    for _ in range(150):
        image = noisy(light, generator)
        image[bad] += 40_000.0
        measured = measure(frame_of(image), place, bad=bad)
        assert measured.flags[0] == int(Flag.BAD_PIXEL)
        assert measured.peak_adu[0] < 5_000.0
        fluxes.append([measured.optimal_flux[0], measured.aperture_flux[0]])
    scatter = np.std(fluxes, axis=0) / math.sqrt(len(fluxes))
    assert (np.abs(np.mean(fluxes, axis=0) - 20_000.0) < 4.0 * scatter + 60.0).all()
    marked_only = measure(frame_of(image), place)
    assert marked_only.aperture_flux[0] > 60_000.0


def test_bad_pixels_of_the_annulus_do_not_count() -> None:
    image = np.full(SHAPE, SKY_E)
    bad = np.zeros(SHAPE, dtype=bool)
    bad[:, 72:76] = True
    image[bad] = 5e4
    measured = measure(frame_of(image), np.array([[60.0, 60.0]]), bad=bad)
    assert measured.sky_e_per_px[0] == pytest.approx(SKY_E, rel=1e-12)
    assert measured.flags[0] == 0


@pytest.mark.parametrize(
    ("x", "y", "flags"),
    [
        (60.0, 60.0, Flag.GOOD),
        (10.0, 60.0, Flag.NEAR_EDGE),
        (60.0, 115.0, Flag.NEAR_EDGE),
        (0.2, 60.0, Flag.NEAR_EDGE | Flag.OFF_FRAME | Flag.POOR_BACKGROUND),
        (-0.6, 60.0, Flag.NEAR_EDGE | Flag.OFF_FRAME),
        (-3.0, -3.0, Flag.NEAR_EDGE | Flag.OFF_FRAME),
        (60.0, 130.0, Flag.NEAR_EDGE | Flag.OFF_FRAME),
        (5e3, 60.0, Flag.NEAR_EDGE | Flag.OFF_FRAME | Flag.POOR_BACKGROUND),
        (-1e7, 1e7, Flag.NEAR_EDGE | Flag.OFF_FRAME | Flag.POOR_BACKGROUND),
    ],
)
def test_edges(x: float, y: float, flags: Flag) -> None:
    place = np.array([[x, y]])
    light = SKY_E + round_stars(SHAPE, place, [20_000.0], SIGMA_PX)
    measured = measure(frame_of(light), place)
    known = int(Flag.NEAR_EDGE | Flag.OFF_FRAME | Flag.NON_FINITE | Flag.SATURATED | Flag.BAD_PIXEL)
    assert measured.flags[0] & known == int(flags) & known
    values = [measured.aperture_flux[0], measured.optimal_flux[0], measured.optimal_flux_err[0]]
    if flags & Flag.OFF_FRAME:
        assert np.isnan(values).all()
    else:
        assert values[:2] == pytest.approx([20_000.0] * 2, rel=0.01)


def test_a_corner_leaves_too_little_background() -> None:
    place = np.array([[3.0, 3.0]])
    light = SKY_E + round_stars(SHAPE, place, [20_000.0], SIGMA_PX)
    measured = measure(frame_of(light), place)
    assert measured.flags[0] & int(Flag.POOR_BACKGROUND)
    assert measured.flags[0] & int(Flag.NEAR_EDGE)


def test_saturation_is_that_of_the_highest_pixel_of_the_aperture() -> None:
    place = np.array([[60.0, 60.0]])
    image = np.full(SHAPE, 100.0)
    image[60, 61] = 59_999.0
    assert not measure(frame_of(image), place).flags[0] & int(Flag.SATURATED)
    image[60, 61] = 60_000.0
    measured = measure(frame_of(image), place)
    assert measured.flags[0] == int(Flag.SATURATED)
    assert measured.peak_adu[0] == 60_000.0
    assert np.isfinite(measured.aperture_flux[0])
    image[60, 61], image[60, 70] = 100.0, 60_000.0
    assert not measure(frame_of(image), place).flags[0] & int(Flag.SATURATED)


def test_a_pixel_without_value_in_the_aperture_ends_the_flux_and_beside_it_does_not() -> None:
    place = np.array([[60.0, 60.0]])
    light = SKY_E + round_stars(SHAPE, place, [20_000.0], SIGMA_PX)
    clean = measure(frame_of(light), place)
    for row, column, lost in ((61, 60, True), (60, 60, True), (60, 75, False), (20, 20, False)):
        image = light.copy()
        image[row, column] = np.nan
        measured = measure(frame_of(image), place)
        assert bool(measured.flags[0] & int(Flag.NON_FINITE)) is lost
        assert bool(np.isnan(measured.aperture_flux[0])) is lost
        assert bool(np.isnan(measured.optimal_flux_err[0])) is lost
        if not lost:
            assert measured.optimal_flux[0] == pytest.approx(clean.optimal_flux[0], rel=1e-4)


def test_a_source_without_background_has_no_flux_and_says_why() -> None:
    light = SKY_E + round_stars(SHAPE, np.array([[60.0, 60.0]]), [20_000.0], SIGMA_PX)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light[np.hypot(columns - 60, rows - 60) > 3.0 * 3.8 - 1.0] = np.nan
    measured = measure(frame_of(light), np.array([[60.0, 60.0]]))
    assert measured.flags[0] == int(Flag.POOR_BACKGROUND | Flag.NON_FINITE)
    assert np.isnan(measured.sky_e_per_px[0])
    assert np.isnan([measured.aperture_flux[0], measured.optimal_flux[0]]).all()


def test_no_flux_without_a_flag_and_no_flag_without_its_meaning() -> None:
    """Random frames with every kind of damage: NaN if and only if a flag says so, everything else finite."""
    generator = np.random.default_rng(15)
    for _ in range(40):
        image = noisy(np.full(SHAPE, SKY_E), generator)
        image[generator.random(SHAPE) < generator.choice([0.0, 0.001, 0.05, 0.6])] = np.nan
        image[generator.random(SHAPE) < 0.001] = generator.choice([-1e29, 1e29, 0.0])
        image[:, : generator.integers(0, 80)] = generator.choice([np.nan, 0.0])
        bad = generator.random(SHAPE) < generator.choice([0.0, 0.01, 0.7])
        frame = frame_of(image.astype(">f8"))
        positions = generator.uniform(-30.0, 160.0, (20, 2))
        major, minor = generator.uniform(1.0, 4.0, 2)
        measured = measure(frame, positions, turned(major, minor, 30.0), bad=bad)
        lost = (measured.flags & int(NOT_MEASURED)) != 0
        for values in (
            measured.aperture_flux,
            measured.aperture_flux_err,
            measured.optimal_flux,
            measured.optimal_flux_err,
        ):
            np.testing.assert_array_equal(np.isnan(values), lost)
            assert np.isfinite(values[~lost]).all()


def test_settings_bound_the_aperture() -> None:
    place = np.array([[60.0, 60.0]])
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ones = (np.hypot(columns - 60, rows - 60) < 10.0).astype(float)
    geometry = StampGeometry.for_fwhm(4.0, SETTINGS)
    for settings, radius in (
        (PhotometrySettings(aperture_radius_fwhm=0.1), 1.5),
        (PhotometrySettings(aperture_max_px=2.0), 2.0),
        (PhotometrySettings(aperture_radius_fwhm=1.0), ROUND.fwhm_px),
    ):
        measured = measure_forced_fluxes(frame_of(ones), place, ROUND, geometry=geometry, settings=settings)
        assert measured.aperture_flux[0] == pytest.approx(math.pi * radius**2, rel=1e-6)


def test_settings_are_those_of_the_annulus() -> None:
    """On a sky that rises with the distance the background is the mean distance in the annulus."""
    place = np.array([[60.0, 60.0]])
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(columns - 60, rows - 60)
    spotted = np.where((columns + rows) % 25 == 0, 1e4, 100.0)

    def sky(image: FloatArray, **settings: float) -> float:
        made = PhotometrySettings(**settings)
        geometry = StampGeometry.for_fwhm(4.0, made)
        return float(
            measure_forced_fluxes(frame_of(image), place, ROUND, geometry=geometry, settings=made).sky_e_per_px[0]
        )

    for inner, outer in ((3.0, 5.5), (2.0, 4.0), (5.0, 9.0)):
        ring = (distance >= 4.0 * inner) & (distance <= 4.0 * outer)
        found = sky(distance, annulus_inner_fwhm=inner, annulus_outer_fwhm=outer)
        assert found == pytest.approx(distance[ring].mean(), rel=1e-9)
    ring = (distance >= 12.0) & (distance <= 22.0)
    assert sky(spotted) == pytest.approx(100.0)
    assert sky(spotted, annulus_clip_sigma=50.0) == pytest.approx(spotted[ring].mean())


@pytest.mark.parametrize(
    ("photometer", "axes_px"),
    [
        (PhotometerSettings(semi_axes_px=(6.0, 3.5)), (6.0, 3.5)),
        (PhotometerSettings(semi_axes_fwhm=(1.6, 0.8)), None),
        (PhotometerSettings(semi_axes_fwhm=(0.4, 0.1)), (3.0, 0.75)),
        (PhotometerSettings(semi_axes_fwhm=(9.0, 4.0)), (8.4, 8.4 * 4.0 / 9.0)),
    ],
)
def test_axes_of_an_aperture_in_pixels_and_in_fwhm_lie_along_those_of_the_stars(
    photometer: PhotometerSettings, axes_px: tuple[float, float] | None
) -> None:
    psf = turned(2.4, 1.5, 25.0)
    image = np.random.default_rng(16).uniform(0.0, 1000.0, SHAPE)
    place = np.array([[60.3, 61.8]])
    measured = measure_forced_fluxes(
        frame_of(image, saturation_adu=1e9),
        place,
        psf,
        geometry=StampGeometry.for_fwhm(3.8, SETTINGS),
        settings=PhotometrySettings(aperture_max_px=5.6),
        photometers=(photometer,),
    )
    expected = axes_px or (1.6 * psf.fwhm_px, 0.8 * psf.fwhm_px)
    aperture = EllipticalAperture(place[0], *expected, theta=math.radians(25.0))
    total = float(aperture_photometry(image, aperture, method="exact")["aperture_sum"][0])
    flux = total - measured.sky_e_per_px[0] * aperture.area
    assert measured.fluxes[photometer.label].flux[0] == pytest.approx(flux, abs=1e-6 * total)


def test_no_sources_are_measured_as_none() -> None:
    measured = measure(frame_of(np.zeros(SHAPE)), np.empty((0, 2)))
    assert measured.aperture_flux.shape == measured.flags.shape == (0,)
