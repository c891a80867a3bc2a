"""Where the kernel's queue is measured: a gateway, a client that floods it, and the programs."""
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.command import BenchError
from lab.hosts import FAKE4, REAL4, SMTP, Host, Lab
from lab.namespaces import visit
from lab.programs import ENDLESS, Sources, flood

# Not from the current directory, which may be a checkout that is not built (start.py).
DAEMON = (sys.executable, "-P", "-m", "mxallowd")
CLIENT = "192.0.2.101"
CLIENT_NICENESS = -15
KNOWN, UNKNOWN = "10.0.0.0", "11.0.0.0"  # first source of hosts in the whitelist (every other one), and of others
UNKNOWN_SOURCES = 1_000_000


@dataclass
class Program:
    """A program that serves queues from number `first` on: one process, or one for each queue."""

    name: str
    first: int
    processes: list["subprocess.Popen[Any]"]
    mark: str = ""  # of its verdicts: its rule lets packets with this mark go on

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        for process in self.processes:
            process.send_signal(number)

    def cpu_ns(self) -> int:
        """Processor time of all its threads so far."""
        paths = [path for process in self.processes for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat")]
        return sum(int(path.read_text(encoding="ascii").split()[0]) for path in paths)


@dataclass
class Site:
    """The gateway, the client that floods it, and the number of queues that every program has."""

    lab: Lab
    client: Host
    queue_count: int
    directory: str  # for what daemons keep; it goes with the site
    programs: list[Program] = field(default_factory=list)

    def start(
        self, name: str, command: Sequence[str], arguments: Sequence[str], ready: str, *, single: bool
    ) -> Program:
        """Start a program; `arguments` follow its queue. `single`: one process for all of its queues, A:B."""
        first = len(self.programs) * self.queue_count
        program = Program(name, first, [])
        self.programs.append(program)
        last = first + self.queue_count - 1
        for queue in [f"{first}:{last}"] if single else map(str, range(first, last + 1)):
            process = self.lab.gateway.popen([*command, queue, *arguments], stdout=subprocess.PIPE, text=True)
            program.processes.append(process)
            assert process.stdout
            if not any(ready in line for line in process.stdout):
                raise BenchError(f"{name} ended before it was ready, status {process.wait()}")
        return program

    def direct(self, program: Program) -> None:
        """Let the firewall's rule lead to the queues of this program."""
        last = program.first + self.queue_count - 1
        self.lab.flush_rules()
        self.lab.queue_rule(str(program.first) if self.queue_count == 1 else f"{program.first}:{last}", tracked=False,
                            unmarked=program.mark)

    def waiting(self) -> int:
        """Packets in the queues."""
        return sum(row[2] for row in self.lab.queues())

    def lost(self) -> int:
        """Packets that the kernel could not queue or hand over."""
        return sum(row[5] + row[6] for row in self.lab.queues())

    def flood(self, command: Sequence[str]) -> None:
        """Send SYNs."""
        done = self.client.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"flood: {done.stderr.strip()}")

    def settle(self, limit_s: float = 60) -> None:
        """Wait until no packet waits."""
        deadline = time.monotonic() + limit_s
        while self.waiting():
            if time.monotonic() > deadline:
                raise BenchError("the queue does not get empty")
            time.sleep(0.0005)

    def end_programs(self) -> None:
        """End what was started."""
        self.lab.flush_rules()
        for program in self.programs:
            for process in program.processes:
                process.kill()
                process.wait(10)
                if process.stdout:
                    process.stdout.close()
        self.programs.clear()


@contextmanager
def site(queue_count: int) -> Iterator[Site]:
    """Two hosts; the gateway has a way back to all made-up sources."""
    with Lab("bench") as lab, tempfile.TemporaryDirectory(prefix="mxallowd-bench-") as directory:
        client = lab.client("client", CLIENT)
        lab.take_any_source()
        address = client.run(["cat", "/sys/class/net/eth0/address"], capture_output=True, text=True).stdout.strip()
        for words in (["neighbour", "replace", CLIENT, "lladdr", address, "dev", "br0", "nud", "permanent"],
                      ["route", "add", "8.0.0.0/5", "via", CLIENT]):
            lab.gateway.run(["ip", *words], check=True)
        place = Site(lab, client, queue_count, directory)
        try:
            yield place
        finally:
            place.end_programs()


@contextmanager
def another_machine() -> Iterator[None]:
    """The client stands for another host: it does not wait for a processor of the gateway's.

    What is started meanwhile gets the same priority.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, CLIENT_NICENESS)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@contextmanager
def listening(place: Site, backlog: int) -> Iterator[None]:
    """A mail server that the kernel answers for: nobody accepts, so nobody contends with the client for a processor."""
    with visit(place.lab.gateway.name):
        Path("/proc/sys/net/core/somaxconn").write_text(f"{backlog}\n", encoding="ascii")
    with place.lab.gateway.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind((REAL4, SMTP))
        server.listen(backlog)
        yield


def scenario_flood(scenario: str, entries: int, destination: str, *, count: int, rate: int = 0) -> list[str]:
    """The words that send SYNs of a scenario: every other source from KNOWN on is in the whitelist."""
    sources = {"drop": Sources(UNKNOWN, UNKNOWN_SOURCES), "accept": Sources(KNOWN, entries, step=2),
               "mixed": Sources(KNOWN, 2 * entries)}
    return flood(destination, sources[scenario], count=count, rate=rate)


def latency(place: Site, program: Program, connects: int, load: int, entries: int) -> tuple[float, float]:
    """Microseconds from SYN to SYN-ACK, median and 99th percentile, beside `load` SYNs/s to the fake server."""
    place.direct(program)
    place.client.attempt(FAKE4)
    beside = [scenario_flood("accept", entries, FAKE4, count=ENDLESS, rate=load)] if load else []
    taken = []
    with place.client.meanwhile(*beside):
        time.sleep(0.2)
        for _ in range(connects):
            with place.client.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
                one.settimeout(3)
                # Its end is a reset: nothing stays of it that would take a port of the next one.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                started = time.perf_counter_ns()
                one.connect((REAL4, SMTP))
                taken.append((time.perf_counter_ns() - started) / 1000)
            time.sleep(0.002)
    place.settle()
    taken.sort()
    return taken[len(taken) // 2], taken[len(taken) * 99 // 100]
