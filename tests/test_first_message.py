"""The first message in way c, where the kernel decides: it is there at once, and the daemon's absence costs no more.

tests/test_newcomers.py has the same beside a flood.
"""
import signal
import threading
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from tests.daemon_process import SENDER4, SENDER6
from tests.ways import Way, start

CLIENT = (SENDER4, SENDER6, *(f"192.0.2.{number}" for number in range(110, 116)),
          *(f"2001:db8::{number}" for number in range(110, 116)))
AT_ONCE_S = 0.5
# Of mx_met here, in place of five seconds.
MET_S = 1.0
MET = {"set": {"timeout 5s": "timeout 1s"},
       "set-ipset": {"--timeout 5": "--timeout 1", "timeout 5 maxelem": "timeout 1 maxelem"}}
ways_of_the_kernel = pytest.mark.parametrize("way", ["set", "set-ipset"], indirect=True)


def servers(source: str) -> tuple[str, str]:
    """The fake and the real one of a family."""
    return (FAKE6, REAL6) if ":" in source else (FAKE4, REAL4)


def took(client: Host, source: str) -> float:
    """Seconds that a real connection takes right behind the RST of the fake server."""
    fake, real = servers(source)
    assert client.attempt(fake, source=source) is Attempt.REFUSED
    began = time.monotonic()
    assert client.attempt(real, source=source, timeout=3.5) is Attempt.CONNECTED
    return time.monotonic() - began


@ways_of_the_kernel
def test_it_is_delivered_at_once(served: Lab, client: Host, way: Way) -> None:
    """Of newcomers of both families; also while the daemon hangs, which takes over what it has missed."""
    served.load_ruleset(*way.rulesets, edits=MET["set" if way.sets == "nft" else "set-ipset"])
    with start(served, way) as daemon:
        assert max(took(client, source) for source in CLIENT[2:6] + CLIENT[8:12]) < AT_ONCE_S
        daemon.send(signal.SIGSTOP)
        for source in (SENDER4, SENDER6):
            assert took(client, source) < AT_ONCE_S
        # The kernel alone lets them in for so long. Then they wait for the daemon.
        time.sleep(MET_S + 0.3)
        assert client.attempt(REAL4, source=SENDER4, timeout=0.3) is Attempt.DROPPED
        daemon.send(signal.SIGCONT)
        for source in (SENDER4, SENDER6):
            daemon.wait_for(rf"whitelisted \[{source}\]")
            assert client.attempt(servers(source)[1], source=source, timeout=3.5) is Attempt.CONNECTED
        # Without a daemon a newcomer is let in for the same time, and nobody for longer.
        daemon.process.kill()
        daemon.process.wait(5)
        late = CLIENT[6]
        assert took(client, late) < AT_ONCE_S
        time.sleep(MET_S + 0.3)
        assert client.attempt(REAL4, source=late, timeout=0.3) is Attempt.DROPPED
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED


@ways_of_the_kernel
def test_no_known_sender_waits_for_a_restart(served: Lab, client: Host, way: Way, tmp_path: Path) -> None:
    """The sets are there all the time, and filled again without being emptied."""
    served.load_ruleset(*way.rulesets)
    keeps = ("--state-dir", str(tmp_path / "state"))
    slowest: list[float] = []
    over = threading.Event()

    def knock() -> None:
        while not over.is_set():
            for source in (SENDER4, SENDER6):
                began = time.monotonic()
                assert client.attempt(servers(source)[1], source=source, timeout=3.5) is Attempt.CONNECTED
                slowest.append(time.monotonic() - began)
            time.sleep(0.005)

    with start(served, way, *keeps) as daemon:
        for source in (SENDER4, SENDER6):
            took(client, source)
            way.wait_for(served, "mx_white6" if ":" in source else "mx_white4", source)
        knocking = threading.Thread(target=knock)
        knocking.start()
        assert daemon.stop() == 0
    with start(served, way, *keeps) as daemon:
        daemon.wait_for("kernel-table-filled")
        time.sleep(0.2)
        over.set()
        knocking.join()
        assert len(slowest) > 50
        assert max(slowest) < AT_ONCE_S
        assert daemon.stop() == 0


@ways_of_the_kernel
def test_the_start_waits_for_the_sets(served: Lab, client: Host, way: Way, tmp_path: Path) -> None:
    """As after a boot: they are empty, and a known sender's first SYN behind `start` finds them filled."""
    served.load_ruleset(*way.rulesets)
    keeps = ("--state-dir", str(tmp_path / "state"))
    with start(served, way, *keeps) as daemon:
        for source in (SENDER4, SENDER6):
            took(client, source)
            daemon.wait_for(rf"whitelisted \[{source}\]")
        assert daemon.stop() == 0
    for name in ("mx_white", "mx_used", "mx_met"):
        for version in (4, 6):
            served.gateway.run(["nft", "flush", "set", "inet", "mxallowd", f"{name}{version}"] if way.sets == "nft" else
                               ["ipset", "flush", f"{name}{version}"], check=True)
    assert client.attempt(REAL4, timeout=0.3) is Attempt.DROPPED
    with start(served, way, *keeps):
        for source in (SENDER4, SENDER6):
            began = time.monotonic()
            assert client.attempt(servers(source)[1], source=source, timeout=3.5) is Attempt.CONNECTED
            assert time.monotonic() - began < AT_ONCE_S
