"""What the host lends: clock, name servers, versions."""
import ctypes
import os
import re
import sys
import time
from collections.abc import Iterator

from mxallowd import __version__
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding

RELEASED_S = 1_767_225_600  # 2026: no clock is right that says less
_UNSYNCHRONISED = 0x40  # STA_UNSYNC, linux/timex.h
_TIMEX_BYTES = 256  # struct timex is 208
_STATUS_AT = 40  # of its member `status`, on 64 bits


def check(facts: Facts) -> list[Finding]:
    """All of it."""
    return [*clock(), *name_servers(facts), *versions(facts)]


def clock(now_s: float | None = None, status: int | None = None) -> Iterator[Finding]:
    """Whether the clock can be right. The arguments stand for this host's."""
    now_s = time.time() if now_s is None else now_s
    status = _clock_status() if status is None else status
    mend = "timedatectl set-ntp true"
    if now_s < RELEASED_S:
        yield Finding("clock", BROKEN, f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(now_s))}",
                      "entries on disk end at the wrong time after a restart, and the log lies", mend)
    elif status is None:
        yield Finding("clock", OK, "the clock can be right")
    elif status & _UNSYNCHRONISED:
        yield Finding("clock", WARNING, "the clock is not synchronised",
                      "entries on disk may end too early after a restart, and logs of hosts do not fit together", mend)
    else:
        yield Finding("clock", OK, "the clock is synchronised")


def _clock_status() -> int | None:
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None).adjtimex(buffer) < 0:
        return None
    return int.from_bytes(buffer.raw[_STATUS_AT : _STATUS_AT + 4], sys.byteorder)


def name_servers(facts: Facts) -> Iterator[Finding]:
    """Whether one answers, where mxallowd asks any."""
    if not facts.settings["rdns"]:
        return
    try:
        from mxallowd.ctl.doctor.dns import Asking, Failed  # noqa: PLC0415  # without c-ares, -b is in use
    except ImportError as error:
        yield Finding("name-servers", BROKEN, f"pycares cannot be imported: {error}", "mxallowd does not start",
                      "pip install pycares")
        return
    servers = facts.settings["dns_servers"]
    named = ", ".join(servers) or "those of /etc/resolv.conf"
    try:
        with Asking(servers) as asking:
            asking.works()
    except Failed as error:
        yield Finding(
            "name-servers", BROKEN,
            f"the name servers {'answer with an error' if error.refused else 'do not answer'} ({named}): {error}",
            "other hosts of a sender with several addresses are not let in by their name",
            f"dig {for_dig(servers[0]) + ' ' if servers else ''}localhost.invalid  # then correct "
            f"{'dns-server' if servers else '/etc/resolv.conf'}")
    else:
        yield Finding("name-servers", OK, f"the name servers answer ({named})")


def for_dig(server: str) -> str:
    """A name server as the settings have it (ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT%INTERFACE), as arguments of dig."""
    found = re.fullmatch(r"\[(.*)\]:(\d+)(%.*)?|([^:]*):(\d+)", server)
    if found is None:
        return f"@{server}"
    return f"@{found[1] or found[4]}{found[3] or ''} -p {found[2] or found[5]}"


def versions(facts: Facts, release: str | None = None) -> Iterator[Finding]:
    """The kernel's queue, and whether daemon and command are of one version."""
    release = os.uname().release if release is None else release
    found = re.match(r"(\d+)\.(\d+)", release)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if len(facts.queues) > 1 and number >= (6, 19):
        # What came with e19079adcd26 (2026-01) and went with 936206e3f6ff (2026-04); stable kernels took both.
        yield Finding(
            "kernel", WARNING, f"Linux {release}: some kernels from January to April 2026 use freed memory where "
            "several queues give verdicts at a time (fixed by 936206e3f6ff)", "the host can crash under load",
            "apt-get update && apt-get install --only-upgrade linux-image-$(dpkg --print-architecture)")
    else:
        yield Finding("kernel", OK, f"Linux {release}: no known fault of the queue that concerns "
                      f"{'one queue' if len(facts.queues) == 1 else 'this setup'}")
    if facts.daemon is not None and facts.daemon["version"] != __version__:
        yield Finding("version", WARNING, f"mxallowd {facts.daemon['version']} runs, {__version__} is installed",
                      "it is older than its files, so a reload or a helper may fail", "systemctl restart mxallowd")
    elif facts.daemon is not None:
        yield Finding("version", OK, f"daemon and command are both {__version__}")
