"""One whitelist under several native threads at once, with packets whose verdicts are certain whatever the order.

    python -m tests.sharing SECONDS

Two threads decide, each in its own shard, without the interpreter's lock. The shards are so small that they give entries
away all the time. A host that never met a fake server must never be let in: a torn read would. Hosts that have
proved themselves are never pushed out, so they must always be let in, in their own shard and seen from the other one.
Beside them the main thread reads the table, marks hosts and drains the rings. Prints one JSON object.
"""
import json
import sys
import threading
import time

from mxallowd._capture import CANDIDATE_SIZE
from mxallowd._fastpath import Fastpath, Rules
from mxallowd._replay import replay
from mxallowd._ring import EVENT_SIZE, Ring
from mxallowd._table import Table
from tests.strategies import FAKE, REAL, packed, syn

SHARDS = 2
CAPACITY = 256
PROVEN = 32  # hosts a shard that are never pushed out
CHURNING = 4096
NOW_US = 1_000_000


def candidate(packet: bytes) -> bytes:
    """A packet as _capture gives it."""
    head = packet[:CANDIDATE_SIZE - 12]
    return NOW_US.to_bytes(8, sys.byteorder) + len(head).to_bytes(4, sys.byteorder) + head.ljust(
        CANDIDATE_SIZE - 12, b"\0")


def to_fake(host: str) -> bytes:
    """The host meets a fake server."""
    return candidate(syn(packed(host), FAKE[0] if ":" not in host else FAKE[2]))


def to_real(host: str) -> bytes:
    """The host tries the real server."""
    return candidate(syn(packed(host), REAL[0] if ":" not in host else REAL[1]))


def main(seconds: float) -> dict[str, int]:
    """Run for so long; what was counted. Wrong verdicts are `let-in` and `shut-out`."""
    table = Table(CAPACITY * SHARDS, SHARDS)
    rings = [Ring(1024, -1) for _ in range(SHARDS)]
    rules = Rules(FAKE, REAL, 3600)
    paths = [Fastpath(table, ring, rules, shard=i) for i, ring in enumerate(rings)]
    proven = [[f"192.168.{shard}.{i}" for i in range(PROVEN // 2)] + [f"2001:db8:{shard}::{i:x}"
              for i in range(PROVEN // 2)] for shard in range(SHARDS)]
    for path, hosts in zip(paths, proven, strict=True):
        replay(path, b"".join(to_fake(host) + to_real(host) for host in hosts))
    known = b"".join(to_real(host) for hosts in proven for host in hosts)
    strangers = b"".join(to_real(f"172.16.{i >> 8}.{i & 255}") for i in range(512))
    churn = [b"".join(to_fake(f"10.{shard}.{i >> 8}.{i & 255}") for i in range(CHURNING)) for shard in range(SHARDS)]
    wrong = {"let-in": 0, "shut-out": 0, "rounds": 0}
    deadline = time.monotonic() + seconds
    lock = threading.Lock()

    def work(shard: int) -> None:
        path = paths[shard]
        rounds = let_in = shut_out = 0
        before = path.counters()
        while time.monotonic() < deadline:
            for at in range(0, len(churn[shard]), 512 * CANDIDATE_SIZE):
                replay(path, churn[shard][at:at + 512 * CANDIDATE_SIZE], NOW_US)
                replay(path, strangers, NOW_US)
                replay(path, known, NOW_US)
                now = path.counters()
                refused = now["real-refused"] - before["real-refused"]
                accepted = now["real-first"] + now["real-again"] - before["real-first"] - before["real-again"]
                let_in += max(0, 512 - refused)
                shut_out += max(0, len(known) // CANDIDATE_SIZE - accepted)
                before = now
            rounds += 1
        with lock:
            wrong["let-in"] += let_in
            wrong["shut-out"] += shut_out
            wrong["rounds"] += rounds

    threads = [threading.Thread(target=work, args=(shard,)) for shard in range(SHARDS)]
    for thread in threads:
        thread.start()
    events = found = 0
    while any(thread.is_alive() for thread in threads):
        for ring in rings:
            events += len(ring.drain(4096)) // EVENT_SIZE
        for hosts in proven:
            found += all(table.find(packed(host), NOW_US) is not None for host in hosts)
        table.mark_used(packed("10.0.3.7"), NOW_US)
        table.counters()
        paths[0].publish(Rules(FAKE, REAL, 3600))
    for thread in threads:
        thread.join()
    counters = table.counters()
    decided = sum(sum(path.counters().values()) for path in paths)
    return {**wrong, "decided": decided, "events": events, "found": found, "entries": counters["entries"],
            "evicted": counters["evicted"], "missed": counters["added"] - counters["evicted"] - counters["entries"]}


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]))))
