"""A back end without packets, for tests of what stands above it: a real ring and a real decision, and nobody else."""
import struct
from pathlib import Path

from mxallowd._fastpath import Fastpath
from mxallowd.backends import Backends
from mxallowd.backends.memories import Memories
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine.events import Kind
from mxallowd.errors import StartError
from tests.test_settings import MINIMUM, good

CAPACITY = 16


def record(kind: Kind, source: bytes = bytes(16)) -> bytes:
    """An event as a queue thread writes it (_ring.pxd)."""
    return struct.pack("=BBHIQ16s16sQ8x", kind, 0, 23, 0, 1, source, bytes(16), 2)


class Part:
    """It does nothing and remembers what it was asked."""

    def __init__(self, table: Table, shard: int = 0, *, wake_fd: int = -1, opens: bool = True) -> None:
        self.ring = Ring(CAPACITY, wake_fd)
        self.rings = [self.ring]
        self.fastpaths = [Fastpath(table, self.ring, Rules([], [], 1), shard=shard)]
        self.opens = opens
        self.has_ended = self.has_failed = False
        self.asked: list[str] = []
        self.sweeps = 3
        self.counted = {"received": 5, "errors": 1}

    def push(self, kind: Kind = Kind.WHITELISTED, source: bytes = bytes(16), *, pressing: bool = True) -> bool:
        """Write an event. False: there was no room."""
        return self.ring.push(record(kind, source), pressing=pressing)

    def readable(self) -> list[Path]:
        """No file."""
        return []

    def open(self) -> None:
        """Or not."""
        if not self.opens:
            raise StartError("it cannot")
        self.asked.append("open")

    def start(self) -> None:
        """Nothing to start."""
        self.asked.append("start")

    def publish(self, rules: Rules) -> None:
        """Nobody decides."""
        self.asked.append("publish")

    def tick(self) -> None:
        """Nothing is due."""
        self.asked.append("tick")

    def sweep(self) -> int:
        """As the test says."""
        self.asked.append("sweep")
        return self.sweeps

    def restore(self, shard: int, records: bytes) -> bool:
        """The main thread does that."""
        return False

    def restored(self, shard: int) -> tuple[int, int, int, int] | None:
        """Nobody was asked."""
        return None

    def stop(self) -> None:
        """Nothing to stop."""
        self.asked.append("stop")

    def ended(self) -> bool:
        """As the test says."""
        return self.has_ended

    def failed(self) -> bool:
        """As the test says."""
        return self.has_failed

    def close(self) -> None:
        """Nothing to close."""
        self.asked.append("close")

    def counters(self) -> dict[str, int]:
        """As the test says."""
        return dict(self.counted)


def memories(threads: int, words: str = "") -> Memories:
    """Small ones."""
    return Memories(good(f"{MINIMUM} --max-entries 1000 --max-refused 1024 {words}"), threads)


def alone(words: str = "", *, wake_fd: int = -1) -> tuple[Backends, Part]:
    """One of them as the daemon has it."""
    shared = memories(1, words)
    part = Part(shared.table, wake_fd=wake_fd)
    return Backends(shared, [part], lambda: 1), part
