"""A whole whitelist comes back: dealt to all threads by their room, beside packets, and nobody waits for it."""
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from lab.namespaces import visit
from mxallowd import backends
from mxallowd.backends import Backends
from mxallowd.daemon.restoring import Restored, deal, restore, share
from mxallowd.engine._table import CONTACT, PEER
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.wake import Wake
from mxallowd.whitelist import RECORD_SIZE, Change, Whitelist
from tests.part import alone
from tests.recorder import Recorder
from tests.strategies import HOSTS, record
from tests.test_memories import FLEET
from tests.test_settings import good
from tests.test_told import wire

HOUR_US = 3_600_000_000
MILLION = 1_000_000


class Notes:
    """A follower that is to look at all hosts when they have come."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def changed(self, host: bytes, change: Change) -> None:
        self.told.append(change.name)

    def missed(self) -> None:
        self.told.append("missed")


@given(st.integers(0, 60), st.lists(st.integers(0, 30), max_size=6))
def test_records_are_dealt_by_room(count: int, rooms: list[int]) -> None:
    records = b"".join(record(number.to_bytes(16, "big"), 1) for number in range(count))
    parts = deal(records, rooms)
    assert len(parts) == len(rooms)
    kept = min(count, sum(rooms))
    # In their order, the first ones left out; nobody gets more than he has room for, and each his share.
    assert b"".join(parts) == records[(count - kept) * RECORD_SIZE:]
    for part, room in zip(parts, rooms, strict=True):
        size = len(part) // RECORD_SIZE
        assert size <= room
        assert abs(size - kept * room / max(1, sum(rooms))) <= 1


def test_what_falls_to_the_main_thread_is_entered_in_slices() -> None:
    async def story() -> None:
        made, _ = alone()
        whitelist, notes = Whitelist(made.table, made.clock_us), Notes()
        whitelist.follow(notes)
        records = b"".join(record(b"\x20" + number.to_bytes(15, "big"), HOUR_US, 1, True) for number in range(1500))
        records += record(HOSTS[0], HOUR_US) + record(HOSTS[1], 1)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count_turns())
        # The first ones are left out: there is room for 1,250, and what is listed last matters most.
        assert await restore(made, whitelist, share(made, records)) == Restored(1249, 0, 252, 1)
        counting.cancel()
        assert turns >= 2
        assert notes.told == ["missed"]
        assert whitelist.find(HOSTS[0]) == (HOUR_US, False)
        again = share(made, record(HOSTS[0], 2 * HOUR_US, 0, True))
        assert await restore(made, whitelist, again) == Restored(0, 1, 0, 0)
        assert whitelist.find(HOSTS[0]) == (2 * HOUR_US, True)

    asyncio.run(story())


def test_what_was_told_comes_back_to_told_places() -> None:
    """Else a restart would fill the places of contacts and children with it; nobody knows who told it."""
    async def story() -> None:
        made, _ = alone(FLEET)
        whitelist = Whitelist(made.table, made.clock_us)
        records = b"".join(record(b"\x20" + number.to_bytes(15, "big"), HOUR_US, PEER if number % 2 else CONTACT)
                           for number in range(2200))
        shares = share(made, records)
        # Of 1,100 that were told the first ones are left out; of the others none is, since 1,250 places are theirs.
        assert await restore(made, whitelist, shares) == Restored(2100, 0, 100, 0)
        assert (made.table.told, [made.table.free(shard) for shard in (0, 1)]) == (1000, [120, 30])
        assert whitelist.find(b"\x20" + (199).to_bytes(15, "big")) is None
        entry = whitelist.entry(b"\x20" + (201).to_bytes(15, "big"))
        assert entry is not None and (entry.origin, entry.gateway) == ("peer", "")
        # What the stream says again gives it its gateway back.
        whitelist.told(wire(entry.host), age_us=0, longest_us=HOUR_US, gateway=3, teller=None)
        assert (whitelist.told_by(3), made.table.gateway(entry.host, made.clock_us())) == (1, 3)

    asyncio.run(story())


@contextmanager
def served(lab: Lab, queues: str, max_entries: int) -> Iterator[Backends]:
    """Queue threads in this process, without a daemon around them."""
    settings = good(f"-f {FAKE4} -r {REAL4} -n {queues} --max-entries {max_entries} --no-watchdog")
    with visit(lab.gateway.name):
        made = backends.create(settings, Wake(), Recorder().log)
        made.open()
    made.start()
    try:
        yield made
    finally:
        made.stop()
        deadline = time.monotonic() + 5
        while not made.ended():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        made.close()


PROBE = """
import os, socket, sys, time
os.setpriority(os.PRIO_PROCESS, 0, -15)
longest = count = 0
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    with socket.socket() as one:
        one.settimeout(2)
        began = time.monotonic()
        one.connect((sys.argv[1], 25))
        longest, count = max(longest, time.monotonic() - began), count + 1
    if count == 50:
        print("runs", flush=True)
    # The server that accepts them is Python, too.
    time.sleep(0.001)
print(longest, count)
"""


def once(lab: Lab, client: Host, queues: str) -> tuple[float, float]:
    """Restore a million: seconds that it took, and the longest connect() of a known host meanwhile."""
    until_us = boottime_us() + HOUR_US
    records = b"".join(record(b"\x20" + number.to_bytes(15, "big"), until_us, 0, number % 2 == 0)
                       for number in range(MILLION))
    with served(lab, queues, 2 * MILLION) as made:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4, timeout=4) is Attempt.CONNECTED
        probe = client.popen([sys.executable, "-c", PROBE, REAL4, "1.5"], stdout=subprocess.PIPE, text=True)
        assert probe.stdout
        assert probe.stdout.readline() == "runs\n"
        whitelist = Whitelist(made.table, threads=len(made.fastpaths))
        shares = share(made, records)
        began = time.monotonic()
        found = asyncio.run(restore(made, whitelist, shares))
        took = time.monotonic() - began
        longest, count = probe.stdout.readline().split()
        assert probe.wait(5) == 0
        assert found == Restored(MILLION, 0, 0, 0)
        assert len(whitelist) == MILLION + 1
        assert whitelist.find(b"\x20" + (MILLION - 2).to_bytes(15, "big")) == (until_us, True)
        assert int(count) > 300
    return took, float(longest)


@pytest.mark.alone
@pytest.mark.parametrize("queues", ["23", "23:24"])
def test_a_million_while_the_queue_is_served(lab: Lab, client: Host, queues: str) -> None:
    """In less than half a second, and no verdict is later than 50 ms because of it: the best of three runs.

    Others that use the machine make it later, and nothing makes it sooner.
    """
    lab.queue_rule(queues)
    with lab.gateway.serve(REAL4):
        seen: list[tuple[float, float]] = []
        while len(seen) < 3 and not (seen and seen[-1][0] < 0.5 and seen[-1][1] < 0.05):
            seen.append(once(lab, client, queues))
    took, longest = seen[-1]
    assert took < 0.5, seen
    assert longest < 0.05, seen
