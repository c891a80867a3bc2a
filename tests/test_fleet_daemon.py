"""The daemon in its fleet, in its sandbox: names, sockets and files that it reaches there, and where there is none."""
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.engine import Engine, Setup
from lab.gateways import Place
from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.fleet.keys import new_key
from tests.control_client import ask
from tests.daemon_process import QUEUE, SERVERS, DaemonProcess
from tests.links import LINKS, pcap
from tests.name_server_process import NameServerProcess
from tests.test_rehearsal import TALK, rehearse
from tests.until import until

STREAM = "mxallowd:example:log"
# Nobody waits for an engine that is not there.
HURRIED = """
import sys
from mxallowd.fleet import member
member.LOADING_S = 0.2
from mxallowd import cli
sys.exit(cli.main(sys.argv[1:]))
"""
WITHOUT_CLIENT = "import sys; sys.modules['redis'] = None; from mxallowd import cli; sys.exit(cli.main(sys.argv[1:]))"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter."""
    with TemporaryDirectory(prefix="mxfleet-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def fleet(place: Path, url: str) -> list[str]:
    """The options, and a key."""
    key = place / "key"
    key.write_text(f"{new_key()}\n", encoding="ascii")
    key.chmod(0o600)
    return ["--fleet", url, "--fleet-site", "example", "--fleet-key-file", str(key), "--fleet-origin", "mx1"]


def test_an_engine_that_comes_later_under_a_name(served: Lab, place: Path) -> None:
    """The start does not wait for it, and it is found once the name server knows it; the log has two lines of that."""
    options = fleet(place, "redis://engine.example:6379")
    with DaemonProcess(served.gateway, ["-c", "/dev/null", *SERVERS, "-n", QUEUE, "-b", *options, "--dns-server",
                                        "127.0.0.1:5353"], script=HURRIED) as daemon:
        daemon.wait_for("start ")
        assert daemon.wait_for("fleet-broken ").startswith(
            'fleet-broken reason="the name engine.example cannot be looked up: ')
        status, found = ask(daemon.control, "GET", "/v1/fleet")
        assert (status, found["connected"], found["peers"]) == (200, False, [])
        with Engine(Place(served.gateway, "127.0.0.1")), NameServerProcess(
                served.gateway, ["engine.example A 127.0.0.1"]):
            daemon.wait_for("fleet-mended ", timeout=10)
            daemon.wait_for("fleet-joined ")
        assert daemon.stop() == 0
        assert sum(line.startswith("fleet-broken") for line in daemon.messages()) <= 2


def test_another_user_and_a_unix_socket(served: Lab, place: Path) -> None:
    """The broker connects, and reads the key again as that user may: a key of root alone stays as it was."""
    setup = Setup(lines=("unixsocketperm 777",))
    with Engine(Place(served.gateway, "127.0.0.1"), setup) as engine:
        engine.directory.chmod(0o755)
        options = fleet(place, f"unix://{engine.directory}/engine.sock")
        key = place / "key"
        arguments = ["-c", "/dev/null", *SERVERS, "-n", QUEUE, "-b", *options, "--user", "nobody"]
        with DaemonProcess(served.gateway, arguments) as daemon:
            daemon.wait_for("start ")
            daemon.wait_for("fleet-joined site=example origin=mx1 ")
            said = daemon.wait_for("unreadable ")
            assert str(key) in said
            assert "chgrp 65534" in said
            status, found = ask(daemon.control, "POST", "/v1/reload", {})
            assert status == 200
            assert found["failed"] == [f"{key}: cannot be read: Permission denied"]
            daemon.wait_for("list-failed ")
            assert ask(daemon.control, "GET", "/v1/fleet")[1]["connected"]
            second = new_key()
            key.write_text(f"{second}\n{key.read_text(encoding='ascii')}", encoding="ascii")
            subprocess.run(["chgrp", "65534", str(key)], check=True)
            key.chmod(0o640)
            assert ask(daemon.control, "POST", "/v1/reload", {})[1]["failed"] == []
            daemon.wait_for("fleet-keys numbers=")
            assert len(ask(daemon.control, "GET", "/v1/fleet")[1]["keys"]) == 2
            assert daemon.stop() == 0
            assert second not in str(daemon.lines)


def test_a_dry_run_shares_and_refuses_nobody(guarded: Lab, client: Host, place: Path) -> None:
    with Engine(Place(guarded.gateway, "127.0.0.1")) as engine, DaemonProcess(
            guarded.gateway, ["-c", "/dev/null", *SERVERS, "-n", QUEUE, "-b", "--dry-run",
                             *fleet(place, "redis://127.0.0.1")]) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(REAL4) is Attempt.CONNECTED
        before = engine.do("XLEN", STREAM)
        client.attempt(FAKE4)
        assert until(lambda: engine.do("XLEN", STREAM) > before)
        assert daemon.stop() == 0


def test_a_rehearsal_joins_no_fleet(place: Path) -> None:
    link_type, wrap = next(iter(LINKS.values()))
    capture = pcap(place / "a.pcap", link_type, [wrap(packet) for packet in TALK])
    status, lines, counters, _ = rehearse(str(capture), *fleet(place, "redis://127.0.0.1:1"))
    assert status == 0
    assert counters["received"] == len(TALK)
    assert not [line for line in lines if line.startswith("fleet")]
    assert "fleet-said" not in counters


def test_starts_that_cannot_succeed(place: Path) -> None:
    """One line that says why, without the key."""
    options = fleet(place, "redis://127.0.0.1:1")
    key = place / "key"

    def start(*program: str) -> str:
        done = subprocess.run(
            [sys.executable, *program, "-F", "-s", "--user", "root", "-c", "/dev/null", *SERVERS, "-n", QUEUE, "-b",
             "--control", str(place / "socket"), "--state-dir", str(place / "state"), *options],
            capture_output=True, text=True, timeout=30)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "fleet needs the Python package redis" in start("-c", WITHOUT_CLIENT)
    key.write_text(f"{new_key()[:-1]}\n", encoding="ascii")
    assert f"{key}:1: is no key" in start("-m", "mxallowd")
