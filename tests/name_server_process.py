"""The tests' name server as a process in a host of the lab, and its questions as they come."""
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lab.hosts import Host

ROOT = Path(__file__).parent.parent


class NameServerProcess:
    """A context manager. `records` are lines `NAME TYPE DATA`."""

    def __init__(self, host: Host | None, records: Sequence[str], port: int = 5353, address: str = "127.0.0.1") -> None:
        command = [sys.executable, "-m", "tests.nameserver", str(port), address]
        start = host.popen if host else subprocess.Popen
        self.process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.questions: list[str] = []
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("".join(f"{record}\n" for record in records) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ready\n"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.questions.append(line.strip())

    def __enter__(self) -> "NameServerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(5)
        self._reader.join(5)
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
