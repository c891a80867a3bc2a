"""What is left of root's privileges once the daemon serves, and that it serves with what is left, in every way."""
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from mxallowd.process import privileges
from mxallowd.watchdog import _watch
from tests.daemon_process import SENDER4, SENDER6, SERVERS, DaemonProcess
from tests.ways import EVERY, OF_PRIVILEGES, WAYS, Way, family, in_set

NOBODY = pwd.getpwnam("nobody")
NET_ADMIN_ALONE = f"{1 << 12:016x}"


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status of one process or thread."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def serve(lab: Lab, way: Way, *arguments: str, script: str = "") -> DaemonProcess:
    """The daemon as nobody."""
    process = DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, *way.arguments, "-b", "--user", "nobody",
                                          *arguments], script=script)
    process.wait_for("start ")
    return process


def test_the_watching_thread_and_the_rest_have_one_niceness() -> None:
    """Compiled code and Python name it apart: who loses the priority again knows it by this number."""
    assert privileges.NICENESS == _watch.NICENESS


def test_who_may_administer_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "from mxallowd.process.privileges import may_administer_network; print(may_administer_network())"
    for without, expected in ([], str(os.geteuid() == 0)), (["setpriv", "--bounding-set=-net_admin"], "False"):
        done = subprocess.run([*without, sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
        assert done.stdout.strip() == expected, done.stderr
    # Without /proc, root is taken to have it.
    monkeypatch.setattr(privileges, "Path", lambda _: Path("/nonexistent"))
    assert privileges.may_administer_network() == (os.geteuid() == 0)


@pytest.mark.parametrize("name", OF_PRIVILEGES)
def test_it_serves_as_nobody_in_every_way(served: Lab, client: Host, name: str) -> None:
    way = EVERY[name]
    served.load_ruleset(*way.rulesets)
    with serve(served, way) as daemon:
        for fake, real, source in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
            assert client.attempt(real, source=source) is Attempt.DROPPED
            assert client.attempt(fake, source=source) is Attempt.REFUSED
            assert client.attempt(real, source=source, timeout=4) is Attempt.CONNECTED
            if way.sets:
                assert in_set(served, way, family("mx_used", source), source)
        assert not [line for line in daemon.messages()
                    if line.startswith(("privileges", "degraded", "kernel-table-broken", "door-"))]
        threads = [int(task.name) for task in Path(f"/proc/{daemon.process.pid}/task").iterdir()]
        assert len(threads) >= (4 if way.queues else 2)
        for thread in threads:
            status = status_of(thread)
            assert status["Uid"].split() == [str(NOBODY.pw_uid)] * 4
            assert status["Gid"].split() == [str(NOBODY.pw_gid)] * 4
            assert status["Groups"] == ""
            assert (status["CapEff"], status["CapPrm"], status["CapBnd"]) == (NET_ADMIN_ALONE,) * 3
            assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        counters = daemon.counters()
        assert (counters["errors"], counters.get("unsent", 0), counters["entries"]) == (0, 0, 2)
        assert daemon.stop() == 0


def test_queue_threads_keep_their_priority(served: Lab) -> None:
    served.load_ruleset("queue.sh")
    with serve(served, WAYS["queue"]) as daemon:
        # Threads name themselves, a moment after they were started.
        nice: dict[str, int] = {}
        deadline = time.monotonic() + 5
        while not {"mxallowd-q23", "mxallowd-watch"} <= nice.keys() and time.monotonic() < deadline:
            nice = {(task / "comm").read_text(encoding="ascii").strip(): os.getpriority(os.PRIO_PROCESS, int(task.name))
                    for task in Path(f"/proc/{daemon.process.pid}/task").iterdir()}
        assert (nice["mxallowd-q23"], nice["mxallowd-watch"]) == (-10, -11)
        assert nice["python"] == 0


def children_of(pid: int) -> dict[str, dict[str, str]]:
    """/proc/PID/status of the modules that run as children, without one that has just ended."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        with suppress(OSError, IndexError):
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            found[words[3].decode()] = status_of(int(child))
    return found


def test_the_guard_and_the_helper_keep_no_more_than_they_need(served: Lab) -> None:
    served.load_ruleset("queue.sh")
    guard_name, helper_name = "mxallowd.watchdog.guard", "mxallowd.mirrors.kernel.helper"
    with serve(served, WAYS["queue"], "--pf-table", "mx-white") as daemon:
        # The guard gives up its own as soon as it has started, and a helper without pf ends and is started again.
        guard: dict[str, str] = {}
        helper: dict[str, str] = {}
        deadline = time.monotonic() + 10
        while "0" in [one.get("NoNewPrivs", "0") for one in (guard, helper)] and time.monotonic() < deadline:
            found = children_of(daemon.process.pid)
            guard, helper = found.get(guard_name, guard), found.get(helper_name, helper)
            time.sleep(0.05)
        assert guard["Uid"].split() == [str(NOBODY.pw_uid)] * 4
        assert (int(guard["CapPrm"], 16), int(guard["CapBnd"], 16), guard["NoNewPrivs"]) == (0, 0, "1")
        assert (helper["CapPrm"], helper["CapBnd"], helper["NoNewPrivs"]) == (NET_ADMIN_ALONE, NET_ADMIN_ALONE, "1")


# The daemon, which tries in its first second what a program that was taken over would try.
TRYING = """
import ctypes, json, os, socket, sys
from mxallowd import cli
from mxallowd.sinks.log import LogSink

def errno_of(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0

def attempt(sink):
    libc = ctypes.CDLL(None, use_errno=True)
    def clone(flags):
        # A child, were it let, ends at once.
        number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
        # With the interpreter's lock, which nobody could give back to a child.
        child = ctypes.PyDLL(None, use_errno=True).syscall(number, flags | 17, 0, 0, 0, 0)
        if child == 0:
            os._exit(0)
        if child < 0:
            raise OSError(ctypes.get_errno(), "clone")
        os.waitpid(child, 0)
    def call(name, *words):
        if getattr(libc, name)(*words) < 0:
            raise OSError(ctypes.get_errno(), name)
    found = {
        "read /root": errno_of(lambda: os.listdir("/root")),
        "read /var": errno_of(lambda: os.listdir("/var/lib")),
        "write /tmp": errno_of(lambda: open("/tmp/mxallowd-was-here", "w")),
        "write /proc": errno_of(lambda: open("/proc/self/comm", "w")),
        "read /etc/hosts": errno_of(lambda: open("/etc/hosts").close()),
        "setuid": errno_of(lambda: os.setuid(0)),
        "unshare": errno_of(lambda: call("unshare", 0x10000000)),
        "ptrace": errno_of(lambda: call("ptrace", 0, 0, 0, 0)),
        "mount": errno_of(lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None)),
        "raw socket": errno_of(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    }
    if "--no-sandbox" not in sys.argv:
        # Where they are let, a child of this very thread goes on as the daemon: not tried.
        found |= {
            "namespace of users": errno_of(lambda: clone(0x10000000)),
            "namespaces of users and networks": errno_of(lambda: clone(0x50000000)),
            "clone3": errno_of(lambda: call("syscall", 435, None, 0)) - 37,  # ENOSYS, which is 38
        }
    print("01.01.2026 00:00:00 - tried " + json.dumps(found), flush=True)
    LogSink.tick = lambda self: None

LogSink.tick = attempt
sys.exit(cli.main(sys.argv[1:]))
"""


def test_what_a_daemon_that_was_taken_over_could_do(served: Lab) -> None:
    served.load_ruleset("queue.sh")
    with serve(served, WAYS["queue"], "--user", "root", script=TRYING) as daemon:
        tried = json.loads(daemon.wait_for("tried ").removeprefix("tried "))
        # Even as root: EACCES of Landlock, EPERM of seccomp and of capabilities that are gone.
        assert tried.pop("read /etc/hosts") == 0
        assert set(tried.values()) <= {1, 13}, tried
        assert daemon.stop() == 0
    with serve(served, WAYS["queue"], "--user", "root", "--no-sandbox", script=TRYING) as daemon:
        assert daemon.wait_for("privileges ") == 'privileges reason="no sandbox"'
        tried = json.loads(daemon.wait_for("tried ").removeprefix("tried "))
        assert tried["read /var"] == 0
        Path("/tmp/mxallowd-was-here").unlink(missing_ok=True)


def test_a_user_that_is_not_there(served: Lab) -> None:
    with DaemonProcess(served.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "--user", "nosuchuser"]) as daemon:
        assert daemon.process.wait(10) == 1
        assert daemon.process.stderr
        assert 'there is no user "nosuchuser"' in daemon.process.stderr.read()


def test_without_root_but_with_the_one_capability(served: Lab, client: Host) -> None:
    """As systemd starts it: AmbientCapabilities=CAP_NET_ADMIN."""
    served.load_ruleset("queue.sh")
    prefix = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups",
              "--inh-caps=+net_admin", "--ambient-caps=+net_admin", "--bounding-set=-all,+net_admin"]
    with DaemonProcess(served.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "-b"], prefix=prefix) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        status = status_of(daemon.process.pid)
        assert (status["CapPrm"], status["CapAmb"], status["NoNewPrivs"]) == (NET_ADMIN_ALONE, f"{0:016x}", "1")
        assert daemon.stop() == 0


def test_a_configuration_that_is_closed_to_the_user(served: Lab, tmp_path: Path) -> None:
    """It was read as root; later it cannot be, and that is said and ends nothing."""
    served.load_ruleset("queue.sh")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    file = closed / "mx.conf"
    file.write_text(f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\nqueue-num 23\n", encoding="ascii")
    with DaemonProcess(served.gateway, ["-c", str(file), "-b", "--user", "nobody"]) as daemon:
        daemon.wait_for("start ")
        daemon.send(signal.SIGHUP)
        assert "Permission denied" in daemon.wait_for("reload-failed where=configuration ")
        assert daemon.stop() == 0


def test_a_pid_file_that_cannot_be_removed_any_more_says_nobody(served: Lab, tmp_path: Path) -> None:
    """Its directory is root's: the file is emptied, and the lock is gone, so the next start takes it over."""
    pid_file = tmp_path / "mxallowd.pid"
    command = [sys.executable, "-m", "mxallowd", "-c", "/dev/null", *SERVERS, "-n", "23", "-b", "--user", "nobody",
               "--pid-file", str(pid_file)]
    for _ in range(2):
        done = served.gateway.run(command, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        pid = pid_file.read_text(encoding="ascii").strip()
        subprocess.run(["kill", pid], check=True)
        deadline = time.monotonic() + 5
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert pid_file.read_text(encoding="ascii") == ""
