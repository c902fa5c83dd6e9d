"""Who gets in, as what: tokens, cookies, hosts, origins and roles."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bokeh.events import ButtonClick, DocumentReady, DoubleTap, Tap
from bokeh.models import Button, Div
from bokeh.util.token import generate_jwt_token, get_session_id

from server.rates import Rates
from server.tokens import Tokens, load_or_make_tokens, tls_context
from server.visitor import WATCHING, Role
from stream.errors import ConfigurationError
from stream.notes import NOTES_FILE
from stream.page_options import Limits, PageAccess
from stream.selection import SELECTION_FILE, load_selection
from tests.server.door_server import TOKENS, DoorServer, assert_guarded, door_server, finished_night
from tests.server.test_feed import wait_for


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_night(tmp_path_factory.mktemp("secret"))


@pytest.fixture(scope="module")
def server(night: Path) -> Iterator[DoorServer]:
    with door_server(night) as running:
        yield running


@pytest.mark.parametrize("role", list(Role))
def test_a_token_in_the_address_becomes_a_cookie_that_scripts_do_not_see(server: DoorServer, role: Role) -> None:
    token = TOKENS.control if role is Role.CONTROL else TOKENS.watch
    answer = server.ask(f"//evil.example/?tab=frame&token={token}&bin=5")
    assert answer.status == 303
    assert answer.headers["Location"] == "/evil.example/?tab=frame&bin=5"
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(server.cookie(role) + ";")
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert token not in cookie
    assert server.ask("/api/openapi.json", Cookie=cookie.partition(";")[0]).status == 200


def test_a_host_and_an_origin_of_somebody_else_get_nothing(server: DoorServer) -> None:
    inside = {"Cookie": server.cookie(Role.CONTROL)}
    for path in ("/", "/api/night", "/static/js/bokeh.min.js", "/ws"):
        answer = server.ask(path, Host="evil.example:5006", **inside)
        assert answer.status == 403
        assert answer.sentence().startswith("host 'evil.example:5006' must be one of localhost, 127.0.0.1, [::1]")
    for origin in ("https://evil.example", "null", "http://localhost:3000", "http://localhost.evil.example"):
        assert server.ask("/", Origin=origin, **inside).status == 403
        assert server.join(generate_jwt_token("a-session"), Origin=origin, **inside) == 403
    # Through ssh -L the port is another one than that of the server.
    tunnelled = server.ask("/api/openapi.json", Host="localhost:7777", Origin="http://localhost:7777", **inside)
    assert tunnelled.status == 200
    assert server.ask("/api/openapi.json", method="POST", **inside).status == 405
    assert server.ask("/?bokeh-session-id=chosen", **inside).status == 400
    assert server.ask("/", Bokeh_Session_Id="chosen", **inside).status == 400


def test_a_page_elsewhere_cannot_use_up_what_its_visitor_may_ask_for(night: Path) -> None:
    """Pictures whose address is that of a page on the visitor's own machine: each would begin a session."""
    limits = Limits(requests_per_s=0.001, burst=25.0, heavy=10.0, sessions=1)
    with door_server(night, access=PageAccess(), tokens=None, limits=limits) as server:
        for site in ("cross-site", "same-site"):
            for dest in ("image", "iframe", "script", "empty"):
                drawn_in = {"Sec_Fetch_Site": site, "Sec_Fetch_Dest": dest, "Sec_Fetch_Mode": "no-cors"}
                assert server.ask("/", **drawn_in).status == 403
        assert server.ask("/", Host="evil.example").status == 403
        assert not server.sessions()
        assert server.ask("/api/openapi.json", Sec_Fetch_Site="same-origin", Sec_Fetch_Dest="empty").status == 200
        # A link in a message, from wherever it is followed.
        link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document", "Sec_Fetch_Mode": "navigate"}
        assert server.ask("/", **link).status == 200


def test_a_named_origin_is_let_in_by_https() -> None:
    from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

    from server.door import Door, Invitation, Refusal

    access = PageAccess(token=True, origins=("https://night.example.org",))
    door = Door(access, TOKENS, 5006)
    uri = f"/?token={TOKENS.watch}"

    def request(host: str, origin: str) -> HTTPServerRequest:
        headers = HTTPHeaders({"Host": host, "Origin": origin})
        connection: Any = _Connection()
        line = RequestStartLine("GET", uri, "HTTP/1.1")
        return HTTPServerRequest(headers=headers, connection=connection, start_line=line)

    proxied = request("night.example.org", "https://night.example.org")
    assert isinstance(door.receive(proxied), Invitation)
    assert door.is_secure(proxied)
    assert isinstance(door.receive(request("localhost:5006", "https://night.example.org")), Invitation)
    assert isinstance(door.receive(request("night.example.org", "http://night.example.net")), Refusal)
    assert "night.example.org:80" in door.websocket_origins()


class _Connection:
    context = None


def test_a_websocket_is_for_those_who_are_in_and_not_above_their_role(server: DoorServer) -> None:
    token = re.search(rb'"token":"([^"]+)"', server.ask("/", Cookie=server.cookie(Role.CONTROL)).content)
    assert token is not None
    of_control = token[1].decode()
    assert server.join(of_control) == 401
    assert server.join(of_control, Cookie=server.cookie(Role.WATCH)) == 403
    name = get_session_id(of_control)
    forged = [
        "no token at all",
        "",
        generate_jwt_token(name, extra_payload={"cookies": {"role": "control"}}),
        generate_jwt_token("mine"),
        generate_jwt_token("mine", secret_key=b"of somebody else", signed=True),
        of_control.partition(".")[0],
        of_control[:-3] + "AAA",
        *(
            urlsafe_b64encode(text).decode().rstrip("=") + ".AAAA"
            for text in (b"[1]", b"{}", b'{"session_id":5}', b"x")
        ),
    ]
    for role in Role:
        for token in forged:
            assert server.join(token, Cookie=server.cookie(role)) == 403, token
    assert server.join(of_control, Cookie=server.cookie(Role.CONTROL)) == 101


def session_of(server: DoorServer, role: Role, path: str = "/") -> Any:
    """The session behind a page that was just opened."""
    before = set(map(id, server.sessions()))
    assert server.ask(path, Cookie=server.cookie(role)).status == 200
    (session,) = (session for session in server.sessions() if id(session) not in before)
    # Light curves come first: the other panels are filled when the browser says that it has drawn them.
    server.with_document(session, lambda page: page.callbacks.trigger_event(DocumentReady()))
    wait_for(lambda: server.with_document(session, lambda page: len(page.get_model_by_name("sources").data["x"]) > 0))
    return session


def press_everything(document: Any) -> None:
    """Do what a hand could, or a program that speaks for it: buttons, clicks on the field, whatever is disabled."""
    for tab in (0, 0, document.get_model_by_name("tabs").labels.index("take away")):
        document.get_model_by_name("tabs").active = tab
        for name, text in (("ensemble_name", "mine"), ("note", "clouds")):
            widget = document.get_model_by_name(name)
            if widget is not None:
                widget.value = text
        for count, verb in enumerate(("target", "in", "out")):
            document.get_model_by_name("star_press").value = f"{verb} 4 {count + 1}"
        field = document.get_model_by_name("field_figure")
        for sets in (0, 1):
            document.get_model_by_name("click").active = sets
            for x, y in ((90.0, 200.0), (210.0, 190.0)):
                for kind in (Tap, DoubleTap):
                    field._trigger_event(kind(field, x=x, y=y, sx=0, sy=0, modifiers={"shift": False}))
        for button in [model for model in document.select({"type": Button}) if model.name not in ("undo", "unpin")]:
            button._trigger_event(ButtonClick(button))


def test_a_watcher_changes_nothing_whatever_is_pressed(server: DoorServer, night: Path) -> None:
    def look(document: Any) -> tuple[list[str], list[bool], str]:
        press_everything(document)
        changing = ("automatic", "undo", "ensemble_save", "ensemble_name", "click", "pin", "note", "unpin")
        disabled = [document.get_model_by_name(name).disabled for name in changing]
        said = document.get_model_by_name("note_answer").text
        return [div.text for div in document.select({"type": Div})], disabled, said

    texts, disabled, said = server.with_document(session_of(server, Role.WATCH), look)
    assert all(disabled)
    assert WATCHING in said
    assert any(WATCHING in text for text in texts if text != said)
    assert not (night / SELECTION_FILE).exists()
    assert not (night / NOTES_FILE).exists()


def test_one_in_control_changes_the_night(server: DoorServer, night: Path) -> None:
    session = session_of(server, Role.CONTROL)
    server.with_document(session, press_everything)
    try:
        assert load_selection(night).ensembles["mine"]
        assert (night / NOTES_FILE).exists()
        assert not server.with_document(session, lambda page: list(page.select({"disabled": True})))
    finally:
        for name in (SELECTION_FILE, NOTES_FILE):
            (night / name).unlink(missing_ok=True)


def test_anyone_watches_where_anyone_may_and_does_no_more(night: Path) -> None:
    with door_server(night, access=PageAccess(allow_anyone=True)) as server:
        assert server.ask("/api/night").status == 200
        assert server.ask("/").status == 200
        (session,) = server.sessions()
        assert server.with_document(session, lambda page: page.get_model_by_name("automatic").disabled)


def test_rates_pages_and_listeners_are_bounded(night: Path) -> None:
    limits = Limits(requests_per_s=0.001, burst=40.0, heavy=10.0, sessions=1, streams=1)
    with door_server(night, access=PageAccess(), tokens=None, limits=limits) as server:
        assert server.listen("/api/events") == 200
        full = server.ask("/api/events")
        assert (full.status, full.sentence()) == (503, "1 listeners are connected, which is the most at a time")
        assert server.ask("/").status == 200
        second = server.ask("/")
        assert (second.status, second.headers["Retry-After"]) == (503, "5")
        assert second.sentence() == "1 pages are open, which is the most that this server shows at a time"
        statuses = [server.ask("/api/openapi.json").status for _ in range(20)]
        assert statuses[0] == 200
        assert statuses[-1] == 429
        late = server.ask("/static/js/bokeh.min.js")
        assert late.sentence() == "too many requests from this address: try again in a few seconds"
        assert_guarded(late)


def test_a_bucket_fills_again_and_is_of_one_network() -> None:
    now = [100.0]
    rates = Rates(Limits(requests_per_s=2.0, burst=3.0), clock=lambda: now[0])
    assert [rates.allow("10.0.0.1", 1.0) for _ in range(4)] == [True, True, True, False]
    assert rates.allow("10.0.0.2", 1.0)
    now[0] += 0.5
    assert [rates.allow("10.0.0.1", 1.0) for _ in range(2)] == [True, False]
    assert [rates.allow(f"2001:db8::{number:x}", 1.0) for number in range(1, 5)] == [True, True, True, False]
    for number in range(5000):
        rates.allow(f"10.1.{number // 250}.{number % 250}", 1.0)
    assert rates.allow("10.0.0.1", 3.0)


@pytest.mark.parametrize(
    ("access", "sentence"),
    [
        (PageAccess(host="0.0.0.0"), r"host 0\.0\.0\.0 is reached from other machines: --token lets in .* --allow-any"),
        (PageAccess(host="dome.example.org"), r"host dome\.example\.org is reached from other machines"),
        (PageAccess(host="a b"), r"host 'a b' must be a name or an address"),
        (PageAccess(tls_cert=Path("c.pem")), r"--tls-cert needs --tls-key too"),
        (PageAccess(tls_key=Path("k.pem")), r"--tls-key needs --tls-cert too"),
        (PageAccess(origins=("night.example.org",)), r"origin 'night\.example\.org' must be as https://night"),
        (PageAccess(origins=("https://night.example.org/x",)), r"origin 'https://night\.example\.org/x' must be"),
    ],
)
def test_options_that_let_in_by_oversight_are_refused(access: PageAccess, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        access.check()


def test_options_that_are_meant_are_taken() -> None:
    for access in (
        PageAccess(),
        PageAccess(host="::1"),
        PageAccess(host="127.0.0.7"),
        PageAccess("0.0.0.0", token=True),
    ):
        access.check()
    assert not PageAccess().has_tokens
    assert PageAccess("::", allow_anyone=True).has_tokens
    words = PageAccess("dome", True, Path("t"), True, ("http://a:1", "https://b"), Path("c"), Path("k")).words()
    assert " ".join(words) == (
        "--host dome --token --allow-anyone --token-file t --tls-cert c --tls-key k --origin http://a:1 --origin https://b"
    )


def test_tokens_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    made = load_or_make_tokens(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_make_tokens(path) == made
    assert len(made.control) >= 43
    assert made.role_of(made.control) is Role.CONTROL
    assert made.role_of(made.watch) is Role.WATCH
    assert made.role_of("ä" * 43) is None
    assert made.role_of_cookie(made.cookie(Role.WATCH)) is Role.WATCH
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"tokens\.toml may be read by others \(mode 0640\): chmod 600"):
        load_or_make_tokens(path)
    with pytest.raises(ConfigurationError, match=r"token file .*none/t cannot be used: No such file or directory"):
        load_or_make_tokens(tmp_path / "none" / "t")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "control = 'short'\nwatch = 'short'",
            "'control' and 'watch' of 20 to 200 letters, digits, - or _ are required",
        ),
        ("", "'control' and 'watch' of 20 to 200"),
        ("no toml", "'control' and 'watch' of 20 to 200"),
        (f"control = '{'a' * 30}'\nwatch = '{'a' * 30}'", "'control' and 'watch' must differ"),
    ],
)
def test_a_file_without_two_tokens_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=sentence):
        load_or_make_tokens(path)


def test_https_by_a_certificate_whose_key_is_its_owners(tmp_path: Path, night: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl that could make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    made = [*words.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(made, check=True, capture_output=True, timeout=30.0)
    key.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"key .*key\.pem may be read by others \(mode 0644\)"):
        tls_context(cert, key)
    key.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"certificate .*key\.pem with key .* cannot be used"):
        tls_context(key, key)
    with pytest.raises(ConfigurationError, match=r"cannot be used: No such file or directory"):
        tls_context(cert, tmp_path / "none.pem")
    with door_server(night, access=PageAccess(token=True, tls_cert=cert, tls_key=key)) as server:
        import ssl
        import urllib.request

        trusting = ssl.create_default_context(cafile=str(cert))
        request = urllib.request.Request(
            f"https://localhost:{server.port}/api/openapi.json", headers={"Authorization": f"Bearer {TOKENS.watch}"}
        )
        with urllib.request.urlopen(request, context=trusting, timeout=20.0) as answer:
            assert answer.status == 200


def test_tokens_differ_from_their_cookies() -> None:
    other = Tokens(control="d" * 43, watch="w" * 43)
    assert other.cookie(Role.CONTROL) != TOKENS.cookie(Role.CONTROL)
    assert TOKENS.role_of(TOKENS.cookie(Role.CONTROL)) is None
    assert TOKENS.role_of_cookie(TOKENS.control) is None
