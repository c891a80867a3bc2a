"""The daemon as a process of its own, in a host of the lab, with its lines of log as they come."""
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Host, Lab

QUEUE = "23"
SENDER4, SENDER6 = "192.0.2.101", "2001:db8::101"
SERVERS = ("-f", FAKE4, "-f", FAKE6, "-r", REAL4, "-r", REAL6)
STAMP = re.compile(r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d - ")


class DaemonProcess:
    """`mxallowd -F -s` with further arguments; a context manager that ends what it started.

    It stays root where no user is given, since another one cannot read the directories of tests.
    """

    def __init__(self, host: Host, arguments: Sequence[str], *, script: str = "", prefix: Sequence[str] = ()) -> None:
        program = ["-c", script] if script else ["-m", "mxallowd"]
        # Where tests run side by side, each has its own, and nothing is written outside of the tests' directory; the
        # last option counts.
        self._directory = TemporaryDirectory(prefix="mx")
        self.control = Path(self._directory.name, "control.sock")
        self.process = host.popen(
            [*prefix, sys.executable, *program, "-F", "-s", "--user", "root", "--control", str(self.control),
             "--state-dir", str(Path(self._directory.name, "state")),
             *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.lines: list[str] = []
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._arrived:
                self.lines.append(line.rstrip("\n"))
                self._arrived.notify_all()
        with self._arrived:
            self._arrived.notify_all()

    def __enter__(self) -> "DaemonProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(5)
        self._reader.join(5)
        self._directory.cleanup()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()

    def messages(self) -> list[str]:
        """The lines so far, without their time stamps; each must have one."""
        with self._arrived:
            lines = list(self.lines)
        assert all(STAMP.match(line) for line in lines), lines
        return [STAMP.sub("", line, count=1) for line in lines]

    def wait_for(self, pattern: str, *, times: int = 1, timeout: float = 5.0) -> str:
        """The newest message that matches, once `times` of them have come."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        while True:
            found = [message for message in self.messages() if wanted.match(message)]
            if len(found) >= times:
                return found[-1]
            with self._arrived:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"no {pattern!r} in {self.lines}, status {self.process.poll()}")
                self._arrived.wait(min(left, 0.1))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the daemon."""
        self.process.send_signal(number)

    def counters(self) -> dict[str, int]:
        """What SIGUSR1 logs."""
        before = sum(message.startswith("counters ") for message in self.messages())
        self.send(signal.SIGUSR1)
        line = self.wait_for("counters ", times=before + 1)
        return {key: int(value) for key, value in (pair.split("=") for pair in line.split()[1:])}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; its exit status."""
        self.send(number)
        status = self.process.wait(10)
        self._reader.join(5)
        return status


@contextmanager
def serving(lab: Lab, *arguments: str, prefix: Sequence[str] = ()) -> Iterator[DaemonProcess]:
    """The daemon without lookups, once it serves."""
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", QUEUE, "-b", *arguments],
                       prefix=prefix) as process:
        process.wait_for("start ")
        yield process
