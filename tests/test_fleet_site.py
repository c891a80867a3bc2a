"""make-site and the files of mxallowd/data/fleet: a real engine takes them, and a gateway may do its work alone."""
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lab.engine import programs
from lab.hosts import Host, Lab
from lab.namespaces import visit
from mxallowd.fleet import keys
from tests.control_client import ask
from tests.daemon_process import QUEUE, SERVERS, DaemonProcess

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "mxallowd" / "data" / "fleet" / "make-site"
ENGINES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
KEY = "mxallowd:example:log"


def make(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run it with an mxallowctl of this checkout."""
    command = place / "bin" / "mxallowctl"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mxallowd.ctl "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    path = f"{command.parent}:{os.environ['PATH']}"
    return subprocess.run(["sh", str(SCRIPT), *words], cwd=place, capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)})


@contextmanager
def started(host: Host, files: Path, configuration: str, *words: str) -> Iterator[None]:
    """The engine with a file of make-site, whose paths are those of a host of its own."""
    with tempfile.TemporaryDirectory(prefix="mxsite-") as directory:
        place = Path(directory)
        shutil.copytree(files, place / "etc/redis")
        file = place / "etc/redis" / configuration
        text = file.read_text(encoding="utf-8")
        for path in ("/etc/redis", "/var/lib/redis", "/var/log/redis", "/run/redis", "/run/sentinel"):
            (place / path[1:]).mkdir(parents=True, exist_ok=True)
            text = text.replace(path, str(place / path[1:]))
        file.write_text(text, encoding="utf-8")
        program = next(iter(programs().values()))
        # It may be one that is unpacked.
        libraries = ":".join(map(str, (Path(program).parents[1] / "lib").glob("*-linux-*")))
        process = host.popen([program, str(file), *words], stdout=subprocess.DEVNULL,
                             env={**os.environ, "LD_LIBRARY_PATH": libraries})
        try:
            yield
        finally:
            process.kill()
            process.wait()


def wait_for(true: Callable[[], object], seconds: float = 15) -> bool:
    """Whether it is true by then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if true():
                return True
        except (redis.ConnectionError, redis.BusyLoadingError):
            pass
        time.sleep(0.05)
    return False


def do(client: "redis.Redis", *words: str | bytes | int) -> Any:
    """The engine's answer to a command."""
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


def master_of(gateway: "redis.Redis") -> str:
    """The address that a Sentinel gives."""
    return str(do(gateway, "SENTINEL GET-MASTER-ADDR-BY-NAME", "example")[0])


def known(sentinel: "redis.Redis") -> dict[str, str]:
    """How many others it knows."""
    said = do(sentinel, "SENTINEL MASTER", "example")
    return {name: str(said[name]) for name in ("num-slaves", "num-other-sentinels")}


def connect(site: Path, address: str, files: str, port: int = 6379, **more: Any) -> "redis.Redis":
    """A client that trusts the site's authority, with the certificate of a gateway; it tries once."""
    pem = f"{site}/{files}/fleet-cert.pem" if files else None
    return redis.Redis(host=address, port=port, protocol=2, ssl=True, ssl_ca_certs=f"{site}/private/ca.pem",
                       ssl_min_version=ssl.TLSVersion.TLSv1_3, decode_responses=True, encoding="latin-1",
                       socket_timeout=5, ssl_certfile=pem, ssl_keyfile=pem, retry=Retry(NoBackoff(), 0), **more)


def logged_in(host: Host, site: Path, address: str, user: str = "mx1", port: int = 6379) -> "redis.Redis":
    """A client as this user that is connected; the engine may have to start first."""
    password = (site / "private" / f"{user}.password").read_text(encoding="ascii").strip()
    made = connect(site, address, "gateway-mx1", port, username=user, password=password)

    def pings() -> bool:
        with visit(host.name):
            return bool(made.ping())

    assert wait_for(pings)
    return made


def test_one_engine_lets_a_gateway_do_its_work_alone(lab: Lab, tmp_path: Path) -> None:
    done = make(tmp_path, "example", ENGINES[0], "mx1", "mx2")
    assert (done.returncode, done.stdout) == (0, "make-site: example has the gateways mx1 mx2\n"), done.stderr
    site, host = tmp_path / "example", lab.gateway
    with started(host, site / f"engine-{ENGINES[0]}", "redis.conf"):
        gateway = logged_in(host, site, ENGINES[0])
        do(gateway, "XADD", KEY, "MINID", "~", "1", "*", "d", b"a batch")
        [[_, batches]] = do(gateway, "XREAD", "COUNT", 10, "STREAMS", KEY, "0")
        assert [fields for _, fields in batches] == [{"d": "a batch"}]
        do(gateway, "XINFO", "STREAM", KEY)
        assert gateway.info("server") and gateway.time()
        for words in (("DEL", KEY), ("XRANGE", KEY, "-", "+"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"),
                      ("XADD", "mxallowd:other:log", "*", "d", "x"), ("GET", KEY), ("ACL", "WHOAMI"), ("SHUTDOWN",),
                      ("SUBSCRIBE", "x"), ("SCRIPT", "FLUSH"), ("EVAL", "return 1", 0), ("CLIENT", "LIST")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                do(gateway, *words)
        # A batch has 8 KiB; nobody makes the engine take half a gigabyte at once.
        with pytest.raises(redis.RedisError, match=r"invalid bulk length|while writing|closed|reset"):
            do(gateway, "XADD", KEY, "*", "d", bytes(2 << 20))
        admin = logged_in(host, site, ENGINES[0], "admin")
        assert admin.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert admin.config_get("appendonly") == {"appendonly": "yes"}
        other = (site / "gateway-mx2" / "fleet.login").read_text(encoding="ascii").split()[1]
        for wrong in (connect(site, ENGINES[0], "gateway-mx1", username="mx1", password=other),
                      connect(site, ENGINES[0], "gateway-mx1")):
            with pytest.raises(redis.AuthenticationError), visit(host.name):
                wrong.ping()
        without = connect(site, ENGINES[0], "", username="mx2", password=other)
        with pytest.raises(redis.ConnectionError), visit(host.name):
            without.ping()


@pytest.mark.fleet
def test_three_engines_and_their_sentinels(lab: Lab, tmp_path: Path) -> None:
    """Another one takes the first one's place, by the rights of users.acl alone, and a gateway goes on there."""
    done = make(tmp_path, "example", ",".join(ENGINES), "mx1")
    assert done.returncode == 0, done.stderr
    site, host = tmp_path / "example", lab.gateway
    options = (site / "gateway-mx1" / "fleet.conf").read_text(encoding="ascii")
    config = tmp_path / "mxallowd.conf"
    config.write_text(options.replace("/etc/mxallowd", str(site / "gateway-mx1")), encoding="ascii")
    with ExitStack() as running:
        for engine in ENGINES:
            running.enter_context(started(host, site / f"engine-{engine}", "redis.conf"))
        logged_in(host, site, ENGINES[0])
        for engine in ENGINES:
            running.enter_context(started(host, site / f"engine-{engine}", "sentinel.conf", "--sentinel"))
        admin = logged_in(host, site, ENGINES[0], "admin", 26379)
        gateway = logged_in(host, site, ENGINES[1], "mx1", 26379)
        assert master_of(gateway) == ENGINES[0]
        with pytest.raises(redis.exceptions.NoPermissionError):
            do(gateway, "SENTINEL FAILOVER", "example")
        daemon = running.enter_context(DaemonProcess(host, ["-c", str(config), *SERVERS, "-n", QUEUE, "-b"]))
        daemon.wait_for("fleet-joined", timeout=15)
        assert wait_for(lambda: known(admin) == {"num-slaves": "2", "num-other-sentinels": "2"})
        assert ask(daemon.control, "POST", "/v1/entries", {"address": "203.0.113.7"})[0] in (200, 201)
        first = logged_in(host, site, ENGINES[0], "admin")
        assert wait_for(lambda: said_by(first) > 0)
        assert do(first, "WAIT", 2, 10000) == 2
        do(admin, "SENTINEL FAILOVER", "example")
        assert wait_for(lambda: master_of(gateway) != ENGINES[0])
        daemon.wait_for("fleet-mended", timeout=20)
        master = logged_in(host, site, master_of(gateway))
        before = said_by(master)
        assert ask(daemon.control, "POST", "/v1/entries", {"address": "203.0.113.8"})[0] in (200, 201)
        assert wait_for(lambda: said_by(master) > before > 0)


def said_by(client: "redis.Redis") -> int:
    """How many batches with entries the stream has."""
    streams = do(client, "XREAD", "STREAMS", KEY, "0")
    # The number of records stands at byte 6 of a batch.
    return sum(fields["d"].encode("latin-1")[6:8] != bytes(2) for _, batches in streams or () for _, fields in batches)


def test_another_call_adds_a_gateway_and_keeps_the_rest(tmp_path: Path) -> None:
    assert make(tmp_path, "example", "2001:db8::1", "mx1").returncode == 0
    site = tmp_path / "example"
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert make(tmp_path, "example", "2001:db8::1", "mx2").returncode == 0
    changed = {str(path.relative_to(site)) for path, old in before.items() if path.read_bytes() != old}
    assert changed == {"engine-2001:db8::1/users.acl", "private/ca.srl"}
    keys.parse((site / "gateway-mx2" / "fleet.key").read_bytes(), "fleet.key", "example")
    assert "fleet rediss://[2001:db8::1]\n" in (site / "gateway-mx2" / "fleet.conf").read_text(encoding="ascii")
    assert all(path.stat().st_mode & 0o077 == 0 for path in site.rglob("*"))
    for files in ("gateway-mx1/fleet-cert.pem", "gateway-mx2/fleet-cert.pem", "engine-2001:db8::1/engine.pem"):
        done = subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", "private/ca.pem", files], cwd=site,
                              capture_output=True, text=True, check=False)
        assert done.stdout == f"{files}: OK\n"


@pytest.mark.parametrize(("words", "said"), [
    (("example", "127.0.0.1"), "usage: make-site SITE ENGINE[,ENGINE,ENGINE] GATEWAY..."),
    (("../x", "127.0.0.1", "mx1"), "'../x' is no name of a site"),
    (("..", "127.0.0.1", "mx1"), "'..' begins with"),
    (("7", "127.0.0.1", "mx1"), "'7' is a number"),
    (("s" * 33, "127.0.0.1", "mx1"), "it has at most 32 characters"),
    (("example", "engine.example.org", "mx1"), "'engine.example.org' is no name of an address"),
    (("example", "127.0.0.1,127.0.0.2", "mx1"), "one engine, or three"),
    (("example", "127.0.0.1", "mx1", "m x"), "'m x' is no name of a gateway"),
    (("example", "127.0.0.1", "mx1\nuser x on nopass ~* +@all"), "is no name of a gateway"),
    (("example", "127.0.0.1", "admin"), "a gateway is not called admin"),
])
def test_what_cannot_be_made(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = make(tmp_path, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("make-site: ")
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]
