"""Inputs and words that each target begins with, made from what the other tests build: no file of them is kept."""
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

from mxallowd.engine._ring import EVENT_SIZE
from mxallowd.fleet.batch import NAME, WAY, Note, flush, removal
from mxallowd.mirrors.kernel.helper import RECORD, REQUEST
from mxallowd.settings.options import OPTIONS
from tests.fleet_stream import Receiver, Sender, entries
from tests.links import LINKS, pcap, pcapng
from tests.strategies import FAKE, HOP_BY_HOP, HOSTS, REAL, ROUTING, ipv4, ipv6, syn
from tests.test_nfnetlink import NLMSG_ERROR, NLMSG_NOOP, attribute, message, queued

# As in capture.c.
LINK_TYPES = (0, 1, 9, 12, 14, 50, 51, 101, 108, 113, 117, 219, 228, 229, 239, 276)
SEGMENT = syn(HOSTS[0], FAKE[0])[20:]
PACKETS = (
    syn(HOSTS[0], FAKE[0]), syn(HOSTS[6], FAKE[2]), ipv4(HOSTS[0], REAL[0], SEGMENT, options=bytes(8)),
    ipv4(HOSTS[0], REAL[0], SEGMENT, fragment=0x2001), ipv6(HOSTS[6], REAL[1], SEGMENT, extensions=(
        (HOP_BY_HOP, bytes(6)), (ROUTING, bytes(14)), (51, bytes([4]) + bytes(21)))),
    ipv4(HOSTS[0], REAL[0], protocol=17))
PROGRAMS = (b"", bytes([1, 1, 0, 25, 1, 2, 2, 75, 3, 0, 0, 0]), bytes([0, 0, 0, 0, 1, 3, 0, 25, 2, 0, 0, 0]))

# nf_tables, as the kernel answers.
NEW_ELEMENTS, NEW_OBJECT, DONE, INTERRUPTED = 10 << 8 | 12, 10 << 8 | 18, 3, 0x10
GENERIC = bytes([1, 0, 0, 0])


def answer(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A netlink message that answers the first question."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body + bytes(-len(body) % 4)


def element(key: bytes, *, timeout: bool = True) -> bytes:
    """An element of a set, with or without the attributes of a timeout."""
    times = attribute(4, (3_600_000).to_bytes(8, "big")) + attribute(5, (1_800_000).to_bytes(8, "big"))
    return attribute(0x8001, attribute(0x8001, attribute(1, key)) + (times if timeout else b""))


def datagrams(method: int, *parts: bytes) -> bytes:
    """An input of the target `nftables`."""
    return bytes([method]) + b"".join(struct.pack("=H", len(part)) + part for part in parts)


def elements(*several: bytes, flags: int = 0) -> bytes:
    """A NFT_MSG_NEWSETELEM."""
    return answer(NEW_ELEMENTS, GENERIC + attribute(0x8003, b"".join(several)), flags)


def request(verb: int, *records: bytes) -> bytes:
    """A request to the helper."""
    return REQUEST.pack(verb, len(records)) + b"".join(records)


def _headers() -> list[bytes]:
    batch = [bytes([len(packet)]) + packet for packet in PACKETS]
    return [*batch, b"".join(batch), b"\0", b"\x14" + PACKETS[1]]


def _nfnetlink() -> list[bytes]:
    error = message(NLMSG_ERROR, struct.pack("=i", -2) + bytes(16))
    single = [queued(number, packet) for number, packet in enumerate(PACKETS)]
    noop = message(NLMSG_NOOP, b"")
    return [*single, b"".join(single[:2]), error, error + single[0], noop + single[1], single[0][:40]]


def _capture() -> list[bytes]:
    return [
        bytes([LINK_TYPES.index(number), len(program) // 4]) + program + wrap(packet)
        for number, wrap in LINKS.values() for packet, program in zip(PACKETS[:3], PROGRAMS, strict=True)]


def _capture_file() -> list[bytes]:
    seeds = []
    with TemporaryDirectory() as directory:
        path = Path(directory) / "a"
        for order in "<>":
            seeds.append(pcap(path, 1, PACKETS[:3], order=order).read_bytes())
        seeds += [pcap(path, 101, PACKETS, nanoseconds=True).read_bytes(), pcapng(path, 113, PACKETS).read_bytes()]
    return [bytes([step]) + seed for step in (0, 9, 255) for seed in seeds]


def _configuration() -> list[bytes]:
    servers = b"fake-mailserver 192.0.2.3\nreal-mailserver 2001:db8::5\n"
    return [
        servers + b"queue-num 23:24\nwhitelist-time 3600\n# comment\r\n\r\nquiet\n",
        b"\xef\xbb\xbf" + servers + b"pflog-interface nflog:5\npcap-filter dst port 25 or 587\nnft-table inet mx\n",
        b"\tPF-TABLE mx-white \nuser mxallowd\npid-file run/pid\ndns-server [2001:db8::1]:53\nunknown 1\nquiet 1\n"
        b"config x"]


def _filter() -> list[bytes]:
    return [b"tcp and (dst port smtp || src port 26)", b"port 25 or 587 && tcp dst port 1", b"port \xff", b"port 99999"]


def _nftables() -> list[bytes]:
    four, six = element(bytes(4)), element(bytes(16))
    counter = answer(NEW_OBJECT, GENERIC + attribute(1, b"mx\0") + attribute(0x8004, attribute(2, bytes(8))))
    missing = answer(2, struct.pack("=i", -2) + bytes(16))
    refused = answer(2, struct.pack("=i", -1) + bytes(16))
    done = answer(DONE, bytes(4))
    return [
        datagrams(0, elements(four), missing), datagrams(0, refused), datagrams(0, elements(six) + missing),
        datagrams(1, counter), datagrams(1, missing), datagrams(2, elements(four, four), elements(six) + done),
        datagrams(2, elements(element(bytes(4), timeout=False), six, flags=INTERRUPTED), done, done)]


def _ipset() -> list[bytes]:
    def held(key: bytes, seconds: int, more: bytes = b"") -> bytes:
        address = attribute(0x8001, attribute(1 if len(key) == 4 else 2, key))
        return attribute(0x8007, address + attribute(0x4006, seconds.to_bytes(4, "big")) + more)

    def listed(*entries: bytes) -> bytes:
        data = attribute(0x4013, bytes(4)) + attribute(0x4006, bytes(4)) + attribute(20, b"\x18")
        return answer(6 << 8 | 7, GENERIC + attribute(2, b"mx\0") + attribute(3, b"hash:ip\0") + attribute(
            0x8007, data) + attribute(0x8008, b"".join(entries)), 2)

    four, own = held(bytes(4), 60), held(b"\1" * 4, 0, attribute(26, b"hi\0"))
    six, done = held(bytes(16), 60), answer(DONE, bytes(4))
    refused = answer(2, struct.pack("=i", -4103) + struct.pack("=IHHII", 40, 0x60a, 5, 1, 0))
    return [datagrams(0, listed(four, four) + done), datagrams(0, listed(four, own), done), datagrams(0, refused),
            datagrams(2, listed(six, six), done), datagrams(1, listed(), done, refused), datagrams(3, refused)]


def _arguments() -> list[bytes]:
    return [
        b"-f\x00192.0.2.3\0-r\x002001:db8::5\0-n\x0023", b"--fake-mailserver=192.0.2.3\0--quiet\0-F\0--",
        b"-bsq\0-t3600\0--check\0--help", b"--print-ruleset\0b\0--iptables",
        b"--pcap-filter\0port 25\0-p\0nflog:5\0word"]


def _events() -> list[bytes]:
    record = struct.pack("=BBHIQ16s16sQ8x", 4, 3, 23, 20, 5, HOSTS[0], HOSTS[6], 9)
    return [record, record * 2, record[:-1], bytes(EVENT_SIZE)]


def _proc() -> list[bytes]:
    head = b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
    return [
        b"\x07" + head + b"00000000e0a9c8f5 12  7          00000000 2304     0        0     2        5        21333\n",
        b"\x07" + head + b"00000000e0a9c8f5 0   7          00000000 0        0        0     2        0        21333\n"]


def _helper() -> list[bytes]:
    record = RECORD.pack(1, HOSTS[0])
    other = RECORD.pack(2, HOSTS[6])
    verbs = [request(verb, record, other) for verb in range(1, 6)]
    return [bytes([kind]) + one for kind in range(2) for one in (*verbs, b"".join(verbs), verbs[2][:-5])]


def _batch() -> list[bytes]:
    sender = Sender(Receiver())
    way, name = Note(0, WAY, "mail.example.org"), Note(1, NAME, "a.example.org")
    said = (entries(1), entries(1, 2, flags=1), entries(1) + removal(HOSTS[0], 5) + entries(3), flush(1), b"")
    messages = [data for records in said if (data := sender.say(records)[1])]
    messages += [data for data in (sender.say(entries(1, 2), [way, name])[1], Sender(
        Receiver(), "mx1").say(entries(5))[1]) if data]
    # Without the number of the key, and without the seal (interpreted.py).
    return [one[:1] + one[5:-16] for one in messages] + [b"\0" + one for one in messages]


def _visit() -> list[bytes]:
    return [
        b"csrf=abc&q=a+b%20c&note=%c3%a4", b"/search?q=192.0.2.1&x=%26", b"//evil.example/%2e%2e", b"a=b&a=c",
        b"mxallowd-console=" + b"A" * 43 + b"; other=1", b"192.0.2.7, 127.0.0.2", b"2001:db8::1,[::1]:80",
        b"http://console.example:8025", b"/search?q=" + b"%41" * 150]


SEEDS = {
    "headers": _headers, "nfnetlink": _nfnetlink, "capture": _capture, "configuration": _configuration,
    "filter": _filter, "nftables": _nftables, "ipset": _ipset, "arguments": _arguments,
    "events": _events, "proc": _proc, "helper": _helper, "capture-file": _capture_file,
    "batch": _batch, "visit": _visit}
_VALUES = (
    "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "nflog:5", "file:", "pflog0", "inet mx", "ip6", "port 25", "23:24")
WORDS = {
    "configuration": tuple(option.name for option in OPTIONS) + _VALUES,
    "arguments": tuple(f"--{option.name}" for option in OPTIONS) + _VALUES,
    "filter": ("port", "tcp", "src", "dst", "and", "or", "&&", "||", "(", ")", "smtp", "25", "65535"),
}
"""For the inputs that are text: libFuzzer finds hardly a word by itself."""


def write(target: str, directory: Path) -> None:
    """Write a file for each seed of a target into `directory`, and the words beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]()):
        (directory / f"{number:02}").write_bytes(seed)
    words = "".join(f'"{word}"\n' for word in WORDS.get(target, ()))
    directory.with_suffix(".words").write_text(words, encoding="ascii")
