"""Promise 9 of docs/reliability.md: SIGHUP by the hundred under load, and files that are half written or not ours."""
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from tests.daemon_process import DaemonProcess

OTHER_FAKE = "192.0.2.40"
WHOLE = (f"# a whole configuration\nfake-mailserver {FAKE4}\nfake-mailserver {OTHER_FAKE}\nreal-mailserver {REAL4}\n"
         "queue-num 23\nno-rdns-whitelist\n")
STORM_S = 5.0
CLIENT = SENDERS = [f"192.0.2.{number}" for number in range(101, 121)]


@pytest.fixture
def guarded(guarded: Lab) -> Lab:
    """With the address of another fake server."""
    guarded.gateway.add_address(f"{OTHER_FAKE}/24")
    return guarded


@contextmanager
def serving(lab: Lab, file: Path) -> Iterator[DaemonProcess]:
    """The daemon with this configuration."""
    with DaemonProcess(lab.gateway, ["-c", str(file)]) as process:
        process.wait_for("start ")
        yield process


@contextmanager
def storm(daemon: DaemonProcess, file: Path) -> Iterator[list[str]]:
    """SIGHUP without a pause, and the file written anew in pieces, cut anywhere, and broken."""
    ended = threading.Event()
    written: list[str] = []
    dice = random.Random(6)

    def write() -> None:
        while not ended.is_set():
            cut = dice.randrange(len(WHOLE))
            with file.open("w", encoding="ascii") as half:
                half.write(WHOLE[:cut])
                half.flush()
                daemon.send(signal.SIGHUP)
                time.sleep(0.02)
                half.write(dice.choice((WHOLE[cut:], "real-mailserver nonsense\n")))
            written.append("once")
            for _ in range(10):
                daemon.send(signal.SIGHUP)
            # At times it rests for so long that it is read.
            ended.wait(dice.choice((0.0, 0.0, 0.0, 0.0, 0.7)))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        ended.set()
        thread.join()


def test_9_a_storm_of_reloads_loses_no_verdict_and_no_entry(
        guarded: Lab, client: Host, tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    file.write_text(WHOLE, encoding="ascii")
    with serving(guarded, file) as daemon:
        with storm(daemon, file) as written:
            for sender in SENDERS:
                assert client.attempt(OTHER_FAKE, source=sender) is Attempt.REFUSED
            rounds, deadline = 0, time.monotonic() + STORM_S
            while time.monotonic() < deadline:
                rounds += 1
                for sender in SENDERS:
                    assert client.attempt(REAL4, source=sender, timeout=0.9) is Attempt.CONNECTED
                    assert client.attempt(FAKE4, source=sender, timeout=0.9) is Attempt.REFUSED
        assert len(written) > 10
        assert {line.split()[0] for line in daemon.messages()} >= {"reloaded", "reload-failed"}
        file.write_text(WHOLE, encoding="ascii")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded changed=nothing", timeout=3)
        # Never were there fewer servers than the whole file has.
        assert not [line for line in daemon.messages() if line.startswith("reloaded") and "nothing" not in line]
        counters = daemon.counters()
        assert counters["entries"] == len(SENDERS)
        assert counters["received"] == counters["verdict-accept"] == len(SENDERS) * (2 * rounds + 1)
        assert daemon.stop() == 0


def test_9_half_a_file_that_would_be_valid_is_not_read(guarded: Lab, client: Host, tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    file.write_text(WHOLE, encoding="ascii")
    with serving(guarded, file) as daemon, file.open("w", encoding="ascii") as half:
        # Valid, but with one server less.
        lines = WHOLE.splitlines(keepends=True)
        half.write("".join(line for line in lines if OTHER_FAKE not in line))
        for _ in range(5):
            half.flush()
            daemon.send(signal.SIGHUP)
            time.sleep(0.2)
            half.write("# more is to come\n")
        half.write(f"fake-mailserver {OTHER_FAKE}\n")
        half.close()
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded changed=nothing")
        assert sum(line.startswith("reloaded") for line in daemon.messages()) == 1
        assert client.attempt(OTHER_FAKE) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert daemon.stop() == 0


def test_9_reloads_without_a_pause_of_a_file_at_rest(guarded: Lab, client: Host, tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    file.write_text(WHOLE, encoding="ascii")
    os.utime(file, (1, 1))
    with serving(guarded, file) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            daemon.send(signal.SIGHUP)
            assert client.attempt(REAL4, timeout=0.9) is Attempt.CONNECTED
        daemon.wait_for("reloaded changed=nothing", times=10)
        assert sum(line.startswith("reloaded") for line in daemon.messages()) <= 60
        assert daemon.stop() == 0


def test_9_a_file_that_is_written_without_end_is_not_read(guarded: Lab, tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    file.write_text(WHOLE, encoding="ascii")
    with serving(guarded, file) as daemon:
        deadline = time.monotonic() + 15
        daemon.send(signal.SIGHUP)
        while not any(line.startswith("reload") for line in daemon.messages()):
            assert time.monotonic() < deadline
            with file.open("a", encoding="ascii") as more:
                more.write("# and more\n")
            time.sleep(0.05)
        assert daemon.messages()[-1] == f'reload-failed where={file} reason="it is still being written"'
        assert daemon.stop() == 0


def test_9_a_file_behind_links_is_read_again(guarded: Lab, tmp_path: Path) -> None:
    (tmp_path / "behind").mkdir()
    (tmp_path / "between").mkdir()
    (tmp_path / "front").mkdir()
    file = tmp_path / "behind" / "mx.conf"
    file.write_text(WHOLE, encoding="ascii")
    (tmp_path / "between" / "link").symlink_to("../behind/mx.conf")
    link = tmp_path / "front" / "mx.conf"
    link.symlink_to(tmp_path / "between" / "link")
    with serving(guarded, link) as daemon:
        # As editors do: another file in its place.
        new = file.with_suffix(".new")
        new.write_text(WHOLE + "whitelist-time 7\n", encoding="ascii")
        new.rename(file)
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded changed=whitelist-time")
        assert daemon.stop() == 0


def test_9_a_file_that_somebody_else_may_write_changes_nothing(guarded: Lab, client: Host, tmp_path: Path) -> None:
    file = tmp_path / "mx.conf"
    file.write_text(WHOLE, encoding="ascii")
    with serving(guarded, file) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        file.write_text(WHOLE.replace(FAKE4, "192.0.2.99"), encoding="ascii")
        file.chmod(0o666)
        daemon.send(signal.SIGHUP)
        assert "everybody may write " in daemon.wait_for("reload-failed ")
        file.chmod(0o644)
        os.chown(file, 65533, 65533)
        daemon.send(signal.SIGHUP)
        assert "belongs to the user with id 65533" in daemon.wait_for("reload-failed ", times=2)
        assert client.attempt(REAL4) is Attempt.CONNECTED
        os.chown(file, 0, 0)
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded changed=fake-mailserver")
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert daemon.stop() == 0
