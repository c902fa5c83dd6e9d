"""Alerts of real processes and files: the ledger, the observer's command, the stars that are watched."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.alerts import Alert, AlertKind, AlertSettings
from stream.errors import ConfigurationError, LedgerError
from stream.night import alert_desk
from stream.night.alert_command import LOG_FILE, AlertCommand, CommandLimits, split_command
from stream.night.alert_desk import AlertDesk
from stream.night.alert_frames import Star
from stream.night.alert_stars import StarFinder
from stream.night.ledger import Ledger, LedgerReader
from stream.night.report import read_report
from stream.selection import load_selection, save_selection
from stream.timestamps import mjd_to_iso
from tests.night.frames import write_frame
from tests.night.ledger_rows import RECIPE
from tests.night.processes import is_alive, run, running, stop, worker_pids
from tests.night.waiting import wait_until
from tests.night.watched import QUIET
from tests.server.fake_night import FakeNight

pytestmark = pytest.mark.clock

CLOUDS = Alert(1, AlertKind.CLOUDS, "1:g", "transparency 0.5", 1000.0, value=0.5, threshold=0.8, time_mjd_utc=60270.1)
KEEP = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read() + b'\\n')"


def python(*words: str | Path) -> tuple[str, ...]:
    return (sys.executable, "-c", *map(str, words))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out" / "log").mkdir(parents=True)
    return tmp_path / "out"


def test_the_command_is_told_of_start_and_end(out: Path) -> None:
    told = out / "told"
    command = AlertCommand(python(KEEP, told), out)
    command.start()
    command.tell(CLOUDS)
    command.tell(msgspec.structs.replace(CLOUDS, until_unix_s=1060.0, ended="the light is back"))
    wait_until(lambda: told.exists() and told.read_text().count("\n") == 2, 20.0, "two runs")
    command.stop()
    first, second = (json.loads(line) for line in told.read_text().splitlines())
    assert first["event"] == "raised"
    assert first["night"] == str(out)
    assert first["title"] == "clouds 1:g"
    assert first["alert"]["kind"] == "clouds"
    assert first["alert"]["until_unix_s"] is None
    assert first["alert"]["threshold"] == 0.8
    assert (second["event"], second["alert"]["until_unix_s"]) == ("ended", 1060.0)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    pids = out / "pids"
    hang = "import os, sys, time; os.fork(); open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(60)"
    command = AlertCommand(python(hang, pids), out, CommandLimits(timeout_s=1.0))
    with caplog.at_level(logging.WARNING):
        command.start()
        command.tell(CLOUDS)
        wait_until(lambda: "was ended after" in caplog.text, 20.0, "the end of the command")
    command.stop()
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())


def test_failures_and_too_many_runs_are_sentences(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = AlertCommand(python("print('no'); raise SystemExit(3)"), out, CommandLimits(most=2))
    with caplog.at_level(logging.WARNING):
        command.start()
        for _ in range(40):
            command.tell(CLOUDS)
        wait_until(lambda: caplog.text.count("are the most") >= 10, 20.0, "runs that are refused")
    command.stop()
    assert caplog.text.count("ended with status 3: see") == 2
    assert "2 runs in 600 s are the most" in caplog.text
    assert "not run for clouds 1:g: 20 alerts wait for it already" in caplog.text
    assert (out / "log" / LOG_FILE).read_text() == "no\nno\n"


def test_a_command_that_cannot_be_is_refused_at_the_start(out: Path) -> None:
    for text, sentence in {
        "": "--on-alert is empty",
        "say 'x": "cannot be split into words: No closing quotation",
        "no-such-program-here x": "there is no program no-such-program-here",
    }.items():
        with pytest.raises(ConfigurationError, match=sentence):
            split_command(text)
    assert split_command("sh -c 'echo $HOME'") == ("sh", "-c", "echo $HOME")


def desk_of(out: Path, ledger: Ledger) -> AlertDesk:
    return AlertDesk(out, out, ledger=ledger, settings=AlertSettings())


def test_alerts_are_kept_and_taken_up_again_after_a_kill(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(out, RECIPE, folder=out)
    desk = desk_of(out, ledger)
    with caplog.at_level(logging.WARNING):
        desk.judge(msgspec.structs.replace(QUIET, n_worker_restarts=2))
    (kept,) = LedgerReader(out).alerts()
    assert kept.is_open
    assert (kept.number, kept.kind, kept.value) == (1, AlertKind.WORKERS, 2.0)
    assert "alert raised: workers restarted since" in caplog.text
    ledger.close()

    ledger = Ledger(out, RECIPE, folder=out)
    again = desk_of(out, ledger)
    again.judge(QUIET)
    again.judge(msgspec.structs.replace(QUIET, n_worker_restarts=1))
    again.finish()
    again.close()
    newer, older = LedgerReader(out).alerts()
    assert (older.number, older.ended) == (1, "none for five minutes")
    assert (newer.number, newer.ended) == (2, "the night was stopped")
    lines = read_report(out).lines()
    assert sum(line.startswith("alert over: workers restarted from ") for line in lines) == 2
    ledger.close()


def test_a_disk_that_fills_up_is_told_of_until_there_is_room_again(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free_bytes = [50e9]

    class Usage:
        @property
        def free(self) -> float:
            return free_bytes[0]

    monkeypatch.setattr(alert_desk, "_STARS_EVERY_S", 0.02)
    monkeypatch.setattr(alert_desk, "_DISKS_EVERY_S", 0.05)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage())
    ledger = Ledger(out, RECIPE, folder=out)
    ledger.begin()
    desk = AlertDesk(out, out, ledger=ledger, settings=AlertSettings())
    desk.start()

    def alerts() -> list[Alert]:
        desk.judge(QUIET)
        return list(read_report(out).alerts)

    try:
        assert alerts() == []
        free_bytes[0] = 1.4e9
        wait_until(lambda: bool(alerts()), 20.0, "the alert")
        (alert,) = alerts()
        assert alert.is_open
        assert (alert.kind, alert.value, alert.threshold) == (AlertKind.DISK, 1.4e9, 2e9)
        free_bytes[0] = 9e9
        wait_until(lambda: not alerts()[0].is_open, 20.0, "the end of the alert")
    finally:
        desk.close()
        ledger.close()
    assert "alert raised: disk nearly full" in caplog.text
    assert "1.4 GB are free in" in caplog.text
    assert "there is room again" in caplog.text


def test_alerts_that_cannot_be_written_are_written_later(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(out, RECIPE, folder=out)
    desk = desk_of(out, ledger)

    def full(_alerts: object) -> None:
        raise LedgerError("ledger cannot be written: disk full")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "save_alerts", full)
        desk.judge(msgspec.structs.replace(QUIET, n_worker_restarts=1))
    assert ledger.alerts() == ()
    desk.judge(msgspec.structs.replace(QUIET, n_worker_restarts=1))
    assert [alert.kind for alert in ledger.alerts()] == [AlertKind.WORKERS]
    ledger.close()


def test_a_night_of_before_there_were_alerts_has_none(out: Path) -> None:
    ledger = Ledger(out, RECIPE, folder=out)
    ledger._connection.execute("DROP TABLE alert")
    assert LedgerReader(out).alerts() == ()
    ledger.close()
    Ledger(out, RECIPE, folder=out).close()
    assert LedgerReader(out).alerts() == ()


def test_open_alerts_are_read_however_old(out: Path) -> None:
    ledger = Ledger(out, RECIPE, folder=out)
    over = msgspec.structs.replace(CLOUDS, until_unix_s=1.0)
    ledger.save_alerts([CLOUDS, *(msgspec.structs.replace(over, number=number) for number in range(2, 50))])
    assert [alert.number for alert in ledger.alerts(3)] == [49, 48, 47, 1]
    assert math.isnan(ledger.alerts(3)[-1].until_unix_s)
    ledger.close()


def test_the_stars_that_are_watched_are_those_of_the_page(tmp_path: Path) -> None:
    night = FakeNight(tmp_path / "night")
    finder = StarFinder(night.out)
    assert {key: stars[0] for key, stars in (finder.look() or {}).items()}["1:g"] == Star(1, True)
    assert finder.look() is None
    night.advance(120)
    found = finder.look()
    assert found is not None
    assert {stars[0] for stars in found.values()} == {Star(2, True)}
    assert all(Star(2, False) not in stars and len(stars) > 1 for stars in found.values())
    selection = load_selection(night.out)
    save_selection(
        night.out, msgspec.structs.replace(selection, targets={"1:g": 4}, comparisons={"1:g": (1,), "2:r": (3, 5)})
    )
    chosen = finder.look()
    assert chosen is not None
    assert chosen["1:g"] == (Star(4, True), Star(1, False))
    assert chosen["2:r"] == (Star(4, True), Star(3, False), Star(5, False))
    save_selection(night.out, msgspec.structs.replace(selection, targets={"1:g": 99}))
    with pytest.raises(ConfigurationError, match="number 99 is not in the catalog of 1:g"):
        finder.look()
    assert finder.look() is None
    finder.close()
    night.finish()


def test_a_night_tells_of_its_alerts_in_status_in_the_log_and_to_the_command(tmp_path: Path) -> None:
    """Bad headers, a worker that is killed, and a camera that falls silent for a while."""
    frames, out, told = tmp_path / "frames", tmp_path / "out", tmp_path / "told"
    frames.mkdir()
    for number in range(4):
        write_frame(frames, number, EXPOSURE=None)
    words = shlex.join(python(KEEP, told))
    options = ["--workers", "1", "--no-page", "--on-alert", words]
    for text in ("rejected_frames=4", "silent_s=1", "silent_cadences=1.5"):
        options += ["--alert", text]

    def log() -> str:
        path = out / "log" / "night.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def alerts() -> dict[str, Any]:
        return {alert["kind"]: alert for alert in json.loads(run("status", out, "--json").stdout)["alerts"]}

    with running("watch", frames, "--out", out, *options) as night:
        wait_until(lambda: told.exists() and told.read_text().endswith("\n"), 60.0, "the command")
        raised = alerts()["rejected"]
        assert (
            "4 frames whose key cannot be read in a row (threshold 4), the last: keyword EXPOSURE of 00000"
            in raised["sentence"]
        )
        os.kill(worker_pids(out)[0], signal.SIGKILL)
        for number in range(4, 12):
            write_frame(frames, number, UT=mjd_to_iso(60270.1 + 0.2 * number / 86400.0))
            threading.Event().wait(0.2)  # the cadence of the camera
        for kind in ("no frames", "workers restarted"):
            wait_until(lambda kind=kind: f"alert raised: {kind}" in log(), 60.0, kind)  # type: ignore[misc]
        assert {"rejected", "no_frames", "workers"} == set(alerts())
        write_frame(frames, 12, UT=mjd_to_iso(60270.1 + 2.4 / 86400.0))
        wait_until(lambda: "alert ended: no frames" in log(), 60.0, "the end of the silence")
        code, _output, errors = stop(night)
        assert code == 0, errors
    assert raised in [json.loads(line)["alert"] for line in told.read_text().splitlines()]
    lines = run("status", out).stdout
    assert "alert over: frames rejected from " in lines
    assert "the night was stopped" in lines
    said = log()
    assert "WARNING stream.alerts: alert raised: frames rejected since" in said
    assert "WARNING stream.alerts: alert ended: frames rejected from" in said
    assert re.search(r"alert raised: no frames 1 since .*no frame of camera 1 for [1-9] s.*\(threshold 1 s\)", said)
    assert re.search(r"alert ended: no frames 1 from .*; frames come again", said)
    assert "workers died and were started again 1 time in five minutes (threshold 1)" in said


def test_a_wrong_threshold_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    failed = run("watch", tmp_path / "frames", "--out", tmp_path / "out", "--alert", "fog=1")
    assert failed.returncode == 1
    assert "alert threshold 'fog=1' must be NAME=VALUE with one of silent_cadences, silent_s" in failed.stderr
    assert not (tmp_path / "out").exists()
