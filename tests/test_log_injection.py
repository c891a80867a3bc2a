"""Whatever byte comes from the network, the DNS, the kernel or a file: it arrives in the log as one printable line."""
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.hosts import Lab, ip
from mxallowd._fastpath import Fastpath
from mxallowd.engine._headers import REASONS
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine.events import decode
from mxallowd.log.handlers import StreamHandler, SyslogHandler
from mxallowd.log.writer import Writer
from mxallowd.mirrors import Copied, TargetError
from mxallowd.mirrors.mirror import Mirror
from mxallowd.settings import configfile
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.log import LogSink, Memories
from mxallowd.sinks.stress import Stress
from mxallowd.text import LONGEST_QUOTED
from mxallowd.whitelist import Whitelist
from tests.daemon_process import SERVERS, STAMP, DaemonProcess
from tests.log_lines import log_through
from tests.memory_target import MemoryTarget
from tests.name_server_process import NameServerProcess
from tests.strategies import FAKE, REAL, packets
from tests.test_log_faults import meet_the_fake_server
from tests.test_settings import MINIMUM, good
from tests.until import until

# Word, address, values; blanks, quotes and the equals sign in quotes alone.
GRAMMAR = re.compile(r'[a-z-]+(?: \[[0-9a-f.:]+\])?(?: [a-z0-9-]+=(?:[^ "=]+|"(?:[^"\\]|\\.)*"))*')
DATAGRAM = re.compile(rb"<\d+>mxallowd\[\d+\]: (.*)\0")
# RFC 3164, 4.1: what is longer may be cut on its way.
LONGEST_DATAGRAM = 1024
EVERY_BYTE = [bytes([byte]) for byte in range(256)]


def checked(message: bytes) -> str:
    """The text of a message, which is printable and of the grammar."""
    text = message.decode("utf-8")
    assert text.isprintable(), text
    assert GRAMMAR.fullmatch(text), text
    return text


class Chain:
    """The way from a packet to the log: the compiled decision, its ring, the sink, the log's own thread."""

    def __init__(self, target: logging.Handler) -> None:
        self._writer = Writer(target)
        self._writer.start()
        self.log = log_through(self._writer)
        self._ring = Ring(1024, -1)
        table = Table(1024, 1)
        self._refused = Refused(1024, 1, table)
        self._path = Fastpath(table, self._ring, Rules(FAKE, REAL, 3600), refused=self._refused)

    def take(self, packet: bytes) -> int:
        """Decide about a packet and log it; how many events it was."""
        self._path.decide([packet], 1_000_000)
        events = decode(self._ring.drain(16))
        # A sink of its own: it says only once a minute that packets are malformed.
        hostlog = HostLog(self.log, self._writer.count_suppressed, Stress(self.log))
        LogSink(self.log, hostlog, Memories(self._refused)).handle(events)
        return len(events)

    def close(self) -> None:
        """Everything is written."""
        self._writer.close(timeout_s=10)


@contextmanager
def chain_to_pipe() -> Iterator[tuple[Chain, list[str]]]:
    """A chain, and the list that has its messages at the end."""
    reader, writer = os.pipe()
    messages: list[str] = []
    try:
        chain = Chain(StreamHandler(writer))
        yield chain, messages
        chain.close()
        # So that there is something to read in any case.
        os.write(writer, b"end\n")
        written = os.read(reader, 1 << 16).removesuffix(b"end\n")
        # The pipe held all of it.
        assert len(written) < 1 << 16
        # As bytes: what divides lines is the line feed, and a carriage return that came through would show here.
        for line in written.splitlines(keepends=True):
            stamp = STAMP.match(line.decode("utf-8"))
            assert stamp and line.endswith(b"\n"), line
            messages.append(checked(line[stamp.end():-1]))
    finally:
        os.close(reader)
        os.close(writer)


def malformed_with(byte: bytes) -> list[bytes]:
    """Packets whose header cannot be parsed, with this byte in each place that is shown."""
    return [byte * 7, b"\x45\0\0" + byte * 16, b"\x60" + byte * 30, b"\x4f" + byte * 40, b"\x10" + byte * 60]


def check_malformed(packet: bytes, message: str) -> None:
    """It is the line about just this packet."""
    found = re.fullmatch(r'malformed count=1 reason=([a-z-]+|"[a-z -]+") length=(\d+) head=([0-9a-f]+|"")', message)
    assert found, message
    assert found[1].strip('"') in REASONS[1:]
    assert (int(found[2]), bytes.fromhex(found[3].strip('"'))) == (len(packet), packet[:32])


@pytest.mark.parametrize("byte", [b"", *EVERY_BYTE], ids=lambda byte: byte.hex() or "empty")
def test_a_malformed_packet_is_one_line(byte: bytes) -> None:
    with chain_to_pipe() as (chain, messages):
        cut = [packet for packet in malformed_with(byte) if chain.take(packet)]
    assert len(cut) >= 3
    assert len(messages) == len(cut)
    for packet, message in zip(cut, messages, strict=True):
        check_malformed(packet, message)


@given(st.lists(st.binary(max_size=100) | packets, max_size=20))
@settings(deadline=None)
def test_any_packets_are_a_line_an_event(batch: list[bytes]) -> None:
    with chain_to_pipe() as (chain, messages):
        events = sum(chain.take(packet) for packet in batch)
    assert len(messages) == events
    assert all(message.isascii() for message in messages)


@pytest.fixture(scope="module")
def syslog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chain, socket.socket]]:
    """A chain whose log is a syslog of the tests."""
    path = tmp_path_factory.mktemp("s") / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        handler = SyslogHandler(str(path))
        chain = Chain(handler)
        yield chain, server
        chain.close()
        handler.close()


@given(st.sampled_from(EVERY_BYTE).map(malformed_with).flatmap(st.sampled_from) | st.binary(max_size=100) | packets)
@settings(max_examples=500, deadline=None)
def test_a_packet_is_one_datagram_to_syslog(syslog: tuple[Chain, socket.socket], packet: bytes) -> None:
    chain, server = syslog
    events = chain.take(packet)
    # What comes after it, so that nothing can come unseen.
    chain.log.info("mark")
    server.settimeout(5)
    found = [DATAGRAM.fullmatch(server.recv(1 << 16)) for _ in range(events + 1)]
    messages = [checked(datagram[1]) for datagram in found if datagram]
    assert len(messages) == events + 1
    assert messages[-1] == "mark"
    assert all(message.isascii() for message in messages)
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(1 << 16)


# ---- the DNS

DOMAIN = b"\4mail\7example\0"
HOSTNAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ODD_LABELS = [
    b"\r\n01.01.2026 00:00:00 - stop", b"\x1b[2J\x1b]0;title\x07", b'" name="x', b"a=b c=d", b"\xff\xfe\x80",
    "m\u00e4il\u2028\u202e".encode(), b"\\", b"\\010", b"...", b"\0", b"\n" * 63, b"\\" * 63, b"\xff" * 63, b'"' * 63,
    b"[192.0.2.1]", b"%s%n{0}"]


def label(text: bytes) -> bytes:
    """As it goes over the wire (RFC 1035, 3.1)."""
    return bytes([len(text)]) + text


def presented(wire: bytes) -> str:
    """A name as c-ares gives it: without its final dot, odd bytes as \\DDD, odd characters behind a backslash."""
    labels = []
    while wire[0]:
        text, wire = wire[1:1 + wire[0]], wire[1 + wire[0]:]
        labels.append("".join(
            f"\\{byte:03}" if not 0x20 <= byte < 0x7f else f"\\{byte:c}" if byte in b'."\\;()@$' else chr(byte)
            for byte in text))
    return ".".join(labels)


def shown(text: str) -> str:
    """As the log writes a value."""
    escaped = text.replace("\\", "\\\\")
    return '"' + escaped.replace('"', '\\"') + '"' if re.search(r'[ "=]|^$', escaped) else escaped


NAMES = [label(b"a" + byte + b"b") + DOMAIN for byte in EVERY_BYTE]
NAMES += [label(text) + DOMAIN for text in ODD_LABELS]
# The longest there can be, and the root.
NAMES += [label(b"\n" * 63) * 3 + label(b"\xff" * 61) + b"\0", b"\0"]
# No names at all: cut, a pointer to nowhere, a label of an unknown kind, too long.
BROKEN = [b"\3ab", b"\xc0\xff", b"\x40a\0", label(b"a") * 130 + b"\0"]


def test_every_byte_of_a_name_is_one_line_of_the_whole_daemon(lab: Lab) -> None:
    """A host for each name: it meets the fake server, and is asked for its name."""
    client = lab.client("client", "192.0.2.101")
    # RFC 5737 and RFC 2544 have them; the client has all of them.
    ip(f"-n {client.name} route add local 198.18.0.0/23 dev lo",
       f"-n {lab.gateway.name} route add 198.18.0.0/23 via 192.0.2.101")
    lab.queue_rule("23")
    hosts = {str(ip_address("198.18.0.0") + number): wire for number, wire in enumerate(NAMES, 1)}
    # Further on the way: names behind a sound one, which lead to nothing.
    chains = {"198.18.1.201": b"\n\x1b\xff", "198.18.1.202": b'"= \0'}
    broken = {f"198.18.1.{number}": wire for number, wire in enumerate(BROKEN, 210)}
    last = "198.18.1.220"
    records = [f"{ip_address(host).reverse_pointer} PTR ={wire.hex()}" for host, wire in (hosts | broken).items()]
    records += [f"{ip_address(last).reverse_pointer} PTR last.example.org"]
    for number, (host, text) in enumerate(chains.items()):
        records += [f"{ip_address(host).reverse_pointer} PTR chain{number}.example.org",
                    f"chain{number}.example.org CNAME ={(label(text) + DOMAIN).hex()}"]
    with NameServerProcess(lab.gateway, records), DaemonProcess(
            lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "--dns-server", "127.0.0.1:5353",
                                "--dns-zone-rate", "100000"]) as daemon:
        daemon.wait_for("start ")
        # Few at a time, which a name server in Python answers in time even on a busy machine. An answer that is broken
        # takes with it what was asked over the same socket: these come when all is said.
        sound = [*hosts, *chains]
        asked = 0
        for group in [*(sound[at:at + 20] for at in range(0, len(sound), 20)), list(broken), [last]]:
            meet_the_fake_server(client, group)
            asked += len(group)
            assert until(partial(all_ended, daemon, asked))
        counters = daemon.counters()
        assert daemon.stop() == 0
        assert daemon.process.stderr
        assert daemon.process.stderr.read() == ""
    # (A line that was broken in two would have no time stamp.)
    messages = [checked(message.encode("utf-8")) for message in daemon.messages()]
    assert all(message.isascii() for message in messages)
    assert max(map(len, names_said(daemon))) < LONGEST_DATAGRAM
    assert not [message for message in messages if message.startswith(("defect", "suppressed"))]
    wanted = {
        *(line_about(host, wire) for host, wire in hosts.items()),
        *(f"unconfirmed [{host}] name=chain{number}.example.org addresses=0" for number, host in enumerate(chains)),
        f"unconfirmed [{last}] name=last.example.org addresses=0"}
    said = names_said(daemon)
    assert len(said) == len(set(said))
    assert wanted >= set(said)
    # But for what a busy machine did not answer in time.
    assert len(wanted) - len(said) == failed(counters) - len(broken) <= counters["timed-out"] < 10
    assert counters["looked-up"] == asked


def all_ended(daemon: DaemonProcess, asked: int) -> bool:
    """Whether so many lookups have come to an end, with a line about the name or without answer."""
    said = len(names_said(daemon))
    return said >= asked or said + failed(daemon.counters()) >= asked


def failed(counters: dict[str, int]) -> int:
    """Lookups without an answer."""
    return counters["lookup-failed"] + counters["timed-out"]


def names_said(daemon: DaemonProcess) -> list[str]:
    """The lines about names, so far."""
    return [message for message in daemon.messages() if " name=" in message]


def line_about(host: str, wire: bytes) -> str:
    """What the log has to say of a host with this name."""
    name = presented(wire)
    if len(wire) > 1 and all(byte in HOSTNAME_BYTES for byte in wire[1:1 + wire[0]]):
        return f"unconfirmed [{host}] name={name.lower()} addresses=0"
    return f"bad-name [{host}] name={shown(name[:LONGEST_QUOTED])}"


# ---- the kernel, helpers and files

any_bytes = st.binary(max_size=300) | st.sampled_from(EVERY_BYTE).map(lambda byte: b"Error: " + byte + b" x")


class Unreadable(MemoryTarget):
    """A kernel table that fails with a text."""

    def read(self) -> tuple[list[Copied], bool]:
        assert self.fault
        raise self.fault


@given(any_bytes)
@settings(deadline=None)
def test_what_a_helper_says_is_one_line(output: bytes) -> None:
    with chain_to_pipe() as (chain, messages):
        table = Unreadable()
        table.fault = TargetError(output.decode("utf-8", "replace"))
        Mirror(table, Whitelist(Table(16, 1), lambda: 1, threads=1), chain.log, good(MINIMUM)).open()
    assert [message.partition(" reason=")[0] for message in messages] == ["kernel-table-broken table=memory"]


@given(st.lists(any_bytes | st.sampled_from(EVERY_BYTE).map(lambda byte: b"queue-num " + byte), max_size=4))
@settings(deadline=None)
def test_a_file_of_any_bytes_is_a_line_a_problem(lines: list[bytes]) -> None:
    problems = configfile.parse(b"\n".join(lines), "conf")[1]
    for problem in problems:
        # As --check prints it.
        assert str(problem).isprintable()
    with chain_to_pipe() as (chain, messages):
        for problem in problems:
            chain.log.warning("config", where=problem.where, reason=problem.message)
    assert len(messages) == len(problems)
