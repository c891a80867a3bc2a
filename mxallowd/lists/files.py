"""List files: a network or an address a line, and what stands behind a # is its note.

    192.0.2.0/24      # the bank
    2001:db8::25
    # Partners: the note of all that follows up to an empty line, where a line has none of its own.
    198.51.100.7

A file is taken whole or not at all. It is not read while somebody writes it: half of a list is a list, too. Nothing
here waits for a pipe, and no file is larger than MAX_BYTES. It runs in a thread beside the main loop; `gently` lets the
loop have the interpreter every half a millisecond.
"""
import codecs
import errno
import io
import ipaddress
import os
import socket
import stat
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mxallowd.errors import MxallowdError
from mxallowd.lists.composition import IPV4_BITS, MAPPED_NETWORK, Source, record_of
from mxallowd.process import broker
from mxallowd.process.paths import who_could_replace
from mxallowd.settings.configfile import STARTED_BY
from mxallowd.text import printable, quoted

MAX_BYTES = 64 << 20
MAX_NETWORKS = 1_000_000  # of one file
MAX_NOTE = 200  # characters
MAX_FAULTS = 20  # that are named
# A file that was written within this time is read when it did not change between two looks; if it always does, not.
FRESH_S = 1.0
REST_S = 0.3
MOST_LOOKS = 20
# What the daemon's user or the broker of the sandbox may not open; a start reads with the rights of root.
ONLY_AT_A_START = (errno.EACCES, errno.EPERM, errno.EPIPE)
OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
PIECE = 200  # lines between two pauses
PAUSE_S = 0.0005


class Fault(NamedTuple):
    """What is wrong: `where` is FILE or FILE:LINE."""

    where: str
    reason: str
    restart: bool = False  # a restart may read it: its rights are others


class ListError(MxallowdError):
    """A list cannot be used; the text is the first fault."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{faults[0].where}: {faults[0].reason}")
        self.faults = faults


def read(
    path: Path, verdict: str, *, gently: bool = False, as_we_are: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Source:
    """The networks of a file. `as_we_are`: with the rights of this process, not those of the broker's user.

    Raises ListError.
    """
    content = content_of(path, as_we_are=as_we_are, sleep=sleep, most_bytes=MAX_BYTES)
    return parse(content, str(path), verdict, (lambda: sleep(PAUSE_S)) if gently else None)


def content_of(
    path: Path, *, as_we_are: bool = False, sleep: Callable[[float], None] = time.sleep, most_bytes: int,
) -> bytes:
    """The content of a file that nobody writes now and that only root or we could replace. Raises ListError."""
    name = printable(str(path))
    try:
        descriptor = os.open(path, OPEN_FLAGS) if as_we_are else broker.open_file(path)
        with os.fdopen(descriptor, "rb") as file:
            _check(path, os.fstat(descriptor), name)
            return _at_rest(descriptor, file, name, sleep, most_bytes)
    except OSError as error:
        restart = not as_we_are and error.errno in ONLY_AT_A_START
        raise ListError([Fault(name, f"cannot be read: {error.strerror}", restart)]) from None


def breathe() -> None:
    """Let the main loop have the interpreter, from a thread beside it."""
    time.sleep(PAUSE_S)


def _check(path: Path, status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ListError([Fault(name, "is no regular file, which could be read again at SIGHUP")])
    if reason := who_could_replace(path, {0, STARTED_BY}):
        raise ListError([Fault(name, f"is not read: {reason}")])


def _at_rest(
    descriptor: int, file: io.BufferedReader, name: str, sleep: Callable[[float], None], most_bytes: int
) -> bytes:
    before = os.fstat(descriptor)
    rests = not 0 <= time.time() - before.st_mtime < FRESH_S
    for _ in range(MOST_LOOKS):
        if not rests:
            sleep(REST_S)
        now = os.fstat(descriptor)
        if now.st_size > most_bytes:
            most = f"{most_bytes >> 20} MiB" if most_bytes >= 1 << 20 else f"{most_bytes >> 10} KiB"
            raise ListError([Fault(name, f"is larger than {most}")])
        if _written(now) == _written(before):
            file.seek(0)
            content = file.read(most_bytes + 1)
            if _written(os.fstat(descriptor)) == _written(now) and len(content) == now.st_size:
                return content
        before, rests = now, False
    raise ListError([Fault(name, "is still being written")])


def _written(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def parse(content: bytes, name: str, verdict: str, pause: Callable[[], None] | None = None) -> Source:
    """The networks of the content of the file `name`. `pause` is called every PIECE lines. Raises ListError."""
    shown = printable(name)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ListError([Fault(f"{shown}:1", "is text in UTF-16; save the file in UTF-8")])
    records, lines, notes = bytearray(), array("I"), list[str | None]()
    faults: list[Fault] = []
    kept: dict[str, str] = {}  # of equal notes one
    above: str | None = None
    text = io.BytesIO(content)
    if content.startswith(codecs.BOM_UTF8):
        text.seek(len(codecs.BOM_UTF8))
    for line, raw in enumerate(text, 1):
        if pause is not None and line % PIECE == 0:
            pause()
        front, mark, behind = raw.partition(b"#")
        word = front.strip()
        note = _note(behind) if mark else None
        if not word:
            above = note
            continue
        try:
            record = record_for(word.decode("utf-8", "surrogateescape"), verdict)
        except ValueError as error:
            faults.append(Fault(f"{shown}:{line}", f"{quoted(word.decode('utf-8', 'surrogateescape'))} {error}"))
            if len(faults) == MAX_FAULTS:
                break
            continue
        if len(lines) == MAX_NETWORKS:
            raise ListError([Fault(f"{shown}:{line}", f"is one more than the {MAX_NETWORKS} networks of a file")])
        note = note or above
        records += record
        lines.append(line)
        notes.append(kept.setdefault(note, note) if note else None)
    if faults:
        raise ListError(faults)
    return Source(name, verdict, bytes(records), lines, notes if kept else ())


def _note(raw: bytes) -> str | None:
    return printable(raw.decode("utf-8", "surrogateescape").strip())[:MAX_NOTE] or None


def record_for(text: str, verdict: str) -> bytes:
    """A network or an address as the engine takes it. Raises ValueError with a text that stands behind the input."""
    address, slash, prefix = text.partition("/")
    family, bits = (socket.AF_INET6, 128) if ":" in address else (socket.AF_INET, 32)
    try:
        packed = socket.inet_pton(family, address)
        if not slash:
            return record_of(packed, bits, verdict)
        if prefix.isascii() and prefix.isdigit() and len(prefix) <= 3 and int(prefix) <= bits:
            length = int(prefix)
            if not int.from_bytes(packed, "big") & ((1 << (bits - length)) - 1):
                return record_of(packed, length, verdict)
    except (OSError, ValueError):
        pass
    return _slowly(text, verdict)


def _slowly(text: str, verdict: str) -> bytes:
    """The same of what is rare, such as a mask in place of a length, and what is wrong with all else."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is neither a network nor an address") from None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.scope_id is not None:
        raise ValueError("has a zone; packets carry none, so give the address alone")
    try:
        ipaddress.ip_network(text)
    except ValueError:
        if network.version == 6 and network.subnet_of(MAPPED_NETWORK) and network.prefixlen >= IPV4_BITS:
            network = ipaddress.ip_network((network.network_address.packed[12:], network.prefixlen - IPV4_BITS))
        raise ValueError(f"has bits behind its prefix; the network is {network}") from None
    return record_of(network.network_address.packed, network.prefixlen, verdict)
