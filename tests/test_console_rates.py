"""Requests of strangers and of users: how many there may be, and that those of the one take nothing from the other."""
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mxallowd.console import rates
from mxallowd.console.rates import STRANGER_AT_ONCE, STRANGER_PER_S, Rates
from mxallowd.control.exchange import RequestError
from tests.console_site import Console

LOGIN = b"GET /login HTTP/1.1\r\nHost: x\r\n\r\n"


def taken(made: Rates, address: str) -> bool:
    with suppress(RequestError):
        made.check(address, None)
        return True
    return False


def test_a_stranger_has_a_burst_and_then_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "COUNTED", 3)
    now = [0.0]
    made = Rates(lambda: now[0])
    assert sum(taken(made, "2001:db8::1") for _ in range(100)) == STRANGER_AT_ONCE
    # Whoever has one address of a /64 has all of it.
    assert not taken(made, "2001:db8::2")
    assert taken(made, "2001:db8:0:1::1")
    now[0] += 1
    assert sum(taken(made, "2001:db8::3") for _ in range(100)) == STRANGER_PER_S
    for number in range(9):
        taken(made, f"192.0.2.{number}")
    assert taken(made, "2001:db8::1")  # it is forgotten


def test_users_are_served_while_strangers_send_all_they_can(tmp_path: Path) -> None:
    with Console(tmp_path, haste=1) as console:
        cookie = console.log_in()
        made = [console.connected(f"127.3.0.{number % 30 + 1}") for number in range(60)]
        for one in made:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.send(LOGIN * 4000)
        took = []
        for _ in range(20):
            began = time.monotonic()
            # From the address of a stranger who has no request left, too.
            assert console.ask("GET", "/", cookie=cookie, source="127.3.0.1")[0] == 200
            took.append(time.monotonic() - began)
        assert sorted(took)[10] < 0.1
        for one in made:
            one.close()
        answer = console.raw(LOGIN * 300)
        assert 10 < answer.count(b"HTTP/1.1 200 ") < 100
        assert answer.count(b"HTTP/1.1 429 ") == 1  # and closed
        assert "defect" not in console.log.words()
