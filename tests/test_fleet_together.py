"""Gateways that say and hear by a stream in memory, whatever happens to it and to them: all end with the same list.

The stream is what an engine makes of it, in a few lines; tests of the product on real engines are elsewhere.
"""
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mxallowd.engine._table import CONTACT, PEER, Table
from mxallowd.fleet.hearing import Hearing, Terms
from mxallowd.fleet.peers import Peers
from mxallowd.fleet.saying import RECENT_US, Saying
from mxallowd.whitelist import Whitelist, unpack
from tests.fleet_stream import KEYS, LONGEST_S, START_MS, S, finished, host, number_of

HOSTS = 12
GATEWAYS = 3
BACK_MS = 10_000
NUMBERS, NAMES = st.integers(1, HOSTS), st.integers(0, GATEWAYS - 1)


class Stream:
    """One key of an engine, and its clock."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.messages: list[tuple[int, int, bytes]] = []
        self.last = (0, 0)

    def add(self, data: bytes) -> tuple[int, int]:
        self.last = (self.now_ms, self.last[1] + 1 if self.last[0] == self.now_ms else 0)
        self.messages.append((*self.last, data))
        return self.last

    @property
    def first(self) -> tuple[int, int] | None:
        return self.messages[0][:2] if self.messages else None


class Gateway:
    """One run of a gateway. Its clock starts anywhere."""

    def __init__(self, stream: Stream, name: str, clock_us: int) -> None:
        self.stream, self.name = stream, name
        start_ms = stream.now_ms
        self.table = Table(1024 + 96, main=96, told=64)
        self.wall_ns = 600_000_000_000 * int(name[-1])
        self.whitelist = Whitelist(self.table, lambda: (stream.now_ms - start_ms) * 1000 + clock_us)
        self.whitelist.set_lifetimes(LONGEST_S * S, LONGEST_S * S)
        self.saying = Saying(self.whitelist, self.table, name, LONGEST_S)
        self.saying.follow()
        self.hearing = Hearing(
            self.whitelist, KEYS, Peers(), self.saying,
            Terms(name, LONGEST_S * S, 64, lambda: stream.now_ms * 1000))
        self.connected = True
        self.loaded = False
        self.after = (0, 0)
        self.connect()

    def connect(self) -> None:
        """As session.py does: a step back, or to the beginning, what is new, and then a look at the stream."""
        self.connected = True
        self.after = (max(0, self.after[0] - BACK_MS), 0)
        if self.stream.last < self.after:
            self.after = (0, 0)
        self.hear()
        if not self.loaded:
            self.loaded = True
            self.hearing.loaded()
            self.saying.loaded(self.hearing.earlier.shown(), self.stream.first, self.stream.now_ms)
        self.look()

    def look(self) -> None:
        """As session.py does."""
        places = {(ms, number) for ms, number, _ in self.stream.messages}
        gone = [one for one in self.saying.relied() if one not in places]
        self.saying.check(self.stream.first, self.stream.now_ms, gone)

    def lose(self) -> None:
        self.connected = False
        self.hearing.lost()
        self.saying.lost()

    def hear(self) -> None:
        new = [(f"{ms}-{number}".encode(), data) for ms, number, data in self.stream.messages
               if (ms, number) > self.after]
        finished(self.hearing.hear(new))
        self.after = max(self.after, self.stream.last)

    def say(self, *, lands: bool = True, known: bool = True) -> bool:
        said = self.saying.take()
        if said is None:
            return self.saying.due() or self.saying.in_round
        # Its wall clock is another one than the engine's, and goes as fast.
        with patch("time.time_ns", lambda: self.stream.now_ms * 1_000_000 + self.wall_ns):
            message = self.saying.message(said, KEYS)
        if lands:
            place = self.stream.add(message)
        if lands and known:
            self.saying.done(said, place)
        else:
            self.saying.failed(said)
        return True

    def contact(self, number: int) -> None:
        """As the packet path does: a new host, or one that another gateway told of."""
        now_us = self.whitelist.now_us()
        if self.table.find(host(number), now_us) is None:
            self.table.add(host(number), now_us + LONGEST_S * S, now_us, origin=CONTACT)
        else:
            self.table.claim(host(number), now_us)
            self.table.renew(host(number), now_us + LONGEST_S * S, now_us)
        self.saying.touched([host(number)])

    def listed(self) -> dict[int, int]:
        """When each entry ends, by the engine's clock in milliseconds."""
        now_us = self.whitelist.now_us()
        return {number_of(one): self.stream.now_ms + (until_us - now_us) // 1000
                for records in self.whitelist.records() for one, until_us, _ in unpack(records)}

    def own(self) -> set[int]:
        now_us = self.whitelist.now_us()
        return {number for number in range(1, HOSTS + 1)
                if (found := self.table.find(host(number), now_us)) and found[2] != PEER}


class Site(RuleBasedStateMachine):
    """Some gateways, and an engine that does what it likes."""

    @initialize()
    def start(self) -> None:
        self.stream = Stream()
        self.gateways = [Gateway(self.stream, f"mx{at}", 10**12 * (at + 1)) for at in range(GATEWAYS)]
        self.removed: set[int] = set()
        self.intact = True  # nothing was lost that nobody says again

    def turn(self) -> None:
        for gateway in self.gateways:
            if gateway.connected:
                gateway.hear()
                gateway.say()

    @rule(at=NAMES, number=NUMBERS)
    def contact(self, at: int, number: int) -> None:
        self.gateways[at].contact(number)
        self.removed.discard(number)

    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        """An operator removes a host, on a gateway that is connected."""
        self.stream.now_ms += 10
        gateway = next((one for one in self.gateways if one.connected), None)
        if gateway is not None and gateway.whitelist.end(host(number)):
            self.removed.add(number)

    @rule(seconds=st.sampled_from((0.01, 0.01, 1.0, 30.0, 600.0)))
    def time_passes(self, seconds: float) -> None:
        self.stream.now_ms += int(1000 * seconds)
        least_ms = self.stream.now_ms - LONGEST_S * 1000
        self.stream.messages = [one for one in self.stream.messages if one[0] >= least_ms]
        for gateway in self.gateways:
            if gateway.connected and seconds >= 30:
                gateway.look()
        self.turn()

    @rule(at=NAMES, known=st.booleans())
    def say_in_vain(self, at: int, known: bool) -> None:
        """The connection breaks while it says something, which may be in the stream all the same."""
        gateway = self.gateways[at]
        if gateway.connected:
            gateway.say(lands=known, known=False)
            gateway.lose()

    @rule(at=NAMES)
    def cut_off(self, at: int) -> None:
        if self.gateways[at].connected:
            self.gateways[at].lose()

    @rule(at=NAMES)
    def connect(self, at: int) -> None:
        if not self.gateways[at].connected:
            self.gateways[at].connect()

    @rule()
    def come_back_empty(self) -> None:
        """The engine starts without its disk; who removed what is forgotten with it."""
        self.stream.messages.clear()
        self.intact = False
        self._connect_again()

    @rule(lost=st.integers(1, 3))
    def fail_over(self, lost: int) -> None:
        """The one that takes over lacks the last messages, those of some seconds, and so its last place is behind."""
        for _ in range(lost):
            if self.stream.messages and self.stream.messages[-1][0] > self.stream.now_ms - RECENT_US // 1000:
                self.stream.messages.pop()
        self.stream.last = self.stream.messages[-1][:2] if self.stream.messages else (0, 0)
        self._connect_again()

    def _connect_again(self) -> None:
        for gateway in self.gateways:
            if gateway.connected:
                gateway.lose()
                gateway.connect()

    @precondition(lambda self: self.intact)
    @rule(at=NAMES)
    def start_again_without_a_disk(self, at: int) -> None:
        old = self.gateways[at]
        if not old.connected:
            old.connect()
        self._say_all()
        # What it said in its last moments is said again by nobody, should it be lost just then.
        self.stream.now_ms += RECENT_US // 1000
        self.gateways[at] = Gateway(self.stream, old.name, 5 * 10**12)
        assert self.gateways[at].listed().keys() >= old.own() - {
            number for number in old.own() if any(one.own() & {number} for one in self.gateways if one is not old)}

    def _say_all(self, most: int = 400) -> None:
        for _ in range(most):
            self.stream.now_ms += 200
            busy = [gateway.say() for gateway in self.gateways if gateway.connected]
            for gateway in self.gateways:
                if gateway.connected:
                    gateway.hear()
            if not any(busy):
                return

    def teardown(self) -> None:
        if not hasattr(self, "gateways"):
            return
        for gateway in self.gateways:
            if not gateway.connected:
                gateway.connect()
        self._say_all()
        all_listed = [gateway.listed() for gateway in self.gateways]
        for gateway in self.gateways:
            for number in gateway.own():
                ends = [listed.get(number, 0) for listed in all_listed]
                assert min(ends) > 0, f"{number} of {gateway.name} is missing"
                # Each of them has the latest end, but for what was rounded down.
                assert max(ends) - min(ends) <= 2000, f"{number}: {ends}"
            assert not any(gateway.hearing.peers.refused[reason] for reason in ("replayed", "broken", "forged"))
        if self.intact:
            for number in self.removed:
                assert not any(number in listed for listed in all_listed), f"{number} was removed"


TestSite = Site.TestCase
TestSite.settings = settings(max_examples=15, stateful_step_count=30)
