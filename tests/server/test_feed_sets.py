"""The page follows a night whose frames are measured again: all of them, or one that was completed late."""

from __future__ import annotations

from pathlib import Path

from tests.server.fake_night import KEYS, FakeNight
from tests.server.test_feed import curve_of, running, wait_for


def test_a_second_set_by_the_same_recipe_replaces_the_first_on_the_page(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(30)
    with running(tmp_path) as feed:
        assert curve_of(feed).n_points == 30
        night.remeasure()
        night.advance(10)
        wait_for(lambda: KEYS[0] in feed.view.keys and curve_of(feed).n_points == 10)
    night.finish()


def test_a_frame_that_was_completed_late_is_no_longer_shown_as_rejected(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(97)
    with running(tmp_path) as feed:
        assert curve_of(feed).n_points == 96
        assert feed.view.n_rejected == len(KEYS)
        night.complete_late(KEYS[0], 96)
        wait_for(lambda: feed.view.n_rejected == len(KEYS) - 1)
        assert [path for path, _ in feed.view.rejected] == ["frame_3-i_000096.fit", "frame_2-r_000096.fit"]
    night.finish()
