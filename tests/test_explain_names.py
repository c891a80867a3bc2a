"""explain of names, asked of a real name server by the daemon's resolver; and of networks, whose answer is bounded."""
import asyncio
import ipaddress
import json
import logging
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mxallowd._fastpath import Fastpath
from mxallowd._foresight import Foresight
from mxallowd.control.answers import explain
from mxallowd.control.answers.explain import Explain, Sources
from mxallowd.control.answers.judging import of_network
from mxallowd.control.answers.sharing import Changes
from mxallowd.control.exchange import Request, RequestError
from mxallowd.ctl.__main__ import main
from mxallowd.dns.resolver import Resolver
from mxallowd.engine._networks import Networks
from mxallowd.engine._patience import Patience
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine.events import MAPPED, address_text, decode, packed
from mxallowd.history.hosts import Hosts
from mxallowd.lists.composition import EMPTY, Composition, Match
from mxallowd.lists.files import parse
from mxallowd.log import Log
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.lookups import Lookup, Lookups
from mxallowd.sinks.stress import Stress
from mxallowd.whitelist import Whitelist
from tests.control_standin import Standin
from tests.name_server_process import NameServerProcess
from tests.ports import free_port
from tests.strategies import FAKE, HOSTS, REAL, ipv4, syn
from tests.test_patience_decision import syn as syn_from
from tests.test_refused import tcp
from tests.test_settings import good

PORT = free_port()
RECORDS = [
    "two.example A 198.51.100.1", "two.example A 198.51.100.2", "two.example AAAA 2001:db8:5::1",
    "alias.example CNAME two.example", "none.example MX 10 two.example", "broken.example FAULT servfail",
    "silent.example FAULT silent", "many.example A *40", "xn--bcher-kva.example A 198.51.100.7",
    "_under.score.example A 198.51.100.8", "mapped.example AAAA =00000000000000000000ffffc6336401"]
Addresses = Callable[[str], Awaitable[list[bytes]]]


class _Nobody:
    """An owner of lookups who has no hosts."""

    def is_wanted(self, host: bytes, name: str) -> bool:
        raise AssertionError(host, name)

    def done(self, lookup: Lookup) -> None:
        raise AssertionError(lookup)


class Bench:
    """Explain with a table, its decision and its memories."""

    def __init__(self, entries: int = 1000, *, fastpath_entries: int = 100) -> None:
        self.table = Table(entries, 1, main=fastpath_entries)
        self.refused = Refused(1000, 1, self.table)
        self.ring = Ring(4096, -1)
        self.now_us = 1_000_000_000
        self.path = Fastpath(self.table, self.ring, Rules(FAKE, REAL, 3600), refused=self.refused)
        self.whitelist = Whitelist(self.table, lambda: self.now_us)
        self.history = Hosts(lambda: self.now_us)
        self.servers = " ".join(
            f"-{role} {address_text(one)}" for role, some in (("f", FAKE), ("r", REAL)) for one in some)
        self.settings = good(f"{self.servers} -n 23 -t 3600")
        self.patience: Patience | None = None
        self.lists = EMPTY

    def be_patient(self, options: str) -> None:
        """As a reload with these options would."""
        self.settings = good(f"{self.servers} -n 23 -t 3600 {options}")
        assert self.settings.patience
        self.patience = Patience(1000, 1, self.table)
        self.path.publish(Rules(
            FAKE, REAL, 3600, patience=self.patience, patience_times=self.settings.patience[0],
            patience_us=self.settings.patience[1] * 1_000_000, patience_networks=self.settings.patience_network))

    def meet(self, host: str, server: bytes, port: int | None = None) -> None:
        packet = syn(packed(host), server) if port is None else syn_from(packed(host), server, port)
        self.path.decide([packet], self.now_us)
        self.history.handle(decode(self.ring.drain(4096)))

    def ask(self, what: str, addresses: Addresses | None = None) -> dict[str, Any]:
        answering = Explain(Sources(
            lambda: self.settings, self.whitelist, self.refused, [Foresight(self.path)], lambda: self.lists,
            self.history,
            (), addresses, lambda: self.patience), Changes())
        [route] = answering.routes()
        response = asyncio.run(self._within(route.handler(Request("GET", "/v1/explain", {"what": what}, {}, None, 0))))
        body = json.loads(json.dumps(response.body))
        assert isinstance(body, dict)
        return body

    @staticmethod
    async def _within(answer: Awaitable[Any]) -> Any:
        return await asyncio.wait_for(answer, 20)

    def name(self, name: str) -> dict[str, Any]:
        """The name asked of the name server."""
        async def addresses(wanted: str) -> list[bytes]:
            resolver = Resolver(asyncio.get_running_loop(), [f"127.0.0.1:{PORT}"])
            log = Log(logging.getLogger("test-explain-names"))
            try:
                return await Lookups(good(f"{self.servers} -n 1"), _Nobody(), resolver, HostLog(
                    log, lambda _: None, Stress(log))).addresses(wanted)
            finally:
                resolver.close()

        return self.ask(name, addresses)


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServerProcess]:
    with NameServerProcess(None, RECORDS, PORT) as server:
        yield server


@pytest.mark.usefixtures("name_server")
def test_each_address_of_a_name_is_explained() -> None:
    bench = Bench()
    bench.meet("198.51.100.1", FAKE[0])
    for name in ("two.example", "TWO.example.", "alias.example"):
        found = bench.name(name)
        assert {one["address"]: one["gets_in"] for one in found["addresses"]} == {
            "198.51.100.1": True, "198.51.100.2": False, "2001:db8:5::1": False}
        assert (found["gets_in"], found["fault"], found["left_out"]) == (False, None, 0)
    for host in ("198.51.100.2", "2001:db8:5::1"):
        bench.meet(host, next(one for one in FAKE if one.startswith(MAPPED) == ("." in host)))
    assert bench.name("two.example")["gets_in"]
    # No packet of IPv6 has such an address, so that record lets nobody in.
    assert bench.name("mapped.example")["addresses"] == []
    many = bench.name("many.example")
    assert (len(many["addresses"]), many["left_out"]) == (explain.MOST_ADDRESSES, 40 - explain.MOST_ADDRESSES)


@pytest.mark.usefixtures("name_server")
@pytest.mark.parametrize(("name", "fault"), [
    ("none.example", "the name has no address"), ("unknown.example", "the name has no address"),
    ("broken.example", "DNS server returned general failure"), ("silent.example", "the name servers are silent")])
def test_a_name_without_an_answer(name: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "RESOLVE_S", 0.2)
    found = Bench().name(name)
    assert fault in found["fault"]
    assert (found["addresses"], found["gets_in"]) == ([], False)


def test_a_reader_makes_no_flood_of_questions(
        name_server: NameServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one user past his own bound, nor all together past those of the zone and of all queries."""
    before = len(name_server.questions)
    monkeypatch.setattr(explain, "RESOLVE_S", 1.0)

    async def story() -> tuple[int, int, int]:
        resolver = Resolver(asyncio.get_running_loop(), [f"127.0.0.1:{PORT}"])
        log = Log(logging.getLogger("test-explain-names"))
        lookups = Lookups(good(f"{Bench().servers} -n 1 --dns-zone-rate 8"), _Nobody(), resolver,
                          HostLog(log, lambda _: None, Stress(log)))
        [route] = Explain(Sources(
            lambda: good("-n 1"), Whitelist(Table(10, 1)), Refused(10, 1, Table(10, 1)), (),
            lambda: EMPTY, Hosts(lambda: 0), (), lookups.addresses), Changes()).routes()
        answers = await asyncio.gather(*(
            route.handler(Request("GET", "", {"what": f"r{at}.s{at}.victim.example"}, {}, None, at % 10))
            for at in range(300)), return_exceptions=True)
        resolver.close()
        refused = sum(isinstance(one, RequestError) and one.status == 429 for one in answers)
        return len(answers), refused, lookups.counters["dns-queries"]

    began = time.monotonic()
    asked, refused, counted = asyncio.run(story())
    assert (asked, refused) == (300, 200)
    time.sleep(0.2)
    sent = len(name_server.questions) - before
    assert 2 <= sent == counted <= 8 * (time.monotonic() - began + 1)


@pytest.mark.usefixtures("name_server")
def test_names_of_unusual_characters() -> None:
    bench = Bench()
    for name in ("bücher.example", "BÜCHER.example", "_under.score.example"):
        assert len(bench.name(name)["addresses"]) == 1, name
    for name in ("no host", "a..b", "x" * 64 + ".example", "a." * 127 + "aa", "né\x00.example", "-a.example", "a\n",
                 "\udcff.example", ".", "*", "a;b", "[::1]", "198.51.100.300", "1.2", "fe80::1%eth0", "::/129",
                 "198.51.100.1/24", "a/b"):
        with pytest.raises(RequestError) as error:
            bench.name(name)
        assert error.value.status == 400, name
        assert str(error.value).isprintable(), name


def test_what_mxallowctl_sends(tmp_path: Path) -> None:
    words = ("bücher.example", b"a\xff", "2001:db8::/32", "a b")
    with Standin(tmp_path, [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"] * len(words)) as standin:
        for word in words:
            done = subprocess.run([sys.executable, "-m", "mxallowd.ctl", "--socket", standin.path, "explain", word],
                                  capture_output=True, text=True)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
        assert [one.split(b" ")[1] for one in standin.requests] == [
            b"/v1/explain/" + target for target in (
                b"b%C3%BCcher.example", b"a%FF", b"2001%3Adb8%3A%3A/32", b"a%20b")]


@pytest.mark.parametrize(("word", "said"), [
    ("", "an address, a name or a network is needed"), ("fe80::1%eth0", '"fe80::1%eth0" has a zone'),
    ("203.0.113.1/24", "has bits behind its prefix; the network is 203.0.113.0/24")])
def test_arguments_that_are_nothing(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", word]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("name_server")
def test_entries_noted_for_a_name() -> None:
    bench = Bench()
    until_us = bench.now_us + 60_000_000
    bench.whitelist.admit(packed("198.51.100.2"), until_us, bench.now_us, note="two.example")
    bench.whitelist.admit(packed("198.51.100.9"), until_us, bench.now_us, note="two.example")
    bench.whitelist.admit(packed("198.51.100.10"), until_us, bench.now_us, note="other.example")
    found = bench.name("two.example")
    assert [(one["address"], one["origin"]) for one in found["noted"]] == [("198.51.100.9", "child")]
    # Also where no name server knows the name any more.
    assert [one["address"] for one in bench.name("other.example")["noted"]] == ["198.51.100.10"]
    for number in range(explain.MOST_SHOWN + 1):
        bench.whitelist.admit(packed(f"203.0.113.{number + 1}"), until_us, bench.now_us, note="x.y.example")
    found = bench.name("y.example")
    assert (len(found["noted"]), found["more_noted"]) == (explain.MOST_SHOWN, True)


def test_without_a_name_server() -> None:
    assert "no-rdns-whitelist" in Bench().ask("two.example")["fault"]


def test_a_dry_run_and_a_moment_of_leniency() -> None:
    bench = Bench()
    host = address_text(HOSTS[0])

    def real() -> tuple[str, str, bool]:
        found = bench.ask(host)
        one = next(one for one in found["next"] if one["role"] == "real")
        return one["verdict"], one["outcome"], found["gets_in"]

    assert real() == ("drop", "real-refused", False)
    bench.table.be_lenient(bench.now_us + 10)
    assert real() == ("accept", "real-untold", True)
    bench.now_us += 10
    assert real() == ("drop", "real-refused", False)
    bench.path.publish(Rules(FAKE, REAL, 3600, networks=Networks(struct.pack("=16sBB", HOSTS[0], 128, 1))))
    assert real() == ("drop", "real-denied", False)
    bench.settings = good(f"{bench.servers} -n 23 --dry-run")
    assert real() == ("accept", "real-denied", True)
    assert bench.ask(host)["why"].startswith("dry run, would-deny: ")
    assert bench.ask("203.0.113.77")["why"] == "dry run, would-refuse: it is not in the whitelist"
    assert "dry run: accepted all the same" in json.dumps(bench.ask(host))


def test_since_when_a_contact_is_in() -> None:
    bench = Bench()
    bench.meet("198.51.100.1", FAKE[0])
    bench.now_us += 60_000_000
    entry = bench.ask("198.51.100.1")["entry"]
    assert abs(time.time() - 60 - datetime.fromisoformat(entry["since"]).timestamp()) < 3
    # A later contact that nobody saw: the end of the entry tells of it.
    bench.now_us += 3600_000_000
    bench.path.decide([syn(packed("198.51.100.1"), FAKE[0])], bench.now_us)
    bench.ring.drain(4096)
    assert bench.ask("198.51.100.1")["entry"]["since"] is None
    # After a restart nothing is remembered.
    bench.history = Hosts(lambda: bench.now_us)
    found = bench.ask("198.51.100.1")
    assert (found["gets_in"], found["entry"]["since"], found["last"]) == (True, None, [])
    assert abs(time.time() - datetime.fromisoformat(found["remembered_since"]).timestamp()) < 3


def test_an_entry_that_ended_and_the_last_refusal() -> None:
    bench = Bench()
    bench.meet("198.51.100.1", FAKE[0])
    bench.now_us += 3601_000_000
    assert "not in the whitelist: its entry of 20" in (why := bench.ask("198.51.100.1")["why"])
    assert "Z ended at 20" in why
    # One event a minute; the last attempt is known all the same.
    bench.meet("198.51.100.2", REAL[0])
    bench.now_us += 20_000_000
    bench.meet("198.51.100.2", REAL[0], 2000)
    found = bench.ask("198.51.100.2")
    assert [one["what"] for one in found["last"]] == ["refused", "refused"]
    assert found["last"][-1]["time"] == found["refused"]["last"]
    bench.settings = good(f"{bench.servers} -n 23 --dry-run")
    assert {one["what"] for one in bench.ask("198.51.100.2")["last"]} == {"would-refuse"}


@pytest.mark.parametrize("at_us", [7_340_031, 7_340_032, 7_999_999, 8_000_000, 8_388_607, 8_388_608])
def test_one_attempt_has_one_time(at_us: int) -> None:
    """Also where its packet comes again a second later; the record of refusals has steps of 1.05 s."""
    bench = Bench()
    for bench.now_us in (at_us, at_us + 1_000_000):
        bench.meet("198.51.100.2", REAL[0])
    bench.now_us += 5_300_000
    found = bench.ask("198.51.100.2")
    assert found["refused"]["times"] == 1
    assert {found["refused"]["first"], found["refused"]["last"]} == {one["time"] for one in found["last"]}


def test_what_refusals_come_to() -> None:
    bench = Bench()
    bench.meet("198.51.100.3", REAL[0])
    assert bench.ask("198.51.100.3")["patience"] is None
    for options, network in (("", None), ("--patience-network", "198.51.100.0/24")):
        bench.be_patient(f"--patience 2/10min {options}")
        assert bench.ask("198.51.100.3")["patience"] is None
        bench.meet("198.51.100.3", REAL[0])
        found = bench.ask("198.51.100.3")
        shown = found["patience"]
        next_s = datetime.fromisoformat(shown.pop("next")).timestamp()
        assert abs(next_s - time.time() - 600) < 3
        assert shown == {"times": 1, "of": 2, "network": network, "due": False}
        assert bench.ask("198.51.100.4")["patience"] == (None if network is None else found["patience"] | {
            "next": bench.ask("198.51.100.3")["patience"]["next"]})
        bench.now_us += 600_000_000
        found = bench.ask("198.51.100.3")
        assert found["patience"]["due"]
        assert not found["gets_in"]
        bench.path.decide([syn(packed("198.51.100.3"), REAL[0])] * 2, bench.now_us)
        bench.now_us += 4000_000_000
        # What is told, and what the decision foresees, is one.
        found = bench.ask("198.51.100.3")
        assert (found["patience"]["times"], found["patience"]["next"], found["gets_in"]) == (2, None, True)
        assert {one["outcome"] for one in found["next"] if one["role"] == "real"} == {"real-patient"}
        bench.lists = Composition.of([parse(b"198.51.100.0/24", "/deny", "deny")])
        assert bench.ask("198.51.100.3")["patience"] is None  # it stays refused all the same
        bench.lists = EMPTY
        bench.now_us += 90_000_000_000
        assert bench.ask("198.51.100.3")["patience"] is None


def test_addresses_from_which_no_mail_comes() -> None:
    bench = Bench()
    for address, word in ((address_text(FAKE[0]), "a server of the configuration"), ("127.0.0.1", "no remote host"),
                          ("224.0.0.1", "no remote host"), ("fe80::1", "no remote host")):
        found = bench.ask(address)
        assert (word in found["why"], found["sender"], found["do"]) == (True, False, []), found


def test_what_lists_say_of_a_network() -> None:
    def match(verdict: str, network: str, source: str = "by hand") -> Match:
        return Match(verdict, ipaddress.ip_network(network), source, 0 if source == "by hand" else 3, None, None)

    network = ipaddress.ip_network("198.51.100.0/28")
    add = ["mxallowctl allow add 198.51.100.0/28", "mxallowctl add 198.51.100.0/28 --time 86400"]
    for matches, verdict, do in (
            ([], None, add), ([match("allow", "198.51.100.0/28")], "allow", []),
            ([match("deny", "198.51.100.0/24"), match("allow", "198.51.100.0/27")], "allow", []),
            ([match("deny", "198.51.100.0/24", "/f")], "deny", add),
            ([match("deny", "198.51.100.0/28", "/f")], "deny",
             ["remove 198.51.100.0/28 at /f:3, then mxallowctl reload", *(f"then {one}" for one in add)]),
            ([match("allow", "198.51.100.0/24"), match("deny", "198.51.100.3/32")], "mixed",
             ["mxallowctl deny remove 198.51.100.3/32"])):
        assert of_network(network, matches, more=False) == (verdict, do), matches


def test_the_answer_about_a_network_is_bounded() -> None:
    bench = Bench(200_000, fastpath_entries=1000)
    hosts = [packed(f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}") for at in range(1, 100_001)]
    bench.path.decide([ipv4(host, FAKE[0], tcp(5)) for host in hosts], bench.now_us)
    bench.path.decide([ipv4(packed(f"11.0.0.{at}"), REAL[0], tcp(5)) for at in range(1, 200)], bench.now_us)
    found = bench.ask("0.0.0.0/0")
    assert found["entries"] == len(hosts)
    assert found["origins"] == {"contact": len(hosts)}
    assert 190 < found["refused"] <= 199  # some share their place
    assert len(found["some"]) == len(found["busiest"]) == explain.MOST_SHOWN
    assert len(json.dumps(found)) < 16_000
    assert bench.ask("::/0")["entries"] == 0
    assert bench.ask("10.0.0.0/30")["entries"] == 3
