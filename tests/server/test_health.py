"""The line of health, and texts that are safe to show."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from server.ages import age_text
from server.alert_list import list_text, open_text
from server.health_panel import health_text
from server.night_view import NightView
from server.spectrum_views import significant
from stream.alerts import Alert, AlertKind, gathered
from stream.messages import NightStatus
from stream.night.ledger_schema import LedgerCounts
from stream.night.report import NightReport

STATUS = NightStatus(
    state="live",
    unix_s=1000.0,
    n_measured=12345,
    n_rejected=2,
    n_waiting=0,
    n_queued=3,
    n_in_work=2,
    n_workers=2,
    n_worker_restarts=0,
    frames_per_s=29.97,
    lag_s=0.023,
    last_frame_unix_s=998.0,
    awaited=("3 of 5 frames for the catalog of <2:r>",),
)


def line(**changes: object) -> str:
    return health_text(NightView("night", status=msgspec.structs.replace(STATUS, **changes)), 1001.0)


def test_a_live_night_says_all_its_figures() -> None:
    text = line()
    for words in ("live", "12,345", "30.0", "0.02 s", "<b>5</b>", "3 s ago", "3 of 5 frames"):
        assert words in text
    assert "&lt;2:r&gt;" in text
    assert "restarted" not in text


def test_a_night_that_died_is_not_called_live() -> None:
    assert "not running" in line(unix_s=900.0)
    assert "last word 101 s ago" in line(unix_s=900.0)
    assert "not running" not in line(unix_s=900.0, state="finished")


def test_unknown_figures_are_not_shown_as_numbers() -> None:
    text = line(lag_s=math.nan, last_frame_unix_s=math.nan)
    assert "nan" not in text
    assert "last frame" not in text
    assert "no word of the night yet" in health_text(NightView("night"), 0.0)


def test_notices_are_escaped() -> None:
    assert "<script>" not in health_text(NightView("night", notices=("<script>alert(1)</script>",)), 0.0)


CLOUDS = Alert(7, AlertKind.CLOUDS, "1:g", "transparency 0.5 <b> (threshold 20 %)", 0.0, time_mjd_utc=60270.0)
OVER = Alert(6, AlertKind.DISK, "/data", "1.0 GB are free", 10.0, 70.0, ended="there is room again")


def test_alerts_that_last_stand_in_the_line_with_their_age_and_all_of_them_in_the_list() -> None:
    text = health_text(NightView("night", status=STATUS, alerts=(CLOUDS, OVER)), 1001.0)
    for words in ("<b>clouds 1:g</b>", "for 17 min", "transparency 0.5 &lt;b&gt; (threshold 20 %)"):
        assert words in text
    assert "disk" not in text
    assert open_text([OVER], 1001.0) == ""
    listed = list_text([CLOUDS, OVER])
    for words in ("00:00:00 to now", "(frame of 2023-11-22 00:00:00)", "00:00:10 to 00:01:10", "there is room again"):
        assert words in listed
    many = [msgspec.structs.replace(CLOUDS, kind=AlertKind.REJECTED, subject=f"{number}:g") for number in range(9)]
    assert "and 5 more" in open_text(many, 1.0)


def test_one_cloud_over_three_cameras_is_one_line_that_names_them() -> None:
    def alert(number: int, subject: str, since_unix_s: float, kind: AlertKind = AlertKind.CLOUDS) -> Alert:
        return Alert(number, kind, subject, f"transparency of {subject} low", since_unix_s)

    newest_first = [
        alert(9, "3:i", 400.0),
        alert(8, "1:g#2", 12.0, AlertKind.SATURATED),
        alert(7, "2:r", 9.0),
        OVER,
        alert(5, "3:i", 8.0, AlertKind.SEEING),
        alert(4, "1:g", 5.0),
    ]
    shown = gathered(newest_first)
    assert [each.title for each in shown] == [
        "clouds 3:i",
        "saturated 1:g#2",
        "clouds 1:g, 2:r",
        "seeing jumped 3:i",
    ]
    assert (shown[2].number, shown[2].since_unix_s, shown[2].sentence) == (4, 5.0, "transparency of 1:g low")
    text = open_text(newest_first, 600.0)
    assert text.count("<b>clouds 1:g, 2:r</b>") == 1
    report = NightReport(Path("night"), LedgerCounts(0, 0, 0, 0, {}, {}), None, None, (), tuple(newest_first))
    assert sum(line.startswith("alert: ") for line in report.lines()) == 4


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(-1.0, "0 s"), (3.4, "3 s"), (600.0, "10 min"), (18_720.0, "5.2 h"), (4 * 86400.0, "4 days")],
)
def test_age(age_s: float, text: str) -> None:
    assert age_text(age_s) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(0.1349961, 2.1e-5, "0.13500"), (0.135, 0.003, "0.135"), (3.5, math.nan, "3.5"), (12.0, 4.0, "12.0")],
)
def test_significant_digits(value: float, error: float, text: str) -> None:
    assert significant(value, error) == text
