"""Link headers of captures, written by hand from their layouts (https://www.tcpdump.org/linktypes.html)."""
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

ETHERTYPES = {4: 0x0800, 6: 0x86DD}
FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6 of Linux


def version(packet: bytes) -> int:
    """IP version by the first byte."""
    return 6 if packet[:1] and packet[0] >> 4 == 6 else 4


def ethernet(packet: bytes) -> bytes:
    """Ethernet II."""
    return bytes(12) + struct.pack("!H", ETHERTYPES[version(packet)]) + packet


def vlan(packet: bytes) -> bytes:
    """One 802.1Q tag."""
    return bytes(12) + struct.pack("!HHH", 0x8100, 7, ETHERTYPES[version(packet)]) + packet


def double_vlan(packet: bytes) -> bytes:
    """An 802.1ad tag before an 802.1Q tag."""
    return bytes(12) + struct.pack("!HHHHH", 0x88A8, 7, 0x8100, 8, ETHERTYPES[version(packet)]) + packet


def pppoe(packet: bytes) -> bytes:
    """A PPPoE session behind a VLAN tag."""
    protocol = 0x21 if version(packet) == 4 else 0x57
    return bytes(12) + struct.pack("!HHHBBHHH", 0x8100, 7, 0x8864, 0x11, 0, 1, len(packet) + 2, protocol) + packet


def ppp(packet: bytes) -> bytes:
    """PPP with address and control."""
    return struct.pack("!BBH", 0xFF, 3, 0x21 if version(packet) == 4 else 0x57) + packet


def mpls(packet: bytes) -> bytes:
    """Two MPLS labels, the second one the last."""
    return bytes(12) + struct.pack("!HII", 0x8847, 5 << 12, 6 << 12 | 1 << 8 | 64) + packet


def tagged_cooked(packet: bytes) -> bytes:
    """Linux cooked v1 with a VLAN tag."""
    return struct.pack("!HHH8sHHH", 0, 1, 6, bytes(8), 0x8100, 7, ETHERTYPES[version(packet)]) + packet


def tagged_cooked2(packet: bytes) -> bytes:
    """Linux cooked v2 with two VLAN tags."""
    return (struct.pack("!HHIHBB8s", 0x88A8, 0, 2, 1, 0, 6, bytes(8))
            + struct.pack("!HHHH", 7, 0x8100, 8, ETHERTYPES[version(packet)]) + packet)


def raw(packet: bytes) -> bytes:
    """No link header."""
    return packet


def cooked(packet: bytes) -> bytes:
    """Linux cooked v1."""
    return struct.pack("!HHH8sH", 0, 1, 6, bytes(8), ETHERTYPES[version(packet)]) + packet


def cooked2(packet: bytes) -> bytes:
    """Linux cooked v2."""
    return struct.pack("!HHIHBB8s", ETHERTYPES[version(packet)], 0, 2, 1, 0, 6, bytes(8)) + packet


def null(packet: bytes) -> bytes:
    """BSD loopback, the family in the order of a little-endian machine."""
    return struct.pack("<I", FAMILIES[version(packet)]) + packet


def null_bsd(packet: bytes) -> bytes:
    """The same with FreeBSD's AF_INET6."""
    return struct.pack("<I", 2 if version(packet) == 4 else 28) + packet


def loop(packet: bytes) -> bytes:
    """OpenBSD loopback, the family in network order, with OpenBSD's AF_INET6."""
    return struct.pack("!I", 2 if version(packet) == 4 else 24) + packet


def nflog(packet: bytes) -> bytes:
    """NFLOG: packet header, prefix (padded) and mark attributes before the payload."""
    def attribute(kind: int, body: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(body), kind) + body + bytes(-len(body) % 4)
    return (struct.pack("!BBH", FAMILIES[version(packet)], 0, 5) + attribute(1, bytes(4)) + attribute(10, b"mx\0")
            + attribute(2, bytes(4)) + attribute(9, packet) + attribute(3, bytes(4)))


def pflog(length: int, inet6: int) -> Callable[[bytes], bytes]:
    """PFLOG with a header of `length` bytes, padded to 4, and a system's AF_INET6."""
    def wrap(packet: bytes) -> bytes:
        family = 2 if version(packet) == 4 else inet6
        return bytes([length, family]) + bytes((length + 3 & ~3) - 2) + packet
    return wrap


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ethernet": (1, ethernet), "vlan": (1, vlan), "double-vlan": (1, double_vlan), "raw": (101, raw),
    "pppoe": (1, pppoe), "ppp": (9, ppp), "mpls": (1, mpls), "mpls-alone": (219, lambda packet: mpls(packet)[14:]),
    "pppoe-alone": (51, lambda packet: pppoe(packet)[18:]), "cooked-vlan": (113, tagged_cooked),
    "cooked2-qinq": (276, tagged_cooked2),
    "raw-dlt": (12, raw), "cooked": (113, cooked), "cooked2": (276, cooked2), "null": (0, null),
    "null-bsd": (0, null_bsd),
    "loop": (108, loop), "nflog": (239, nflog), "pflog-freebsd": (117, pflog(61, 28)),
    "pflog-freebsd14": (117, pflog(69, 28)),
    "pflog-netbsd": (117, pflog(61, 24)), "pflog-openbsd": (117, pflog(100, 24)),
}


def pcap(path: Path, link_type: int, records: Sequence[bytes], *, nanoseconds: bool = False, order: str = "=",
         times: Sequence[tuple[int, int]] = ()) -> Path:
    """Write a pcap file; times are (seconds, micro- or nanoseconds), one second apart where none are given."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    with path.open("wb") as file:
        file.write(struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link_type))
        for number, record in enumerate(records):
            seconds, fraction = times[number] if times else (1_700_000_000 + number, 0)
            file.write(struct.pack(f"{order}IIII", seconds, fraction, len(record), len(record)) + record)
    return path


def pcapng(path: Path, link_type: int, records: Sequence[bytes]) -> Path:
    """Write a pcapng file: section header, one interface, enhanced packet blocks."""
    def block(kind: int, body: bytes) -> bytes:
        length = 12 + len(body)
        return struct.pack("=II", kind, length) + body + struct.pack("=I", length)
    with path.open("wb") as file:
        file.write(block(0x0A0D0D0A, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1)))
        file.write(block(1, struct.pack("=HHI", link_type, 0, 65535)))
        for number, record in enumerate(records):
            time = (1_700_000_000 + number) * 1_000_000
            file.write(block(6, struct.pack("=IIIII", 0, time >> 32, time & 0xffffffff, len(record), len(record))
                             + record + bytes(-len(record) % 4)))
    return path
