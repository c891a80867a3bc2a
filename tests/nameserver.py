"""A name server of the tests' own, over UDP and TCP, that also misbehaves.

    python -m tests.nameserver PORT [ADDRESS]

Reads a zone from standard input until an empty line, one `NAME TYPE DATA` a line (`NAME TYPE *COUNT` makes up so many
addresses, `NAME TYPE =HEX` is data as it goes over the wire), prints "ready", and prints each question as `NAME TYPE`
from then on. Type `FAULT` makes all questions for a name go wrong: silent, slow, servfail, wrong-id, odd, empty,
truncated (whole over TCP). `NAME DEAD all` leaves all questions for names at and below it without an answer,
`NAME LIES DOMAIN` answers PTR questions below it with a name of its own below DOMAIN, and `NAME ALIASES DOMAIN` makes
each name below it an alias of one below DOMAIN.
"""
import socket
import struct
import sys
import threading
import time
from collections import defaultdict
from ipaddress import ip_address

from dnslib import AAAA, CNAME, MX, PTR, QTYPE, RCODE, RD, RR, TXT, A, DNSRecord

SLOW_S = 30
Zone = dict[tuple[str, str], list[str]]


def mail_exchanger(text: str) -> MX:
    """From preference and name, as in a zone file."""
    preference, name = text.split()
    return MX(name, int(preference))


def strings(text: str) -> TXT:
    """From strings with | between them."""
    return TXT(text.split("|"))


DATA = {"A": A, "AAAA": AAAA, "PTR": PTR, "CNAME": CNAME, "MX": mail_exchanger, "TXT": strings}


def read_zone() -> Zone:
    """The zone from standard input."""
    zone: Zone = defaultdict(list)
    for line in sys.stdin:
        if not line.strip():
            break
        name, kind, data = line.split(None, 2)
        data = data.strip()
        if data.startswith("*"):
            first = int(ip_address("10.1.0.0" if kind == "A" else "2001:db8:1::"))
            made = [str(ip_address(first + number)) for number in range(int(data[1:]))]
            zone[name.lower(), kind].extend(made)
        else:
            zone[name.lower(), kind].append(data)
    return zone


def record_data(kind: str, text: str) -> RD:
    """The data of a record."""
    return RD(bytes.fromhex(text[1:])) if text.startswith("=") else DATA[kind](text)


def rule(zone: Zone, name: str, kind: str) -> str:
    """The data of that kind at the name or nearest above it; empty where there is none."""
    labels = name.split(".")
    above = (".".join(labels[at:]) for at in range(len(labels)))
    return next((zone[one, kind][0] for one in above if (one, kind) in zone), "")


def answer(zone: Zone, question: DNSRecord, *, tcp: bool) -> bytes | None:
    """The reply, None where there is none."""
    name = str(question.q.qname).rstrip(".").lower()
    kind = QTYPE[question.q.qtype]
    # In one piece: each question has a thread of its own.
    print(f"{name} {kind}\n", end="", flush=True)
    fault = next(iter(zone.get((name, "FAULT"), [])), "")
    reply = question.reply()
    if fault == "silent" or rule(zone, name, "DEAD"):
        return None
    if fault == "slow":
        time.sleep(SLOW_S)
    if fault == "empty":
        return b""
    if fault == "odd":
        return bytes(reply.pack())[:4] + bytes(range(256))
    if fault == "servfail":
        reply.header.rcode = RCODE.SERVFAIL
        return bytes(reply.pack())
    if fault == "truncated" and not tcp:
        reply.header.tc = 1
        return bytes(reply.pack())
    at, seen = name, set()
    while (at, "CNAME") in zone and at not in seen:
        seen.add(at)
        target = zone[at, "CNAME"][0]
        reply.add_answer(RR(at, QTYPE.CNAME, rdata=record_data("CNAME", target), ttl=60))
        at = target.lower()
    if kind == "PTR" and (domain := rule(zone, name, "LIES")):
        reply.add_answer(RR(name, QTYPE.PTR, rdata=PTR(f"n{name.replace('.', '-')}.{domain}"), ttl=60))
    if kind != "PTR" and (domain := rule(zone, name, "ALIASES")):
        reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(f"{name.split('.')[0]}.{domain}"), ttl=60))
        reply.add_answer(RR(f"{name.split('.')[0]}.{domain}", question.q.qtype, rdata=record_data(
            kind, "192.0.2.1" if kind == "A" else "2001:db8::1"), ttl=60))
    for data in zone.get((at, kind), []):
        reply.add_answer(RR(at, question.q.qtype, rdata=record_data(kind, data), ttl=60))
    if not reply.rr and not any(one == at for one, _ in zone):
        reply.header.rcode = RCODE.NXDOMAIN
    if fault == "wrong-id":
        reply.header.id = (reply.header.id + 1) % 65536
    packet = bytes(reply.pack())
    if not tcp and len(packet) > 1232:
        short = question.reply()
        short.header.tc = 1
        return bytes(short.pack())
    return packet


def serve_udp(zone: Zone, server: socket.socket) -> None:
    """Answer datagrams, each in a thread of its own: a slow one holds up no other."""
    def one(data: bytes, peer: tuple[str, int]) -> None:
        reply = answer(zone, DNSRecord.parse(data), tcp=False)
        if reply is not None:
            server.sendto(reply, peer)
    while True:
        data, peer = server.recvfrom(4096)
        threading.Thread(target=one, args=(data, peer), daemon=True).start()


def serve_tcp(zone: Zone, server: socket.socket) -> None:
    """Answer questions over TCP (RFC 1035, 4.2.2)."""
    def one(connection: socket.socket) -> None:
        with connection:
            while head := connection.recv(2, socket.MSG_WAITALL):
                data = connection.recv(struct.unpack("!H", head)[0], socket.MSG_WAITALL)
                reply = answer(zone, DNSRecord.parse(data), tcp=True)
                if reply is None:
                    return
                # Ten thousand addresses do not fit into a message.
                connection.sendall(struct.pack("!H", len(reply)) + reply)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


def main() -> None:
    """Serve until the end."""
    port, where = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    zone = read_zone()
    udp = socket.socket(socket.AF_INET6 if ":" in where else socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.socket(udp.family, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # A tuple of two would lose the zone of a link-local address.
    place = socket.getaddrinfo(where, port, udp.family)[0][4]
    udp.bind(place)
    tcp.bind(place)
    tcp.listen(64)
    threading.Thread(target=serve_tcp, args=(zone, tcp), daemon=True).start()
    print("ready", flush=True)
    serve_udp(zone, udp)


if __name__ == "__main__":
    main()
