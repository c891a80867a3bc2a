"""Reverse DNS under load: nsd, a dead name server, one that floods, and what they do to memory and to verdicts."""
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from lab.nsd import FIRST, SECOND, Nsd, nsd_program
from lab.programs import ENDLESS, Sources, flood
from mxallowd.sinks.lookups import MAX_LOOKUPS
from tests.daemon_process import SERVERS, DaemonProcess
from tests.test_flood import resident_kib

pytestmark = pytest.mark.alone

ARGUMENTS = [*SERVERS, "-n", "23", "--dns-server", "127.0.0.1:5353", "--dns-zone-rate", "100000"]
BURST, RATE = 2000, 500

# Answers each question with a thousand datagrams of noise, and sends as many to who asked last, without end.
FLOODING = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 5353))
print("ready", flush=True)
server.setblocking(True)
noise = bytes(range(256)) * 4
while True:
    question, peer = server.recvfrom(4096)
    server.setblocking(False)
    while True:
        for _ in range(1000):
            try:
                server.sendto(question[:2] + noise, peer)
            except OSError:
                pass
        try:
            question, peer = server.recvfrom(4096)
        except BlockingIOError:
            pass
"""


@pytest.fixture
def site(lab: Lab) -> Iterator[tuple[Lab, Host]]:
    """A gateway with the queue's rule and a way back to made-up sources, and a client."""
    client = lab.client("client", "192.0.2.101")
    lab.take_any_source("8.0.0.0/5")
    lab.queue_rule("23", tracked=False)
    with lab.gateway.serve(REAL4):
        yield lab, client


@contextmanager
def serving(lab: Lab, *words: str, loud: bool = False) -> Iterator[DaemonProcess]:
    """A daemon whose queue is bound, quiet unless it shall be loud."""
    with DaemonProcess(lab.gateway, [*ARGUMENTS, *words, *(() if loud else ("-q",))]) as daemon:
        deadline = time.monotonic() + 10
        while not lab.queues() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        yield daemon
        assert daemon.stop() == 0


def meet(client: Host, count: int, server: str = FAKE4, first: str = str(FIRST + 1), rate: int = 0) -> None:
    """SYNs of so many hosts."""
    client.run(flood(server, Sources(first, count), rate=rate), check=True, stdout=subprocess.DEVNULL)


def wait_for(daemon: DaemonProcess, name: str, least: int, timeout: float) -> dict[str, int]:
    deadline = time.monotonic() + timeout
    while (counters := daemon.counters())[name] < least and time.monotonic() < deadline:
        time.sleep(0.1)
    assert counters[name] >= least, counters
    return counters


def slowest_connect(client: Host, count: int) -> float:
    """The client's slowest of so many connections to the real server, in seconds."""
    slowest = 0.0
    for _ in range(count):
        with client.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
            one.settimeout(3)
            started = time.monotonic()
            one.connect((REAL4, 25))
            slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.005)
    return slowest


def test_thousands_of_hosts_while_the_name_server_restarts(site: tuple[Lab, Host]) -> None:
    assert nsd_program(), "nsd is not there: ./scripts/prepare test"
    lab, client = site
    with Nsd(lab.gateway, 10_000) as names, serving(lab) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        started = time.monotonic()
        meet(client, 4000)
        time.sleep(0.5)
        counters = daemon.counters()
        # The client's own lookup is one of them.
        assert counters["looked-up"] <= BURST + RATE * (time.monotonic() - started) + RATE + 1
        counters = wait_for(daemon, "confirmed", 4000, 15)
        assert time.monotonic() - started >= (4000 - BURST) / RATE - 0.5
        assert counters["children"] == 4000
        assert counters["limited"] == counters["timed-out"] == 0
        assert counters["lookup-failed"] == 1, "the client's own, whose zone nsd does not have"
        # Every child may come in: the last one sends its first SYN.
        meet(client, 1, REAL4, str(SECOND + 4000))
        assert daemon.counters()["real-first"] == 1

        names.stop()
        meet(client, 1000, first=str(FIRST + 4001))
        assert slowest_connect(client, 100) < 0.5
        names.start()
        back = time.monotonic()
        meet(client, 300, first=str(FIRST + 6000))
        wait_for(daemon, "confirmed", 4300, 10)
        assert time.monotonic() - back < 10


def test_a_dead_name_server_costs_no_memory_and_no_verdict(site: tuple[Lab, Host]) -> None:
    """Nobody answers on a port that somebody holds: 60,000 refused hosts, of whom few can be asked about."""
    lab, client = site
    with lab.gateway.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, serving(lab) as daemon:
        silent.bind(("127.0.0.1", 5353))
        assert client.attempt(FAKE4) is Attempt.REFUSED
        meet(client, 20_000, REAL4, rate=20_000)
        before = resident_kib(daemon.process.pid)
        meet(client, 60_000, REAL4, str(FIRST + 100_000), rate=15_000)
        assert slowest_connect(client, 100) < 0.5
        assert resident_kib(daemon.process.pid) - before < 8192
        counters = wait_for(daemon, "timed-out", 1, 10)
        # The others found no room among the events: more on a slow machine. They are told at their next attempt.
        assert counters["limited"] + counters["refused-untold"] > 50_000
        assert counters["limited"] > 10_000
        assert counters["looked-up"] < 4000
        assert counters["blocked"] == 80_000


@pytest.mark.timeout(150)
def test_12_refused_hosts_bring_stress_and_contacts_get_in(site: tuple[Lab, Host]) -> None:
    """(Its number is that of docs/reliability.md.)"""
    lab, client = site
    # Four times the default: what waits is asked about the sooner, which is when stress ends.
    with Nsd(lab.gateway, 10_000), serving(lab, "--dns-rate", "2000", loud=True) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        meet(client, 60_000, REAL4, str(FIRST + 100_000), rate=15_000)
        line = daemon.wait_for("stress state=on ")
        assert line.startswith("stress state=on bound=lookups-waiting percent=")
        assert int(line.rpartition("=")[2]) >= 90
        # What was refused before, and what is refused now, is not looked up; whoever meets the fake server is.
        before = daemon.counters()
        refused = client.popen(flood(REAL4, Sources(str(FIRST + 200_000), 900_000), count=ENDLESS, rate=5_000),
                               stdout=subprocess.DEVNULL)
        meet(client, 300)
        after = wait_for(daemon, "confirmed", before["confirmed"] + 300, 10)
        # A few were under way as it began.
        assert after["looked-up"] - before["looked-up"] <= 300 + MAX_LOOKUPS
        assert after["children"] - before["children"] == 300
        assert slowest_connect(client, 50) < 0.5
        lines = len([line for line in daemon.messages() if line.startswith("refused ")])
        time.sleep(1)
        assert len([line for line in daemon.messages() if line.startswith("refused ")]) == lines
        assert "suppressed" in "".join(daemon.messages())
        refused.kill()
        refused.wait(5)
        # It is over; what was left out is there again.
        daemon.wait_for("stress state=off seconds=", timeout=30)
        before = daemon.counters()
        meet(client, 100, REAL4, str(FIRST + 9_000_000))
        wait_for(daemon, "looked-up", before["looked-up"] + 100, 5)
        daemon.wait_for(r"refused \[.*\] real=", times=lines + 50)
        assert sum(line.startswith("stress ") for line in daemon.messages()) == 2
        assert before["stress"] == 1


def test_a_flooding_name_server_costs_no_memory_and_no_verdict(site: tuple[Lab, Host]) -> None:
    lab, client = site
    flooding = lab.gateway.popen([sys.executable, "-c", FLOODING], stdout=subprocess.PIPE, text=True)
    assert flooding.stdout
    assert flooding.stdout.readline() == "ready\n"
    with serving(lab) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        meet(client, 500)
        time.sleep(1)
        before = resident_kib(daemon.process.pid)
        meet(client, 2000, first=str(FIRST + 1000), rate=1000)
        assert slowest_connect(client, 100) < 0.5
        assert resident_kib(daemon.process.pid) - before < 16_384
        flooding.kill()
        flooding.wait(5)
        # It is gone, and another one is there in its place.
        with Nsd(lab.gateway, 6000):
            back = time.monotonic()
            meet(client, 100, first=str(FIRST + 5000))
            wait_for(daemon, "confirmed", 100, 10)
            assert time.monotonic() - back < 10
