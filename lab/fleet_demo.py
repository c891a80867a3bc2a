"""Two gateways that share one whitelist: `python -m lab.demo fleet`.

The fake server is on one gateway and the real one on another, and an engine (redis-server) stands beside them. The
sender has an address at both.
"""
import os
import pwd
import shlex
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from lab.account import Account, Running, message, subjects
from lab.engine import Engine
from lab.gateways import Site
from lab.hosts import FAKE4, REAL4, Attempt
from lab.mta import deliver

TITLE = "two gateways, one whitelist"
SENDER, SPAMMER, SECOND = "192.0.2.101", "192.0.2.66", "192.0.2.102"
NAME = "example"
# Far more than an entry needs from one gateway to the other.
SHARED_AFTER_S = 2.0


class Gateway:
    """A daemon that is a gateway of the site, and the hosts that reach it."""

    def __init__(self, site: Site, account: Account, name: str, directory: Path) -> None:
        self.name = name
        self.lab, _ = site.gateway(name)
        self._account = account
        self.clients = {address: self.lab.client(client, address) for client, address in (
            ("sender", SENDER), ("spammer", SPAMMER), ("second", SECOND))}
        self.lab.load_ruleset("queue.sh")
        self._control = directory / f"{name}.sock"
        self._state = directory / name

    def start(self, url: str, key: Path) -> Running:
        """Start the daemon."""
        options = ["-f", FAKE4, "-r", REAL4, "-n", "23", "--fleet", url, "--fleet-site", NAME, "--fleet-origin",
                   self.name, "--fleet-key-file", str(key)]
        self._account.say(f"   {self.name}: mxallowd {shlex.join([*options[:-1], key.name])}")
        self.daemon = Running(
            self._account, self.lab.gateway, [sys.executable, "-m", "mxallowd", "-F", "-s", "-b", *options, "--control",
                                              str(self._control), "--state-dir", str(self._state)], self.name)
        return self.daemon

    def ctl(self, *words: str) -> int:
        """An operator's command; its exit status."""
        self._account.say(f"   {self.name}: mxallowctl {shlex.join(words)}")
        done = self._asks(*words)
        for line in (done.stdout + done.stderr).splitlines():
            self._account.say(f"      {line}")
        return done.returncode

    def attempt(self, source: str, address: str) -> str:
        """What becomes of a connection."""
        return self.clients[source].attempt(address).value

    def knows(self, source: str) -> bool:
        """Whether the host is whitelisted within a moment."""
        deadline = time.monotonic() + SHARED_AFTER_S
        while not (known := self._asks("explain", source).returncode == 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        return known

    def _asks(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.lab.gateway.run([sys.executable, "-m", "mxallowd.ctl", "--socket", str(self._control), *words],
                                    capture_output=True, text=True)

    def becomes(self, source: str, address: str, wanted: Attempt) -> str:
        """The same, asked again for a while until it is what is wanted."""
        deadline = time.monotonic() + SHARED_AFTER_S
        while (seen := self.attempt(source, address)) != wanted.value and time.monotonic() < deadline:
            time.sleep(0.05)
        return seen


def play(account: Account, mail: Path) -> None:
    """All steps."""
    account.say(f"mxallowd: {TITLE}")
    with ExitStack() as running:
        site = running.enter_context(Site("demo"))
        engine = Engine(site.place("engine"))
        account.say("Hosts in network namespaces of their own, with addresses that exist only there:")
        account.say(f"   sender   {SENDER}       a standard mail transfer agent; {SECOND} is another one")
        account.say(f"   spammer  {SPAMMER}        tries the last MX only, as many do")
        account.say(f"   mx1      {FAKE4}        MX 10: the fake server of the site, nothing listens on port 25")
        account.say(f"   mx2      {REAL4}        MX 20: the real mail server")
        account.say(f"   engine   {engine.address}     redis-server, in a network of the gateways")
        mx1, mx2 = (Gateway(site, account, name, mail.parent) for name in ("mx1", "mx2"))

        account.step("The engine, and a key for the site")
        running.enter_context(engine)
        key = mail.parent / "fleet.key"
        account.say("   mxallowctl fleet key >fleet.key")
        made = subprocess.run([sys.executable, "-m", "mxallowd.ctl", "fleet", "key"], stdout=subprocess.PIPE)
        hand_over(key, made.stdout)
        account.expect("exit status", 0, made.returncode)

        account.step("mxallowd starts on both gateways; each sees its own packets alone")
        server = Running(account, mx2.lab.gateway, [sys.executable, "-m", "lab.smtp", str(mail), REAL4], "smtp")
        server.wait_for("serving")
        for one in (mx1, mx2):
            daemon = one.start(f"redis://{engine.address}", key)
            account.expect(f"{one.name} serves", True, bool(daemon.wait_for("real-mailserver")))

        share(account, mail, mx1, mx2)
        lose_the_engine(account, engine, mx1, mx2)

        account.step("mxallowd stops (SIGTERM)")
        for one in (mx1, mx2):
            account.expect(f"exit status of {one.name}", 0, one.daemon.stop(signal.SIGTERM))
        server.stop(signal.SIGTERM)


def hand_over(key: Path, content: bytes) -> None:
    """Write a secret that root may change, the daemon's user read, and nobody else."""
    users = {one.pw_name: one for one in pwd.getpwall()}
    key.touch(0o640)
    os.chown(key, 0, users.get("mxallowd", users["nobody"]).pw_gid)
    key.write_bytes(content)
    key.parent.chmod(0o711)


def share(account: Account, mail: Path, mx1: Gateway, mx2: Gateway) -> None:
    """What one gateway lets in or removes, the other one does."""
    account.step("The spammer goes straight to the real server")
    account.expect(f"spammer -> {REAL4} of mx2", Attempt.DROPPED.value, mx2.attempt(SPAMMER, REAL4))

    account.step("The sender tries the better MX first: it meets the fake server of mx1, and delivers at mx2")
    account.expect(f"sender -> {FAKE4} of mx1", Attempt.REFUSED.value, mx1.attempt(SENDER, FAKE4))
    account.expect("known on mx2", True, mx2.knows(SENDER))
    tries = deliver(mx2.clients[SENDER], [REAL4], message("Hello to the fleet"))
    account.expect(f"sender -> {REAL4} of mx2", "connected, delivered", "; ".join(
        f"{one.attempt.value}{', delivered' if one.delivered else ''}" for one in tries))
    account.expect("in the mailbox", True, "Hello to the fleet" in subjects(mail))

    account.step("An operator asks mx2: why does the sender get in?")
    account.expect("exit status (0: it gets in)", 0, mx2.ctl("explain", SENDER))

    account.step("And what does mx2 know of the others?")
    account.expect("exit status", 0, mx2.ctl("fleet", "status"))

    account.step("The sender is removed on mx1, and so on mx2")
    account.expect("exit status", 0, mx1.ctl("remove", SENDER))
    account.expect(f"sender -> {REAL4} of mx2", Attempt.DROPPED.value,
                   mx2.becomes(SENDER, REAL4, Attempt.DROPPED))


def lose_the_engine(account: Account, engine: Engine, mx1: Gateway, mx2: Gateway) -> None:
    """Nobody notices but the operator, and afterwards all is as it would have been."""
    account.step("The engine is killed, with all that it has: mail goes on, each gateway with what it knows")
    engine.kill()
    for one in (mx1, mx2):
        account.expect(f"{one.name} says so", True, bool(one.daemon.wait_for("fleet-broken")))
    account.expect(f"another sender -> {FAKE4} of mx1", Attempt.REFUSED.value, mx1.attempt(SECOND, FAKE4))
    account.expect(f"spammer -> {REAL4} of mx2", Attempt.DROPPED.value, mx2.attempt(SPAMMER, REAL4))

    account.step("It comes back empty: each gateway says again what it let in")
    engine.restart(empty=True)
    for one in (mx1, mx2):
        account.expect(f"{one.name} says so", True, bool(one.daemon.wait_for("fleet-mended")))
    account.expect(f"the other sender -> {REAL4} of mx2", Attempt.CONNECTED.value,
                   mx2.becomes(SECOND, REAL4, Attempt.CONNECTED))
