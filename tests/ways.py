"""The ways to run on Linux, as tests load and start them."""
import json
import time
from dataclasses import dataclass, replace

import pytest

from lab.hosts import BRIDGE, RULESETS, Lab
from mxallowd.firewall.printing import file
from mxallowd.firewall.wanted import Wanted
from tests.daemon_process import SERVERS, DaemonProcess


@dataclass(frozen=True)
class Way:
    """One way to run: rulesets, arguments, and who keeps the set."""

    rulesets: tuple[str, ...]
    arguments: tuple[str, ...]
    sets: str  # "", "nft" or "ipset"
    queues: bool

    def members(self, lab: Lab, name: str) -> dict[str, int]:
        """The addresses in a set of the gateway, and the seconds left to each."""
        if self.sets == "nft":
            done = lab.gateway.run(["nft", "-j", "list", "set", "inet", "mxallowd", name], capture_output=True)
            [listed] = [one["set"] for one in json.loads(done.stdout)["nftables"] if "set" in one]
            elements = [one["elem"] if isinstance(one, dict) else {"val": one} for one in listed.get("elem", [])]
            return {one["val"]: one.get("expires", 0) for one in elements}
        text = lab.gateway.run(["ipset", "save", name], capture_output=True, text=True).stdout
        words = [line.split() for line in text.splitlines() if line.startswith("add ")]
        return {word[2]: int(word[4]) for word in words}

    def text(self) -> list[str]:
        """The rulesets as they are."""
        return [(RULESETS / name).read_text(encoding="utf-8") for name in self.rulesets]

    def printed(self, wanted: Wanted) -> dict[str, str]:
        """The rulesets by their names, as mxallowd prints them; the door is the lab's bridge where none is wanted."""
        wanted = replace(wanted, doors=(BRIDGE,)) if wanted.doors == Wanted().doors else wanted
        return {name: file(name, wanted) for name in self.rulesets}

    def add(self, lab: Lab, name: str, address: str) -> None:
        """Put a host into a set of the gateway for a minute."""
        command = (["nft", "add", "element", "inet", "mxallowd", name, f"{{ {address} timeout 60s }}"]
                   if self.sets == "nft" else ["ipset", "add", name, address, "timeout", "60"])
        lab.gateway.run(command, check=True)

    def forget_fresh(self, lab: Lab) -> None:
        """Empty the sets of hosts whose entries no contact can renew, once the daemon has done what it has to do."""
        time.sleep(0.1)
        for name in ("mx_fresh4", "mx_fresh6") if self.sets else ():
            lab.gateway.run(["nft", "flush", "set", "inet", "mxallowd", name] if self.sets == "nft" else
                            ["ipset", "flush", name], check=True)

    def wait_for(self, lab: Lab, name: str, address: str) -> None:
        """Wait until a host is in a set of the gateway."""
        assert in_set(lab, self, name, address) is not None

    def seen(self, daemon: DaemonProcess) -> int:
        """Packets that the daemon has been shown."""
        # Captured packets come when the main loop has time.
        time.sleep(0 if self.queues else 0.1)
        return daemon.counters()["received"]


NFT = ("--nft-table", "inet mxallowd")
WAYS = {
    "queue": Way(("queue.sh",), ("-n", "23"), "", queues=True),
    "queue-set-mark": Way(("queue-set-mark.nft", "queue-set-mark.sh"), ("-n", "23", *NFT), "nft", queues=True),
    "queue-set-ipset": Way(("queue-set-ipset.sh",), ("-n", "23", "--ipset"), "ipset", queues=True),
    "set": Way(("set.nft",), ("-p", "nflog:5", *NFT), "nft", queues=False),
    "set-ipset": Way(("set-ipset.sh",), ("-p", "nflog:5", "--ipset"), "ipset", queues=False),
}
# Way d) stands beside these where a test is about what the door does in another way than set.nft.
DOORS = {
    "door": Way(("door.nft",), ("-p", "nflog:5", *NFT, "--door", BRIDGE), "nft", queues=False),
    "door-raw": Way(("door-raw.nft",), ("-p", "nflog:5", *NFT), "nft", queues=False),
}
EVERY = WAYS | DOORS
WITH_SET = {name: way for name, way in WAYS.items() if way.sets}


# Where the kernel decides by nft, the door asks more of it than set.nft does, and shows less to mxallowd.
OF_PRIVILEGES = [name if name != "set" else "door" for name in WAYS]

all_ways = pytest.mark.parametrize("way", WAYS, indirect=True)
ways_with_set = pytest.mark.parametrize("way", WITH_SET, indirect=True)
ways_with_set_or_door = pytest.mark.parametrize(
    "way", [name if name != "set" else "door" for name in WITH_SET], indirect=True)
all_ways_and_door = pytest.mark.parametrize("way", [*WAYS, "door"], indirect=True)


def start(lab: Lab, way: Way, *arguments: str) -> DaemonProcess:
    """The daemon as the way has it, without lookups."""
    process = DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, *way.arguments, "-b", *arguments])
    process.wait_for("start ")
    return process


def in_set(lab: Lab, way: Way, name: str, address: str, limit_s: float = 2.0) -> float | None:
    """Seconds left to an address in a set, once it is there; None where it does not come."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        members = way.members(lab, name)
        if address in members:
            return members[address]
        time.sleep(0.02)
    return None


def family(name: str, address: str) -> str:
    """The set of an address's family."""
    return f"{name}{6 if ':' in address else 4}"
