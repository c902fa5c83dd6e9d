"""What is drawn of a night: thinning that grows, looks, addresses, bins and means, conditions, cards of frames."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.columns import GrowingThinning
from server.conditions import OVERVIEW, TIME, ConditionLook
from server.feed import Feed
from server.frame_card import read_card
from server.frame_panel import card_text
from server.looks import Look
from server.photometer_panel import PhotometerScatter, scatter_of_photometers, scatter_table
from server.timing_looks import TimingChoices, detrending_of, text_of
from server.view_state import ViewState, parse_state
from stream.analysis.detrending import Detrending, Trend
from stream.errors import ConfigurationError, LedgerError
from stream.selection import load_selection
from tests.server.fake_night import FREQUENCY_HZ, KEYS, NOISE, RMS, VARIABLE, Cadence, FakeNight
from tests.server.test_feed import choice_of, curve_of, running, wait_for


@given(
    steps=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    max_points=st.integers(40, 200),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_thinning_that_grows_keeps_the_extremes(steps: list[int], max_points: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    value = random.standard_normal(sum(steps))
    value[random.random(len(value)) < 0.02] = np.nan
    time_s = np.cumsum(random.uniform(0.1, 2.0, len(value)))
    growing, n_before = GrowingThinning(max_points), 0
    for step in steps:
        n_rows = n_before + step
        rows = growing.rows(time_s[:n_rows], value[:n_rows], (0, n_rows), n_before)
        n_before = n_rows
        assert np.all(np.diff(rows) > 0)
        assert np.isfinite(value[rows]).all()
        assert len(rows) < 2 * max_points
        if np.isfinite(value[:n_rows]).any():
            assert value[rows].min() == np.nanmin(value[:n_rows])
            assert value[rows].max() == np.nanmax(value[:n_rows])


def test_thinned_points_look_like_what_they_stand_for() -> None:
    time_s, value = np.arange(40_000.0), np.random.default_rng(2).standard_normal(40_000)
    rows = GrowingThinning(1000).rows(time_s, value, (0, 40_000), 0)
    early = value[rows[rows < 30_000]]
    assert np.mean(np.abs(early) < 1.0) > 0.3
    assert value[rows].max() == value.max()


def test_points_that_were_sent_seldom_change() -> None:
    time_s, value = np.arange(40_000.0), np.random.default_rng(2).standard_normal(40_000)
    growing = GrowingThinning(1000)
    before = growing.rows(time_s[:30_000], value[:30_000], (0, 30_000), 0)
    n_replaced = 0
    for n_rows in range(30_001, 31_001):
        rows = growing.rows(time_s[:n_rows], value[:n_rows], (0, n_rows), n_rows - 1)
        n_replaced += not np.array_equal(rows[: len(before)], before)
        before = rows
    assert n_replaced <= 8


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"window_s": 0.0}, r"window \(0 s\) must be greater than 0"),
        ({"span_ms": (5.0, 5.0)}, r"from \(5\) must be before to \(5\)"),
        ({"bin_s": -1.0}, r"bin \(-1 s\) must be 0 or 0\.001 to 86400 seconds"),
        ({"mean_s": math.nan}, r"mean \(nan s\) must be 0 or"),
        ({"scale": "furlongs"}, r"scale \(furlongs\) must be one of night, shown, magnitude"),
    ],
)
def test_a_look_at_nothing_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        Look(**changes)  # type: ignore[arg-type]


def test_the_address_restores_the_view() -> None:
    median = Detrending(Trend.MEDIAN, window_s=300.0)
    look = Look(span_ms=(1.7e12, 1.7e12 + 5000.0), bin_s=5.0, mean_s=30.0, check=True, scale="magnitude", trend=median)
    timing = TimingChoices(axes="semilog", overlaid=True)
    state = ViewState(look, tab="conditions", key="2:r", x="airmass", y="fwhm_px", timing=timing)
    arguments = {
        name: [value.encode()]
        for name, value in (pair.split("=") for pair in state.query().replace("%3A", ":").split("&"))
    }
    assert parse_state(arguments) == (state, ())
    assert ViewState().query() == ""
    assert parse_state({"window": [b"300"]})[0].look.window_s == 300.0
    changed, sentences = parse_state(
        {"bin": [b"wide"], "tab": [b"secrets"], "from": [b"9"], "to": [b"3"], "mean": [b"60"], "axes": [b"round"]}
    )
    assert changed == ViewState(Look(mean_s=60.0))
    assert [sentence.partition(": ")[2][:12] for sentence in sentences] == [
        "from (9) mus",
        "bin ('wide')",
        "tab ('secret",
        "axes (round)",
    ]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("night")
    night = FakeNight(folder / "out", frames=folder / "frames")
    night.advance(900)
    night.finish()
    return night.out


def test_bins_means_magnitudes_and_a_check_star(out: Path) -> None:
    with running(out) as feed:
        points = curve_of(feed)
        binned = curve_of(feed, look=Look(bin_s=20.0)).columns
        assert len(binned["flux"]) == pytest.approx(900 / 20, abs=1)
        # 20 points a bin, less those that are flagged or rejected.
        assert np.median(binned["flux_err"]) == pytest.approx(
            np.median(points.columns["flux_err"]) / math.sqrt(20), rel=0.05
        )
        assert np.std(binned["flux"]) < RMS / 3.0
        assert binned["frame"][5] in ("19 frames", "20 frames", "21 frames")
        mean = curve_of(feed, look=Look(mean_s=60.0)).mean
        assert np.nanstd(mean["flux"]) < RMS / 5.0
        difference = curve_of(feed, look=Look(scale="magnitude"))
        assert np.std(difference.columns["flux"]) == pytest.approx(1.0857 * points.rms, rel=0.02)
        assert difference.y_range[0] > difference.y_range[1]
        checked = curve_of(feed, look=Look(check=True))
        assert np.std(checked.check["flux"]) == pytest.approx(NOISE * math.sqrt(1.25), rel=0.2)
        assert checked.check["flux"].max() < np.percentile(checked.columns["flux"], 1.0)
        part = tuple(float(points.columns["utc_ms"][index]) for index in (100, 199))
        stretch = curve_of(feed, look=Look(span_ms=(part[0], part[1]), scale="shown"))
        assert stretch.n_points == 100
        assert np.median(stretch.columns["flux"][stretch.columns["fill_alpha"] > 0]) == pytest.approx(1.0, abs=1e-12)
        assert stretch.spectrum.peak_frequency_hz == pytest.approx(FREQUENCY_HZ, abs=0.003)
        empty = curve_of(feed, look=Look(span_ms=(1.0, 2.0)))
        assert (empty.n_points, len(empty.columns["flux"])) == (0, 0)
        with pytest.raises(ConfigurationError, match="photometer 'best' must be one of forced_"):
            feed.curves(Look(label="best"))


@pytest.mark.parametrize("text", ["none", "airmass", "polynomial:3", "median:90"])
def test_a_trend_has_a_short_text(text: str) -> None:
    assert text_of(detrending_of(text)) == text


def test_a_light_curve_is_drawn_without_its_trend(tmp_path: Path) -> None:
    night = FakeNight(tmp_path, cadence=Cadence(transit_depth=0.1, transit_s=(450.0, 400.0, 150.0)))
    night.advance(900)
    night.finish()
    flat = Look(trend=Detrending(Trend.MEDIAN, window_s=60.0))
    with running(tmp_path) as feed:
        raw, curve = curve_of(feed), curve_of(feed, look=flat)
        assert raw.rms > 1.5 * RMS
        assert curve.rms == pytest.approx(RMS, rel=0.1)
        # The sum of squares of what is drawn is that of the pulsation and the noise alone.
        assert np.std(curve.columns["flux"]) == pytest.approx(math.hypot(RMS, NOISE), rel=0.1)
        assert curve.trend.sentence == "running median of 60 s divided out"
        assert (raw.trend.sentence, raw.trend.columns) == ("", {})
        share = curve.columns["flux"] / raw.columns["flux"]
        assert curve.columns["flux_err"] / raw.columns["flux_err"] == pytest.approx(share)
        binned = curve_of(feed, look=replace(flat, bin_s=30.0))
        assert np.std(binned.columns["flux"]) < RMS / 3.0
        mean = curve_of(feed, look=replace(flat, mean_s=60.0)).mean["flux"]
        assert np.nanstd(mean) < RMS / 5.0
        wanted = Look(trend=Detrending(Trend.AIRMASS))
        refused = curve_of(feed, look=wanted)
        assert refused.trend.sentence.startswith("not detrended: the airmass is 1.2000 throughout")
        assert refused.columns["flux"] == pytest.approx(raw.columns["flux"])


def test_another_photometer_is_read_when_it_is_asked_for_and_grows(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(60)
    with running(tmp_path) as feed:
        other = Look(
            label=next(label for label in feed.view.labels if label != feed.view.label) if feed.view.labels else ""
        )
        assert curve_of(feed, look=other).n_points == 60
        night.advance(20)
        wait_for(lambda: curve_of(feed, look=other).n_points == 80)
        wait_for(lambda: curve_of(feed).n_points == 80)
    night.finish()


def test_conditions_over_time_and_against_each_other(out: Path) -> None:
    with running(out) as feed:
        look = ConditionLook()
        wait_for(lambda: bool(feed.conditions(look)))
        views = feed.conditions(look)
        assert views is not None
        assert set(views) == set(KEYS)
        strips = views[KEYS[0]].strips
        assert set(strips) == set(OVERVIEW)
        assert np.ptp(strips["shift_x_px"]["y"]) == pytest.approx(12.0, abs=0.1)
        assert np.all(strips["ellipticity"]["y"] == pytest.approx(1.0 - 1.6 / 1.7))
        against = ConditionLook(x="shift_x_px", ys=("relative_flux",))
        wait_for(lambda: bool(feed.conditions(against)))
        views = feed.conditions(against)
        assert views is not None
        both = views[KEYS[0]].strips["relative_flux"]
        assert len(both["x"]) == curve_of(feed).n_points
        assert np.std(both["y"]) == pytest.approx(RMS, rel=0.1)
        last = ConditionLook(x=TIME, ys=("airmass",), window_s=100.0)
        wait_for(lambda: bool(feed.conditions(last)))
        assert 95 <= len((feed.conditions(last) or {})[KEYS[0]].strips["airmass"]["x"]) <= 101


def newest(feed: Feed) -> int:
    return int(curve_of(feed).columns["frame_id"][-1])


def test_the_card_of_a_frame_shows_its_stars_or_says_what_is_missing(out: Path) -> None:
    with running(out) as feed:
        choice, label = feed.view.keys[KEYS[0]].choice, feed.view.label
        wait_for(lambda: choice_of(feed, KEYS[0]) != ())
        frame_id, first = newest(feed), int(curve_of(feed).columns["frame_id"][0])
        card = read_card(out, frame_id, choice, label)
        assert card.sentence == ""
        assert [stamp.text[-1] for stamp in card.stamps] == ["T", "c", "c", "c", "c", "c"]
        target = card.stamps[0]
        brightest = np.unravel_index(int(np.argmax(target.pixels)), target.pixels.shape)
        assert math.hypot(brightest[1] - target.x, brightest[0] - target.y) < 3.0
        assert target.apertures[0].major_px == pytest.approx(1.5 * 4.0 * math.sqrt(1.7 / 1.6) * 0.97, rel=0.05)
        assert ("NAXIS1", "256") in {(name, value) for name, value, _comment in card.header}
        assert "header: " in card_text(card)
        gone = read_card(out, first, choice, label)
        assert gone.sentence.endswith("frame_1-g_000000.fit is no longer there: its stamps cannot be shown")
        assert gone.facts
        with pytest.raises(LedgerError, match="has no frame 999999"):
            read_card(out, 999_999, choice, label)
    rejected = read_card(out, 97 * 3 - 2, choice, label)
    assert "holds 100 bytes of data" in rejected.sentence


def test_the_scatter_of_every_photometer(out: Path) -> None:
    with running(out) as feed:
        wait_for(lambda: choice_of(feed, KEYS[0]) != ())
        choices = {key: shown.choice for key, shown in feed.view.keys.items() if shown.choice is not None}
    scatters = scatter_of_photometers(out, choices)
    assert set(scatters) == set(feed.view.labels)
    for by_key in scatters.values():
        assert by_key[KEYS[0]].rms == pytest.approx(RMS, rel=0.1)
    text = scatter_table(
        ("quiet_one", "b"),
        "b",
        ("1:g", "2:r"),
        {"quiet_one": {"1:g": PhotometerScatter(0.02, 0.01)}, "b": {"1:g": PhotometerScatter(0.02, 0.03)}},
    )
    assert "2.00 / 1.00 ★" in text
    assert "2.00 / 3.00<" in text
    assert text.count("–") == 2
    assert re.findall(r"aria-pressed='(\w+)'>([\w ]+)<", text) == [("false", "quiet one"), ("true", "b")]
    assert choices[KEYS[0]].target == VARIABLE
    assert load_selection(out).targets == {}
