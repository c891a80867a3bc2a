"""What a demo tells: numbered steps, what was expected and what was seen, and the lines of the programs among them."""
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

from lab.hosts import Host

MOST_LINES = 10_000


class Account:
    """What the reader sees: numbered steps, and the lines of the daemon among them."""

    def __init__(self) -> None:
        self._step = 0
        self.failed = 0
        self._writing = threading.Lock()

    def say(self, text: str = "") -> None:
        """A line of the account."""
        with self._writing:
            print(text, flush=True)

    def step(self, text: str) -> None:
        """Begin a step."""
        self._step += 1
        self.say(f"\n{self._step}. {text}")

    def expect(self, what: str, expected: object, seen: object) -> None:
        """Compare and say so."""
        good = expected == seen
        self.failed += not good
        self.say(f"   {what}: {seen}" + ("  ok" if good else f"  FAILED: expected {expected}"))


class Running:
    """A program in the gateway whose lines go into the account."""

    def __init__(
        self, account: Account, host: Host, argv: list[str], name: str,
        told: Callable[[str], bool] = lambda line: True,
    ) -> None:
        """`told` says which lines come into the account."""
        self.lines: list[str] = []
        self._told = told
        self._account = account
        self._name = name
        self._came = threading.Condition()
        self.process = host.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if self._told(line):
                self._account.say(f"      {self._name} | {line.rstrip()}")
            with self._came:
                self.lines.append(line.rstrip())
                # Of one that runs for days.
                del self.lines[:-MOST_LINES]
                self._came.notify_all()

    def wait_for(self, word: str, timeout: float = 15.0) -> str:
        """The newest line that has the word; an empty string where none comes."""
        deadline = time.monotonic() + timeout
        with self._came:
            while not any(word in line for line in self.lines):
                left = deadline - time.monotonic()
                if left <= 0:
                    return ""
                self._came.wait(left)
            return [line for line in self.lines if word in line][-1]

    def stop(self, number: signal.Signals) -> int:
        """End it and read it to its end; its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(10)
        self._thread.join(5)
        return status


def message(subject: str) -> EmailMessage:
    """A message to deliver."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "alice@example.net", "bob@example.org", subject
    made.set_content("Sent to the better MX first, as the standard says.\n")
    return made


def subjects(directory: Path) -> list[str]:
    """The subjects of the messages that the server has accepted."""
    return [str(BytesParser().parsebytes(file.read_bytes())["Subject"]) for file in sorted(directory.glob("*/*.eml"))]
