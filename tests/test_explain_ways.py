"""What explain says of the next connection is what the connection meets, in each way that has sets of the firewall."""
from typing import Any

import pytest

from lab.hosts import FAKE4, REAL4, REAL6, Attempt, Host, Lab
from mxallowd.control.answers.ways import ALONE, Kernel, Meets, differences, meets
from tests.control_client import ask
from tests.daemon_process import DaemonProcess
from tests.test_explain import ctl
from tests.test_list_ways import held, wait_until
from tests.ways import Way, start

STRANGER, ALLOWED, DENIED, CAME, EXEMPT, OWN, WHITE, MET = (f"192.0.2.{last}" for last in (
    101, 65, 129, 111, 209, 112, 113, 114))
STRANGER6, EXEMPT6 = "2001:db8::101", "2001:db8:0:0:aa::1"
CLIENT = (STRANGER, ALLOWED, DENIED, CAME, EXEMPT, OWN, WHITE, MET, STRANGER6, EXEMPT6)
LISTS = ("--allow", "192.0.2.64/27", "--deny", "192.0.2.128/26")


def explained(daemon: DaemonProcess, host: str) -> dict[str, Any]:
    status, found = ask(daemon.control, "GET", f"/v1/explain/{host}")
    assert status == 200
    assert isinstance(found, dict)
    return found


def exempt(lab: Lab, way: Way) -> set[str]:
    """Exempt hosts of the operator's, where the way has sets for them."""
    if way.sets != "nft":
        return set()
    lab.gateway.run(["nft", "add element inet mxallowd mx_exempt4 { 192.0.2.208/28, 203.0.113.7 }; "
                            "add element inet mxallowd mx_exempt6 { 2001:db8:0:0:aa::/80 }"], check=True)
    return {EXEMPT, EXEMPT6}


@pytest.mark.parametrize("way", ["queue-set-mark", "set", "set-ipset"], indirect=True)
def test_what_explain_says_is_what_a_connection_meets(served: Lab, client: Host, way: Way) -> None:
    served.load_ruleset(*way.rulesets)
    exempted = exempt(served, way)
    with start(served, way, *LISTS) as daemon:
        wait_until(served, way, "mx_allow4", "192.0.2.64/27")
        wait_until(served, way, "mx_deny4", "192.0.2.128/26")
        assert client.attempt(FAKE4, source=CAME) is Attempt.REFUSED
        for name, host in (("mx_white4", OWN), ("mx_used4", OWN), ("mx_white4", WHITE)):
            way.add(served, name, host)
        if not way.queues:
            way.add(served, "mx_met4", MET)
        way.wait_for(served, "mx_white4", CAME)
        gets_in = {ALLOWED, CAME, OWN} | exempted | (set() if way.queues else {WHITE, MET})
        before = daemon.counters()["received"], held(served, way, "mx_used4").count("192.0.2.")
        said = {host: explained(daemon, host) for host in CLIENT}
        assert {host for host, found in said.items() if found["gets_in"]} == gets_in
        assert {host for host in exempted if "exempt" in said[host]["why"]} == exempted
        if way.sets == "nft":
            # The first of an interval, its last, and those beside it; one that is alone.
            assert [explained(daemon, host)["gets_in"] for host in (
                "192.0.2.207", "192.0.2.208", "192.0.2.223", "192.0.2.224", "203.0.113.7", "203.0.113.8")] == [
                False, True, True, False, True, False]
        else:
            assert "exempt" in said[STRANGER]["not_asked"]
        assert [one["fault"] for one in said[STRANGER]["kernel"]] == [None]
        assert "not in the whitelist" in said[WHITE]["kernel"][0]["fault"]
        # Asking has shown nobody to the daemon, and entered nobody.
        assert (daemon.counters()["received"], held(served, way, "mx_used4").count("192.0.2.")) == before
        for host in CLIENT:
            verdict = client.attempt(REAL6 if ":" in host else REAL4, source=host)
            assert (verdict is Attempt.CONNECTED) == (host in gets_in), host
        if way.queues:
            assert "; what the kernel decides alone is not shown to mxallowd" in ctl(
                served.gateway, daemon.control, "explain", DENIED).stdout
        # Those who got in once are in the set of those who did.
        wait_until(served, way, "mx_used4", CAME)
        found = explained(daemon, CAME)
        assert found["next"][-1]["reason"] == f"in mx_used4{ALONE}"
        assert found["next"][0]["outcome"] == "fake-known"


def test_a_set_that_nobody_can_ask_is_not_known(lab: Lab) -> None:
    lab.load_ruleset("set.nft")
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-b", "-p", "nflog:5",
                                     "--nft-table", "inet mxallowd", "--deny", DENIED]) as daemon:
        daemon.wait_for("kernel-lists-filled ")
        lab.gateway.run(["nft", "delete chain inet mxallowd input; delete chain inet mxallowd mx_new; "
                                "delete set inet mxallowd mx_deny4"], check=True)
        found = explained(daemon, DENIED)["next"][-1]
        assert "the firewall has no mx_deny4: lists do nothing there" in found["reason"]
        assert found["ways"]["pf"]["verdict"] is None
        lab.gateway.run(["nft", "delete table inet mxallowd"], check=True)
        found = explained(daemon, STRANGER)
        # As a connection would: without the table nobody is refused.
        assert found["gets_in"]
        assert "nothing is refused" in found["next"][-1]["reason"]
        assert found["kernel"][0]["sets"] == {}
        assert "no set mx_white4" in found["kernel"][0]["fault"]


DECISION: Meets = {"verdict": "drop", "by": "mxallowd", "outcome": "real-refused", "reason": "it is not whitelisted"}


@pytest.mark.parametrize(("way", "sets", "verdict", "outcome"), [
    ("b", {}, None, "no-sets"), ("c", {}, "accept", "no-sets"), ("c", {"mx_white4": False}, "drop", "not-in-set"),
    ("b", {"mx_white4": False}, "drop", "real-refused"),
    ("b", {"mx_white4": True}, "drop", "real-refused"), ("c", {"mx_white4": True}, "accept", "in-set"),
    ("b", {"mx_used4": True}, "accept", "in-set"), ("b", {"mx_used6": True}, "drop", "real-refused"),
    ("c", {"mx_deny4": True, "mx_used4": True}, "drop", "real-denied"),
    ("b", {"mx_deny4": True, "mx_exempt4": True}, "accept", "exempt"),
    ("b", {"mx_allow4": True}, "accept", "real-allowed"), ("c", {"mx_met4": True}, "accept", "in-set"),
    ("d", {"mx_white4": True}, "accept", "in-set"), ("d", {"mx_deny4": True, "mx_white4": True}, "drop", "real-denied"),
    ("d", {"mx_white4": False}, "drop", "not-in-set"), ("d", {}, "accept", "no-sets"),
    ("pf", {"mx_white4": True}, None, "not-configured")])
def test_the_rules_of_a_way(way: str, sets: dict[str, bool], verdict: str | None, outcome: str) -> None:
    found = meets(way, "real", DECISION, Kernel(sets, 4), dry_run=False)
    assert (found["verdict"], found["outcome"]) == (verdict, outcome)


def test_way_d_is_seen_by_the_sets() -> None:
    sets = {"mx_white4": True, "mx_fresh4": False}
    assert [Kernel(one, 4).at_door() for one in (sets, sets | {"mx_met4": False}, {})] == [True, False, False]


@pytest.mark.parametrize(("way", "outcome"), [("c", "fake-led"), ("d", "fake-denied")])
def test_who_is_direct_and_denied_at_the_fake(way: str, outcome: str) -> None:
    """At the door he is rejected before a rule of NAT could lead him."""
    kernel = Kernel({"mx_direct4": True, "mx_deny4": True, "mx_white4": True, "mx_fresh4": True}, 4)
    assert meets(way, "fake", DECISION, kernel, dry_run=False)["outcome"] == outcome
    led = Kernel({"mx_direct4": True, "mx_white4": True, "mx_fresh4": True}, 4)
    assert meets(way, "fake", DECISION, led, dry_run=False)["outcome"] == "fake-led"


def test_what_the_kernel_does_not_show_is_said() -> None:
    for way, name, unseen in (("b", "mx_deny4", True), ("c", "mx_deny4", False), ("d", "mx_deny4", False),
                              ("c", "mx_white4", False)):
        reason = str(meets(way, "real", DECISION, Kernel({name: True}, 4), dry_run=False)["reason"])
        assert (ALONE in reason) == unseen


def test_pf_and_a_kernel_that_does_not_answer() -> None:
    for sets, verdict in (({"mx": True}, "accept"), ({"mx": False}, "drop")):
        kernel = Kernel(sets, 4, "mx")
        assert meets("pf", "real", DECISION, kernel, dry_run=False)["verdict"] == verdict
        assert meets("b", "real", DECISION, kernel, dry_run=False)["verdict"] is None
        assert (differences(True, False, None, kernel) is None) == (verdict == "accept")
    broken = meets("c", "real", DECISION, Kernel({}, 4, None, "no answer in time"), dry_run=False)
    assert (broken["verdict"], broken["outcome"]) == (None, "not-asked")
    assert meets("c", "real", DECISION, None, dry_run=False)["verdict"] is None
    assert "counts only" in str(meets("c", "real", DECISION, Kernel({"mx_white4": False}, 4), dry_run=True)["reason"])
