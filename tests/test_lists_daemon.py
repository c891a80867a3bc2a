"""Lists in the running daemon: verdicts, lines, SIGHUP, and a sandbox that reads the files again."""
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.ctl.__main__ import main
from mxallowd.ctl.doctor import told
from tests.control_client import ask
from tests.daemon_process import DaemonProcess, serving
from tests.test_list_files import old

BANK, SPAMMER, STRANGER = "192.0.2.101", "192.0.2.102", "192.0.2.103"
CLIENT = [BANK, SPAMMER, STRANGER]


@pytest.fixture
def lists(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    allow, deny = tmp_path / "allow.list", tmp_path / "deny.list"
    allow.write_text(f"{BANK} # the bank\n", encoding="utf-8")
    deny.write_text(f"{SPAMMER}/32\n", encoding="utf-8")
    yield old(allow), old(deny)


def arguments(lists: tuple[Path, Path], *more: str) -> list[str]:
    allow, deny = lists
    return ["--allow", str(allow), "--deny", str(deny), "--state-dir", str(allow.parent),
            "--control", str(allow.parent / "control.sock"), *more]


def test_lists_decide(
    guarded: Lab, client: Host, lists: tuple[Path, Path], capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(guarded, *arguments(lists)) as daemon:
        assert client.attempt(REAL4, source=BANK) is Attempt.CONNECTED
        assert client.attempt(FAKE4, source=SPAMMER) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SPAMMER) is Attempt.DROPPED
        assert client.attempt(REAL4, source=STRANGER) is Attempt.DROPPED
        daemon.wait_for(rf"allowed \[{BANK}\] real={REAL4} times=1 by=\S+:\d")
        daemon.wait_for(rf"denied \[{SPAMMER}\] server={FAKE4} times=1")
        daemon.wait_for(rf"refused \[{STRANGER}\] ")
        counters = daemon.counters()
        assert (counters["real-allowed"], counters["fake-denied"], counters["entries"]) == (1, 1, 0)
        assert counters["real-denied"] >= 1
        assert counters["blocked"] == counters["real-denied"] + counters["real-refused"] == counters["verdict-drop"]
        # Against each other after SIGHUP, and one that is broken keeps what it had.
        allow, deny = lists
        allow.write_text(f"{STRANGER}\n", encoding="utf-8")
        deny.write_text("nonsense\n", encoding="utf-8")
        old(allow)
        old(deny)
        fault = f'{deny}:1: "nonsense" is neither a network nor an address'
        control, one = allow.parent / "control.sock", {"networks": 1, "before": 1}
        assert ask(control, "POST", "/v1/reload") == (200, {
            "changed": [], "restart_needed": [], "warnings": [], "failed": [fault], "lists": [
                {"list": "allow", "source": str(allow), **one, "changed": True, "fault": None},
                {"list": "deny", "source": str(deny), **one, "changed": False, "fault": fault}]})
        assert main(["--socket", str(control), "reload"]) == 1
        said = capsys.readouterr()
        assert said.out == (f"allow {allow}: 1 networks, unchanged\n"
                            f"deny {deny}: not read, the 1 networks from before hold\n")
        assert said.err == f"mxallowctl: {fault}\n"
        daemon.wait_for(rf'list-failed where={deny}:1 reason="\\"nonsense\\" is neither')
        status = ask(control, "GET", "/v1/status")[1]
        assert status["lists"] == {"allow": 1, "deny": 1, "direct": 0, "direct_not_led": 0, "faults": [fault]} == ask(
            control, "GET", "/v1/doctor")[1]["lists"]
        assert (status["reload"]["ok"], status["reload"]["reason"]) == (False, fault)
        status, ready = ask(control, "GET", "/readyz")
        assert (status, ready["status"], len(ready["warnings"])) == (200, "ready", 1)
        assert str(deny) not in ready["warnings"][0]
        assert [finding.what for finding in told.lists(ask(control, "GET", "/v1/doctor")[1])] == [fault]
        assert client.attempt(REAL4, source=STRANGER) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=BANK) is Attempt.DROPPED
        assert client.attempt(REAL4, source=SPAMMER) is Attempt.DROPPED
        assert daemon.stop() == 0


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of root that everybody may read: no mode is what forbids anything."""
    with TemporaryDirectory(prefix="mx", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_files_that_are_new_replaced_or_linked(guarded: Lab, client: Host, place: Path) -> None:
    """In the sandbox, as a user without rights: what the configuration names by now is read, and own.list is kept."""
    for name, text in (("bank", BANK), ("spammer", SPAMMER), ("stranger", STRANGER)):
        (place / f"{name}.list").write_text(f"{text}\n", encoding="ascii")
        old(place / f"{name}.list")
    link, state = place / "link.list", place / "state"
    link.symlink_to(place / "bank.list")
    config = place / "mxallowd.conf"

    def configured(text: str) -> None:
        config.write_text(text, encoding="ascii")
        old(config)

    configured(f"allow {link}\n")
    words = ["-c", str(config), "-f", FAKE4, "-r", REAL4, "-n", "23", "-b", "--user", "nobody", "--state-dir",
             str(state)]
    with DaemonProcess(guarded.gateway, words) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(REAL4, source=BANK) is Attempt.CONNECTED
        # The link leads elsewhere, and two files are new; of them one cannot be read by this user.
        (place / "link.new").symlink_to(place / "spammer.list")
        (place / "link.new").rename(link)
        (place / "closed.list").write_text(f"{BANK}\n", encoding="ascii")
        old(place / "closed.list").chmod(0o600)
        configured(f"allow {link}\nallow {place / 'closed.list'}\ndeny {place / 'stranger.list'}\n")
        status, answer = ask(daemon.control, "POST", "/v1/reload")
        assert (status, answer["restart_needed"]) == (200, ["allow"])
        assert [(Path(one["source"]).name, one["networks"], one["before"]) for one in answer["lists"]] == [
            ("link.list", 1, 1), ("closed.list", 0, None), ("stranger.list", 1, None)]
        daemon.wait_for(f"list-failed where={place / 'closed.list'} reason=.cannot be read: Permission denied")
        assert client.attempt(REAL4, source=SPAMMER) is Attempt.CONNECTED
        assert client.attempt(FAKE4, source=STRANGER) is Attempt.REFUSED
        assert client.attempt(REAL4, source=STRANGER) is Attempt.DROPPED
        assert daemon.counters()["fake-denied"] == 1
        # A new file takes its place, by rename.
        (place / "new.list").write_text("2001:db8::/32\n", encoding="ascii")
        old(place / "new.list").rename(place / "stranger.list")
        for method, verdict, network in (
                ("POST", "allow", f"{BANK}/32"), ("POST", "deny", f"{SPAMMER}/32"), ("POST", "deny", "192.0.2.9/32"),
                ("DELETE", "deny", "192.0.2.9/32")):
            status, answer = ask(daemon.control, method, f"/v1/lists/{verdict}", {"network": network})
            assert (status, answer.get("kept", True)) == (200, True), answer
        daemon.send(signal.SIGHUP)
        daemon.wait_for("lists allowed=2 denied=2")
        assert client.attempt(REAL4, source=BANK) is Attempt.CONNECTED
        assert daemon.stop() == 0
    with DaemonProcess(guarded.gateway, words) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(REAL4, source=BANK) is Attempt.CONNECTED
        assert client.attempt(FAKE4, source=SPAMMER) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SPAMMER) is Attempt.DROPPED
        assert [match["network"] for match in ask(daemon.control, "GET", "/v1/lists")[1]["by_hand"]] == [
            f"{BANK}/32", f"{SPAMMER}/32"]
        assert daemon.stop() == 0


def test_a_user_that_cannot_read_a_list_keeps_it(guarded: Lab, client: Host, lists: tuple[Path, Path]) -> None:
    """Root reads it at the start, nobody cannot at SIGHUP: said at both, and what was read holds."""
    _, deny = lists
    deny.chmod(0o600)
    with DaemonProcess(guarded.gateway, ["-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", "23", "-b",
                                         *arguments(lists, "--user", "nobody")]) as daemon:
        daemon.wait_for("start ")
        daemon.wait_for("unreadable path=.*SIGHUP will fail to read")
        daemon.send(signal.SIGHUP)
        daemon.wait_for(f"list-failed where={deny} reason=.cannot be read: Permission denied")
        assert client.attempt(REAL4, source=SPAMMER) is Attempt.DROPPED
        assert daemon.counters()["real-denied"] >= 1
        assert daemon.stop() == 0


def test_a_file_that_is_broken_forbids_a_start(guarded: Lab, lists: tuple[Path, Path]) -> None:
    lists[0].write_text("192.0.2.1/24\n", encoding="utf-8")
    old(lists[0])
    with DaemonProcess(guarded.gateway, ["-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", "23", "-b",
                                         *arguments(lists)]) as daemon:
        assert daemon.process.wait(10) == 1
        assert daemon.process.stderr
        assert f'{lists[0]}:1: "192.0.2.1/24" has bits behind its prefix' in daemon.process.stderr.read()


def test_what_others_could_have_written_by_hand_is_not_believed(lab: Lab, tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    added = {"network": "198.51.100.0/24"}
    for mode, count, kept in ((0o755, 0, True), (0o755, 1, True), (0o777, 0, False), (0o755, 1, True)):
        above.chmod(mode)
        with serving(lab, "--state-dir", str(above / "state")) as daemon:
            assert len(ask(daemon.control, "GET", "/v1/lists")[1]["by_hand"]) == count, oct(mode)
            assert ask(daemon.control, "POST", "/v1/lists/allow", added)[1]["kept"] is kept
            if not kept:
                daemon.wait_for("state-off ")
