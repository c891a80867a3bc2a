"""Every way of docs/firewall.md with just the privileges that packaging/systemd/mxallowd.service leaves.

A launcher reads the unit and sets the same in the kernel: a user without a name, CAP_NET_ADMIN in the ambient and the
bounding set alone, no_new_privs, no memory to write and execute, the address families, and the system calls, whose
groups systemd itself names.
"""
import errno
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from tests.daemon_process import SENDER4, SENDER6, SERVERS, DaemonProcess
from tests.test_faults import children_of
from tests.test_privileges import NET_ADMIN_ALONE, status_of
from tests.test_systemd import UNIT
from tests.ways import EVERY, OF_PRIVILEGES, WAYS, family, in_set

SPAMMER4, SPAMMER6 = "192.0.2.66", "2001:db8::66"
CLIENT = (SENDER4, SENDER6, SPAMMER4, SPAMMER6)
USER = 61_234  # as DynamicUser would choose one: nobody knows its name
PR_SET_MDWE = 65
GUARD, BROKER = b"mxallowd.watchdog.guard", b"mxallowd.lists.broker"
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}


def options(name: str) -> list[str]:
    """The values of an option of the unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def calls(groups: Sequence[str]) -> set[str]:
    """The system calls in groups of systemd, and in the groups in these."""
    found = {group for group in groups if not group.startswith("@")}
    for group in set(groups) - found:
        done = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", group], capture_output=True,
                              text=True, check=True)
        words = [line.strip() for line in done.stdout.splitlines()[1:] if line.strip()]
        words = [word for word in words if not word.startswith("#")]
        found |= {word for word in words if not word.startswith("@")}
        inner = [word for word in words if word.startswith("@")]
        found |= calls(inner) if inner else set()
    return found


def launcher() -> str:
    """The program that gives up what the unit does, then is the daemon."""
    allowed, denied, again = options("SystemCallFilter")
    assert denied.startswith("~")
    names = sorted(calls(allowed.split()) - calls(denied[1:].split()) | calls(again.split()))
    assert options("AmbientCapabilities") == options("CapabilityBoundingSet") == ["CAP_NET_ADMIN"]
    assert (options("NoNewPrivileges"), options("SystemCallErrorNumber")) == (["yes"], ["EPERM"])
    [families] = options("RestrictAddressFamilies")
    numbers = sorted(FAMILIES[name] for name in families.split())
    return f"""
import ctypes, os, struct, sys
import pyseccomp
from mxallowd.process import privileges
from mxallowd.process.libc import call, prctl

for number in range(64):
    try:
        there = prctl(privileges._PR_CAPBSET_READ, number)
    except OSError:
        break
    if there and number != privileges.CAP_NET_ADMIN:
        prctl(privileges._PR_CAPBSET_DROP, number)
prctl(privileges._PR_SET_KEEPCAPS, 1)
os.setgroups([])
os.setresgid({USER}, {USER}, {USER})
os.setresuid({USER}, {USER}, {USER})
bit = 1 << privileges.CAP_NET_ADMIN
# Inheritable as well, or it cannot be ambient.
call("capset", struct.pack("=Ii", privileges._CAPABILITY_VERSION_3, 0), struct.pack("=6I", bit, bit, bit, 0, 0, 0))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(privileges._PR_CAP_AMBIENT, 2, privileges.CAP_NET_ADMIN, 0, 0) == 0  # PR_CAP_AMBIENT_RAISE
prctl(privileges._PR_SET_NO_NEW_PRIVS, 1)
assert libc.prctl({PR_SET_MDWE}, 1, 0, 0, 0) == 0

allowed = pyseccomp.SyscallFilter(pyseccomp.ERRNO({errno.EPERM}))
for name in {names!r}:
    try:
        if name != "socket":
            allowed.add_rule(pyseccomp.ALLOW, name)
    except (OSError, RuntimeError, ValueError):
        # Not on this architecture.
        pass
for number in {numbers!r}:
    allowed.add_rule(pyseccomp.ALLOW, "socket", pyseccomp.Arg(0, pyseccomp.EQ, number))
allowed.load()
# The unit's privileges are those of a program that is executed: what is not ambient is gone then.
os.execv(sys.executable, [sys.executable, "-m", "mxallowd", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def as_unit() -> str:
    """The launcher; once, since systemd-analyze takes its time."""
    return launcher()


def words_beside(daemon: DaemonProcess) -> list[bytes]:
    """The command of each process beside it; empty where it has ended."""
    return [Path(f"/proc/{child}/cmdline").read_bytes() for child in children_of(daemon)]


def only_its_own(beside: list[bytes], *needed: bytes) -> bool:
    """Whether these are processes of ours alone, the needed ones among them."""
    return all(b"mxallowd." in words for words in beside) and all(
        any(name in words for words in beside) for name in needed)


@pytest.mark.parametrize("name", OF_PRIVILEGES)
def test_new_hosts_get_in_by_every_way(served: Lab, client: Host, as_unit: str, name: str) -> None:
    way = EVERY[name]
    served.load_ruleset(*way.rulesets)
    arguments = ["-c", "/dev/null", *SERVERS, *way.arguments, "-b"]
    with DaemonProcess(served.gateway, arguments, script=as_unit) as daemon:
        daemon.wait_for("start ")
        status = status_of(daemon.process.pid)
        assert status["Uid"].split() == [str(USER)] * 4
        assert (status["CapEff"], status["CapPrm"], status["CapBnd"]) == (NET_ADMIN_ALONE,) * 3
        for fake, real, source, spammer in (
                (FAKE4, REAL4, SENDER4, SPAMMER4), (FAKE6, REAL6, SENDER6, SPAMMER6)):
            assert client.attempt(real, source=spammer) is Attempt.DROPPED
            assert client.attempt(fake, source=source) is Attempt.REFUSED
            if way.sets:
                assert in_set(served, way, family("mx_white", source), source)
            assert client.attempt(real, source=source, timeout=4) is Attempt.CONNECTED
            if way.sets:
                assert in_set(served, way, family("mx_used", source), source)
        assert not [line for line in daemon.messages()
                    if line.startswith(("privileges", "degraded", "kernel-table-broken", "defect", "door-"))]
        assert daemon.counters().get("kernel-table-failed", 0) == 0
        # No program but its own beside it: nothing that could end, or be taken over. Broker and guard live.
        deadline = time.monotonic() + 15
        needed = (BROKER, GUARD) if "-n" in way.arguments else (BROKER,)
        while not only_its_own(words_beside(daemon), *needed):
            assert time.monotonic() < deadline, words_beside(daemon)
            time.sleep(0.05)
        assert daemon.stop() == 0


@pytest.mark.parametrize("name", ["queue-set-ipset", "set-ipset"])
def test_a_stop_empties_and_a_start_takes_over(served: Lab, client: Host, as_unit: str, name: str) -> None:
    way = WAYS[name]
    served.load_ruleset(*way.rulesets)
    arguments = ["-c", "/dev/null", *SERVERS, *way.arguments, "-b"]
    with DaemonProcess(served.gateway, arguments, script=as_unit) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert in_set(served, way, "mx_white4", SENDER4)
        served.gateway.run(["ipset", "add", "mx_white4", SPAMMER4, "timeout", "0"], check=True)
        assert daemon.stop() == 0
    with DaemonProcess(served.gateway, [*arguments, "--flush-on-exit"], script=as_unit) as daemon:
        daemon.wait_for("kernel-table-read table=ipset entries=2 adopted=1 complete=yes")
        daemon.wait_for("start ")
        served.gateway.run(["ipset", "flush", "mx_used4"], check=True)
        assert client.attempt(REAL4, source=SENDER4, timeout=4) is Attempt.CONNECTED
        assert daemon.stop() == 0
    assert way.members(served, "mx_white4") == {SPAMMER4: 0}
