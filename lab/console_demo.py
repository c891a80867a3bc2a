"""The console before the reader's eyes: `python -m lab.demo console`, a gateway with steady traffic, and its web page.

Some two hundred addresses in namespaces send what a gateway sees in a day: senders that keep to the standard, spammers
that try the last mail exchanger alone, hosts that know the first one alone, neighbours of a denied network, a bank that
is allowed, a trusted sender. The daemon is in the gateway's namespace; the console asks its control socket, which is a
file, and listens on loopback of the machine.
"""
import asyncio
import contextlib
import heapq
import ipaddress
import itertools
import math
import pwd
import random
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from lab.account import Account, Running
from lab.console import console
from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, SMTP, Host, Lab, ip
from lab.nsd import nsd_program
from lab.zone import ADDRESS, Zone, host_records

TITLE = "the console, with steady traffic, until Ctrl-C"
USER, PORT = "demo", 8025
NETWORKS = ("198.51.100", "203.0.113")  # beside the gateway's own
BANK, DENIED, TRUSTED = "198.51.100.240/29", "203.0.113.192/28", "203.0.113.64/29"
SENDERS, SPAMMERS, FIRST_ONLY = 70, 90, 7
DROPPED_AFTER_S = 0.7  # a SYN that comes again after a second would be counted with others
AT_ONCE = 200
WAVE_S = 90.0  # how often the traffic swells: a gateway's never stands still
STOP = (signal.SIGINT, signal.SIGTERM)


class Visitor(NamedTuple):
    """A host that comes again and again."""

    host: Host
    address: str
    servers: tuple[str, ...]  # in its order: it takes the first one that connects
    each_s: float  # between its visits, about

    def name(self) -> str:
        """Its reverse name, by what it does."""
        number = ipaddress.ip_address(self.address).packed[-1]
        if len(self.servers) == 2:
            return f"mx{number}.sender{number % 9}.example"
        return f"host-{number}.dialup.example" if self.servers[0] in (REAL4, REAL6) else f"alarm{number}.bank.example"


def visitors(near: Host, far: Host) -> list[Visitor]:
    """All of them; the same in each run."""
    rng = random.Random(25)  # nothing secret

    def of(network: str, first: int, count: int, servers: tuple[str, ...], each_s: float) -> Iterator[Visitor]:
        for number in range(first, first + count):
            yield Visitor(far, f"{network}.{number}", servers, each_s * rng.uniform(0.6, 1.5))

    both = (FAKE4, REAL4)
    return [
        *of(NETWORKS[0], 10, SENDERS, both, 12), *of(NETWORKS[0], 100, SPAMMERS, (REAL4,), 9),
        *of(NETWORKS[0], 220, FIRST_ONLY, (FAKE4,), 11), *of(NETWORKS[0], 241, 4, (REAL4,), 7),
        *of(NETWORKS[1], 192, 12, (REAL4,), 10), *of(NETWORKS[1], 65, 4, (REAL4,), 8),
        # A pool: its hosts take turns, so that none comes twice.
        *of(NETWORKS[1], 100, 24, (REAL4,), 60),
        *(Visitor(near, f"2001:db8::{number:x}", (FAKE6, REAL6), 15 * rng.uniform(0.6, 1.5))
          for number in range(0x200, 0x210)),
        *(Visitor(near, f"2001:db8::bad:{number:x}", (REAL6,), 10 * rng.uniform(0.6, 1.5)) for number in range(1, 12))]


def connect_networks(lab: Lab, near: Host, far: Host, everyone: Sequence[Visitor]) -> None:
    """Give all of them their addresses; the gateway takes the other networks to be on its own wire."""
    gateway = lab.gateway.name
    ip(*(f"-n {gateway} route add {network}.0/24 dev {lab.gateway.interface}" for network in NETWORKS))
    far.add_address(*(f"{one.address}/24" for one in everyone if one.host is far))
    near.add_address(*(f"{one.address}/64" for one in everyone if one.host is near))


class Traffic:
    """Lets them come, each in its time."""

    def __init__(self, everyone: Sequence[Visitor]) -> None:
        self._rng = random.Random(26)
        self._due = [(self._rng.uniform(0, one.each_s), number, one) for number, one in enumerate(everyone)]
        heapq.heapify(self._due)
        self._numbers = itertools.count(len(everyone))
        self._room = asyncio.Semaphore(AT_ONCE)
        self.attempts = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            while True:
                due, _, one = heapq.heappop(self._due)
                await asyncio.sleep(max(0.0, began + due - loop.time()))
                await self._room.acquire()
                group.create_task(self._visit(one))
                swell = 1 + 0.45 * math.sin(2 * math.pi * due / WAVE_S)
                heapq.heappush(self._due, (
                    due + one.each_s * self._rng.uniform(0.5, 1.5) / swell, next(self._numbers), one))

    async def _visit(self, one: Visitor) -> None:
        try:
            for server in one.servers:
                if await self._connects(one, server):
                    return
                await asyncio.sleep(0.3)
        finally:
            self._room.release()

    async def _connects(self, one: Visitor, server: str) -> bool:
        self.attempts += 1
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with one.host.socket(family, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            client.bind((one.address, 0))
            try:
                async with asyncio.timeout(DROPPED_AFTER_S):
                    await asyncio.get_running_loop().sock_connect(client, (server, SMTP))
            except (OSError, TimeoutError):
                return False
            return True


def ctl(lab: Lab, control: Path, *words: str) -> None:
    """An operator's command. Raises RuntimeError with what it said."""
    done = lab.gateway.run([sys.executable, "-m", "mxallowd.ctl", "--socket", str(control), *words],
                           capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"mxallowctl {' '.join(words)}: {done.stderr.strip()}")


def daemon_user() -> str:
    """Whom the daemon becomes here."""
    return "mxallowd" if any(one.pw_name == "mxallowd" for one in pwd.getpwall()) else "nobody"


def daemon_words(place: Path, *, names: bool) -> list[str]:
    """The daemon's command line behind its servers."""
    trust = place / "trust"
    trust.write_text(f"network {TRUSTED}  # the newsletter of the town\n", encoding="ascii")
    trust.chmod(0o644)
    place.chmod(0o711)
    # Some names, where there is a name server.
    lookups = ["--dns-server", ADDRESS] if names else ["-b"]
    return ["-n", "23", "--trust", str(trust), *lookups,
            "--control", str(place / "control.sock"), "--state-dir", str(place / "state")]


@contextlib.contextmanager
def stage(account: Account, daemon: Sequence[str], place: Path) -> Iterator[tuple[Lab, list[Visitor]]]:
    """The gateway with its daemon, and all visitors; `place` is for the daemon's files."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("demo"))
        near, far = lab.client("near", "192.0.2.101", "2001:db8::101"), lab.client("far", "192.0.2.102")
        everyone = visitors(near, far)
        connect_networks(lab, near, far, everyone)
        stack.enter_context(lab.gateway.serve(REAL4))
        stack.enter_context(lab.gateway.serve(REAL6))
        if nsd_program():
            server = lab.client("dns", ADDRESS)
            stack.enter_context(Zone(server, [
                record for one in everyone for record in host_records(one.name(), one.address)]))
        lab.load_ruleset("queue.sh")
        command = [*daemon, *daemon_words(place, names=bool(nsd_program()))]
        running = Running(account, lab.gateway, command, "mxallowd", told=lambda line: " start " in line)
        if not running.wait_for(f"real-mailserver [{REAL6}]"):
            raise RuntimeError("\n".join(["mxallowd does not serve:", *running.lines]))
        try:
            control = place / "control.sock"
            ctl(lab, control, "allow", "add", BANK, "--note", "bank, ticket 4711")
            ctl(lab, control, "deny", "add", DENIED, "--note", "sells addresses, since May")
            yield lab, everyone
        finally:
            running.stop(signal.SIGTERM)


def play(account: Account, daemon: Sequence[str], place: Path, seconds: float | None) -> None:
    """Serve until Ctrl-C, or for some seconds. `daemon` is the beginning of its command line."""
    signal.signal(signal.SIGTERM, _interrupt)
    password = "-".join(secrets.token_hex(3) for _ in range(3))
    account.say(f"mxallowd: {TITLE}")
    with contextlib.suppress(KeyboardInterrupt), stage(account, daemon, place) as (_, everyone), \
            console(place / "control.sock", passwords={USER: password}, port=_port(), user=daemon_user()) as served:
        account.say(f"{len(everyone)} addresses send mail to this gateway, {FAKE4} (fake) and {REAL4} (real).\n")
        account.say(f"   The console   {served.origin}/")
        account.say(f"   user          {USER}")
        account.say(f"   password      {password}\n")
        account.say("Ctrl-C ends it." if seconds is None else f"It ends after {seconds:g} seconds.")
        attempts = asyncio.run(serve(everyone, seconds))
        account.say(f"\n{attempts} connections were tried. Everything is taken away again.")


async def serve(everyone: Sequence[Visitor], seconds: float | None) -> int:
    """Let them come until a signal, or for some seconds; how many connections were tried."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in STOP:
        loop.add_signal_handler(one, ended.set)
    traffic = Traffic(everyone)
    running = asyncio.create_task(traffic.run())
    waiting = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({running, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not running.cancel():
            running.result()  # it failed, and says why
        with contextlib.suppress(asyncio.CancelledError):
            await running
    return traffic.attempts


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _port() -> int:
    """The console's own, where nobody has it; else 0, any."""
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", PORT))
        except OSError:
            return 0
        return PORT
