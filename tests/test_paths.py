"""The way to a file: whoever may change a step of it may change what is read, and what closes one keeps us out."""
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Lab
from mxallowd.errors import ConfigError
from mxallowd.process.paths import MOST_LINKS, steps, who_could_replace
from mxallowd.settings import configfile
from tests.daemon_process import SERVERS, DaemonProcess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
OTHER, GROUP = 65533, 65532
ROOT = Path(__file__).parent.parent


@pytest.fixture
def place() -> Iterator[Path]:
    """Below / alone, so that the modes of the way are those that the test makes."""
    made = Path(f"/mxallowd-test-{os.getpid()}")
    (made / "a" / "b").mkdir(parents=True)
    for directory in (made, made / "a", made / "a" / "b"):
        directory.chmod(0o755)
    (made / "a" / "b" / "conf").write_bytes(b"stdout\n")
    (made / "link").symlink_to("a/./b/../b/conf")
    yield made
    shutil.rmtree(made)


def test_the_steps_of_a_way(place: Path) -> None:
    found = [path for path, _ in steps(place / "link")]
    b = place / "a" / "b"
    assert found == [Path("/"), place, place / "link", place / "a", b, b, b / "conf"]
    (place / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="Too many levels"):
        list(steps(place / "circle"))
    assert MOST_LINKS == 40


def _mode(name: str, mode: int, group: int = 0) -> Callable[[Path], object]:
    def change(place: Path) -> None:
        os.chown(place / name, 0, group)
        (place / name).chmod(mode)
    return change


def _owner(name: str) -> Callable[[Path], object]:
    return lambda place: os.lchown(place / name, OTHER, 0)


def _acl(place: Path) -> None:
    # acl(5) as the kernel keeps it: version, then tag, rights and id of each entry; user 65533 may write.
    entries = ((1, 6, -1), (2, 6, OTHER), (4, 4, -1), (16, 6, -1), (32, 4, -1))
    data = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + (name & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, rights, name in entries)
    try:
        os.setxattr(place / "a/b/conf", "system.posix_acl_access", data)
    except OSError:
        pytest.skip("this file system has no access control lists")


@pytest.mark.parametrize(("change", "said"), [
    (_mode("a/b/conf", 0o666), "everybody may write"), (_mode("a/b/conf", 0o660, GROUP), f"group with id {GROUP} may"),
    (_owner("a/b/conf"), f"belongs to the user with id {OTHER}"), (_owner("link"), "belongs to the user"),
    (_owner("a/b"), "belongs to the user"), (_owner("a"), "belongs to the user"),
    (_mode("a/b", 0o777), "everybody may write"), (_mode("a", 0o757), "everybody may write"),
    (_mode("a", 0o775, GROUP), f"group with id {GROUP} may"), (_acl, "an access control list lets others write")],
    ids=["all", "group", "owner", "owner-of-link", "owner-of-place", "owner-above", "place", "above", "group-above",
         "acl"])
def test_whoever_may_change_a_step_changes_the_file(place: Path, change: Callable[[Path], object], said: str) -> None:
    assert configfile.read(place / "link")[0]
    change(place)
    with pytest.raises(ConfigError, match=said) as error:
        configfile.read(place / "link")
    assert str(error.value).startswith(f'will not read "{place / "link"}": ')
    assert any(remedy in str(error.value) for remedy in ("chmod o-w", "chmod g-w", "let root own it", "setfacl -b"))


@pytest.mark.parametrize("change", [
    _mode("a/b/conf", 0o664), _mode("a/b", 0o775), _mode("a/b", 0o1777), _mode("a/b", 0o1775, GROUP),
    _mode("a/b/conf", 0o640, GROUP)], ids=["roots-group", "roots-group-above", "sticky", "sticky-group", "reading"])
def test_what_changes_nothing_for_others_is_read(place: Path, change: Callable[[Path], object]) -> None:
    change(place)
    assert configfile.read(place / "link")[0]
    assert who_could_replace(place / "none", {0}) == ""


def test_the_command_refuses_it(place: Path) -> None:
    (place / "a" / "b" / "conf").write_text(f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\nqueue-num 23\n")
    command = [sys.executable, "-m", "mxallowd", "--check", "-c", str(place / "link")]
    assert subprocess.run(command, timeout=20).returncode == 0
    _mode("a/b/conf", 0o664, GROUP)(place)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert f"the group with id {GROUP} may write" in done.stdout


# ---- what the daemon's user will not be able to read


@pytest.mark.parametrize(("change", "closed"), [
    (_mode("a", 0o750), "a"), (_mode("a/b/conf", 0o600), "a/b/conf"), (_mode("a/b/conf", 0o640, GROUP), "a/b/conf"),
    (_mode("a/b", 0o700), "a/b")], ids=["directory-above", "file", "group", "directory"])
def test_a_configuration_that_the_user_cannot_read_is_said(
        lab: Lab, place: Path, change: Callable[[Path], object], closed: str) -> None:
    """At the start, with the remedy, with -q as well, and by a link into the closed place."""
    (place / "a" / "b" / "conf").write_text(f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\nqueue-num 23\nquiet\n")
    change(place)
    with DaemonProcess(lab.gateway, ["-c", str(place / "link"), "-b", "--user", "nobody"]) as daemon:
        said = daemon.wait_for("unreadable ")
        assert said.startswith(f"unreadable path={place / closed} reason=")
        assert "SIGHUP will fail to read" in said
        assert f'chmod o+{"r" if closed.endswith("conf") else "x"} \\"{place / closed}\\"' in said
        assert len(daemon.messages()) == 1
        assert daemon.stop() == 0
        assert daemon.process.stderr
        assert str(place / closed) in daemon.process.stderr.read()


def test_a_program_that_the_user_cannot_read_is_said(lab: Lab, place: Path) -> None:
    """A clone below a directory of root's: it serves, says what will fail, and says when that happens."""
    shutil.copytree(ROOT / "mxallowd", place / "closed" / "mxallowd", ignore=shutil.ignore_patterns("*.c", "*.pyx"))
    (place / "closed").chmod(0o700)
    prefix = ["env", f"PYTHONPATH={place / 'closed'}", "sh", "-c", f'cd {place / "closed"} && exec "$0" "$@"']
    arguments = ["-q", "-c", "/dev/null", *SERVERS, "-n", "23", "--dns-server", "127.0.0.1", "--user", "nobody"]
    with DaemonProcess(lab.gateway, arguments, prefix=prefix) as daemon:
        said = daemon.wait_for("unreadable ")
        assert said.startswith(f"unreadable path={place / 'closed'} reason=")
        assert "a guard that ends cannot be started again; install mxallowd where that user can read it" in said
        time.sleep(1)
        pid = daemon.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            if b"mxallowd.watchdog.guard" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), 9)
        # The first line, that it is started again, is a warning; that this one cannot work is an error.
        said = daemon.wait_for("guard ", timeout=12)
        assert said == 'guard reason="it has ended, status 2, and never watched, and was started again"'
        assert daemon.stop() == 0
        assert not [line for line in daemon.messages() if line.startswith("defect")]
