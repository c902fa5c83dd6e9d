"""Which frames are read for the focus, what is kept of them, and which stars are meant."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from server.focus import ATTENTION_S, MAX_FRAMES, FocusDesk, FocusView, frames_to_read
from server.focus_panel import chosen_stars, focus_text
from server.night_view import KeyView, NightView
from server.view_state import ViewState, parse_state
from stream.analysis.choice import KeyChoice
from stream.night.night_reader import NightReader
from tests.measure.packed_files import header
from tests.server.fake_night import KEYS, FakeNight, catalog_of
from tests.server.test_feed import wait_for

KEY = KEYS[0]


@given(
    steps=st.lists(st.integers(1, 3000), min_size=1, max_size=8),
    cadence_s=st.floats(0.05, 60.0),
    start_s=st.floats(0.0, 1e9),
)
@settings(max_examples=40, deadline=None)
def test_a_night_that_grows_asks_for_few_frames_and_for_none_twice(
    steps: list[int], cadence_s: float, start_s: float
) -> None:
    known: set[int] = set()
    n_frames = 0
    for step in steps:
        n_frames += step
        times_ms = 1e3 * (start_s + cadence_s * np.arange(n_frames, dtype=np.float64))
        wanted = frames_to_read(times_ms, np.arange(n_frames), known)
        assert wanted == sorted(set(wanted), reverse=True)
        assert not known & set(wanted)
        known |= set(wanted)
        gaps_s = np.diff([0, *sorted(known), n_frames - 1]) * cadence_s
        assert gaps_s.max() <= 4.0 * max(n_frames * cadence_s / MAX_FRAMES, 1.0) + 2.0 * cadence_s
        assert frames_to_read(times_ms, np.arange(n_frames), known) == []
    assert len(known) <= (len(steps) + 2) * (MAX_FRAMES + 2)
    assert frames_to_read(np.empty(0), np.empty(0, dtype=np.int64), known) == []


@pytest.fixture
def night(tmp_path: Path) -> FakeNight:
    """Three frames a key, of which the first is gone from the disk."""
    night = FakeNight(tmp_path / "night", frames=tmp_path / "frames")
    for _ in range(3):
        night.advance(1)
    night.finish()
    for path in (tmp_path / "frames").glob("frame_*"):
        if path.stem.endswith("000000"):
            path.unlink()
        else:
            with fits.open(path, mode="update") as hdus:
                hdus[0].header.update(header())
    return night


def frames_of(night: FakeNight, key: str) -> dict[str, np.ndarray]:
    reader = NightReader(night.out)
    try:
        found = reader.conditions(key)
    finally:
        reader.close()
    return {"x": 1e3 * 86400.0 * (found["time_mjd_utc"] - 40587.0), "frame_id": found.frame_ids.astype(np.float64)}


def test_stars_are_read_once_for_all_and_those_asked_for_later_too(night: FakeNight) -> None:
    frames = {key: frames_of(night, key) for key in KEYS}
    with ThreadPoolExecutor(1) as executor:
        desk = FocusDesk(night.out, executor)

        def seen(stars: list[tuple[str, int]]) -> FocusView:
            def is_done() -> bool:
                view = desk.view(stars, frames)
                return view.n_read == view.n_wanted and view.n_wanted > 0

            wait_for(is_done)
            return desk.view(stars, frames)

        first = seen([(KEY, 1), (KEYS[1], 3)])
        widths = first.stars[(KEY, 1)]["fwhm_px"]
        assert widths == pytest.approx([2.355 * 1.7] * 2, rel=0.03)
        assert np.all(np.diff(first.stars[(KEY, 1)]["time_ms"]) > 0.0)
        assert (first.n_gone, first.sentence) == (2, "")
        second = seen([(KEY, 1), (KEY, 4)])
        assert len(second.stars[(KEY, 4)]["fwhm_px"]) == 2
        assert second.n_gone == 1
        desk.stop()


def test_nothing_is_read_that_nobody_looks_at_any_more(night: FakeNight) -> None:
    now_s = [0.0]
    with ThreadPoolExecutor(1) as executor:
        desk = FocusDesk(night.out, executor, clock=lambda: now_s[0])
        desk.view([(KEY, 1)], {})
        now_s[0] += 2.0 * ATTENTION_S
        view = desk.view([(KEYS[1], 1)], {KEY: frames_of(night, KEY)})
        executor.submit(int).result()
        assert (view.n_read, view.n_wanted) == (0, 0)
        assert desk.view([(KEYS[1], 1)], {}).stars[(KEYS[1], 1)]["time_ms"].size == 0


def test_numbers_of_another_catalog_are_other_stars(night: FakeNight) -> None:
    frames = {KEY: frames_of(night, KEY)}
    right, other = {KEY: f"catalog-{KEY}"}, {KEY: "of a second set of measurements"}
    with ThreadPoolExecutor(1) as executor:
        desk = FocusDesk(night.out, executor)
        wait_for(lambda: desk.view([(KEY, 1)], frames, right).n_read == 2)
        view = desk.view([(KEY, 1)], frames, other)
        assert view.stars[(KEY, 1)]["time_ms"].size == 0
        # What is in the ledger was measured by the first catalog: its place of star 1 is that of another star.
        wait_for(lambda: desk.view([(KEY, 1)], frames, other).n_gone == 3)
        assert desk.view([(KEY, 1)], frames, other).n_read == 0
        wait_for(lambda: desk.view([(KEY, 1)], frames, right).n_read == 2)
        desk.stop()


def test_a_ledger_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    frames = {KEY: {"x": np.array([0.0]), "frame_id": np.array([1.0])}}
    with ThreadPoolExecutor(1) as executor:
        desk = FocusDesk(tmp_path, executor)
        wait_for(lambda: "ledger" in desk.view([(KEY, 1)], frames).sentence)
        desk.stop()


def key_view(key: str) -> KeyView:
    catalog = catalog_of(key)
    return KeyView(key, catalog, KeyChoice(2, (1, 3, 4, 5), True, ()), catalog.positions(), 10)


VIEW = NightView("night", keys={key: key_view(key) for key in KEYS})


def test_a_clicked_star_is_found_in_all_keys_and_without_one_target_and_comparisons_are_meant() -> None:
    assert chosen_stars(VIEW, ("2:r#5",)) == tuple((key, 5) for key in KEYS)
    assert chosen_stars(VIEW, ())[:4] == ((KEY, 2), (KEY, 1), (KEY, 3), (KEY, 4))
    assert chosen_stars(VIEW, ("9:z#1", "1:g#99")) == ()


def test_the_address_restores_the_stars_and_refuses_what_is_none() -> None:
    state = replace(ViewState(), tab="focus", focus=("1:g#3", "2:r#1"))
    arguments = dict(part.split("=") for part in state.query().split("&"))
    decoded = {
        name: [text.replace("%3A", ":").replace("%23", "#").replace("%3B", ";").encode()]
        for name, text in arguments.items()
    }
    assert parse_state(decoded) == (state, ())
    _state, sentences = parse_state({"focus": [b"12,13"]})
    assert sentences == (
        "the address asks for what there is not: focus ('12,13') must be key and number of a star, as 1:g#2",
    )


def test_the_words_say_what_is_known_and_how_far_the_reading_is() -> None:
    stars = {(KEY, 2): {"time_ms": np.array([0.0, 1.0]), "fwhm_px": np.array([4.0, 4.25])}}
    frames = {KEY: {"x": np.array([0.0]), "y": np.array([4.1])}}
    text = focus_text(FocusView(stars, 2, 40, 3, "<b>"), VIEW.keys, frames)
    assert "frame 4.10 (2.30″)" in text
    assert "2T <b>4.25</b>" in text
    assert "Read 2 of 40 frames" in text
    assert "3 frames are no longer there" in text
    assert re.search(r"class='problem'>&lt;b&gt;<", text)
