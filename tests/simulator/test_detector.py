"""The noise is what it claims to be: Poisson, independent, and as strong as the expectation values say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from simulator.detector import BIAS_ADU, HIGHEST_ADU, Detector, NoiseTable, light_on_frame, render_stamps
from simulator.settings import NightSettings, ScenarioScales
from simulator.sky import Sky

N_FRAMES = 24
ROUNDING_VARIANCE = 1.0 / 12.0


def exposures(settings: NightSettings, filter_name: str = "g") -> NDArray[np.float64]:
    sky, detector = Sky(settings), Detector(settings, filter_name)
    return np.array([detector.expose(sky.state(filter_name, index)) for index in range(N_FRAMES)], dtype=np.float64)


@pytest.fixture(scope="module")
def empty_frames() -> NDArray[np.float64]:
    """Frames whose sources are too faint to be seen."""
    return exposures(NightSettings(n_images=N_FRAMES, brightness=1e-6))


def test_background_has_the_mean_and_variance_of_its_expectation(empty_frames: NDArray[np.float64]) -> None:
    settings = NightSettings(n_images=N_FRAMES)
    detector = Detector(settings, "g")
    state = Sky(settings).state("g", 0)
    electrons = state.sky_e_per_px + detector.dark_e_per_px(state.exposure_s)
    variance = electrons + detector.read_noise_e**2 + ROUNDING_VARIANCE
    n = empty_frames.size
    assert empty_frames.mean() == pytest.approx(BIAS_ADU + electrons, abs=5.0 * np.sqrt(variance / n))
    assert empty_frames.var() == pytest.approx(variance, rel=5.0 * np.sqrt(2.2 / n))


def test_background_has_the_skewness_of_a_poisson_number(empty_frames: NDArray[np.float64]) -> None:
    settings = NightSettings()
    state = Sky(settings).state("g", 0)
    electrons = state.sky_e_per_px + Detector(settings, "g").dark_e_per_px(state.exposure_s)
    third_moment = ((empty_frames - empty_frames.mean()) ** 3).mean()
    assert third_moment == pytest.approx(
        electrons, rel=0.02
    )  # the third central moment of a Poisson number is its mean


def test_pixels_are_independent_in_space_and_time(empty_frames: NDArray[np.float64]) -> None:
    deviation = (empty_frames - empty_frames.mean()) / empty_frames.std()
    limit = 5.0 / np.sqrt(deviation.size)
    for lag in (1, 2, 3, 7):  # a 64-bit random number serves four neighbouring pixels
        assert abs((deviation[:, :, lag:] * deviation[:, :, :-lag]).mean()) < limit
        assert abs((deviation[:, lag:] * deviation[:, :-lag]).mean()) < limit
        assert abs((deviation[lag:] * deviation[:-lag]).mean()) < limit * np.sqrt(2.0)


def test_noise_table_agrees_with_its_distribution_cell_by_cell() -> None:
    """Chi squared over the counts; the cells that are left over matter for the rare ones."""
    mean_e, read_noise_e, n = 6.3, 1.2, 4_000_000
    generator = np.random.Generator(np.random.SFC64(5))
    drawn = NoiseTable(np.array([mean_e]), read_noise_e).draw(generator, None, n)
    reference = generator.poisson(mean_e, n) + np.rint(generator.normal(0.0, read_noise_e, n)) + BIAS_ADU
    edges = np.arange(BIAS_ADU - 6, BIAS_ADU + 30)
    table = np.array([np.histogram(drawn, edges)[0], np.histogram(reference, edges)[0]])
    table = table[:, table.sum(axis=0) > 40]
    assert stats.chi2_contingency(table).pvalue > 1e-4
    assert table.shape[1] > 20


def test_levels_of_a_noise_table_are_kept_apart() -> None:
    means = np.array([1.0, 25.0])
    levels = np.tile([0, 1], 200_000)
    drawn = NoiseTable(means, 1.1).draw(np.random.Generator(np.random.SFC64(6)), levels, len(levels)).astype(float)
    for level, mean in enumerate(means):
        sample = drawn[levels == level]
        assert sample.mean() == pytest.approx(BIAS_ADU + mean, abs=5.0 * np.sqrt((mean + 1.3) / len(sample)))
        assert sample.var() == pytest.approx(mean + 1.1**2 + ROUNDING_VARIANCE, rel=0.02)


def test_light_of_a_star_has_poisson_noise() -> None:
    settings = NightSettings(n_images=N_FRAMES, guiding_rms_px=0.0, variable_rms=0.0)
    frames = exposures(settings)
    row, column = 395, 310
    stack = frames[:, row - 3 : row + 4, column - 3 : column + 4]
    ratio = stack.var(axis=0, ddof=1).mean() / (stack.mean() - BIAS_ADU)
    assert ratio == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / stack.size))


@pytest.mark.parametrize("profile", ["gaussian", "moffat"])
@pytest.mark.parametrize("trailed", [False, True])
def test_stamps_hold_the_light_and_its_centre(profile: str, trailed: bool) -> None:
    scenarios = ("trailed",) if trailed else ()
    sky = Sky(NightSettings(scenarios=scenarios))
    state = next(state for state in (sky.state("r", n) for n in range(100)) if (state.trail_px > 0.0) == trailed)
    stamps = render_stamps(state, profile)
    rows, columns = np.indices(stamps.electrons.shape[1:])
    light = stamps.electrons.sum(axis=(1, 2))
    np.testing.assert_allclose(light, state.electrons, rtol=1e-5 if profile == "gaussian" else 3e-4)
    np.testing.assert_allclose(stamps.left + (stamps.electrons * columns).sum(axis=(1, 2)) / light, state.x, atol=2e-3)
    np.testing.assert_allclose(stamps.bottom + (stamps.electrons * rows).sum(axis=(1, 2)) / light, state.y, atol=2e-3)


@pytest.mark.parametrize("profile", ["gaussian", "moffat"])
def test_stamps_have_the_stated_width(profile: str) -> None:
    settings = NightSettings(fwhm_px=20.0, guiding_rms_px=0.0)
    stamps = render_stamps(Sky(settings).state("g", 0), profile)
    profile_row = stamps.electrons[0, stamps.electrons.shape[1] // 2]
    above_half = np.flatnonzero(profile_row > 0.5 * profile_row.max())
    assert above_half[-1] - above_half[0] + 1 == pytest.approx(20.0, abs=1.1)


def test_circular_aperture_shadows_corners_and_keeps_the_centre() -> None:
    settings = NightSettings(brightness=1e-6, circular_aperture=True)
    frame = Detector(settings, "i").expose(Sky(settings).state("i", 0)).astype(float)
    sky_e = Sky(settings).state("i", 0).sky_e_per_px
    assert frame[240:272, 240:272].mean() - BIAS_ADU == pytest.approx(sky_e, rel=0.05)
    assert frame[:20, :20].mean() - BIAS_ADU < 0.05 * sky_e


def test_hot_pixels_stay_and_are_as_many_as_asked_for() -> None:
    settings = NightSettings(n_images=N_FRAMES, brightness=1e-6, scenarios=("hot_pixels",))
    frames = exposures(settings)
    sigma = np.median(frames.std(axis=0))
    hot = frames > np.median(frames) + 10.0 * sigma
    assert hot.all(axis=0).sum() == pytest.approx(1000, abs=10)
    assert (hot.any(axis=0) & ~hot.all(axis=0)).sum() < 10
    other = Detector(settings, "r")
    own = Detector(settings, "g")
    own_places, other_places = (set(zip(d.hot_row, d.hot_column, strict=True)) for d in (own, other))
    assert len(own_places & other_places) < 30


def test_cosmic_rays_hit_other_pixels_each_time_and_their_place_is_known() -> None:
    settings = NightSettings(
        n_images=N_FRAMES, brightness=1e-6, scenarios=("cosmic_rays",), scales=ScenarioScales(n_cosmic_rays=20.0)
    )
    detector = Detector(settings, "g")
    frame = detector.expose(Sky(settings).state("g", 3))
    rows, columns, electrons = detector.cosmic_rays(3)
    bright = electrons > 400
    assert bright.sum() > 10
    assert (frame[rows[bright], columns[bright]] > BIAS_ADU + 400).all()
    calm = np.ones(frame.shape, dtype=bool)
    calm[rows, columns] = False
    assert frame[calm].max() < BIAS_ADU + 60
    assert {*zip(rows, columns, strict=True)} != {*zip(*detector.cosmic_rays(4)[:2], strict=True)}


def test_saturation_clips_at_sixteen_bits_and_is_told() -> None:
    settings = NightSettings(scenarios=("saturation",))
    detector, state = Detector(settings, "r"), Sky(settings).state("r", 0)
    frame = detector.expose(state)
    assert frame.max() == HIGHEST_ADU
    assert light_on_frame(state, detector)[1].tolist() == [True, False, False, False, False, False]


def test_star_outside_the_frame_gives_no_light_and_one_on_the_edge_half() -> None:
    settings = NightSettings(scenarios=("leaving",), n_images=50, guiding_rms_px=0.0)
    detector, sky = Detector(settings, "g"), Sky(settings)
    x = np.array([sky.state("g", n).x[4] for n in range(50)])
    fraction = np.array([light_on_frame(sky.state("g", n), detector)[0][4] for n in range(50)])
    assert fraction[0] == pytest.approx(1.0, abs=1e-4)
    assert fraction[-1] == 0.0
    assert fraction[np.argmin(np.abs(x - 511.5))] == pytest.approx(0.5, abs=0.15)
    assert detector.expose(sky.state("g", 49)).shape == (512, 512)
