"""The memory of refused hosts: attempts, times, who goes first, when an event is due, and what a reader sees."""
import random
import struct
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd._fastpath import Fastpath
from mxallowd.engine import events
from mxallowd.engine._refused import HOST_BYTES, LEAST_HOSTS, STEP_US, Refusals, Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from tests.strategies import FAKE, HOSTS, REAL, ipv4, ipv6, syn

SECOND_US = 1_000_000
SERVER = REAL[0]
# Seconds after the first SYN at which Linux sends it again, for a connection that nobody answers.
SENT_AGAIN = (1, 3, 7, 15, 31, 63)
RECORD = struct.Struct("=16sIIIB3x")


def memory(hosts: int = 1000, shards: int = 1, *, collide: bool = False) -> Refused:
    """With one server that it knows."""
    made = Refused(hosts, shards, Table(4, collide=collide))
    assert made.number_of(SERVER) == 0
    return made


def step(time_us: int) -> int:
    """A time as exact as the memory has it."""
    return time_us // STEP_US * STEP_US


@dataclass
class Known:
    """What the memory should know of a host; times in steps."""

    first: int
    last: int
    times: int
    ports: list[int]
    told: int
    pending: bool


def short(port: int) -> int:
    """A port as the memory keeps it."""
    return (port ^ port >> 8) & 0xFF


class Model:
    """The memory once more, without bound."""

    def __init__(self) -> None:
        self.hosts: dict[bytes, Known] = {}

    def note(self, host: bytes, port: int, now_us: int, room: bool) -> int:
        """The attempts so far if an event is due and has room, else 0."""
        now = now_us // STEP_US
        known = self.hosts.get(host)
        if known is None:
            self.hosts[host] = Known(now, now, 1, [short(port)] * 3, now, not room)
            return int(room)
        since, known.last = now - known.last, now
        # In 8 bits.
        age = (now - known.told) % 256
        again = since <= 34 and short(port) in known.ports and age < 122
        due = known.pending or (not again and (since >= 58 or age >= 58))
        if not again:
            known.times += 1
            known.ports = [*known.ports[1:], short(port)]
        if due:
            known.pending = not room
            known.told = now if room else known.told
        return known.times if due and room else 0


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from((0, 1025, 40000, 65535)),
                          st.one_of(st.integers(0, 3 * SECOND_US), st.integers(0, 400 * SECOND_US)),
                          st.sampled_from((True, True, False))), max_size=60))
def test_it_counts_as_the_model_does(steps: list[tuple[bytes, int, int, bool]]) -> None:
    made, model, now = memory(), Model(), 5 * STEP_US
    for host, port, wait_us, room in steps:
        now += wait_us
        assert made.note(host, 0, port, now, room=room) == model.note(host, port, now, room)
        known = model.hosts[host]
        assert made.find(host) == Refusals(known.first * STEP_US, known.last * STEP_US, known.times, SERVER)
    assert len(made) == len(model.hosts)
    records, following = made.entries(0, made.max_hosts)
    assert following == 0
    assert sorted(RECORD.iter_unpack(records)) == sorted(
        (host, known.first, known.last, known.times, 0) for host, known in model.hosts.items())


def test_syns_sent_again_are_one_attempt() -> None:
    made = memory()
    for attempt, port in enumerate((40000, 40001, 40001), 1):
        began = attempt * 1000 * SECOND_US
        for after in (0, *SENT_AGAIN):
            made.note(HOSTS[0], 0, port, began + after * SECOND_US)
        found = made.find(HOSTS[0])
        assert found == Refusals(step(1000 * SECOND_US), step(began + 63 * SECOND_US), attempt, SERVER)


def test_another_port_is_another_attempt_at_once() -> None:
    made = memory()
    for port in range(10):
        made.note(HOSTS[0], 0, port, 100 * SECOND_US)
    found = made.find(HOSTS[0])
    assert found
    assert found.times == 10


def test_three_attempts_side_by_side_are_three() -> None:
    """A mail server delivers several messages at once."""
    made = memory()
    for after in (0, *SENT_AGAIN):
        for port in (40000, 40001, 50007):
            made.note(HOSTS[0], 0, port, (1000 + after) * SECOND_US + port)
    found = made.find(HOSTS[0])
    assert found
    assert found.times == 3


def test_an_attempt_does_not_last_for_ever() -> None:
    """One port, a SYN every half minute, for an hour: nobody's attempt lasts so long."""
    made = memory()
    told = [made.note(HOSTS[0], 0, 40000, second * SECOND_US) for second in range(1000, 4600, 30)]
    found = made.find(HOSTS[0])
    assert found
    assert 20 <= found.times <= 30
    assert sum(map(bool, told)) == found.times


def test_an_attempt_is_told_of_once() -> None:
    made = memory()
    told = [made.note(HOSTS[0], 0, 40000, (1000 + after) * SECOND_US) for after in (0, *SENT_AGAIN)]
    assert told == [1, 0, 0, 0, 0, 0, 0]


def test_who_was_refused_longest_ago_goes_first() -> None:
    made = memory(4, collide=True)
    for number in range(4):
        made.note(HOSTS[number], 0, 1, (100 + 10 * number) * SECOND_US)
    # The first one tries again, so the second one is it.
    made.note(HOSTS[0], 0, 1, 200 * SECOND_US)
    assert made.note(HOSTS[4], 0, 1, 201 * SECOND_US)
    assert [made.find(host) is not None for host in HOSTS[:5]] == [True, False, True, True, True]
    assert (len(made), made.counters()["refused-pushed-out"]) == (4, 1)
    # Who comes back begins anew.
    assert made.note(HOSTS[1], 0, 1, 202 * SECOND_US)
    found = made.find(HOSTS[1])
    assert found
    assert (found.first_us, found.times) == (step(202 * SECOND_US), 1)


def test_a_flood_leaves_the_newest() -> None:
    """Sets of four are no queue, but who came in the last tenth of its room is there, and nobody of long ago."""
    made = memory(4096)
    chance = random.Random(3)
    hosts = [chance.randbytes(16) for _ in range(40_960)]
    for number, host in enumerate(hosts):
        made.note(host, 0, 1, 10**9 + number * STEP_US)
    assert len(made) == made.max_hosts == 4096
    assert sum(made.find(host) is not None for host in hosts[-400:]) >= 395
    assert not any(made.find(host) for host in hosts[:20_000])


def test_an_event_is_due_at_first_and_once_a_minute() -> None:
    made = memory()
    due = [second for second in range(300) if made.note(HOSTS[0], 0, second, (1000 + second) * SECOND_US)]
    assert due[0] == 0
    assert all(58 <= after - before <= 62 for before, after in pairwise(due))
    assert len(due) == 5
    # After a silence, at once.
    assert made.note(HOSTS[0], 0, 1, 2000 * SECOND_US)


def test_an_event_without_room_is_due_at_the_next_syn() -> None:
    made = memory()
    assert made.note(HOSTS[0], 0, 1, 1000 * SECOND_US, room=False) == 0
    assert made.note(HOSTS[0], 0, 1, 1001 * SECOND_US, room=False) == 0
    assert made.note(HOSTS[0], 0, 1, 1003 * SECOND_US) == 1
    assert made.note(HOSTS[0], 0, 2, 1007 * SECOND_US) == 0
    assert made.counters()["refused-untold"] == 2


def test_shards_are_summed_up() -> None:
    made = memory(64, 3)
    made.number_of(REAL[1])
    made.note(HOSTS[0], 0, 1, 500 * SECOND_US, shard=0)
    made.note(HOSTS[0], 1, 2, 900 * SECOND_US, shard=2)
    made.note(HOSTS[0], 0, 3, 700 * SECOND_US, shard=1)
    assert made.find(HOSTS[0]) == Refusals(step(500 * SECOND_US), step(900 * SECOND_US), 3, REAL[1])
    assert len(RECORD.unpack(made.entries(0, 1000)[0][:32])) == 5
    assert len(made) == 3


@pytest.mark.parametrize("budget", [1, 3, 7, 1000])
def test_entries_in_pieces(budget: int) -> None:
    made = memory(60, 3)
    for number, host in enumerate(HOSTS):
        made.note(host, 0, 1, 10**9, shard=number % 3)
    found, start = [], 0
    while True:
        records, start = made.entries(start, budget)
        found += [record[0] for record in RECORD.iter_unpack(records)]
        if start == 0:
            break
    assert sorted(found) == sorted(HOSTS)


def test_servers_have_numbers_for_good() -> None:
    made = memory()
    numbers = [made.number_of(number.to_bytes(16, "big")) for number in range(1, 300)]
    assert numbers == [*range(1, 255), *[255] * 45]
    assert made.number_of(SERVER) == 0
    made.note(HOSTS[0], 255, 1, SECOND_US)
    found = made.find(HOSTS[0])
    assert found
    assert found.server is None


def test_its_bound() -> None:
    assert HOST_BYTES <= 32
    assert Refused(1003, 2, Table(4)).max_hosts == 1000
    for hosts, shards in ((LEAST_HOSTS - 1, 1), (LEAST_HOSTS * 3 - 1, 3), (100, 0), (-1, 1)):
        with pytest.raises(ValueError, match="refused hosts cannot be shared"):
            Refused(hosts, shards, Table(4))
    made = memory()
    for wrong in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 bytes"):
            made.find(wrong)
        with pytest.raises(ValueError, match="16 bytes"):
            made.note(wrong, 0, 0, 0)
    with pytest.raises(IndexError):
        made.note(HOSTS[0], 0, 0, 0, shard=1)
    assert made.find(HOSTS[0]) is None
    assert made.entries(0, 10) == (b"", 10)
    assert made.entries(made.max_hosts, 10) == (b"", 0)


# ---- in the refusing branch of the decision

class Path:
    """The decision with a memory, and what is told of it."""

    def __init__(self, ring_events: int = 64) -> None:
        self.table = Table(100)
        self.refused = Refused(1000, 1, self.table)
        self.ring = Ring(ring_events, -1)
        numbers = {server: self.refused.number_of(server) for server in REAL}
        self.path = Fastpath(self.table, self.ring, Rules(FAKE, REAL, 60, numbers), refused=self.refused)

    def decide(self, *packets: bytes, now_us: int = 10**9) -> list[events.Event]:
        """What is told of these packets."""
        self.path.decide(packets, now_us)
        return events.decode(self.ring.drain(1000))


def tcp(port: int) -> bytes:
    """The beginning of a TCP header."""
    return struct.pack("!HHIIBBHHH", port, 25, 0, 0, 80, 2, 0, 0, 0)


def test_the_first_refusal_is_told_and_all_are_counted() -> None:
    path = Path()
    told = path.decide(*(ipv4(HOSTS[0], REAL[0], tcp(port)) for port in (1, 1, 2, 3)), syn(HOSTS[6], REAL[2]))
    assert [(event.kind, event.source) for event in told] == [
        (events.Kind.REFUSED, HOSTS[0]), (events.Kind.REFUSED, HOSTS[6])]
    assert path.path.counters()["real-refused"] == 5
    assert path.refused.find(HOSTS[0]) == Refusals(step(10**9), step(10**9), 3, REAL[0])
    found = path.refused.find(HOSTS[6])
    assert found
    assert found.server == REAL[2]
    assert [event.source for event in path.decide(
        ipv4(HOSTS[0], REAL[0], tcp(4)), now_us=10**9 + 70 * SECOND_US)] == [HOSTS[0]]


def test_whom_the_refusing_branch_does_not_meet_is_not_there() -> None:
    path = Path()
    path.decide(syn(HOSTS[0], FAKE[0]), syn(HOSTS[0], REAL[0]), syn(HOSTS[1], HOSTS[2]), b"", b"\0" * 40)
    assert len(path.refused) == 0


@pytest.mark.parametrize(("packet", "same"), [
    (lambda port: ipv4(HOSTS[0], REAL[0], tcp(port)), False),
    (lambda port: ipv4(HOSTS[0], REAL[0], tcp(port), options=bytes(8)), False),
    (lambda port: ipv6(HOSTS[0], REAL[1], tcp(port)), False),
    # Where the port cannot be told, SYNs close together are one attempt.
    (lambda port: ipv4(HOSTS[0], REAL[0], tcp(port)[:1]), True),
    (lambda port: ipv4(HOSTS[0], REAL[0], b""), True),
])
def test_ports_of_packets(packet: object, same: bool) -> None:
    assert callable(packet)
    path = Path()
    path.decide(packet(1000), packet(2000), packet(2000))
    source = next(iter(RECORD.iter_unpack(path.refused.entries(0, 1000)[0])))[0]
    found = path.refused.find(source)
    assert found
    assert found.times == (1 if same else 2)


def test_what_finds_no_room_in_the_ring_is_told_later() -> None:
    path = Path(16)
    hosts = [b"\x20" + number.to_bytes(15, "big") for number in range(40)]
    # An eighth of the ring is for them, so that other events have room.
    assert [event.source for event in path.decide(*(syn(host, REAL[1]) for host in hosts))] == hosts[:2]
    assert path.refused.counters() == {
        "refused-attempts": 40, "refused-hosts": 40, "refused-pushed-out": 0, "refused-untold": 38}
    assert [event.source for event in path.decide(*(syn(host, REAL[1]) for host in hosts))] == hosts[2:4]
    assert path.ring.lost == 0


def test_numbers_of_servers_in_rules() -> None:
    for number in (-1, 256):
        with pytest.raises(ValueError, match="has no number"):
            Rules(FAKE, REAL, 60, {REAL[0]: number})
    table = Table(8, 2)
    with pytest.raises(IndexError):
        Fastpath(table, Ring(16, -1), Rules(FAKE, REAL, 1), shard=1, refused=Refused(100, 1, table))
