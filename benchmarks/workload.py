"""Connection attempts as a gateway sees them, and captures of them: the packets of every benchmark that reads none.

The sources come from a fixed population, a third of it IPv6. Senders meet the fake server, then the real one; most
spammers try the real server only, some the fake one only. The same arguments give the same packets.
"""
import random
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

FAKE4, FAKE6, REAL4, REAL6 = (
    ip_address(text).packed for text in ("192.0.2.10", "2001:db8::10", "192.0.2.20", "2001:db8::20"))
FAKE = ("192.0.2.10", "2001:db8::10")
REAL = ("192.0.2.20", "2001:db8::20")
LINKTYPE_RAW = 101
START_S = 1_700_000_000

# A population of ten: which of its members is what.
SENDERS, SPAMMERS_AT_THE_FAKE = 4, 1


def _host(number: int) -> bytes:
    """The address of a member: scattered, so that neighbours in number are not neighbours in memory."""
    scattered = number * 2654435761 % 2**32  # an odd factor: every number has its own, up to 2^26
    if number % 3 == 0:
        return ip_address("2001:db8:1::").packed[:8] + struct.pack("!Q", scattered * 0x9e3779b97f4a7c15 % 2**64)
    # 16.0.0.0/6: unicast addresses all of them.
    return struct.pack("!I", 0x10000000 + scattered % 2**26)


def syn(source: bytes, destination: bytes, port: int = 25) -> bytes:
    """A SYN with the header lengths of a usual one; checksums are zero."""
    tcp = struct.pack("!HHIIBBHHH", 49152, port, 1, 0, 5 << 4, 2, 64240, 0, 0)
    if len(source) == 4:
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0x4000, 64, 6, 0, source, destination) + tcp
    return struct.pack("!IHBB16s16s", 6 << 28, 20, 6, 64, source, destination) + tcp


def attempts(count: int, hosts: int, seed: int = 1) -> Iterator[bytes]:
    """`count` SYNs from a population of `hosts`."""
    choose = random.Random(seed)
    made = 0
    waiting: list[bytes] = []  # senders that were refused by the fake server and come to the real one a little later
    while made < count:
        if len(waiting) > 64:
            yield waiting.pop(choose.randrange(len(waiting)))
        else:
            number = choose.randrange(hosts)
            source = _host(number)
            fake, real = (FAKE4, REAL4) if len(source) == 4 else (FAKE6, REAL6)
            kind = number % 10
            if kind < SENDERS:
                waiting.append(syn(source, real))
            yield syn(source, fake if kind < SENDERS + SPAMMERS_AT_THE_FAKE else real)
        made += 1


def write_capture(path: Path, count: int, hosts: int, seed: int = 1, per_second: int = 100_000) -> None:
    """A capture (pcap, link type raw IP) of `count` attempts at an even rate."""
    with path.open("wb") as file:
        file.write(struct.pack("=IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, LINKTYPE_RAW))
        for number, packet in enumerate(attempts(count, hosts, seed)):
            seconds, rest = divmod(number, per_second)
            time = struct.pack("=II", START_S + seconds, rest * 1_000_000 // per_second)
            file.write(time + struct.pack("=II", len(packet), len(packet)) + packet)
