"""Option --learn-outbound: who our own mail server connects to is let in, within bounds."""
import socket
import struct
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hosts import REAL4, REAL6, Attempt, Host, Lab
from mxallowd import surroundings
from mxallowd.backends.outbound import MOST_A_SECOND, Outbound, met, packets_of
from mxallowd.ctl.doctor import outbound
from mxallowd.engine._table import CHILD, OUTBOUND, Table
from mxallowd.whitelist import Whitelist
from tests.control_client import ask
from tests.daemon_process import SENDER4, SENDER6
from tests.strategies import packed
from tests.test_doctor_rules import facts
from tests.test_settings import MINIMUM, good, messages
from tests.ways import WAYS, Way, start

GROUP = ("--learn-outbound", "nflog:6")
SYN, ANSWER = 0x02, 0x12
HOUR_US, DAY_S = 3_600_000_000, 86_400
OURS = {4: "192.0.2.20", 6: "2001:db8::20"}


@pytest.fixture
def way_a() -> Way:
    """The simplest way."""
    return WAYS["queue"]


def segment(source: str, destination: str, ports: tuple[int, int], flags: int, options: int = 0) -> bytes:
    """A packet as NFLOG has it."""
    one, other = ip_address(source), ip_address(destination)
    tcp = struct.pack("!HHIIBBHHH", *ports, 1, 2, 0x50, flags, 1024, 0, 0)
    if one.version == 6:
        return struct.pack("!IHBB", 6 << 28, 20, 6, 64) + one.packed + other.packed + tcp
    head = struct.pack("!BBHHHBBH", 0x45 + options, 0, 40, 1, 0x4000, 64, 6, 0) + one.packed + other.packed
    return head + bytes(4 * options) + tcp


@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 255), st.integers(0, 10))
def test_the_host_is_the_one_at_port_25(host: Any, near: int, far: int, flags: int, options: int) -> None:
    """Where a SYN goes to, or where the answer to one comes from; nothing else counts, and nothing is read beyond."""
    ours = OURS[host.version]
    out = segment(ours, str(host), (near, far), flags, options)
    back = segment(str(host), ours, (far, near), flags, options)
    plain = flags & 0x17
    assert (met(out) == packed(str(host))) == (plain == SYN and far == 25)
    assert (met(back) == packed(str(host))) == (plain == ANSWER and far == 25)
    for packet in (out, back):
        for end in (0, 1, 19, 20, 39, 40, len(packet) - 8):
            assert met(packet[:end]) is None


def test_no_fragment_and_no_other_protocol_counts() -> None:
    whole = segment("192.0.2.20", "203.0.113.7", (4000, 25), SYN)
    assert met(whole) == packed("203.0.113.7")
    assert met(whole[:6] + b"\x00\x10" + whole[8:]) is None
    assert met(whole[:9] + b"\x11" + whole[10:]) is None
    assert met(b"\x42" + whole[1:]) is None


@given(st.binary(max_size=200))
def test_messages_that_do_not_fit_are_left_out(data: bytes) -> None:
    list(packets_of(data))
    payload = struct.pack("=HH", 4 + 5, 9) + b"12345" + bytes(3)
    message = struct.pack("=IHHII", 20 + len(payload), 4 << 8, 0, 0, 0) + bytes(4) + payload
    assert list(packets_of(message + data))[:1] == [b"12345"]


class Bench:
    """The part over a small whitelist, with a clock of its own."""

    def __init__(self, *options: str, main: int = 16) -> None:
        self.now_us = HOUR_US
        self.table = Table(64 + main, 1, main=main)
        self.whitelist = Whitelist(self.table, lambda: self.now_us)
        self.said: list[tuple[Any, ...]] = []
        self.part = Outbound(good(" ".join([MINIMUM, *GROUP, *options])), self.whitelist, None,  # type: ignore[arg-type]
                             self)

    def info(self, word: str, host: bytes, **values: object) -> None:
        """A line about a host."""
        self.said.append((word, host, values))

    def left_s(self, host: bytes) -> int:
        found = self.whitelist.find(host)
        assert found
        return (found[0] - self.now_us) // 1_000_000


HOST = packed("203.0.113.7")


@pytest.mark.parametrize(("options", "lasts_s"), [((), 28_800), (("--proven-time", "3110400"), 3_110_400)])
def test_it_lives_as_long_as_a_proven_host(options: tuple[str, ...], lasts_s: int) -> None:
    bench = Bench(*options)
    bench.part.take(HOST)
    entry = bench.whitelist.entry(HOST)
    assert entry
    assert (entry.origin, entry.used, entry.proven, bench.left_s(HOST)) == ("outbound", False, False, lasts_s)
    assert bench.said == [("outbound", HOST, {"seconds": lasts_s})]
    # Again at once, and after an hour: an eighth of the time, or an hour, has to be over.
    bench.now_us += HOUR_US // 2
    bench.part.take(HOST)
    assert bench.left_s(HOST) == lasts_s - 1800
    bench.now_us += HOUR_US // 2
    bench.part.take(HOST)
    assert bench.left_s(HOST) == lasts_s
    assert bench.part.counters() == {"outbound-learned": 1, "outbound-renewed": 1, "outbound-left-out": 0}


def test_who_is_listed_already_keeps_his_origin() -> None:
    bench = Bench("--proven-time", str(30 * DAY_S))
    bench.table.add(HOST, bench.now_us + 1_000_000, bench.now_us)
    bench.part.take(HOST)
    entry = bench.whitelist.entry(HOST)
    assert entry
    assert (entry.origin, bench.left_s(HOST)) == ("contact", 30 * DAY_S)


def test_it_takes_half_of_the_main_threads_room_and_pushes_nobody_out() -> None:
    bench = Bench(main=16)
    contacts = [packed(f"198.51.100.{number}") for number in range(64)]
    for host in contacts:
        bench.table.add(host, 2 * HOUR_US, bench.now_us)
    for number in range(20):
        bench.part.take(packed(f"203.0.113.{number}"))
    assert bench.part.counters()["outbound-learned"] == 8
    assert bench.part.counters()["outbound-left-out"] == 12
    assert all(bench.whitelist.find(host) for host in contacts)
    assert bench.whitelist.admit(packed("198.51.100.200"), 2 * HOUR_US, bench.now_us, origin=CHILD)


def test_so_many_a_second() -> None:
    bench = Bench(main=4 * MOST_A_SECOND)
    hosts = [packed(f"203.0.{number >> 8}.{number & 255}") for number in range(1, MOST_A_SECOND + 2)]
    for host in hosts:
        bench.part.take(host)
    assert bench.part.counters() == {
        "outbound-learned": MOST_A_SECOND, "outbound-renewed": 0, "outbound-left-out": 1}
    bench.part.tick()
    bench.part.take(hosts[-1])
    assert bench.part.counters()["outbound-learned"] == MOST_A_SECOND + 1


def test_our_own_servers_and_no_hosts_are_not_learned() -> None:
    bench = Bench()
    bench.whitelist.set_servers([HOST])
    for host in (HOST, packed("127.0.0.1"), packed("224.0.0.1")):
        bench.part.take(host)
    assert len(bench.whitelist) == 0


def test_the_option() -> None:
    assert good(f"{MINIMUM} --learn-outbound nflog:6").learn_outbound == "nflog:6"
    assert messages(f"{MINIMUM} --learn-outbound 6") == ['command line: learn-outbound: "6" is not nflog:GROUP']
    assert messages("-f ::2 -r ::1 -p nflog:5 --learn-outbound nflog:5") == [
        "settings: learn-outbound needs a group of its own, not that of pflog-interface"]
    assert OUTBOUND == 7


def test_doctor_looks_for_the_rule_of_outbound_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: set[tuple[str, int, int]] | None = {("group", 6, 4), ("group", 5, 6)}
    monkeypatch.setattr(surroundings, "fed_by_rules", lambda: fed)

    def states() -> list[tuple[str, bool]]:
        return [(one.state, "IPv6" in one.what) for one in outbound.check(facts(learn_outbound="nflog:6"))]

    assert states() == [("warning", True)]
    fed = {("group", 6, 4), ("group", 6, 6)}
    assert states() == [("ok", False)]
    fed = None
    assert states() == [("warning", False)]
    assert list(outbound.check(facts(learn_outbound=None))) == []


def made_up_answer(client: Host, source: str, destination: str) -> None:
    """Send the packet that the rule logs, for a connection that nobody has begun."""
    packet = segment(source, destination, (25, 4000), ANSWER)
    tcp = packet[-20:]
    words = struct.unpack("!16H", packet[12:20] + b"\0\x06\0\x14" + tcp)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    tcp = tcp[:16] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + tcp[18:]
    with client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet[:-20] + tcp, (destination, 0))


@pytest.mark.parametrize(("way", "ruleset"), [("queue", "outbound.sh"), ("set", "outbound.nft")], indirect=["way"])
def test_who_answers_is_let_in(served: Lab, client: Host, way: Way, ruleset: str, tmp_path: Path) -> None:
    """Both families; who only gets our SYN is not, nor is who makes up an answer. It survives a restart."""
    served.load_ruleset(*way.rulesets, ruleset)
    arguments = (*GROUP, "--proven-time", "86400", "--state-dir", str(tmp_path / "state"))
    with start(served, way, *arguments) as daemon:
        made_up_answer(client, SENDER4, REAL4)
        for sender, real in ((SENDER4, REAL4), (SENDER6, REAL6)):
            assert served.gateway.attempt(sender, source=real) is Attempt.REFUSED
            assert client.attempt(real, timeout=0.3) is Attempt.DROPPED
            with client.serve(sender):
                assert served.gateway.attempt(sender, source=real) is Attempt.CONNECTED
                daemon.wait_for(rf"outbound \[{sender}\] seconds=86400")
            if way.sets:
                way.wait_for(served, "mx_white6" if ":" in sender else "mx_white4", sender)
            assert client.attempt(real) is Attempt.CONNECTED
        counters = daemon.counters()
        assert (counters["outbound-learned"], counters["entries"]) == (2, 2)
        assert "our own mail server connects to it" in str(ask(daemon.control, "GET", f"/v1/explain/{SENDER4}"))
        assert daemon.stop() == 0
    if way.sets:
        served.gateway.run(["nft", "flush", "set", "inet", "mxallowd", "mx_white4"], check=True)
    with start(served, way, *arguments) as daemon:
        status, found = ask(daemon.control, "GET", f"/v1/entries/{SENDER4}")
        assert (status, found["origin"]) == (200, "outbound")
        assert 86_300 < found["seconds_left"] <= 86_400


def test_a_group_that_another_program_has(served: Lab, way_a: Way) -> None:
    """It is said, and mail goes on."""
    served.load_ruleset(*way_a.rulesets, "outbound.sh")
    with start(served, way_a, *GROUP), start(served, way_a, *GROUP, "-n", "24") as other:
        other.wait_for('degraded reason="learn-outbound nflog:6: .*: no host is learned"')


def test_outgoing_syns_where_nothing_is_tracked(served: Lab, client: Host, way_a: Way) -> None:
    served.load_ruleset(*way_a.rulesets)
    for _ in range(2):
        served.load_ruleset("outbound.sh", edits={"track=yes": "track=no"})
    with start(served, way_a, *GROUP) as daemon:
        assert served.gateway.attempt(SENDER4) is Attempt.REFUSED
        daemon.wait_for(rf"outbound \[{SENDER4}\] seconds=28800")
    rules = served.gateway.run(["iptables", "-S"], capture_output=True, text=True).stdout
    assert rules.count("-j MXALLOWD_OUT") == rules.count("-j NFLOG") == 1
