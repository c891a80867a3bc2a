"""Trusted senders in every way that has sets: in the kernel before they come, and while nobody serves."""
import signal
from pathlib import Path

import pytest

from lab.hosts import REAL4, REAL6, Attempt, Host, Lab
from tests.large_senders import records
from tests.name_server_process import NameServerProcess
from tests.test_list_files import old
from tests.test_list_ways import wait_until
from tests.ways import Way, start, ways_with_set_or_door

NETWORK4, SPF4, MX4, LISTED4, SPF6, STRANGER4 = CLIENT = (
    "192.0.2.65", "192.0.2.129", "192.0.2.99", "192.0.2.66", "2001:db8::65", "192.0.2.67")
RECORDS = [*records("192.0.2.128/26", "2001:db8::60/124", MX4), "66.2.0.192.list.example A 127.0.5.2"]


@pytest.fixture
def guarded(served: Lab, way: Way) -> Lab:
    """The gateway with a mail server on its real addresses, behind the way's rulesets."""
    served.load_ruleset(*way.rulesets)
    return served


@ways_with_set_or_door
def test_trusted_networks_are_in_the_kernel(guarded: Lab, client: Host, way: Way, tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text(f"spf mailbox.example\nspf office.example\nspf letters.example first-mx-only\n"
                    f"dnswl list.example\nnetwork {NETWORK4}\n", encoding="utf-8")
    trust = ("--trust", str(old(file)), "--dns-server", "127.0.0.1:5353")
    with NameServerProcess(guarded.gateway, RECORDS), start(guarded, way, *trust) as daemon:
        for domain, networks in (("mailbox", 56), ("office", 222), ("letters", 202)):
            daemon.wait_for(rf"trust where=\S+ domain={domain}.example networks={networks} seconds=3600")
        wait_until(guarded, way, "mx_allow4", NETWORK4)
        wait_until(guarded, way, "mx_allow4", "192.0.2.128/26")
        wait_until(guarded, way, "mx_allow6", "2001:db8::60/124")
        # Who is asked for in a list has to be refused once.
        assert client.attempt(REAL4, source=LISTED4) is Attempt.DROPPED
        wait_until(guarded, way, "mx_allow4", LISTED4 if way.sets == "ipset" else "192.0.2.65-192.0.2.66")
        daemon.send(signal.SIGSTOP)
        for real, source in ((REAL4, NETWORK4), (REAL4, SPF4), (REAL4, MX4), (REAL4, LISTED4), (REAL6, SPF6)):
            assert client.attempt(real, source=source) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=STRANGER4) is not Attempt.CONNECTED
        daemon.send(signal.SIGCONT)
