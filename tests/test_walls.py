"""What code inside the sandbox may do to the host, tried as code that took the process over would, as root and not.

The daemon by itself (a process that enters as it does), the real guard and the real broker beside a real daemon.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import Lab
from tests.control_client import ask, raw
from tests.daemon_process import SERVERS, DaemonProcess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives root's privileges up")
EPERM, EACCES = 1, 13
USERS = pytest.mark.parametrize("user", ["root", "nobody"])

# Prints what came of each, by errno. argv: user, a process of that user, a socket of root, a directory, and a file.
INSIDE = """
import ctypes, json, os, platform, resource, signal, socket, sys
from pathlib import Path
from mxallowd.process import broker, privileges, sandbox

user, other, listening, place, file = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
inherited = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
asked = broker.Broker(("mxallowd.lists.broker", file), user, [Path(file)], [Path(place, "removed")], [listening])
asked.start()
sandbox.load()
privileges.give_up(user)
warnings = sandbox.enter(sandbox.program())
libc = ctypes.CDLL(None, use_errno=True)

def errno_of(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0

def call(name, *words):
    if getattr(libc, name)(*words) < 0:
        raise OSError(ctypes.get_errno(), name)

def number(name):
    import pyseccomp
    return pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)

tried = {
    **{f"read {name}": errno_of(lambda name=name: os.close(os.open(name, os.O_RDONLY))) for name in (
        "/etc/shadow", "/etc/gshadow", "/etc/ssh", "/etc", "/run", "/root", "/var/lib", "/dev/kmsg",
        f"/proc/{other}/environ", f"/proc/{other}/mem", f"/proc/{other}/fd/1", f"/proc/{other}/root/etc/shadow",
        "/proc/1/environ", "/proc/self/root/etc/shadow", f"{place}/file")},
    "chmod": errno_of(lambda: os.chmod(f"{place}/file", 0o4755)),
    "fchmod": errno_of(lambda: os.fchmod(1, 0o4755)),
    "fchmodat2": errno_of(lambda: call("syscall", 452, -100, f"{place}/file".encode(), 0o4755, 0)),
    "chown": errno_of(lambda: os.chown(f"{place}/file", 1, 1)),
    "setxattr": errno_of(lambda: os.setxattr(f"{place}/file", "user.a", b"1")),
    "removexattr": errno_of(lambda: os.removexattr(f"{place}/file", "user.a")),
    "utime": errno_of(lambda: os.utime(f"{place}/file", (1, 1))),
    "write": errno_of(lambda: open(f"{place}/file", "w")),
    "remove": errno_of(lambda: os.unlink(f"{place}/file")),
    "rename": errno_of(lambda: os.rename(f"{place}/file", f"{place}/file2")),
    "link": errno_of(lambda: os.link(f"{place}/file", f"{place}/file2")),
    "kill": errno_of(lambda: os.kill(other, 0)),
    "kill group": errno_of(lambda: os.kill(-other, 0)),
    "kill all": errno_of(lambda: os.kill(-1, 0)),
    "tgkill": errno_of(lambda: call("syscall", number("tgkill"), other, other, 0)),
    "tkill": errno_of(lambda: call("syscall", number("tkill"), other, 0)),
    "sigqueue": errno_of(lambda: call("sigqueue", other, 0, None)),
    "pidfd signal": errno_of(lambda: signal.pidfd_send_signal(os.pidfd_open(other), 0)),
    "pidfd file": errno_of(lambda: call("syscall", 438, os.pidfd_open(other), 0, 0)),
    "limits": errno_of(lambda: resource.prlimit(other, resource.RLIMIT_NOFILE, (3, 3))),
    "priority": errno_of(lambda: os.setpriority(os.PRIO_PROCESS, other, 19)),
    "priority of a user": errno_of(lambda: os.setpriority(os.PRIO_USER, 0, 19)),
    "affinity": errno_of(lambda: os.sched_setaffinity(other, {0})),
    "ptrace": errno_of(lambda: call("ptrace", 16, other, 0, 0)),
    "read memory": errno_of(lambda: call("process_vm_readv", other, None, 0, None, 0, 0)),
    "fsuid": errno_of(lambda: call("syscall", number("setfsuid"), 0)),
    "socket": errno_of(lambda: socket.socket(socket.AF_UNIX)),
    "pair": errno_of(lambda: socket.socketpair()),
    "vsock": errno_of(lambda: socket.socket(socket.AF_VSOCK)),
    "alg": errno_of(lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)),
    "open by the broker what was not named": errno_of(lambda: broker.open_file(Path("/etc/shadow"))),
    "open by the broker what others named": errno_of(lambda: broker.open_file(Path("/etc/passwd"))),
}
able = {
    "read passwd": errno_of(lambda: open("/etc/passwd").close()),
    "kill itself": errno_of(lambda: os.kill(os.getpid(), 0)),
    "its limits": errno_of(lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))),
    "its priority": errno_of(lambda: os.setpriority(os.PRIO_PROCESS, 0, 19)),
    "udp": errno_of(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
    "netlink": errno_of(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).close()),
    "run a program": errno_of(lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)),
    "the broker's file": errno_of(lambda: os.close(broker.open_file(Path(file)))),
    "the broker's socket": errno_of(lambda: broker.connect(listening).close()),
    "the broker's removal": errno_of(lambda: broker.remove(Path(place, "removed"))),
}
print(json.dumps([warnings, tried, able]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may write, since no mode is what forbids: the sandbox is."""
    made = Path("/tmp") / f"mxallowd-walls-{os.getpid()}"
    made.mkdir()
    made.chmod(0o777)
    for name in ("file", "removed"):
        (made / name).touch()
        (made / name).chmod(0o666)
    yield made
    subprocess.run(["rm", "-rf", str(made)], check=True)


def id_of(user: str) -> int:
    return 0 if user == "root" else 65534


@USERS
def test_what_a_process_that_was_taken_over_can_do(place: Path, user: str) -> None:
    """The file lies beside what was named, and its link leads where no rule of the sandbox does."""
    (place / "conf").symlink_to(place / "file")
    # It names what may be read then; but who is not root may write it.
    (place / "file").write_text("allow /etc/passwd\nallow /etc/shadow\n", encoding="ascii")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening, subprocess.Popen(
            ["/bin/sleep", "60"], user=id_of(user), group=id_of(user)) as other:
        try:
            listening.bind(str(place / "socket"))
            listening.listen()
            (place / "socket").chmod(0o666)
            if user == "nobody":
                for name in ("file", "removed"):
                    os.chown(place / name, 65534, 65534)
            done = subprocess.run(
                [sys.executable, "-c", INSIDE, user, str(other.pid), str(place / "socket"), str(place),
                 str(place / "conf")], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
            assert done.returncode == 0, done.stderr
            assert other.poll() is None
        finally:
            other.kill()
    warnings, tried, able = json.loads(done.stdout)
    assert warnings == []
    assert {name: found for name, found in tried.items() if found not in (EPERM, EACCES)} == {}
    assert {name: found for name, found in able.items() if found} == {}
    assert (place / "file").exists()
    assert not (place / "removed").exists()




OUTSIDE = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
found = {}
for pid in map(int, sys.argv[1:]):
    found[pid] = [ctypes.get_errno() if libc.ptrace(0x4206, pid, None, None) < 0 else 0]
    for name in ("mem", "environ", "maps"):
        try:
            open(f"/proc/{pid}/{name}", "rb").close()
            found[pid].append(0)
        except OSError as error:
            found[pid].append(error.errno)
print(json.dumps(found))
"""


def beside(daemon: DaemonProcess) -> dict[str, int]:
    """Guard and broker, by the last part of their modules' names."""
    pid = daemon.process.pid
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        # Between fork and exec it has the words of the daemon.
        if len(words) > 3 and words[2].endswith(b"child.py"):
            found[words[3].decode().rpartition(".")[2]] = int(child)
    return found


def wait_for_walls(pid: int, filters: int) -> None:
    """What the daemon starts later inherits its filter, and has one more of its own once it has entered."""
    deadline = time.monotonic() + 8
    while re.findall(r"Seccomp_filters:\t(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii")) != [
            str(filters)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@USERS
def test_nobody_of_the_same_user_traces_one_of_them(lab: Lab, user: str) -> None:
    """The guard that is started again as well, which no change of its user hides."""
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "-b", "--user", user]) as daemon:
        daemon.wait_for("start ")
        os.kill(beside(daemon)["guard"], signal.SIGKILL)
        daemon.wait_for("guard ", timeout=10)
        deadline = time.monotonic() + 5
        # For a moment after its start it still is a copy of the daemon.
        while "guard" not in beside(daemon):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        processes = [daemon.process.pid, *beside(daemon).values()]
        for pid in processes:
            wait_for_walls(pid, 2 if pid == beside(daemon)["guard"] else 1)
        done = subprocess.run(
            ["setpriv", f"--reuid={id_of(user)}", f"--regid={id_of(user)}", "--clear-groups", "--bounding-set=-all",
             "--inh-caps=-all", "/usr/bin/python3", "-c", OUTSIDE, *map(str, processes)],
            capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        assert len(found) == 3
        assert {errno for errnos in found.values() for errno in errnos} <= {EPERM, EACCES}, found
        for pid in processes:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            capability = "0000000000001000" if pid == processes[0] else "0000000000000000"
            assert f"CapPrm:\t{capability}" in status
            assert "NoNewPrivs:\t1" in status
        assert daemon.stop() == 0


@USERS
def test_a_broker_that_ends_is_said_once(lab: Lab, user: str) -> None:
    with DaemonProcess(lab.gateway, ["-q", "-c", "/dev/null", *SERVERS, "-n", "23", "-b", "--user", user]) as daemon:
        deadline = time.monotonic() + 5
        while "broker" not in beside(daemon):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        os.kill(beside(daemon)["broker"], signal.SIGKILL)
        assert "status -9" in daemon.wait_for("broker ", timeout=5)
        daemon.send(signal.SIGHUP)
        assert "the broker of the sandbox has ended; restart mxallowd" in daemon.wait_for("reload-failed ")
        reason = "it has ended, status -9: neither reload nor a new syslog until a restart"
        for path in ("/v1/status", "/v1/doctor"):
            assert ask(daemon.control, "GET", path)[1]["broker"] == reason
        assert "the broker of the sandbox has ended" in ask(daemon.control, "GET", "/readyz")[1]["warnings"][0]
        assert b"\nmxallowd_broker_runs 0\n" in raw(daemon.control, b"GET /metrics HTTP/1.0\r\n\r\n")
        time.sleep(1.2)
        assert len([line for line in daemon.messages() if line.startswith("broker ")]) == 1
        assert daemon.stop() == 0
