"""Promise 7 of docs/reliability.md: clocks that are set, and sleep. The wall clock of the machine is left alone."""
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, Attempt, Host, Lab
from tests.clocks import Clocks
from tests.daemon_process import SERVERS, DaemonProcess

YEAR_S = 31_557_600
LIFETIME_S = 5


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks:
    """Clocks that go right."""
    return Clocks(tmp_path / "clocks")


@pytest.fixture
def daemon(lab: Lab, clocks: Clocks) -> Iterator[DaemonProcess]:
    """The daemon with clocks that can be set."""
    lab.queue_rule("23")
    arguments = ["-c", "/dev/null", *SERVERS, "-n", "23", "-b", "-t", str(LIFETIME_S)]
    with lab.gateway.serve(REAL4), DaemonProcess(lab.gateway, arguments, prefix=clocks.prefix()) as process:
        process.wait_for("start ")
        yield process


@pytest.mark.parametrize("wall_s", [YEAR_S, -YEAR_S], ids=["a-year-ahead", "a-year-back"])
def test_7_a_wall_clock_that_is_set_changes_no_lifetime(
        daemon: DaemonProcess, client: Host, clocks: Clocks, wall_s: int) -> None:
    assert client.attempt(FAKE4) is Attempt.REFUSED
    contact = time.monotonic()
    time.sleep(0.3)
    clocks.set(wall_s, 0)
    assert client.attempt(FAKE6) is Attempt.REFUSED
    year = time.gmtime(time.time() + wall_s).tm_year
    daemon.wait_for(r"whitelisted \[2001:db8::101\] .*seconds=5")
    # The log has the new time, so the clock is really another one.
    assert f".{year} " in daemon.lines[-1]
    while time.monotonic() < contact + LIFETIME_S - 1:
        assert client.attempt(REAL4) is Attempt.CONNECTED
        time.sleep(0.2)
    time.sleep(max(0.0, contact + LIFETIME_S + 1 - time.monotonic()))
    assert client.attempt(REAL4) is Attempt.DROPPED
    assert daemon.stop() == 0


def test_7_time_passes_in_sleep(daemon: DaemonProcess, client: Host, clocks: Clocks) -> None:
    assert client.attempt(FAKE4) is Attempt.REFUSED
    assert client.attempt(REAL4) is Attempt.CONNECTED
    clocks.set(LIFETIME_S - 2, LIFETIME_S - 2)
    assert client.attempt(REAL4) is Attempt.CONNECTED
    clocks.set(LIFETIME_S, LIFETIME_S)
    assert client.attempt(REAL4) is Attempt.DROPPED
    assert client.attempt(FAKE4) is Attempt.REFUSED
    assert client.attempt(REAL4) is Attempt.CONNECTED
    counters = daemon.counters()
    assert (counters["successful"], counters["entries"]) == (1, 1)
    assert daemon.stop() == 0
