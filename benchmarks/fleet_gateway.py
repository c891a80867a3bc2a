"""A gateway of benchmarks/fleet.py: the product's whitelist, and its own way into a fleet, without a packet path.

    python -m benchmarks.fleet_gateway OPTIONS

OPTIONS is one JSON object (`Options`). It loads what the stream has and prints `joined`, the seconds, and how many
entries it was told. For each line `FROM SECONDS` on standard input it lets in hosts that count up from that number,
`rate` a second by chance, and then prints one JSON object (`Found`). It ends with its input.
"""
import asyncio
import json
import logging
import os
import random
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path

from mxallowd.engine._table import CONTACT, Table
from mxallowd.engine.clock import boottime_us
from mxallowd.fleet import keys, opening
from mxallowd.fleet.login import Logins
from mxallowd.fleet.member import Member, Site
from mxallowd.log import Log
from mxallowd.settings.fleet import engine
from mxallowd.whitelist import Change, Whitelist

FIRST_HOST = 0x0A000000  # 10.0.0.0
MOST_LOCAL = 200_000
MIBYTES = 1 << 20
LONGEST_LOAD_S = 60


@dataclass(frozen=True)
class Options:
    """What a gateway is given.

    `room`: how many entries others may tell. `waits_for` so many before it has joined. `urgent`: real-time priority.
    """

    url: str
    site: str
    key_file: str
    origin: str
    ca_file: str = ""
    room: int = 1_200_000
    lifetime_s: int = 8 * 3600
    rate: int = 0
    waits_for: int = 0
    urgent: bool = True


@dataclass(frozen=True)
class Found:
    """Of one run: hosts and times (monotonic clock, microseconds) of what it heard and of what it let in itself."""

    heard: list[int]
    heard_us: list[int]
    own: list[int]
    own_us: list[int]
    processor_s: float
    resident_mib: float
    refused: dict[str, int]


class Watching:
    """Notes when each host came into the whitelist."""

    def __init__(self) -> None:
        self.hosts, self.times_us = array("I"), array("Q")

    def changed(self, host: bytes, change: Change) -> None:
        """One that was ended or so is of no interest."""

    def touched(self, hosts: list[bytes]) -> None:
        """These came in, now."""
        now_us = time.monotonic_ns() // 1000
        for host in hosts:
            self.hosts.append(int.from_bytes(host[12:], "big") - FIRST_HOST)
            self.times_us.append(now_us)

    def missed(self) -> None:
        """After a load."""


class Gateway:
    """One gateway."""

    def __init__(self, options: Options) -> None:
        self._options = options
        main = MOST_LOCAL + options.room
        table = Table(MOST_LOCAL + main, 1, main=main, told=options.room)
        self._whitelist = Whitelist(table)
        ca = Path(options.ca_file) if options.ca_file else None
        where = engine(options.url)
        site = Site(where, options.site, options.origin,
                    opening.ways(where, opening.tls_context(ca, None, None) if where.tls else None, opening.literal))
        log = logging.getLogger("benchmark")
        log.addHandler(logging.StreamHandler(sys.stderr))
        self.member = Member(
            site, keys.read(Path(options.key_file), options.site, as_we_are=True), Logins(), whitelist=self._whitelist,
            table=table, longest_s=options.lifetime_s, told_room=options.room, defect=_raise, log=Log(log))
        self.member.follow()

    async def join(self) -> None:
        """Connect and load, and say so."""
        began = time.monotonic()
        await self.member.start(asyncio.Event())
        # A start does not wait for a long load, which goes on beside.
        while (told := self._told()) < self._options.waits_for and time.monotonic() < began + LONGEST_LOAD_S:
            await asyncio.sleep(0.01)
        print("joined", round(time.monotonic() - began, 3), told, flush=True)

    def _told(self) -> int:
        return sum(peer.entered for peer in self.member.peers)

    async def run(self, first: int, seconds: float) -> Found:
        """Let in what it has to, and note what it hears, for so long."""
        watching = Watching()
        self._whitelist.follow_as_copier(watching)
        own, own_us = array("I"), array("Q")
        began, spent = time.monotonic(), time.process_time()
        number, chance = first, random.Random(first)
        due = began
        while due < began + seconds:
            due += chance.expovariate(self._options.rate) if self._options.rate else seconds
            if (wait := min(due, began + seconds) - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if due >= began + seconds:
                break
            now_us = boottime_us()
            host = bytes(10) + b"\xff\xff" + (FIRST_HOST + number).to_bytes(4, "big")
            own_us.append(time.monotonic_ns() // 1000)
            own.append(number)
            self._whitelist.admit(host, now_us + self._options.lifetime_s * 1_000_000, now_us, origin=CONTACT)
            number += 1
        spent = time.process_time() - spent
        # What was said at the end comes a moment later.
        await asyncio.sleep(0.5)
        mine = set(own)
        pairs = [(host, at) for host, at in zip(watching.hosts, watching.times_us, strict=True) if host not in mine]
        return Found([host for host, _ in pairs], [at for _, at in pairs], list(own), list(own_us), spent,
                     _resident_mib(), dict(self.member.peers.refused))


def _raise(error: Exception) -> None:
    raise error


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIBYTES


async def _main(options: Options) -> None:
    gateway = Gateway(options)
    await gateway.join()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        first, seconds = line.split()
        found = await gateway.run(int(first), float(seconds))
        print(json.dumps(asdict(found)), flush=True)
    gateway.member.close()


if __name__ == "__main__":
    chosen = Options(**json.loads(sys.argv[1]))
    if chosen.urgent:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    asyncio.run(_main(chosen))
