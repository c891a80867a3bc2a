"""Millions of made-up SYNs through the kernel's queue: every one has its verdict, or is counted as lost.

FLOOD_PACKETS=12000000 in the environment makes it twelve; a multiple of six.
"""
import os
import subprocess
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Lab
from lab.programs import Sources, flood
from tests.daemon_process import SERVERS, DaemonProcess

pytestmark = pytest.mark.alone

PACKETS = int(os.environ.get("FLOOD_PACKETS", "2400000"))
SOURCES = 200_000
MAX_ENTRIES = 100_000


def resident_kib(pid: int) -> int:
    # Exact; VmRSS of `status` is off by some hundred KiB on several processors.
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(text.split("Rss:")[1].split()[0])


@pytest.mark.timeout(400)
def test_millions_of_packets_balance(lab: Lab) -> None:
    client = lab.client("client", "192.0.2.101")
    lab.leave_out_bridge_netfilter()
    lab.take_any_source("8.0.0.0/5")
    lab.queue_rule("23", tracked=False)
    # Without reverse DNS, whose memory of failed lookups has a bound of its own and would hide what is looked for here.
    arguments = [*SERVERS, "-b", "-q", "-n", "23", "--max-entries", str(MAX_ENTRIES)]
    with DaemonProcess(lab.gateway, arguments) as daemon:
        deadline = time.monotonic() + 10
        while not lab.queues() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        halves = (("10.0.0.0", FAKE4), ("10.0.128.0", REAL4))
        before = 0
        # The first two fill what has a bound, and what Python keeps for itself.
        for part in range(3):
            senders = [client.popen(flood(server, Sources(first, SOURCES), count=PACKETS // 6),
                                    stdout=subprocess.DEVNULL) for first, server in halves]
            assert [sender.wait(150) for sender in senders] == [0, 0]
            if part == 1:
                before = resident_kib(daemon.process.pid)
        while any(row[2] for row in lab.queues()):
            time.sleep(0.05)
        # Memory stays where it is, with twice as many sources as entries.
        assert resident_kib(daemon.process.pid) - before < 2048
        # By the number of one more the daemon learns of those that found no room behind its last one.
        assert client.attempt(FAKE4) is Attempt.REFUSED
        counters = daemon.counters()
        queue = lab.queues()[0]
        assert daemon.stop() == 0
    # A machine that is slow lets the queue overflow: what found no room is accepted, and counted.
    assert counters["received"] + counters["queue-full"] == PACKETS + 1
    assert counters["received"] == counters["verdict-accept"] + counters["verdict-drop"]
    # The kernel numbers each packet, those that it could not queue as well.
    assert queue[7] == PACKETS + 1
    assert queue[5] + queue[6] == counters["lost-by-kernel"] <= counters["queue-full"] < PACKETS // 10
    for name in ("unsent", "broken", "unknown", "errors", "overruns", "malformed", "other"):
        assert counters[name] == 0, name
    met = sum(counters[name] for name in ("fake-new", "fake-known"))
    tried = sum(counters[name] for name in ("real-first", "real-again", "real-untold", "real-refused"))
    assert met + tried == counters["received"]
    assert counters["verdict-drop"] == counters["real-refused"] == counters["blocked"] > 0
    # With -b a sixteenth is the main thread's, which whitelists nobody here.
    assert counters["entries"] == MAX_ENTRIES
