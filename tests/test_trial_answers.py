"""The answers about a trial, and what mxallowctl prints of them."""
import argparse
import asyncio
import io
import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest

from mxallowd._fastpath import Fastpath
from mxallowd.control.answers.trial import TrialAnswers, network_of
from mxallowd.control.exchange import Request, RequestError, Response
from mxallowd.ctl.command import NO, OK, Context
from mxallowd.ctl.commands.trial import COMMANDS
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import PATIENCE, Table
from mxallowd.engine.events import Event, Kind, decode, packed
from mxallowd.history.trial import Trial
from mxallowd.whitelist import Whitelist
from tests.strategies import FAKE, REAL, ipv4
from tests.test_refused import tcp
from tests.test_settings import good

SENDER, BANK = packed("192.0.2.101"), packed("192.0.2.102")
POOL = [packed(f"198.51.100.{number}") for number in range(1, 4)]
FORECAST, FIRST_MX = COMMANDS


class Bench:
    """The decision, the whitelist and the memories of a trial, with a clock to turn; it is the way to the daemon."""

    def __init__(self) -> None:
        self.now_s = 1_000_000
        table = Table(1000, 1, main=100)
        refused, contacts = (Refused(1000, 1, table) for _ in range(2))
        self.ring = Ring(4096, -1)
        numbers = {server: refused.number_of(server) for server in REAL}
        self.path = Fastpath(table, self.ring, Rules(FAKE, REAL, 28_800, numbers), refused=refused, contacts=contacts)
        self.whitelist = Whitelist(table, lambda: self.now_s * 1_000_000)
        self.trial = Trial(good("-f 192.0.2.10 -r 192.0.2.20 -n 23 --dry-run"), self.whitelist, refused, contacts)

        self.counted: dict[str, int] = {}

        async def count() -> dict[str, int]:
            return self.path.counters() | refused.counters() | self.counted

        self.answers = TrialAnswers(self.trial, count)
        self.port = 1000
        self.status = 200

    def meet(self, server: bytes, *hosts: bytes) -> None:
        self.port += 1
        self.path.decide([ipv4(host, server, tcp(self.port)) for host in hosts], self.now_s * 1_000_000)
        self.trial.handle(decode(self.ring.drain(4096)))

    def ask(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None,
            stream: bool = False) -> "Bench":
        [handler] = [one.handler for one in self.answers.routes() if (one.method, one.template) == (method, path)]
        assert not stream

        async def answered() -> Response:
            return await handler(Request(method, path, query=query or {}))

        response = asyncio.run(answered())
        self.body = json.loads(json.dumps(response.body))
        return self

    def lines(self) -> Iterator[dict[str, object]]:
        yield from ()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        body = self.ask("GET", path, query=query).body
        assert isinstance(body, dict)
        return body


@pytest.fixture
def bench() -> Bench:
    """A day: a sender that is refused once, a pool that keeps trying, a bank that tries the fake server alone."""
    made = Bench()
    made.meet(REAL[0], SENDER, *POOL, packed("203.0.113.9"))
    made.now_s += 100
    made.meet(FAKE[0], SENDER, BANK)
    made.meet(REAL[0], SENDER, *POOL)
    for _ in range(3):
        made.now_s += 70
        made.meet(FAKE[0], BANK)
    made.trial.named(POOL[0], "out1.pool.example", False)
    made.trial.named(BANK, "mail.bank.example", True)
    return made


def printed(bench: Bench, number: int, *words: str, as_json: bool = False) -> tuple[int, str, str]:
    """Status, output and errors of a subcommand."""
    parser = argparse.ArgumentParser()
    COMMANDS[number].arguments(parser)
    out, err = io.StringIO(), io.StringIO()
    arguments = parser.parse_args(words)
    arguments.json = as_json
    status = COMMANDS[number].run(Context(bench, arguments, out, err))
    return status, out.getvalue(), err.getvalue()


def test_the_forecast(bench: Bench) -> None:
    found = bench.get("/v1/forecast")
    assert found["dry_run"] is True
    assert (found["hosts"], found["sampled"], found["came_once"], found["kept_trying"]) == (5, False, 1, 3)
    assert found["met_the_fake"] == [
        {"within_seconds": 300, "hosts": 1, "share": 0.2, "still_may": 0},
        {"within_seconds": 3600, "hosts": 1, "share": 0.2, "still_may": 4},
        {"within_seconds": 86_400, "hosts": 1, "share": 0.2, "still_may": 4}]
    assert found["refused_later_passed"] == 1
    assert found["connections"] == {"refused": 8, "accepted": 1, "share_refused": 0.8889}
    assert [one["address"] for one in found["hosts_that_kept_trying"]] == [
        "198.51.100.1", "198.51.100.2", "198.51.100.3"]
    first = found["hosts_that_kept_trying"][0]
    assert (first["attempts"], first["name"], first["name_confirmed"]) == (2, "out1.pool.example", False)
    assert abs(datetime.fromisoformat(first["first"]).timestamp() - (time.time() - 310)) < 3
    assert abs(datetime.fromisoformat(first["last"]).timestamp() - (time.time() - 210)) < 3
    [network] = found["networks_that_kept_trying"]
    assert (network["network"], network["hosts"], network["attempts"], network["names"]) == (
        "198.51.100.0/24", 3, 6, ["out1.pool.example"])
    assert bench.get("/v1/forecast", limit="1")["hosts_that_kept_trying"] == [first]
    assert bench.get("/v1/forecast", limit="0")["networks_that_kept_trying"] == []


def test_who_meets_the_fake_server_alone(bench: Bench) -> None:
    found = bench.get("/v1/first-mx-only")
    [host] = found["hosts"]
    assert (found["count"], host["address"], host["contacts"], host["name"], host["name_confirmed"]) == (
        1, "192.0.2.102", 4, "mail.bank.example", True)
    # Who is direct and comes there all the same.
    assert not host["direct_not_led"]
    bench.trial.unled.is_direct = BANK.__eq__
    bench.now_s += 100
    bench.meet(FAKE[0], BANK)
    assert bench.get("/v1/first-mx-only")["hosts"][0]["direct_not_led"]
    assert "direct, but not led" in printed(bench, 1)[1]
    bench.meet(REAL[0], BANK)
    assert bench.get("/v1/first-mx-only") == {"contacts": 3, "seconds": 86_400, "count": 0, "hosts": []}


def test_a_confirmed_name_stands_first(bench: Bench) -> None:
    others = [packed(f"203.0.113.{number}") for number in range(10, 40)]
    for _ in range(6):
        bench.meet(FAKE[0], *others)
        bench.now_s += 10
    found = bench.get("/v1/first-mx-only", limit="2")
    assert (found["count"], len(found["hosts"])) == (31, 2)
    assert found["hosts"][0]["address"] == "192.0.2.102"


@pytest.mark.parametrize("path", ["/v1/forecast", "/v1/first-mx-only"])
@pytest.mark.parametrize("query", [{"limit": "1001"}, {"limit": "-1"}, {"limit": ""}, {"limit": "9" * 5000},
                                   {"limit": "1٣"}, {"most": "1"}])
def test_what_is_no_limit_is_refused(path: str, query: dict[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        Bench().get(path, **query)
    assert caught.value.status == 400


def test_a_day_on_which_nothing_happened() -> None:
    found = Bench().get("/v1/forecast")
    assert (found["hosts"], found["connections"]["share_refused"]) == (0, None)
    status, out, _ = printed(Bench(), 0)
    assert (status, out.splitlines()[0].endswith(" 0 hosts would have been refused.")) == (OK, True)
    assert printed(Bench(), 1)[1] == "No host met the fake server 3 times in a day without coming to the real one.\n"


@pytest.mark.parametrize(("counted", "seen", "said"), [
    ({}, {"packets": 7, "of": None, "share": None}, "at most 100 refused packets a second"),
    ({"kernel-refused": 30, "kernel-denied": 2}, {"packets": 7, "of": 28, "share": 0.25},
     "7 of 28 such packets (25.0 %)"),
    ({"kernel-refused": 7}, {"packets": 7, "of": 7, "share": 1.0}, "")])
def test_how_much_was_seen_where_the_kernel_decides(
        bench: Bench, counted: dict[str, int], seen: dict[str, object], said: str) -> None:
    bench.counted = counted | {"real-refused": 7}
    bench.trial.traffic.queues = False
    assert bench.get("/v1/forecast")["seen"] == seen
    out = printed(bench, 0)[1]
    assert said in out
    assert ("mxallowd was shown" in out) == ("such packets" in said)


def test_what_the_commands_print(bench: Bench) -> None:
    status, out, err = printed(bench, 0)
    assert (status, err) == (OK, "")
    assert "8 of 9 would have been refused (88.9 %)." in out
    assert "      1  got in within 5 min (20.0 %)\n" in out
    assert "      1  got in since they met the fake server\n" in out
    assert "      3  kept trying, and never met the fake server\n" in out
    assert "2         198.51.100.1  out1.pool.example (unconfirmed)  20" in out
    assert "6         198.51.100.0/24  3      out1.pool.example  20" in out
    assert "4         192.0.2.102  mail.bank.example  20" in printed(bench, 1)[1]
    for number, path in ((0, "/v1/forecast"), (1, "/v1/first-mx-only")):
        assert json.loads(printed(bench, number, as_json=True)[1]).keys() == bench.get(path).keys()


def test_who_comes_in_by_patience_or_by_a_network_met_no_fake_server(bench: Bench) -> None:
    bench.whitelist.admit(POOL[0], bench.now_s * 1_000_000 + 10**9, bench.now_s * 1_000_000, origin=PATIENCE)
    bench.trial.handle([Event(Kind.BY_NETWORK, 0, 0, 1, bench.now_s * 1_000_000, POOL[1], REAL[0], 0)])
    found = bench.get("/v1/forecast")
    assert [found[key] for key in ("let_in_by_patience", "let_in_otherwise", "kept_trying")] == [1, 1, 1]
    out = printed(bench, 0)[1]
    for line in ("met the fake server", "got in by patience", "got in by their names or networks"):
        assert f"      1  {'got in since they ' if 'met' in line else ''}{line}" in out
    bench.now_s += 30 * 3600  # their day is over
    bench.trial.tick()
    assert len(bench.trial.forecast.hosts) == 0
    assert bench.get("/v1/forecast")["let_in_by_patience"] == 1


def test_an_answer_that_is_an_error_is_said(bench: Bench) -> None:
    class Broken(Bench):
        def ask(self, method: str, path: str, **_: Any) -> "Bench":
            self.status, self.body = 503, {"error": {"code": "busy", "message": "too many requests"}}
            return self

    for number in range(2):
        assert printed(Broken(), number) == (NO, "", "mxallowctl: too many requests\n")
    for words in (["--limit", "x"], ["--limit", "1001"]):
        with pytest.raises(SystemExit) as caught:
            printed(bench, 0, *words)
        assert caught.value.code == 2


def test_networks_are_those_that_senders_share() -> None:
    assert network_of(POOL[0]) == "198.51.100.0/24"
    assert network_of(packed("2001:db8:1:2::5")) == "2001:db8:1:2::/64"
