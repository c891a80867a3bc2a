"""--control-change-group: who is in it may change the daemon; start, --check and reload say where it is not there."""
import grp
from dataclasses import replace
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Lab
from mxallowd import cli
from mxallowd.control import changers
from mxallowd.control.changers import Changers, group_id
from mxallowd.errors import StartError
from mxallowd.settings import Settings
from tests.control_client import ask
from tests.daemon_process import SERVERS, DaemonProcess, serving
from tests.recorder import Recorder
from tests.test_control_place import USER, asks, folder  # noqa: F401
from tests.test_settings import good

CHANGE, OTHER = 5005, 5006


def made(group: str | None) -> Settings:
    return replace(good("-f 192.0.2.10 -r 192.0.2.20 -n 23"), control_change_group=group)


def test_a_group_has_a_number_by_name_or_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    some = grp.getgrall()[0]
    assert group_id(some.gr_name) == some.gr_gid
    assert group_id("4711") == 4711
    assert group_id("no-such-group") is None
    # The C library cannot see a file that took the place of the one at the start; the broker can.
    monkeypatch.setattr(changers, "GROUPS", tmp_path / "group")
    assert group_id("new") is None
    (tmp_path / "group").write_text("a\nnew:x\nnew2:x:1:\nnew:x:77:jo,doe\nodd:x:-1:\n", encoding="ascii")
    assert [group_id(name) for name in ("new", "odd", "ne")] == [77, None, None]


def test_the_start_needs_it_and_a_reload_keeps_what_there_was() -> None:
    recorder = Recorder()
    with pytest.raises(StartError, match=r'^control-change-group: there is no group "nosuch"$'):
        Changers(recorder.log).open(made("nosuch"))
    group = Changers(recorder.log)
    group.open(made(None))
    assert group.group is None
    group.reload(made("7"))
    group.reload(made("nosuch"))
    assert [group.group, group.fault] == [7, 'control-change-group: there is no group "nosuch"']
    assert recorder.take() == [
        'list-failed where=settings reason="control-change-group: there is no group \\"nosuch\\""']
    group.reload(made("nosuch"))
    assert len(recorder.take()) == 1
    group.reload(made(None))
    assert [group.group, group.fault] == [None, ""]


def test_the_start_and_check_say_it_in_one_line(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-c", "/dev/null", *SERVERS, "-n", "23", "--control-change-group", "nosuch"]
    assert cli.main([*arguments, "--check"]) == 1
    assert 'settings: control-change-group: there is no group "nosuch"\n' in capsys.readouterr().out
    with DaemonProcess(lab.gateway, arguments) as daemon:
        assert daemon.process.wait(10) == 1
        assert daemon.process.stderr
        assert daemon.process.stderr.read() == 'mxallowd: control-change-group: there is no group "nosuch"\n'


def test_members_change_it_from_inside_the_socket_s_group(lab: Lab, folder: Path) -> None:  # noqa: F811
    path = folder / "run" / "control.sock"
    with serving(lab, "--user", str(USER), "--control", str(path), "--control-change-group", str(CHANGE)) as daemon:
        assert asks(path, 5000, 5000, f"{CHANGE},{USER}") == "200 200"
        assert asks(path, 5000, CHANGE, str(USER)) == "200 200"
        assert asks(path, 5000, 5000, f"{OTHER},{USER}") == "200 403"
        # The socket's own group is what lets anybody connect.
        assert asks(path, 5000, CHANGE) == "closed"
        path.chmod(0o666)
        assert asks(path, 5000, CHANGE) == "200 200"
        assert asks(path, 5000, 5000) == "403 403"
        daemon.wait_for("log-level user=5000 set=info")


def test_a_reload_takes_another_group(lab: Lab, folder: Path) -> None:  # noqa: F811
    path, file = folder / "control.sock", folder / "mxallowd.conf"
    base = f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\nqueue-num 23\nno-rdns-whitelist\n"
    file.write_text(f"{base}control-change-group {CHANGE}\n", encoding="ascii")
    with DaemonProcess(lab.gateway, ["-c", str(file), "--user", str(USER), "--control", str(path)]) as daemon:
        daemon.wait_for("start ")
        assert asks(path, 5000, CHANGE, str(USER)) == "200 200"
        known = grp.getgrall()[-1]
        for text, number in ((str(OTHER), OTHER), (known.gr_name, known.gr_gid)):
            file.write_text(f"{base}control-change-group {text}\n", encoding="ascii")
            status, answer = ask(path, "POST", "/v1/reload")
            assert (status, answer["changed"], answer["failed"]) == (200, ["control-change-group"], [])
            assert asks(path, 5000, CHANGE, str(USER)) == "200 403"
            assert asks(path, 5000, number, str(USER)) == "200 200"
        file.write_text(f"{base}control-change-group nosuch\n", encoding="ascii")
        status, answer = ask(path, "POST", "/v1/reload")
        assert (status, answer["failed"]) == (200, ['control-change-group: there is no group "nosuch"'])
        daemon.wait_for("list-failed where=settings ")
        assert asks(path, 5000, known.gr_gid, str(USER)) == "200 200"
        file.write_text(base, encoding="ascii")
        assert ask(path, "POST", "/v1/reload")[0] == 200
        assert asks(path, 5000, known.gr_gid, str(USER)) == "200 403"
