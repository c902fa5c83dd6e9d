"""The interface for programs, asked over HTTP as they would: one night, and a folder of nights."""

from __future__ import annotations

import json
import math
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from server.api import routes
from server.api_reference import openapi
from server.nights import Nights
from stream.alerts import Alert, AlertKind
from stream.errors import ConfigurationError
from stream.night.ledger import LedgerReader
from stream.notes import Note, load_notes, save_notes, with_note
from tests.browser.page_driver import served
from tests.server.fake_night import KEYS, START_MJD, VARIABLE, FakeNight

ROOT = Path(__file__).resolve().parents[2]
N_STEPS = 400
DISK = Alert(1, AlertKind.DISK, "/data", "1.0 GB are free", 10.0, 70.0, ended="there is room again")
CLOUDS = Alert(2, AlertKind.CLOUDS, "1:g", "transparency 0.50", 80.0, value=0.5, threshold=0.8)


@dataclass(frozen=True, slots=True)
class Served:
    """A folder with two nights, its server and that of one of them."""

    out: Path
    one: str
    all: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("nights")
    out = root / "2026" / "march"
    night = FakeNight(out)
    night.advance(N_STEPS)
    night.tell(CLOUDS, DISK)
    night.finish()
    save_notes(out, with_note((), Note(START_MJD + 0.001, "clouds, from the\nwest")))
    shutil.copytree(out, root / "april")
    (root / "link").symlink_to(out)
    (root / "old").mkdir()
    (root / "old" / "night.db").write_text("no ledger", encoding="ascii")
    with served(out) as one, served(root) as several:
        yield Served(out, one, several)


def ask(address: str, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and content of an answer."""
    request = urllib.request.Request(address.rstrip("/") + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20.0) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def found(address: str, path: str) -> Any:
    status, content = ask(address, path)
    assert status == 200, content
    return json.loads(content)


def test_the_description_is_that_of_the_routes_and_of_the_file() -> None:
    described = {re.sub(r"\{\w+\}", "([^/]+)", path) for path in openapi()["paths"]}
    single = Nights(ROOT)
    single.is_single = True
    assert {pattern for pattern, _handler, _given in routes(single)} == described
    text = json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n"
    assert (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8") == text


def test_the_night_its_keys_and_its_frames(server: Served) -> None:
    night = found(server.one, "/api/night")
    assert night["status"]["state"] == "finished"
    assert night["counts"]["n_measured"] + night["counts"]["n_rejected"] == 3 * N_STEPS == night["last_sequence"]
    assert [(alert["kind"], alert["until_unix_s"]) for alert in night["alerts"]] == [("clouds", None)]
    assert [(alert["number"], alert["ended"]) for alert in night["alerts_over"]] == [(1, "there is room again")]
    assert [note["text"] for note in night["notes"]] == ["clouds, from the west"]
    keys = found(server.one, "/api/keys")
    assert [(each["key"], each["target"]) for each in keys] == [(key, VARIABLE) for key in KEYS]
    assert len(keys[0]["sources"]) == 6
    frames = found(server.one, f"/api/frames?since={3 * N_STEPS - 5}&limit=3")
    assert [each["sequence"] for each in frames] == [3 * N_STEPS - 4, 3 * N_STEPS - 3, 3 * N_STEPS - 2]
    assert {each["state"] for each in frames} == {"measured"}
    rejected = [each for each in found(server.one, "/api/frames?limit=10000") if each["state"] == "rejected"]
    assert len(rejected) == night["counts"]["n_rejected"]
    assert rejected[0]["reason"] == "TRUNCATED"


def test_light_curves_are_those_of_the_ledger_in_every_format(server: Served, tmp_path: Path) -> None:
    reader = LedgerReader(server.out)
    label = reader.recipe().default_label()
    fluxes = reader.source_fluxes(KEYS[0], label)
    reader.close()
    raw = found(server.one, f"/api/light_curve/{KEYS[0]}/5")
    assert raw["columns"]["flux"][3] is None
    np.testing.assert_array_equal(np.array(raw["columns"]["flux"], dtype=float), fluxes.flux[:, 4])
    since = float(fluxes.time_mjd_utc[-4])
    late = found(server.one, f"/api/light_curve/{KEYS[0]}/5?since={since!r}")
    assert late["columns"]["flux"] == raw["columns"]["flux"][-3:]
    status, csv = ask(server.one, f"/api/light_curve/{KEYS[0]}/target?format=csv")
    assert status == 200
    assert b"clouds, from the west" in csv
    assert sum(not line.startswith(b"#") for line in csv.splitlines()) == len(fluxes.frame_ids) + 1
    assert b"%ECSV 1.0" in ask(server.one, f"/api/light_curve/{KEYS[0]}/target?format=ecsv")[1]
    path = tmp_path / "curve.fits"
    path.write_bytes(ask(server.one, f"/api/light_curve/{KEYS[0]}/target?format=fits")[1])
    with fits.open(path) as hdus:
        assert abs(float(np.median(hdus[1].data["FLUX"])) - 1.0) < 0.01
        assert any("clouds" in str(line) for line in hdus[1].header["HISTORY"])
    aavso = ask(server.one, f"/api/light_curve/{KEYS[0]}/target?format=aavso&observer=ABC&star=Test+Star")[1]
    assert aavso.startswith(b"#TYPE=EXTENDED")


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/api/light_curve/1:g/99", 400, "source 99 is not in the catalog of 1:g, which has sources 1 to 6"),
        ("/api/light_curve/9:z/1", 400, "key '9:z' has no catalog: there are 1:g, 2:r, 3:i so far"),
        ("/api/light_curve/1:g/first", 400, "source ('first') must be a number of the catalog, or 'target'"),
        ("/api/light_curve/1:g/1?format=xml", 400, "format 'xml' must be one of json, csv, ecsv, fits, aavso"),
        ("/api/light_curve/1:g/1?photometer=best", 400, "photometer 'best' must be one of"),
        ("/api/light_curve/1:g/1?since=noon", 400, "since ('noon') must be a number"),
        ("/api/light_curve/1:g/target?format=aavso", 400, "observer '': the AAVSO format requires the observer code"),
        ("/api/frames?limit=0", 400, "limit ('0') must be a whole number from 1 to 10000"),
        ("/api/figure?format=gif", 400, "format 'gif' of a figure must be one of png, svg, pdf"),
        ("/api/night?night=other", 400, "night 'other' is not served here"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(server: Served, path: str, status: int, sentence: str) -> None:
    answered, content = ask(server.one, path)
    assert answered == status
    assert json.loads(content)["error"].startswith(sentence)


def test_a_page_elsewhere_gets_nothing(server: Served) -> None:
    assert ask(server.one, "/api/night", Host="evil.example:80")[0] == 403
    assert ask(server.one, "/metrics", Host="localhost")[0] == 200


def test_metrics_health_and_events(server: Served) -> None:
    text = ask(server.one, "/metrics")[1].decode()
    assert re.search(r'^opticam_live_frames_measured\{key="1:g"\} 396\.0$', text, re.MULTILINE)
    assert 'opticam_live_night_state{state="finished"} 1.0' in text
    assert 'opticam_live_alerts{kind="clouds"} 1.0' in text
    assert 'opticam_live_alerts{kind="disk"} 0.0' in text
    assert found(server.one, "/healthz") == {"status": "ok"}
    with urllib.request.urlopen(server.one + "api/events", timeout=10.0) as events:
        assert events.readline() == b"event: night\n"
        said = json.loads(events.readline().removeprefix(b"data: "))
    assert said["last_sequence"] == 3 * N_STEPS
    assert said["n_measured"] == dict.fromkeys(KEYS, 396)
    assert said["alerts"] == ["clouds 1:g"]


def test_a_figure_for_a_message(server: Served) -> None:
    assert ask(server.one, "/api/figure?what=light_curves")[1].startswith(b"\x89PNG")
    assert b"<svg" in ask(server.one, "/api/figure?what=power_spectra&format=svg")[1]


def test_a_folder_of_nights_lists_them_and_opens_each(server: Served) -> None:
    nights = {night["name"]: night for night in found(server.all, "/api/nights")}
    assert set(nights) == {"2026/march", "april", "old"}
    assert nights["april"]["n_measured"] == 3 * 396
    assert "cannot be read" in nights["old"]["sentence"]
    html = ask(server.all, "/")[1].decode()
    assert 'href="/open?night=2026/march"' in html
    status, page = ask(server.all, "/open?night=2026%2Fmarch")
    assert status == 200
    assert b"<title>march \xc2\xb7 opticam-live</title>" in page
    assert found(server.all, "/api/night?night=april")["counts"]["n_measured"] == 3 * 396
    for name, sentence in (
        ("../x", "must be one of"),
        ("link", "must be one of"),
        ("a/b/c/d", "must be one of"),
        ("june", "is not there"),
        ("old", "cannot be read"),
    ):
        assert sentence in ask(server.all, f"/api/night?night={name}")[1].decode()
    assert b"This night cannot be shown" in ask(server.all, "/night?night=june")[1]


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        (Note(61000.0, "  "), "1 to 200 printable characters are required"),
        (Note(61000.0, "x" * 201), "1 to 200 printable characters are required"),
        (Note(math.nan, "clouds"), r"time_mjd_utc \(nan\) of a note must be a finite number"),
    ],
)
def test_a_note_needs_words_and_a_time(note: Note, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        with_note((), note)


def test_notes_that_cannot_be_read_are_a_sentence(tmp_path: Path) -> None:
    assert load_notes(tmp_path) == ()
    (tmp_path / "notes.toml").write_text("note = 3", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"notes .*notes\.toml: Expected `array`"):
        load_notes(tmp_path)
