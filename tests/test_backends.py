"""The chosen back ends as one: who is chosen, what they say together, and that they open all or none."""
import sys

import pytest

from mxallowd import backends
from mxallowd.backends import Backends
from mxallowd.engine.wake import Wake
from mxallowd.errors import StartError
from tests.part import Part, memories
from tests.recorder import Recorder
from tests.test_settings import MINIMUM, good

SERVERS = "-f 192.0.2.1 -r 192.0.2.2"


def test_all_are_asked_and_their_counters_add_up() -> None:
    shared = memories(2)
    parts = [Part(shared.table, 0), Part(shared.table, 1)]
    both = Backends(shared, parts)
    both.open()
    both.start()
    both.publish(good(MINIMUM))
    both.tick()
    both.stop()
    both.close()
    assert [part.asked for part in parts] == [["open", "start", "publish", "tick", "stop", "close"]] * 2
    assert both.sweep() == 6
    # Also those of the memories, in which nothing was noted.
    counters = both.counters()
    assert {name: count for name, count in counters.items() if count} == {"received": 10, "errors": 2}
    assert counters["lost-events"] == counters["networks-noted"] == counters["patience-let-in"] == 0
    assert (len(both.rings), len(both.fastpaths)) == (2, 2)


def test_all_have_ended_or_one_has_failed() -> None:
    shared = memories(2)
    parts = [Part(shared.table, 0), Part(shared.table, 1)]
    both = Backends(shared, parts)
    assert (both.ended(), both.failed()) == (False, False)
    parts[0].has_ended = parts[1].has_failed = True
    assert (both.ended(), both.failed()) == (False, True)
    parts[1].has_ended = True
    assert both.ended()


def test_they_open_all_or_none() -> None:
    shared = memories(3)
    parts = [Part(shared.table, 0), Part(shared.table, 1, opens=False), Part(shared.table, 2)]
    with pytest.raises(StartError, match="it cannot"):
        Backends(shared, parts).open()
    assert [part.asked for part in parts] == [["open", "close"], [], []]


@pytest.mark.parametrize(("missing", "options", "reason"), [
    ("netfilterqueue", "-n 23", "the NFQUEUE back end needs the package NetfilterQueue: "),
    ("pcapy", "-p em0", "capture needs the package pcapy-ng: "),
    ("pcapy", "-p file:/nonexistent", "capture needs the package pcapy-ng: ")])
def test_a_package_that_is_missing_is_named(
        monkeypatch: pytest.MonkeyPatch, missing: str, options: str, reason: str) -> None:
    """By --check and by the start, although on another system the back end cannot even be imported."""
    monkeypatch.setitem(sys.modules, missing, None)
    for name in ("nfqueue", "capture", "rehearsal"):
        monkeypatch.delitem(sys.modules, f"mxallowd.backends.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "mxallowd.backends._worker", None)
    settings = good(f"{SERVERS} {options} --max-entries 1000 -b")
    [said] = backends.unsupported(settings)
    assert said.startswith(reason)
    wake = Wake()
    with pytest.raises(StartError, match=reason):
        backends.create(settings, wake, Recorder().log)


@pytest.mark.parametrize(("options", "readable"), [
    ("-n 23", []), ("-p em0", []), ("-n 23 -p em0", []), ("-p file:/nonexistent/day.pcap", ["/nonexistent/day.pcap"])])
def test_only_a_captured_file_is_read_later(options: str, readable: list[str]) -> None:
    settings = good(f"{SERVERS} {options} --max-entries 1000 -b")
    made = backends.create(settings, Wake(), Recorder().log)
    assert list(map(str, made.readable())) == readable
    made.close()


def test_each_thread_has_a_shard_of_its_own() -> None:
    settings = good(f"{SERVERS} -n 23:25 -p em0 --max-entries 1000 -b")
    made = backends.create(settings, Wake(), Recorder().log)
    assert made.table.shard_count - 1 == made.refused.shard_count == len(made.fastpaths) == len(made.rings) == 4
    made.close()
