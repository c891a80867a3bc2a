"""Gateways of a site: real daemons, each in a network of its own, that share nothing but the engine of the fleet."""
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.engine import MASTER, PLAIN, PORT, SENTINEL_PORT, Engine, Sentinel, Setup
from lab.gateways import Place, Site
from lab.hosts import FAKE4, REAL4, REAL6, Attempt, Host, Lab
from lab.programs import Sources, flood
from mxallowd.fleet.keys import new_key
from tests.control_client import ask
from tests.daemon_process import SERVERS, DaemonProcess
from tests.ways import WAYS, Way

SITE = "example"
STREAM = f"mxallowd:{SITE}:log"
SENDERS = ("192.0.2.101", "192.0.2.102", "192.0.2.103", "2001:db8::101", "2001:db8::102")
STARTED_S = 60.0  # ten at once, beside other tests
BROKEN, MENDED = "fleet-broken ", "fleet-mended"


@dataclass
class Gateway:
    """One gateway, with a client that has the addresses SENDERS and may send as any host of 10.0.0.0/8."""

    name: str
    lab: Lab
    place: Place
    client: Host
    way: Way
    arguments: list[str]  # all of them
    script: str = ""
    prefix: Sequence[str] = ()
    stack: ExitStack = field(default_factory=ExitStack)
    running: DaemonProcess | None = None

    @property
    def daemon(self) -> DaemonProcess:
        """The daemon that runs."""
        assert self.running, f"{self.name} does not run"
        return self.running

    def begin(self) -> DaemonProcess:
        """Start it, and wait for nothing."""
        self.running = self.stack.enter_context(DaemonProcess(
            self.lab.gateway, self.arguments, script=self.script, prefix=self.prefix))
        return self.running

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.begin().wait_for("start ", timeout=STARTED_S)

    def stop(self) -> int:
        """End it in order; its exit status."""
        status = self.daemon.stop()
        self.stack.close()
        self.running = None
        return status

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.stack.close()
        self.running = None

    def meet(self, first: str, number: int, *, rate: int = 0) -> set[str]:
        """So many hosts, counted up from `first`, meet the fake server; their addresses."""
        done = self.client.run(flood(FAKE4, Sources(first, number), count=number, rate=rate), capture_output=True,
                               text=True)
        assert done.returncode == 0, done.stderr
        return hosts(first, number)

    def tries(self, address: str, source: str) -> Attempt:
        """What becomes of a connection from one of SENDERS."""
        return self.client.attempt(address, source=source, timeout=0.4)

    def known(self) -> dict[str, dict[str, Any]]:
        """The entries by their addresses."""
        status, entries = ask(self.daemon.control, "GET", "/v1/entries?limit=1000000")
        assert status == 200, entries
        return {one["address"]: one for one in entries}

    def entry(self, address: str) -> dict[str, Any] | None:
        """One entry; None: there is none."""
        status, found = ask(self.daemon.control, "GET", f"/v1/entries/{address}")
        return dict(found) if status == 200 else None

    def fleet(self) -> dict[str, Any]:
        """What it says of the fleet."""
        return dict(ask(self.daemon.control, "GET", "/v1/fleet")[1])

    def ctl(self, *words: str) -> str:
        """What mxallowctl prints."""
        done = self.lab.gateway.run(
            [sys.executable, "-m", "mxallowd.ctl", words[0], "--socket", str(self.daemon.control), *words[1:]],
            capture_output=True, text=True)
        return str(done.stdout + done.stderr)

    def said(self, word: str) -> list[str]:
        """The lines of its log that begin so."""
        return [line for line in self.daemon.messages() if line.startswith(word)]


def start(*gateways: Gateway) -> None:
    """Start them at the same time, and wait until all serve."""
    for one in gateways:
        one.begin()
    for one in gateways:
        one.daemon.wait_for("start ", timeout=STARTED_S)


def hosts(first: str, number: int) -> set[str]:
    """Addresses that count up from the first one."""
    octets = [int(octet) for octet in first.split(".")]
    start = int.from_bytes(bytes(octets), "big")
    return {".".join(map(str, (start + one).to_bytes(4, "big"))) for one in range(number)}


class Fleet:
    """A site with its key and its gateways; a context manager by `fleet()`."""

    def __init__(self, directory: Path, site: Site, stack: ExitStack) -> None:
        self.directory = directory
        self.site = site
        self._stack = stack
        self.url = ""
        self.key = self.key_file("key")

    def key_file(self, name: str, *keys: str) -> Path:
        """A file with these keys, or with a new one."""
        path = self.directory / name
        path.write_text("".join(f"{key}\n" for key in keys or (new_key(),)), encoding="ascii")
        path.chmod(0o600)
        return path

    def engine(self, name: str = "engine", setup: Setup = PLAIN) -> Engine:
        """An engine that runs; the gateways to come use the last one."""
        engine = self._stack.enter_context(Engine(self.site.place(name), setup))
        self.url = f"{'rediss' if setup.tls else 'redis'}://{engine.address}:{PORT}"
        return engine

    def sentinels(self, master: Engine) -> list[Sentinel]:
        """Three that watch an engine; the gateways to come ask these."""
        place = self.site.place("sentinels")
        made = [self._stack.enter_context(Sentinel(place, master.address, port=SENTINEL_PORT + number))
                for number in range(3)]
        self.url = f"redis://{','.join(f'{one.address}:{one.port}' for one in made)}/{MASTER}"
        return made

    def gateway(self, name: str, *more: str, way: str = "queue", key: Path | None = None) -> Gateway:
        """A gateway whose daemon does not run yet; `more` are options, of which the last one counts."""
        lab, place = self.site.gateway(name)
        for address in (REAL4, REAL6):
            self._stack.enter_context(lab.gateway.serve(address))
        lab.take_any_source("10.0.0.0/8")
        chosen = WAYS[way]
        lab.load_ruleset(*chosen.rulesets, tracked=False)
        # Who is given no name server asks none.
        arguments = ["-c", "/dev/null", *SERVERS, *chosen.arguments, *(() if "--dns-server" in more else ("-b",)),
                     "--fleet", self.url, "--fleet-site", SITE, "--fleet-key-file", str(key or self.key),
                     "--fleet-origin", name, *more]
        gateway = Gateway(name, lab, place, lab.client("client", *SENDERS), chosen, arguments)
        self._stack.callback(gateway.kill)
        return gateway


@contextmanager
def fleet(directory: Path) -> Iterator[Fleet]:
    """A site without an engine and without gateways yet."""
    with Site() as site, ExitStack() as stack:
        yield Fleet(directory, site, stack)


def seconds_until(what: Any, limit_s: float) -> float:
    """Seconds until `what()` is true. Fails where that takes longer than `limit_s`."""
    began = time.monotonic()
    while not what():
        took_s = time.monotonic() - began
        assert took_s <= limit_s, f"not within {limit_s} s"
        time.sleep(0.05)
    return time.monotonic() - began
