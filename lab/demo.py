"""The main job before the reader's eyes: `python -m lab.demo`.

A sender, a spammer and a gateway, each a host of its own; a real SMTP server behind the firewall rule of the README;
the real daemon. Each step says what is expected and what was seen, and the end says whether all was as expected.
"""
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab, supported
from lab.mta import deliver

SENDER = ("192.0.2.101", "2001:db8::101")
SPAMMER = ("192.0.2.66", "2001:db8::66")
QUEUE = "23"
DAEMON = [sys.executable, "-m", "mxallowd", "-F", "-s", "-f", FAKE4, "-f", FAKE6, "-r", REAL4, "-r", REAL6, "-n", QUEUE]
STAMP = re.compile(r"^\d\d\.\d\d\.\d{4} ")


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

    def __init__(self, account: Account, host: Host, argv: list[str], name: str) -> None:
        self.lines: list[str] = []
        self._account = account
        self._name = name
        self._came = threading.Condition()
        self.process = host.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._account.say(f"      {self._name} | {line.rstrip()}")
            with self._came:
                self.lines.append(line.rstrip())
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


def play(account: Account, lab: Lab, mail: Path) -> None:
    """All steps."""
    sender = lab.client("sender", *SENDER)
    spammer = lab.client("spammer", *SPAMMER)
    account.say("Three hosts in network namespaces of their own, with addresses that exist only there:")
    account.say(f"   sender   {', '.join(SENDER)}      a standard mail transfer agent")
    account.say(f"   spammer  {', '.join(SPAMMER)}        tries the last MX only, as many do")
    account.say(f"   gateway  {FAKE4}, {FAKE6}     MX 10, mx1.example.org: the fake, nothing listens on port 25")
    account.say(f"            {REAL4}, {REAL6}     MX 20, mx2.example.org: the real mail server")

    account.step("A real SMTP server starts on the real addresses")
    server = Running(account, lab.gateway, [sys.executable, "-m", "lab.smtp", str(mail), REAL4, REAL6], "smtp")
    account.expect("serving", True, bool(server.wait_for("serving")))

    account.step("Without protection, the spammer reaches it")
    account.expect(f"spammer -> {REAL4}", Attempt.CONNECTED.value, spammer.attempt(REAL4).value)

    account.step("The firewall puts new connections to port 25 before mxallowd")
    rule = f"-A INPUT -p tcp --dport 25 -m state --state NEW -j NFQUEUE --queue-num {QUEUE} --queue-bypass"
    account.say(f"   iptables  {rule}\n   ip6tables {rule}")
    lab.queue_rule(QUEUE, bypass=True)

    account.step("mxallowd starts")
    account.say(f"   mxallowd {' '.join(DAEMON[3:])}")
    daemon = Running(account, lab.gateway, DAEMON, "mxallowd")
    account.expect("serving", True, bool(daemon.wait_for(" start ") and daemon.wait_for(f"real-mailserver [{REAL6}]")))

    for family, fake, real in (("IPv4", FAKE4, REAL4), ("IPv6", FAKE6, REAL6)):
        account.step(f"{family}: the spammer goes straight to the real server")
        account.expect(f"spammer -> {real}", Attempt.DROPPED.value, spammer.attempt(real).value)

        account.step(f"{family}: the sender delivers a message, the better MX first")
        subject = f"Hello over {family}"
        tries = deliver(sender, [fake, real], message(subject))
        account.expect(
            "sender", f"{fake} refused; {real} connected, delivered",
            "; ".join(f"{one.address} {one.attempt.value}{', delivered' if one.delivered else ''}" for one in tries))
        daemon.wait_for(f"accepted [{SENDER[':' in real]}]")
        account.expect("in the mailbox", True, subject in subjects(mail))

        account.step(f"{family}: the spammer tries again")
        account.expect(f"spammer -> {real}", Attempt.DROPPED.value, spammer.attempt(real).value)

    account.step("The counters (SIGUSR1)")
    daemon.process.send_signal(signal.SIGUSR1)
    counters = dict(pair.split("=") for pair in daemon.wait_for(" counters ").split() if "=" in pair)
    account.expect("connection attempts blocked", "4", counters.get("blocked"))
    account.expect("hosts in the whitelist", "2", counters.get("entries"))

    account.step("mxallowd stops (SIGTERM); with --queue-bypass mail flows on, unfiltered")
    account.expect("exit status", 0, daemon.stop(signal.SIGTERM))
    account.expect(f"spammer -> {REAL4}", Attempt.CONNECTED.value, spammer.attempt(REAL4).value)
    server.stop(signal.SIGTERM)


def main() -> int:
    """Play it; 0 where everything was as expected."""
    reason = supported()
    if reason:
        print(f"the demo needs network namespaces and the kernel's queue: {reason}", file=sys.stderr)
        return 1
    account = Account()
    with tempfile.TemporaryDirectory() as directory, Lab("demo") as lab:
        play(account, lab, Path(directory))
    account.say(f"\n{account.failed} steps FAILED" if account.failed else "\nEverything was as expected.")
    return 1 if account.failed else 0


if __name__ == "__main__":
    sys.exit(main())
