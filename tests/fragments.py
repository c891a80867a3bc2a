"""SYNs to port 25 as whole packets, with checksums, and cut into fragments: what an attacker would try at a filter."""
import itertools
import socket
import struct

from tests.strategies import DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING, TCP

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
MORE = 0x2000
_idents = itertools.count(100)


def address(text: str) -> bytes:
    """As a packet has it: 4 bytes, or 16."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def segment(
    source: bytes, server: bytes, port: int, flags: int = SYN, *, options: bytes = b"", data: bytes = b"",
) -> bytes:
    """RFC 9293, 3.1, from `port` to 25. `options` are whole words."""
    words = 5 + len(options) // 4
    made = struct.pack("!HHIIBBHHH", port, 25, 1000, 0, words << 4, flags, 64240, 0, 0) + options + data
    pseudo = source + server + struct.pack("!IHH", len(made), 0, TCP)
    return made[:16] + struct.pack("!H", checksum(pseudo + made)) + made[18:]


def ipv4(source: bytes, server: bytes, payload: bytes, *, word: int = 0, ident: int = 1, options: bytes = b"") -> bytes:
    """RFC 791, 3.1. `word` has the flags and the offset in units of 8 bytes."""
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 4 << 4 | words, 0, 4 * words + len(payload), ident, word, 64, TCP, 0, source,
                       server) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(source: bytes, server: bytes, first: int, payload: bytes) -> bytes:
    """RFC 8200, 3. `first` is the protocol number of what `payload` begins with."""
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), first, 64, source, server) + payload


def padding(following: int) -> bytes:
    """Hop-by-hop or destination options of 8 bytes that mean nothing."""
    return struct.pack("!BB", following, 0) + bytes([1, 4, 0, 0, 0, 0])


def fragment_header(following: int, offset: int, more: bool, ident: int) -> bytes:
    """RFC 8200, 4.5."""
    return struct.pack("!BBHI", following, 0, offset | more, ident)


def attempts4(source: str, server: str, port: int) -> dict[str, list[bytes]]:
    """Connection attempts by IPv4, each from `port`: the packets in the order of sending."""
    ends = address(source), address(server)
    plain = segment(*ends, port)
    long, harmless = (segment(*ends, port, flags, data=bytes(100)) for flags in (SYN, ACK))
    nops = bytes([1] * 40)
    ident = next(_idents)

    def cut(first: int, last: int, data: bytes = long, extra: int = 0, options: bytes = b"") -> bytes:
        word = extra | first // 8 | (MORE if last < len(data) else 0)
        return ipv4(*ends, data[first:last], word=word, ident=ident, options=options)

    rest = cut(8, 120)
    return {
        "plain": [ipv4(*ends, plain)],
        "options": [ipv4(*ends, plain, options=nops)],
        "tcp options": [ipv4(*ends, segment(*ends, port, options=nops))],
        "fast open": [ipv4(*ends, segment(*ends, port, options=b"\x22\x0aa cookie\1\1", data=b"EHLO"))],
        **{f"flags {flags:#x}": [ipv4(*ends, segment(*ends, port, flags))] for flags in (
            SYN | ECE | CWR, SYN | PSH, SYN | URG, SYN | ECE, SYN | FIN, SYN | RST, SYN | FIN | PSH | URG, 0)},
        "8": [cut(0, 8), rest],
        "8, reserved": [cut(0, 8, extra=0x8000), rest],
        "8, may not be cut": [cut(0, 8, extra=0x4000), rest],
        "8, options": [cut(0, 8, options=nops), rest],
        "8, 8": [cut(0, 8), cut(8, 16), cut(16, 120)],
        "8 last": [rest, cut(0, 8)],
        "16": [cut(0, 16), cut(16, 120)],
        "16, options": [cut(0, 16, options=nops), cut(16, 120)],
        "24": [cut(0, 24), cut(24, 120)],
        "64": [cut(0, 64), cut(64, 120)],
        "64 last": [cut(64, 120), cut(0, 64)],
        "flags overlap": [cut(0, 64, harmless), rest],
        "flags overlapped": [rest, cut(0, 64, harmless)],
        "flags within": [cut(0, 64, harmless), cut(8, 16), cut(64, 120)],
        "flags before": [cut(8, 16), cut(0, 64, harmless), cut(64, 120)],
    }


def attempts6(source: str, server: str, port: int) -> dict[str, list[bytes]]:
    """The same by IPv6."""
    ends = address(source), address(server)
    plain = segment(*ends, port)
    long, harmless = (segment(*ends, port, flags, data=bytes(100)) for flags in (SYN, ACK))
    ident = next(_idents)

    def cut(first: int, last: int, data: bytes = long, following: int = TCP) -> bytes:
        return ipv6(*ends, FRAGMENT, fragment_header(following, first, last < len(data), ident) + data[first:last])

    behind, behind_two = padding(TCP) + long, padding(DESTINATION) + padding(TCP) + long
    atomic = fragment_header(FRAGMENT, 0, False, ident)
    return {
        "plain": [ipv6(*ends, TCP, plain)],
        "hop by hop": [ipv6(*ends, HOP_BY_HOP, padding(TCP) + plain)],
        "destination": [ipv6(*ends, DESTINATION, padding(TCP) + plain)],
        "both": [ipv6(*ends, HOP_BY_HOP, padding(DESTINATION) + padding(TCP) + plain)],
        "eight": [ipv6(*ends, DESTINATION, padding(DESTINATION) * 7 + padding(TCP) + plain)],
        "routing": [ipv6(*ends, ROUTING, struct.pack("!BBBBI", TCP, 0, 0, 0, 0) + plain)],
        "atomic": [ipv6(*ends, FRAGMENT, fragment_header(TCP, 0, False, ident) + plain)],
        "atomic between": [ipv6(*ends, HOP_BY_HOP, padding(FRAGMENT) + fragment_header(DESTINATION, 0, False, ident)
                                + padding(TCP) + plain)],
        "atomic twice": [ipv6(*ends, FRAGMENT, atomic + fragment_header(TCP, 0, False, ident) + plain)],
        "fragments in an atomic one": [ipv6(*ends, FRAGMENT, atomic + fragment_header(TCP, first, not first, ident)
                                            + long[first:last]) for first, last in ((0, 8), (8, 120))],
        **{f"flags {flags:#x}": [ipv6(*ends, TCP, segment(*ends, port, flags))] for flags in (
            SYN | ECE | CWR, SYN | PSH, SYN | URG, SYN | FIN, SYN | RST, 0)},
        "8": [cut(0, 8), cut(8, 120)],
        "16": [cut(0, 16), cut(16, 120)],
        "24": [cut(0, 24), cut(24, 120)],
        "64": [cut(0, 64), cut(64, 120)],
        "64 last": [cut(64, 120), cut(0, 64)],
        "options cut": [cut(0, 8, behind, DESTINATION), cut(8, 128, behind, DESTINATION)],
        "tcp cut": [cut(0, 24, behind, DESTINATION), cut(24, 128, behind, DESTINATION)],
        "second options cut": [cut(0, 8, behind_two, DESTINATION), cut(8, 136, behind_two, DESTINATION)],
        "other protocol first": [cut(0, 24, following=59), cut(24, 120)],
        "other protocol last": [cut(24, 120), cut(0, 24, following=17)],
        "flags overlap": [cut(0, 64, harmless), cut(8, 120)],
        "flags overlapped": [cut(8, 120), cut(0, 64, harmless)],
        "flags within": [cut(0, 64, harmless), cut(8, 16), cut(64, 120)],
        "flags before": [cut(8, 16), cut(0, 64, harmless), cut(64, 120)],
    }


def hidden6(source: str, server: str, port: int) -> dict[str, list[bytes]]:
    """A SYN by IPv6 behind a fragment header that is not the first one.

    Linux 6.18 with connection tracking takes that header away and reads what follows as a header of the kind of the
    first one, while rules read it as what the fragment header, or the one before it, says that it is.
    """
    ends = address(source), address(server)
    plain = segment(*ends, port)
    ident = next(_idents)

    def behind(following: int, what: bytes, first: bytes = padding(FRAGMENT), kind: int = DESTINATION) -> list[bytes]:
        return [ipv6(*ends, kind, first + fragment_header(following, 0, False, ident) + what + plain)]

    route = struct.pack("!BBBBI", FRAGMENT, 0, 0, 0, 0)
    authentication = struct.pack("!BBHII", FRAGMENT, 1, 0, 0, 0)
    # A TCP header with ACK to another port, and an option of 20 bytes in a header of 24 that asks to be skipped.
    other = struct.pack("!BBHIIBBHHH", TCP, 2, 0x1e14, 0, 0, 5 << 4, ACK, 0, 0, 0) + bytes(4)
    return {
        **{f"destination, {number}": behind(number, padding(TCP)) for number in (17, 50, 58, 59, 135, 139, 140, 253)},
        "routing": behind(50, struct.pack("!BBBBI", TCP, 0, 0, 0, 0), first=route, kind=ROUTING),
        "hop by hop": behind(50, padding(TCP), first=padding(DESTINATION) + padding(FRAGMENT), kind=HOP_BY_HOP),
        "authentication": behind(DESTINATION, padding(TCP), first=padding(51) + authentication),
        "another segment": behind(TCP, other),
        "a later fragment": behind(FRAGMENT, struct.pack("!BBHI", TCP, 0, 0x0104, 0)),
    }
