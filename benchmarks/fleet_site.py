"""A fleet on one machine, for benchmarks/fleet.py: the engine on the first processor, and a crowd of gateways beside.

What the crowd says are batches of the product (mxallowd/fleet/batch.py), made and sealed before a run; what it reads it
throws away (peers/fleet_crowd.c).
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.command import BenchError
from benchmarks.fleet_gateway import Found, Options
from benchmarks.peers import compiled
from lab.authority import Authority
from lab.engine import PORT, Engine, Setup
from lab.gateways import Place
from lab.hosts import Host, Lab
from lab.programs import CompileError
from mxallowd.engine._table import CONTACT
from mxallowd.fleet.batch import MOST_RECORDS, Batch, entry, seal
from mxallowd.fleet.keys import Keys, new_key

NAME = "bench"
KEY = f"mxallowd:{NAME}:log"
ENGINE, REPLICA = "127.0.0.1", "127.0.0.2"
ENGINE_CORE = 0
WINDOW_US = 10_000  # between two batches of a gateway
LIFETIME_S = 8 * 3600
PAST_MS = 3_600_000
ROOT = Path(__file__).parent.parent
_FRAME = struct.Struct("=QQII")
_FIRST = 0x0A000000  # 10.0.0.0


@dataclass(frozen=True)
class Crowd:
    """What the crowd found in one run: batches and bytes that its readers got, quantiles in microseconds."""

    batches: int
    bytes: int
    errors: int
    p50_us: int
    p99_us: int
    max_us: int
    spent_ms: int
    engine_share: float  # of one processor
    begun_us: int  # by the monotonic clock


class Site:
    """The engine and the files of the gateways; a context manager."""

    def __init__(self, *, tls: bool = False, keep: bool = False, replica: bool = False) -> None:
        """`keep`: the engine writes its list to disk. `replica`: it has one, on the same processor."""
        self._stack = ExitStack()
        self._tls, self._keep, self._has_replica = tls, keep, replica

    def __enter__(self) -> "Site":
        with self._stack:
            # Before anybody waits for it.
            crowd_program(tls=self._tls)
            self.host = self._stack.enter_context(Lab("mxf")).gateway
            self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mxf-")))
            authority = Authority(self.directory / "authority") if self._tls else None
            self.authority = str(authority.own.certificate) if authority else ""
            self.url = f"{'rediss' if self._tls else 'redis'}://{ENGINE}:{PORT}"
            key = new_key()
            self.key_file = self.directory / "fleet.key"
            self.key_file.write_text(key + "\n", encoding="ascii")
            self.key_file.chmod(0o600)
            self.keys = Keys([bytes.fromhex(key)], NAME)
            # It stands for a machine of its own.
            own = ("chrt", "-f", "1", "taskset", "-c", str(ENGINE_CORE))
            self.engine = self._stack.enter_context(Engine(
                Place(self.host, ENGINE), Setup(tls=authority, keep=self._keep, prefix=own)))
            if self._has_replica:
                self.replica = self._stack.enter_context(Engine(
                    Place(self.host, REPLICA), Setup(replica_of=ENGINE, prefix=own)))
                while not self.replica.is_replica_of(ENGINE):
                    time.sleep(0.05)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def message(self, origin: str, sequence: int, first: int, count: int, at_ms: int | None = None) -> bytes:
        """A sealed batch of hosts that count up from 10.0.0.0, as a gateway says it; `at_ms`: by its wall clock."""
        content = b"".join(entry(_host(first + number), LIFETIME_S * 1000, 0, CONTACT) for number in range(count))
        wall_ms = int(time.time() * 1000) if at_ms is None else at_ms
        return seal(Batch(origin, _EPOCH, sequence, wall_ms, LIFETIME_S, content, ()), self.keys)

    def fill(self, records: int, a_batch: int, gateways: int) -> float:
        """Let the stream have so many entries, said by so many gateways in turn in the last hour; bytes an entry."""
        began_ms = int(time.time() * 1000) - PAST_MS

        def commands() -> Iterator[tuple[str | bytes, ...]]:
            for number, at in enumerate(range(0, records, a_batch)):
                id_ms = began_ms + at * (PAST_MS - 1000) // records
                said = self.message(f"gateway-{number % gateways}", number, at, min(a_batch, records - at), id_ms)
                yield "XADD", KEY, f"{id_ms}-{number}", "d", said

        self.engine.pour(commands())
        return int(self.engine.do("MEMORY", "USAGE", KEY, "SAMPLES", 0)) / records

    def schedule(self, rate: int, seconds: float, gateways: int, first: int = 0) -> tuple[bytes, list[int]]:
        """What the crowd sends, and when each host came in, in microseconds from the start.

        `rate` a second come in, by chance, each at a gateway by chance. As in the product, a gateway says at once what
        comes, and then nothing for WINDOW_US; what came meanwhile is its next batch.
        """
        chance = random.Random(rate)
        arrivals: list[list[int]] = [[] for _ in range(gateways)]
        for at_us in sorted(chance.randrange(int(seconds * 1e6)) for _ in range(int(rate * seconds))):
            arrivals[chance.randrange(gateways)].append(at_us)
        frames = []
        for writer, times in enumerate(arrivals):
            at, free_us = 0, 0
            while at < len(times):
                due_us = max(times[at], free_us)
                end = min(bisect_right(times, due_us), at + MOST_RECORDS)
                frames.append((due_us, times[at:end], writer))
                at, free_us = end, due_us + WINDOW_US
        least = str(int(time.time() * 1000) - LIFETIME_S * 1000).encode()
        made: list[bytes] = []
        came_us: list[int] = []
        for number, (due_us, batch_us, writer) in enumerate(sorted(frames)):
            command = _command(b"XADD", KEY.encode(), b"MINID", b"~", least, b"*", b"d",
                               self.message(f"gateway-{writer}", number, first + len(came_us), len(batch_us)))
            made.append(_FRAME.pack(due_us, batch_us[0], writer, len(command)) + command)
            came_us += batch_us
        return b"".join(made), came_us

    def crowd(
        self, schedule: bytes, seconds: float, readers: int, writers: int, pace_ms: int = WINDOW_US // 1000,
    ) -> "Running":
        """Let it write to the engine for so long, and read there, or at the replica where there is one."""
        engine = self.replica if self._has_replica and readers else self.engine
        words = [str(crowd_program(tls=self._tls)), engine.address, str(PORT), KEY, str(readers), str(writers),
                 str(pace_ms), str(seconds), *([self.authority] if self._tls else [])]
        return Running(self.host, engine, [*others_cores(), *words], schedule, seconds)

    def gateway(self, origin: str, rate: int = 0, **more: Any) -> "Member":
        """One of the product, which has loaded the stream."""
        options = Options(self.url, NAME, str(self.key_file), origin, self.authority, rate=rate, **more)
        process = self.host.popen(
            [*others_cores(), sys.executable, "-m", "benchmarks.fleet_gateway", json.dumps(asdict(options))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        return Member(process)


class Running:
    """The crowd while it runs."""

    def __init__(self, host: Host, engine: Engine, words: list[str], schedule: bytes, seconds: float) -> None:
        self._engine, self._seconds = engine, seconds
        self._process = host.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdin
        self._process.stdin.write(schedule)
        self._process.stdin.close()
        self._begun_us = int(self._words(2)[1])
        self._before = processor_s(engine)

    def found(self) -> Crowd:
        """Wait for its end."""
        words = self._words(7)
        share = (processor_s(self._engine) - self._before) / self._seconds
        batches, size, errors, p50_us, p99_us, max_us, spent_ms = map(int, words)
        return Crowd(batches, size, errors, p50_us, p99_us, max_us, spent_ms, share, self._begun_us)

    def _words(self, number: int) -> list[bytes]:
        assert self._process.stdout
        assert self._process.stderr
        words: list[bytes] = self._process.stdout.readline().split()
        if len(words) != number:
            said = self._process.stderr.read().decode(errors="replace").strip()
            raise BenchError(f"the crowd failed: {said}")
        return words


class Member:
    """A gateway of the product, in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        words = self._line().split()
        self.joined_s, self.told = float(words[1]), int(words[2])

    def begin(self, first: int, seconds: float) -> None:
        """Let it go for so long; what it lets in begins with this host."""
        assert self._process.stdin
        self._process.stdin.write(f"{first} {seconds}\n")
        self._process.stdin.flush()

    def found(self) -> Found:
        """Wait for the end of that."""
        return Found(**json.loads(self._line()))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)

    def _line(self) -> str:
        assert self._process.stdout
        assert self._process.stderr
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"a gateway failed: {self._process.stderr.read().strip()[-500:]}")
        return line


def others_cores() -> list[str]:
    """The words before a program that shall leave the engine its processor."""
    cores = [core for core in sorted(os.sched_getaffinity(0)) if core != ENGINE_CORE]
    return ["taskset", "-c", ",".join(map(str, cores))] if cores else []


_EPOCH = 1


def processor_s(engine: Engine) -> float:
    """Processor time of an engine so far."""
    assert engine.process
    words = Path(f"/proc/{engine.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _host(number: int) -> bytes:
    return bytes(10) + b"\xff\xff" + (_FIRST + number).to_bytes(4, "big")


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def crowd_program(*, tls: bool) -> Path:
    """It, compiled. Raises BenchError where that needs what is not here."""
    try:
        return compiled("fleet_crowd.c", *(["-DTLS", "-lssl", "-lcrypto"] if tls else []))
    except CompileError as error:
        raise BenchError(f"{error} (TLS needs Debian's libssl-dev)" if tls else str(error)) from error
