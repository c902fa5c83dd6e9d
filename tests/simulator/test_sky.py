"""Where stars fall, how bright they are, and what each scenario does to them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.scenarios import SCENARIOS
from simulator.settings import NightSettings
from simulator.signals import Flare, Sinusoid, Transit, mean_over_exposure, observed_rms
from simulator.sky import VARIABLE, FieldTransform, FrameState, Sky
from stream.errors import ConfigurationError

N = 200


def states(*scenarios: str, filter_name: str = "g", **settings: object) -> list[FrameState]:
    sky = Sky(NightSettings(n_images=N, scenarios=scenarios, **settings))  # type: ignore[arg-type]
    return [sky.state(filter_name, index) for index in range(N)]


def test_transform_turns_about_the_centre_from_x_towards_y() -> None:
    x, y = FieldTransform(5.0, -3.0, 90.0, 2.0).apply(np.array([265.5, 255.5]), np.array([255.5, 255.5]), 512)
    np.testing.assert_allclose(x, [260.5, 260.5])
    np.testing.assert_allclose(y, [272.5, 252.5])


def test_the_plain_night_holds_still_but_for_the_guiding() -> None:
    sky = Sky(NightSettings())
    assert (round(sky.x[VARIABLE]), round(sky.y[VARIABLE])) == (131, 115)
    shifts = np.array([[s.transform.shift_x_px, s.transform.shift_y_px] for s in states()])
    assert shifts.std() == pytest.approx(0.3, rel=0.15)
    assert {s.transform.rotation_deg for s in states()} == {0.0}
    assert {s.transparency for s in states()} == {1.0}
    assert {s.fwhm_px for s in states()} == {4.0}


def test_all_cameras_share_the_guiding_of_the_telescope() -> None:
    sky = Sky(NightSettings())
    assert sky.transform("g", 17) == sky.transform("r", 17) != sky.transform("r", 18)


def test_variable_source_has_rms_and_lags_as_stated() -> None:
    settings = NightSettings(n_images=N)
    sky = Sky(settings)
    for name, lag in (("g", 0.0), ("r", math.pi / 2.0), ("i", math.pi)):
        frames = [sky.state(name, index) for index in range(N)]
        time_s = np.array([(s.start_unix_ms - settings.start_unix_ms) / 1000.0 + s.exposure_s / 2 for s in frames])
        flux = np.array([s.electrons[VARIABLE] for s in frames])
        phase = 2.0 * np.pi * 0.135 * time_s
        design = np.column_stack([np.ones(N), np.sin(phase), np.cos(phase)])
        mean, sine, cosine = np.linalg.lstsq(design, flux)[0]
        assert math.hypot(sine, cosine) / mean / math.sqrt(2.0) == pytest.approx(observed_rms(settings), rel=1e-9)
        assert math.remainder(math.atan2(-cosine, sine) - lag, 2.0 * math.pi) == pytest.approx(0.0, abs=1e-9)
        assert np.std([s.electrons[0] for s in frames]) == 0.0
    assert observed_rms(settings) == pytest.approx(0.01985, abs=1e-5)


def test_mean_over_exposure_is_the_integral() -> None:
    sinusoid = Sinusoid(0.1, 0.3)
    fine = np.linspace(3.0, 5.0, 200_001)
    expected = sinusoid.relative_flux(fine, "r").mean()
    assert mean_over_exposure([sinusoid], 4.0, 2.0, "r") == pytest.approx(expected, abs=1e-6)


def test_transit_and_flare_have_their_shape() -> None:
    transit = Transit(middle_s=100.0, duration_s=40.0, ingress_s=10.0, depth=0.024)
    np.testing.assert_allclose(
        transit.relative_flux(np.array([79.0, 85.0, 100.0, 121.0]), "g"), [1.0, 0.988, 0.976, 1.0]
    )
    flare = Flare(peak_s=50.0, rise_s=10.0, decay_s=20.0, amplitude=0.5)
    np.testing.assert_allclose(
        flare.relative_flux(np.array([39.0, 45.0, 50.0, 70.0]), "g"), [1.0, 1.25, 1.5, 1.0 + 0.5 / math.e]
    )
    assert flare.relative_flux(np.array([50.0]), "i") == pytest.approx(1.15)


def test_drift_covers_its_share_of_the_field() -> None:
    frames = states("drift", guiding_rms_px=0.0)
    first, last = frames[0].transform, frames[-1].transform
    way = math.hypot(last.shift_x_px - first.shift_x_px, last.shift_y_px - first.shift_y_px)
    assert way == pytest.approx(0.2 * 512)


def test_dither_jumps_every_ten_frames() -> None:
    x = np.array([s.transform.shift_x_px for s in states("dither", guiding_rms_px=0.0)])
    jumps = np.flatnonzero(np.diff(x)) + 1
    assert (jumps % 10 == 0).all()
    assert len(jumps) == N // 10 - 1
    assert 1.0 < np.abs(x).max() <= 0.03 * 512


def test_rotation_and_flip_turn_the_field() -> None:
    angles = np.array([s.transform.rotation_deg for s in states("rotation", "flip")])
    assert angles[0] == 0.0
    assert angles[N // 2 - 1] == pytest.approx(5.0, abs=0.1)
    assert angles[N // 2] == pytest.approx(-175.0, abs=0.1)  # 185 degrees
    assert angles[-1] == pytest.approx(-170.0)


def test_drift_rotation_and_flip_together_keep_all_sources_well_on_the_frame() -> None:
    """With room for a background annulus of 5.5 FWHM, so that every frame can be measured."""
    for state in states("drift", "rotation", "flip"):
        assert min(state.x.min(), state.y.min()) > 22.0
        assert max(state.x.max(), state.y.max()) < 511.0 - 22.0


def test_seeing_changes_smoothly_by_a_fair_amount() -> None:
    fwhm = np.array([s.fwhm_px for s in states("seeing")])
    assert 1.15 < fwhm.max() / fwhm.min() < 2.5
    assert np.abs(np.diff(fwhm)).max() < 0.12 * 4.0


def test_clouds_dim_all_sources_alike() -> None:
    clear, cloudy = states(), states("clouds")
    light = np.array([s.transparency for s in cloudy])
    assert light.min() == pytest.approx(0.4, abs=0.05)
    assert light[0] > 0.95
    assert np.median(light) > 0.8
    ratio = np.array([after.electrons / before.electrons for after, before in zip(cloudy, clear, strict=True)])
    np.testing.assert_allclose(ratio, np.tile(light[:, None], 6))


def test_some_frames_are_trailed_in_all_cameras() -> None:
    trails = np.array([s.trail_px for s in states("trailed")])
    assert set(trails) == {0.0, 12.0}
    assert 0.1 < (trails > 0.0).mean() < 0.3
    assert (trails == [s.trail_px for s in states("trailed", filter_name="i")]).all()


def test_leaving_takes_one_star_out_and_leaves_the_others() -> None:
    frames = states("leaving")
    outside = [(s.x > 511.5) | (s.x < -0.5) | (s.y > 511.5) | (s.y < -0.5) for s in frames]
    assert not np.any(outside[: N // 4])
    assert np.flatnonzero(outside[-1]).tolist() == [4]


def test_gaps_are_pauses_in_time_and_lose_no_frame() -> None:
    times_s = np.array([s.start_unix_ms for s in states("gaps")]) / 1000.0
    steps = np.diff(times_s)
    assert (steps > 15.0).sum() == 2
    assert (steps[steps < 15.0] == 1.0).all()


def test_transit_and_flare_are_seen_in_the_variable_source_alone() -> None:
    quiet = states(variable_rms=0.0)
    transit, flare = states("transit", variable_rms=0.0), states("flare", variable_rms=0.0)
    ratio = np.array([a.electrons / b.electrons for a, b in zip(transit, quiet, strict=True)])
    assert ratio[:, VARIABLE].min() == pytest.approx(1.0 - 0.024)
    assert (np.delete(ratio, VARIABLE, axis=1) == 1.0).all()
    assert max(a.electrons[VARIABLE] for a in flare) > 1.3 * quiet[0].electrons[VARIABLE]


def test_cameras_differ_in_scale_as_those_of_the_instrument() -> None:
    sky = Sky(NightSettings(scenarios=("cameras",)))
    assert sky.transform("g", 0).scale == 1.0
    assert sky.transform("i", 0).scale == pytest.approx(0.1397 / 0.1661)


def test_a_hundredfold_field_keeps_its_order_and_distances() -> None:
    sky = Sky(NightSettings(n_sources=300))
    rate = sky.rate_e_per_s("g")
    assert len(rate) == 300
    assert (np.diff(rate) <= 0.0).all()
    assert (round(sky.x[VARIABLE]), round(sky.y[VARIABLE])) == (131, 115)
    separation = np.hypot(sky.x[:, None] - sky.x, sky.y[:, None] - sky.y) + 1e6 * np.eye(300)
    assert separation.min() > 10.0


def test_the_same_sky_at_another_binning() -> None:
    coarse, fine = Sky(NightSettings()).state("g", 5), Sky(NightSettings(binning=2)).state("g", 5)
    np.testing.assert_allclose(fine.electrons, coarse.electrons)
    np.testing.assert_allclose(fine.x / 2.0, coarse.x, atol=0.5)
    assert fine.fwhm_px == 2.0 * coarse.fwhm_px
    assert fine.sky_e_per_px == coarse.sky_e_per_px / 4.0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"n_images": 0}, r"n_images \(0\) must be from 1 to"),
        ({"binning": 3}, r"binning \(3\) must be 1, 2, 4, 8 or 16"),
        ({"scenarios": ("rain",)}, "unknown scenario 'rain': it must be one of drift"),
        ({"filters": ("v",)}, "unknown filter 'v': it must be one of u, g, r, i, z"),
        ({"filters": ("i", "z")}, "of different cameras"),
        ({"exposure_s": 2.0}, r"exposure_s \(2.0\) must be greater than 0 and at most cadence_s \(1.0\)"),
        ({"cadence_s": float("nan")}, r"cadence_s \(nan\) must be from"),
    ],
)
def test_settings_out_of_bounds_are_refused(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        NightSettings(**given)  # type: ignore[arg-type]


def test_every_scenario_has_a_sentence() -> None:
    assert all(SCENARIOS.values())
    assert len(SCENARIOS) >= 14
