"""resolv.conf: what is read of it, wherever links lead, and what is said where it cannot be read."""
import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, Host, Lab
from mxallowd.dns.resolvconf import LOCAL, ResolvConf, parse
from mxallowd.dns.resolver import Resolver
from tests.daemon_process import SENDER4, SERVERS, DaemonProcess
from tests.name_server_process import NameServerProcess
from tests.recorder import Recorder

NAME = "mail.example.org"


@pytest.mark.parametrize(("text", "servers"), [
    ("nameserver 192.0.2.1\nnameserver 2001:db8::1\n", ["192.0.2.1", "2001:db8::1"]),
    ("# c\n; d\nsearch a b\nnameserver\t192.0.2.1  # mine\noptions rotate", ["192.0.2.1"]),
    ("nameserver fe80::53%eth0\n", ["fe80::53%eth0"]),
    ("nameserver\nnameserver nonsense\nnameservers 192.0.2.1\n nameserver 192.0.2.1\n", list(LOCAL)),
    ("", list(LOCAL)), ("nameserver 192.0.2.1\r\n", ["192.0.2.1"])],
    ids=["two", "comments", "zone", "nothing", "empty", "carriage-return"])
def test_the_servers_of_a_text(text: str, servers: list[str]) -> None:
    assert parse(text) == servers


def test_the_old_servers_go_on_and_it_is_said_once(tmp_path: Path) -> None:
    recorder = Recorder()
    file = tmp_path / "resolv.conf"
    # That there is none is what the C library takes for this host: nothing to be said.
    assert ResolvConf(file, recorder.log).servers == LOCAL
    file.write_text("nameserver 192.0.2.1\n")
    conf = ResolvConf(file, recorder.log)
    assert conf.servers == ["192.0.2.1"]
    assert recorder.lines == []
    file.rename(tmp_path / "away")
    for _ in range(3):
        if conf.changed():
            conf.read()
    conf.read()
    assert conf.servers == ["192.0.2.1"]
    assert recorder.lines == [f'resolv-conf path={file} reason="No such file or directory"']
    file.write_text("nameserver 192.0.2.2\n")
    assert conf.changed()
    conf.read()
    assert conf.servers == ["192.0.2.2"]
    file.unlink()
    assert conf.changed()
    conf.read()
    assert len(recorder.lines) == 2


def test_a_link_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    recorder = Recorder()
    (tmp_path / "resolv.conf").symlink_to("none")
    assert ResolvConf(tmp_path / "resolv.conf", recorder.log).servers == LOCAL
    assert len(recorder.lines) == 1


def test_every_change_behind_links_is_seen(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "conf").write_text(f"nameserver 192.0.2.{ord(name)}\n")
    (tmp_path / "mnt").symlink_to("a")
    (tmp_path / "resolv.conf").symlink_to("mnt/conf")
    conf = ResolvConf(tmp_path / "resolv.conf")
    assert (conf.changed(), conf.servers) == (False, ["192.0.2.97"])
    (tmp_path / "mnt").unlink()
    (tmp_path / "mnt").symlink_to("b")
    assert conf.changed()
    conf.read()
    assert (conf.changed(), conf.servers) == (False, ["192.0.2.98"])


def test_a_reload_reads_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SIGHUP does, whether or not it seems to have changed."""
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.1\n")
    os.utime(file, (1, 1))
    monkeypatch.setattr("mxallowd.dns.resolver.RESOLV_CONF", file)

    async def whole() -> None:
        resolver = Resolver(asyncio.get_running_loop(), [])
        assert list(resolver._channel.servers) == ["192.0.2.1:53"]
        file.write_text("nameserver 192.0.2.2\n")
        os.utime(file, (1, 1))
        resolver.reload([])
        assert list(resolver._channel.servers) == ["192.0.2.2:53"]
        resolver.close()

    asyncio.run(whole())


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A place that no rule of the sandbox has, and that the daemon's user can read."""
    made = Path("/mnt") / f"mxallowd-{os.getpid()}"
    made.mkdir()
    yield made
    subprocess.run(["rm", "-rf", str(made)], check=True)


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_a_link_to_outside_the_sandbox_is_followed(lab: Lab, client: Host, elsewhere: Path, user: str) -> None:
    """As WSL has it, /mnt/wsl/resolv.conf: after SIGHUP, after another file, and after another link."""
    lab.queue_rule("23", bypass=True)
    (elsewhere / "one").write_text("nameserver 127.0.0.1\n", encoding="ascii")
    (elsewhere / "link").symlink_to("one")
    prefix = ["unshare", "--mount", "sh", "-c",
              'mount -t tmpfs -o mode=755 none /etc/ssl '
              '&& cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache /etc/ssl '
              f'&& mount --bind /etc/ssl /etc && ln -s {elsewhere}/link /etc/resolv.conf && exec "$0" "$@"']
    with NameServerProcess(lab.gateway, [], port=53) as names, DaemonProcess(
            lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "--user", user], prefix=prefix) as daemon:
        daemon.wait_for("start ")

        def asked_after(before: int) -> None:
            client.attempt(FAKE4, source=SENDER4)
            daemon.send(signal.SIGHUP)
            deadline = time.monotonic() + 5
            while len(names.questions) <= before:
                assert time.monotonic() < deadline, daemon.messages()
                time.sleep(0.05)

        asked_after(0)
        # Two signals at once are one reload.
        daemon.wait_for("reloaded ")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded ", times=2)
        (elsewhere / "two").write_text("nameserver nothing\nnameserver 127.0.0.1\n", encoding="ascii")
        (elsewhere / "link").unlink()
        assert str(elsewhere) not in " ".join(daemon.messages())
        assert "No such file" in daemon.wait_for("resolv-conf ", timeout=3)
        (elsewhere / "link").symlink_to("two")
        time.sleep(1.5)
        assert len([line for line in daemon.messages() if line.startswith("resolv-conf ")]) == 1
        assert daemon.stop() == 0
