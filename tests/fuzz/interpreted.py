"""The parsers in Python as targets: each takes any bytes, and raises where its first line does not hold.

    python -m tests.fuzz.interpreted TARGET FILE...     an input once more, without atheris
"""
import io
import ipaddress
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from mxallowd import settings
from mxallowd.captures._capture import select
from mxallowd.captures.filters import compile_filter
from mxallowd.captures.formats import RECORD, FormatError, Reader
from mxallowd.console import guard
from mxallowd.console.forwarded import Proxies
from mxallowd.control.exchange import RequestError
from mxallowd.engine._ring import EVENT_SIZE
from mxallowd.engine.events import address_text, decode, packed
from mxallowd.errors import ConfigError
from mxallowd.fleet.batch import NAMES, RECORD_SIZE, BadBatch, unseal
from mxallowd.fleet.peers import REASONS
from mxallowd.mirrors import TargetError
from mxallowd.mirrors.kernel.helper import ANSWER, Failed, Pf, serve
from mxallowd.mirrors.kernel.ipsetquery import DELETE, IpsetQuery, about, entries_in, entry, own_in
from mxallowd.mirrors.kernel.netlink import Netlink
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.settings import arguments, configfile
from mxallowd.settings.options import OPTIONS, Kind
from mxallowd.watchdog import procnetlink
from tests.fleet_stream import KEYS, MOST_TOLD, Receiver, finished

RAW = 101
UNTIL_ERROR = re.compile(r"(has|ends) ")
# One that loads, and one that has loaded.
_RECEIVERS = [Receiver(loading=loading) for loading in (True, False)]
_PAGES, _PROXIES = frozenset({"/", "/search"}), Proxies([ipaddress.ip_network("127.0.0.0/8")])
ACTIONS = {option.name for option in OPTIONS if option.kind is Kind.ACTION}


def _check_built(assignments: list[settings.Assignment], problems: list[settings.Problem]) -> None:
    """Settings or a fatal problem come out of assignments, and every problem is a printable line."""
    built, found = settings.build(assignments)
    assert (built is None) == any(problem.fatal for problem in found)
    assert all(str(problem).isprintable() for problem in [*problems, *found])


def configuration(data: bytes) -> None:
    """Any file is assignments and printable problems with their lines, and these are settings or a fatal problem."""
    assignments, problems, _ = configfile.parse(data, "fuzz.conf")
    lines = data.count(b"\n") + 1
    assert all(1 <= line <= lines for line in [*(one.line for one in assignments), *(one.line for one in problems)])
    assert len(assignments) + sum(problem.passed_over is None for problem in problems) <= lines
    _check_built(assignments, problems)


def filter_program(data: bytes) -> None:
    """Any text is a program that the compiled code takes, or a ValueError whose text says what it has."""
    try:
        program = compile_filter(data.decode("utf-8", "surrogateescape"))
    except ValueError as error:
        assert str(error).isprintable()
        assert UNTIL_ERROR.match(str(error)), error
        return
    assert select(b"", b"", RAW, program) == (b"", 0)


def capture_file(data: bytes) -> None:
    """However a file comes in, its records lie inside of it, or a printable FormatError comes out."""
    step = data[0] * 4 + 1 if data else 1
    reader, records, size = Reader(), 0, 0
    try:
        for at in range(1, len(data), step):
            reader.feed(data[at : at + step])
            while found := reader.take(1 + step % 7):
                assert 0 < len(found.table) // RECORD.size <= 1 + step % 7
                for seconds, microseconds, offset, length in RECORD.iter_unpack(found.table):
                    assert seconds >= 0 <= microseconds
                    assert offset + length <= len(found.data)
                    records, size = records + 1, size + length
    except FormatError as error:
        assert str(error).isprintable()
    assert size <= len(data)
    assert records <= len(data) // 16


class _Answers:
    """A socket from which datagrams come, and then nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def send(self, data: bytes) -> int:
        """Nobody looks at it."""
        return len(data)

    def recv(self, most: int) -> bytes:
        """The next datagram, its length before it."""
        if len(self._data) < 2:
            raise TimeoutError("timed out")
        size = int.from_bytes(self._data[:2], "little")
        datagram, self._data = self._data[2 : 2 + size], self._data[2 + size :]
        return datagram[:most]

    def close(self) -> None:
        """Nothing to close."""


class _NetlinkOf(Netlink):
    """Answers from the input."""

    def __init__(self, data: bytes) -> None:
        self._answers = _Answers(data)
        super().__init__("fuzz")

    def open(self) -> None:
        self._socket = self._answers  # type: ignore[assignment]  # as much of a socket as it uses


class _Query(NfQuery):
    """The questions, asked of the input."""

    def __init__(self, data: bytes) -> None:
        super().__init__("inet", "mx")
        self._netlink.close()
        self._netlink = _NetlinkOf(data)


def nftables(data: bytes) -> None:
    """Whatever the kernel answers, elements have a key and a time that is not past, or a TargetError comes out."""
    query = _Query(data[1:])
    found: dict[bytes, float | bytes] = {}
    method = data[0] % 5 if data else 0
    try:
        if method == 0:
            found = query.get("mx_white4", [bytes(4), b"\1" * 4])
        elif method == 1:
            packets = query.packets("mx_let_in")
            assert packets is None or packets >= 0
        elif method == 2:
            assert all(one.kind.isprintable() for one in query.sets(["mx_white4"]).values())
        elif method == 3:
            assert query.generation() >= 0
        else:
            found, _ = query.dump("mx_white4", 1.0)
    except TargetError as error:
        assert str(error).isprintable()
    assert all(key for key in found)
    assert all(isinstance(remaining, bytes) or remaining >= 0 for remaining in found.values())


def ipset(data: bytes) -> None:
    """Whatever the kernel answers, entries have an address and a time, or a TargetError comes out."""
    query = IpsetQuery()
    query._netlink.close()
    query._netlink = _NetlinkOf(data[1:])
    size = 16 if data and data[0] & 2 else 4
    try:
        if data and data[0] & 1:
            found = query.header("mx_white4")
            assert found is None or found.kind.isascii() or "\ufffd" in found.kind
            assert len(query.run([about(DELETE, "mx_white4", entry(bytes(4), 0))])) == 1
            return
        for part in query.entries("mx_white4"):
            assert all(len(key) == size and seconds >= 0 for key, seconds in entries_in(part, size))
            assert all(len(key) in (4, 16) and len(own) > 16 for key, own in own_in(part).items())
    except TargetError as error:
        assert str(error).isprintable()


def command_line(data: bytes) -> None:
    """Any words are assignments and actions, and these settings or a fatal problem, or a printable ConfigError."""
    words = data.decode("utf-8", "surrogateescape").split("\0")
    try:
        assignments, actions = arguments.parse(words)
    except ConfigError as error:
        assert str(error).isprintable()
        return
    assert set(actions) <= ACTIONS
    _check_built(assignments, [])


def events(data: bytes) -> None:
    """Whole records are as many events, whose addresses have a text; all else is a struct.error."""
    try:
        decoded = decode(data)
    except struct.error:
        assert len(data) % EVENT_SIZE
        return
    assert len(decoded) * EVENT_SIZE == len(data)
    for number, event in enumerate(decoded):
        record = data[number * EVENT_SIZE : (number + 1) * EVENT_SIZE]
        assert event.head == record[16:48][: event.length]
        for address in (event.source, event.destination):
            assert packed(address_text(address)) == address


def proc(data: bytes) -> None:
    """Any text is the two numbers of its row of that port, or zeros where there is none that can be read."""
    assert procnetlink.read_row(1, "") == (0, 0)
    waiting, dropped = procnetlink.read_row(data[0] if data else 0, data[1:].decode("ascii", "replace"))
    assert isinstance(waiting, int)
    assert isinstance(dropped, int)


_TABLE = "mx-white"
_PF_LISTS = (
    ("pfctl", "-s", "Tables"), ("pfctl", "-t", _TABLE, "-T", "show"), ("pfctl", "-q", "-t", _TABLE, "-T", "flush"),
    ("pfctl", "-q", "-t", _TABLE, "-T", "delete", "-f", "-"), ("pfctl", "-q", "-t", _TABLE, "-T", "add", "-f", "-"),
    ("pfctl", "-q", "-t", _TABLE, "-T", "replace", "-f", "-"), ("pfctl", "-t", _TABLE, "-T", "test", "-f", "-"))

class _Runs:
    """What the helper would run."""

    def __init__(self, *, fails: bool) -> None:
        self._fails = fails

    def run(self, words: list[str], text: str) -> str:
        """Take nothing but the fixed lists of words, and nothing but addresses on their input."""
        assert tuple(words) in _PF_LISTS
        for line in text.splitlines():
            ipaddress.ip_address(line)
        if self._fails:
            raise Failed("1/2 addresses match.")
        return ""


def helper(data: bytes) -> None:
    """Whatever is asked, only the fixed commands run, with addresses as their only input, and all answers are whole."""
    kind = data[0] if data else 0
    before = sys.stdin, sys.stdout
    answers = io.BytesIO()
    sys.stdin, sys.stdout = io.TextIOWrapper(io.BytesIO(data[1:])), io.TextIOWrapper(answers)
    try:
        serve(Pf(_TABLE), _Runs(fails=bool(kind & 1)).run)
    finally:
        said = answers.getvalue()
        sys.stdin, sys.stdout = before
    while said:
        status, length = ANSWER.unpack_from(said)
        assert status in (0, 1)
        assert len(said) >= ANSWER.size + length
        said = said[ANSWER.size + length :]


def batch(data: bytes) -> None:
    """Any message is counted for one known reason, or heard; whoever sealed it, and the loop is not waited for."""
    if data[:1] == b"\0":
        message = data[1:]
    else:
        # As a gateway that was taken over: it has the key.
        content = data[:1] + KEYS.first.number + data[1:]
        message = content + KEYS.first.seal_of(content)
    receiver = _RECEIVERS[len(data) % 2]
    before, heard = sum(receiver.peers.refused.values()), sum(peer.batches for peer in receiver.peers)
    try:
        said = unseal(message, KEYS)
    except BadBatch as bad:
        assert bad.reason in REASONS
        assert data[:1] == b"\0" or bad.reason in ("broken", "version")
        heard = -1
    else:
        assert NAMES.fullmatch(said.origin)
        assert all(note.record < len(said.records) // RECORD_SIZE for note in said.notes)
    receiver.engine_ms += 10
    finished(receiver.hearing.hear([(b"%d-0" % receiver.engine_ms, message)]))
    refused = sum(receiver.peers.refused.values()) - before
    assert refused > 0 or heard >= 0
    assert receiver.table.told <= MOST_TOLD
    assert all(note.isprintable() for _, note in receiver.whitelist.provenance.copy().values())


def visit(data: bytes) -> None:
    """Any form, target, cookie and X-Forwarded-For are what they say, or a printable RequestError comes out."""
    text = data.decode("latin-1")
    fields = {"cookie": text, "x-forwarded-for": text, "host": text, "origin": text}
    found = guard.own_target(text, _PAGES)
    assert found.isascii()
    assert found.isprintable()
    assert found.partition("?")[0] in _PAGES
    assert len(guard.token_of(fields, secure=False)) in (0, 43)
    assert ipaddress.ip_address(_PROXIES.client("127.0.0.1", fields).address)
    for look in (lambda: guard.form_of(data), lambda: guard.check_site(fields, secure=False)):
        try:
            look()
        except RequestError as error:
            assert 400 <= error.status < 500
            assert str(error).isprintable()


def defective(data: bytes) -> None:
    """Shows that an exception which is not documented is found: a kind of event is taken for granted."""
    for event in decode(data[: len(data) // EVENT_SIZE * EVENT_SIZE]):
        ("",)[event.kind == 0xA5]


TARGETS: dict[str, Callable[[bytes], None]] = {
    "configuration": configuration, "filter": filter_program, "nftables": nftables, "ipset": ipset,
    "arguments": command_line, "events": events, "proc": proc, "helper": helper, "capture-file": capture_file,
    "batch": batch, "visit": visit,
    "defective-interpreted": defective}

if __name__ == "__main__":
    for file in sys.argv[2:]:
        TARGETS[sys.argv[1]](Path(file).read_bytes())
