"""The feed: late join, live messages with gaps, selections, and nights that stop and start again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from server.curve_views import CurveView
from server.feed import Feed
from server.looks import Look
from stream.config import APERTURE_LABEL
from stream.errors import LedgerError
from stream.flags import DOUBTFUL
from stream.messages import ENCODER, CatalogBuilt, Published, Selection
from stream.night.ledger import LedgerReader
from stream.night.night_folder import NightFolder, RunFile
from stream.night.wire import BrokerWire, make_keys
from stream.selection import load_selection, save_selection
from tests.night.processes import run
from tests.server.fake_night import FREQUENCY_HZ, KEYS, RMS, VARIABLE, FakeNight, catalog_of

NIGHT = Look()


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 15.0) -> None:
    """Wait until a condition holds; fails with its source when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


@contextmanager
def running(out: Path) -> Iterator[Feed]:
    feed = Feed(out)
    feed.start()
    try:
        yield feed
    finally:
        feed.stop()


def curve_of(feed: Feed, key: str = KEYS[0], look: Look = NIGHT) -> CurveView:
    wait_for(lambda: key in (feed.curves(look) or {}))
    curves = feed.curves(look)
    assert curves is not None
    return curves[key]


def frame_ids_in_ledger(out: Path, key: str) -> set[int]:
    reader = LedgerReader(out)
    fluxes = reader.source_fluxes(key, APERTURE_LABEL)
    reader.close()
    return set(fluxes.frame_ids.tolist())


def frame_ids_on_page(feed: Feed, key: str) -> set[int]:
    return set(curve_of(feed, key).columns["frame_id"].astype(int).tolist())


class Publisher:
    """The publishing end of a night as its broker has it."""

    def __init__(self, out: Path) -> None:
        self.folder = NightFolder(out)
        make_keys(out)
        self.wire = BrokerWire(out)
        router = "tcp://127.0.0.1:1"
        self.folder.write_run_file(RunFile(1, str(out), router, self.wire.publisher_endpoint))

    def send(self, topic: str, message: Published) -> None:
        self.wire.publisher.send_multipart([topic.encode(), ENCODER.encode(message)])

    def close(self) -> None:
        self.wire.close()
        self.folder.close()


def test_a_late_page_shows_the_whole_night_and_the_signal(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(600)
    night.finish()
    with running(tmp_path) as feed:
        for key in KEYS:
            curve = curve_of(feed, key)
            assert set(curve.columns["frame_id"].astype(int)) == frame_ids_in_ledger(tmp_path, key)
            assert curve.spectrum.peak_frequency_hz == pytest.approx(FREQUENCY_HZ, abs=2e-4)
            frequency, unit = curve.spectrum.peak_label.split()
            assert float(frequency) == pytest.approx(FREQUENCY_HZ, abs=2e-4)
            assert unit == "Hz"
            assert curve.rms == pytest.approx(RMS, rel=0.1)
        assert feed.view.status is not None
        assert feed.view.status.state == "finished"
        assert feed.view.n_rejected == 18
        assert "holds 100 bytes" in feed.view.rejected[0][1]
        choice = feed.view.keys[KEYS[0]].choice
        assert choice is not None
        assert choice.target == VARIABLE
        assert choice.automatic


def test_doubtful_points_are_hollow_and_missing_ones_absent(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(120)
    night.finish()
    save_selection(tmp_path, Selection(targets={KEYS[0]: 5}, comparisons={KEYS[0]: (1, 3, 4)}))
    with running(tmp_path) as feed:
        columns = curve_of(feed).columns
        reader = LedgerReader(tmp_path)
        fluxes = reader.source_fluxes(KEYS[0], APERTURE_LABEL)
        reader.close()
        measured = np.isfinite(fluxes.flux[:, 4])
        assert not measured.all()
        np.testing.assert_array_equal(columns["frame_id"], fluxes.frame_ids[measured])
    save_selection(tmp_path, Selection(targets={KEYS[0]: VARIABLE}, comparisons={KEYS[0]: (1, 3, 4)}))
    with running(tmp_path) as feed:
        columns = curve_of(feed).columns
        flagged = (fluxes.flags[:, VARIABLE - 1] & int(DOUBTFUL)) != 0
        assert flagged.sum() == 3
        np.testing.assert_array_equal(columns["fill_alpha"] == 0.0, flagged)
        assert set(columns["flags"][flagged]) == {"SATURATED"}


def test_a_page_without_a_broker_follows_the_ledger(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(20)
    with running(tmp_path) as feed:
        assert curve_of(feed).n_points == 20
        night.advance(30)
        wait_for(lambda: curve_of(feed).n_points == 50)
        assert frame_ids_on_page(feed, KEYS[1]) == frame_ids_in_ledger(tmp_path, KEYS[1])
    night.finish()


def test_gaps_and_disorder_of_the_live_messages_are_made_good(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(20)
    publisher = Publisher(tmp_path)
    with running(tmp_path) as feed:
        feed.curves(NIGHT)
        # Frames that nobody published are there as well once the ledger is looked at, so that the socket is up.
        wait_for(lambda: feed.is_connected)
        outcomes = night.advance(60, publish=False)
        for outcome in reversed(outcomes[::7]):
            publisher.send("measured", outcome)
        wait_for(lambda: curve_of(feed, KEYS[2]).n_points == 80)
        for key in KEYS:
            assert frame_ids_on_page(feed, key) == frame_ids_in_ledger(tmp_path, key)
            assert np.all(np.diff(curve_of(feed, key).columns["utc_ms"]) > 0.0)
        publisher.send("status", night.save_status("stalled"))
        wait_for(lambda: feed.view.status is not None and feed.view.status.state == "stalled")
    publisher.close()
    night.finish()


def test_a_corrected_frame_takes_the_place_of_what_it_was_before(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(30)
    with running(tmp_path) as feed:
        before = curve_of(feed).columns["utc_ms"]
        corrected = night.correct(KEYS[0], 10, 0.4)

        def is_shown() -> bool:
            columns = curve_of(feed).columns
            return bool(columns["utc_ms"][columns["frame_id"] == corrected.frame_id] > before[10] + 399.0)

        wait_for(is_shown)
        assert curve_of(feed).n_points == 30
        assert frame_ids_on_page(feed, KEYS[0]) == frame_ids_in_ledger(tmp_path, KEYS[0])
        np.testing.assert_array_equal(np.delete(curve_of(feed).columns["utc_ms"], 10), np.delete(before, 10))
    night.finish()


def test_live_messages_are_shown_before_the_ledger_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = FakeNight(tmp_path)
    night.advance(20)
    publisher = Publisher(tmp_path)
    monkeypatch.setattr("server.feed.LEDGER_INTERVAL_S", 60.0)
    with running(tmp_path) as feed:
        feed.curves(NIGHT)
        wait_for(lambda: feed.is_connected)
        shown = 20
        deadline = time.monotonic() + 10.0
        # A subscriber that has just connected may miss the first messages: the next one shows the gap.
        while curve_of(feed).n_points == shown and time.monotonic() < deadline:
            for outcome in night.advance(1):
                publisher.send("measured", outcome)
            time.sleep(0.05)
        wait_for(lambda: frame_ids_on_page(feed, KEYS[0]) == frame_ids_in_ledger(tmp_path, KEYS[0]))
        publisher.send("catalog", CatalogBuilt(catalog_of(KEYS[0])))
    publisher.close()
    night.finish()


def test_a_window_shows_its_last_seconds_alone(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(500)
    night.finish()
    with running(tmp_path) as feed:
        times = curve_of(feed, look=Look(window_s=100.0)).columns["utc_ms"]
        assert times[-1] - times[0] <= 100_000.0
        assert 95 <= len(times) <= 101
        assert curve_of(feed).n_points > 480


def test_a_click_changes_every_key_and_is_kept(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(100)
    with running(tmp_path) as feed:
        before = curve_of(feed, KEYS[1]).rms
        sentences = feed.set_target(KEYS[0], 4)
        assert len(sentences) == 3
        assert sentences[0] == "1:g: source 4, as clicked"
        assert sentences[1].startswith("2:r: source 4 (")
        wait_for(lambda: all(shown.choice and shown.choice.target == 4 for shown in feed.view.keys.values()))
        wait_for(lambda: curve_of(feed, KEYS[1]).rms < before / 2.0)
        assert load_selection(tmp_path).targets == dict.fromkeys(KEYS, 4)
        feed.toggle_comparison(KEYS[2], 3)
        wait_for(lambda: all(3 not in choice_of(feed, key) for key in KEYS))
        answer = feed.toggle_comparison(KEYS[2], 4)
        assert "source 4 is the target and cannot be a comparison star" in answer[0]
        feed.choose_automatically()
        wait_for(lambda: all(shown.choice and shown.choice.target == VARIABLE for shown in feed.view.keys.values()))
    night.finish()


def test_a_change_is_taken_back_unless_somebody_changed_it_since(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(50)
    night.finish()
    with running(tmp_path) as feed:
        wait_for(lambda: all(choice_of(feed, key) for key in KEYS))
        before = feed.selection()
        feed.toggle_comparison(KEYS[0], 3)
        feed.toggle_comparison(KEYS[0], 4)
        assert sorted(feed.selection().comparisons[KEYS[0]]) == [1, 5, 6]
        left = feed.selection()
        assert feed.undo(before, left) == ("the last change is taken back",)
        assert feed.selection() == before
        feed.set_target(KEYS[0], 4)
        assert feed.undo(before, left) == ("somebody has changed the choice since: it stays as it is",)
        assert feed.selection().targets == dict.fromkeys(KEYS, 4)
        assert feed.save_ensemble("  ") == ("ensemble '  ': a name of 1 to 60 printable characters is required",)
        assert feed.save_ensemble("quiet") == ("saved as quiet",)
        wait_for(lambda: feed.view.ensembles == ("quiet",))
        assert feed.use_ensemble("loud")[0].startswith("ensemble 'loud' was not saved in this night")
        assert feed.use_ensemble("quiet") == ("quiet is in use",)


def choice_of(feed: Feed, key: str) -> tuple[int, ...]:
    choice = feed.view.keys[key].choice
    return () if choice is None else choice.comparisons


def test_a_selection_that_cannot_be_applied_is_a_sentence_and_the_page_goes_on(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(50)
    with running(tmp_path) as feed:
        assert curve_of(feed).n_points == 50
        save_selection(tmp_path, Selection(targets={KEYS[0]: 77}))
        wait_for(lambda: "77" in feed.view.keys[KEYS[0]].sentence)
        (tmp_path / "selection.toml").write_text("targets = 3", encoding="utf-8")
        wait_for(lambda: any("selection.toml" in notice for notice in feed.view.notices))
        night.advance(10)
        wait_for(lambda: curve_of(feed).n_points == 60)
        save_selection(tmp_path, Selection(targets={KEYS[0]: 4}))
        wait_for(lambda: feed.view.keys[KEYS[0]].sentence == "" and not feed.view.notices)
        assert feed.view.keys[KEYS[0]].choice is not None
    night.finish()


def test_a_folder_without_a_night_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"holds no night: there is no night\.db in it"):
        Feed(tmp_path)


def test_pictures_follow_the_newest_frame_while_somebody_looks(tmp_path: Path) -> None:
    night = FakeNight(tmp_path / "out", frames=tmp_path / "frames")
    night.advance(3)
    with running(tmp_path / "out") as feed:
        curve_of(feed)
        wait_for(lambda: feed.picture(KEYS[0]) is not None)
        picture = feed.picture(KEYS[0])
        assert picture is not None
        assert picture.name == "frame_1-g_000002.fit"
        assert picture.shape == (256, 256)
        brightest = np.unravel_index(int(np.argmax(picture.pixels)), picture.pixels.shape)
        positions = feed.view.keys[KEYS[0]].positions
        assert np.hypot(positions[:, 0] - brightest[1], positions[:, 1] - brightest[0]).min() < 3.0
    night.finish()


def test_a_saved_ensemble_is_recalled_from_the_command_line_while_the_night_runs(tmp_path: Path) -> None:
    night = FakeNight(tmp_path)
    night.advance(50)
    chosen: dict[str, tuple[int, ...]] = {KEYS[0]: (1, 3), KEYS[1]: (1, 4), KEYS[2]: (3, 4)}
    save_selection(tmp_path, Selection(targets=dict.fromkeys(KEYS, VARIABLE), comparisons=chosen))
    assert run("ensemble", tmp_path, "list").stdout == "no ensemble is saved\n"
    saved = run("ensemble", tmp_path, "save", "quiet stars")
    assert (saved.returncode, saved.stdout) == (0, "saved: quiet stars: 1:g 1, 3; 2:r 1, 4; 3:i 3, 4\n")
    with running(tmp_path) as feed:
        feed.choose_automatically()
        wait_for(lambda: all(len(choice_of(feed, key)) > 2 for key in KEYS))
        used = run("ensemble", tmp_path, "use", "quiet stars")
        assert (used.returncode, used.stdout) == (0, "in use: quiet stars: 1:g 1, 3; 2:r 1, 4; 3:i 3, 4\n")
        wait_for(lambda: {key: choice_of(feed, key) for key in KEYS} == chosen)
    night.finish()
    unknown = run("ensemble", tmp_path, "use", "loud stars")
    assert unknown.returncode == 1
    assert unknown.stderr == "error: ensemble 'loud stars' was not saved in this night; saved are: quiet stars\n"
    assert run("ensemble", tmp_path, "save").returncode == 2
    nowhere = run("ensemble", tmp_path / "nowhere", "list")
    assert nowhere.returncode == 1
    assert "holds no night" in nowhere.stderr
