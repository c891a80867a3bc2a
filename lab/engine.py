"""The fleet's engine, Redis or Valkey, in a host of the lab: one server, replicas of it, and Sentinels.

It is the machine's own program or the one that `scripts/prepare` unpacked, and each has a directory of its own. The lab
talks to it by a UNIX socket in there, as a user who may do everything, whatever the network and the rules do meanwhile.
"""
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from lab.authority import Authority
from lab.gateways import Place
from lab.hosts import Host
from lab.unpacked import unpacked

PORT, SENTINEL_PORT = 6379, 26379
MASTER = "mxallowd"  # the name that Sentinels know it by
READY_AFTER_S = 10.0
LAB_USER = "lab"
# What the engine does by itself in tests: nothing is written to a disk that was not asked for.
_QUIET = ('save ""', "protected-mode no", "daemonize no", "loglevel notice", f"user {LAB_USER} on nopass ~* &* +@all")
EVERYBODY = "default on nopass ~* &* +@all"


def programs() -> dict[str, str]:
    """The engines of this machine, by name, each with its path; the first one is what tests use.

    MXALLOWD_ENGINE, a path, comes before all of them.
    """
    wanted = os.environ.get("MXALLOWD_ENGINE")
    found = {Path(wanted).name: wanted} if wanted else {}
    for name in ("redis", "valkey"):
        own = unpacked(name) / "usr" / "bin" / f"{name}-server"
        path = str(own) if own.exists() else shutil.which(f"{name}-server")
        if path:
            found[name] = path
    return found


class Server:
    """A process of the engine in a directory of its own; a context manager. `lines` are those of its configuration."""

    def __init__(
        self, host: Host, lines: Sequence[str], *, program: str | None = None, prefix: Sequence[str] = (),
        words: Sequence[str] = (),
    ) -> None:
        path = program or next(iter(programs().values()), None)
        if path is None:
            raise RuntimeError("no redis-server and no valkey-server: ./scripts/prepare test unpacks one")
        self.host = host
        self._made = tempfile.TemporaryDirectory(prefix="mxengine-")
        self.directory = Path(self._made.name)
        self._socket = self.directory / "engine.sock"
        self._data = self.directory / "data"
        self._data.mkdir()
        self._file = self.directory / "engine.conf"
        self._prefix, self._command = prefix, [path, str(self._file), *words]
        own = (f"dir {self._data}", f"unixsocket {self._socket}", f"logfile {self.directory}/log")
        self._file.write_text("\n".join([*own, *lines, ""]), encoding="utf-8")
        self.process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers. Raises RuntimeError with the end of its log where it does not."""
        libraries = ":".join(map(str, (Path(self._command[0]).parents[1] / "lib").glob("*-linux-*")))
        self._socket.unlink(missing_ok=True)
        self.process = self.host.popen(
            [*self._prefix, *self._command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "LD_LIBRARY_PATH": libraries})
        deadline = time.monotonic() + READY_AFTER_S
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                log = self.directory / "log"
                said = log.read_text(encoding="utf-8") if log.exists() else ""
                raise RuntimeError(f"the engine does not start: {said[-1000:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            return bool(self.do("PING"))
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    def do(self, *words: str | bytes | int | float) -> Any:
        """The engine's answer to a command of the lab's own user, whatever the network does."""
        with self._client() as client:
            return client.execute_command(*words)

    def pour(self, commands: Iterable[Sequence[str | bytes | int | float]]) -> None:
        """Many commands, whose answers nobody needs, as fast as it takes them. Raises redis.ResponseError."""
        waiting = iter(commands)
        with self._client() as client:
            while some := list(islice(waiting, 500)):
                pipeline = client.pipeline(transaction=False)
                for words in some:
                    pipeline.execute_command(*words)
                pipeline.execute()

    def _client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self._socket), username=LAB_USER, password="any", protocol=2,
                           socket_timeout=READY_AFTER_S)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it by SIGKILL: what it has not written is lost."""
        self.send(signal.SIGKILL)
        assert self.process
        self.process.wait(10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It hangs meanwhile: its connections stay, and nothing answers."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def forget(self) -> None:
        """Remove what it has written, while it does not run."""
        shutil.rmtree(self._data)
        self._data.mkdir()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self._made.cleanup()


@dataclass(frozen=True)
class Setup:
    """How an engine is set up.

    `users` are lines of its access control list behind the word `user`: where nothing is said, everybody may do
    everything. `tls` makes its port one of TLS, with a certificate for its address; `ask_certificates`: it wants one of
    each client, too. `replica_of` is the address of another one. `keep`: it writes each second (appendonly). `lines`
    are more of its configuration, `program` is its path, and `prefix` the words before it.
    """

    lines: tuple[str, ...] = ()
    users: tuple[str, ...] = (EVERYBODY,)
    tls: Authority | None = None
    ask_certificates: bool = False
    replica_of: str = ""
    keep: bool = False
    program: str | None = None
    prefix: tuple[str, ...] = ()

    def text(self, address: str) -> list[str]:
        """The lines of the configuration."""
        lines = [*_QUIET, f"bind {address}", "repl-diskless-sync-delay 0", f"appendonly {'yes' if self.keep else 'no'}"]
        # To the user of those who name none everything is allowed where it is left out.
        named = any(line.startswith("default ") for line in self.users)
        lines += [f"user {line}" for line in (*self.users, *(() if named else ("default off",)))]
        if self.tls:
            signed = self.tls.sign(f"engine-{address}", f"IP:{address}")
            lines += ["port 0", f"tls-port {PORT}", f"tls-cert-file {signed.certificate}",
                      f"tls-key-file {signed.key}", f"tls-ca-cert-file {self.tls.own.certificate}",
                      f"tls-auth-clients {'yes' if self.ask_certificates else 'no'}"]
        else:
            lines += [f"port {PORT}"]
        if self.replica_of:
            lines += [f"replicaof {self.replica_of} {PORT}"]
        return [*lines, *self.lines]


PLAIN = Setup()


class Engine(Server):
    """The server on a host's address."""

    def __init__(self, place: Place, setup: Setup = PLAIN) -> None:
        self.address = place.address
        super().__init__(place.host, setup.text(place.address), program=setup.program, prefix=setup.prefix)

    def restart(self, *, empty: bool = False) -> None:
        """Start it again after kill(); `empty`: without anything that it had."""
        if empty:
            self.forget()
        self.start()

    def is_replica_of(self, address: str) -> bool:
        """Whether it follows that one and has all of it."""
        said = self.do("INFO", "replication")
        return bool(said.get("master_host") == address and said.get("master_link_status") == "up")

    def is_master(self) -> bool:
        """Whether it takes what is written."""
        return bool(self.do("INFO", "replication")["role"] == "master")


class Sentinel(Server):
    """One that watches the engine `master`, and has it replaced after half a second, where two of them say so."""

    def __init__(self, place: Place, master: str, *, port: int = SENTINEL_PORT) -> None:
        self.address, self.port = place.address, port
        super().__init__(place.host, [
            "protected-mode no", f"port {port}", f"bind {place.address}", f"user {LAB_USER} on nopass ~* &* +@all",
            f"user {EVERYBODY}", f"sentinel monitor {MASTER} {master} {PORT} 2",
            f"sentinel down-after-milliseconds {MASTER} 500", f"sentinel failover-timeout {MASTER} 3000",
        ], words=["--sentinel"])

    def knows(self) -> tuple[int, int]:
        """How many replicas, and how many other Sentinels it knows by now."""
        said = self.do("SENTINEL MASTER", MASTER)
        return int(said["num-slaves"]), int(said["num-other-sentinels"])


_CUT = "table inet lab_cut"


@contextmanager
def cut_off(place: Place) -> Iterator[None]:
    """Nothing passes between this host and the site, and nobody is told: a black hole."""
    rules = "".join(f"add chain inet lab_cut {hook} {{ type filter hook {hook} priority -300; }}\n"
                    f"add rule inet lab_cut {hook} {word} {place.host.interface} drop\n"
                    for hook, word in (("input", "iifname"), ("output", "oifname")))
    place.host.run(["nft", "-f", "-"], input=f"add {_CUT}\n{rules}", text=True, check=True)
    try:
        yield
    finally:
        place.host.run(["nft", "delete", *_CUT.split()], check=True)
