"""The daemon under a keeper that starts it again as soon as it ends, as a supervisor does, and what is seen of it.

A **life** is one run of the daemon, from its start to its end: how it ended, what it counted, what it took of memory
and of descriptors, its guard included. Its log comes through a pipe, which can be left unread, or closed.
"""
import os
import re
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.command import BenchError
from lab.hosts import Host

START_PAUSE_S = 0.1
READY_AFTER_S, COUNTED_AFTER_S = 15.0, 5.0
ENDED_AFTER_S = 15.0
READ_BYTES = 1 << 16
LAST_LINES = 40
LOOK_S = 0.05
PAIR = re.compile(r"([a-z0-9-]+)=(\d+)")


def wait_until_ended(pid: int) -> None:
    """Wait for the end of a process, not for the news of a tracer, which wait(2) would take away from him."""
    descriptor = os.pidfd_open(pid)
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Size:
    """What the daemon and its guard take."""

    memory_kib: int
    descriptors: int


@dataclass
class Life:
    """One run of the daemon."""

    process: "subprocess.Popen[bytes]"
    begun: float
    ready: float = 0.0
    status: int | None = None
    counters: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    words: Counter[str] = field(default_factory=Counter)
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    defects: list[str] = field(default_factory=list)
    log_unread: bool = False
    log_closed: bool = False

    def guards(self) -> list[int]:
        """Its processes beside it."""
        pid = self.process.pid
        try:
            return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
        except OSError:
            return []

    def size(self) -> Size:
        """Raises OSError where it has ended."""
        memory_kib = descriptors = 0
        for pid in (self.process.pid, *self.guards()):
            try:
                # Exact, which VmRSS of `status` is not: that is off by some hundred KiB on several processors.
                text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
                memory_kib += int(text.split("Rss:")[1].split()[0])
                descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
            except OSError:
                # A child that looks at the surroundings has ended meanwhile.
                if pid == self.process.pid:
                    raise
        return Size(memory_kib, descriptors)

    def take(self, line: str) -> None:
        """A line of its log."""
        text = line.partition(" - ")[2]
        word = text.partition(" ")[0]
        self.words[word] += 1
        if word not in ("whitelisted", "refused", "accepted", "child"):
            self.last_lines.append(text)
        if word == "start":
            self.ready = time.monotonic()
        elif word == "counters":
            self.counters = {name: int(value) for name, value in PAIR.findall(text)}
            self.counted += 1
        elif word in ("defect", "queue-failed", "start-failed", "stop-failed"):
            self.defects.append(text)


class Keeper:
    """A context manager. What ends otherwise than it was expected to is in `surprises`."""

    def __init__(self, host: Host, command: Sequence[str]) -> None:
        self._host = host
        self._command = command
        self._errors: IO[Any] = tempfile.TemporaryFile(prefix="mxallowd-soak-")  # noqa: SIM115
        self._expected: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._readers: list[threading.Thread] = []
        self.lives: list[Life] = []
        self.surprises: list[str] = []

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self.lives and self.lives[-1].process.poll() is None:
            self.lives[-1].process.kill()
        self._thread.join(ENDED_AFTER_S)
        for reader in self._readers:
            reader.join(ENDED_AFTER_S)
        self._errors.close()

    # ---- lives

    def _keep(self) -> None:
        while not self._over.is_set():
            process = self._host.popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=self._errors)
            life = Life(process, time.monotonic())
            self.lives.append(life)
            if self._over.is_set():
                process.kill()
            reader = threading.Thread(target=self._read, args=(life,), daemon=True)
            self._readers.append(reader)
            reader.start()
            wait_until_ended(process.pid)
            life.status = process.wait()
            if not self._over.is_set() and life.status != self._expected:
                reader.join(1)
                self.surprises.append(f"life {len(self.lives)} ended with status {life.status}, load average "
                                      f"{os.getloadavg()[0]:.1f}: {' | '.join(list(life.last_lines)[-3:])}")
            self._expected = None
            if not life.ready:
                self._over.wait(START_PAUSE_S)

    def _read(self, life: Life) -> None:
        assert life.process.stdout
        descriptor = life.process.stdout.fileno()
        rest = b""
        while not life.log_closed:
            if life.log_unread or not select.select([descriptor], [], [], LOOK_S)[0]:
                if life.log_unread:
                    time.sleep(LOOK_S)
                continue
            data = os.read(descriptor, READ_BYTES)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                life.take(line.decode("utf-8", "replace"))
        life.process.stdout.close()

    @property
    def life(self) -> Life:
        """The present one, ready or not."""
        return self.lives[-1]

    def wait_until_ready(self) -> Life:
        """The present life, once it gives verdicts. Raises BenchError."""
        deadline = time.monotonic() + READY_AFTER_S
        while not (self.lives and self.life.ready and self.life.status is None):
            if time.monotonic() > deadline:
                said = list(self.life.last_lines)[-3:] if self.lives else []
                raise BenchError(f"mxallowd does not start: {said} {self.said()}")
            time.sleep(0.01)
        return self.life

    def expect_end(self, status: int) -> Life:
        """The present life is going to end with this status."""
        self._expected = status
        return self.life

    def wait_for_end(self, life: Life) -> None:
        """Wait until a life has ended. Raises BenchError."""
        deadline = time.monotonic() + ENDED_AFTER_S
        while life.status is None:
            if time.monotonic() > deadline:
                raise BenchError("mxallowd did not end")
            time.sleep(0.005)

    def end(self, number: signal.Signals, status: int) -> None:
        """End the present life by a signal, and wait until it has ended."""
        life = self.expect_end(status)
        life.process.send_signal(number)
        self.wait_for_end(life)

    def stop(self) -> None:
        """End it by SIGTERM, for good."""
        self._over.set()
        life = self.life
        life.process.send_signal(signal.SIGTERM)
        self.wait_for_end(life)
        if life.status != 0:
            self.surprises.append(f"the last life ended with status {life.status}")

    # ---- what is seen

    def count(self) -> dict[str, int]:
        """The present life's counters: what SIGUSR1 logs, or what it logged last where it does not come."""
        life = self.life
        before = life.counted
        if life.status is None and life.ready:
            life.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + COUNTED_AFTER_S
        while life.counted == before and life.status is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return life.counters

    def total(self, *names: str) -> int:
        """Counters of all lives together, each as it was counted last."""
        return sum(life.counters.get(name, 0) for life in self.lives for name in names)

    def said(self) -> str:
        """What came to standard error: nothing, where all is well."""
        self._errors.seek(0)
        return str(self._errors.read().decode("utf-8", "replace"))
