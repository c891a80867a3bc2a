"""The rulesets beside other rules of the operator: bans, bounds, programs of the host and monitors."""
import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from tests.daemon_process import SENDER4, SENDER6
from tests.ways import WAYS, Way, all_ways, start

BANNED4, BANNED6 = "192.0.2.66", "2001:db8::66"
OTHER4, OTHER6 = "192.0.2.30", "2001:db8::30"
CLIENT = (SENDER4, SENDER6, BANNED4, BANNED6)
FAMILIES = pytest.mark.parametrize(
    ("program", "sender", "banned", "fake", "real", "other"),
    [("iptables", SENDER4, BANNED4, FAKE4, REAL4, OTHER4), ("ip6tables", SENDER6, BANNED6, FAKE6, REAL6, OTHER6)],
    ids=["ipv4", "ipv6"])
SECURITY = {"table=filter": "table=security"}
# The mark of --verdict-mark, and what the ways have to be given for it.
MARK = "0x20000000/0x20000000"
WAYS_WITH_MARK = pytest.mark.parametrize("way", ["queue", "queue-set-mark", "queue-set-ipset"], indirect=True)
AGAIN_S = 4.0


def security(way: Way) -> dict[str, str]:
    """Nothing to edit where nft has the rules: they stand behind the table filter as they are."""
    return SECURITY if any(name.endswith(".sh") for name in way.rulesets) else {}


def ban(lab: Lab, program: str, address: str, where: str = "-A") -> None:
    """Drop the TCP packets of a host."""
    lab.gateway.run([program, "-w", "10", where, "INPUT", "-p", "tcp", "-s", address, "-j", "DROP"], check=True)


def refused(client: Host, address: str, source: str) -> None:
    """An attempt gets no answer. Nothing is far away here: what comes, comes at once."""
    assert client.attempt(address, source=source, timeout=0.3) is Attempt.DROPPED


@all_ways
@FAMILIES
def test_a_ban_in_front_holds(served: Lab, client: Host, way: Way, program: str, sender: str, banned: str,
                              fake: str, real: str, other: str) -> None:
    """One that was there before the ruleset, and one that is put in front of it, as fail2ban does."""
    ban(served, program, banned)
    served.load_ruleset(*way.rulesets)
    with start(served, way) as daemon:
        refused(client, fake, banned)
        refused(client, real, banned)
        assert daemon.counters()["received"] == 0
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        assert client.attempt(real, source=sender, timeout=AGAIN_S) is Attempt.CONNECTED
        ban(served, program, sender, "-I")
        refused(client, real, sender)


@all_ways
@FAMILIES
def test_in_the_table_security_all_rules_of_filter_decide(
        served: Lab, client: Host, way: Way, program: str, sender: str, banned: str, fake: str, real: str,
        other: str) -> None:
    """A ban behind the ruleset, and a policy; with a known host in the kernel's set, and when the daemon is killed."""
    served.gateway.add_address(f"{other}/{64 if ':' in other else 24}")
    served.load_ruleset(*way.rulesets, edits=security(way))
    with served.gateway.serve(other), start(served, way) as daemon:
        for source in (sender, banned):
            assert client.attempt(fake, source=source) is Attempt.REFUSED
            assert client.attempt(real, source=source, timeout=AGAIN_S) is Attempt.CONNECTED
        ban(served, program, banned)
        # The policy of a gateway that lets nothing in but mail to its two servers.
        for address in (fake, real):
            served.input_rule("-p", "tcp", "--dport", "25", "-d", address, "-j", "ACCEPT", programs=[program])
        served.input_rule("-p", "tcp", "-j", "DROP", programs=[program])
        refused(client, fake, banned)
        refused(client, real, banned)
        refused(client, other, sender)
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        assert client.attempt(real, source=sender) is Attempt.CONNECTED
        daemon.process.kill()
        daemon.process.wait(5)
    assert client.attempt(real, source=sender) is Attempt.CONNECTED
    refused(client, real, banned)


@WAYS_WITH_MARK
@FAMILIES
def test_with_a_mark_later_rules_of_filter_decide(
        served: Lab, client: Host, way: Way, program: str, sender: str, banned: str, fake: str, real: str,
        other: str) -> None:
    """New hosts and those that the kernel knows meet a ban behind the ruleset."""
    served.load_ruleset(*way.rulesets, edits={'mark=""': f'mark="{MARK}"'})
    ban(served, program, banned)
    with start(served, way, "--verdict-mark", MARK) as daemon:
        for _ in range(2):
            refused(client, fake, banned)
            refused(client, real, banned)
        for _ in range(2):
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            assert client.attempt(real, source=sender) is Attempt.CONNECTED
        assert daemon.counters()["came-again"] == 0


@pytest.mark.parametrize("way", ["set-ipset"], indirect=True)
def test_without_a_queue_return_lets_later_rules_decide(served: Lab, client: Host, way: Way) -> None:
    served.load_ruleset(*way.rulesets, edits={"pass=ACCEPT": "pass=RETURN"})
    ban(served, "iptables", BANNED4)
    with start(served, way):
        for source, seen in ((SENDER4, Attempt.CONNECTED), (BANNED4, Attempt.DROPPED)):
            # The RST of the fake server is this ruleset's own.
            assert client.attempt(FAKE4, source=source) is Attempt.REFUSED
            assert client.attempt(REAL4, source=source, timeout=AGAIN_S) is seen


@all_ways
@FAMILIES
def test_other_addresses_are_none_of_its_business(
        served: Lab, client: Host, way: Way, program: str, sender: str, banned: str, fake: str, real: str,
        other: str) -> None:
    """A policy that drops them holds, and where there is none they are reached, without mxallowd."""
    served.gateway.add_address(f"{other}/{64 if ':' in other else 24}")
    served.load_ruleset(*way.rulesets)
    with served.gateway.serve(other), start(served, way) as daemon:
        assert client.attempt(other, source=sender) is Attempt.CONNECTED
        served.input_rule("-p", "tcp", "-d", other, "-j", "DROP", programs=[program])
        refused(client, other, sender)
        assert daemon.counters()["received"] == 0


@all_ways
@FAMILIES
def test_the_host_itself_and_monitors_are_exempt(
        served: Lab, client: Host, way: Way, program: str, sender: str, banned: str, fake: str, real: str,
        other: str) -> None:
    """They come to the real server without any contact, are not whitelisted, and are not seen."""
    if ":" in sender:
        edits = {'exempt6=""': f'exempt6="2001:db8:7::/64 {sender}"',
                 "# elements = { 2001:db8:1::7, 2001:db8:2::/48 }": f"elements = {{ {sender}, 2001:db8:2::/48 }}"}
    else:
        edits = {'exempt4=""': f'exempt4="203.0.113.0/24 {sender}"',
                 "# elements = { 203.0.113.7, 203.0.113.64/26 }": f"elements = {{ {sender}, 203.0.113.64/26 }}"}
    here = "".join(way.text())
    served.load_ruleset(*way.rulesets, edits={old: new for old, new in edits.items() if old in here})
    with start(served, way) as daemon:
        loopback = "::1" if ":" in sender else "127.0.0.1"
        for source in (loopback, real, fake):
            assert served.gateway.attempt(real, source=source) is Attempt.CONNECTED
            # (The kernel sends no RST to ::1 from another address.)
            assert source == "::1" or served.gateway.attempt(fake, source=source) is Attempt.REFUSED
        assert client.attempt(real, source=sender) is Attempt.CONNECTED
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        counters = daemon.counters()
        assert (counters["received"], counters["entries"]) == (0, 0)
        refused(client, real, banned)


@all_ways
@FAMILIES
def test_contacts_that_may_renew_are_shown(
        served: Lab, client: Host, way: Way, program: str, sender: str, banned: str, fake: str, real: str,
        other: str) -> None:
    """A contact of a known host goes to mxallowd, but not while mx_fresh holds the host."""
    served.load_ruleset(*way.rulesets)
    with start(served, way) as daemon:
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        assert client.attempt(real, source=sender, timeout=AGAIN_S) is Attempt.CONNECTED
        daemon.wait_for("accepted ")
        way.forget_fresh(served)
        before = way.seen(served, daemon)
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        assert way.seen(served, daemon) == before + 1
        if way.sets:
            way.add(served, f"mx_fresh{6 if ':' in sender else 4}", sender)
            before = way.seen(served, daemon)
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            assert way.seen(served, daemon) == before
            # One that is in mx_fresh and not whitelisted is new.
            way.add(served, f"mx_fresh{6 if ':' in sender else 4}", banned)
            assert client.attempt(fake, source=banned) is Attempt.REFUSED
            daemon.wait_for(rf"whitelisted \[{banned}\]")


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.sets], indirect=True)
@FAMILIES
def test_uses_that_may_renew_are_shown_where_that_is_asked(
        served: Lab, client: Host, way: Way, program: str, sender: str, banned: str, fake: str, real: str,
        other: str) -> None:
    """--renew use or both: a used host at the real server is accepted in the kernel alone while mx_fresh holds it."""
    for edits in ({}, way.renew_use()):
        served.load_ruleset(*way.rulesets, edits=edits)
        with start(served, way, "--renew", "both" if edits else "contact") as daemon:
            if not edits:
                assert client.attempt(fake, source=sender) is Attempt.REFUSED
                assert client.attempt(real, source=sender, timeout=AGAIN_S) is Attempt.CONNECTED
                way.wait_for(served, f"mx_used{6 if ':' in sender else 4}", sender)
            for fresh in (False, True):
                way.forget_fresh(served)
                if fresh:
                    way.add(served, f"mx_fresh{6 if ':' in sender else 4}", sender)
                before = way.seen(served, daemon)
                assert client.attempt(real, source=sender) is Attempt.CONNECTED
                assert way.seen(served, daemon) == before + bool(edits and not fresh)
