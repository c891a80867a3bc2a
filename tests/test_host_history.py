"""The memory of what hosts met: bounded, and a flood does not push out who is known."""
from mxallowd.engine.events import Event, Kind
from mxallowd.history.hosts import MOST_OF_A_HOST, Hosts
from tests.strategies import FAKE, HOSTS, REAL, packed


def event(kind: Kind, host: bytes, time_s: int, server: bytes, times: int = 0) -> Event:
    return Event(kind, 0, 23, times, time_s * 1_000_000, host, server, 0)


def test_what_a_host_met_in_its_order() -> None:
    hosts = Hosts(lambda: 9_000_000)
    hosts.handle([event(Kind.REFUSED, HOSTS[0], 1, REAL[0], 3), event(Kind.WHITELISTED, HOSTS[0], 5, FAKE[0])])
    hosts.handshake(HOSTS[0], REAL[0])
    assert [tuple(one) for one in hosts.find(HOSTS[0])] == [
        (1, "refused", REAL[0], 3), (5, "contact", FAKE[0], 1), (9, "handshake", REAL[0], 1)]
    assert hosts.find(HOSTS[1]) == []
    hosts.handle([event(Kind.REFUSED, HOSTS[0], 10 + number, REAL[0]) for number in range(50)])
    found = hosts.find(HOSTS[0])
    assert len(found) == MOST_OF_A_HOST
    # What happened once is not pushed out by what happens again and again.
    assert {"contact", "handshake"} < {one.what for one in found}


def test_a_connection_is_told_once_and_in_its_order() -> None:
    now_us = [5_000_000]
    hosts = Hosts(lambda: now_us[0])
    for _ in range(4):
        hosts.handshake(HOSTS[0], REAL[0])
    # The number of an event of a contact, or of a use, is a port.
    hosts.handle([event(Kind.WHITELISTED, HOSTS[0], 4, FAKE[0], 47563), event(Kind.ACCEPTED, HOSTS[0], 5, REAL[0], 9)])
    now_us[0] += 60_000_000
    hosts.handshake(HOSTS[0], REAL[0])
    assert [(one.time_s, one.what, one.times) for one in hosts.find(HOSTS[0])] == [
        (4, "contact", 1), (5, "accepted", 1), (5, "handshake", 1), (65, "handshake", 1)]


def test_a_flood_does_not_push_out_who_is_known() -> None:
    hosts = Hosts(lambda: 1_000_000, most=100)
    hosts.handshake(HOSTS[0], REAL[0])
    hosts.handle([event(Kind.REFUSED, HOSTS[1], 1, REAL[0]), event(Kind.REFUSED, HOSTS[1], 100, REAL[0])])
    hosts.handle([event(Kind.WHITELISTED, packed(f"10.0.{i >> 8}.{i & 255}"), 101, FAKE[0]) for i in range(5000)])
    assert len(hosts) == 102
    assert hosts.find(HOSTS[0])
    assert len(hosts.find(HOSTS[1])) == 2
