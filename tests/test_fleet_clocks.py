"""Clocks of gateways and engine that are ten minutes apart change no lifetime."""
import re
from functools import partial
from pathlib import Path

import pytest

from lab.clocks import Clocks
from lab.engine import Setup
from lab.hosts import FAKE4
from tests.gateways import SENDERS, fleet, start
from tests.until import until

APART_S, DAY_S, LIFETIME_S = 600, 86_400, 3600
OFF_S = 2


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("engine_s", [0, -APART_S], ids=["engine-right", "engine-slow"])
def test_clocks_that_are_apart(tmp_path: Path, engine_s: int) -> None:
    """One gateway's clock is ahead of the engine's, one's is behind; also for who reads it from the stream later."""
    clocks = {name: Clocks(tmp_path / f"clocks-{name}") for name in ("a", "b", "c", "engine")}
    for name, seconds in (("a", APART_S), ("b", -APART_S), ("c", APART_S), ("engine", engine_s)):
        clocks[name].set(seconds, 0)
    with fleet(tmp_path) as made:
        made.engine(setup=Setup(prefix=tuple(clocks["engine"].prefix())))
        a, b, c = (made.gateway(name, "-t", str(LIFETIME_S)) for name in "abc")
        for one in (a, b, c):
            one.prefix = clocks[one.name].prefix()
        start(a, b)
        a.tries(FAKE4, SENDERS[0])
        b.tries(FAKE4, SENDERS[1])
        assert until(lambda: len(a.known()) == len(b.known()) == 2)
        # As long after that an entry is taken from the stream by one that was not there.
        assert not until(lambda: False, 2.5)
        c.start()
        assert until(lambda: len(c.known()) == 2)
        left = [{host: entry["seconds_left"] for host, entry in one.known().items()} for one in (a, b, c)]
        for host in SENDERS[:2]:
            seen = [one[host] for one in left]
            assert max(seen) - min(seen) <= OFF_S, left
            assert LIFETIME_S - 20 <= min(seen) <= LIFETIME_S
        assert "late" not in {reason for reason, number in c.fleet()["refused"].items() if number}
        for one in (a, b, c):
            assert one.stop() == 0


@pytest.mark.usefixtures("namespaces")
def test_a_clock_that_is_a_day_off(tmp_path: Path) -> None:
    """A gateway's own, then the engine's as well, which is set while they run: nothing is lost, and it is said."""
    clocks = {name: Clocks(tmp_path / f"clocks-{name}") for name in ("a", "engine")}
    clocks["a"].set(-DAY_S, 0)
    with fleet(tmp_path) as made:
        made.engine(setup=Setup(prefix=tuple(clocks["engine"].prefix())))
        a, b = (made.gateway(name, "-t", str(LIFETIME_S)) for name in "ab")
        a.prefix = clocks["a"].prefix()
        start(a, b)
        a.tries(FAKE4, SENDERS[0])
        assert until(lambda: b.entry(SENDERS[0]))
        assert LIFETIME_S - 20 <= b.known()[SENDERS[0]]["seconds_left"] <= LIFETIME_S
        assert abs(a.fleet()["clock_seconds"] + DAY_S) <= OFF_S
        assert len(a.said("fleet-clock ")) == 1
        assert re.search("this host's clock is 86(399|400|401) s behind the engine's", a.ctl("fleet"))
        for sender, engine_s in ((SENDERS[1], DAY_S), (SENDERS[2], 0)):
            clocks["engine"].set(engine_s, 0)
            a.tries(FAKE4, sender)
            assert until(partial(b.entry, sender), 20)
            assert b.entry(SENDERS[0])
        for one in (a, b):
            assert one.stop() == 0
