"""Way d), at the door: what it promises beyond what the tests of all ways have, on the real kernel."""
import asyncio
import json
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from lab.hosts import BRIDGE, FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab, ip, ip_output
from lab.programs import Sources, flood
from mxallowd.firewall.wanted import Wanted
from mxallowd.mirrors.door import LINES_AT_ONCE, Door, refills
from mxallowd.mirrors.kernel.netlink import attribute, nested, packed
from mxallowd.mirrors.kernel.nfhooks import doors, stands_at
from mxallowd.mirrors.kernel.nfmessages import number, text
from mxallowd.mirrors.kernel.nftdoor import NftDoor
from mxallowd.mirrors.kernel.nftset import MET_S
from tests.control_client import ask
from tests.daemon_process import SENDER4, SENDER6, SERVERS, DaemonProcess
from tests.fragments import address, ipv4, segment
from tests.recorder import Recorder
from tests.test_settings import good
from tests.until import until
from tests.ways import DOORS, EVERY, Way, in_set, start

NEWCOMER4, NEWCOMER6, SPAMMER4 = "192.0.2.102", "2001:db8::102", "192.0.2.66"
ALLOWED4, DENIED4, DENIED6 = "192.0.2.65", "192.0.2.129", "2001:db8::129"
CLIENT = (SENDER4, SENDER6, NEWCOMER4, NEWCOMER6, SPAMMER4, ALLOWED4, DENIED4, DENIED6)
FLOOD = 20_000
QUOTA = 256 << 10  # bytes, as the ruleset has it
DOOR = EVERY["door"]
# Nobody waits for looks: what they find is what counts.
HURRIED = """
import sys
from mxallowd.daemon import ticking
from mxallowd.mirrors import door, mirror
ticking.TICK_S = door.CHECK_S = mirror.CHECK_S = 0.1
mirror.REFILL_AGAIN_S = 0.3
from mxallowd import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def hurried(lab: Lab, *arguments: str) -> DaemonProcess:
    """The daemon as way d) has it, which looks at the kernel ten times a second."""
    every = ["-c", "/dev/null", *SERVERS, *DOOR.arguments, "-b", *arguments]
    daemon = DaemonProcess(lab.gateway, every, script=HURRIED)
    daemon.wait_for("start ")
    return daemon


def listed(lab: Lab, kind: str, name: str) -> dict[str, int]:
    """A named counter or quota of the gateway's table."""
    text = lab.gateway.run(["nft", "-j", "list", kind, "inet", "mxallowd", name], capture_output=True).stdout
    return dict(next(one[kind] for one in json.loads(text)["nftables"] if kind in one))


@pytest.mark.parametrize("way", DOORS, indirect=True)
def test_a_newcomer_never_waits(served: Lab, client: Host, way: Way) -> None:
    """Nor does it need mxallowd; but it is known for long only by it. First uses, lists and counters are exact."""
    served.load_ruleset(*way.rulesets)
    lists = ("--allow", ALLOWED4, "--deny", "192.0.2.128/26", "--deny", "2001:db8::120/124")
    with start(served, way, *lists) as daemon:
        daemon.wait_for("kernel-lists-filled ", times=3)
        for fake, real, sender, denied in ((FAKE4, REAL4, SENDER4, DENIED4), (FAKE6, REAL6, SENDER6, DENIED6)):
            assert client.attempt(real, source=sender, timeout=0.3) is Attempt.DROPPED
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            # The kernel sends a lost SYN again after a second.
            assert client.attempt(real, source=sender, timeout=0.9) is Attempt.CONNECTED
            daemon.wait_for(rf"accepted \[{sender}\]")
            assert client.attempt(fake, source=denied) is Attempt.REFUSED
            assert client.attempt(real, source=denied, timeout=0.3) is Attempt.DROPPED
        assert client.attempt(REAL4, source=ALLOWED4) is Attempt.CONNECTED
        # One that meets the fake server first, and one that came to the real one first.
        assert until(lambda: daemon.counters()["kernel-accepted"] == 3)
        counters = daemon.counters()
        assert (counters["entries"], counters["fake-new"], counters["real-first"]) == (2, 2, 2)
        # Two that came too early, and two denied hosts; two first uses, and an allowed host.
        assert counters["blocked"] == counters["kernel-refused"] == 4
        assert counters["kernel-accepted"] == 3
        assert (counters["broken"], counters["errors"], counters["kernel-table-failed"]) == (0, 0, 0)
        # What lasts is of mxallowd; what is removed is out, whoever entered it.
        assert float(in_set(served, way, "mx_used6", SENDER6) or 0) > 28_000
        assert ask(daemon.control, "DELETE", f"/v1/entries/{SENDER4}")[0] == 200
        assert until(lambda: SENDER4 not in way.members(served, "mx_white4"))
        assert client.attempt(REAL4, source=SENDER4, timeout=0.3) is Attempt.DROPPED
        found = ask(daemon.control, "GET", f"/v1/explain/{SENDER6}")[1]
        assert (found["gets_in"], found["way"]) == (True, "d")
        # Without it, a contact is good for five seconds.
        daemon.send(signal.SIGSTOP)
        for fake, real, newcomer in ((FAKE4, REAL4, NEWCOMER4), (FAKE6, REAL6, NEWCOMER6)):
            assert client.attempt(fake, source=newcomer) is Attempt.REFUSED
            assert client.attempt(real, source=newcomer, timeout=0.9) is Attempt.CONNECTED
        assert way.members(served, "mx_white4")[NEWCOMER4] <= MET_S
        daemon.send(signal.SIGCONT)
        assert until(lambda: daemon.counters()["real-first"] == 4)
        assert daemon.stop() == 0


def test_killed_and_started_again(served: Lab, client: Host, tmp_path: Path) -> None:
    """Known senders get in all the time, newcomers for two seconds; who came then is no entry of the next life."""
    served.load_ruleset(*DOOR.rulesets)
    state = ("--state-dir", str(tmp_path / "state"))
    with start(served, DOOR, *state) as daemon:
        for fake, real, sender in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            assert client.attempt(real, source=sender) is Attempt.CONNECTED
        assert in_set(served, DOOR, "mx_used6", SENDER6)
        assert until(lambda: daemon.counters()["proven"] == 2)
        daemon.send(signal.SIGKILL)
    assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
    assert client.attempt(REAL4, source=SPAMMER4, timeout=0.3) is Attempt.DROPPED
    assert client.attempt(FAKE4, source=NEWCOMER4) is Attempt.REFUSED
    assert client.attempt(FAKE6, source=NEWCOMER6) is Attempt.REFUSED
    assert client.attempt(REAL4, source=NEWCOMER4) is Attempt.CONNECTED
    with hurried(served, *state) as daemon:
        assert client.attempt(REAL6, source=SENDER6) is Attempt.CONNECTED
        # From the disk, or from the set; of the newcomers nobody knows anything.
        assert {one["address"] for one in ask(daemon.control, "GET", "/v1/entries")[1]} == {SENDER4, SENDER6}
        assert " entries=4 adopted=2 complete=yes" in daemon.wait_for("kernel-table-read ")
        assert not [line for line in daemon.messages() if NEWCOMER4 in line or NEWCOMER6 in line]
        assert until(lambda: DOOR.members(served, "mx_white4").keys() == {SENDER4})
        assert client.attempt(REAL4, source=NEWCOMER4, timeout=0.3) is Attempt.DROPPED
        # Sets that were emptied are filled again, and so are those of a ruleset that was loaded anew.
        flushed = "; ".join(f"flush set inet mxallowd {name}" for name in ("mx_white4", "mx_used4"))
        for command in (flushed, "delete table inet mxallowd"):
            served.gateway.run(["nft", command], check=True)
            served.load_ruleset(*DOOR.rulesets)
            assert in_set(served, DOOR, "mx_used4", SENDER4)
            assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        # Loaded while it is there, no packet and no entry is lost.
        served.load_ruleset(*DOOR.rulesets)
        assert SENDER6 in DOOR.members(served, "mx_used6")
        assert daemon.stop() == 0


def test_a_flood_is_counted_and_hardly_shown(lab: Lab, client: Host) -> None:
    """The quota is refilled each second; until then all that it does not let pass is dropped by one rule."""
    lab.take_any_source("10.0.0.0/8")
    lab.load_ruleset(*DOOR.rulesets)
    with start(lab, DOOR) as daemon:
        assert listed(lab, "quota", "mx_flood")["used"] == 0
        for number in (1, 2):
            sent = client.run(flood(REAL4, Sources(f"10.{number}.0.0", FLOOD), count=FLOOD), capture_output=True)
            assert sent.returncode == 0
            counters = daemon.counters()
            assert counters["kernel-refused"] == counters["blocked"] == number * FLOOD
            assert 100 <= counters["received"] <= 500 * number
            assert listed(lab, "quota", "mx_flood")["used"] > 0
            # A tick later somebody new is shown again. What is left of half of it is enough for a second, and stays.
            assert until(lambda: listed(lab, "quota", "mx_flood")["used"] < QUOTA // 2, 3)
        used = listed(lab, "quota", "mx_flood")["used"]
        assert client.attempt(REAL4, source=SPAMMER4, timeout=0.1) is Attempt.DROPPED
        daemon.wait_for(rf"refused \[{SPAMMER4}\]")
        assert listed(lab, "quota", "mx_flood")["used"] == used + 60
        # Nobody refills it: all the same nobody comes in, and a known host does.
        daemon.send(signal.SIGSTOP)
        assert client.run(flood(REAL4, Sources("10.3.0.0", FLOOD), count=FLOOD), capture_output=True).returncode == 0
        assert listed(lab, "counter", "mx_refused")["packets"] == 3 * FLOOD + 1
        daemon.send(signal.SIGCONT)
        assert daemon.stop() == 0


def test_the_door_is_watched(lab: Lab, client: Host) -> None:
    """An interface that goes and comes again, and a chain that goes, are said once each, wherever one looks."""
    def add() -> None:
        ip(f"-n {lab.gateway.name} link add d0 type veth peer name d1")

    def doors() -> dict[str, str | None]:
        return {one["interface"]: one["fault"] for one in ask(daemon.control, "GET", "/v1/status")[1]["door"]}

    def doctor() -> dict[str, dict[str, str]]:
        """By its check, the finding that is the worst."""
        done = lab.gateway.run([sys.executable, "-m", "mxallowd.ctl", "--socket", str(daemon.control), "doctor",
                                "--json"], capture_output=True, text=True)
        order = ("ok", "warning", "broken")
        return {one["check"]: one for one in sorted(
            json.loads(done.stdout)["findings"], key=lambda one: order.index(one["state"]))}

    arguments = [*SERVERS, *DOOR.arguments, "--door", "d0"]
    check = [sys.executable, "-m", "mxallowd", "--check", "-c", "/dev/null", *arguments]
    both = DOOR.printed(Wanted(doors=(BRIDGE, "d0")))
    add()
    lab.load_texts(both)
    with hurried(lab, "--door", "d0") as daemon:
        assert doors() == {"br0": None, "d0": None}
        ip(f"-n {lab.gateway.name} link del d0")
        assert daemon.wait_for("door-open ") == 'door-open interface=d0 reason="there is no such interface"'
        done = lab.gateway.run(check, capture_output=True, text=True)
        assert (done.returncode, done.stdout.splitlines()[0]) == (
            0, 'system: warning: door "d0": there is no such interface; packets that come in by it are not filtered')
        add()
        lab.load_texts(both)
        assert daemon.wait_for("door-closed ") == "door-closed interface=d0"
        lab.gateway.run(["nft", "flush chain inet mxallowd door"], check=True)
        reason = "no chain of table inet mxallowd with a rule stands at its ingress: load door.nft"
        daemon.wait_for("door-open interface=d0 ", times=2)
        assert daemon.wait_for("door-open interface=br0 ") == f'door-open interface=br0 reason="{reason}"'
        assert doors() == {"br0": reason, "d0": reason}
        found = doctor()
        assert (found["door"]["state"], found["rule-reached"]["state"]) == ("broken", "broken")
        assert "mxallowd -c /dev/null --print-ruleset d) && " in found["door"]["command"]
        assert "no chain stands at an interface of --door" in str(ask(daemon.control, "GET", "/readyz")[1]["warnings"])
        # In prerouting it sees what comes in by all of them.
        for ruleset, said, state in (("door-raw.nft", "door-closed interface=br0", "ok"),
                                     ("door.nft", "door-open interface=d0", "broken")):
            before = sum(said in line for line in daemon.messages())
            lab.load_ruleset(ruleset)
            daemon.wait_for(said, times=before + 1)
            found = doctor()
            assert {found[check]["state"] for check in ("rule-present", "rule-reached", "rule-first")} == {"ok"}
            assert found["door"]["state"] == state
            assert ("in prerouting" in found["door"]["what"]) is (state == "ok")
        assert sum(line.startswith("door-") for line in daemon.messages()) == 7
        assert daemon.stop() == 0
    assert lab.gateway.run(check, capture_output=True, text=True).stdout == (
        f'system: warning: door "d0": {reason}; packets that come in by it are not filtered\n')
    # With way c) in its place, they are filtered later.
    lab.gateway.run(["nft", "delete table inet mxallowd"], check=True)
    lab.load_ruleset("set.nft")
    found = lab.gateway.run(check, capture_output=True, text=True).stdout.splitlines()
    assert len(found) == 2
    assert all(line.endswith("; its rules behind it filter what comes in: load door.nft, or leave out --door")
               for line in found)


def test_a_use_renews_at_the_door(served: Lab, client: Host) -> None:
    """With the lines of #use: one that may renew an entry is shown, and no other."""
    served.load_texts(DOOR.printed(Wanted(renew="use", doors=(BRIDGE,))))
    with start(served, DOOR, "--renew", "use", "-t", "16") as daemon:
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        assert in_set(served, DOOR, "mx_used4", SENDER4)
        assert in_set(served, DOOR, "mx_fresh4", SENDER4) is not None
        before = daemon.counters()["received"]
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        assert daemon.counters()["received"] == before
        # An eighth later.
        assert until(lambda: not DOOR.members(served, "mx_fresh4"))
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        assert until(lambda: daemon.counters()["received"] == before + 1)
        # Of the daemon: two seconds are within what its sets may be off.
        assert ask(daemon.control, "GET", f"/v1/entries/{SENDER4}")[1]["seconds_left"] >= 15
        assert daemon.stop() == 0


def test_a_door_that_is_not_there_takes_nothing_down(served: Lab, client: Host) -> None:
    """Neither interface nor table: it starts, says so, and --nft-setup makes sets that door.nft takes."""
    with hurried(served, "--door", "ppp0", "--nft-setup") as daemon:
        assert daemon.wait_for("door-open interface=ppp0 ").endswith('reason="there is no such interface"')
        daemon.wait_for("door-open interface=br0 ")
        served.load_ruleset(*DOOR.rulesets)
        daemon.wait_for("door-closed interface=br0")
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{SENDER4}\]")
        # A frame with the tag of a VLAN comes by its interface, too, and is read like any.
        tagged(served, client, NEWCOMER4, FAKE4)
        daemon.wait_for(rf"whitelisted \[{NEWCOMER4}\]")
        assert daemon.counters()["broken"] == 0
        assert daemon.stop() == 0


def tagged(lab: Lab, client: Host, source: str, destination: str) -> None:
    """Send the gateway a SYN in a frame of VLAN 7 (IEEE 802.1Q)."""
    shown = ip_output(f"-n {lab.gateway.name} -o link show {BRIDGE}")
    gateway = bytes.fromhex(shown.split("link/ether ")[1][:17].replace(":", ""))
    ends = address(source), address(destination)
    with client.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((client.interface, 0))
        raw.send(gateway + bytes.fromhex("020000000001 8100 0007 0800") + ipv4(*ends, segment(*ends, 4000)))


class Slow(NftDoor):
    """One whose kernel does not answer, and whose interface comes and goes."""

    def __init__(self) -> None:
        super().__init__("inet mxallowd")
        self.answers = threading.Event()
        self.asked = 0
        self.fault = False

    def refill(self) -> None:
        self.asked += 1
        assert self.answers.wait(10)

    def beside(self, interfaces: object, servers: object) -> dict[str, str]:
        return {}

    def faults(self, interfaces: object) -> dict[str, str]:
        self.fault = not self.fault
        return {"eth0": "gone"} if self.fault else {}


def test_a_kernel_that_does_not_answer_holds_nobody() -> None:
    """The main loop goes on and asks no second time; and a door that opens and shuts writes few lines."""
    settings = good("-f 192.0.2.10 -r 192.0.2.20 -p nflog:5 --nft-table mxallowd --door eth0")
    recorder, slow, now = Recorder(), Slow(), [0.0]

    async def work() -> None:
        door = Door(slow, settings, recorder.log, lambda: now[0])
        door.start()
        began = time.monotonic()
        for _ in range(100):
            door.tick()
            await asyncio.sleep(0)
        assert time.monotonic() - began < 0.5
        await asyncio.sleep(0.05)
        assert slow.asked == 1
        slow.answers.set()
        for _ in range(4 * LINES_AT_ONCE):
            asked = slow.asked
            while slow.asked == asked:
                now[0] += 3
                door.tick()
                await asyncio.sleep(0.001)
        door.close()

    asyncio.run(work())
    lines = [line.split()[0] for line in recorder.lines]
    assert lines[:2] == ["door-open", "door-closed"]
    assert LINES_AT_ONCE - 1 <= len(lines) <= 2 * LINES_AT_ONCE


@pytest.mark.parametrize(("more", "refilled"), [
    ("-p nflog:5 --nft-table mx", True), ("-p nflog:5 --ipset", False), ("-n 23 --nft-table mx", False),
    ("-n 23 -p nflog:5 --nft-table mx", False), ("-p eth0 --nft-table mx", False)])
def test_only_where_the_kernel_decides_a_quota_is_refilled(more: str, refilled: bool) -> None:
    assert refills(good(f"-f 192.0.2.10 -r 192.0.2.20 {more}")) is refilled


def chain(table: str, hook: int, priority: int, *devices: bytes, empty: bool = False) -> memoryview:
    """A NEWCHAIN."""
    parts = [number(1, hook), number(2, priority & 0xFFFFFFFF), *([nested(4, *devices)] if devices else [])]
    return memoryview(bytes(4) + text(1, table) + text(3, "door") + nested(4, *parts) + number(6, not empty))


@pytest.mark.parametrize(("body", "family", "found"), [
    (chain("mx", 5, 0, text(1, "eth0"), text(2, "vlan")), 1, {"eth0", "vlan*"}),
    (chain("other", 5, 0, text(1, "eth0")), 1, set()), (chain("mx", 5, 0), 1, set()),
    (chain("mx", 0, 0, text(1, "eth0")), 5, {"eth0"}), (chain("mx", 1, 0, text(1, "eth0")), 5, set()),
    (chain("mx", 0, -300), 1, {"*"}), (chain("mx", 0, -100), 1, set()), (chain("mx", 1, -300), 2, {"/"}),
    (chain("mx", 0, -300, empty=True), 1, set()), (chain("mx", 5, 0, text(1, "eth0"), empty=True), 1, set()),
    (chain("mx", 0, -450), 1, set()),
    (memoryview(bytes(4) + text(1, "mx") + text(3, "mx_track")), 1, set()),
    (memoryview(bytes(4) + text(1, "mx") + attribute.pack(200, 4)), 1, set()),
    (memoryview(bytes(4) + packed(4, b"") + text(1, "mx")), 1, set()), (memoryview(b""), 1, set())])
def test_where_a_chain_stands(body: memoryview, family: int, found: set[str]) -> None:
    assert set(doors(body, family, "mx")) == found
    assert stands_at(found, "vlan7") == bool(found & {"vlan*", "*"})
