"""Detectors that are not linear: what is corrected, what is flagged, and what the errors say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from stream.cameras import Camera, linearised, linearity_slope
from stream.config import APERTURE_LABEL, OPTIMAL_LABEL, CalibrationSettings, PhotometrySettings, Recipe
from stream.errors import ConfigurationError, FrameRejectedError
from stream.flags import Flag
from stream.instruments import Instrument, Site, load_instrument
from stream.measure.calibration import Calibration, calibrate
from stream.measure.exposure import Exposure
from stream.measure.frames import Frame
from stream.measure.masters import Below, make_bias, make_dark, make_flat
from stream.measure.photometry import ForcedFluxes, StampGeometry, measure_forced_fluxes
from stream.measure.psf import Psf
from stream.measure.rebinning import rebin_frame
from stream.messages import FloatArray
from stream.own_instruments import with_detector_of
from tests.measure.synthetic import FACTS, frame_of, round_stars

ROOT = Path(__file__).resolve().parents[2]

SIDE, SPACING, SIGMA = 256, 32, 1.5
GAIN, ZERO_ADU, READ_NOISE_E, SKY_E = 2.0, 300.0, 3.0, 60.0
COEFFICIENTS = (2e-6, 1e-11)
THRESHOLD_ADU = 15_000.0
GEOMETRY = StampGeometry.for_fwhm(2.3548 * SIGMA, PhotometrySettings())
LABELS = (APERTURE_LABEL, OPTIMAL_LABEL)


def bent(counts: FloatArray) -> FloatArray:
    """The counts that the correction makes `counts` of: the inverse of the polynomial, by Newton's method."""
    found = counts.copy()
    for _ in range(8):
        found -= (linearised(found, COEFFICIENTS) - counts) / linearity_slope(found, COEFFICIENTS)
    return found


@dataclass(frozen=True, slots=True)
class BentCamera:
    """Counts photons in its pixels, and bends them on the way to the file; a gain of 2 electrons per count."""

    response: FloatArray
    generator: np.random.Generator

    def expose(self, light_e: FloatArray | float, exposure_s: float = 1.0, *, dark_e_per_s: float = 5.0) -> Frame:
        expected = np.asarray(light_e * self.response + dark_e_per_s * exposure_s)
        counts = bent(self.generator.poisson(expected) / GAIN)
        counts += ZERO_ADU + self.generator.normal(0.0, READ_NOISE_E / GAIN, expected.shape)
        return frame_of(
            counts.astype(np.float32),
            exposure_s=exposure_s,
            gain_e_per_adu=GAIN,
            read_noise_e=READ_NOISE_E,
            saturation_adu=65535.0,
            nonlinear_adu=THRESHOLD_ADU,
            linearity=COEFFICIENTS,
        )

    def calibration(self, n_frames: int = 8) -> Calibration:
        bias = make_bias([self.expose(0.0, 0.0) for _ in range(n_frames)], "1")
        dark, hot = make_dark([self.expose(0.0, 10.0) for _ in range(n_frames)], "1", Below(bias))
        flat, dead = make_flat([self.expose(40_000.0) for _ in range(n_frames)], "1:g", Below(bias, dark))
        return Calibration("1:g", "v", bias, dark, flat, hot | dead)


def camera(seed: int) -> BentCamera:
    offset = (np.arange(SIDE) - 0.5 * (SIDE - 1)) / (0.5 * SIDE)
    generator = np.random.default_rng(seed)
    shade = 1.0 - 0.2 * (offset[:, None] ** 2 + offset[None, :] ** 2)
    return BentCamera(shade * generator.normal(1.0, 0.01, (SIDE, SIDE)), generator)


def stars(generator: np.random.Generator) -> FloatArray:
    steps = np.arange(22, SIDE - 22, SPACING, dtype=float)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    return np.asarray(grid + generator.uniform(-0.5, 0.5, grid.shape))


def measure(exposure: Exposure, xy: FloatArray, sigma_px: float = SIGMA) -> ForcedFluxes:
    variance = sigma_px**2 + 1.0 / 12.0
    psf = Psf(variance, 0.0, variance)
    return measure_forced_fluxes(exposure, xy, psf, geometry=GEOMETRY, settings=PhotometrySettings())


def uncorrected(frame: Frame) -> Frame:
    return replace(frame, facts=replace(frame.facts, linearity=()))


@pytest.mark.parametrize("flux_e", [2e4, 1e6])
def test_the_correction_brings_the_flux_back_within_its_error(flux_e: float) -> None:
    """Stars of 1e6 electrons have 35,000 counts in their peak, of which the detector loses 7 per cent."""
    made = camera(1)
    calibration = made.calibration()
    pulls: dict[str, list[FloatArray]] = {label: [] for label in LABELS}
    ratios: dict[str, list[FloatArray]] = {label: [] for label in LABELS}
    for _ in range(8):
        xy = stars(made.generator)
        frame = made.expose(SKY_E + round_stars((SIDE, SIDE), xy, np.full(len(xy), flux_e), SIGMA))
        corrected = measure(calibrate(frame, CalibrationSettings(), calibration), xy)
        plain = measure(calibrate(uncorrected(frame), CalibrationSettings(), calibration), xy)
        is_bright = flux_e > 1e5
        for measured in (corrected, plain):
            assert ((measured.flags & int(Flag.NONLINEAR)) != 0).all() == is_bright
        np.testing.assert_array_equal(corrected.peak_adu, plain.peak_adu)
        if is_bright:
            assert plain.fluxes[APERTURE_LABEL].flux.max() < 0.975 * flux_e
        for label in LABELS:
            flux, error = corrected.fluxes[label]
            pulls[label].append((flux - flux_e) / error)
            ratios[label].append(flux / flux_e)
    for label in LABELS:
        together = np.concatenate(pulls[label])
        assert len(together) > 350
        # An aperture of 1.5 FWHM holds 99.8 per cent, and the brightest part of the flat is known to 0.2 per cent.
        assert np.mean(ratios[label]) == pytest.approx(1.0, abs=0.005), label
        assert np.std(together) == pytest.approx(1.0, abs=0.1), label


def test_without_masters_the_zero_level_that_is_told_comes_off_first() -> None:
    made = replace(camera(2), response=np.ones((SIDE, SIDE)))
    xy = stars(made.generator)
    light = SKY_E + round_stars((SIDE, SIDE), xy, np.full(len(xy), 1e6), SIGMA)
    frame = made.expose(light, dark_e_per_s=0.0)
    told = calibrate(frame, CalibrationSettings(zero_level_adu=ZERO_ADU))
    known = calibrate(replace(frame, facts=replace(frame.facts, zero_level_adu=ZERO_ADU)), CalibrationSettings())
    flux, error = measure(told, xy).fluxes[OPTIMAL_LABEL]
    assert abs(np.mean((flux - 1e6) / error)) < 0.5
    np.testing.assert_array_equal(flux, measure(known, xy).fluxes[OPTIMAL_LABEL].flux)
    corners = np.array([[10, 20], [-3, 250]])
    np.testing.assert_allclose(told.stamps(corners, 9)[0], told.electrons()[20:29, 10:19], rtol=1e-4)
    np.testing.assert_array_equal(told.stored_stamps(corners, 9), frame.stamps(corners, 9))


def test_read_noise_grows_by_the_derivative_of_the_correction() -> None:
    counts = np.full((32, 32), 20_000.0 + ZERO_ADU, dtype=np.float32)
    frame = frame_of(
        counts, gain_e_per_adu=GAIN, read_noise_e=READ_NOISE_E, linearity=COEFFICIENTS, zero_level_adu=ZERO_ADU
    )
    noise = calibrate(frame, CalibrationSettings()).noise_stamps(np.array([[5, 5]]), 9)
    assert noise is not None
    slope = 1.0 + 2.0 * 2e-6 * 20_000.0 + 3.0 * 1e-11 * 20_000.0**2
    np.testing.assert_allclose(noise.additive, slope**2 * READ_NOISE_E**2, rtol=1e-6)
    spread = np.random.default_rng(3).normal(20_000.0, 1.5, 100_000)
    assert np.std(linearised(spread, COEFFICIENTS)) == pytest.approx(1.5 * slope, rel=0.01)


def test_the_threshold_is_of_stored_counts_and_of_the_single_pixels_of_a_rebinned_frame() -> None:
    xy = np.array([[40.0, 40.0], [90.0, 90.0]])
    counts = (500.0 + round_stars((130, 130), xy, [3e5, 2e4], SIGMA)).astype(np.float32)
    peak = float(counts.max())
    for threshold, flagged in ((0.99 * peak, [True, False]), (1.01 * peak, [False, False])):
        frame = frame_of(counts, nonlinear_adu=threshold, saturation_adu=1e9)
        assert (((measure(frame, xy).flags & int(Flag.NONLINEAR)) != 0) == flagged).all()
        binned = rebin_frame(frame, 2)
        flags = measure(binned, (xy + 0.5) / 2.0 - 0.5, SIGMA / 2.0).flags
        assert (((flags & int(Flag.NONLINEAR)) != 0) == flagged).all()
    assert not (measure(frame_of(counts), xy).flags & int(Flag.NONLINEAR)).any()


def test_sums_of_pixels_are_not_corrected() -> None:
    frame = frame_of(np.zeros((64, 64), dtype=np.float32), linearity=COEFFICIENTS)
    with pytest.raises(
        FrameRejectedError,
        match=r"^a.fit is of a camera with a linearity correction: calibration.rebin \(2\) must be 1",
    ):
        rebin_frame(frame, 2)
    instrument = Instrument("x", Site(0.0, 0.0, 0.0), 1.0, {"A": Camera(1.0, 1.0, linearity=COEFFICIENTS)})
    with pytest.raises(
        ConfigurationError, match=r"^calibration.rebin \(2\) must be 1: cameras.A has a linearity correction"
    ):
        Recipe(instrument, calibration=CalibrationSettings(rebin=2))


def test_a_correction_by_which_more_light_is_less_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^linearity \[-2e-05\] must rise with the counts up to 65535: x \(1"):
        Camera(1.0, 1.0, linearity=(-2e-5,))
    assert Camera(1.0, 1.0, linearity=(-2e-5,), nonlinear_adu=20_000.0).linearity == (-2e-5,)
    with pytest.raises(ConfigurationError, match=r"^linearity has 7 coefficients: at most 6 are allowed$"):
        Camera(1.0, 1.0, linearity=(0.0,) * 7)


def test_an_instrument_file_and_a_class_of_the_users_own_say_how_linear_a_camera_is(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "microobservatory.toml").read_text(encoding="utf-8")
    path = tmp_path / "bent.toml"
    path.write_text(f"{text}\nzero_level_adu = 120.0\nnonlinear_adu = 3000.0\nlinearity = [2e-6, 1e-11]\n")
    camera = next(iter(load_instrument(str(path)).cameras.values()))
    assert (camera.zero_level_adu, camera.nonlinear_adu, camera.linearity) == (120.0, 3000.0, COEFFICIENTS)
    facts = with_detector_of(FACTS, camera)
    assert (facts.zero_level_adu, facts.nonlinear_adu, facts.linearity) == (120.0, 3000.0, COEFFICIENTS)
    own = replace(FACTS, zero_level_adu=0.0, nonlinear_adu=5.0, linearity=(1e-7,))
    assert with_detector_of(own, camera) == own
