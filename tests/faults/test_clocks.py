"""Clocks that jump, other time zones, frames out of order, midnight and leap seconds: no number depends on them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from simulator.night import generate_observations
from simulator.settings import NightSettings
from stream.config import Recipe
from stream.instruments import OPTICAM_MX
from stream.messages import FrameMeasured
from stream.night.ledger import LedgerReader
from stream.night.run import NightOptions, run_night
from tests.faults.comparison import differences, outcomes_of
from tests.faults.conftest import Report, names
from tests.faults.whole_night import SEED, SimulatedNight, Watch, put
from tests.night.waiting import wait_until

pytestmark = pytest.mark.faults

_ROOT = Path(__file__).resolve().parents[2]
_HOUR_S = 3600.0
_SUMMER_TIME_ENDS_UNIX_S = 1792890000.0  # 2026-10-25T01:00 UTC: the clocks of Madrid go from 3:00 back to 2:00
CLOCK = '''
"""Sets the clock of a process and its children: seconds are added that stand in a file."""

import os
import time

_real = time.time


def shifted():
    try:
        with open(os.environ["CLOCK_SHIFT"]) as file:
            return _real() + float(file.read() or 0.0)
    except OSError:
        return _real()


time.time = shifted
'''


def set_clock(place: Path, shift_s: float) -> None:
    """Set the clock of all processes that read `place`, at once."""
    written = place.with_suffix(".new")
    written.write_text(str(shift_s))
    written.rename(place)


def test_clocks_that_jump_and_frames_out_of_order_change_nothing(
    night: SimulatedNight, tmp_path: Path, report: Report
) -> None:
    """The clock is set back by an hour, forward by a day, and to where summer time ends; frames come shuffled."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "sitecustomize.py").write_text(CLOCK)
    place = tmp_path / "shift"
    set_clock(place, 0.0)
    environment = {
        "PYTHONPATH": f"{tmp_path / 'parts'}:{_ROOT}",
        "CLOCK_SHIFT": str(place),
        "TZ": "Europe/Madrid",
    }
    frames = [night.frames[index] for index in np.random.default_rng(SEED).permutation(120)]
    with Watch(tmp_path / "frames", tmp_path / "out", night.catalogs, environment=environment) as watch:
        put(frames[:30], watch.folder)
        watch.wait(30)
        for number, shift_s in enumerate((-_HOUR_S, 24.0 * _HOUR_S), 1):
            set_clock(place, shift_s)
            put(frames[30 * number : 30 * (number + 1)], watch.folder)
            watch.wait(30 * (number + 1))
        set_clock(place, _SUMMER_TIME_ENDS_UNIX_S - 1.0 - time.time())
        put(frames[90:105], watch.folder)
        watch.wait(105)
        end_s = _SUMMER_TIME_ENDS_UNIX_S
        wait_until(lambda: end_s < clock_of(watch.out) < end_s + 600.0, 30.0, "the hour that comes twice")
        put(frames[105:], watch.folder)
        watch.wait(120)
        log = watch.log()
        assert watch.stop().status == 0
    assert log.count("ended with status") == 0
    wrong = differences(watch.out, night.undisturbed, names(tuple(frames)))
    report("clocks that jump, frames out of order", watch.out, n_faults=4, n_in=len(frames), wrong=wrong)


def clock_of(out: Path) -> float:
    """When the night stored its health last, by its own clock; 0 before it did."""
    reader = LedgerReader(out)
    status = reader.status()
    reader.close()
    return 0.0 if status is None else status.unix_s


def with_time(content: bytes, stamp: str) -> bytes:
    """A frame with another time in its header."""
    start = content.index(b"UT      =")
    return content[:start] + f"UT      = '{stamp}'".ljust(80).encode() + content[start + 80 :]


@pytest.mark.slow
def test_a_night_through_midnight_and_a_leap_second_loses_no_frame_and_no_second(tmp_path: Path) -> None:
    """The clock of the camera shows 23:59:60 on 31 December 2016; it is counted on into the next day."""
    folder = tmp_path / "frames"
    start_unix_s = 1483228790  # 2016-12-31T23:59:50 UTC
    settings = NightSettings(seed=SEED, brightness=0.4, start_unix_ms=1000 * start_unix_s, filters=("g",))
    generate_observations(folder, 20, circular_aperture=False, binning_scale=16, settings=settings)
    frames = sorted(folder.glob("*.fit"))
    contents = {path: path.read_bytes() for path in frames}
    last = [path for path in frames if b"2016-12-31 23:59:59" in contents[path]]
    assert len(last) == 1
    leap = folder / f"leap-{last[0].name}"
    leap.write_bytes(with_time(contents[last[0]], "2016-12-31 23:59:60.500"))
    counts = run_night(
        NightOptions(folder, tmp_path / "out", 1, finite=True), Recipe(instrument=OPTICAM_MX()), stop=threading.Event()
    )
    assert (counts.n_measured, counts.n_rejected, counts.n_pending) == (21, 0, 0)
    outcomes = outcomes_of(tmp_path / "out")
    times = {path: one.time_mjd_utc for path, one in outcomes.items() if isinstance(one, FrameMeasured)}
    leap_mjd = times.pop(leap.name)
    steps_s = 86400.0 * np.diff(sorted(times.values()))
    np.testing.assert_allclose(steps_s, 1.0, atol=2e-3)
    half_exposure_s = 86400.0 * (times[last[0].name] - 57754.0) + 1.0
    assert 86400.0 * (leap_mjd - 57754.0) == pytest.approx(0.5 + half_exposure_s, abs=2e-3)
