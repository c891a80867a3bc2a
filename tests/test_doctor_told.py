"""What follows from the daemon's word: the command for a state directory that cannot be used mends what it names."""
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mxallowd.ctl.doctor import told
from mxallowd.mirrors.disk.directory import Directory, DirectoryError
from mxallowd.process.privileges import account_of

USER = "nobody"


def fault_of(place: Path) -> str:
    """Why that cannot be used; empty: it can."""
    try:
        Directory(place, account_of(USER)).close()
    except DirectoryError as error:
        return str(error)
    return ""


def remedy(place: Path, fault: str) -> str:
    """As the doctor gives it."""
    finding, = told.state({"state": {"fault": fault}}, place, USER)
    return finding.command


def open_to_all(place: Path) -> None:
    place.parent.chmod(0o777)


def open_to_a_group(place: Path) -> None:
    os.chown(place.parent, 0, 1)
    place.parent.chmod(0o775)


def below_a_stranger(place: Path) -> None:
    os.chown(place.parent, 1, 0)


def a_stranger_s(place: Path) -> None:
    os.chown(place, 1, 0)


def a_file(place: Path) -> None:
    place.rmdir()
    place.touch()


@pytest.mark.parametrize("spoil", [open_to_all, open_to_a_group, below_a_stranger, a_stranger_s, a_file])
def test_the_command_mends_what_the_daemon_names(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    place = tmp_path / "the one" / "state"
    place.parent.mkdir()
    place.mkdir(0o700)
    assert fault_of(place) == ""
    spoil(place)
    command = remedy(place, fault := fault_of(place))
    assert fault
    assert "systemctl restart mxallowd" in command
    subprocess.run(["sh", "-ec", command.replace("systemctl restart mxallowd", "true")], check=True)
    assert fault_of(place) == "", command


@pytest.mark.parametrize(("number", "begins"), [
    (30, "mount -o remount,rw "), (5, "journalctl -k "), (13, "install -d "), (2, "install -d "), (28, "df -h ")])
def test_the_disk_and_what_may_not_be_opened(number: int, begins: str) -> None:
    assert remedy(Path("/s"), f'"/s": {os.strerror(number)}').startswith(begins)


def test_a_directory_that_is_not_mxallowd_s(tmp_path: Path) -> None:
    (tmp_path / "passwd").touch()
    assert f"0700 {tmp_path}/mxallowd  # set state-dir to it;" in remedy(tmp_path, fault_of(tmp_path))
    place = tmp_path / "own"
    taken = Directory(place, account_of(USER))
    assert remedy(place, fault_of(place)).startswith("pgrep -a mxallowd ")
    taken.close()
