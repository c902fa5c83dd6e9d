"""The command line of the page: its address, its errors, its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from server.serving import wait_for_ledger
from server.tokens import load_or_make_tokens
from stream.errors import ConfigurationError, LedgerError
from stream.night.night_folder import NightFolder
from stream.night.supervisor import PageServer
from stream.page_options import TOKENS_FILE, PageAccess
from stream.processes import refuse_busy_port
from tests.night.processes import is_alive
from tests.night.waiting import wait_until
from tests.server.fake_night import FakeNight

pytestmark = pytest.mark.clock

PROJECT = Path(__file__).resolve().parents[2]


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "opticam_live", "serve", str(out), *options]


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(out, *options),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(number)
    output, errors = process.communicate(timeout=5.0)
    return process.returncode, output, errors


def small_night(out: Path) -> None:
    night = FakeNight(out)
    night.advance(20)
    night.finish()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_line_with_the_address_then_a_clean_end(tmp_path: Path, number: int) -> None:
    small_night(tmp_path)
    process = start(tmp_path, "--port", "0")
    assert process.stdout is not None
    found = re.fullmatch(r"page: (http://localhost:\d+/)\n", process.stdout.readline())
    assert found is not None
    with urllib.request.urlopen(found[1], timeout=10.0) as answer:
        assert answer.status == 200
        assert f"<title>{tmp_path.name} · opticam-live</title>" in answer.read().decode()
    with urllib.request.urlopen(found[1] + "static/js/bokeh.min.js", timeout=10.0) as answer:
        assert answer.status == 200
    assert ended(process, number) == (0, "", "")


def test_the_night_hands_tokens_on_and_the_page_keeps_them(tmp_path: Path) -> None:
    small_night(tmp_path)
    (tmp_path / "log").mkdir()
    page = PageServer(tmp_path, 0, PageAccess(host="0.0.0.0", token=True))
    page.start()
    try:
        wait_until(lambda: page.address is not None, 30.0, "the address of the page")
        assert page.address is not None
        lines = dict(line.split(": ", 1) for line in page.invitations)
        assert set(lines) == {"control", "watch", "note"}
        assert "read along" in lines["note"]
        assert stat.S_IMODE((tmp_path / TOKENS_FILE).stat().st_mode) == 0o600
        tokens = load_or_make_tokens(tmp_path / TOKENS_FILE)
        assert lines["control"] == f"{page.address}?token={tokens.control}"
        assert lines["watch"] == f"{page.address}?token={tokens.watch}"
        local = f"http://127.0.0.1:{page.address.rstrip('/').rpartition(':')[2]}/api/openapi.json"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(local, timeout=10.0)
        bearer = urllib.request.Request(local, headers={"Authorization": f"Bearer {tokens.watch}"})
        with urllib.request.urlopen(bearer, timeout=10.0) as answer:
            assert answer.status == 200
    finally:
        page.stop(5.0)
    said = b"".join(path.read_bytes() for path in (tmp_path / "log").iterdir())
    assert tokens.control.encode() not in said
    assert tokens.watch.encode() not in said


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    small_night(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            command(tmp_path, "--port", str(port)), cwd=PROJECT, capture_output=True, text=True, timeout=30.0
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"error: port {port} on localhost cannot be used: Address already in use\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--host", "0.0.0.0"),
            "host 0.0.0.0 is reached from other machines: --token lets in by an address with a token",
        ),
        (("--port", "70000"), "port 70000 must be from 0 to 65535"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    small_night(tmp_path)
    done = subprocess.run(command(tmp_path, *options), cwd=PROJECT, capture_output=True, text=True, timeout=30.0)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path / "none"), cwd=PROJECT, capture_output=True, text=True, timeout=30.0)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path / 'none'} holds no night: there is no night.db in it\n"


def test_a_folder_without_a_night_fails_at_once_and_stays_empty(tmp_path: Path) -> None:
    class Impatient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise AssertionError(f"it waits {timeout} s for a night that nobody starts")

    with pytest.raises(LedgerError, match=r"there is no night\.db in it"):
        wait_for_ledger(tmp_path, Impatient())
    done = subprocess.run(command(tmp_path), cwd=PROJECT, capture_output=True, text=True, timeout=60.0)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path} holds no night: there is no night.db in it\n"
    assert list(tmp_path.iterdir()) == []


def test_a_night_that_is_just_starting_is_waited_for(tmp_path: Path) -> None:
    never = threading.Event()
    told_to_stop = threading.Event()
    told_to_stop.set()
    with NightFolder(tmp_path):
        with pytest.raises(LedgerError, match=r"there is no night\.db in it"):
            wait_for_ledger(tmp_path, never, timeout_s=0.0)
        assert not wait_for_ledger(tmp_path, told_to_stop, timeout_s=20.0)
        later = threading.Timer(0.3, small_night, (tmp_path,))
        later.start()
        assert wait_for_ledger(tmp_path, never, timeout_s=20.0)
        later.join()


PARENT = """
import os, subprocess, sys
words = [*sys.argv[1:], "--parent", str(os.getpid())]
page = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
print(page.pid, page.stdout.readline(), flush=True)
sys.stdin.read()
"""


def test_the_page_ends_and_leaves_its_port_when_its_night_is_killed(tmp_path: Path) -> None:
    small_night(tmp_path)
    words = [sys.executable, "-c", PARENT, *command(tmp_path, "--port", "0")]
    with subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as night:
        assert night.stdout is not None
        found = re.match(r"(\d+) page: http://localhost:(\d+)/", night.stdout.readline())
        assert found is not None
        with pytest.raises(ConfigurationError, match=f"port {found[2]} on localhost cannot be used"):
            refuse_busy_port(int(found[2]))
        night.kill()
    refuse_busy_port(int(found[2]), timeout_s=10.0)
    wait_until(lambda: not is_alive(int(found[1])), 10.0, "the end of the page")
