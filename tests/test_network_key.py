"""--network-key in the running daemon: a contact lets its network in, and who has connected stays in by himself."""
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from tests.control_client import ask
from tests.daemon_process import QUEUE, SERVERS, DaemonProcess
from tests.test_cli import run

# 192.0.2.96/28 and the next one; the servers are in neither.
NEAR4, NEAR6, FAR4, LATE4, LATER4 = "192.0.2.102", "2001:db8::102", "192.0.2.120", "192.0.2.103", "192.0.2.104"
CLIENT = ("192.0.2.101", "2001:db8::101", NEAR4, NEAR6, FAR4, LATE4, LATER4)
KEY = ["-n", QUEUE, "-b", "--network-key", "28/64", "--proven-time", "3000000"]


def test_a_pool_comes_in_by_one_contact(guarded: Lab, client: Host, tmp_path: Path) -> None:
    options = [*SERVERS, *KEY, "--state-dir", str(tmp_path / "state")]
    with DaemonProcess(guarded.gateway, options) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(REAL4, source=NEAR4, timeout=0.3) is Attempt.DROPPED
        assert client.attempt(FAKE4, source=CLIENT[0]) is Attempt.REFUSED
        assert client.attempt(FAKE6, source=CLIENT[1]) is Attempt.REFUSED
        begun = time.monotonic()
        assert client.attempt(REAL4, source=NEAR4) is Attempt.CONNECTED
        assert client.attempt(REAL6, source=NEAR6) is Attempt.CONNECTED
        assert time.monotonic() - begun < 0.5
        assert client.attempt(REAL4, source=FAR4, timeout=0.3) is Attempt.DROPPED
        daemon.wait_for(rf"by-network \[{NEAR4}\] real={REAL4} times=1")
        daemon.wait_for(rf"neighbour \[{NEAR4}\] network=192.0.2.96/28 seconds=3000000")
        daemon.wait_for(rf"neighbour \[{NEAR6}\] network=2001:db8::/64 ")
        counters = daemon.counters()
        assert (counters["real-network"], counters["networks-noted"], counters["proven"]) == (2, 2, 2)
        assert daemon.stop() == 0
    with DaemonProcess(guarded.gateway, options) as daemon:
        daemon.wait_for("start ")
        # The entry of the contact is there again, and with it the network.
        assert client.attempt(REAL4, source=LATE4) is Attempt.CONNECTED
        assert ask(daemon.control, "DELETE", f"/v1/entries/{CLIENT[0]}")[0] == 200
        assert client.attempt(REAL4, source="192.0.2.101", timeout=0.3) is Attempt.DROPPED
        # Who has connected depends on nobody.
        assert client.attempt(REAL4, source=LATE4) is Attempt.CONNECTED
        status, found = ask(daemon.control, "GET", "/v1/status")
        assert status == 200
        assert isinstance(found, dict)
        assert found["networks"]["room"] == 1_000_000
        # The next contact lets the network in again; a flush forgets all.
        assert client.attempt(FAKE4, source=CLIENT[0]) is Attempt.REFUSED
        assert client.attempt(REAL4, source=LATER4) is Attempt.CONNECTED
        assert ask(daemon.control, "DELETE", "/v1/entries")[0] == 200
        assert client.attempt(REAL4, source=LATER4, timeout=0.3) is Attempt.DROPPED
        assert daemon.stop() == 0


@pytest.mark.parametrize(("value", "text"), [
    ("24", 'network-key: "24" is not BITS/BITS, of IPv4 and of IPv6, as in 24/64'),
    ("/24/64", "is not BITS/BITS"),
    ("8/64", 'network-key: "8/64" is out of range: 16 to 32 for IPv4 and 48 to 64, or 128, for IPv6'),
    ("24/65", "is out of range"),
])
def test_what_cannot_be_is_said(value: str, text: str) -> None:
    status, output, error = run("--check", *SERVERS, "-n", "23", "--network-key", value)
    assert status != 0
    assert text in output + error
