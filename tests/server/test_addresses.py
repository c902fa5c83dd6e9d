"""Every address of the page, by every method, as a stranger, as a watcher and as one in control."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.visitor import Role
from tests.server.door_server import TOKENS, DoorServer, addresses, assert_guarded, door_server, finished_night

CLOSED = ("/autoload.js", "/metadata")
EMPTY = "/static/extensions/1"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_night(tmp_path_factory.mktemp("secret"))


@pytest.fixture(scope="module")
def server(night: Path) -> Iterator[DoorServer]:
    with door_server(night) as running:
        yield running


def test_a_stranger_gets_nothing_from_any_address(server: DoorServer) -> None:
    paths = addresses(server)
    assert {"/", "/ws", "/static/js/bokeh.min.js", "/favicon.ico", "/metrics", "/healthz", "/api/night"} <= set(paths)
    name = f"opticam-live-access-{server.port}"
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": "Bearer " + "x" * 43},
        {"Authorization": f"Basic {TOKENS.control}"},
        {"Cookie": f"{name}={'0' * 64}"},
        {"Cookie": f"{name}={TOKENS.control}"},
        {"Cookie": f"{name}-2={TOKENS.cookie(Role.CONTROL)}"},
    )
    for path in [*paths, "/nothing/here", "/api/nights?night=secret"]:
        for headers in wrong:
            answer = server.ask(path, **headers)
            assert answer.status == (404 if path.endswith(CLOSED) else 401), path
            assert_guarded(answer)
            assert len(answer.content) < 200
    assert "printed when it was started" in server.ask("/").sentence()
    page = server.ask("/", Accept="text/html")
    assert page.status == 401
    assert b"No way in" in page.content
    assert server.ask("/?token=" + "x" * 43).sentence().startswith("the token in this address is not")
    assert not server.sessions()


METHODS = ("HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get")


def test_no_method_but_get_does_anything_whoever_asks(server: DoorServer, night: Path) -> None:
    before = sorted(path.name for path in night.iterdir())
    for path in addresses(server):
        for method in METHODS:
            for headers in ({}, {"Cookie": server.cookie(Role.CONTROL)}):
                answer = server.ask(path, method=method, **headers)
                assert answer.status == 405, (method, path)
                assert_guarded(answer)
    assert sorted(path.name for path in night.iterdir()) == before
    assert not server.sessions()


def test_a_folder_of_nights_is_as_shut(night: Path) -> None:
    (night.parent / "outside").symlink_to("/etc")
    with door_server(night.parent) as server:
        paths = addresses(server)
        assert {"/", "/open", "/night/", "/night/ws", "/api/nights"} <= set(paths)
        for path in paths:
            answer = server.ask(path)
            assert answer.status == (404 if path.endswith(CLOSED) else 401), path
            assert_guarded(answer)
        inside = {"Cookie": server.cookie(Role.CONTROL)}
        for name in (
            "..",
            "../secret",
            "/etc",
            "//evil.example",
            "outside",
            "night/../night",
            "night/",
            "%00",
            "x" * 300,
        ):
            for address in ("/api/night", "/metrics", "/api/light_curve/1:g/1"):
                answer = server.ask(f"{address}?night={name}", **inside)
                assert answer.status == 400, (address, name)
                assert len(answer.content) < 300
        for name, shown in (("night", "night"), ("//evil.example", "%2F%2Fevil.example"), ("a%0d%0ab", "a%0D%0Ab")):
            opened = server.ask(f"/open?night={name}", **inside)
            assert opened.headers["Location"] == f"/night?night={shown}"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/static/../../../../../../etc/passwd", 403),
        ("/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", 403),
        ("/static//etc/passwd", 403),
        ("/static/extensions/..%2f..%2fetc/passwd", 403),
        ("/static/js/%00", 400),
        ("/%0d%0aSet-Cookie:x=1", 400),
        ("/api/light_curve/%2e%2e/1", 400),
        ("/api/light_curve/1:g/-1", 400),
        ("/api/light_curve/1:g/1?photometer=../../x", 400),
        ("/api/figure?format=../../x", 400),
        ("/api/frames?since=99999999999999999999", 400),
        ("/night.db", 404),
        ("/.tokens.toml", 404),
        ("/.keys/broker.key_secret", 404),
    ],
)
def test_nobody_reaches_past_what_is_served(server: DoorServer, path: str, status: int) -> None:
    answer = server.ask(path, Cookie=server.cookie(Role.CONTROL))
    assert answer.status == status
    assert_guarded(answer)
    assert b"root:" not in answer.content
    assert b"Traceback" not in answer.content


def test_a_watcher_sees_every_address_but_the_closed_ones(server: DoorServer) -> None:
    for path in addresses(server):
        if path in ("/ws", "/api/events"):
            continue
        answer = server.ask(path, Cookie=server.cookie(Role.WATCH))
        assert answer.status == (404 if path.endswith((*CLOSED, EMPTY)) else 200), (path, answer.content)
        assert_guarded(answer)
        for secret in (TOKENS.watch, TOKENS.control, TOKENS.cookie(Role.WATCH), TOKENS.cookie(Role.CONTROL)):
            assert secret.encode() not in answer.content
    assert server.ask("/api/keys", Authorization=f"Bearer {TOKENS.watch}").status == 200
