"""The name servers of resolv.conf (resolv.conf(5)), read anew whenever it changes.

The daemon reads the file itself and not by c-ares: it may be a link to a place outside the sandbox, which may change,
and c-ares says nothing where it cannot read it. Which way it fails: if it cannot be read, the servers that were known
go on, and the log says so, once until it can be read again.
"""
import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from mxallowd.log import Log
from mxallowd.process import broker

RESOLV_CONF = Path("/etc/resolv.conf")
# What the resolver of the C library asks where none is named.
LOCAL = ("127.0.0.1",)
MAX_BYTES = 1 << 16


class ResolvConf:
    """What the file says, and whether it says something new."""

    def __init__(self, path: Path, log: Log | None = None) -> None:
        self._path = path
        self._log = log
        self._failed = False
        self._known = False
        self._changed_at = _changed_at(path)
        self.servers: Sequence[str] = LOCAL
        self.read()

    def changed(self) -> bool:
        """Whether another file, or other content, is there than at the last look."""
        changed_at = _changed_at(self._path)
        before, self._changed_at = self._changed_at, changed_at
        # One that could not be read may be readable by now, though nothing about it has changed.
        return before != changed_at or (self._failed and not self._closed())

    def read(self) -> None:
        """Take the servers that it names now."""
        try:
            text = self._text()
        except FileNotFoundError as error:
            # None at all is nothing to be said at the start: the C library asks this host then. One that goes, or a
            # link that leads nowhere, is.
            if self._known or os.path.lexists(self._path):
                self._say(str(error.strerror))
            return
        except OSError as error:
            self._say(str(error.strerror))
            return
        self._failed, self._known = False, True
        self.servers = parse(text)

    def _say(self, reason: str) -> None:
        # Of a broker that is gone the daemon tells, or why the start failed.
        if not self._failed and self._log is not None and reason != broker.GONE:
            self._log.error("resolv-conf", path=self._path, reason=reason)
        self._failed = True

    def _closed(self) -> bool:
        try:
            self._text()
        except OSError:
            return True
        return False

    def _text(self) -> str:
        descriptor = broker.open_file(self._path)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MAX_BYTES).decode("ascii", "replace")


def parse(text: str) -> list[str]:
    """The addresses of its nameserver lines, in their order; those of the C library where it names none."""
    found = []
    for line in text.splitlines():
        word, _, rest = line.replace("\t", " ").partition(" ")
        fields = rest.split()
        if word != "nameserver" or not fields:
            continue
        try:
            ip_address(fields[0])
        except ValueError:
            # The C library passes over it as well.
            continue
        found.append(fields[0])
    return found or list(LOCAL)


def _changed_at(path: Path) -> tuple[int, int, int]:
    """Of the file behind all links: no rule of the sandbox forbids to ask for that."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_ino, status.st_dev
