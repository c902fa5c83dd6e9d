"""Timing from a real night: the stretch that is looked at, without doubtful points, as the night grows; addresses."""

from __future__ import annotations

import re
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest

from server.feed import Feed
from server.looks import Look
from server.timing_looks import TimingChoices, TimingLook
from server.timing_views import TimingView
from server.view_state import ViewState, parse_state
from stream.flags import DOUBTFUL, Flag
from tests.server.fake_night import FREQUENCY_HZ, KEYS, FakeNight


def awaited(feed: Feed, look: TimingLook, wanted: Callable[[TimingView], bool]) -> TimingView:
    deadline = time.monotonic() + 30.0
    while True:
        feed.curves(look.look)
        view = feed.timing(look)
        if view is not None and wanted(view):
            return view
        assert time.monotonic() < deadline, view
        time.sleep(0.02)


def n_points(view: TimingView) -> list[int]:
    found = [re.search(r" · ([\d,]+) points in", strip.title) for strip in view.strips]
    return [int(match[1].replace(",", "")) for match in found if match]


def test_a_fold_follows_the_night_and_the_stretch_that_is_looked_at(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(500)
    feed = Feed(tmp_path)
    feed.start()
    try:
        fold = TimingLook("fold", Look(spectra=False))
        first = awaited(feed, fold, lambda view: len(view.strips) == len(KEYS))
        period = float(first.text.split()[1])
        assert period == pytest.approx(1.0 / FREQUENCY_HZ, rel=1e-3)
        # Of 500 frames five were rejected; of every 41 one is saturated, which is doubtful.
        assert int(Flag.SATURATED) & int(DOUBTFUL)
        assert n_points(first) == [n_points(first)[0]] * 3
        assert n_points(first)[0] == 500 - 5 - 13
        last = awaited(feed, TimingLook("fold", Look(window_s=100.0)), lambda view: bool(view.strips))
        assert 90 <= n_points(last)[0] <= 101
        night.advance(60)
        grown = awaited(feed, fold, lambda view: n_points(view)[0] > n_points(first)[0] + 50)
        assert grown is not first
    finally:
        feed.stop()
        night.finish()


def test_an_address_restores_what_was_chosen_of_timing() -> None:
    choices = TimingChoices(
        trend="median:300",
        normalisation="leahy",
        reference="2:r",
        period="1.5 h",
        epoch="2461000.5",
        n_bins=30,
        segment_s=60.0,
        window_s=120.0,
        sampling=True,
        model=True,
    )
    state = ViewState(tab="fold", timing=choices)
    arguments = {name: [value.encode() for value in values] for name, values in _query(state.query()).items()}
    assert parse_state(arguments) == (state, ())
    assert ViewState().query() == ""


def _query(text: str) -> dict[str, list[str]]:
    return urllib.parse.parse_qs(text)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("detrend", "wind", "detrending ('wind') must be none, airmass, polynomial:DEGREE or median:SECONDS"),
        ("unit", "sones", "normalisation (sones) must be one of fractional, absolute, leahy"),
        ("bins", "2.5", "bins ('2.5') must be a whole number"),
        ("bins", "100000", "bins of a fold (100000) must be 2 to 500"),
        ("segment", "-3", "segment (-3 s) must be 0 to 86400 seconds"),
    ],
)
def test_an_address_that_makes_no_sense_is_told(name: str, text: str, sentence: str) -> None:
    state, sentences = parse_state({name: [text.encode()]})
    assert state == ViewState()
    assert sentences == (f"the address asks for what there is not: {sentence}",)
