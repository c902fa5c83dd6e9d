"""Alerts of simulated nights, frame by frame through the real pipeline: the right ones, and none of a quiet night."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from simulator.settings import NightSettings, ScenarioScales
from stream.alerts import Alert, AlertSettings
from stream.errors import FrameRejectedError
from stream.messages import FrameArrived, FrameMeasured, FrameRejected
from stream.night.alert_frames import Star
from stream.night.alerts import AlertWatch
from stream.pipeline import Reference
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY
from tests.night.watched import QUIET
from tests.nights import SMALL, SimulatedNight, process

LIVE = msgspec.structs.replace(SMALL, n_images=90, n_sources=8, start_unix_ms=1_795_000_000_000, cadence_s=2.0)


Fault = Callable[[NDArray[np.float64]], NDArray[np.float64]]
FAULTY = range(20, 32)


def alerts_of(
    folder: Path, settings: NightSettings, *, target: int = 2, fault: Fault | None = None, late_s: float = 0.0
) -> list[Alert]:
    """All that the alerts of the first key say of a night, told as it happens; source `target` is the target.

    The pixels of the frames `FAULTY` are changed by `fault`; all files are written `late_s` later than they should be.
    """
    night = SimulatedNight(folder, settings)
    catalog = night.catalog()
    reference, hint = Reference.from_catalog(catalog, night.recipe), None
    watch = AlertWatch(AlertSettings())
    inner = [n for n, place in enumerate(catalog.positions(), start=1) if 25.0 < min(place) <= max(place) < 230.0]
    numbers = dict.fromkeys((target, *inner[:5]))
    stars = sorted((Star(number, number == target) for number in numbers), key=lambda star: not star.is_target)
    watch.change_stars({catalog.key: tuple(stars)}, 0.0)
    for index in range(settings.n_images):
        frame = night.frame(index)
        if fault is not None and index in FAULTY:
            counts = fault(frame.pixels.astype(np.float64)).clip(-32768, 32767)
            frame = dataclasses.replace(frame, pixels=counts.round().astype(frame.pixels.dtype))
        unix_s = (frame.facts.time_mjd_utc - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY + 0.5 * settings.exposure
        unix_s += late_s
        mjd, mtime_ns = frame.facts.time_mjd_utc, round(1e9 * (unix_s + 0.03))
        watch.note_arrival(index, FrameArrived(frame.name, 1, mtime_ns, unix_s + 0.05, catalog.key, mjd), unix_s)
        outcome: FrameMeasured | FrameRejected
        try:
            measurement = process(frame, reference, hint)
            hint = measurement.transform or hint
            outcome = measurement.to_message(index)
        except FrameRejectedError as error:
            outcome = FrameRejected(index, frame.name, error.reason, str(error), catalog.key)
        watch.note_outcomes([outcome], unix_s + 0.1, unix_s + 0.1)
        watch.tick(msgspec.structs.replace(QUIET, unix_s=unix_s + 0.2), unix_s + 0.2)
    return watch.board.take_changes()


def titles(alerts: list[Alert]) -> set[str]:
    """Titles of all that were raised."""
    return {alert.title for alert in alerts if alert.is_open}


@pytest.mark.parametrize("seed", range(2))
def test_a_quiet_night_raises_nothing(seed: int, tmp_path: Path) -> None:
    quiet = msgspec.structs.replace(LIVE, seed=seed, scenarios=("hot_pixels", "cosmic_rays", "trailed"))
    assert alerts_of(tmp_path, quiet) == []


def test_clouds_are_told_from_their_coming_to_their_going(tmp_path: Path) -> None:
    alerts = alerts_of(tmp_path, msgspec.structs.replace(LIVE, scenarios=("clouds",)))
    assert titles(alerts) == {"clouds 1:g"}
    assert not alerts[-1].is_open
    raised, ended = alerts[:2]
    assert raised.number == ended.number
    assert raised.value < raised.threshold < 0.85
    assert ended.until_unix_s > raised.since_unix_s + 10.0


def test_a_star_that_saturates_is_told_of_as_target_and_not_otherwise(tmp_path: Path) -> None:
    alerts = alerts_of(tmp_path, msgspec.structs.replace(LIVE, n_images=20, scenarios=("saturation",)), target=1)
    assert titles(alerts) == {"saturated 1:g#1"}
    assert "the target, source 1 of 1:g, is saturated (peak 65" in alerts[0].sentence


def test_stars_that_drift_off_the_field_are_told_of(tmp_path: Path) -> None:
    scales = ScenarioScales(drift_fraction=0.45)
    alerts = alerts_of(tmp_path, msgspec.structs.replace(LIVE, n_images=60, scenarios=("drift",), scales=scales))
    assert titles(alerts)
    assert all(title.startswith("at the edge 1:g#") for title in titles(alerts))


def brighter(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lamp of the dome is on."""
    return counts + 300.0


def wider(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The focus is lost; charge stays what it was."""
    return np.asarray(gaussian_filter(counts, 2.5, mode="nearest"))


def covered(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The dome is before the telescope: noise and no star."""
    return np.random.default_rng(5).normal(np.median(counts), 5.0, counts.shape)


def elsewhere(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The telescope points at another field: stars that are none of the catalog."""
    tiles = counts.reshape(8, 32, 8, 32).swapaxes(1, 2).reshape(64, 32, 32)
    mixed = np.random.default_rng(5).permutation(tiles)
    return mixed.reshape(8, 8, 32, 32).swapaxes(1, 2).reshape(counts.shape)


@pytest.mark.parametrize(
    ("fault", "title", "over"),
    [
        (brighter, "sky jumped 1:g", "it is near what was usual lately"),
        (wider, "seeing jumped 1:g", "it is near what was usual lately"),
        (covered, "frames rejected 1:g", "frames are measured"),
        (elsewhere, "alignment lost 1:g", "frames are aligned again"),
    ],
)
def test_what_happens_to_frames_is_told_of_while_it_lasts(
    fault: Fault, title: str, over: str, *, tmp_path: Path
) -> None:
    alerts = alerts_of(tmp_path, msgspec.structs.replace(LIVE, n_images=55), fault=fault)
    assert title in titles(alerts)
    (ended,) = [alert for alert in alerts if alert.title == title and not alert.is_open]
    assert ended.ended == over
    assert ended.value >= ended.threshold
    assert 8.0 < ended.until_unix_s - ended.since_unix_s < 90.0


def test_a_clock_of_the_camera_that_is_ahead_is_told_of(tmp_path: Path) -> None:
    alerts = alerts_of(tmp_path, msgspec.structs.replace(LIVE, n_images=80), late_s=-3.0)
    assert titles(alerts) == {"clock off 1:g"}
    assert "ahead of" in alerts[0].sentence
