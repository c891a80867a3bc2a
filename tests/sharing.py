"""One whitelist under several native threads at once, with packets whose verdicts are certain whatever the order.

    python -m tests.sharing SECONDS

Two threads decide, each in its own shard, without the interpreter's lock. The shards are so small that they give
entries away all the time, and all hosts have one hash, so that every lookup passes every entry. A host that never met a
fake server must never be let in; the strangers here are made of the halves of two hosts that follow each other in
one entry, which is what a torn read would find. Hosts that have proved themselves are never pushed out, so they must
always be let in, in their own shard and seen from the other one. Beside them the main thread reads and lists the table,
marks, renews, ends, admits, restores and is told of hosts, and drains the rings. It reads the memory of refused hosts
as well: what it finds must be a host that was refused, with its own times. Prints what was counted, for a large and a
small shard, as JSON.
"""
import json
import struct
import sys
import threading
import time

from mxallowd._fastpath import Fastpath
from mxallowd.captures._capture import CANDIDATE_SIZE
from mxallowd.captures._replay import replay
from mxallowd.engine._refused import LEAST_HOSTS, STEP_US, Refused
from mxallowd.engine._ring import EVENT_SIZE, Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.engine._told import end_told, take
from tests.strategies import FAKE, REAL, packed, record, syn

SHARDS = 2
# Capacity of a shard, hosts in it that are never pushed out, hosts that come and go. The places that go round are an
# odd number. The small shard gives an entry away every few dozen nanoseconds, which is what finds a torn read.
LARGE, SMALL = (64, 9, 512), (3, 0, 8)
STRETCH = 8192
NOW_US = 3_000_000
LIFETIME_US = 3600 * 1_000_000
WIRE = struct.Struct(">16sIBB2x")  # as _told.pyi has a record
STEP = NOW_US // STEP_US * STEP_US


def candidate(packet: bytes) -> bytes:
    """A packet as _capture gives it."""
    head = packet[:CANDIDATE_SIZE - 12]
    return NOW_US.to_bytes(8, sys.byteorder) + len(head).to_bytes(4, sys.byteorder) + head.ljust(
        CANDIDATE_SIZE - 12, b"\0")


def to_fake(host: bytes) -> bytes:
    """The host meets a fake server."""
    return candidate(syn(host, FAKE[2]))


def to_real(host: bytes) -> bytes:
    """The host tries the real server."""
    return candidate(syn(host, REAL[1]))


def churning(shard: int, number: int, *, torn: bool) -> bytes:
    """A host that comes and goes, or with `torn` the stranger that has the upper half of its neighbour."""
    half = (number + torn) % 2
    return packed(f"2001:db8:{shard:x}:{half:x}:1::{number:x}")


def main(seconds: float, shape: tuple[int, int, int]) -> dict[str, int]:
    """Run for so long; what was counted. Wrong verdicts are `let-in` and `shut-out`."""
    capacity, proven_count, churning_count = shape
    table = Table((capacity + 2) * SHARDS, SHARDS, main=2 * SHARDS, told=SHARDS, collide=True)
    rings = [Ring(1024, -1) for _ in range(SHARDS)]
    rules = Rules(FAKE, REAL, 3600)
    # So few places that refused hosts push each other out all the time as well.
    refused = Refused(LEAST_HOSTS * SHARDS, SHARDS, table)
    paths = [Fastpath(table, ring, rules, shard=i, refused=refused) for i, ring in enumerate(rings)]
    proven = [[packed(f"2001:db8:{shard}:2::{i:x}") for i in range(proven_count)] for shard in range(SHARDS)]
    for path, hosts in zip(paths, proven, strict=True):
        replay(path, b"".join(to_fake(host) + to_real(host) for host in hosts))
        for host in hosts:
            table.prove(host, NOW_US)
    known = b"".join(to_real(host) for hosts in proven for host in hosts)
    strangers = b"".join(
        to_real(churning(shard, i, torn=True)) for shard in range(SHARDS) for i in range(churning_count))
    churn = [b"".join(to_fake(churning(shard, i, torn=False)) for i in range(churning_count))
             for shard in range(SHARDS)]
    # Long stretches without the interpreter: one thread gives entries away while the other one looks for strangers,
    # and the other way round.
    repeat = STRETCH // churning_count
    stretches = [(churn[shard] + known) * repeat + (churn[shard] + strangers) * repeat for shard in range(SHARDS)]
    expect_refused = SHARDS * churning_count * repeat
    expect_accepted = len(known) // CANDIDATE_SIZE * repeat
    wrong = {"let-in": 0, "shut-out": 0, "rounds": 0}
    deadline = time.monotonic() + seconds
    lock = threading.Lock()

    def work(shard: int) -> None:
        path = paths[shard]
        rounds = let_in = shut_out = 0
        before = path.counters()
        while time.monotonic() < deadline:
            replay(path, stretches[shard], NOW_US)
            now = path.counters()
            refused = now["real-refused"] - before["real-refused"]
            accepted = now["real-first"] + now["real-again"] - before["real-first"] - before["real-again"]
            let_in += max(0, expect_refused - refused)
            shut_out += max(0, expect_accepted - accepted)
            before = now
            rounds += 1
        with lock:
            wrong["let-in"] += let_in
            wrong["shut-out"] += shut_out
            wrong["rounds"] += rounds

    threads = [threading.Thread(target=work, args=(shard,)) for shard in range(SHARDS)]
    for thread in threads:
        thread.start()
    torn = {churning(shard, i, torn=True) for shard in range(SHARDS) for i in range(churning_count)}
    torn |= {churning(shard, i, torn=False) for shard in range(SHARDS) for i in range(churning_count)}
    events = found = rounds = strange = 0
    written = [packed(f"2001:db8:3::{number:x}") for number in range(2 * SHARDS)]
    while any(thread.is_alive() for thread in threads):
        rounds += 1
        for ring in rings:
            events += len(ring.drain(4096)) // EVENT_SIZE
        for hosts in proven:
            found += all(table.find(host, NOW_US) is not None for host in hosts)
        table.mark_used(churning(0, 7, torn=False), NOW_US)
        # What the main thread may do to entries of any shard, and to its own.
        table.renew(churning(1, rounds % churning_count, torn=False), NOW_US + LIFETIME_US + rounds, NOW_US)
        table.end(churning(rounds % SHARDS, rounds % churning_count, torn=False), NOW_US)
        table.admit(written[rounds % len(written)], NOW_US + LIFETIME_US, NOW_US)
        records, _ = table.entries(NOW_US, 0, 2 * capacity)
        table.restore(records + record(written[0], NOW_US + LIFETIME_US), NOW_US, shard=SHARDS)
        # Another gateway tells of hosts that are there, that come and go, and of too many new ones.
        take(table, b"".join(WIRE.pack(host, 3600 + rounds, rounds & 3, 0) for host in (
            *proven[rounds % SHARDS][:2], churning(rounds % SHARDS, rounds % churning_count, torn=False),
            *(packed(f"2001:db8:4::{(rounds + number) % 1000:x}") for number in range(4)))),
             NOW_US, age_us=0, longest_us=2 * LIFETIME_US, gateway=1 + rounds % 3)
        end_told(table, 1, NOW_US, NOW_US, 2 * LIFETIME_US, 0, 2 * SHARDS)
        table.claim(churning(rounds % SHARDS, rounds % churning_count, torn=False), NOW_US)
        table.counters()
        # Whoever is found is a stranger that was refused, whole, and never before the clock's one time.
        refusals = refused.find(churning(rounds % SHARDS, rounds % churning_count, torn=True))
        strange += refusals is not None and (refusals.first_us, refusals.last_us) != (STEP, STEP)
        listed, _ = refused.entries(0, refused.max_hosts)
        strange += any(listed[at : at + 16] not in torn for at in range(0, len(listed), 32))
        paths[0].publish(Rules(FAKE, REAL, 3600))
    for thread in threads:
        thread.join()
    # What was ended goes now; nothing else can: the clock stands still.
    table.sweep(NOW_US)
    counters = table.counters()
    decided = sum(sum(path.counters().values()) for path in paths)
    return {**wrong, "decided": decided, "events": events, "found": found, "entries": counters["entries"],
            "evicted": counters["evicted"], "ended": counters["ended"], "strange": strange,
            "missed": counters["added"] - counters["evicted"] - counters["entries"] - counters["ended"]}


if __name__ == "__main__":
    print(json.dumps([main(float(sys.argv[1]) / 2, shape) for shape in (LARGE, SMALL)]))
