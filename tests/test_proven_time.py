"""A host that has connected to the real server lives for --proven-time after its last connection, in every copy."""
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from lab.namespaces import visit
from mxallowd.backends.handshakes import Handshakes
from mxallowd.engine._saved import settle
from mxallowd.engine._table import CONTACT, ORIGINS, Table
from mxallowd.mirrors import Listed
from mxallowd.mirrors.kernel.ipset import LONGEST_TIME_S, IpsetTable
from mxallowd.mirrors.kernel.nft import NftTable
from mxallowd.mirrors.mirror import Mirror
from mxallowd.whitelist import Whitelist, unpack
from tests.control_client import ask
from tests.daemon_process import QUEUE, SENDER4, SERVERS, DaemonProcess
from tests.memory_target import MemoryTarget
from tests.recorder import Recorder
from tests.strategies import HOSTS, packed, record
from tests.test_handshakes import message
from tests.test_settings import MINIMUM, good

HOUR_US, DAY_S = 3_600_000_000, 86_400
MONTH_S = 36 * DAY_S
MONTH_US = MONTH_S * 1_000_000
HOST = packed("198.51.100.7")
SERVED = f"{MINIMUM} -r {REAL4} -t 28800"


class Scene:
    """Handshakes of one host, told at any time."""

    def __init__(self, options: str) -> None:
        self.now_us = HOUR_US
        self.table = Table(8)
        self.whitelist = Whitelist(self.table, lambda: self.now_us)
        self.handshakes = Handshakes(good(f"{SERVED} {options}"), self.whitelist, Recorder().log)

    def connect(self) -> None:
        """As ctnetlink tells it."""
        self.handshakes._take(message("198.51.100.7", REAL4))

    def left_us(self) -> int:
        found = self.whitelist.find(HOST)
        return found[0] - self.now_us if found else 0


def test_each_connection_restarts_the_long_time() -> None:
    scene = Scene(f"--proven-time {MONTH_S}")
    scene.table.add(HOST, scene.now_us + 8 * HOUR_US, scene.now_us, origin=CONTACT)
    for wait_us in (0, 30 * 24 * HOUR_US, 35 * 24 * HOUR_US, 2 * HOUR_US):
        scene.now_us += wait_us
        assert scene.left_us() > 0
        scene.connect()
        assert scene.left_us() == MONTH_US
    # Within the hour it is not written anew, so the time is never shorter than that by more.
    scene.now_us += HOUR_US - 1
    scene.connect()
    assert scene.left_us() == MONTH_US - HOUR_US + 1


def test_without_the_option_a_connection_changes_no_time() -> None:
    for options in ("", "--proven-time 28800", "--proven-time 60"):
        scene = Scene(options)
        scene.table.add(HOST, scene.now_us + HOUR_US, scene.now_us, origin=CONTACT)
        scene.connect()
        assert scene.left_us() == HOUR_US


def test_a_handshake_that_came_before_the_contact_counts() -> None:
    """The kernel lets a host in before its contact has been read."""
    scene = Scene(f"--proven-time {MONTH_S}")
    scene.connect()
    scene.table.add(HOST, scene.now_us + HOUR_US, scene.now_us, origin=CONTACT)
    scene.handshakes.tick()
    assert scene.left_us() == MONTH_US


def test_a_reload_takes_and_gives_the_time() -> None:
    scene = Scene("")
    scene.table.add(HOST, scene.now_us + HOUR_US, scene.now_us, origin=CONTACT)
    scene.handshakes.reload(good(f"{SERVED} --proven-time {MONTH_S}"))
    scene.connect()
    assert scene.left_us() == MONTH_US
    scene.handshakes.reload(good(SERVED))
    scene.now_us += 24 * HOUR_US
    scene.connect()
    assert scene.left_us() == MONTH_US - 24 * HOUR_US


def test_what_was_saved_lives_by_whether_it_is_proven() -> None:
    records = record(HOSTS[0], 40 * MONTH_US, proven=True) + record(HOSTS[1], 40 * MONTH_US)
    listed, _ = settle(records, 5, [HOUR_US] * len(ORIGINS), MONTH_US)
    assert {host: until for host, until, _ in unpack(listed)} == {HOSTS[0]: 5 + MONTH_US, HOSTS[1]: 5 + HOUR_US}
    # A shorter one takes nothing away.
    listed, _ = settle(records, 5, [HOUR_US] * len(ORIGINS), 60)
    assert {until for _, until, _ in unpack(listed)} == {5 + HOUR_US}


def test_a_copy_with_short_times_hears_again_in_time() -> None:
    now = [0.0]
    target, table = MemoryTarget(), Table(8)
    target.longest_s = LONGEST_TIME_S
    for options, due in ((f"--proven-time {MONTH_S}", True), ("", False), ("--proven-time 864000", False)):
        now[0] = 0.0
        mirror = Mirror(target, Whitelist(table), Recorder().log, good(f"{SERVED} {options}"), lambda: now[0])
        mirror._refilled_at = 0.0
        mirror.tick()
        assert not mirror._stale
        now[0] = LONGEST_TIME_S / 2
        mirror.tick()
        assert mirror._stale is due


def test_the_kernels_sets_hold_36_days(lab: Lab) -> None:
    with visit(lab.gateway.name):
        lab.gateway.run(["nft", "add table inet t; add set inet t mx_white4 { type ipv4_addr; flags timeout; }"],
                        check=True)
        lab.gateway.run(["ipset", "create", "mx_white4", "hash:ip", "timeout", "60"], check=True)
        nft = NftTable("inet t", setup=False, max_entries=1000, ipv6=False)
        for made, longest_s in ((nft, MONTH_S), (IpsetTable(ipv6=False), LONGEST_TIME_S)):
            made.open()
            made.inspect()
            made.change([Listed(HOST, MONTH_S, used=True)], [])
            [one], complete = made.read()
            assert complete
            assert one.host == HOST
            assert one.remaining_s is not None
            assert longest_s - 2 <= one.remaining_s <= longest_s
            made.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[list[str]]:
    """A state directory of its own."""
    yield ["--state-dir", str(tmp_path / "state"), "--proven-time", str(MONTH_S)]


def test_a_restart_forgets_nothing(guarded: Lab, client: Host, state: list[str]) -> None:
    options = [*SERVERS, "-n", QUEUE, "-b", *state]
    with DaemonProcess(guarded.gateway, options) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        until = time.monotonic() + 3
        while not daemon.counters()["proven"] and time.monotonic() < until:
            time.sleep(0.05)
        assert daemon.stop() == 0
    with DaemonProcess(guarded.gateway, options) as daemon:
        daemon.wait_for("state-read")
        assert client.attempt(REAL4) is Attempt.CONNECTED
        _, found = ask(daemon.control, "GET", f"/v1/entries/{SENDER4}")
        assert MONTH_S - 60 < found["seconds_left"] <= MONTH_S
