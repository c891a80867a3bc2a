"""Where the control socket stands, who owns it, who may ask, and what becomes of it; also on the running daemon."""
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.hosts import Lab
from mxallowd.control.peers import May, Peer, may, peer_of
from mxallowd.control.place import NoPlace, Place
from tests.control_client import ask, connected
from tests.daemon_process import serving

USER, GROUP = 4242, 4243
OWN = os.geteuid(), os.getegid()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that everybody may enter."""
    with TemporaryDirectory(prefix="mx", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_socket_has_mode_owner_and_a_directory_of_its_own(folder: Path) -> None:
    place = Place(folder / "made" / "control.sock")
    place.take(USER, GROUP)
    found = place.path.lstat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (USER, place.group, 0o660)
    made = place.path.parent.stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (USER, GROUP, 0o755)
    assert stat.S_IMODE((folder / "made" / "control.sock.lock").stat().st_mode) == 0o600
    place.release()
    assert not list(place.path.parent.iterdir())


def test_a_directory_of_others_keeps_its_owner(folder: Path) -> None:
    (folder / "mxallowd").mkdir()
    for name, owner in ((folder, 0), (folder / "mxallowd", USER)):
        place = Place(name / "control.sock")
        place.take(USER, GROUP)
        assert name.stat().st_uid == owner
        place.release()


def test_one_daemon_a_socket(folder: Path) -> None:
    first, second = Place(folder / "control.sock"), Place(folder / "control.sock")
    first.take(*OWN)
    with pytest.raises(NoPlace, match="another mxallowd serves it"):
        second.take(*OWN)
    with connected(first.path):
        pass
    first.release()
    second.take(*OWN)
    # Who is late removes nothing of it.
    first.release()
    assert stat.S_ISSOCK(second.path.lstat().st_mode)
    second.release()


def test_what_is_left_of_a_dead_one_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "control.sock"))
    (folder / "control.sock.lock").touch()
    place = Place(folder / "control.sock")
    place.take(*OWN)
    with connected(place.path):
        pass
    place.release()


def test_what_is_no_socket_stays(folder: Path) -> None:
    file, other = folder / "control.sock", folder / "other"
    file.write_text("precious")
    with pytest.raises(NoPlace, match="a file that is none"):
        Place(file).take(*OWN)
    assert file.read_text() == "precious"
    file.unlink()
    file.symlink_to(other)
    with pytest.raises(NoPlace, match="a file that is none"):
        Place(file).take(*OWN)
    assert file.is_symlink()
    file.unlink()
    other.write_text("precious")
    (folder / "control.sock.lock").symlink_to(other)
    with pytest.raises(NoPlace, match="symbolic links"):
        Place(file).take(*OWN)
    assert other.read_text() == "precious"
    with pytest.raises(NoPlace, match="too long"):
        Place(folder / ("a" * 120)).take(*OWN)
    with pytest.raises(NoPlace, match="No such file"):
        Place(Path("/proc/nothing/control.sock")).take(*OWN)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_of_another_program_stays(folder: Path, kind: socket.SocketKind) -> None:
    path = folder / "control.sock"
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(path))
        if kind is not socket.SOCK_DGRAM:
            other.listen(0)
        for _ in range(3):
            # Also one whose queue of connections is full.
            with pytest.raises(NoPlace, match="that of another program"):
                Place(path).take(*OWN)
        assert stat.S_ISSOCK(path.lstat().st_mode)
    place = Place(path)
    place.take(*OWN)
    place.release()


def test_who_may_do_what() -> None:
    assert may(Peer(0, frozenset()), USER, GROUP) is May.CHANGE
    assert may(Peer(USER, frozenset()), USER, GROUP) is May.CHANGE
    assert may(Peer(USER + 1, frozenset({1, GROUP})), USER, GROUP) is May.READ
    assert may(Peer(USER + 1, frozenset({1})), USER, GROUP) is May.NOTHING
    # A group that may change it; without one, nobody is in it.
    assert may(Peer(USER + 1, frozenset({1, GROUP, 9})), USER, GROUP, 9) is May.CHANGE
    assert may(Peer(USER + 1, frozenset({1, GROUP})), USER, GROUP, 9) is May.READ
    assert may(Peer(USER + 1, frozenset()), USER, GROUP, None) is May.NOTHING


def test_the_kernel_says_who_has_connected() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_of(ours) == Peer(os.geteuid(), frozenset([os.getegid(), *os.getgroups()]))


# Connects as another user, and prints the statuses of a question and of a change.
ASKS = """
import os, sys
sys.path.insert(0, sys.argv[5])
from pathlib import Path
from tests.control_client import ask
os.setgroups([int(group) for group in sys.argv[4].split(",") if group])
os.setresgid(*[int(sys.argv[3])] * 3)
os.setresuid(*[int(sys.argv[2])] * 3)
path = Path(sys.argv[1])
try:
    print(ask(path, "GET", "/v1/status")[0], ask(path, "PUT", "/v1/log-level", {"level": "info"})[0])
except PermissionError:
    print("closed")
"""


def asks(path: Path, user: int, group: int, groups: str = "") -> str:
    root = str(Path(__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-c", ASKS, str(path), str(user), str(group), groups, root], capture_output=True, text=True,
        check=True, timeout=20).stdout.strip()


def test_users_and_groups_in_the_sandbox(lab: Lab, folder: Path) -> None:
    path = folder / "run" / "control.sock"
    with serving(lab, "--user", str(USER), "--control", str(path)) as daemon:
        assert asks(path, 0, 0) == "200 200"
        assert asks(path, USER, 1) == "200 200"
        # Its own group, since there is none of the name mxallowd here: as the primary one, and as another one.
        assert asks(path, 5000, USER) == "200 403"
        assert asks(path, 5000, 5000, f"5001,{USER}") == "200 403"
        assert asks(path, 5000, 5000) == "closed"
        # Should an operator open it to everybody, it is not open for all that.
        path.chmod(0o666)
        assert asks(path, 5000, 5000) == "403 403"
        assert ask(path, "GET", "/v1/status")[1]["user"] == str(USER)
        assert not [line for line in daemon.messages() if line.startswith(("control ", "defect"))]
        assert daemon.stop() == 0
        assert not list(path.parent.iterdir())


def test_a_second_daemon_and_a_killed_one(lab: Lab, folder: Path) -> None:
    path = folder / "control.sock"
    with serving(lab, "--control", str(path)) as first:
        with serving(lab, "--control", str(path), "-n", "24") as second:
            said = second.wait_for("control ")
            assert "another mxallowd serves it" in said
            assert ask(path, "GET", "/v1/status")[1]["pid"] == first.process.pid
            assert second.stop() == 0
        assert ask(path, "GET", "/v1/status")[1]["pid"] == first.process.pid
        first.send(signal.SIGKILL)
        first.process.wait(5)
    assert path.exists()
    with serving(lab, "--control", str(path)) as third:
        assert ask(path, "GET", "/v1/status")[1]["pid"] == third.process.pid
        assert third.stop() == 0
    assert not path.exists()


def test_without_a_place_it_is_said_once_and_left(lab: Lab) -> None:
    with serving(lab, "--control", "/proc/nothing/control.sock") as daemon:
        daemon.wait_for("control reason=")
        assert daemon.stop() == 0
        assert sum(line.startswith("control ") for line in daemon.messages()) == 1
