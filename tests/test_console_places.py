"""Where the file of users lies: who may put another one there, who can lock it, and what the sandbox lets be read."""
import fcntl
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mxallowd.console import passwd
from mxallowd.console.passwd import Failed
from mxallowd.console.places import around, fixed, of_users
from mxallowd.console.settings import USERS, Changing
from mxallowd.console.users import line_of
from mxallowd.console.visit import Role
from tests.console_process import COMMAND, PASSWORD, ConsoleProcess

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def run(*words: str) -> tuple[int, str]:
    """Status, and what was printed."""
    done = subprocess.run([*COMMAND, *words], input=f"{PASSWORD}\n", capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def test_a_directory_is_read_where_it_is_the_files_own(tmp_path: Path) -> None:
    users = tmp_path / "users"
    for name in ("users", ".users.lock", ".users.abcd"):
        (tmp_path / name).touch()
    assert (of_users(users), fixed(users)) == (tmp_path, "")
    (tmp_path / "other").touch()
    assert of_users(users) == users and "restart mxallowd-console" in fixed(users)
    for name in ("/etc/console-users", "/users", str(tmp_path / "none" / "users")):
        assert of_users(Path(name)) == Path(name) and fixed(Path(name))
    assert (of_users(Path(USERS)), fixed(Path(USERS))) == (Path(USERS).parent, "")
    assert set(around(Path("/etc/cert.pem"), Path("/etc/tls/key.pem"), None)) == {
        Path("/etc/cert.pem"), Path("/etc/tls")}


def test_passwd_does_not_wait_for_who_can_open_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwd, "_password", lambda _: PASSWORD)
    monkeypatch.setattr(passwd, "LONGEST_WAIT_S", 0.2)
    asked = Changing("anna", Role.LOOK, remove=False, users=tmp_path / "users", user="nobody")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        assert "anna may look" in passwd.change(asked)
    finally:
        os.close(directory)
    lock = tmp_path / ".users.lock"
    assert lock.stat().st_mode & 0o777 == 0o600
    with lock.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Failed, match="another mxallowd-console passwd has been at work on it"):
            passwd.change(asked)


@needs_root
def test_root_follows_no_link_of_somebody_else(tmp_path: Path) -> None:
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir()
    mine.write_text(f"{line_of('anna', Role.LOOK, PASSWORD)}\n", encoding="ascii")
    before = mine.read_bytes()
    (theirs / "users").symlink_to(mine)
    os.chown(theirs, 65534, 65534)
    for words in (["passwd", "bert"], ["passwd", "anna", "--remove"], ["serve"]):
        status, said = run(*words, "--users", str(theirs / "users"), "--user", "nobody")
        assert status == 1 and "belongs to the user with id 65534; let root own it" in said
        assert said.count("\n") == 1
    assert mine.read_bytes() == before and [one.name for one in theirs.iterdir()] == ["users"]


@needs_root
def test_check_says_that_a_changed_file_takes_a_restart(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    common = ["--users", str(tmp_path / "users"), "--user", "nobody"]
    assert "takes it when it is started again" in run("passwd", "anna", *common)[1]
    assert "lies among other files" in run("--check", *common)[1]


@needs_root
def test_among_others_the_file_alone_is_read_and_a_key_kept(tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="mxconsole", dir="/tmp") as name:
        users, other = Path(name, "users"), Path(name, "other")
        Path(name).chmod(0o755)
        for file in (users, other):
            file.write_text(f"{line_of('anna', Role.LOOK, PASSWORD)}\n", encoding="ascii")
            file.chmod(0o644)
        with ConsoleProcess(tmp_path / "none", ["--users", str(users)]) as console:
            assert "lies among other files" in console.wait_for("users reason=")
            cookie = console.log_in()
            key = console.state / "devices.key"
            assert (key.stat().st_size, key.stat().st_mode & 0o777) == (32, 0o600)
            # Another one in its place is out of reach: nobody is in until a restart.
            other.rename(users)
            assert console.ask("/", cookie)[0] == 303
            console.wait_for("users reason=.*nobody can log in: Permission denied")
            assert not [line for line in console.lines if line.startswith("devices-failed")]
