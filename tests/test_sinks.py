"""A sink or a mirror with a mistake: said, and nothing else stops."""

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from tests.daemon_process import SERVERS, DaemonProcess

CLIENT = ("192.0.2.101", "192.0.2.102")
# The log's sink fails at its first batch of events, and at each tick. Each heartbeat that the guard sees is said.
FAILING = """
import sys
from mxallowd import cli
from mxallowd.sinks.log import LogSink
from mxallowd.watchdog.watch import Watch

handle, failed = LogSink.handle, []
tick = Watch.tick

def fail_once(sink, events):
    if not failed:
        failed.append(True)
        raise RuntimeError("a mistake")
    handle(sink, events)

def fail(sink):
    raise RuntimeError("another mistake")

def beat(watch):
    tick(watch)
    watch._log.warning("degraded", reason="beat")

LogSink.handle, LogSink.tick, Watch.tick = fail_once, fail, beat
sys.exit(cli.main(sys.argv[1:]))
"""

BEAT = "degraded reason=beat"

# The mirror fails at its first change.
FAILING_MIRROR = """
import sys
from mxallowd import cli
from mxallowd.mirrors.mirror import Mirror

changed, failed = Mirror.changed, []

def fail_once(mirror, host, change):
    if not failed:
        failed.append(True)
        raise RuntimeError("a mistake")
    changed(mirror, host, change)

Mirror.changed = fail_once
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
        # The heart beats on, once a second: without that, the guard would say that the main loop hangs.
        before = sum(line == BEAT for line in daemon.messages())
        daemon.wait_for(BEAT, times=before + 3, timeout=8)
        assert sum(line.startswith("defect ") for line in daemon.messages()) == 1
        assert daemon.stop() == 0


def test_a_change_that_a_mirror_cannot_take_is_made_good(guarded: Lab, client: Host) -> None:
    arguments = ["-c", "/dev/null", *SERVERS, "-n", "23", "-b", "--nft-table", "mx", "--nft-setup"]
    with DaemonProcess(guarded.gateway, arguments, script=FAILING_MIRROR) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert "a mistake" in daemon.wait_for("defect ")
        # The log, a sink, has its event all the same; the mirror knows that it missed something.
        daemon.wait_for(r"whitelisted \[192.0.2.101\]")
        daemon.wait_for("kernel-table-filled table=.* entries=1 left-out=0", timeout=10)
        listed = guarded.gateway.run(["nft", "list", "set", "inet", "mx", "mx_white4"], capture_output=True, text=True)
        assert "192.0.2.101" in listed.stdout
        assert daemon.stop() == 0
