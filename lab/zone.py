"""The name server of a lab with senders: nsd in a host of its own, with one zone that is the whole tree of names."""
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType

from lab.hosts import Host
from lab.nsd import READY_AFTER_S, answers, nsd_program

ADDRESS, ADDRESS6 = "192.0.2.53", "2001:db8::53"
_HEAD = ". 60 IN SOA ns.test. hostmaster.test. 1 3600 900 86400 60\n. 60 IN NS ns.test.\n"
_CONF = """\
server:
{addresses}  username: ""
  chroot: ""
  zonesdir: "{place}"
  pidfile: "{place}/pid"
  xfrdfile: ""
  zonelistfile: "{place}/zones"
  xfrdir: "{place}"
  database: ""
  logfile: "{place}/log"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: "root"
"""


def host_records(name: str, *addresses: str) -> list[str]:
    """The records of a host, with its reverse names; each is `NAME TYPE DATA`."""
    parsed = [ip_address(address) for address in addresses]
    return [record for one in parsed for record in (
        f"{name} {'A' if one.version == 4 else 'AAAA'} {one}", f"{one.reverse_pointer} PTR {name}.")]


class Zone:
    """A context manager. `records` are `NAME TYPE DATA`, with full names. Raises RuntimeError where nsd fails."""

    def __init__(self, host: Host, records: Sequence[str], *addresses: str) -> None:
        """`addresses` of the host at which it serves, an IPv4 address first; none: ADDRESS."""
        self._host = host
        addresses = addresses or (ADDRESS,)
        self._address = addresses[0]
        self._directory = tempfile.TemporaryDirectory(prefix="mxallowd-zone-")
        place = Path(self._directory.name)
        lines = [f"ns.test. 60 IN A {self._address}\n", *(
            f"{name}. 60 IN {kind} {data}\n" for name, kind, data in (record.split(" ", 2) for record in records))]
        (place / "root").write_text(_HEAD + "".join(lines), encoding="ascii")
        (place / "nsd.conf").write_text(_CONF.format(
            addresses="".join(f"  ip-address: {one}\n" for one in addresses), place=place), encoding="ascii")

    def __enter__(self) -> "Zone":
        program = nsd_program()
        if program is None:
            raise RuntimeError("no nsd: ./scripts/prepare test unpacks one")
        libraries = ":".join(map(str, (Path(program).parents[1] / "lib").glob("*-linux-*")))
        place = Path(self._directory.name)
        self._process = self._host.popen(
            [program, "-d", "-c", str(place / "nsd.conf")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "LD_LIBRARY_PATH": libraries})
        deadline = time.monotonic() + READY_AFTER_S
        while not answers(self._host, self._address, 53):
            if time.monotonic() > deadline or self._process.poll() is not None:
                log = (place / "log").read_text(encoding="utf-8") if (place / "log").exists() else ""
                raise RuntimeError(f"nsd does not start: {log[-1000:]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)
        self._directory.cleanup()
