"""A name server that can take a load: nsd, an authoritative one, in a host of the lab.

Its zones hold hosts that count up from 10.0.0.0: number N is `mN.example`, a domain of its own, and that name has a
second address in 10.128.0.0/9, so that each of them has one child. No address of IPv6 has a name. nsd is the machine's
own or the one that `scripts/prepare` unpacked.
"""
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType

from lab.hosts import Host

FIRST, SECOND = IPv4Address("10.0.0.0"), IPv4Address("10.128.0.0")
READY_AFTER_S = 10.0
_SOA = "@ 60 IN SOA ns.example. hostmaster.example. 1 3600 900 86400 60\n@ 60 IN NS ns.example.\n"


def nsd_program() -> str | None:
    """Its path; None where it is neither installed nor unpacked."""
    unpacked = Path(sys.prefix) / "nsd" / "usr" / "sbin" / "nsd"
    return str(unpacked) if unpacked.exists() else shutil.which("nsd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def answers(host: Host, address: str, port: int) -> bool:
    """Whether a name server answers by now; a short wait where it does not."""
    # The question for example SOA (RFC 1035, 4.1).
    question = struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\7example\0" + struct.pack("!2H", 6, 1)
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.2)
        try:
            asking.connect((address, port))
            asking.send(question)
            return len(asking.recv(512)) > len(question)
        except OSError:
            time.sleep(0.02)
            return False


class Nsd:
    """A context manager; `hosts` is how many hosts its zones have. Raises RuntimeError where it does not start."""

    def __init__(self, host: Host, hosts: int, *, address: str = "127.0.0.1", port: int = 5353) -> None:
        self._host = host
        self._address, self._port = address, port
        self._directory = tempfile.TemporaryDirectory(prefix="mxallowd-nsd-")
        self._process: subprocess.Popen[bytes] | None = None
        self._write(hosts)

    def _write(self, hosts: int) -> None:
        place = Path(self._directory.name)
        forward = [f"$ORIGIN example.\n{_SOA}ns 60 IN A {self._address}\n"]
        backward = [f"$ORIGIN 10.in-addr.arpa.\n{_SOA}"]
        for number in range(hosts):
            for address in (FIRST + number, SECOND + number):
                _, *octets = str(address).split(".")
                forward.append(f"m{number} 60 IN A {address}\n")
                backward.append(f"{'.'.join(reversed(octets))} 60 IN PTR m{number}.example.\n")
        (place / "org").write_text("".join(forward), encoding="ascii")
        (place / "arpa").write_text("".join(backward), encoding="ascii")
        (place / "ip6").write_text(f"$ORIGIN ip6.arpa.\n{_SOA}", encoding="ascii")
        (place / "nsd.conf").write_text(
            f'server:\n  ip-address: {self._address}@{self._port}\n  username: ""\n  chroot: ""\n'
            f'  zonesdir: "{place}"\n  pidfile: "{place}/pid"\n  xfrdfile: ""\n'
            f'  zonelistfile: "{place}/zones"\n  xfrdir: "{place}"\n'
            f'  database: ""\n  logfile: "{place}/log"\n  server-count: 1\n  rrl-ratelimit: 0\n  do-ip6: no\n'
            'remote-control:\n  control-enable: no\n'
            'zone:\n  name: "example"\n  zonefile: "org"\nzone:\n  name: "10.in-addr.arpa"\n  zonefile: "arpa"\n'
            'zone:\n  name: "ip6.arpa"\n  zonefile: "ip6"\n',
            encoding="ascii")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = nsd_program()
        if program is None:
            raise RuntimeError("no nsd: ./scripts/prepare test unpacks one")
        libraries = ":".join(map(str, (Path(program).parents[1] / "lib").glob("*-linux-*")))
        path = Path(self._directory.name)
        self._process = self._host.popen(
            [program, "-d", "-c", str(path / "nsd.conf")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "LD_LIBRARY_PATH": libraries})
        deadline = time.monotonic() + READY_AFTER_S
        while not answers(self._host, self._address, self._port):
            if time.monotonic() > deadline or self._process.poll() is not None:
                log = (path / "log").read_text(encoding="utf-8") if (path / "log").exists() else ""
                raise RuntimeError(f"nsd does not start: {log[-1000:]}")

    def stop(self) -> None:
        """End it, and all its processes."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)

    def __enter__(self) -> "Nsd":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._directory.cleanup()
