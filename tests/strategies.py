"""Packets as bytes, by hand and by hypothesis.

Checksums stay zero: the kernel has checked them before the daemon sees a packet, and the daemon looks at none.
"""
import struct
from ipaddress import ip_address

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mxallowd.mirrors import Listed, Listing
from mxallowd.whitelist import Whitelist, pack, unpack
from tests.oracle import MAPPED

TCP, UDP, HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 6, 17, 0, 43, 44, 60  # IANA protocol numbers


def packed(text: str) -> bytes:
    """An address as 16 bytes, IPv4 in IPv4-mapped form."""
    return ip_address(text).packed.rjust(16, b"\0") if ":" in text else MAPPED + ip_address(text).packed


def listing(*entries: Listed) -> Listing:
    """Hosts for a table to be filled with, whose times are counted from 0."""
    return Listing([b"".join(pack(one.host, 1_000_000 * one.remaining_s, used=one.used) for one in entries)], 0)


def listed(whitelist: Whitelist) -> dict[bytes, tuple[int, bool]]:
    """All hosts of a whitelist: until when, and whether they reached the real server."""
    return {host: (until_us, used == 1)
            for records in whitelist.records() for host, until_us, used in unpack(records)}


RECORD = struct.Struct("=16sQBBB5x")


def record(
    address: bytes, until_us: int, origin: int = 0, used: bool = False, proven: bool = False,
) -> bytes:
    """An entry of the whitelist as Table.entries gives it and Table.restore takes it."""
    return RECORD.pack(address, until_us, origin, used, proven)


FAKE = [packed("192.0.2.3"), packed("192.0.2.4"), packed("2001:db8::3")]
REAL = [packed("192.0.2.5"), packed("2001:db8::5"), packed("2001:db8::6")]
HOSTS = [packed(f"198.51.100.{i}") for i in range(1, 7)] + [packed(f"2001:db8:1::{i}") for i in range(1, 7)]


def ipv4(
    source: bytes, destination: bytes, payload: bytes = b"", *, protocol: int = TCP, options: bytes = b"",
    fragment: int = 0,
) -> bytes:
    """RFC 791, 3.1. `options` is padded to words; `fragment` is the word of flags and offset."""
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4
    header = struct.pack(
        "!BBHHHBBH4s4s", 4 << 4 | words, 0, 4 * words + len(payload), 1, fragment, 64, protocol, 0,
        source[12:], destination[12:])
    return header + options + payload


def ipv6(
    source: bytes, destination: bytes, payload: bytes = b"", *, protocol: int = TCP,
    extensions: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """RFC 8200, 3 and 4. `extensions` are (protocol number, body of 8 n - 2 bytes) in their order."""
    numbers = [number for number, _ in extensions] + [protocol]
    chain = b"".join(
        struct.pack("!BB", following, len(body) // 8) + body
        for (_, body), following in zip(extensions, numbers[1:], strict=True))
    return struct.pack(
        "!IHBB16s16s", 6 << 28, len(chain) + len(payload), numbers[0], 64, source, destination) + chain + payload


def segment(flags: int) -> bytes:
    """A TCP header to port 25 with these flags (RFC 9293, 3.1)."""
    return struct.pack("!HHIIBBHHH", 49152, 25, 1, 0, 5 << 4, flags, 64240, 0, 0)


def syn(source: bytes, destination: bytes, flags: int = 2) -> bytes:
    """The plain packet of a connection attempt at port 25, or with other flags, in the family of its destination."""
    return (ipv4 if destination.startswith(MAPPED) else ipv6)(source, destination, segment(flags))


hosts: SearchStrategy[bytes] = st.sampled_from(HOSTS) | st.binary(min_size=16, max_size=16)
payloads = st.binary(max_size=24) | st.builds(segment, st.sampled_from((2, 2, 0x12, 0x10, 0xC2)) | st.integers(0, 255))
protocols = st.just(TCP) | st.integers(0, 255)


def destinations(family: bytes) -> SearchStrategy[bytes]:
    """Servers of a family (MAPPED, or empty for IPv6), rarely anything else."""
    servers = st.sampled_from([server for server in FAKE + REAL if server.startswith(MAPPED) == bool(family)])
    return servers | servers | hosts


ipv4_packets = st.builds(
    ipv4, hosts, destinations(MAPPED), payloads, protocol=protocols, options=st.binary(max_size=40),
    fragment=st.integers(0, 0xffff))

extension_bodies = st.integers(0, 2).flatmap(lambda n: st.binary(min_size=8 * n + 6, max_size=8 * n + 6))
fragment_headers = st.tuples(st.just(FRAGMENT), st.binary(min_size=6, max_size=6))
other_headers = st.tuples(st.sampled_from((HOP_BY_HOP, ROUTING, DESTINATION)), extension_bodies)
ipv6_packets = st.builds(
    ipv6, hosts, destinations(b""), payloads, protocol=protocols,
    extensions=st.lists(fragment_headers | other_headers, max_size=3).map(tuple))

sound_packets = ipv4_packets | ipv6_packets
cut_packets = st.builds(lambda packet, end: packet[:end], sound_packets, st.integers(0, 100))
bent_packets = st.builds(lambda first, packet: bytes([first]) + packet[1:], st.integers(0, 255), sound_packets)
NO_HOSTS = [packed(text) for text in (
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "239.1.1.1", "255.255.255.255", "::", "::1",
    "::7f00:1", "fe80::1", "febf::1", "ff02::1")]
sources = st.sampled_from(HOSTS) | st.sampled_from(HOSTS) | st.sampled_from(HOSTS + NO_HOSTS + FAKE + REAL)
plain_packets = st.builds(syn, sources, st.sampled_from(FAKE + REAL))
packets: SearchStrategy[bytes] = st.one_of(
    plain_packets, plain_packets, sound_packets, cut_packets, bent_packets, st.binary(max_size=80))
