"""Option --refuse reset: who is refused gets a RST at once, by a rule; and where no rule gives it, nobody gets in."""
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from mxallowd.firewall.wanted import Wanted
from tests.daemon_process import QUEUE, SENDER4, SENDER6, serving
from tests.ways import Way, all_ways_and_door, start

DENIED4, DENIED6 = "192.0.2.66", "2001:db8::66"
CLIENT = (SENDER4, SENDER6, DENIED4, DENIED6)
FAMILIES = ((SENDER4, DENIED4, FAKE4, REAL4), (SENDER6, DENIED6, FAKE6, REAL6))
VERDICT_MARK = "0x20000000/0x20000000"
SYN = ("-p", "tcp", "--dport", "25", "--syn")
NFQUEUE = (*SYN, "-j", "NFQUEUE", "--queue-num", QUEUE, "--queue-bypass")
MARKED = (*SYN, "-m", "mark", "--mark", "0x40000000/0x40000000")
REJECTED = (*MARKED, "-j", "REJECT", "--reject-with", "tcp-reset")
AGAIN_S = 2.5  # a SYN comes again after 1 s


@all_ways_and_door
def test_who_is_refused_gets_a_rst(served: Lab, client: Host, way: Way) -> None:
    """In all ways and both families, also who is denied; a contact lets in as before."""
    mark = (0x20000000, 0x20000000) if way.queues else None
    served.load_texts(way.printed(Wanted(reset=True, verdict_mark=mark)))
    arguments = ("--refuse", "reset", "--verdict-mark", VERDICT_MARK) if way.queues else ()
    with start(served, way, "--deny", DENIED4, "--deny", DENIED6, *arguments) as daemon:
        if way.sets:
            daemon.wait_for("kernel-lists-filled", times=2)
        for sender, denied, fake, real in FAMILIES:
            assert client.attempt(real, source=denied) is Attempt.REFUSED
            assert client.attempt(real, source=sender) is Attempt.REFUSED
            daemon.wait_for(rf"refused \[{sender}\]")
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            assert client.attempt(real, source=sender, timeout=AGAIN_S) is Attempt.CONNECTED
        if way.queues:
            counters = daemon.counters()
            assert (counters["verdict-reset"], counters["verdict-drop"]) == (2 if way.sets else 4, 0)
            assert counters["came-again"] == counters["not-rejected"] == counters["errors"] == 0
            assert counters["received"] == counters["verdict-accept"] + counters["verdict-reset"]
        assert daemon.stop() == 0


@pytest.mark.parametrize("rules", [[NFQUEUE], [NFQUEUE, REJECTED]], ids=["no-rule", "a-rule-behind-the-queue"])
def test_without_the_rule_they_are_dropped(served: Lab, client: Host, rules: list[tuple[str, ...]]) -> None:
    """It fails safe, says so, and nothing goes round."""
    for rule in rules:
        served.input_rule(*rule)
    with serving(served, "--refuse", "reset") as daemon:
        assert client.attempt(REAL4) is Attempt.DROPPED
        assert client.attempt(REAL6) is Attempt.DROPPED
        daemon.wait_for("not-rejected packets=")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        counters = daemon.counters()
        assert (counters["received"], counters["not-rejected"], counters["verdict-drop"]) == (6, 2, 2)
        assert served.queues()[0][2] == 0
        assert daemon.stop() == 0


def test_who_is_about_to_come_in_is_dropped(served: Lab, client: Host) -> None:
    """With --patience the last refusal: its SYN comes again a second later, and is let in."""
    served.input_rule(*REJECTED)
    served.input_rule(*NFQUEUE)
    with serving(served, "--refuse", "reset", "--patience", "2/1s") as daemon:
        assert client.attempt(REAL4) is Attempt.REFUSED
        time.sleep(1.1)
        began = time.monotonic()
        assert client.attempt(REAL4, timeout=AGAIN_S) is Attempt.CONNECTED
        assert 0.9 < time.monotonic() - began < AGAIN_S
        counters = daemon.counters()
        assert (counters["verdict-reset"], counters["verdict-drop"], counters["real-patient"]) == (1, 1, 0)


@pytest.mark.parametrize("option", ["--trust", "--pool-domain"])
def test_where_names_are_asked_the_second_syn_is_rejected(
        served: Lab, client: Host, option: str, tmp_path: Path) -> None:
    """The answer may let the host in within that second."""
    trust = tmp_path / "trusted"
    trust.write_text("network 203.0.113.0/24\n", encoding="ascii")
    served.input_rule(*REJECTED)
    served.input_rule(*NFQUEUE)
    with serving(served, "--refuse", "reset", option, *([str(trust)] if option == "--trust" else [])):
        began = time.monotonic()
        assert client.attempt(REAL4, timeout=AGAIN_S) is Attempt.REFUSED
        assert 0.9 < time.monotonic() - began < AGAIN_S


def test_a_dry_run_rejects_nobody(served: Lab, client: Host) -> None:
    served.input_rule(*REJECTED)
    served.input_rule(*NFQUEUE)
    with serving(served, "--refuse", "reset", "--dry-run") as daemon:
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert daemon.counters()["would-refuse"] == 1


@pytest.mark.parametrize("name", ["queue.sh", "queue-set-ipset.sh", "set-ipset.sh"])
def test_a_table_that_cannot_reject_is_refused(lab: Lab, name: str) -> None:
    with pytest.raises(RuntimeError, match="nothing was changed: refuse=REJECT needs the table filter"):
        lab.load_ruleset(name, edits={"refuse=DROP": "refuse=REJECT", "table=filter": "table=security"})
