"""The kernel table sink over a table in Python: what reaches it, in which state, and what happens when it fails."""
import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.engine._table import Table
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Event, Kind
from mxallowd.log import Log
from mxallowd.mirrors import Copied, Listed, Listing, TargetError, TargetFull, seconds_left
from mxallowd.mirrors import mirror as kernel
from mxallowd.mirrors.jobs import Jobs
from mxallowd.mirrors.mirror import Expiry, KernelTableSink
from mxallowd.sinks.stress import Stress
from mxallowd.whitelist import Whitelist
from tests.strategies import HOSTS, listed, packed
from tests.test_settings import MINIMUM, good

SERVER = packed("192.0.2.5")
HOUR_US = 3_600_000_000


class Faked:
    """A kernel table that is a dict; `fault` is what every call raises, `room` how many entries it takes."""

    name = "faked"
    sample = 32

    def __init__(self, *, expires: bool = True) -> None:
        self.expires = expires
        self.held: dict[bytes, tuple[int | None, bool]] = {}
        self.calls: list[str] = []
        self.fault: TargetError | None = None
        self.room = 1_000_000
        self.slow_s = 0.0
        self.counted: dict[str, int] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        time.sleep(self.slow_s)
        if self.fault:
            raise self.fault

    def open(self) -> None:
        self.calls.append("open")

    def inspect(self) -> None:
        self._call("inspect")

    def read(self) -> tuple[list[Copied], bool]:
        self._call("read")
        return [Copied(host, remaining_s, used) for host, (remaining_s, used) in self.held.items()], True

    def change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        self._call("change")
        for host in unlisted:
            self.held.pop(host, None)
        if len(self.held.keys() | {one.host for one in listed}) > self.room:
            raise TargetFull("the set is full")
        self.held.update({one.host: (one.remaining_s, one.used) for one in listed})

    def refill(self, entries: Listing) -> int:
        self._call("refill")
        self.held = {one.host: (one.remaining_s, one.used) for one in islice(entries.best_first(), self.room)}
        return max(0, len(entries) - self.room)

    def flush(self) -> None:
        self._call("flush")
        self.held.clear()

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        self._call("missing")
        return {host for host, used in hosts.items() if host not in self.held or (used and not self.held[host][1])}

    def totals(self) -> dict[str, int]:
        self._call("totals")
        return dict(self.counted)

    def close(self) -> None:
        self.calls.append("close")


class Scene:
    """A sink with its table, whitelist and log."""

    def __init__(self, arguments: str = "", *, expires: bool = True) -> None:
        self.faked = Faked(expires=expires)
        self.table = Table(1000, 1, admitted=100)
        self.whitelist = Whitelist(self.table)
        self.lines: list[str] = []
        logger = logging.Logger("scene")
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append(record.getMessage())  # type: ignore[method-assign]
        logger.addHandler(handler)
        self.clock = 1000.0
        log = Log(logger)
        self.sink = KernelTableSink(
            self.faked, self.whitelist, log, good(f"{MINIMUM} --ipset {arguments}"), lambda: self.clock)
        self.stress = Stress(log, lambda: self.clock)
        self.stress.watch("kernel-table-dirty", self.sink.fill)

    def open(self) -> None:
        self.sink.open()
        self.sink.start()

    def contact(self, host: bytes, lifetime_us: int = HOUR_US) -> None:
        now = boottime_us()
        self.table.add(host, now + lifetime_us, now)
        self.tell(Kind.WHITELISTED, host, now + lifetime_us)

    def tell(self, kind: Kind, host: bytes, until_us: int = 0) -> None:
        self.sink.handle([Event(kind, 0, 0, 0, boottime_us(), host, SERVER, until_us)])

    async def until(self, true: Callable[[], object], limit_s: float = 3.0) -> None:
        deadline = time.monotonic() + limit_s
        while not true():
            assert time.monotonic() < deadline, (self.faked.held, self.faked.calls, self.lines)
            await asyncio.sleep(0.002)

    def later(self, seconds: float) -> None:
        """Time passes for the sink's checks."""
        self.clock += seconds
        self.sink.tick()


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await story()

    asyncio.run(whole())


def test_contacts_first_uses_evictions_and_children_reach_it() -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        scene.contact(HOSTS[0])
        await scene.until(lambda: scene.faked.held == {HOSTS[0]: (3600, False)})
        scene.table.mark_used(HOSTS[0], boottime_us())
        scene.tell(Kind.ACCEPTED, HOSTS[0])
        await scene.until(lambda: scene.faked.held == {HOSTS[0]: (3600, True)})
        now = boottime_us()
        assert scene.whitelist.admit(HOSTS[1], now + 10_000_000, now)
        assert scene.whitelist.renew(HOSTS[0], now + 2 * HOUR_US, now)
        await scene.until(lambda: scene.faked.held == {HOSTS[0]: (7200, True), HOSTS[1]: (10, False)})
        # What the event says is not believed: the whitelist is asked.
        scene.tell(Kind.EVICTED, HOSTS[1])
        scene.tell(Kind.EVICTED, HOSTS[2])
        await scene.until(lambda: scene.sink.counters()["table-changed"] == 6)
        assert scene.faked.held.keys() == {HOSTS[0], HOSTS[1]}
        scene.sink.close()
        assert scene.faked.calls[-1] == "close"

    run(story)


def test_hosts_that_have_reached_the_real_server_come_first_and_their_number_is_a_load() -> None:
    async def story() -> None:
        scene = Scene()
        scene.sink.open()
        many = [b"\0" * 10 + b"\xff\xff\x0a" + number.to_bytes(3, "big") for number in range(kernel.MAX_DIRTY)]
        for host in many:
            scene.tell(Kind.WHITELISTED, host, HOUR_US)
        scene.stress.look()
        assert scene.lines[-1] == "stress state=on bound=kernel-table-dirty percent=100"
        # Of those that are too many, one that was used finds its place.
        scene.contact(HOSTS[0])
        assert scene.sink.counters()["table-limited"] == 1
        scene.table.mark_used(HOSTS[0], boottime_us())
        scene.tell(Kind.ACCEPTED, HOSTS[0])
        scene.sink.start()
        await scene.until(lambda: scene.sink.counters()["table-changed"] >= kernel.BATCH)
        assert scene.faked.held == {HOSTS[0]: (3600, True)}
        await scene.until(lambda: scene.sink.counters()["table-changed"] >= len(many), 10)
        scene.stress.look()
        scene.clock += 6
        scene.stress.look()
        assert scene.lines[-1] == "stress state=off seconds=6"
        scene.sink.close()

    run(story)


def test_what_cannot_be_changed_does_not_wait_and_is_no_load() -> None:
    async def story() -> None:
        scene = Scene()
        scene.faked.fault = TargetError("it is missing")
        scene.open()
        await scene.until(lambda: any("it is missing" in line for line in scene.lines))
        for number in range(kernel.MAX_DIRTY):
            scene.tell(Kind.WHITELISTED, b"\0" * 10 + b"\xff\xff\x0a" + number.to_bytes(3, "big"), HOUR_US)
        assert scene.sink.fill() == 0
        scene.contact(HOSTS[0])
        scene.faked.fault = None
        scene.later(70)
        await scene.until(lambda: scene.faked.held.keys() == {HOSTS[0]})
        scene.sink.close()

    run(story)


def test_refused_hosts_and_others_never_reach_it() -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        for kind in (Kind.REFUSED, Kind.MALFORMED, Kind.FULL, Kind.SWEPT, Kind.STOPPED):
            scene.tell(kind, HOSTS[0])
        scene.contact(HOSTS[1])
        await scene.until(lambda: scene.faked.held)
        assert scene.faked.held.keys() == {HOSTS[1]}
        scene.sink.close()

    run(story)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from(("add", "use", "gone", "flush", "fail", "mend"))),
                max_size=30))
def test_whatever_happens_it_ends_the_same_as_the_whitelist(steps: list[tuple[bytes, str]]) -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        for host, what in steps:
            if what == "add":
                scene.contact(host)
            elif what == "use" and scene.table.mark_used(host, boottime_us()):
                scene.tell(Kind.ACCEPTED, host)
            elif what == "gone":
                scene.tell(Kind.EVICTED, host)
            elif what == "flush":
                scene.faked.held.clear()
            elif what == "fail":
                scene.faked.fault = TargetError("broken")
            elif what == "mend":
                scene.faked.fault = None
            await asyncio.sleep(0)
        scene.faked.fault = None
        wanted = {host: used for host, (_, used) in listed(scene.whitelist).items()}
        # Lost for sure is only what nobody tells of: the sample that finds a flush spares the youngest hosts.
        scene.sink.lost_events()

        def same() -> bool:
            scene.later(5)
            return {host: used for host, (_, used) in scene.faked.held.items()} == wanted

        await scene.until(same)
        scene.sink.close()

    run(story)


def test_a_sample_that_is_missing_leads_to_one_filling(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        for host in HOSTS:
            scene.contact(host)
        await scene.until(lambda: len(scene.faked.held) == len(HOSTS))
        scene.faked.held.clear()
        scene.later(10)
        await scene.until(lambda: len(scene.faked.held) == len(HOSTS))
        assert any(line.startswith("table-broken table=faked reason=") and "must be in it are not" in line
                   for line in scene.lines)
        assert scene.lines[-1] == f"table-filled table=faked entries={len(HOSTS)} left-out=0"
        # Filled again only after some seconds, however often it is flushed.
        scene.faked.held.clear()
        scene.later(4)
        await scene.until(lambda: scene.faked.calls[-1] == "totals")
        await asyncio.sleep(0.05)
        assert scene.faked.held == {}
        scene.later(4.5)
        await scene.until(lambda: scene.faked.held)
        assert scene.sink.counters()["table-filled"] == 2
        scene.sink.close()

    run(story)


def test_a_fault_is_said_once_a_minute_and_everything_comes_after_it() -> None:
    async def story() -> None:
        scene = Scene()
        scene.faked.fault = TargetError("set mx_white4 is missing")
        scene.open()
        said = 'table-broken table=faked reason="set mx_white4 is missing"'
        assert scene.lines == [said]
        scene.contact(HOSTS[0])
        for _ in range(5):
            scene.later(4)
            await asyncio.sleep(0.02)
        assert scene.lines == [said]
        scene.later(60)
        await scene.until(lambda: scene.lines == [said, said])
        assert scene.sink.counters()["table-failed"] >= 2
        scene.faked.fault = None
        scene.later(4)
        await scene.until(lambda: scene.faked.held)
        # It is said anew when it happens anew.
        scene.faked.fault = TargetError("set mx_white4 is missing")
        scene.later(4)
        await scene.until(lambda: scene.lines.count(said) == 3)
        scene.sink.close()

    run(story)


def test_a_full_table_is_filled_with_whom_it_can_hold_and_said_once() -> None:
    async def story() -> None:
        scene = Scene()
        scene.faked.room = 2
        scene.open()
        for host in HOSTS[:4]:
            scene.contact(host)
            await asyncio.sleep(0.01)
        await scene.until(lambda: any("the set is full" in line for line in scene.lines))
        scene.table.mark_used(HOSTS[0], boottime_us())
        scene.tell(Kind.ACCEPTED, HOSTS[0])
        for _ in range(8):
            scene.later(4)
            await asyncio.sleep(0.02)
        await scene.until(lambda: scene.faked.held.keys() == {HOSTS[0], HOSTS[3]})
        assert len([line for line in scene.lines if line.startswith("table-filled")]) == 1
        # A sample of those that had no room does not count as missing.
        assert not any("must be in it" in line for line in scene.lines)
        scene.sink.close()

    run(story)


def test_a_table_that_was_too_small_and_is_made_larger_is_filled() -> None:
    async def story() -> None:
        scene = Scene()
        scene.faked.room = 2
        scene.open()
        for host in HOSTS[:6]:
            scene.contact(host)
            await asyncio.sleep(0.01)
        for _ in range(6):
            scene.later(4)
            await asyncio.sleep(0.02)
        assert len(scene.faked.held) == 2
        # A reload with a larger set that is empty: all are missing.
        scene.faked.room = 1000
        scene.faked.held.clear()
        for _ in range(4):
            scene.later(4)
            await asyncio.sleep(0.3)
        await scene.until(lambda: len(scene.faked.held) == 6)
        scene.sink.close()

    run(story)


def test_a_shorter_lifetime_blinds_no_inspection() -> None:
    async def story() -> None:
        scene = Scene("-t 3600")
        scene.open()
        scene.contact(HOSTS[0])
        await scene.until(lambda: scene.faked.held)
        scene.sink.reload(good(f"{MINIMUM} --ipset -t 60"))
        scene.faked.held.clear()
        scene.later(10)
        await scene.until(lambda: scene.faked.held)
        scene.sink.close()

    run(story)


def test_what_did_not_fit_before_the_end_is_filled_in_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(kernel, "MAX_DIRTY", 4)
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.faked.calls)
        for host in HOSTS:
            scene.contact(host)
        scene.sink.close()
        assert len(scene.faked.held) == len(HOSTS)

    run(story)


def test_more_than_there_is_room_for_keeps_those_who_were_used_then_the_newest() -> None:
    """A flood filled the kernel's table; whoever came before, and has proven himself, is known after a restart."""
    async def story() -> None:
        scene = Scene()
        room = scene.whitelist.room()
        made_up = [packed(f"10.0.{number >> 8}.{number & 255}") for number in range(room + 200)]
        scene.faked.held = {host: (1000 + number, False) for number, host in enumerate(made_up)}
        scene.faked.held |= {host: (60 + number, True) for number, host in enumerate(HOSTS)}
        scene.open()
        adopted = {host: used for host, (_, used) in listed(scene.whitelist).items()}
        assert adopted == dict.fromkeys(made_up[200 + len(HOSTS) :], False) | dict.fromkeys(HOSTS, True)
        # The one that ends first is the first to go.
        now = boottime_us()
        scene.table.expire(now + 61_000_000, 10)
        assert len(scene.whitelist) == room - 2
        assert scene.whitelist.find(HOSTS[2])

    run(story)


def test_what_is_there_at_the_start_is_taken_over() -> None:
    async def story() -> None:
        scene = Scene("-t 100")
        scene.faked.held = {
            HOSTS[0]: (50, True), HOSTS[1]: (5000, False), HOSTS[2]: (None, False), HOSTS[3]: (0, False)}
        scene.open()
        assert scene.lines == ["table-read table=faked entries=4 adopted=2 whole=yes"]
        found = {host: (seconds_left(until_us, boottime_us()), used)
                 for host, (until_us, used) in listed(scene.whitelist).items()}
        # The operator's own needs no entry here; one that has just ended has ended; none lives longer than configured.
        assert found == {HOSTS[0]: (50, True), HOSTS[1]: (100, False)}
        assert scene.faked.held[HOSTS[2]] == (None, False)
        # The kernel is told that one of them ends sooner.
        await scene.until(lambda: scene.faked.held[HOSTS[1]] == (100, False))
        scene.sink.close()

    run(story)


def test_a_table_that_does_not_forget_is_told_when_a_time_is_over() -> None:
    async def story() -> None:
        scene = Scene(expires=False)
        scene.faked.held = {HOSTS[5]: (0, False)}
        scene.open()
        assert set(listed(scene.whitelist)) == {HOSTS[5]}
        scene.contact(HOSTS[0], 50_000)
        scene.contact(HOSTS[1])
        await scene.until(lambda: len(scene.faked.held) == 3)

        def expired() -> bool:
            scene.sink.tick()
            return HOSTS[0] not in scene.faked.held

        await scene.until(expired)
        assert scene.faked.held.keys() == {HOSTS[1], HOSTS[5]}
        # One whose time was made longer stays, and is looked at again when that is over.
        now = boottime_us()
        scene.contact(HOSTS[2], 50_000)
        assert scene.whitelist.renew(HOSTS[2], now + HOUR_US, now)
        await asyncio.sleep(1.2)
        scene.sink.tick()
        await asyncio.sleep(0.05)
        assert HOSTS[2] in scene.faked.held
        scene.sink.close()

    run(story)


def test_more_changes_than_fit_are_counted_and_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(kernel, "MAX_DIRTY", 4)
        scene = Scene()
        scene.open()
        for host in HOSTS:
            scene.contact(host)
        assert scene.sink.counters()["table-limited"] == len(HOSTS) - 4
        await scene.until(lambda: len(scene.faked.held) == len(HOSTS))
        assert scene.sink.counters()["table-filled"] == 1
        scene.sink.close()

    run(story)


def test_a_slow_kernel_gets_one_change_for_many() -> None:
    async def story() -> None:
        scene = Scene()
        scene.faked.slow_s = 0.05
        scene.open()
        for host in HOSTS:
            scene.contact(host)
            await asyncio.sleep(0.002)
        await scene.until(lambda: len(scene.faked.held) == len(HOSTS))
        assert scene.faked.calls.count("change") < len(HOSTS) / 2
        scene.sink.close()

    run(story)


def test_the_kernels_counters_go_on_when_a_ruleset_is_loaded_anew() -> None:
    async def story() -> None:
        scene = Scene()
        scene.faked.counted = {"refused": 100, "accepted": 5}
        scene.open()
        await scene.sink.refresh()
        # What was counted before the start is not ours.
        assert scene.sink.counters()["kernel-refused"] == 0
        scene.faked.counted = {"refused": 130, "accepted": 5}
        await scene.sink.refresh()
        scene.faked.counted = {"refused": 7, "accepted": 0}
        await scene.sink.refresh()
        assert (scene.sink.counters()["kernel-refused"], scene.sink.counters()["kernel-accepted"]) == (37, 0)
        scene.sink.close()

    run(story)


def test_what_is_waiting_at_the_end_is_still_done() -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.faked.calls)
        scene.contact(HOSTS[0])
        scene.sink.close()
        assert scene.faked.held.keys() == {HOSTS[0]}
        flushed = Scene("--flush-on-exit")
        flushed.faked.held = {HOSTS[0]: (50, True)}
        flushed.open()
        flushed.sink.close()
        assert flushed.faked.held == {}

    run(story)


def test_a_kernel_that_hangs_at_the_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(kernel, "FINISH_S", 0.05)
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.faked.calls)
        scene.faked.slow_s = 0.5
        scene.contact(HOSTS[0])
        scene.sink.close()
        assert scene.lines[-1] == 'table-broken table=faked reason="no answer at the end"'

    run(story)


def test_an_error_that_nobody_expected_is_a_defect() -> None:
    async def story() -> None:
        said: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.faked.calls)
        scene.faked.change = None  # type: ignore[assignment,method-assign]
        scene.contact(HOSTS[0])
        await scene.until(lambda: said)
        assert isinstance(said[0]["exception"], TypeError)
        # The sink goes on, and fills what it could not change.
        del scene.faked.change
        scene.later(10)
        await scene.until(lambda: scene.faked.held.keys() == {HOSTS[0]})
        scene.sink.close()

    run(story)


@given(st.lists(st.tuples(st.sampled_from(HOSTS), st.integers(0, 10_000_000))), st.integers(0, 12_000_000))
def test_expiry_gives_each_host_when_its_time_is_over(noted: list[tuple[bytes, int]], now_us: int) -> None:
    expiry = Expiry()
    for host, until_us in noted:
        expiry.note(host, until_us)
    due = list(expiry.take(now_us))
    assert sorted(due) == sorted(host for host, until_us in noted if (until_us // 1_000_000 + 1) * 1_000_000 <= now_us)
    assert expiry.size == len(noted) - len(due)
    expiry.clear()
    assert (expiry.size, list(expiry.take(2**60))) == (0, [])


def test_jobs_are_done_in_order_and_errors_come_back() -> None:
    async def story() -> None:
        jobs = Jobs(asyncio.get_running_loop(), "test")
        done: list[int] = []
        futures = [jobs.submit(lambda number=number: done.append(number)) for number in range(5)]  # type: ignore[misc]
        failing = jobs.submit(lambda: 1 // 0)
        await asyncio.gather(*futures)
        assert done == list(range(5))
        with pytest.raises(ZeroDivisionError):
            await failing
        assert jobs.finish(lambda: done.append(9), 2)
        assert done[-1] == 9

    run(story)


def test_used_hosts_that_the_kernel_does_not_know_as_used_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that the ruleset has now and had not before, or that somebody has flushed."""
    async def story() -> None:
        monkeypatch.setattr(kernel, "AGAIN_S", 0.01)
        scene = Scene()
        scene.open()
        scene.contact(HOSTS[0])
        scene.table.mark_used(HOSTS[0], boottime_us())
        await scene.until(lambda: scene.faked.held)
        scene.faked.held[HOSTS[0]] = (3600, False)
        scene.later(10)
        await scene.until(lambda: scene.faked.held[HOSTS[0]][1])
        assert scene.sink.counters()["table-filled"] == 1
        scene.sink.close()

    run(story)


def test_a_host_that_comes_in_the_middle_of_an_inspection_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(kernel, "AGAIN_S", 0.05)
        scene = Scene()
        scene.open()
        await scene.until(lambda: "totals" in scene.faked.calls)
        now = boottime_us()
        # It is in the whitelist, and its event is still on its way.
        scene.table.add(HOSTS[0], now + HOUR_US, now)
        scene.later(10)
        await scene.until(lambda: scene.faked.calls.count("totals") == 2)
        await asyncio.sleep(0.01)
        scene.tell(Kind.WHITELISTED, HOSTS[0], now + HOUR_US)
        await scene.until(lambda: scene.faked.held)
        assert scene.sink.counters()["table-filled"] == 0
        scene.sink.close()

    run(story)
