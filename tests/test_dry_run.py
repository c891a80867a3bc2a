"""--dry-run on the running daemon: all is decided, counted and logged by its name, and nobody is refused."""
import json
import sys
import time

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, RULESETS, Attempt, Host, Lab
from mxallowd.firewall.wanted import Wanted
from tests.control_client import ask
from tests.daemon_process import SENDER4, SENDER6, SERVERS, serving
from tests.until import until
from tests.ways import EVERY, Way, all_ways_and_door, start

SPAMMER4, SPAMMER6, DENIED4 = "192.0.2.66", "2001:db8::66", "192.0.2.88"
CLIENT = (SENDER4, SENDER6, SPAMMER4, SPAMMER6, DENIED4)
# Where the rules decide, and a trial has rules of its own.
RULES_DECIDE = ("set", "set-ipset", "door")
TRIAL = Wanted(dry_run=True)


@all_ways_and_door
def test_nobody_is_refused_in_any_way(served: Lab, client: Host, way: Way) -> None:
    name = next(name for name, one in EVERY.items() if one is way)
    served.load_texts(way.printed(TRIAL))
    if not way.queues:
        # One that the kernel would let in: it has the denied networks as well, and shows whom they would keep out.
        way.add(served, "mx_used4", DENIED4)
    with start(served, way, "--dry-run", "--deny", DENIED4) as daemon:
        assert daemon.wait_for("dry-run ")
        if not way.queues:
            daemon.wait_for("kernel-lists-filled .*set=mx_deny4")
        assert client.attempt(REAL4, source=DENIED4) is Attempt.CONNECTED
        daemon.wait_for(rf"would-deny \[{DENIED4}\] server={REAL4} times=1$")
        for real, spammer in ((REAL4, SPAMMER4), (REAL6, SPAMMER6)):
            assert client.attempt(real, source=spammer) is Attempt.CONNECTED
            daemon.wait_for(rf"would-refuse \[{spammer}\] real={real} times=1$")
        # A sender is what it is while the filter is armed.
        for fake, real, sender in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            daemon.wait_for(rf"whitelisted \[{sender}\]")
            assert client.attempt(real, source=sender) is Attempt.CONNECTED
            daemon.wait_for(rf"accepted \[{sender}\]")
        counters = daemon.counters()
        assert (counters["real-refused"], counters["real-denied"]) == (2, 1)
        assert (counters["would-refuse"], counters["blocked"]) == (3, 0)
        assert (counters["fake-new"], counters["real-first"]) == (2, 2)
        assert counters.get("verdict-drop", 0) == 0
        # The daemon reads the kernel's counters once in a while.
        by_kernel = 3 if name in ("set", "door") else 0
        assert until(lambda: daemon.counters().get("kernel-refused", 0) == by_kernel)
        assert not [line for line in daemon.messages() if line.startswith(("refused ", "denied "))]
        assert daemon.stop() == 0


@pytest.mark.parametrize("name", RULES_DECIDE)
def test_the_variant_counts_what_the_ruleset_would_drop(served: Lab, client: Host, name: str) -> None:
    """Without the daemon: the kernel alone. Armed again, the same file drops."""
    way = EVERY[name]
    served.load_texts(way.printed(TRIAL))
    assert client.attempt(REAL4, source=SPAMMER4) is Attempt.CONNECTED
    if way.sets == "nft":
        listing = served.gateway.run(["nft", "-j", "list", "counter", "inet", "mxallowd", "mx_refused"],
                                     capture_output=True).stdout
        assert [one["counter"]["packets"] for one in json.loads(listing)["nftables"] if "counter" in one] == [1]
    else:
        saved = served.gateway.run(["iptables-save", "-c"], capture_output=True, text=True).stdout
        assert "[1:60] -A MXALLOWD_REAL -j RETURN" in saved
    served.load_ruleset(*way.rulesets)
    assert client.attempt(REAL4, source=SPAMMER4) is Attempt.DROPPED


def test_a_ruleset_that_drops_in_a_dry_run_is_said(served: Lab, client: Host) -> None:
    """What only counts is none; that is looked at again while the daemon runs."""
    way = EVERY["set"]
    served.load_ruleset(*way.rulesets)
    with start(served, way, "--dry-run") as daemon:
        assert "unknown hosts are dropped by the ruleset of nft inet mxallowd" in daemon.wait_for("dry-run ")

        def warned() -> bool:
            return "ruleset drops" in str(ask(daemon.control, "GET", "/readyz")[1]["warnings"])

        assert warned()
        served.load_texts(way.printed(TRIAL))
        deadline = time.monotonic() + 8
        while warned() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not warned()
        assert client.attempt(REAL4, source=SPAMMER4) is Attempt.CONNECTED
        assert daemon.stop() == 0


def test_the_mark_of_what_is_accepted_is_set_too(served: Lab, client: Host) -> None:
    served.queue_rule("23", unmarked="0x10000000/0x10000000")
    with serving(served, "--dry-run", "--verdict-mark", "0x10000000/0x10000000") as daemon:
        assert client.attempt(REAL4) is Attempt.CONNECTED
        counters = daemon.counters()
        assert (counters["would-refuse"], counters["came-again"]) == (1, 0)
        assert daemon.stop() == 0


def test_a_full_queue_drops_nothing_either(lab: Lab) -> None:
    done = lab.gateway.run([sys.executable, "-m", "mxallowd", "--check", "-c", "/dev/null", *SERVERS, "-n", "23", "-b",
                            "--dry-run", "--on-overload", "drop"], capture_output=True, text=True)
    assert "warning: dry-run accepts everything, so on-overload is accept\n" in done.stdout
    assert done.returncode == 0


def test_the_rulesets_say_how() -> None:
    for name in RULES_DECIDE:
        assert "--dry-run" in "".join(EVERY[name].text())
    assert "mx-refused" in (RULESETS.parent / "docs" / "firewall.md").read_text(encoding="utf-8")


def test_a_sender_reaches_the_real_server_through_the_fake_address(served: Lab, client: Host) -> None:
    """What docs/trial.md has for a sender that tries the best MX record alone; it is exempt from the rules."""
    served.load_ruleset("queue.sh", edits={'exempt4=""': f'exempt4="{SENDER4}"'})
    served.gateway.run(["iptables", "-t", "nat", "-I", "PREROUTING", "-p", "tcp", "--dport", "25", "-s", SENDER4, "-d",
                        FAKE4, "-j", "DNAT", "--to-destination", REAL4], check=True)
    with serving(served) as daemon:
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.CONNECTED
        assert client.attempt(FAKE4, source=SPAMMER4) is Attempt.REFUSED
        assert daemon.counters()["received"] == 1
