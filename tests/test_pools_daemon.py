"""A pool whose addresses have names of their own, before the running daemon: first message, explain, restart."""
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, REAL6, Attempt, Host, Lab
from tests.control_client import ask
from tests.daemon_process import SERVERS, DaemonProcess
from tests.name_server_process import NameServerProcess
from tests.test_cli import run
from tests.test_explain import ctl
from tests.test_rdns import ptr
from tests.ways import WAYS, Way

FIRST, SECOND, THIRD, DIALUP = "192.0.2.101", "192.0.2.102", "192.0.2.103", "192.0.2.104"
SECOND6 = "2001:db8::102"
CLIENT = (FIRST, SECOND, THIRD, DIALUP, "2001:db8::101", SECOND6)
NAMES = {FIRST: "mx-out-a.example.org", SECOND: "mx-out-b.example.org", THIRD: "out.third.example.org",
         DIALUP: "192-0-2-104.example.org", SECOND6: "mx-six.example.org"}
RECORDS = [line for address, name in NAMES.items() for line in (
    ptr(address, name), f"{name} {'AAAA' if ':' in address else 'A'} {address}")]


@pytest.fixture(params=["queue", "queue-set-ipset", "set"])
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture
def names(served: Lab, way: Way) -> Iterator[NameServerProcess]:
    """The gateway behind the way's rulesets, with a name server."""
    served.load_ruleset(*way.rulesets)
    with NameServerProcess(served.gateway, RECORDS) as server:
        yield server


@pytest.mark.usefixtures("names")
def test_the_first_message_of_a_pool(served: Lab, client: Host, way: Way, tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text("pool-domain\n", encoding="ascii")
    arguments = ["-c", str(file), *SERVERS, *way.arguments, "--dns-server", "127.0.0.1:5353",
                 "--state-dir", str(tmp_path / "state")]
    with DaemonProcess(served.gateway, arguments) as daemon:
        daemon.wait_for("start ")
        for real, source in ((REAL4, SECOND), (REAL6, SECOND6)):
            # The fake server from one address, the real one from another, as pools do.
            assert client.attempt(FAKE4, source=FIRST) is Attempt.REFUSED
            begun = time.monotonic()
            assert client.attempt(real, source=source, timeout=2.9) is Attempt.CONNECTED
            # Refused, looked up both ways, let in: the kernel sends the SYN again after 1 s.
            assert time.monotonic() - begun < 1.5
        assert daemon.wait_for(r"child \[192.0.2.102\]") == (
            "child [192.0.2.102] name=mx-out-b.example.org domain=example.org of=192.0.2.101 seconds=28800")
        assert client.attempt(REAL4, source=DIALUP, timeout=1.5) is Attempt.DROPPED
        found = json.loads(ctl(served.gateway, daemon.control, "--json", "explain", SECOND).stdout)
        assert (found["entry"]["origin"], found["entry"]["note"]) == (
            "child", "pool example.org by 192.0.2.101 as mx-out-b.example.org")
        assert found["why"].startswith("pool example.org: its name mx-out-b.example.org is below this domain")
        assert daemon.counters()["pool-children"] == 2
        assert daemon.stop() == 0
    if way.sets:
        return
    # What the disk has of the contact is no name: it is looked up again. Who came in by the domain, and has connected
    # since, has a note of it, and founds at once. Here as soon as a reload says so, which reads the list of public
    # suffixes behind the walls.
    file.write_text("", encoding="ascii")
    with DaemonProcess(served.gateway, arguments) as daemon:
        daemon.wait_for("start ")
        file.write_text("pool-domain\n", encoding="ascii")
        assert ask(daemon.control, "POST", "/v1/reload")[0] == 200
        time.sleep(1.3)
        assert client.attempt(REAL4, source=THIRD, timeout=4.5) is Attempt.CONNECTED
        assert daemon.wait_for("child ") == (
            "child [192.0.2.103] name=out.third.example.org domain=example.org of=192.0.2.102 seconds=28800")
        assert daemon.stop() == 0


def test_what_does_nothing_is_said_at_the_check() -> None:
    status, output, error = run("--check", *SERVERS, "-n", "23", "-b", "--pool-domain")
    assert status == 0
    assert "pool-domain does nothing: with no-rdns-whitelist no name is looked up" in output + error
