"""The command mxallowd-console: what it says of bad input, passwd, and a real process from start to end."""
import getpass
import os
import pty
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from mxallowd.console import passwd
from mxallowd.console.settings import Changing, Serving, read
from mxallowd.console.users import matches, parsed
from mxallowd.console.visit import Role
from mxallowd.errors import ConfigError
from tests.console_process import COMMAND, PASSWORD, ConsoleProcess


def run(*words: str, text: str = "") -> tuple[int, str, str]:
    """Status, standard output and error."""
    done = subprocess.run([*COMMAND, *words], input=text, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


def test_what_is_only_printed() -> None:
    status, out, err = run("--help")
    assert (status, err) == (0, "") and out.startswith("usage: mxallowd-console [serve]")
    status, out, err = run("serve", "--version")
    assert (status, err) == (0, "") and out.startswith("mxallowd-console ")


@pytest.mark.parametrize(("words", "said"), [
    (["--listen", "8025"], '"8025" is neither ADDRESS:PORT nor [ADDRESS]:PORT'),
    (["--listen", "127.0.0.1:0"], '"127.0.0.1:0" is out of range: 1 to 65535'),
    (["--bogus"], '"--bogus" is no option or command'),
    (["stray\x1b[2J"], '"stray\\x1b[2J" is no option or command'),
    (["--proxy", "192.0.2.1/24"], '"192.0.2.1/24" is neither an address nor a network'),
    (["--cert", "/cert"], "--cert without --key: TLS takes both"),
    (["--key", "/key"], "--key without --cert: TLS takes both"),
    (["passwd"], "NAME"),
    (["passwd", "an na"], '"an na" is no name of a user'),
    (["passwd", "anna", "--role", "admin"], "admin"),
    (["passwd", "anna", "--role", "look", "--remove"], "--remove takes anna out: leave --role away"),
])
def test_a_mistake_is_one_line_that_quotes_it(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(words)
    assert said in str(error.value) and str(error.value).isprintable()


def test_the_command_says_it_in_one_line() -> None:
    status, out, err = run("--listen", "8025")
    assert (status, out) == (1, "") and err.count("\n") == 1 and err.startswith("mxallowd-console: ")


def test_where_passwords_cross_a_network() -> None:
    exposed = []
    for words in (["--listen", "127.0.0.1:1"], ["--listen", "[::1]:1"], ["--listen", "0.0.0.0:1", "--listen", "[::]:2"],
                  ["--listen", "0.0.0.0:1", "--cert", "/c", "--key", "/k"]):
        wanted = read(words)
        assert isinstance(wanted, Serving)
        exposed.append(wanted.exposed)
    assert exposed == [(), (), ("0.0.0.0:1", "[::]:2"), ()]


def test_until_there_is_a_password_it_is_off(tmp_path: Path) -> None:
    file = tmp_path / "users"
    for text in (None, "# nobody\n"):
        if text is not None:
            file.write_text(text, encoding="ascii")
        for check in ([], ["--check"]):
            status, out, err = run("--users", str(file), "--user", "nobody", *check)
            assert status == 78 and (check or not out)
            assert err == ("mxallowd-console: nobody can log in yet; set a password: mxallowd-console passwd NAME "
                           f"--role change --users {file}\n")


@pytest.mark.parametrize(("text", "said"), [
    ("", "no password came on standard input"), ("short\n", "this one has 5"), ("x" * 1025 + "\n", "this one has more"),
    ("x" * 9000, "this one has more"), ("0123456789\x1b\n", "characters alone that can be seen"), ("\n", "has 0")])
def test_a_password_that_will_not_do_changes_nothing(tmp_path: Path, text: str, said: str) -> None:
    status, out, err = run("passwd", "anna", "--users", str(tmp_path / "users"), "--user", "nobody", text=text)
    assert (status, out) == (1, "") and said in err and err.count("\n") == 1
    assert not (tmp_path / "users").exists()


def test_passwd_keeps_what_else_stands_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "users"
    common = ["--users", str(file), "--user", "nobody"]
    status, out, err = run("passwd", "anna", *common, text="first password\r\n")
    assert (status, err) == (0, "") and "anna may look, and change nothing" in out and "--role change" in out
    file.write_text("# mine\nbroken\n" + file.read_text(encoding="ascii").rstrip("\n"), encoding="ascii")
    assert run("passwd", "bert", "--role", "change", *common, text="another password")[0] == 0
    before = file.read_text(encoding="ascii").splitlines()
    assert run("passwd", "anna", *common, text="second password\n")[0] == 0
    after = file.read_text(encoding="ascii").splitlines()
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [
        line for line in after if line.startswith("anna:look:")]
    anna = parsed("\n".join(after))[0]["anna"]
    assert matches(anna, "second password") and not matches(anna, "first password")
    assert run("passwd", "anna", "--remove", *common)[1].startswith("anna is no user any more.")
    assert file.read_text(encoding="ascii").splitlines() == [line for line in after if not line.startswith("anna:")]
    status, _, err = run("passwd", "anna", "--remove", *common)
    assert status == 1 and 'there is no user "anna"' in err
    assert sorted(one.name for one in file.parent.iterdir()) == [".users.lock", "users"]
    if os.geteuid() == 0:
        found = [one.stat() for one in (file.parent, file)]
        modes = [(stat.S_IMODE(one.st_mode), one.st_uid, one.st_gid) for one in found]
        assert modes == [(0o750, 0, 65534), (0o640, 0, 65534)]


@pytest.mark.parametrize(("line", "role", "said"), [
    ("anna:change:scrypt$broken", "change", ""), ("anna:change", "change", ""), ("anna: change :x", "change", ""),
    ("anna:admin:x", "look", "told no role that could be read"), ("anna", "look", "--role change")])
def test_a_new_password_for_a_broken_line_keeps_its_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, role: str, said: str,
) -> None:
    file = tmp_path / "users"
    file.write_text(f"{line}\n", encoding="ascii")
    monkeypatch.setattr(passwd, "_password", lambda _: PASSWORD)
    told = passwd.change(Changing("anna", None, remove=False, users=file, user="nobody"))
    assert file.read_text(encoding="ascii").startswith(f"anna:{role}:scrypt$")
    assert said in told and ("could be read" in told) == (role == "look")


def test_a_line_for_a_name_takes_the_place_of_all_of_them() -> None:
    text = "a:1\nb:2\na:3\n"
    assert passwd.edited(text, "a", "a:new") == ("a:new\nb:2\n", True)
    assert passwd.edited(text, "a", "") == ("b:2\n", True)
    assert passwd.edited("b:2", "a", "a:new") == ("b:2\na:new\n", False)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users"
    file.write_text("# old\n", encoding="ascii")
    monkeypatch.setattr(passwd, "_password", lambda _: PASSWORD)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(passwd.Failed, match="No space left on device"):
        passwd.change(Changing("anna", Role.LOOK, remove=False, users=file, user="nobody"))
    assert file.read_text(encoding="ascii") == "# old\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == [".users.lock", "users"]


@pytest.mark.parametrize(("typed", "status", "said"), [
    ([PASSWORD, PASSWORD], 0, "anna may look"), ([PASSWORD, "something else"], 1, "the two are not the same"),
    (["short"], 1, "this one has 5")])
def test_on_a_terminal_it_asks_twice_and_shows_nothing(
    tmp_path: Path, typed: list[str], status: int, said: str,
) -> None:
    terminal, other = pty.openpty()
    asking = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *COMMAND, "passwd", "anna", "--users", str(tmp_path / "users"), "--user",
         "nobody"], stdin=other, stdout=other, stderr=other)
    os.close(other)
    seen = b""
    try:
        for line in typed:
            while not seen.endswith((b"anna: ", b"once more: ")):
                seen += os.read(terminal, 1024)
            # The terminal's echo is off by the time that it asks.
            os.write(terminal, f"{line}\n".encode())
            seen += b"\n"
        while more := _more(terminal):
            seen += more
    finally:
        os.close(terminal)
        ended = asking.wait(10)
    assert ended == status and said in seen.decode() and PASSWORD not in seen.decode()


def _more(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1024)
    except OSError:
        # Its other end is closed.
        return b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_and_a_clean_end(tmp_path: Path, number: signal.Signals) -> None:
    with ConsoleProcess(tmp_path / "none") as console:
        # Its name, which the sandbox hides: it is looked up before.
        assert console.wait_for("start ").endswith(f"user={getpass.getuser() if os.geteuid() else 'nobody'} users=1")
        assert console.wait_for("listening ") == f"listening address={console.address} tls=no"
        cookie = console.log_in()
        assert "daemon cannot be reached" in console.ask("/", cookie)[1]
        console.wait_for(r"logged-in client=127.0.0.1 user=anna role=change")
        began = time.monotonic()
        console.process.send_signal(number)
        assert console.process.wait(5) == 0
        assert time.monotonic() - began < 2.5
        assert console.wait_for("stop ") == f"stop signal={number.name}"


def test_a_changed_file_counts_without_a_restart(tmp_path: Path) -> None:
    with ConsoleProcess(tmp_path / "none") as console:
        common = ["--users", str(console.users), "--user", "nobody"]
        cookie = console.log_in()
        assert run("passwd", "bert", *common, text="another password\n")[0] == 0
        console.log_in("bert", "another password")
        assert run("passwd", "anna", "--remove", *common)[0] == 0
        assert console.ask("/", cookie)[0] == 303
        assert console.ask("/login", form={"name": "anna", "password": PASSWORD})[0] == 403
        console.wait_for("log-in-failed client=127.0.0.1 user=anna")


def test_what_is_taken_ends_the_start_with_one_line(tmp_path: Path) -> None:
    with ConsoleProcess(tmp_path / "none") as console:
        common = ["--users", str(console.users), "--user", "nobody", "--state-dir", str(console.state)]
        status, _, err = run(*common, "--listen", console.address)
        assert (status, err) == (1, f"mxallowd-console: cannot listen at {console.address}: Address already in use\n")
        status, _, err = run(*common, "--listen", "127.0.0.2:18025")
        assert status == 1 and err == (
            f'mxallowd-console: another mxallowd-console uses the state directory "{console.state}"\n')


def test_the_pages_have_each_option() -> None:
    options = set(re.findall(r"--[a-z][a-z-]*", "".join(run(*words, "--help")[1] for words in ([], ["passwd"]))))
    assert "--listen" in options and "--remove" in options
    root = Path(__file__).parent.parent
    for file in (root / "docs" / "console.md", root / "documents" / "prose" / "manual" / "mxallowd-console.8.md"):
        text = file.read_text(encoding="utf-8")
        assert {option for option in options if not re.search(rf"`?{option}\b", text)} == set(), file
