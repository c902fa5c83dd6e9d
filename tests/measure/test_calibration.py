"""Calibration: the light comes back, and the errors say how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from stream.config import APERTURE_LABEL, OPTIMAL_LABEL, CalibrationSettings, PhotometrySettings
from stream.errors import ConfigurationError, FrameRejectedError
from stream.flags import Flag
from stream.measure.calibration import CalibratedFrame, Calibration, calibrate
from stream.measure.exposure import Exposure
from stream.measure.frames import Frame
from stream.measure.masters import Below, make_dark, make_flat
from stream.measure.photometry import ForcedFluxes, StampGeometry, measure_forced_fluxes
from stream.measure.psf import Psf
from stream.measure.rebinning import rebin_frame
from stream.messages import FloatArray
from tests.measure.synthetic import frame_of, noisy, round_stars
from tests.measure.uneven_camera import EXPOSURE_S, SKY_E, UnevenCamera

SIDE, SPACING, SIGMA = 512, 31, 1.5
FWHM = 2.3548 * SIGMA
PLAIN = CalibrationSettings()
LABELS = (APERTURE_LABEL, OPTIMAL_LABEL)
GEOMETRY = StampGeometry.for_fwhm(FWHM, PhotometrySettings())


def star_grid(generator: np.random.Generator) -> FloatArray:
    """Stars that keep their distance, at random places within their pixels."""
    steps = np.arange(22, SIDE - 22, SPACING, dtype=float)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    return grid + generator.uniform(-0.5, 0.5, grid.shape)


def measure(exposure: Exposure, xy: FloatArray, bad: np.ndarray | None = None) -> ForcedFluxes:
    """Aperture and optimal fluxes with the profile that the stars have, integrated over pixels."""
    variance = SIGMA**2 + 1.0 / 12.0
    psf = Psf(variance, 0.0, variance)
    return measure_forced_fluxes(exposure, xy, psf, geometry=GEOMETRY, settings=PhotometrySettings(), bad_pixels=bad)


def pulls_of(
    fluxes_e: Sequence[float], generator: np.random.Generator, *, n_frames: int, calibrated: bool
) -> dict[tuple[float, str], FloatArray]:
    """(flux - its mean over all stars) / error, of many stars of each flux, by flux and label.

    The frames of the fluxes share their masters, which are made anew now and then.
    """
    found: dict[tuple[float, str], list[FloatArray]] = {(flux, label): [] for flux in fluxes_e for label in LABELS}
    errors: dict[tuple[float, str], list[FloatArray]] = {kind: [] for kind in found}
    camera = UnevenCamera.draw(SIDE, generator)
    calibration = camera.calibration(generator, 3, 4000.0) if calibrated else None
    for number in range(n_frames):
        if calibrated and number % 5 == 4:
            calibration = camera.calibration(generator, 3, 4000.0)
        for flux_e in fluxes_e:
            xy = star_grid(generator)
            light = SKY_E + round_stars((SIDE, SIDE), xy, np.full(len(xy), flux_e), SIGMA)
            if calibration is None:
                measured = measure(frame_of(noisy(light, generator, 3.0).astype(np.float32)), xy)
            else:
                exposure = calibrate(camera.expose(light, EXPOSURE_S, generator), PLAIN, calibration)
                measured = measure(exposure, xy, calibration.bad_pixels)
            for label in LABELS:
                found[flux_e, label].append(measured.fluxes[label].flux)
                errors[flux_e, label].append(measured.fluxes[label].flux_err)
    return {kind: _pulls(np.concatenate(found[kind]), np.concatenate(errors[kind]), kind[0]) for kind in found}


def _pulls(flux: FloatArray, error: FloatArray, flux_e: float) -> FloatArray:
    seen = np.isfinite(flux)
    assert seen.mean() > 0.95
    mean = np.average(flux[seen], weights=error[seen] ** -2)
    assert mean == pytest.approx(flux_e, rel=0.01, abs=0.2 * np.median(error[seen]))
    return np.asarray((flux[seen] - mean) / error[seen])


@pytest.mark.parametrize(("fluxes_e", "calibrated"), [((400.0, 2e5), False), ((400.0, 6e3, 2e5), True)])
def test_errors_are_the_scatter_of_constant_stars_at_all_magnitudes(
    fluxes_e: tuple[float, ...], calibrated: bool
) -> None:
    """Of 6900 stars chi-square is known to 1.7 per cent: the tolerance is three times that."""
    generator = np.random.default_rng(1)
    for kind, pulls in pulls_of(fluxes_e, generator, n_frames=27, calibrated=calibrated).items():
        assert len(pulls) > 6000
        assert np.mean(pulls**2) == pytest.approx(1.0, abs=0.05), kind


def test_pulls_of_a_star_too_faint_to_see_are_standard_normal() -> None:
    generator = np.random.default_rng(5)
    for kind, pulls in pulls_of((3.0,), generator, n_frames=8, calibrated=True).items():
        assert stats.kstest(pulls, "norm").pvalue > 0.01, kind
        assert np.std(pulls) == pytest.approx(1.0, abs=0.04)


def test_noise_of_the_masters_is_in_the_errors() -> None:
    """With few and faint flats the errors of bright stars grow: their variance by a half."""
    camera = UnevenCamera.draw(SIDE, np.random.default_rng(1))
    xy = star_grid(np.random.default_rng(2))
    light = SKY_E + round_stars((SIDE, SIDE), xy, np.full(len(xy), 2e5), SIGMA)
    frame = camera.expose(light, EXPOSURE_S, np.random.default_rng(3))
    errors = []
    for n_frames, flat_e in ((3, 4000.0), (20, 50000.0)):
        calibration = camera.calibration(np.random.default_rng(4), n_frames, flat_e)
        exposure = calibrate(frame, PLAIN, calibration)
        errors.append(np.nanmedian(measure(exposure, xy, calibration.bad_pixels).fluxes[OPTIMAL_LABEL].flux_err))
    assert errors[0] > 1.25 * errors[1]
    assert errors[1] == pytest.approx(np.sqrt(2e5 / 0.9), rel=0.1)


def test_light_that_the_camera_lost_comes_back_within_a_per_cent() -> None:
    generator = np.random.default_rng(7)
    camera = UnevenCamera.draw(SIDE, generator, vignetting=0.5)
    calibration = camera.calibration(generator, 12, 20000.0)
    xy = star_grid(generator)
    light = SKY_E + round_stars((SIDE, SIDE), xy, np.full(len(xy), 1e6), SIGMA)
    frame = camera.expose(light, EXPOSURE_S, generator)
    lost = measure(frame, xy).fluxes[OPTIMAL_LABEL].flux / 1e6
    assert np.nanmin(lost) < 0.65
    for label in LABELS:
        found = measure(calibrate(frame, PLAIN, calibration), xy, calibration.bad_pixels).fluxes[label].flux / 1e6
        assert np.nanmax(np.abs(found - 1.0)) < 0.012, label
        assert np.nanmedian(found) == pytest.approx(1.0, abs=0.005)


def test_stamps_are_what_the_whole_frame_holds() -> None:
    generator = np.random.default_rng(8)
    camera = UnevenCamera.draw(64, generator)
    frame = camera.expose(SKY_E, EXPOSURE_S, generator)
    exposure = calibrate(frame, PLAIN, camera.calibration(generator, 3, 20000.0))
    corners = np.array([[3, 5], [60, 60], [-4, 10]])
    stamps, whole = exposure.stamps(corners, 9), exposure.electrons()
    np.testing.assert_allclose(stamps[0], whole[5:14, 3:12], rtol=1e-4)
    np.testing.assert_allclose(stamps[1][:4, :4], whole[60:, 60:], rtol=1e-4)
    assert np.isnan(stamps[1][4:]).all()
    assert np.isnan(stamps[2][:, :4]).all()
    assert np.median(whole) == pytest.approx(SKY_E, abs=2.0)
    np.testing.assert_array_equal(exposure.stored_stamps(corners, 9), frame.stamps(corners, 9))


def test_saturation_is_a_matter_of_what_was_counted() -> None:
    """A flat of one half doubles the electrons, but not the counts that the camera had."""
    generator = np.random.default_rng(9)
    camera = UnevenCamera.draw(128, generator)
    xy = np.array([[64.0, 64.0]])
    light = SKY_E + round_stars((128, 128), xy, [4e5], SIGMA)
    frame = camera.expose(light, EXPOSURE_S, generator, saturation_adu=1e9)
    peak = float(frame.pixels.max())
    calibration = camera.calibration(generator, 5, 20000.0)
    for saturation, flagged in ((1.01 * peak, False), (0.99 * peak, True)):
        counted = replace(frame, facts=replace(frame.facts, saturation_adu=saturation))
        measured = measure(calibrate(counted, PLAIN, calibration), xy)
        assert measured.peak_adu[0] == pytest.approx(peak)
        assert bool(measured.flags[0] & Flag.SATURATED) is flagged


def test_dead_and_hot_pixels_of_the_masters_do_not_count() -> None:
    generator = np.random.default_rng(10)
    camera = UnevenCamera.draw(128, generator)
    camera.response[64, 65] = 0.1
    camera.dark_e_per_s[63, 64] = 4000.0
    calibration = camera.calibration(generator, 5, 20000.0)
    assert calibration.bad_pixels is not None
    assert calibration.bad_pixels[64, 65]
    assert calibration.bad_pixels[63, 64]
    assert calibration.bad_pixels.sum() < 20
    xy = np.array([[64.0, 64.0]])
    frame = camera.expose(SKY_E + round_stars((128, 128), xy, [2e4], SIGMA), EXPOSURE_S, generator)
    measured = measure(calibrate(frame, PLAIN, calibration), xy, calibration.bad_pixels)
    assert measured.flags[0] & Flag.BAD_PIXEL
    for label in LABELS:
        flux = measured.fluxes[label]
        assert abs(flux.flux[0] - 2e4) < 4.0 * flux.flux_err[0]


def test_masters_of_another_shape_binning_or_exposure_reject_the_frame_with_one_sentence() -> None:
    generator = np.random.default_rng(11)
    camera = UnevenCamera.draw(64, generator)
    calibration = camera.calibration(generator, 3, 20000.0)
    other = frame_of(np.zeros((32, 64), dtype=np.float32))
    with pytest.raises(
        FrameRejectedError, match=r"^a.fit has 64 x 32 pixels at binning 1; the bias frames of 1 have 64 x 64"
    ):
        calibrate(other, PLAIN, calibration)
    binned = frame_of(np.zeros((64, 64), dtype=np.float32), binning=2)
    with pytest.raises(FrameRejectedError, match=r"at binning 2; the bias frames of 1 have 64 x 64 at 1$"):
        calibrate(binned, PLAIN, calibration)
    without_bias = camera.calibration(generator, 3, 20000.0, kinds=("dark",))
    assert without_bias.dark is not None
    assert without_bias.dark.holds_zero
    with pytest.raises(
        FrameRejectedError, match=r"exposed for 1.0 s, the dark frames of 1 for 5.0 s: without bias frames"
    ):
        calibrate(frame_of(np.zeros((64, 64), dtype=np.float32)), PLAIN, without_bias)
    mapped = Calibration("1:g", "v", bad_pixels=np.zeros((10, 10), dtype=bool))
    with pytest.raises(FrameRejectedError, match="the bad-pixel map of 1:g has 10 x 10"):
        calibrate(other, PLAIN, mapped)


def test_nothing_to_do_leaves_the_frame_as_it_is() -> None:
    frame = frame_of(np.zeros((32, 32), dtype=np.float32))
    assert calibrate(frame, PLAIN) is frame
    assert isinstance(calibrate(frame, CalibrationSettings(median_filter=True)), CalibratedFrame)


def test_warm_pixels_are_replaced_and_stars_are_not() -> None:
    generator = np.random.default_rng(12)
    xy = star_grid(generator)
    light = SKY_E + round_stars((SIDE, SIDE), xy, generator.uniform(1e3, 3e5, len(xy)), SIGMA)
    counts = noisy(light, generator, 3.0).astype(np.float32)
    settings = CalibrationSettings(median_filter=True)
    clean = measure(frame_of(counts), xy)
    filtered = measure(calibrate(frame_of(counts), settings), xy)
    for label in LABELS:
        change = (filtered.fluxes[label].flux - clean.fluxes[label].flux) / clean.fluxes[label].flux_err
        assert np.abs(change).max() < 0.5, label
    warm = counts.copy()
    at = np.rint(xy).astype(int) + np.array([4, 0])
    warm[at[:, 1], at[:, 0]] += 400.0
    spoilt, mended = measure(frame_of(warm), xy), measure(calibrate(frame_of(warm), settings), xy)
    errors = clean.fluxes[APERTURE_LABEL].flux_err
    before, after = (
        (one.fluxes[APERTURE_LABEL].flux - clean.fluxes[APERTURE_LABEL].flux) / errors for one in (spoilt, mended)
    )
    faint = clean.fluxes[APERTURE_LABEL].flux < 5e4
    assert np.median(np.abs(before[faint])) > 1.0
    assert np.median(np.abs(after[faint])) < 0.3


def test_rebinning_sums_squares_and_the_facts_follow() -> None:
    generator = np.random.default_rng(13)
    xy = np.array([[40.3, 52.8], [90.1, 77.7]])
    light = SKY_E + round_stars((130, 130), xy, [5e4, 2e4], 3.0)
    frame = frame_of(noisy(light, generator).astype(np.float32), saturation_adu=3000.0)
    frame.pixels[100, 100] = 3000.0
    binned = rebin_frame(frame, 2)
    assert binned.shape == (65, 65)
    assert (binned.facts.binning, binned.facts.pixel_scale_arcsec, binned.facts.read_noise_e) == (2, 2.0, 4.0)
    assert binned.electrons().sum() == pytest.approx(frame.electrons().sum(), rel=0.01)
    assert binned.pixels[50, 50] == binned.facts.saturation_adu == 12000.0
    variance = 1.5**2 + 1.0 / 12.0
    found = measure_forced_fluxes(
        binned,
        (xy + 0.5) / 2.0 - 0.5,
        Psf(variance, 0.0, variance),
        geometry=StampGeometry.for_fwhm(3.5, PhotometrySettings()),
        settings=PhotometrySettings(),
    ).fluxes[OPTIMAL_LABEL]
    assert np.abs((found.flux - [5e4, 2e4]) / found.flux_err).max() < 4.0
    with pytest.raises(FrameRejectedError, match=r"^a.fit has 130 x 130 pixels: calibration.rebin \(16\) would leave"):
        rebin_frame(frame, 16)


def shaded_flats(zero_adu: float, exposure_s: float = 1.0) -> tuple[list[Frame], FloatArray]:
    """Flats of a round field of view: outside of it a fiftieth of the light; and the response."""
    offset = (np.arange(128) - 63.5) / 64.0
    radius = np.hypot(offset[:, None], offset[None, :])
    response = 0.02 + 0.98 * np.cos(0.5 * np.pi * np.clip((radius - 0.9) / 0.1, 0.0, 1.0)) ** 2
    generator = np.random.default_rng(14)
    counts = [noisy(20_000.0 * response, generator).astype(np.float32) + np.float32(zero_adu) for _ in range(5)]
    return [frame_of(one, exposure_s=exposure_s) for one in counts], response


def test_a_field_in_the_shade_needs_a_zero_level() -> None:
    """Zero of 100 counts, taken for light, would make a sky of thousands of electrons in the shade."""
    frames, response = shaded_flats(100.0)
    with pytest.raises(
        ConfigurationError,
        match=r"^flat frames of 1:g fall to 2% of the brightest part of the field, and nothing tells the zero level of "
        r"the camera, .*: bias frames, cameras.zero_level_adu of the instrument or calibration.zero_level_adu of the",
    ):
        make_flat(frames, "1:g", Below())
    flat, dead = make_flat(frames, "1:g", Below(zero_level_adu=100.0))
    lit = response > 0.1
    np.testing.assert_allclose(flat.values[lit], response[lit], rtol=0.05)
    assert (dead == (flat.values == 1.0)).all()
    clear = np.abs(response - 0.05) > 0.01
    np.testing.assert_array_equal(dead[clear], response[clear] < 0.05)
    # Darks that hold the zero level tell it for frames that are exposed as long, and for no others.
    darks = [frame_of(np.full((128, 128), 100.0, dtype=np.float32), exposure_s=1.0) for _ in range(3)]
    dark, _ = make_dark(darks, "1", Below())
    assert dark.holds_zero
    with_darks, _ = make_flat(frames, "1:g", Below(dark=dark))
    np.testing.assert_allclose(with_darks.values, flat.values, rtol=1e-4)
    with pytest.raises(ConfigurationError, match="nothing tells the zero level"):
        make_flat(shaded_flats(100.0, 2.0)[0], "1:g", Below(dark=dark))


def test_corners_without_light_are_no_sky() -> None:
    frames, response = shaded_flats(100.0)
    flat, dead = make_flat(frames, "1:g", Below(zero_level_adu=100.0))
    dead[60, 60] = True
    calibration = Calibration.of("1:g", "v", {"flat": flat}, dead)
    frame = frame_of((100.0 + 60.0 * response).astype(np.float32), zero_level_adu=100.0)
    whole = calibrate(frame, PLAIN, calibration).electrons()
    corner = response < 0.03
    assert np.isnan(whole[corner]).all()
    assert np.isfinite(whole[60, 60])  # a single dead pixel is mended from its neighbours instead
    np.testing.assert_allclose(whole[response > 0.1], 60.0, rtol=0.05)
