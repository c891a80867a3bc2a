"""What the console's process may do, as whoever has taken it over would try it; and its way to a real daemon."""
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.authority import Authority
from lab.hosts import Lab
from tests.console_process import ConsoleProcess
from tests.daemon_process import SERVERS, DaemonProcess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
EPERM, EACCES, EFBIG = 1, 13, 27

# argv: where its files lie, the port of somebody else, then options of mxallowd-console.
INSIDE = """
import json, os, socket, sys
from pathlib import Path
from mxallowd.console import settings
from mxallowd.console.enclosure import WAY, Enclosure
from mxallowd.console.render import Renderer
from mxallowd.console.users import Users

place, port = Path(sys.argv[1]), int(sys.argv[2])
wanted = settings.read(sys.argv[3:])
enclosure = Enclosure(wanted)
enclosure.open()
Renderer()
warnings = enclosure.shut()

def errno_of(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0

def unix(name):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(name)

def by_descriptor():
    os.dup2(os.open(place / "other.sock", os.O_PATH), 9)
    unix("/dev/fd/9")

def datagram(send):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        send(one)

def fill():
    with open("big", "wb") as one:
        os.posix_fallocate(one.fileno(), 0, 25 << 20)

def known():
    users = Users(wanted.users)
    users.refresh()
    if not users.any:
        raise OSError(2, "nobody")

tried = {
    **{f"read {name}": errno_of(lambda name=name: os.close(os.open(name, os.O_RDONLY))) for name in (
        "/etc/shadow", "/etc/passwd", "/etc", "/root", "/run", "/var/lib", "/proc/self/status", "/proc/1/environ",
        str(place / "other"))},
    "write the users": errno_of(lambda: open(wanted.users, "a")),
    "replace the users": errno_of(lambda: os.unlink(wanted.users)),
    "lead the way elsewhere": errno_of(lambda: os.symlink("/run/other", "another")),
    "tcp": errno_of(lambda: socket.create_connection(("127.0.0.1", port))),
    "udp": errno_of(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    "netlink": errno_of(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "connect from its listener": errno_of(lambda: enclosure.listeners[0].connect(("127.0.0.1", port))),
    "another socket": errno_of(lambda: unix(str(place / "other.sock"))),
    "another by its descriptor": errno_of(by_descriptor),
    "a datagram": errno_of(lambda: datagram(lambda one: one.sendto(b"<4>forged", str(place / "journal.sock")))),
    "a message": errno_of(lambda: datagram(lambda one: one.sendmsg([b"x"], [], 0, str(place / "journal.sock")))),
    "a program": errno_of(lambda: os.execv("/bin/true", ["true"])),
    "a process": errno_of(lambda: os.fork() or os._exit(0)),
    "root": errno_of(lambda: os.setuid(0)),
    "its group": errno_of(lambda: os.setgroups([0])),
    "a long file": errno_of(fill),
}
able = {
    "the daemon": errno_of(lambda: unix(WAY)),
    "the users": errno_of(known),
    "its state": errno_of(lambda: (wanted.state_dir / "file").write_text("x")),
    "remove its state": errno_of(lambda: (wanted.state_dir / "file").unlink()),
    "a module": errno_of(lambda: __import__("mxallowd.metrics.counters")),
    "the local time": errno_of(lambda: open("/etc/localtime").close() if os.path.exists("/etc/localtime") else None),
}
print(json.dumps([warnings, tried, able]))
"""


def test_what_a_console_that_was_taken_over_can_do(lab: Lab) -> None:
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "--stdout"]) as daemon:
        daemon.wait_for("start ")
        daemon.control.parent.chmod(0o755)
        with ConsoleProcess(daemon.control) as console:
            # The other one below is in its place, with the same files.
            console.process.terminate()
            console.process.wait(5)
            place = console.state.parent
            (place / "other").touch()
            other, journal = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            other.bind(str(place / "other.sock"))
            other.listen()
            journal.bind(str(place / "journal.sock"))
            for name in ("other", "other.sock", "journal.sock"):
                (place / name).chmod(0o666)
            daemon.control.chmod(0o666)
            done = subprocess.run(
                [sys.executable, "-c", INSIDE, str(place), str(console.port), "--listen", console.address, "--users",
                 str(console.users), "--state-dir", str(console.state), "--control", str(daemon.control), "--user",
                 "nobody"], capture_output=True, text=True, timeout=30)
            other.close()
            journal.close()
            assert done.returncode == 0, done.stderr
    warnings, tried, able = json.loads(done.stdout)
    assert warnings == []
    assert tried.pop("a long file") == EFBIG
    assert {name: found for name, found in tried.items() if found not in (EPERM, EACCES)} == {}
    assert {name: found for name, found in able.items() if found} == {}


def status_of(pid: int) -> dict[str, str]:
    """The fields of proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_process_has_nothing_but_its_groups(lab: Lab, tmp_path: Path) -> None:
    """A user with no right but that he may connect: a member of the socket's group. The users' file is root's."""
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "--stdout"]) as daemon:
        daemon.wait_for("start ")
        daemon.control.parent.chmod(0o755)
        group = 4711
        os.chown(daemon.control, 0, group)
        (tmp_path / "passwd").write_text(
            "root:x:0:0::/:/bin/sh\nmxallowd-console:x:990:990::/nonexistent:/usr/sbin/nologin\n", encoding="ascii")
        (tmp_path / "group").write_text(
            f"root:x:0:\nmxallowd-console:x:990:\nmxallowd:x:{group}:mxallowd-console\n", encoding="ascii")
        binds = " && ".join(f"mount --bind {tmp_path / name} /etc/{name}" for name in ("passwd", "group"))
        prefix = ["unshare", "--mount", "sh", "-c", f'{binds} && exec "$0" "$@"']
        with ConsoleProcess(daemon.control, prefix=prefix, user="mxallowd-console", owner=(990, 990)) as console:
            status = status_of(console.process.pid)
            assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
            assert (status["Uid"].split(), status["Gid"].split()) == (["990"] * 4, ["990"] * 4)
            assert set(status["Groups"].split()) == {"990", str(group)}
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            assert os.sched_getscheduler(console.process.pid) == os.SCHED_BATCH
            assert os.getpriority(os.PRIO_PROCESS, console.process.pid) == 10
            # All of its threads are inside.
            for thread in Path(f"/proc/{console.process.pid}/task").iterdir():
                assert "Seccomp:\t2" in (thread / "status").read_text(encoding="ascii")
            cookie = console.log_in()
            status_code, text, _ = console.ask("/", cookie)
            assert status_code == 200 and "cannot be reached" not in text
            assert not [line for line in console.lines if line.startswith("no-sandbox")]


def test_it_reads_roots_key_and_a_new_one_that_it_may_read() -> None:
    with TemporaryDirectory(dir="/tmp", prefix="mxconsole") as name:
        Path(name).chmod(0o755)
        authority = Authority(Path(name, "tls"))
        mine = authority.sign("localhost", "DNS:localhost")
        with ConsoleProcess(
            Path(name, "none"), ["--cert", str(mine.certificate), "--key", str(mine.key)],
        ) as console:
            assert console.wait_for("listening ").endswith("tls=yes")
            assert "<title>Log in" in asked(console, authority)
            console.process.send_signal(signal.SIGHUP)
            console.wait_for("certificate-failed reason=.*Permission denied.*takes a restart")
            assert "<title>Log in" in asked(console, authority)
            # Made anew in its place, as programs do that renew certificates.
            another = authority.sign("another", "DNS:localhost")
            for old, new in ((mine.certificate, another.certificate), (mine.key, another.key)):
                os.chown(new, 65534, 65534)
                new.rename(old)
            console.process.send_signal(signal.SIGHUP)
            console.wait_for("certificate reason=")
            assert "CN=another" in asked(console, authority, "--verbose").replace(" ", "")


def asked(console: ConsoleProcess, authority: Authority, *words: str) -> str:
    """What curl says of the page of the log-in."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--stderr", "-", "--cacert", str(authority.own.certificate), "--resolve",
         f"localhost:{console.port}:127.0.0.1", *words, f"https://localhost:{console.port}/login"],
        capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stdout
    return done.stdout
