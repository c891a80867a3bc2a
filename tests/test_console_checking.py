"""--check: each part of a start is looked at, as the user that the console becomes, and nothing is made."""
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.console_process import COMMAND, PASSWORD, ConsoleProcess
from tests.ports import free_port

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that anybody may enter, with users, a state directory and a control socket that listens."""
    with TemporaryDirectory(prefix="mxcheck", dir="/tmp") as name, socket.socket(socket.AF_UNIX) as control:
        made = Path(name)
        made.chmod(0o755)
        (made / "state").mkdir()
        (made / "state").chmod(0o777)
        control.bind(f"{name}/control")
        (made / "control").chmod(0o666)
        control.listen()
        subprocess.run([*COMMAND, "passwd", "anna", "--users", f"{name}/etc/users", "--user", "nobody"],
                       input=f"{PASSWORD}\n", text=True, check=True, stdout=subprocess.DEVNULL)
        yield made


def check(place: Path, *words: str, listen: str = "") -> tuple[int, str]:
    """Status and standard output; what is given later takes the place of what was given before."""
    done = subprocess.run(
        [*COMMAND, "--check", "--users", str(place / "etc/users"), "--user", "nobody", "--state-dir",
         str(place / "state"), "--control", str(place / "control"), "--listen", listen or f"127.0.0.1:{free_port()}",
         *words], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_what_is_right_says_nothing_and_leaves_nothing(place: Path) -> None:
    before = sorted(place.rglob("*"))
    assert check(place) == (0, "")
    assert check(place, "--state-dir", str(place / "new")) == (0, "")
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(("words", "said"), [
    (["--state-dir", "{place}/no/state"], 'cannot make the state directory "{place}/no/state": there is no'),
    (["--state-dir", "{place}/etc/users"], "it is no directory"),
    (["--control", "{place}/etc"], '"{place}/etc" is no socket'),
    (["--cert", "{place}/none", "--key", "/none"], 'cannot read "{place}/none": No such file or directory'),
    (["--user", "who-is-this"], 'there is no user "who-is-this"'),
    (["--listen", "198.51.100.1:8025"], "cannot listen at 198.51.100.1:8025: Cannot assign requested address")])
def test_each_fault_is_a_line_and_status_1(place: Path, words: list[str], said: str) -> None:
    status, out = check(place, *(word.format(place=place) for word in words))
    assert (status, said.format(place=place) in out) == (1, True), out


def test_a_broken_line_is_told_without_what_stands_in_it(place: Path) -> None:
    with (place / "etc/users").open("a", encoding="ascii") as more:
        more.write("bert:look:secret\n")
    status, out = check(place)
    assert (status, "secret" in out) == (1, False)
    assert "line 4: the password of bert cannot be read" in out


def test_a_file_that_cannot_be_read_asks_for_no_password(place: Path) -> None:
    file = place / "etc/users"
    file.unlink()
    file.mkdir()
    status, out = check(place)
    assert (status, out) == (78, f'cannot read "{file}", nobody can log in: Is a directory\n')


def test_a_daemon_that_does_not_run_yet_is_a_warning(place: Path) -> None:
    status, out = check(place, "--control", str(place / "none"))
    assert (status, out) == (0, f'"{place}/none": warning: there is no such socket: mxallowd does not run, or has '
                                "another one\n")


@as_root
@pytest.mark.parametrize(("path", "mode", "said"), [
    ("etc/users", 0o600, 'cannot read "{place}/etc/users", so nobody could log in'),
    ("etc", 0o700, 'cannot read "{place}/etc/users" (it may not enter "{place}/etc"), so nobody could log in'),
    ("state", 0o755, 'cannot use the state directory "{place}/state": the user with id 65534 may not write it'),
    ("control", 0o600, 'may not connect to "{place}/control"')])
def test_it_looks_as_the_user_that_it_becomes(place: Path, path: str, mode: int, said: str) -> None:
    (place / path).chmod(mode)
    status, out = check(place)
    assert (status, out.count("\n"), said.format(place=place) in out) == (1, 1, True), out
    assert stat.S_IMODE((place / path).stat().st_mode) == mode


def test_a_port_in_use_is_a_fault_unless_a_console_runs_there(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        assert check(place, listen=where) == (1, f"cannot listen at {where}: Address already in use\n")
    with ConsoleProcess(place / "control") as console:
        status, out = check(place, "--state-dir", str(console.state), listen=console.address)
        assert (status, out) == (0, f"{console.address}: warning: it is in use, maybe by the console that runs with "
                                    "this state directory\n")
        assert console.ask("/login")[0] == 200
