"""The benchmark: what we compare with measures well, what is timed is what the night runs, and limits are limits."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.__main__ import report
from benchmarks.baseline import Baseline, read_and_convert, run_baseline
from benchmarks.budgets import Findings, budget_section
from benchmarks.camera import SETTINGS, Cameras
from benchmarks.limits import READ_NOISE_E
from benchmarks.long_night import (
    LedgerCost,
    LongNight,
    Look,
    ledger_section,
    lengthen,
    look_section,
    memory_section,
)
from benchmarks.photometry_table import COLUMNS, Row, noise_section
from benchmarks.photutils_loop import StarsOfFirstFrame, measure_with_photutils
from benchmarks.running import ProcessUse
from benchmarks.sample_frames import GZIPPED, TILED, Case, make_frames
from benchmarks.sections import SOAK_TITLE, Section, machine, page, section_of, with_section
from benchmarks.service import LatencySeries, Rate, latency_section
from benchmarks.soak import Soak
from benchmarks.stage_table import LARGE, LEAST_RATIO, SMALL, StageTable
from benchmarks.stages import Effort, HotPath, StageTimes, measure_stages
from benchmarks.startup import StartUp
from benchmarks.steady_night import Sample, Stretch, highest_rate
from simulator.night import simulate_night
from simulator.settings import NightSettings
from simulator.truth import load_truth
from stream.config import APERTURE_LABEL
from stream.instruments import OPTICAM_MX
from stream.measure.frames import read_frame
from stream.messages import source_columns
from stream.night.ledger import Ledger, LedgerReader
from tests.night.ledger_rows import make_arrival

TIMES = StageTimes(0.2, 0.0, 0.5, 1.0, 0.1, 0.1, total=2.0, floor=0.2, baseline=60.0)


def test_the_photutils_loop_measures_the_truth(tmp_path: Path) -> None:
    """A comparison with a loop that does badly would say nothing."""
    simulate_night(tmp_path, NightSettings(n_images=6, filters=("r",), seed=4))
    truth, key = load_truth(tmp_path), "2:r"
    first = np.column_stack([truth.column("x", key)[0], truth.column("y", key)[0]])
    stars = StarsOfFirstFrame(first, float(truth.column("fwhm_px", key)[0, 0]), READ_NOISE_E[key])
    names = truth.column("file", key)[:, 0]
    found = measure_with_photutils([tmp_path / str(name) for name in names], stars)
    electrons = truth.column("electrons", key)
    assert found.flux.shape == electrons.shape
    assert found.core_s > 0.0
    pulls = (found.flux / 0.998 - electrons) / found.flux_err
    assert np.abs(pulls).max() < 5.0
    assert found.flux.mean(axis=0)[:4] == pytest.approx(electrons.mean(axis=0)[:4], rel=0.01)


@pytest.mark.parametrize("storage", [GZIPPED, TILED])
def test_the_baseline_measures_what_this_program_measures(tmp_path: Path, storage: str) -> None:
    frames = make_frames(tmp_path, Case(512, 6, storage), 3)
    theirs = run_baseline(Baseline(frames), frames.paths[1:])
    way = HotPath(frames)
    ours = [message.source_table() for message in way.process_all(way.read_all())[1:]]
    columns = source_columns(way.recipe.labels())
    row = columns.index(f"{APERTURE_LABEL}_flux")
    for found, table in zip(theirs, ours, strict=True):
        flux, error = table[row], table[row + 1]
        assert np.abs((found.flux - flux) / error).max() < 1.0
        assert found.flux_err == pytest.approx(error, rel=0.1)


def test_the_floor_holds_the_counts_of_the_frame(tmp_path: Path) -> None:
    for storage in ("16-bit", GZIPPED, TILED):
        path = make_frames(tmp_path, Case(128, 6, storage), 1).paths[0]
        frame = read_frame(path, path.name, OPTICAM_MX())
        floor = read_and_convert(path)
        assert floor.dtype == np.float32
        assert floor == pytest.approx(frame.pixels * frame.bscale + frame.bzero)


def test_every_stage_of_a_case_is_timed_with_masters_and_cosmic_rays(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, Case(128, 8, calibrated=True, cleaned=True), 3)
    assert frames.calibration is not None
    times = measure_stages(frames, tmp_path / "ledger", Effort(passes=1, baseline_frames=1, baseline_passes=1))
    assert min(times.read, times.align, times.measure, times.commit, times.publish) > 0.0
    assert times.total > times.floor > 0.0
    assert times.baseline_over_total == times.baseline / times.total
    reader = LedgerReader(tmp_path / "ledger")
    assert reader.counts().n_measured == 303
    reader.close()


def test_a_ratio_below_its_limit_fails_and_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    least = LEAST_RATIO[SMALL]
    slow = StageTable({SMALL: with_ratio(0.99 * least), LARGE: with_ratio(2.0 * LEAST_RATIO[LARGE])})
    assert report(slow) == 1
    assert capsys.readouterr().err == (
        f"error: 512 x 512 with 6 sources: the baseline takes {0.99 * least:.1f} times as long as file to row: "
        f"{least:g} is required\n"
    )
    assert report(StageTable({case: with_ratio(1.01 * ratio) for case, ratio in LEAST_RATIO.items()})) == 0


def with_ratio(ratio: float) -> StageTimes:
    return StageTimes(0.2, 0.0, 0.5, 1.0, 0.1, 0.1, total=2.0, floor=0.2, baseline=2.0 * ratio)


def test_the_tables_show_ratios_and_slopes() -> None:
    more = StageTimes(0.2, 0.0, 0.5, 5.0, 0.1, 0.1, total=2.0 + 44 * 8 * 0.010, floor=0.2, baseline=60.0)
    table = StageTable({Case(512, 6): TIMES, Case(512, 50): more})
    assert table.section().rows[0][-2:] == ("10.0", "30.0")
    assert table.slopes().rows == (("512", "6 to 50", "10.0"),)


def test_budgets_are_met_or_missed_by_what_was_measured() -> None:
    seconds = np.full(100, 0.012)
    small = StageTimes(0.2, 0.0, 0.5, 1.0, 0.1, 0.1, total=1.9, floor=0.1, baseline=60.0)
    found = Findings(
        stages=StageTable({SMALL: small}),
        rates=[Rate(1, 500, 900.0, 0.1, 0.9), Rate(2, 500, 350.0, 0.1, 0.9)],
        latencies=[LatencySeries(30.0, seconds, seconds, {}, ()), LatencySeries(3.0, seconds, seconds, {}, ())],
        start_up=StartUp(0.4, 2.1, 2.2, 3.0),
    )
    rows = {row[0]: row[1:] for row in budget_section(found).rows}
    words = "512 x 512, 6 sources, file to row"
    assert rows[f"baseline over {words}"] == ("at least 30", "31.6", "met")
    assert rows[f"{words}, over the floor"] == ("at most 10", "19", "missed")
    assert rows["rate of the service, 2 workers"] == ("at least 400 frames/s", "350 frames/s", "missed")
    assert rows["closed file to published message at 30 frames/s, p50"] == ("at most 10 ms", "12 ms", "missed")
    assert rows["closed file to published message at 30 frames/s, p99"] == ("at most 50 ms", "12 ms", "met")
    assert rows["a worker is ready"] == ("at most 2 s", "2.1 s", "missed")
    assert rows["the page is served, after `opticam-live watch`"] == ("at most 3 s", "3 s", "met")
    assert len(rows) == 9


def test_long_nights_have_budgets_for_memory_and_growth() -> None:
    def live(n_rows: int, core_ms: float, memory_mb: float) -> tuple[int, LatencySeries]:
        uses = [ProcessUse(role, 1.0, memory_mb) for role in ("night", "worker", "worker", "page")]
        cores = {"night": 1.0, "worker": core_ms, "page": 3.0}
        return n_rows, LatencySeries(30.0, np.zeros(3), np.zeros(3), cores, uses)

    cost = LedgerCost(100_000, 0.05, 1500.0, 0.5, 250.0, 1.5)
    night = LongNight([cost, cost], [live(1000, 4.0, 100.0), live(100_000, 4.6, 240.0)])
    met = {row[0]: row[3] for row in budget_section(Findings(night=night)).rows}
    assert met["core time of night and workers a frame, 100000th over 1000th frame"] == "missed"
    assert met["memory of the worker process, up to 100000 frames"] == "missed"
    assert met["memory of the night process, up to 100000 frames"] == "met"
    assert met["the page of 100000 frames answers, after `opticam-live serve`"] == "met"
    assert ledger_section(night).rows[1][:3] == ("100000", "0.050", "1500")
    assert [row[:2] for row in memory_section(night).rows[:3]] == [
        ("1000", "night"),
        ("1000", "worker"),
        ("1000", "page"),
    ]


def test_a_night_is_lengthened_through_its_ledger(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, Case(128, 6), 4)
    way, out = HotPath(frames), tmp_path / "out"
    out.mkdir()
    messages = way.process_all(way.read_all())
    ledger = Ledger(out, way.recipe, folder=tmp_path)
    try:
        ledger.save_catalog(frames.catalog)
        cameras = [msgspec.structs.replace(messages[0], key=key) for key in ("1:g", "2:r", "3:i")]
        entered = ledger.enter([make_arrival(number) for number in range(3)])
        ledger.commit(
            [
                msgspec.structs.replace(one, frame_id=frame.frame_id, path=frame.path)
                for one, frame in zip(cameras, entered, strict=True)
            ]
        )
    finally:
        ledger.close()
    lengthen(out, 2000)
    reader = LedgerReader(out)
    fluxes = reader.source_fluxes("2:r", way.recipe.default_label())
    reader.close()
    assert fluxes.flux.shape == (666, 6)
    steps = np.diff(fluxes.time_mjd_utc) * 86400.0
    assert steps == pytest.approx(SETTINGS.cadence_s, abs=1e-3)
    assert fluxes.flux.std(axis=0) / fluxes.flux.mean(axis=0) == pytest.approx(0.005, rel=0.2)
    assert np.ptp(fluxes.flux_err) > 0.0


def test_cameras_write_frames_of_their_own_time_and_say_when_they_closed(tmp_path: Path) -> None:
    cameras = Cameras()
    closed = cameras.write_paced(tmp_path, range(40, 42), 0.05)
    assert len(closed) == 6
    moments = sorted(closed.values())
    assert moments[3] - moments[0] >= 0.045
    frames = [read_frame(tmp_path / name, name, OPTICAM_MX()) for name in closed]
    assert {frame.facts.key for frame in frames} == {"1:g", "2:r", "3:i"}
    step_s = (frames[3].facts.time_mjd_utc - frames[0].facts.time_mjd_utc) * 86400.0
    assert step_s == pytest.approx(SETTINGS.cadence_s, abs=1e-3)


def test_latencies_are_quantiles_of_every_frame() -> None:
    seconds = np.linspace(0.0, 1.0, 1001)
    series = LatencySeries(30.0, seconds, seconds + 0.001, {"night": 1.0, "worker": 4.0, "page": 0.5}, ())
    rows = latency_section([series]).rows
    assert rows[0] == ("30", "1001", "row", "500.0", "990.0", "999.0", "1000.0", "5.50")
    assert rows[1][3] == "501.0"
    few = LatencySeries(3.0, seconds[:9], seconds[:9], {}, ())
    assert latency_section([few]).rows[0][5] == "-"


def test_the_page_holds_the_tables_and_no_place_of_this_machine() -> None:
    row = Row("1:g", "forced optimal", 0.00412, 0.00400, 0.9987, 1.5)
    text = page([noise_section([row], 600), Section("Other", (), ("a", "b"), (("x", "1"),))])
    assert f"| {' | '.join(COLUMNS)} |" in text
    assert "| 1:g | forced optimal | 0.4120 | 0.4000 | 1.030 | 0.9987 | 1.50 |" in text
    assert "known to 2.9 %" in text
    assert "## Other\n\n| a | b |\n|---|---:|\n| x | 1 |\n" in text
    assert machine() in text
    assert str(Path.cwd()) not in text
    assert not platform.node() or platform.node() not in text
    assert " cores. Python 3." in text


def _steady(
    *, waiting: Sequence[int] = (3,) * 12, worker_mb: Sequence[float] = (150.0,) * 12, measured: int = 900
) -> Soak:
    samples = [
        Sample(10.0 * index, 75 * (index + 1), queue, (90.0, memory, 120.0 + 0.1 * index))
        for index, (queue, memory) in enumerate(zip(waiting, worker_mb, strict=True))
    ]
    stretch = Stretch(7.5, 7.4, samples)
    return Soak(((8.3, True), (9.5, False)), stretch, written=900, measured=measured, rejected=0, points_in_browser=300)


def test_a_steady_night_that_grows_or_loses_frames_is_told() -> None:
    assert _steady().failures() == []
    assert _steady(waiting=range(0, 240, 20)).failures() == ["the queue grew"]
    growing = [100.0 + 10.0 * index for index in range(12)]
    assert _steady(worker_mb=growing).failures() == ["memory of the worker process grew from 140 to 200 MB"]
    slow = dataclasses.replace(_steady(), stretch=dataclasses.replace(_steady().stretch, reached=6.0))
    assert slow.failures() == ["6 frames a second could be written in the place of 8"]
    assert _steady(measured=899).failures() == ["900 frames were written, 899 have an outcome"]
    section = _steady(measured=899).section()
    assert len(section.rows) == 12
    assert "8 (held), 10 (fell behind)" in section.texts[1]
    assert section.texts[-1] == "Not as it has to be: 900 frames were written, 899 have an outcome."


@pytest.mark.parametrize("capacity", [10.0, 59.0, 61.0, 233.0, 5000.0])
def test_the_highest_rate_is_found_between_what_held_and_what_fell_behind(capacity: float) -> None:
    rate, tried = highest_rate(lambda asked: asked <= capacity, first=60.0, most=1000.0)
    assert rate == max(each for each, held in tried if held)
    assert rate <= capacity
    assert capacity < 1.15 * rate or rate == 1000.0
    assert len(tried) < 10
    assert highest_rate(lambda _: False, first=60.0, most=1000.0)[0] == 0.0


def test_a_rate_is_sustained_where_nothing_waits_and_the_cameras_keep_their_pace() -> None:
    def stretch(waiting: Sequence[int], reached: float = 99.0) -> Stretch:
        return Stretch(100.0, reached, [Sample(0.0, 0, queue, (0.0, 0.0, 0.0)) for queue in waiting])

    assert stretch([300, 80, 5, 4, 6, 5]).is_sustained
    assert not stretch([0, 10, 20, 30, 55, 60]).is_sustained
    assert not stretch([5] * 6, reached=90.0).is_sustained


def test_the_section_of_the_soak_stays_when_the_page_is_written_anew() -> None:
    soaked = _steady().section()
    others = [Section("First", (), ("a", "b"), (("x", "1"),)), Section("Last", (), ("a", "b"), (("y", "2"),))]
    once = with_section(page(others), soaked)
    assert once.count(f"## {SOAK_TITLE}") == 1
    assert with_section(once, soaked) == once
    again = with_section(once, _steady(measured=899).section())
    assert "Not as it has to be" in again
    assert "## Last\n\n| a | b |\n|---|---:|\n| y | 2 |\n" in again
    assert section_of(page(others), SOAK_TITLE) == ""
    assert section_of(with_section(again, Section("After", (), ("a", "b"), ())), SOAK_TITLE) == section_of(
        again, SOAK_TITLE
    )


def test_a_ratio_below_its_limit_is_measured_once_more() -> None:
    least = LEAST_RATIO[SMALL]
    first = StageTable({SMALL: with_ratio(0.9 * least), LARGE: with_ratio(2.0 * LEAST_RATIO[LARGE])})
    assert first.failing() == [SMALL]
    merged = first.better_of(StageTable({SMALL: with_ratio(1.1 * least)}))
    assert merged.failing() == []
    assert list(merged.times) == [SMALL, LARGE]
    assert first.better_of(StageTable({SMALL: with_ratio(0.8 * least)})).times == first.times


def test_a_refresh_costs_what_the_page_takes_more_under_eyes() -> None:
    look = Look(1000, 50.0, 110.0, 6.0)
    assert look.refresh_ms == pytest.approx(10.0)
    cost = LedgerCost(1000, 0.05, 1500.0, 0.5, 250.0, 1.5)
    cores = {"night": 1.0, "worker": 4.0, "page": 3.0}
    live = [
        (
            1000,
            LatencySeries(
                30.0,
                np.zeros(3),
                np.zeros(3),
                cores,
                [ProcessUse("night", 1.0, 90.0), ProcessUse("worker", 1.0, 90.0), ProcessUse("page", 1.0, 90.0)],
            ),
        )
    ]
    night = LongNight([cost], live, [look, Look(100_000, 50.0, 120.0, 5.0)])
    met = {row[0]: row[2:] for row in budget_section(Findings(night=night)).rows}
    assert met["core time of a refresh of the page, 100000 over 1000 rows"] == ("1.4", "missed")
    assert look_section(night).rows[0] == ("1000", "50", "110", "6.0", "10.0")
