"""Sessions: fixation, stolen cookies, tokens of forms, requests of other sites, time, bounds, cookies' flags."""
import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mxallowd.console.sessions import IDLE_S, LONGEST_S, MOST, MOST_OF_A_USER, Sessions
from mxallowd.console.users import Users, line_of
from mxallowd.console.visit import Role, Visit
from mxallowd.control.exchange import Response
from tests.console_site import COOKIE, OTHER, PASSWORD, Console, token_in, users_text

LOGIN = {"name": "anna", "password": PASSWORD}


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with Console(tmp_path) as made:
        yield made


def test_a_cookie_from_before_the_log_in_is_not_taken_over(console: Console) -> None:
    planted = "A" * 43
    assert console.ask("GET", "/", cookie=planted)[0] == 303
    taken = token_in(console.ask("POST", "/login", LOGIN, cookie=planted)[1])
    assert taken != planted
    assert console.ask("GET", "/", cookie=planted)[0] == 303
    # A session of the planter's own ends when somebody logs in with its cookie.
    planters = console.log_in("otto", OTHER)
    console.log_in(cookie=planters)
    assert console.ask("GET", "/", cookie=planters)[0] == 303
    assert console.ask("GET", "/", cookie=taken)[0] == 200


def test_a_cookie_that_stands_twice_is_none(console: Console) -> None:
    cookie = console.log_in()
    assert console.ask("GET", "/", Cookie=f"a=b; {COOKIE}={cookie}; c")[0] == 200
    assert console.ask("GET", "/", Cookie=f"{COOKIE}={'A' * 43}; {COOKIE}={cookie}")[0] == 303
    for value in ("", "x" * 8000, "%00", f"{cookie}x", cookie[:-1], f'"{cookie}"', cookie.swapcase()):
        assert console.ask("GET", "/", cookie=value)[0] == 303
    # The name that only TLS has is not taken without it.
    assert console.ask("GET", "/", cookie=cookie, name="__Host-mxallowd")[0] == 303


def test_a_stolen_cookie_ends_with_log_out_or_password(console: Console) -> None:
    stolen, other = console.log_in(), console.log_in()
    assert console.ask("POST", "/logout", {"csrf": console.csrf(stolen)}, stolen)[0] == 303
    assert console.ask("GET", "/", cookie=stolen)[0] == 303
    assert console.ask("GET", "/api/thing", cookie=stolen)[0] == 401
    assert console.ask("GET", "/", cookie=other)[0] == 200
    otto = console.log_in("otto", OTHER)
    _, _, kept = users_text().partition("\n")
    console.file.write_text(f"{line_of('anna', Role.CHANGE, 'another password')}\n{kept}")
    assert console.ask("GET", "/", cookie=other)[0] == 303
    assert console.ask("GET", "/", cookie=otto)[0] == 200
    console.file.write_text(kept.replace(":look:", ":change:"))
    assert console.ask("GET", "/", cookie=otto)[0] == 303
    assert console.ask("POST", "/login", LOGIN)[0] == 403


def test_a_stream_ends_with_its_session(tmp_path: Path) -> None:
    async def stream(_: Visit) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield b"data: 1\n\n"
                await asyncio.sleep(0.02)
        return Response(content_type="text/event-stream", pieces=pieces())

    with Console(tmp_path, answers={"/api/stream": stream}) as console:
        cookie = console.log_in()
        with console.connected(timeout=5) as made:
            made.sendall(f"GET /api/stream HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={cookie}\r\n\r\n".encode())
            assert b"data: 1" in made.recv(65_536) + made.recv(65_536)
            assert console.ask("POST", "/logout", {"csrf": console.csrf(cookie)}, cookie)[0] == 303
            last = b""
            deadline = time.monotonic() + 5
            while not last.endswith(b"0\r\n\r\n"):
                last = last[-100:] + made.recv(65_536)
                assert time.monotonic() < deadline
            # The browser would ask again for ever: it is told, and may ask whether it still has a session.
            assert b"event: ended\ndata: {}\n\n" in last
        assert console.ask("GET", "/api/session", cookie=cookie)[0] == 401
        status, _, text = console.ask("GET", "/api/session", cookie=console.log_in("otto", OTHER))
        assert (status, json.loads(text)) == (200, {"name": "otto", "role": "look"})


def test_a_form_without_the_token_of_its_session_changes_nothing(console: Console) -> None:
    cookie, other = console.log_in(), console.log_in("otto", OTHER)
    good, foreign = console.csrf(cookie), console.csrf(other)
    assert good != foreign
    for path in ("/change/thing", "/logout"):
        for form in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": good[:-1]}, {"csrf": "\udcff".encode(
                "utf-8", "surrogateescape").decode("latin-1")}, {"CSRF": good}):
            status, _, text = console.ask("POST", path, form, cookie)
            assert status == 403, form
            assert good not in text.split("</header>")[1]
        # Nor does one in the address count.
        assert console.ask("POST", f"{path}?csrf={good}", {}, cookie)[0] == 403
    assert console.log.words() == ["logged-in"] * 2
    assert console.ask("GET", "/", cookie=cookie)[0] == 200
    # Without a session there is nothing to send it to.
    status, _, text = console.ask("POST", "/change/thing", {"csrf": good})
    assert (status, "logged out" in text) == (403, True)


CROSS: list[dict[str, str]] = [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "same-origin", "Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1"}, {"Origin": "http://127.0.0.1:{port}.evil.example"},
    {"Origin": "ftp://127.0.0.1:{port}"},
    {"Origin": "http://127.0.0.1:{port}/"}, {"Origin": "http://x@127.0.0.1:{port}"}, {"Sec_Fetch_Site": "Cross-Site"},
    {"Sec_Fetch_Site": "same-origin, cross-site"}]
OWN: list[dict[str, str]] = [
    {}, {"Origin": "http://127.0.0.1:{port}"}, {"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"},
    {"Sec_Fetch_Site": "none"}]


def test_what_a_page_of_another_site_sends_is_refused(tmp_path: Path) -> None:
    with Console(tmp_path, check=lambda user, password: user is not None and password == PASSWORD) as console:
        cookie = console.log_in()
        csrf = console.csrf(cookie)
        for sent, status in [(one, 403) for one in CROSS] + [(one, 303) for one in OWN]:
            fields = {name: value.format(port=console.port) for name, value in sent.items()}
            assert console.ask("POST", "/change/thing", {"csrf": csrf}, cookie, **fields)[0] == status, fields
            # The log-in as well: else another site could log a browser in as somebody else.
            assert console.ask("POST", "/login", LOGIN, **fields)[0] == status, fields
        assert console.log.words().count("changed") == len(OWN)
        assert console.log.words().count("logged-in") == 1 + len(OWN)


def test_a_session_ends_by_time(tmp_path: Path) -> None:
    now = [1000.0]
    with Console(tmp_path, clock=lambda: now[0]) as console:
        cookie = console.log_in()
        now[0] += IDLE_S - 1
        assert console.ask("GET", "/", cookie=cookie)[0] == 200
        now[0] += IDLE_S
        assert console.ask("GET", "/", cookie=cookie)[0] == 303
        cookie = console.log_in()
        for _ in range(int(LONGEST_S // (IDLE_S - 1))):
            now[0] += IDLE_S - 1
            assert console.ask("GET", "/", cookie=cookie)[0] == 200
        now[0] += IDLE_S - 1
        assert console.ask("GET", "/", cookie=cookie)[0] == 303


def test_there_are_so_many_at_most(tmp_path: Path) -> None:
    file = tmp_path / "users"
    _, _, line = users_text().splitlines()[0].partition(":")
    file.write_text("".join(f"user{number}:{line}\n" for number in range(40)))
    users = Users(file)
    users.refresh()
    found = Sessions(users)
    mine = users.get("user0")
    assert mine is not None
    tokens = [found.begin(mine, "192.0.2.1") for _ in range(MOST_OF_A_USER)]
    used = found.get(tokens[0])
    found.begin(mine, "192.0.2.1")
    assert len(found) == MOST_OF_A_USER
    # The one that was used longest ago has made room.
    assert found.get(tokens[0]) is used
    assert found.get(tokens[1]) is None
    for number in range(1, 40):
        user = users.get(f"user{number}")
        assert user is not None
        for _ in range(MOST_OF_A_USER):
            found.begin(user, "192.0.2.1")
    assert len(found) == MOST
    assert found.get(tokens[0]) is None
    # Neither a token nor its beginning is kept.
    assert not any(token.encode() in key or token[:8] in str(one) for token in tokens
                   for key, one in found._sessions.items())


def test_with_tls_cookies_are_for_tls_alone(tmp_path: Path) -> None:
    with Console(tmp_path, proxies=["127.5.0.1"]) as console:
        _, fields, _ = console.ask("POST", "/login", LOGIN, source="127.5.0.1", X_Forwarded_Proto="https",
                                   X_Forwarded_For="192.0.2.7")
        cookie = token_in(fields)
        assert fields["Set-Cookie"] == f"__Host-mxallowd={cookie}; Path=/; HttpOnly; SameSite=Strict; Secure"
        assert "Strict-Transport-Security" not in fields
        assert console.log.lines == [("logged-in", {"client": "192.0.2.7", "user": "anna", "role": "change"})]
        secure: dict[str, Any] = {"source": "127.5.0.1", "cookie": cookie, "name": "__Host-mxallowd"}
        text = console.ask("GET", "/", **secure, X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.8")[2]
        assert "this is anna from 192.0.2.8" in text
        assert console.ask("GET", "/", **secure)[0] == 303
        # Nobody else's word about himself is taken.
        _, fields, _ = console.ask("POST", "/login", LOGIN, X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.7")
        assert str(fields["Set-Cookie"]).startswith(f"{COOKIE}=")
        assert console.log.lines[-1] == ("logged-in", {"client": "127.0.0.1", "user": "anna", "role": "change"})
