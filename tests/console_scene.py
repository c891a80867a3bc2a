"""A gateway with what an operator may meet, and the console before it: for tests of whole pages.

One host has been let in, one is refused again and again, one meets the fake server alone; others are on lists.
"""
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from lab.console import Console, console
from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from tests.control_client import ask
from tests.daemon_process import QUEUE, SERVERS, DaemonProcess
from tests.name_server_process import NameServerProcess
from tests.test_list_files import old

SENDER, SPAMMER, FAKE_ONLY, BANK, DENIED, TRUSTED = KNOWN = [f"192.0.2.{last}" for last in range(101, 107)]
STRANGERS = [f"192.0.2.{last}" for last in range(120, 136)]  # hosts that nobody has seen yet, for each test some
NOTE = "the <b>bank</b> & others"
NAMED = "mail.example.org"  # two addresses
RECORDS = [f"{NAMED} A {one}" for one in STRANGERS[-2:]]


class Scene(NamedTuple):
    """What there is."""

    client: Host
    daemon: DaemonProcess
    console: Console

    def gets_in(self, source: str) -> bool:
        """Whether the real server takes a connection from there."""
        return self.client.attempt(REAL4, source=source) is Attempt.CONNECTED


@contextmanager
def gateway(lab: Lab, directory: Path, *arguments: str) -> Iterator[tuple[Host, DaemonProcess]]:
    """The client and the daemon, once all of the above has come to pass."""
    client = lab.client("client", *KNOWN, *STRANGERS)
    allow, deny, trust = (directory / name for name in ("allow.list", "deny.list", "trust"))
    allow.write_text(f"{BANK} # {NOTE}\n198.51.100.0/24\n", encoding="utf-8")
    deny.write_text(f"{DENIED} # too loud\n", encoding="utf-8")
    trust.write_text(f"network {TRUSTED} # a friend\n", encoding="utf-8")
    lists = ["--allow", str(old(allow)), "--deny", str(old(deny)), "--trust", str(old(trust))]
    with lab.gateway.serve(REAL4), NameServerProcess(lab.gateway, RECORDS):
        lab.queue_rule(QUEUE)
        with DaemonProcess(lab.gateway, [
                "-c", "/dev/null", *SERVERS, "-n", QUEUE, *lists, "--patience", "9/300", "--dns-server",
                "127.0.0.1:5353", "--state-dir", str(directory / "state"), *arguments]) as daemon:
            daemon.wait_for("start ")
            for host in (SENDER, FAKE_ONLY):
                assert client.attempt(FAKE4, source=host) is Attempt.REFUSED
            for host in (SENDER, BANK, TRUSTED):
                assert client.attempt(REAL4, source=host, timeout=5) is Attempt.CONNECTED
            for host in (SPAMMER, DENIED):
                assert client.attempt(REAL4, source=host, timeout=0.2) is Attempt.DROPPED
            # Within a second an attempt is no other one.
            while ask(daemon.control, "GET", f"/v1/explain/{SPAMMER}")[1]["refused"]["times"] < 2:
                assert client.attempt(REAL4, source=SPAMMER, timeout=0.2) is Attempt.DROPPED
            yield client, daemon


@contextmanager
def scene(*arguments: str) -> Iterator[Scene]:
    """All of it. No defect of the console is let by."""
    with TemporaryDirectory(prefix="mxs") as place, Lab() as lab, \
            gateway(lab, Path(place), *arguments) as (client, daemon):
        with console(daemon.control) as made:
            yield Scene(client, daemon, made)
            said = made.said()
        assert "defect" not in said, said
