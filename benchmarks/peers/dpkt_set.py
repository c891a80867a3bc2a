"""The loop that most people would write first: dpkt parses, a set remembers."""
from collections.abc import Iterable
from time import perf_counter_ns

import dpkt


def decide(packets: Iterable[bytes], fake: set[bytes], real: set[bytes], known: set[bytes]) -> tuple[int, int, int]:
    """Decide packets from their IP headers on; nanoseconds that took, packets accepted, packets dropped."""
    accepted = dropped = 0
    started = perf_counter_ns()
    for packet in packets:
        parsed = dpkt.ip.IP(packet) if packet[0] >> 4 == 4 else dpkt.ip6.IP6(packet)
        if parsed.dst in fake:
            known.add(parsed.src)
            accepted += 1
        elif parsed.dst not in real or parsed.src in known:
            accepted += 1
        else:
            dropped += 1
    return perf_counter_ns() - started, accepted, dropped
