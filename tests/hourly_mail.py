"""A real sender and a gateway whose clocks move together: days of mail in seconds.

Each message goes to two domains; the servers of the one have IPv4 addresses alone, those of the other IPv6 addresses.
MX 10 is the fake server and MX 20 the real one. Between two messages the clocks of exim and of the daemon move by an
hour, and so do the ends of what is in the kernel's sets. While a message waits they move by half an hour, and a queue
run follows each time; when none waits such a run has nothing to do, so it is left out.
"""
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from lab.exim import Exim
from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Lab
from tests.clocks import Clocks, shim
from tests.daemon_process import SENDER4, SENDER6, DaemonProcess
from tests.kernel_time import PASS
from tests.name_server_process import NameServerProcess

ROOT = Path(__file__).parent.parent
HOUR_S, QUEUE_RUN_S = 3600, 1800
# Longer than a change takes on its way into a set. Then the daemon is asked, which answers after what it had to do.
SETTLED_AFTER_S = 0.03
DOMAINS = ("four.example.org", "six.example.org")
RECORDS = [
    *(f"{domain} MX {preference} {name}.{domain}"
      for domain in DOMAINS for preference, name in ((10, "mx1"), (20, "mx2"))),
    f"mx1.four.example.org A {FAKE4}", f"mx2.four.example.org A {REAL4}",
    f"mx1.six.example.org AAAA {FAKE6}", f"mx2.six.example.org AAAA {REAL6}",
]


@dataclass
class Course:
    """What became of the messages. The two families count apart, in the order of DOMAINS."""

    sent: int = 0
    late: list[int] = field(default_factory=lambda: [0, 0])
    longest_s: list[int] = field(default_factory=lambda: [0, 0])
    missing: list[int] = field(default_factory=lambda: [0, 0])


class HourlyMail:
    """A context manager; `sets` is who keeps the sets of the rulesets, "nft" or "ipset", or empty."""

    def __init__(
        self, lab: Lab, directory: Path, rulesets: Sequence[str], arguments: Sequence[str], sets: str = ""
    ) -> None:
        self._lab = lab
        self._directory = directory
        self._rulesets = rulesets
        self._arguments = arguments
        self._sets = sets
        self._stack = ExitStack()
        self._now_s = 0
        self._course = Course()
        # What did not arrive yet, for each family: the number of a message, and when it was sent.
        self._wanted: list[dict[int, int]] = [{}, {}]

    def __enter__(self) -> "HourlyMail":
        with ExitStack() as stack:
            sender = self._lab.client("sender", SENDER4, SENDER6)
            self._clocks = Clocks(self._directory / "clocks")
            library = Path(shutil.copy(shim(), self._directory / "clocks.so"))
            mail = self._directory / "mail"
            mail.mkdir()
            self._folders = [mail / "0", mail / "1"]
            self._seen: set[Path] = set()
            receiver = self._lab.gateway.popen(
                [sys.executable, "-m", "lab.smtp", str(mail), REAL4, REAL6], stdout=subprocess.PIPE, cwd=ROOT)
            assert receiver.stdout
            # It connects to itself once, which the rules would not allow.
            assert receiver.stdout.readline().startswith(b"serving")
            self._lab.load_ruleset(*self._rulesets)
            stack.enter_context(NameServerProcess(sender, RECORDS, port=53))
            clocks = {"LD_PRELOAD": f"/etc/{library.name}", "MXALLOWD_CLOCKS": f"/etc/{self._clocks.path.name}"}
            self.exim = stack.enter_context(Exim(
                sender, self._directory, shared=[self._clocks.path, library], environment=clocks))
            # A watchdog would take the time that passes at once for a daemon that hangs.
            self.daemon = stack.enter_context(DaemonProcess(
                self._lab.gateway, [*self._arguments, "-b", "--no-watchdog"], prefix=self._clocks.prefix()))
            self.daemon.wait_for("start ")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, messages: int, *, until_late: bool = False) -> Course:
        """Send one each hour; with `until_late` no more than up to the first that is late."""
        for number in range(messages):
            if number:
                self._pass_an_hour()
            self._send(number)
            if until_late and any(self._course.late):
                break
        self._course.missing = [len(wanted) for wanted in self._wanted]
        return self._course

    def _send(self, number: int) -> None:
        for wanted in self._wanted:
            wanted[number] = self._now_s
        self.exim.send(str(number), *(f"somebody@{domain}" for domain in DOMAINS))
        self._course.sent += 1
        self._collect()
        for family, wanted in enumerate(self._wanted):
            self._course.late[family] += number in wanted

    def _pass_an_hour(self) -> None:
        end_s = self._now_s + HOUR_S
        while self._now_s < end_s:
            self._pass(QUEUE_RUN_S if self.exim.waiting() else end_s - self._now_s)
            if self.exim.waiting():
                self.exim.run_queue()
                self._collect()

    def _collect(self) -> None:
        """See what arrived."""
        for family, folder in enumerate(self._folders):
            for path in set(folder.glob("*.eml")) - self._seen:
                self._seen.add(path)
                [subject] = [line for line in path.read_text().splitlines() if line.startswith("Subject: ")]
                delay_s = self._now_s - self._wanted[family].pop(int(subject.split()[1]))
                self._course.longest_s[family] = max(self._course.longest_s[family], delay_s)

    def _pass(self, seconds: int) -> None:
        """Move all clocks, for the daemon at one moment: it is stopped meanwhile."""
        time.sleep(SETTLED_AFTER_S)
        self.daemon.counters()
        self.daemon.send(signal.SIGSTOP)
        try:
            self._now_s += seconds
            self._clocks.set(self._now_s, self._now_s, self._now_s)
            if self._sets:
                PASS[self._sets](self._lab.gateway, seconds)
        finally:
            self.daemon.send(signal.SIGCONT)
        # What was due meanwhile is done before it answers.
        self.daemon.counters()
