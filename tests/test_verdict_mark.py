"""Option --verdict-mark on the kernel's queue: what mxallowd accepts meets the rules behind the queue's, too."""
import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from tests.daemon_process import QUEUE, SENDER4, SENDER6, serving

MARK = "0x10000000/0x10000000"
BANNED4, BANNED6 = "192.0.2.66", "2001:db8::66"
OTHER4, OTHER6 = "192.0.2.30", "2001:db8::30"
CLIENT = (SENDER4, SENDER6, BANNED4, BANNED6)
FAMILIES = pytest.mark.parametrize(
    ("program", "sender", "banned", "fake", "real", "other"),
    [("iptables", SENDER4, BANNED4, FAKE4, REAL4, OTHER4), ("ip6tables", SENDER6, BANNED6, FAKE6, REAL6, OTHER6)],
    ids=["ipv4", "ipv6"])
SYN = ("-p", "tcp", "--dport", "25", "--syn")
NFQUEUE = ("-j", "NFQUEUE", "--queue-num", QUEUE, "--queue-bypass")


@pytest.fixture
def others(served: Lab) -> Lab:
    """The gateway, with a server on addresses that are none of mxallowd's."""
    served.gateway.add_address(f"{OTHER4}/24", f"{OTHER6}/64")
    return served


@FAMILIES
def test_later_rules_decide_on_what_is_accepted(
        others: Lab, client: Host, program: str, sender: str, banned: str, fake: str, real: str, other: str) -> None:
    """A ban and a bound behind the queue's rule; what mxallowd refuses does not come so far."""
    others.input_rule(*SYN, "-m", "mark", "!", "--mark", MARK, *NFQUEUE, programs=[program])
    others.input_rule("-p", "tcp", "-s", banned, "-j", "DROP", programs=[program])
    others.input_rule(*SYN, "-d", other, "-j", "DROP", programs=[program])
    with others.gateway.serve(other), serving(others, "--verdict-mark", MARK) as daemon:
        assert client.attempt(real, source=sender) is Attempt.DROPPED
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        assert client.attempt(real, source=sender) is Attempt.CONNECTED
        # Whitelisted, and banned nevertheless.
        assert client.attempt(fake, source=banned) is Attempt.DROPPED
        daemon.wait_for(rf"whitelisted \[{banned}\]")
        assert client.attempt(real, source=banned) is Attempt.DROPPED
        assert client.attempt(other, source=sender) is Attempt.DROPPED
        counters = daemon.counters()
        # A SYN that a later rule drops was accepted all the same; each packet came to the queue once.
        assert (counters["received"], counters["verdict-accept"], counters["verdict-drop"]) == (6, 5, 1)
        assert counters["came-again"] == counters["errors"] == counters["unknown"] == 0
        assert daemon.stop() == 0


@FAMILIES
def test_without_a_mark_later_rules_are_skipped(
        others: Lab, client: Host, program: str, sender: str, banned: str, fake: str, real: str, other: str) -> None:
    """What docs/firewall.md says of ACCEPT: it ends the table's chain, for whoever is accepted and for a bypass."""
    others.input_rule(*SYN, *NFQUEUE, programs=[program])
    others.input_rule("-p", "tcp", "-s", banned, "-j", "DROP", programs=[program])
    with serving(others) as daemon:
        assert client.attempt(fake, source=banned) is Attempt.REFUSED
        assert client.attempt(real, source=banned) is Attempt.CONNECTED
        daemon.process.kill()
        daemon.process.wait(5)
    assert client.attempt(real, source=banned) is Attempt.CONNECTED


@FAMILIES
def test_a_bypass_skips_later_rules_with_a_mark_as_well(
        others: Lab, client: Host, program: str, sender: str, banned: str, fake: str, real: str, other: str) -> None:
    """Nobody sets a mark then. Only in another table do the rules of `filter` decide: test_rulesets.py."""
    others.input_rule(*SYN, "-m", "mark", "!", "--mark", MARK, *NFQUEUE, programs=[program])
    others.input_rule("-p", "tcp", "-s", banned, "-j", "DROP", programs=[program])
    with serving(others, "--verdict-mark", MARK) as daemon:
        assert client.attempt(real, source=banned) is Attempt.DROPPED
        assert client.attempt(fake, source=banned) is Attempt.DROPPED
        assert client.attempt(real, source=banned) is Attempt.DROPPED
        daemon.process.kill()
        daemon.process.wait(5)
    for source in (banned, sender):
        assert client.attempt(real, source=source) is Attempt.CONNECTED


@FAMILIES
def test_a_rule_that_is_missing_is_said_and_nothing_loops(
        others: Lab, client: Host, program: str, sender: str, banned: str, fake: str, real: str, other: str) -> None:
    others.input_rule(*SYN, *NFQUEUE, programs=[program])
    with serving(others, "--verdict-mark", MARK) as daemon:
        assert client.attempt(real, source=sender) is Attempt.DROPPED
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        assert client.attempt(real, source=sender) is Attempt.CONNECTED
        daemon.wait_for("came-again packets=")
        counters = daemon.counters()
        # The two that are accepted come twice each, and no further time.
        assert (counters["came-again"], counters["received"], counters["verdict-drop"]) == (2, 5, 1)
        assert others.queues()[0][2] == 0
        assert daemon.stop() == 0


@FAMILIES
@pytest.mark.parametrize(("mark", "before", "after"), [
    ("0x10000000/0x10000000", "0x5", "0x10000005"), ("268435456/0xf0000000", "0x30000001", "0x10000001"),
    ("7", "0x5", "0x7")])
def test_bits_outside_the_mask_stay(
        served: Lab, client: Host, mark: str, before: str, after: str, program: str, sender: str, banned: str,
        fake: str, real: str, other: str) -> None:
    served.input_rule("-t", "mangle", *SYN, "-j", "MARK", "--set-mark", before, programs=[program])
    served.input_rule(*SYN, "-m", "mark", "!", "--mark", mark, *NFQUEUE, programs=[program])
    served.input_rule(*SYN, "-m", "mark", "!", "--mark", after, "-j", "DROP", programs=[program])
    with serving(served, "--verdict-mark", mark) as daemon:
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        assert client.attempt(real, source=sender) is Attempt.CONNECTED
        assert daemon.counters()["came-again"] == 0


def test_packets_that_wait_at_a_stop_meet_later_rules(served: Lab, client: Host) -> None:
    """The stop answers them as any others, with the mark."""
    served.input_rule(*SYN, "-m", "mark", "!", "--mark", MARK, *NFQUEUE, programs=["iptables"])
    served.input_rule("-p", "tcp", "-s", BANNED4, "-j", "DROP", programs=["iptables"])
    with serving(served, "--verdict-mark", MARK) as daemon:
        assert client.attempt(FAKE4, source=BANNED4) is Attempt.DROPPED
        daemon.wait_for("whitelisted ")
        assert daemon.stop() == 0
        assert daemon.wait_for("stop ").startswith("stop signal=SIGTERM received=1")
