"""What raises an alert and what ends it: the pure half, on nights of numbers."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.alerts import TITLES, Alert, AlertKind, AlertSettings, alert_settings
from stream.errors import ConfigurationError, Reason
from stream.flags import Flag
from stream.messages import FrameArrived, FrameToMeasure
from stream.night.alert_frames import Star
from stream.night.alerts import AlertWatch, DiskRoom
from tests.night.ledger_rows import make_measured
from tests.night.watched import STARS, START_UNIX_S, WatchedNight

FULL = (DiskRoom("/data", 1e9),)
FILLING = (DiskRoom("/data", 5e10, 600.0),)


def queue_grows(night: WatchedNight) -> None:
    for n in range(0, 240, 4):
        night.number += 1
        night.now_s += 0.5
        night.arrive("1:g")
        night.tick(n_queued=n)


def clock_runs_behind(night: WatchedNight) -> None:
    night.clock_off_s = 3.0
    night.frames(110)


def end_clock(night: WatchedNight) -> None:
    night.clock_off_s = 0.0
    night.frames(60)


def reject_many(night: WatchedNight) -> None:
    for _ in range(6):
        night.reject()


def restart(night: WatchedNight) -> None:
    for _ in range(5):
        night.number += 1
        night.now_s += 1.0
        night.arrive("1:g")
        night.tick(n_worker_restarts=1)


def silence(night: WatchedNight) -> None:
    night.wait(10.0)


def frames(n: int, **changes: Any) -> Callable[[WatchedNight], None]:
    return lambda night: night.frames(n, **changes)


def disk(rooms: tuple[DiskRoom, ...]) -> Callable[[WatchedNight], None]:
    def fill(night: WatchedNight) -> None:
        for _ in range(3):
            night.tick(rooms=rooms)

    return fill


def restarted_frames(night: WatchedNight) -> None:
    """The count of restarts stays what it is; frames go on."""
    for _ in range(310):
        night.number += 1
        night.now_s += 1.0
        night.arrive("1:g")
        night.tick(n_worker_restarts=1)


CAUSES: dict[str, tuple[Callable[[WatchedNight], None], Callable[[WatchedNight], None], str]] = {
    "no frames 1": (silence, frames(3), r"no frame of camera 1 for 6 s, with one each 1 s before \(threshold 5 s\)"),
    "frames rejected 1:g": (reject_many, frames(5), r"5 frames of 1:g in a row \(threshold 5\), the last: \d+.fit is"),
    "alignment lost 1:g": (
        frames(8, flags=int(Flag.UNALIGNED)),
        frames(5),
        r"3 frames of 1:g in a row could not be aligned \(threshold 3\)",
    ),
    "saturated 1:g#2": (
        frames(5, source_flags={2: int(Flag.SATURATED)}),
        frames(45),
        r"the target, source 2 of 1:g, is saturated \(peak 0 counts\) on 3 of the last 10 frames \(threshold 3\)",
    ),
    "at the edge 1:g#3": (
        frames(5, source_flags={3: int(Flag.NEAR_EDGE)}),
        frames(45),
        r"the comparison star, source 3 of 1:g, is at the edge of the frame or beyond \(x 0, y 0\) on 3 of the last 10",
    ),
    "clouds 1:g": (
        frames(30, transparency=0.6),
        frames(40),
        r"transparency of 1:g 0\.[56]\d, \d\d % below the 1\.0\d of the last 40 minutes \(threshold 20 %\)",
    ),
    "seeing jumped 1:g": (
        frames(30, fwhm_px=8.0),
        frames(60),
        r"stars of 1:g are [78]\.\d px wide \(FWHM\), [12]\.\d times the 4\.\d px .*\(threshold 1.5 times\)",
    ),
    "sky jumped 1:g": (
        frames(30, sky_e_per_px=250.0),
        frames(60),
        r"sky of 1:g [45]\d\d electrons a second and pixel, where the last 15 minutes had 20\d \(threshold 30\d\)",
    ),
    "queue grows": (queue_grows, frames(40), r"\d+ frames wait, \d+ more than half a minute ago \(threshold 50\)"),
    "workers restarted": (
        restart,
        restarted_frames,
        r"workers died and were started again 1 time in five minutes \(threshold 1\)",
    ),
    "disk nearly full /data": (disk(FULL), frames(5), r"1\.0 GB are free in /data \(threshold 2 GB\)"),
    "clock off 1:g": (clock_runs_behind, end_clock, r"headers of 1:g are 2\.[56] s behind .*\(threshold 1 s\)"),
}


@pytest.mark.parametrize("title", CAUSES)
def test_a_cause_raises_its_alert_alone_and_the_alert_ends_with_it(title: str) -> None:
    cause, cure, sentence = CAUSES[title]
    night = WatchedNight()
    night.frames(70)
    assert night.raised() == []
    cause(night)
    assert night.raised() == [title]
    (alert,) = night.watch.board.open_alerts()
    assert re.search(sentence, alert.sentence), alert.sentence
    assert math.isfinite(alert.value)
    assert math.isfinite(alert.threshold)
    assert alert.since_unix_s > START_UNIX_S + 70.0 - 5.0

    cure(night)

    assert night.open() == []
    assert night.raised() == [title]
    ended = night.told[-1]
    assert ended.until_unix_s >= alert.since_unix_s
    assert ended.ended
    assert msgspec.structs.replace(ended, until_unix_s=math.nan, ended="").line(0.0) == alert.line(0.0)


def test_every_kind_has_a_cause_here_and_a_title() -> None:
    titles = {title for kind in AlertKind for title in CAUSES if title.startswith(TITLES[kind])}
    assert titles == set(CAUSES)
    assert len(CAUSES) == len(AlertKind)


STEPS = ("good", "cloud", "wide", "bright", "unaligned", "rejected", "keyless", "saturated", "edge", "pause", "queue")


def take(night: WatchedNight, step: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "cloud": {"transparency": 0.3},
        "wide": {"fwhm_px": 9.0},
        "bright": {"sky_e_per_px": 900.0},
        "unaligned": {"flags": int(Flag.UNALIGNED), "transparency": math.nan},
        "saturated": {"source_flags": {1: int(Flag.SATURATED)}},
        "edge": {"source_flags": {2: int(Flag.OFF_FRAME)}},
    }
    if step == "rejected":
        night.reject()
    elif step == "keyless":
        night.reject(None)
    elif step == "pause":
        night.wait(20.0)
    elif step == "queue":
        night.wait(5.0, n_queued=night.number)
    else:
        night.frames(1, **changes.get(step, {}))


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 40)), max_size=12),
    st.permutations(range(30)),
)
def test_no_order_of_events_leaves_an_alert_without_end(steps: list[tuple[str, int]], order: list[int]) -> None:
    night = WatchedNight(cadence_s=2.0)
    night.frames(40)
    for step, times in steps:
        for _ in range(times):
            take(night, step)
    # Late frames in any order of time, then a good stretch.
    for place in order:
        night.number += 1
        night.measure(60270.1 + place / 86400.0, "1:g", {}, transparency=1.0, fwhm_px=4.0, sky_e_per_px=100.0)
    night.frames(600)
    assert night.open() == []
    by_number: dict[int, list[Alert]] = {}
    for alert in night.told:
        by_number.setdefault(alert.number, []).append(alert)
    for told in by_number.values():
        assert [alert.is_open for alert in told] == [True, False]
        assert told[1].until_unix_s >= told[0].since_unix_s


def test_at_the_threshold_an_alert_does_not_flap() -> None:
    night = WatchedNight()
    night.frames(100)
    random = np.random.default_rng(5)
    for _ in range(600):
        night.frame(transparency=random.normal(0.8, 0.04), fwhm_px=4.0, sky_e_per_px=100.0)
    assert len(night.told) <= 1


def test_clouds_that_stay_remain_an_alert_and_a_setting_star_is_none() -> None:
    night = WatchedNight(cadence_s=30.0)
    night.frames(60)
    night.frames(100, transparency=0.5)
    assert night.open() == ["clouds 1:g"]

    setting = WatchedNight(cadence_s=30.0)
    for step in range(480):
        setting.frames(1, transparency=1.0 - 0.15 * step / 120.0)
    assert setting.raised() == []


def test_quiet_nights_raise_nothing() -> None:
    """Sixteen nights: noise, slow clouds of 5 %, seeing of 3.4 to 4.6 px, frames of nonsense, cosmic rays."""
    raised = []
    for seed in range(16):
        random = np.random.default_rng(seed)
        night = WatchedNight(cadence_s=(0.5, 2.0, 10.0, 60.0)[seed % 4])
        phase = random.uniform(0.0, 6.0)
        for index in range(400):
            is_odd = random.random() < 0.02
            turn = math.sin(phase + index / 60.0)
            night.frame(
                transparency=(1.0 + 0.05 * turn) * random.normal(1.0, 0.04) * (0.3 if is_odd else 1.0),
                fwhm_px=(4.0 + 0.6 * turn) * random.normal(1.0, 0.06) * (2.5 if is_odd else 1.0),
                sky_e_per_px=(60.0 + 10.0 * turn) * random.normal(1.0, 0.05) * (4.0 if is_odd else 1.0),
                source_flags={2: int(Flag.SATURATED)} if random.random() < 0.005 else {},
            )
        raised += night.raised()
    assert raised == []


def test_a_night_that_waited_for_its_disk_does_not_call_that_silence() -> None:
    night = WatchedNight()
    night.frames(20)
    night.now_s += 30.0
    night.tick()
    night.arrive("1:g")
    night.frames(20)
    assert night.raised() == []
    night.wait(100.0)
    assert night.raised() == ["no frames 1"]


def test_a_rhythm_with_pauses_is_learnt() -> None:
    night = WatchedNight()
    for _ in range(6):
        night.frames(9)
        night.wait(12.0)
    n_first = len(night.raised())
    for _ in range(6):
        night.frames(9)
        night.wait(12.0)
    assert 0 < n_first <= 3
    assert len(night.raised()) == n_first


def arrivals(n: int, *, mtime_unix_s: float, step_s: float, pace_s: float) -> list[tuple[FrameArrived, float]]:
    found = []
    for index in range(n):
        now_s = index * pace_s
        mjd = 60270.0 + index * step_s / 86400.0
        written = mtime_unix_s + now_s
        found.append((FrameArrived(f"{index}.fit", 1, round(written * 1e9), START_UNIX_S + now_s, "1:g", mjd), now_s))
    return found


@pytest.mark.parametrize(
    ("age_s", "pace_s"), [(1e6, 1.0), (0.0, 0.01), (0.0, 0.05)], ids=["archived", "just copied", "replayed"]
)
def test_the_end_of_an_archived_or_replayed_night_is_no_alert(age_s: float, pace_s: float) -> None:
    night = WatchedNight()
    for arrival, now_s in arrivals(100, mtime_unix_s=START_UNIX_S - age_s, step_s=1.0, pace_s=pace_s):
        night.now_s = now_s
        night.watch.note_arrival(1, arrival, now_s)
        night.tick()
    night.wait(100.0)
    assert night.raised() == []


@pytest.mark.parametrize("off_s", [1e7, -1e7, 0.0])
def test_times_of_files_that_say_nothing_of_the_clock_raise_nothing(off_s: float) -> None:
    night = WatchedNight(clock_off_s=off_s)
    night.frames(100)
    assert night.raised() == []
    for drift in (1.0, 0.1, 0.05):  # replays and backlogs that are written at nearly the pace of the night
        first = night.number
        for _ in range(200):
            night.clock_off_s = 3600.0 - drift * (night.number - first)
            night.frames(1)
    assert night.raised() == []


def test_a_clock_ahead_of_the_files_and_a_slow_readout_are_told_apart() -> None:
    ahead = WatchedNight(clock_off_s=-1.6, cadence_s=10.0)
    ahead.frames(80)
    assert ahead.raised() == ["clock off 1:g"]
    assert "ahead of the times" in ahead.told[0].sentence
    slow = WatchedNight(clock_off_s=6.0, cadence_s=10.0)
    slow.frames(60)
    assert slow.raised() == []


def test_planes_of_one_file_are_one_arrival() -> None:
    night = WatchedNight()
    for _ in range(30):
        night.wait(20.0)
        for plane in range(10):
            night.number += 1
            unix_s = START_UNIX_S + night.now_s
            mjd = 60270.0 + (night.now_s - 20.0 + 2.0 * plane) / 86400.0
            arrival = FrameArrived(f"{night.number}", 1, round(unix_s * 1e9), unix_s, "1:g", mjd)
            night.watch.note_arrival(night.number, arrival, night.now_s)
            night.measure(mjd, "1:g", {}, transparency=1.0)
    assert night.raised() == []


def test_a_backlog_and_a_thousand_files_at_once_are_no_growing_queue() -> None:
    night = WatchedNight()
    for n in range(20_000, 0, -200):
        night.tick(n_queued=n)
        night.now_s += 0.5
    night.wait(40.0)
    for n in [*range(1000, 0, -20), *[0] * 20]:
        night.tick(n_queued=n)
        night.now_s += 0.5
    assert "queue grows" not in night.raised()


def test_files_that_are_no_science_are_not_counted_and_one_bad_camera_is() -> None:
    night = WatchedNight()
    for _ in range(20):
        night.reject("1:g", Reason.NOT_SCIENCE)
    assert night.raised() == []
    for _ in range(8):
        night.frames(2)
        night.reject("2:r")
        night.reject(None)
    assert sorted(night.open()) == ["frames rejected", "frames rejected 2:r"]
    night.frames(20)
    assert night.open() == ["frames rejected 2:r", "no frames 2"]


def test_what_is_said_of_a_filter_that_is_not_observed_any_more_ends() -> None:
    night = WatchedNight(cadence_s=10.0)
    for _ in range(6):
        night.reject("1:g")
    assert night.open() == ["frames rejected 1:g"]
    for _ in range(70):
        night.frame("1:r")
    assert night.open() == []
    assert night.told[-1].ended == "1:g was not observed for ten minutes, its camera was"


def test_a_star_that_is_no_longer_chosen_has_no_alert() -> None:
    night = WatchedNight()
    night.frames(20)
    night.frames(5, source_flags={2: int(Flag.SATURATED)})
    night.watch.change_stars({"1:g": (Star(1, True),)}, START_UNIX_S + night.now_s)
    night.frames(5, source_flags={2: int(Flag.SATURATED)})
    assert night.open() == []
    assert night.told[-1].ended == "it is neither target nor comparison star any more"


def test_a_night_that_was_killed_goes_on_with_its_alerts() -> None:
    first = WatchedNight()
    first.frames(70)
    first.frames(20, transparency=0.5)
    (alert,) = first.watch.board.open_alerts()

    second = WatchedNight(now_s=first.now_s, number=first.number)
    second.watch = AlertWatch(AlertSettings(), restored=[alert], last_number=alert.number)
    second.watch.change_stars(STARS, START_UNIX_S)
    second.frames(40, transparency=0.5)
    assert second.open() == ["clouds 1:g"]
    assert second.raised() == []
    second.frames(40, fwhm_px=8.0)
    second.frames(60)
    assert next((told.number, told.title) for told in second.told if not told.is_open) == (1, "clouds 1:g")
    second.watch.finish(START_UNIX_S + second.now_s)
    assert second.open() == []


def test_what_was_usual_is_learnt_from_an_earlier_run() -> None:
    night = WatchedNight()
    measured = make_measured(FrameToMeasure(1, "a"), 1)
    usual = {"flags": 0, "transparency": 1.0, "fwhm_px": 4.0, "sky_e_per_px": 200.0}
    night.watch.learn(
        msgspec.structs.replace(measured, time_mjd_utc=60270.0 + index / 86400.0, **usual) for index in range(100)
    )
    night.frames(20, transparency=0.5)
    assert night.raised() == ["clouds 1:g"]


def test_a_finite_night_knows_no_silence() -> None:
    night = WatchedNight()
    night.watch = AlertWatch(AlertSettings(), live=False)
    night.frames(50)
    night.wait(100.0)
    clock_runs_behind(night)
    queue_grows(night)
    assert night.raised() == []


def test_a_disk_that_fills_is_told_in_time() -> None:
    night = WatchedNight()
    night.tick(rooms=FILLING)
    night.tick(rooms=FILLING)
    (alert,) = night.watch.board.open_alerts()
    assert alert.sentence == "50.0 GB are free in /data, full in 10 min at this rate (threshold 20 min)"


def test_thresholds_are_read_from_texts() -> None:
    assert alert_settings(["clouds_fraction=0.7", "queued_frames = 5"]) == AlertSettings(
        clouds_fraction=0.7, queued_frames=5
    )
    wrong = {
        "clouds=0.7": r"alert threshold 'clouds=0.7' must be NAME=VALUE with one of silent_cadences, ",
        "clouds_fraction": "must be NAME=VALUE",
        "clouds_fraction=much": "alert threshold clouds_fraction=much: Expected `float`",
        "clouds_fraction=1": r"alert threshold clouds_fraction \(1.0\) must be from 0.05 to 0.95",
        "rejected_frames=0": r"alert threshold rejected_frames \(0\) must be from 0.1",
        "sky_factor=nan": r"alert threshold sky_factor \(nan\) must be from",
    }
    for text, sentence in wrong.items():
        with pytest.raises(ConfigurationError, match=sentence):
            alert_settings([text])


def test_a_frame_costs_little() -> None:
    night = WatchedNight()
    night.watch.change_stars({"1:g": tuple(Star(number, number == 1) for number in range(1, 4))}, START_UNIX_S)
    night.frames(100)
    measured = make_measured(FrameToMeasure(1, "a"), 1)
    frames = [msgspec.structs.replace(measured, time_mjd_utc=60270.0 + i / 86400.0, flags=0) for i in range(2000)]
    best_s = math.inf
    for _ in range(5):
        started = time.perf_counter()
        for frame in frames:
            night.watch.note_outcomes([frame], 0.0, START_UNIX_S)
        best_s = min(best_s, (time.perf_counter() - started) / len(frames))
    assert best_s < 100e-6, f"{1e6 * best_s:.1f} us a frame"
