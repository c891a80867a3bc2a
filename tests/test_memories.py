"""What all back ends share: its sizes, what a machine without the memory is told, and the rules of the packet path."""
import pytest

from mxallowd._fastpath import OUTCOME_NAMES
from mxallowd.backends import memories
from mxallowd.backends.memories import RING_EVENTS, Memories
from mxallowd.engine.events import packed
from mxallowd.errors import StartError
from tests.strategies import syn
from tests.test_settings import good

SERVERS = "-f 192.0.2.1 -f 2001:db8::1 -r 192.0.2.2 -r 2001:db8::2 -n 23 --max-entries 1000 --max-refused 1024"


@pytest.mark.parametrize(("options", "main"), [("", 250), ("-b", 62)])
def test_the_main_thread_always_has_a_shard(options: str, main: int) -> None:
    made = Memories(good(f"{SERVERS} {options}"), 3)
    assert made.table.shard_count == 4
    assert made.table.free(3) == main
    assert sum(made.table.free(shard) for shard in range(3)) == 1000
    assert made.table.admit(packed("192.0.2.7"), 10, 0)


def test_each_thread_has_a_part_of_both() -> None:
    made = Memories(good(SERVERS), 2)
    paths = [made.decision(shard, -1, 20 + shard) for shard in range(2)]
    assert [path.ring.capacity for path in paths] == [RING_EVENTS] * 2
    for path in paths:
        path.decide([syn(packed("198.51.100.7"), packed("192.0.2.2"))], 10**9)
    found = made.refused.find(packed("198.51.100.7"))
    assert found
    assert (found.times, found.server) == (2, packed("192.0.2.2"))
    assert (made.refused.max_hosts, made.refused.shard_count) == (1024, 2)


def test_rules_that_are_compiled_anew_keep_the_numbers() -> None:
    made = Memories(good(SERVERS), 1)
    made.compile(good("-f 192.0.2.1 -r 2001:db8::2 -r 192.0.2.9 -n 23"))
    assert made.refused.servers == [packed(text) for text in ("192.0.2.2", "2001:db8::2", "192.0.2.9")]


def test_memory_that_is_not_there_is_named_by_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> object:
        raise MemoryError("no 7 bytes")

    monkeypatch.setattr(memories, "Refused", none)
    with pytest.raises(StartError, match=r"^max-entries 1000 and max-refused 1024: no 7 bytes$"):
        Memories(good(SERVERS), 1)


def test_the_rules_are_the_servers_and_the_lifetime() -> None:
    made = Memories(good(f"{SERVERS} -t 60"), 1)
    path = made.decision(0, -1)
    for host, fake, real in (
            ("198.51.100.7", "192.0.2.1", "192.0.2.2"), ("2001:db8:1::7", "2001:db8::1", "2001:db8::2")):
        packets = [syn(packed(host), packed(server)) for server in (real, fake, real)]
        assert [OUTCOME_NAMES[outcome] for outcome in path.decide(packets, 1)] == [
            "real-refused", "fake-new", "real-first"]
    found = made.table.find(packed("198.51.100.7"), 1)
    assert found is not None
    assert found[0] == 60_000_001


FLEET = "--fleet redis://192.0.2.9 --fleet-site example --fleet-key-file /etc/mxallowd/fleet.key"


def test_what_other_gateways_tell_has_as_many_places() -> None:
    made = Memories(good(f"{SERVERS} {FLEET}"), 3)
    assert made.table.most_told == 1000
    assert sum(made.table.free(shard) for shard in range(3)) == 1000
    assert made.table.free(3) == 250


def test_memory_for_what_is_told_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []
    monkeypatch.setattr("mxallowd.process.memory.require", lambda *wanted: asked.append(wanted))
    Memories(good(SERVERS), 3)
    Memories(good(f"{SERVERS} {FLEET}"), 3)
    assert asked[1][0] - asked[0][0] > 1000 * 38
    assert "twice" in asked[1][1] and "twice" not in asked[0][1]
