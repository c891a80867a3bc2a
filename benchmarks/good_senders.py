"""Good senders beside a flood: known ones connect to the real server, newcomers meet the fake one first."""
import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from lab.hosts import SMTP, Attempt, Host, Lab

# Their networks are routed to their host, so the gateway resolves one neighbour and not hundreds.
HOST4, HOST6 = "192.0.2.102", "2001:db8::102"
KNOWN = {4: "9.1.{}.{}", 6: "2001:db8:9:1::{:x}:{:x}"}
NEWCOMERS = {4: "9.2.{}.{}", 6: "2001:db8:9:2::{:x}:{:x}"}
ROUTES = {4: "9.0.0.0/8", 6: "2001:db8:9::/48"}
PREFIXES = {4: 8, 6: 48}
ALL_KNOWN = 250
KNOWN_RATE, NEWCOMER_RATE = 20, 5  # connections a second
PATIENCE_S = 3.0
FIRST_SYN_S = 0.95  # the kernel sends a SYN again after a second
AT_ONCE = 100  # more than wait at a time, if all of them get no answer
NICENESS = -15


@dataclass
class Came:
    """What became of the connections: of `tried`, the seconds that each took that was served."""

    tried: int = 0
    taken_s: list[float] = field(default_factory=list)

    def share(self, limit_s: float = PATIENCE_S) -> float:
        """The share that was connected within so long, and served."""
        return sum(one <= limit_s for one in self.taken_s) / self.tried if self.tried else 0.0

    def quantile_ms(self, share: float) -> float | None:
        """The time to connect below which this share of those lies that got in; None where nobody did."""
        ordered = sorted(self.taken_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else None


class GoodSenders:
    """Their host, and what they met. They run on one core, at a priority at which they wait for no program of ours."""

    def __init__(self, lab: Lab, family: int, core: int, most_newcomers: int) -> None:
        self._host: Host = lab.client("senders", HOST4, HOST6)
        self._family, self._core = family, core
        self._host.add_address(*(f"{one}/{PREFIXES[family]}" for one in [
            *(address(KNOWN[family], number) for number in range(ALL_KNOWN)),
            *(address(NEWCOMERS[family], number) for number in range(most_newcomers))]))
        lab.gateway.run(["ip", "route", "add", ROUTES[family], "via", HOST4 if family == 4 else HOST6], check=True)
        self._lock = threading.Lock()

    def introduce(self, fake: str, real: str) -> None:
        """Let the known ones become so: each meets the fake server, then the real one."""
        with self._pool() as pool:
            for server in (fake, real):
                jobs = [pool.submit(self._host.attempt, server, timeout=PATIENCE_S,
                                    source=address(KNOWN[self._family], number)) for number in range(ALL_KNOWN)]
                for job in jobs:
                    job.result()
                time.sleep(0.3)

    def come(self, fake: str, real: str, seconds: float, pause_s: float) -> tuple[Came, Came]:
        """Let them come for so many seconds: what became of the known ones, and of the newcomers.

        `pause_s`: between a newcomer's two connections.
        """
        known, new = Came(), Came()

        def know(number: int) -> None:
            wait_until(number / KNOWN_RATE)
            self._connect(known, address(KNOWN[self._family], number % ALL_KNOWN), real)

        def come_new(number: int) -> None:
            wait_until(number / NEWCOMER_RATE)
            source = address(NEWCOMERS[self._family], number)
            if self._host.attempt(fake, source=source, timeout=PATIENCE_S) is not Attempt.REFUSED:
                self._note(new, None)
                return
            time.sleep(pause_s)
            self._connect(new, source, real)

        def wait_until(after_s: float) -> None:
            time.sleep(max(0.0, started + after_s - time.monotonic()))

        # Each kind has threads of its own: those that get no answer must not keep the others from coming.
        with self._pool() as pool, self._pool() as another:
            started = time.monotonic()
            jobs = [pool.submit(know, number) for number in range(int(seconds * KNOWN_RATE))]
            jobs += [another.submit(come_new, number) for number in range(int(seconds * NEWCOMER_RATE))]
            for job in jobs:
                job.result()
        return known, new

    def _connect(self, came: Came, source: str, real: str) -> None:
        with self._host.socket(socket.AF_INET if self._family == 4 else socket.AF_INET6, socket.SOCK_STREAM) as one:
            one.bind((source, 0))
            one.settimeout(PATIENCE_S)
            started = time.monotonic()
            taken_s = None
            try:
                one.connect((real, SMTP))
                taken_s = time.monotonic() - started
                # The server accepts and closes. With SYN cookies the kernel may answer a SYN and then accept nobody.
                one.settimeout(max(0.01, PATIENCE_S - taken_s))
                one.recv(1)
            except OSError:
                taken_s = None
            self._note(came, taken_s)

    def _note(self, came: Came, taken_s: float | None) -> None:
        with self._lock:
            came.tried += 1
            if taken_s is not None:
                came.taken_s.append(taken_s)

    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(AT_ONCE, initializer=own_core, initargs=([self._core], NICENESS))


def own_core(cores: Sequence[int], niceness: int) -> None:
    """Pin the calling thread, and give it a priority."""
    os.sched_setaffinity(0, cores)
    os.setpriority(os.PRIO_PROCESS, 0, niceness)


def address(pattern: str, number: int) -> str:
    """One of the addresses."""
    high, low = divmod(number, 200)
    return pattern.format(high, low + 1)
