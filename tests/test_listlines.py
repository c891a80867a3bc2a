"""The lines of lists as a stream: what is taken of them, as plain Python takes it, and their hits in the daemon."""
import asyncio
import time
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.control.answers.listlines import Wanted, numbers
from mxallowd.engine._networks import Networks
from mxallowd.lists.composition import ALLOW, DENY, DIRECT, LEARNED, Composition, Source, ends_of, record
from tests.control_client import ask
from tests.daemon_process import DaemonProcess
from tests.test_list_files import old
from tests.ways import Way, start

BANK, SPAMMER, STRANGER, PARTNER = "192.0.2.101", "192.0.2.102", "192.0.2.103", "192.0.2.104"
CLIENT = [BANK, SPAMMER, STRANGER, PARTNER]
NETWORKS = [ip_network(one) for one in (
    "192.0.2.0/24", "192.0.2.7/32", "0.0.0.0/0", "198.51.100.0/25", "2001:db8::/32", "2001:db8:1::/48", "::/0")]
networks = st.sampled_from(NETWORKS)
sources = st.builds(
    lambda name, verdict, rows, trusted, first_mx_only: Source(
        name, verdict, b"".join(record(row[0], verdict) for row in rows), [row[1] for row in rows],
        [row[2] for row in rows], trusted=trusted, first_mx_only=first_mx_only),
    st.sampled_from(("/etc/a.list", "/etc/b.list", LEARNED)), st.sampled_from((ALLOW, DENY, DIRECT)),
    st.lists(st.tuples(networks, st.integers(1, 3), st.sampled_from((None, "the Bank", "Straße"))), max_size=5),
    st.booleans(), st.booleans())
wanted = st.builds(
    Wanted, st.none() | st.sampled_from((ALLOW, DENY, DIRECT)),
    st.none() | st.sampled_from(("a.list", "/etc/b.list:2", "list:2", "/etc/a.list:1", "learned")),
    st.none() | networks, st.none() | st.sampled_from(("bank", "strasse", "none")))


@settings(deadline=None)
@given(st.lists(sources, max_size=4), wanted)
def test_what_is_wanted_is_what_plain_python_takes(given: list[Source], wanted: Wanted) -> None:
    composition = Composition.of(given)

    async def work() -> list[int]:
        return [number async for number in numbers(composition, wanted)]

    expected, number = [], 0
    for source in composition.sources:
        for line, note in zip(source.lines, source.notes, strict=True):
            match = composition.rule(number)
            if ((wanted.verdict in (None, source.verdict) or (wanted.verdict == DIRECT and source.first_mx_only))
                    and (wanted.source is None or wanted.source in source.name
                         or wanted.source == f"{source.name}:{line}")
                    and (wanted.note is None or wanted.note in (note or "").casefold())
                    and (wanted.network is None or (match.network.version == wanted.network.version
                                                    and match.network.overlaps(wanted.network)))):
                expected.append(number)
            number += 1
    assert asyncio.run(work()) == expected


@settings(deadline=None)
@given(st.lists(networks, max_size=20), networks, st.integers(1, 5), st.integers(1, 5))
def test_overlapping_in_pieces(listed: list[Any], asked: Any, budget: int, most: int) -> None:
    found = Networks(b"".join(record(one, ALLOW) for one in listed))
    numbers, start, steps = list[int](), 0, 0
    while True:
        some, start = found.overlapping_from(*ends_of(asked), start, budget, most)
        assert len(some) <= most
        numbers += some
        steps += 1
        if not start:
            break
    assert numbers == found.overlapping(*ends_of(asked), 4096)
    assert steps <= len(listed) + 1


def lines(daemon: DaemonProcess, query: str = "") -> list[dict[str, Any]]:
    status, found = ask(daemon.control, "GET", f"/v1/lists/networks{query}")
    assert status == 200, found
    assert isinstance(found, list)
    return found


def hits(daemon: DaemonProcess) -> Mapping[str, int | None]:
    return {one["network"].partition("/")[0]: one["hits"] for one in lines(daemon)}


def wait_for_hits(daemon: DaemonProcess, expected: Mapping[str, int | None], limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while (found := hits(daemon)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_lines_and_hits_of_the_running_daemon(guarded: Lab, client: Host, tmp_path: Path) -> None:
    allow, trust = tmp_path / "allow.list", tmp_path / "trust"
    allow.write_text(f"# partners\n{BANK} # the Bank\n198.51.100.0/24\n", encoding="ascii")
    trust.write_text(f"network {PARTNER} # a partner\nnetwork 203.0.113.0/24\n", encoding="ascii")
    arguments = ["-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", "23", "-b", "--allow", str(old(allow)), "--deny",
                 "2001:db8:66::/48", "--trust", str(old(trust)), "--state-dir", str(tmp_path / "state")]
    with DaemonProcess(guarded.gateway, arguments) as daemon:
        daemon.wait_for("start ")
        assert ask(daemon.control, "POST", "/v1/lists/deny", {"network": SPAMMER, "note": "by me"})[0] == 200
        none = {BANK: 0, "198.51.100.0": 0, "2001:db8:66::": 0, SPAMMER: 0, PARTNER: 0, "203.0.113.0": 0}
        assert hits(daemon) == none
        assert client.attempt(REAL4, source=BANK) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=PARTNER) is Attempt.CONNECTED
        assert client.attempt(FAKE4, source=SPAMMER) is Attempt.REFUSED
        wait_for_hits(daemon, none | {BANK: 1, PARTNER: 1, SPAMMER: 1})
        [bank] = lines(daemon, "?note=bank")
        assert bank.pop("last_hit")
        assert bank == {"verdict": "allow", "network": f"{BANK}/32", "origin": "file", "source": f"{allow}:2",
                        "note": "the Bank", "until": None, "direct": False, "hits": 1}
        for query, count in (("?verdict=deny", 2), ("?verdict=direct", 0), ("?source=allow.list", 2),
                             (f"?source={allow}:3", 1), (f"?network={SPAMMER}", 1), ("?network=192.0.2.0/24", 3),
                             ("?limit=2", 2), ("?network=::1", 0)):
            assert len(lines(daemon, query)) == count, query
        for query in ("?verdict=all", "?limit=0", "?limit=1000001", "?network=here", "?colour=red",
                      f"?note={'x' * 201}"):
            assert ask(daemon.control, "GET", f"/v1/lists/networks{query}")[0] == 400, query
        [own] = ask(daemon.control, "GET", "/v1/lists")[1]["by_hand"]
        assert (own["network"], own["hits"]) == (f"{SPAMMER}/32", 1)
        found = ask(daemon.control, "GET", "/v1/trust")[1]["lines"]
        assert [(one["line"], one["hits"], one["last_hit"] is None) for one in found] == [(1, 1, False), (2, 0, True)]
        # Where the line moves the hits go along.
        allow.write_text(f"198.51.100.0/24\n{BANK}\n", encoding="ascii")
        old(allow)
        assert ask(daemon.control, "POST", "/v1/reload")[0] == 200
        assert [(one["source"], one["hits"]) for one in lines(daemon, "?source=allow.list")] == [
            (f"{allow}:1", 0), (f"{allow}:2", 1)]
        assert daemon.stop() == 0


@pytest.mark.parametrize(("way", "denied", "more"), [
    ("queue-set-mark", None, ()), ("queue-set-mark", 1, ("--dry-run",)), ("set", 1, ()), ("door", 1, ())],
    indirect=["way"])
def test_hits_where_the_kernel_decides(
    served: Lab, client: Host, way: Way, denied: int | None, more: tuple[str, ...],
) -> None:
    """What the sets let in nobody tells; what they deny is logged in ways c and d, and is not there in a dry run."""
    served.load_ruleset(*way.rulesets)
    with start(served, way, "--allow", BANK, "--deny", SPAMMER, *more) as daemon:
        wait_for_hits(daemon, {BANK: None, SPAMMER: denied and 0})
        assert client.attempt(REAL4, source=BANK) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=SPAMMER) is (Attempt.CONNECTED if more else Attempt.DROPPED)
        wait_for_hits(daemon, {BANK: None, SPAMMER: denied})
        assert daemon.stop() == 0


def test_a_look_at_many_gives_turns() -> None:
    """Nobody is kept waiting by a listing of which nothing is wanted."""
    count = 200_000
    composition = Composition.of([Source(
        "a", ALLOW, b"".join(record(ip_network((number << 8, 24)), ALLOW) for number in range(count)),
        range(count), ["note"] * count)])

    async def work() -> float:
        longest, done = 0.0, False

        async def watch() -> None:
            nonlocal longest
            while not done:
                begun = time.perf_counter()
                await asyncio.sleep(0)
                longest = max(longest, time.perf_counter() - begun)

        watching = asyncio.create_task(watch())
        assert [one async for one in numbers(composition, Wanted(None, None, None, "nowhere"))] == []
        done = True
        await watching
        return longest

    assert asyncio.run(work()) < 0.05
