"""A sink with a mistake: said, and nothing else stops."""

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from tests.daemon_process import SERVERS, DaemonProcess

CLIENT = ("192.0.2.101", "192.0.2.102")
# The log's sink fails at its first batch of events, and at each tick.
FAILING = """
import sys
from mxallowd import cli
from mxallowd.sinks.log import LogSink

handle, failed = LogSink.handle, []

def fail_once(sink, events):
    if not failed:
        failed.append(True)
        raise RuntimeError("a mistake")
    handle(sink, events)

def fail(sink):
    raise RuntimeError("another mistake")

LogSink.handle, LogSink.tick = fail_once, fail
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_mistake_in_a_sink_stops_neither_events_nor_the_clock(guarded: Lab, client: Host) -> None:
    with DaemonProcess(guarded.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "-b"], script=FAILING) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert "mistake" in daemon.wait_for("defect ")
        assert client.attempt(FAKE4, source="192.0.2.102") is Attempt.REFUSED
        daemon.wait_for(r"whitelisted \[192.0.2.102\]")
        assert client.attempt(REAL4) is Attempt.CONNECTED
        daemon.wait_for(r"accepted \[192.0.2.101\]")
        # The heart beats on: the guard would say that the main loop hangs after 10 s.
        with pytest.raises(AssertionError):
            daemon.wait_for("main-loop ", timeout=11.5)
        assert sum(line.startswith("defect ") for line in daemon.messages()) == 1
        assert daemon.stop() == 0
