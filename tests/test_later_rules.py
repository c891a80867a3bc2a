"""The rulesets beside other rules of the operator: bans, bounds, programs of the host and monitors."""
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from mxallowd.firewall.wanted import Wanted
from tests.daemon_process import SENDER4, SENDER6, serving
from tests.ways import Way, all_ways, start, ways_with_set


class Family(NamedTuple):
    """The addresses of one family: hosts outside, and servers, of which the last one is not mxallowd's."""

    program: str
    version: str
    sender: str
    banned: str
    fake: str
    real: str
    other: str
    loopback: str


BOTH = (
    Family("iptables", "4", SENDER4, "192.0.2.66", FAKE4, REAL4, "192.0.2.30", "127.0.0.1"),
    Family("ip6tables", "6", SENDER6, "2001:db8::66", FAKE6, REAL6, "2001:db8::30", "::1"))
CLIENT = tuple(host for family in BOTH for host in (family.sender, family.banned))
SETUP = Path(__file__).parent.parent / "docs" / "setup.md"
SECURITY = {"table=filter": "table=security"}
# The mark of --verdict-mark, and what the ways have to be given for it.
MARK = "0x20000000/0x20000000"
WAYS_WITH_MARK = pytest.mark.parametrize("way", ["queue", "queue-set-mark", "queue-set-ipset"], indirect=True)
AGAIN_S = 4.0


def security(way: Way) -> dict[str, str]:
    """Nothing to edit where nft has the rules: they stand behind the table filter as they are."""
    return SECURITY if any(name.endswith(".sh") for name in way.rulesets) else {}


def ban(lab: Lab, family: Family, address: str, where: str = "-A") -> None:
    """Drop the TCP packets of a host."""
    lab.gateway.run([family.program, "-w", "10", where, "INPUT", "-p", "tcp", "-s", address, "-j", "DROP"], check=True)


def dropped(client: Host, address: str, source: str) -> None:
    """An attempt gets no answer. Nothing is far away here: what comes, comes at once."""
    assert client.attempt(address, source=source, timeout=0.3) is Attempt.DROPPED


def comes_in(client: Host, family: Family, source: str) -> None:
    """A host contacts the fake server, then the real one."""
    assert client.attempt(family.fake, source=source) is Attempt.REFUSED
    assert client.attempt(family.real, source=source, timeout=AGAIN_S) is Attempt.CONNECTED


@pytest.fixture
def others(served: Lab) -> Lab:
    """The gateway, with addresses that are none of mxallowd's."""
    served.gateway.add_address(*(f"{family.other}/{64 if ':' in family.other else 24}" for family in BOTH))
    return served


@all_ways
def test_a_ban_in_front_holds(served: Lab, client: Host, way: Way) -> None:
    """One that was there before the ruleset, and one that is put in front of it, as fail2ban does."""
    for family in BOTH:
        ban(served, family, family.banned)
    served.load_ruleset(*way.rulesets)
    with start(served, way) as daemon:
        for family in BOTH:
            dropped(client, family.fake, family.banned)
            dropped(client, family.real, family.banned)
        assert daemon.counters()["received"] == 0
        for family in BOTH:
            comes_in(client, family, family.sender)
            ban(served, family, family.sender, "-I")
            dropped(client, family.real, family.sender)


@all_ways
def test_in_the_table_security_all_rules_of_filter_decide(others: Lab, client: Host, way: Way) -> None:
    """A ban behind the ruleset, and a policy; with a known host in the kernel's set, and when the daemon is killed."""
    others.load_ruleset(*way.rulesets, edits=security(way))
    with others.gateway.serve(BOTH[0].other), others.gateway.serve(BOTH[1].other), start(others, way) as daemon:
        for family in BOTH:
            for source in (family.sender, family.banned):
                comes_in(client, family, source)
            ban(others, family, family.banned)
            # The policy of a gateway that lets nothing in but mail to its two servers.
            for address in (family.fake, family.real):
                others.input_rule("-p", "tcp", "--dport", "25", "-d", address, "-j", "ACCEPT",
                                  programs=[family.program])
            others.input_rule("-p", "tcp", "-j", "DROP", programs=[family.program])
            dropped(client, family.fake, family.banned)
            dropped(client, family.real, family.banned)
            dropped(client, family.other, family.sender)
            assert client.attempt(family.fake, source=family.sender) is Attempt.REFUSED
            assert client.attempt(family.real, source=family.sender) is Attempt.CONNECTED
        daemon.process.kill()
        daemon.process.wait(5)
    for family in BOTH:
        assert client.attempt(family.real, source=family.sender) is Attempt.CONNECTED
        dropped(client, family.real, family.banned)


@WAYS_WITH_MARK
def test_with_a_mark_later_rules_of_filter_decide(served: Lab, client: Host, way: Way) -> None:
    """New hosts and those that the kernel knows meet a ban behind the ruleset."""
    served.load_ruleset(*way.rulesets, edits={'mark=""': f'mark="{MARK}"'})
    for family in BOTH:
        ban(served, family, family.banned)
    with start(served, way, "--verdict-mark", MARK) as daemon:
        for family in BOTH:
            for _ in range(2):
                dropped(client, family.fake, family.banned)
                dropped(client, family.real, family.banned)
            for _ in range(2):
                comes_in(client, family, family.sender)
        assert daemon.counters()["came-again"] == 0


@pytest.mark.parametrize("way", ["set-ipset"], indirect=True)
def test_without_a_queue_return_lets_later_rules_decide(served: Lab, client: Host, way: Way) -> None:
    family = BOTH[0]
    served.load_ruleset(*way.rulesets, edits={"pass=ACCEPT": "pass=RETURN"})
    ban(served, family, family.banned)
    with start(served, way) as daemon:
        comes_in(client, family, family.sender)
        # The RST of the fake server is this ruleset's own.
        assert client.attempt(family.fake, source=family.banned) is Attempt.REFUSED
        daemon.wait_for(rf"whitelisted \[{family.banned}\]")
        way.wait_for(served, "mx_white4", family.banned)
        dropped(client, family.real, family.banned)


@all_ways
def test_other_addresses_are_none_of_its_business(others: Lab, client: Host, way: Way) -> None:
    """A policy that drops them holds, and where there is none they are reached, without mxallowd."""
    others.load_ruleset(*way.rulesets)
    with others.gateway.serve(BOTH[0].other), others.gateway.serve(BOTH[1].other), start(others, way) as daemon:
        for family in BOTH:
            assert client.attempt(family.other, source=family.sender) is Attempt.CONNECTED
            others.input_rule("-p", "tcp", "-d", family.other, "-j", "DROP", programs=[family.program])
            dropped(client, family.other, family.sender)
        assert daemon.counters()["received"] == 0


@all_ways
def test_the_host_itself_and_monitors_are_exempt(served: Lab, client: Host, way: Way) -> None:
    """They come to the real server without any contact, are not whitelisted, and are not seen."""
    edits = {'exempt4=""': f'exempt4="203.0.113.0/24 {SENDER4}"', 'exempt6=""': f'exempt6="2001:db8:7::/64 {SENDER6}"',
             "# elements = { 203.0.113.7, 203.0.113.64/26 }": f"elements = {{ {SENDER4}, 203.0.113.64/26 }}",
             "# elements = { 2001:db8:1::7, 2001:db8:2::/48 }": f"elements = {{ {SENDER6}, 2001:db8:2::/48 }}"}
    text = "".join(way.text())
    served.load_ruleset(*way.rulesets, edits={old: new for old, new in edits.items() if old in text})
    with start(served, way) as daemon:
        for family in BOTH:
            for source in (family.loopback, family.real, family.fake):
                assert served.gateway.attempt(family.real, source=source) is Attempt.CONNECTED
                # (The kernel sends no RST to ::1 from another address.)
                if source != "::1":
                    assert served.gateway.attempt(family.fake, source=source) is Attempt.REFUSED
            assert client.attempt(family.real, source=family.sender) is Attempt.CONNECTED
            assert client.attempt(family.fake, source=family.sender) is Attempt.REFUSED
        counters = daemon.counters()
        assert (counters["received"], counters["entries"]) == (0, 0)
        for family in BOTH:
            dropped(client, family.real, family.banned)


@all_ways
def test_contacts_that_may_renew_are_shown(served: Lab, client: Host, way: Way) -> None:
    """A contact of a known host goes to mxallowd, but not while mx_fresh holds the host."""
    served.load_ruleset(*way.rulesets)
    with start(served, way) as daemon:
        for family in BOTH:
            comes_in(client, family, family.sender)
            daemon.wait_for(rf"accepted \[{family.sender}\]")
            way.forget_fresh(served)
            before = way.seen(daemon)
            assert client.attempt(family.fake, source=family.sender) is Attempt.REFUSED
            assert way.seen(daemon) == before + 1
            if not way.sets:
                continue
            way.add(served, f"mx_fresh{family.version}", family.sender)
            before = way.seen(daemon)
            assert client.attempt(family.fake, source=family.sender) is Attempt.REFUSED
            assert way.seen(daemon) == before
            # One that is in mx_fresh and not whitelisted is new.
            way.add(served, f"mx_fresh{family.version}", family.banned)
            assert client.attempt(family.fake, source=family.banned) is Attempt.REFUSED
            daemon.wait_for(rf"whitelisted \[{family.banned}\]")


@ways_with_set
@pytest.mark.parametrize("renew", ["contact", "both"])
def test_uses_are_shown_where_they_may_renew(served: Lab, client: Host, way: Way, renew: str) -> None:
    """--renew use or both: a used host at the real server is accepted in the kernel alone while mx_fresh holds it."""
    served.load_texts(way.printed(Wanted(renew=renew)))
    with start(served, way, "--renew", renew) as daemon:
        for family in BOTH:
            comes_in(client, family, family.sender)
            way.wait_for(served, f"mx_used{family.version}", family.sender)
            for fresh in (False, True):
                way.forget_fresh(served)
                if fresh:
                    way.add(served, f"mx_fresh{family.version}", family.sender)
                before = way.seen(daemon)
                assert client.attempt(family.real, source=family.sender) is Attempt.CONNECTED
                assert way.seen(daemon) == before + (renew == "both" and not fresh)


def test_the_rules_of_the_page_on_setting_up(others: Lab, client: Host) -> None:
    """As they stand there: what they let in, what they refuse, and what they leave alone."""
    commands = [line.split() for line in SETUP.read_text(encoding="utf-8").splitlines()
                if line.startswith(("    iptables ", "    ip6tables "))]
    assert len(commands) == 6
    for command in commands:
        others.gateway.run(command, check=True, capture_output=True)
    with others.gateway.serve(BOTH[0].other), serving(others) as daemon:
        for family in BOTH:
            dropped(client, family.real, family.sender)
            comes_in(client, family, family.sender)
        received = daemon.counters()["received"]
        assert client.attempt(BOTH[0].other) is Attempt.CONNECTED
        for family in BOTH:
            assert others.gateway.attempt(family.real, source=family.real) is Attempt.CONNECTED
        assert daemon.counters()["received"] == received == 6
        deadline = time.monotonic() + 2
        while daemon.counters()["proven"] != len(BOTH):
            assert time.monotonic() < deadline
            time.sleep(0.05)
