"""--network-key in every way: a pool with own names comes in at once after one contact of it."""
import time

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from mxallowd.firewall.wanted import Wanted
from tests.control_client import ask
from tests.test_list_ways import wait_until
from tests.ways import Way, all_ways_and_door, start

# 192.0.2.96/28 and the next one; the servers are in neither. The network of the IPv6 ones has all of the lab.
POOL4 = ("192.0.2.101", "192.0.2.102", "192.0.2.103", "192.0.2.104", "192.0.2.105")
POOL6 = ("2001:db8::101", "2001:db8::102")
FAR4 = "192.0.2.120"
CLIENT = (*POOL4, *POOL6, FAR4)
KEY = ("--network-key", "28/64")
WANTED = Wanted(network_key=(28, 64))


@all_ways_and_door
def test_a_pool_comes_in_at_once(served: Lab, client: Host, way: Way) -> None:
    alone = way.sets if not way.queues else ""
    served.load_texts(way.printed(WANTED))
    with start(served, way, *KEY) as daemon:
        # Who comes before anybody has met the fake server is refused.
        assert client.attempt(REAL4, source=POOL4[4], timeout=0.3) is Attempt.DROPPED
        for fake, real, pool in ((FAKE4, REAL4, POOL4), (FAKE6, REAL6, POOL6)):
            begun = time.monotonic()
            assert client.attempt(fake, source=pool[0]) is Attempt.REFUSED
            # Before mxallowd can have told the kernel.
            for host in pool[1:]:
                assert client.attempt(real, source=host) is Attempt.CONNECTED
            assert time.monotonic() - begun < 0.5
        assert client.attempt(REAL4, source=FAR4, timeout=0.3) is Attempt.DROPPED
        if alone:
            wait_until(served, way, "mx_net4", "192.0.2.96")
            assert way.members(served, "mx_net4")["192.0.2.96"] > 28_700
            wait_until(served, way, "mx_net6", "2001:db8::")
            # What the kernel entered by itself is over: the sets that mxallowd keeps let them in.
            time.sleep(2.1)
        assert client.attempt(REAL4, source=POOL4[4]) is Attempt.CONNECTED
        status, found = ask(daemon.control, "GET", "/v1/explain/192.0.2.106")
        assert status == 200
        assert isinstance(found, dict)
        assert (found["gets_in"], found["network"]["network"]) == (True, "192.0.2.96/28")
        assert "a contact of another host let in its network 192.0.2.96/28 until 20" in found["why"]
        # Who has connected is listed by himself; who is removed takes the network along.
        daemon.wait_for(r"neighbour \[192.0.2.105\] network=192.0.2.96/28 ")
        assert ask(daemon.control, "DELETE", f"/v1/entries/{POOL4[0]}")[0] == 200
        if alone:
            wait_until(served, way, "mx_net4", "192.0.2.96", there=False, limit_s=2)
        assert client.attempt(REAL4, source=POOL4[0], timeout=0.3) is Attempt.DROPPED
        assert client.attempt(REAL4, source=POOL4[4]) is Attempt.CONNECTED
        assert not [line for line in daemon.messages() if "missing" in line or "broken" in line]
        assert daemon.stop() == 0


@pytest.mark.parametrize("way", ["set", "set-ipset"], indirect=True)
def test_without_the_sets_the_second_syn_comes_in(served: Lab, client: Host, way: Way) -> None:
    served.load_ruleset(*way.rulesets)
    with start(served, way, *KEY) as daemon:
        daemon.wait_for("kernel-networks-missing table=.* reason=.*mx_net4.* second SYN")
        assert client.attempt(FAKE4, source=POOL4[0]) is Attempt.REFUSED
        daemon.wait_for("whitelisted ")
        begun = time.monotonic()
        assert client.attempt(REAL4, source=POOL4[1], timeout=4.5) is Attempt.CONNECTED
        assert 0.9 < time.monotonic() - begun < 1.5
        daemon.wait_for(r"neighbour \[192.0.2.102\] network=192.0.2.96/28 ")
        assert daemon.counters()["kernel-table-failed"] == 0
        # They are there at the next look.
        served.load_texts(way.printed(WANTED))
        wait_until(served, way, "mx_net4", "192.0.2.96", limit_s=6)
        assert sum("kernel-networks-missing" in line for line in daemon.messages()) == 1
        assert daemon.stop() == 0
