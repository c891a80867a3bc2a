"""The main job before the reader's eyes: `python -m lab.demo [a|b|c|d|fleet|console]`, or the way to run.

docs/firewall.md has the ways. `console` plays no steps: it has traffic until it is ended.

A sender, a spammer and a gateway, each a host of its own; a real SMTP server behind the project's own rulesets; the
real daemon. Each step says what is expected and what was seen, and the end says whether all was as expected.
"""
import argparse
import re
import shlex
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import console_demo, fleet_demo
from lab.account import Account, Running, message, subjects
from lab.hosts import BRIDGE, FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab, supported
from lab.mta import deliver

SENDER = ("192.0.2.101", "2001:db8::101")
SPAMMER = ("192.0.2.66", "2001:db8::66")
DAEMON = [sys.executable, "-m", "mxallowd", "-F", "-s", "-f", FAKE4, "-f", FAKE6, "-r", REAL4, "-r", REAL6]


@dataclass(frozen=True)
class Way:
    """One of the four ways to run: who decides, what is loaded and started, and what a stop leaves."""

    title: str
    rulesets: tuple[str, ...]
    arguments: tuple[str, ...]
    decides: str
    # Way c): the sender's first SYN may come before the kernel has it in its set; it comes again after a second.
    patience_s: float
    after_stop: Attempt  # what becomes of the spammer then
    stop_says: str


FLEET, CONSOLE = "fleet", "console"
NFT_TABLE = "inet mxallowd"
WAYS = {
    "a": Way("queue only", ("queue.sh",), ("-n", "23"), "The firewall puts new connections to port 25 before mxallowd",
             0.6, Attempt.CONNECTED, "with --queue-bypass mail flows on, unfiltered"),
    "b": Way("queue plus set", ("queue-set-mark.nft", "queue-set-mark.sh"), ("-n", "23", "--nft-table", NFT_TABLE),
             "The kernel lets known senders pass, and puts other new connections to port 25 before mxallowd",
             0.6, Attempt.CONNECTED, "with --queue-bypass mail flows on, unfiltered"),
    "c": Way("set plus NFLOG", ("set.nft",), ("-p", "nflog:5", "--nft-table", NFT_TABLE),
             "The kernel decides, and logs to mxallowd what it has to know", 4.0, Attempt.DROPPED,
             "the kernel goes on with the set as it is"),
    "d": Way("at the door", ("door.nft",), ("-p", "nflog:5", "--nft-table", NFT_TABLE, "--door", BRIDGE),
             "The kernel decides where packets come in, and logs to mxallowd what it has to know",
             0.6, Attempt.DROPPED, "the kernel goes on with the set as it is"),
}


def show_kernel(account: Account, lab: Lab, sender: Host, daemon: Running) -> None:
    """The sets, and a connection that passes by them alone."""
    account.step("What the kernel holds: known senders, and the seconds that are left to them")
    elements = []
    for name in ("mx_white4", "mx_white6", "mx_used4", "mx_used6"):
        listing = lab.gateway.run(["nft", "list", "set", *NFT_TABLE.split(), name], capture_output=True, text=True)
        elements += re.findall(r"elements = \{ (\S+)", listing.stdout)
    account.expect("in the sets of all, and of used ones", [SENDER[0], SENDER[1]] * 2, elements)
    account.step("The sender comes again: the kernel lets it pass, mxallowd sees nothing of it")
    lines = len(daemon.lines)
    account.expect(f"sender -> {REAL4}", Attempt.CONNECTED.value, sender.attempt(REAL4).value)
    account.expect("lines of mxallowd", 0, len(daemon.lines) - lines)


def explain(account: Account, lab: Lab, control: Path) -> None:
    """What an operator asks who misses mail."""
    for name, address, status in (("spammer", SPAMMER[0], 1), ("sender", SENDER[0], 0)):
        account.step(f"An operator asks: what about the {name}?")
        account.say(f"   mxallowctl explain {address}")
        done = lab.gateway.run([sys.executable, "-m", "mxallowd.ctl", "--socket", str(control), "explain", address],
                               capture_output=True, text=True)
        for line in (done.stdout + done.stderr).splitlines():
            account.say(f"      {line}")
        account.expect("exit status (0: it gets in)", status, done.returncode)


def play(account: Account, lab: Lab, mail: Path, way: Way) -> None:
    """All steps."""
    account.say(f"mxallowd: {way.title}")
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

    account.step(way.decides)
    for name in way.rulesets:
        account.say(f"   rulesets/{name}" + (f", with the interface {BRIDGE}" if name == "door.nft" else ""))
    lab.load_ruleset(*way.rulesets)

    account.step("mxallowd starts")
    control = mail.parent / "control.sock"
    command = [*DAEMON, *way.arguments]
    account.say(f"   mxallowd {shlex.join(command[3:])}")
    # Not those of a daemon that this machine may have.
    command += ["--control", str(control), "--state-dir", str(mail.parent / "state")]
    daemon = Running(account, lab.gateway, command, "mxallowd")
    account.expect("serving", True, bool(daemon.wait_for(" start ") and daemon.wait_for(f"real-mailserver [{REAL6}]")))

    for family, fake, real in (("IPv4", FAKE4, REAL4), ("IPv6", FAKE6, REAL6)):
        account.step(f"{family}: the spammer goes straight to the real server")
        account.expect(f"spammer -> {real}", Attempt.DROPPED.value, spammer.attempt(real).value)

        account.step(f"{family}: the sender delivers a message, the better MX first")
        subject = f"Hello over {family}"
        tries = deliver(sender, [fake, real], message(subject), way.patience_s)
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
    blocked = int(counters.get("blocked", 0))
    # Each family once more, where the sender was earlier than the set.
    account.expect("connection attempts blocked", True, blocked in (range(4, 7) if way.patience_s > 1 else (4,)))
    account.expect("hosts in the whitelist", "2", counters.get("entries"))

    if "--nft-table" in way.arguments:
        show_kernel(account, lab, sender, daemon)

    explain(account, lab, control)

    account.step(f"mxallowd stops (SIGTERM); {way.stop_says}")
    account.expect("exit status", 0, daemon.stop(signal.SIGTERM))
    account.expect(f"sender -> {REAL4}", Attempt.CONNECTED.value, sender.attempt(REAL4).value)
    account.expect(f"spammer -> {REAL4}", way.after_stop.value, spammer.attempt(REAL4).value)
    server.stop(signal.SIGTERM)


def main() -> int:
    """Play it; 0 where everything was as expected."""
    parser = argparse.ArgumentParser(prog="demo", description="mxallowd at its main job, in hosts of its own.")
    parser.add_argument("way", nargs="?", choices=[*sorted(WAYS), FLEET, CONSOLE], default="a", help="; ".join(
        f"{name}: {way.title}" for name, way in WAYS.items()) + f"; {FLEET}: {fleet_demo.TITLE}; {CONSOLE}: "
        f"{console_demo.TITLE} (default: %(default)s)")
    parser.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help=f"end {CONSOLE} by itself")
    arguments = parser.parse_args()
    chosen = arguments.way
    reason = supported()
    if reason:
        print(f"the demo needs network namespaces and the kernel's queue: {reason}", file=sys.stderr)
        return 1
    account = Account()
    with tempfile.TemporaryDirectory() as directory:
        mail = Path(directory) / "mail"
        mail.mkdir()
        if chosen == CONSOLE:
            console_demo.play(account, DAEMON, Path(directory), arguments.seconds)
            return 0
        if chosen == FLEET:
            fleet_demo.play(account, mail)
        else:
            with Lab("demo") as lab:
                play(account, lab, mail, WAYS[chosen])
    account.say(f"\n{account.failed} steps FAILED" if account.failed else "\nEverything was as expected.")
    return 1 if account.failed else 0


if __name__ == "__main__":
    sys.exit(main())
