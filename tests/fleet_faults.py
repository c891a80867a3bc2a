"""Faults of the engine and of the way to it, and what two gateways promise about each: `python -m tests.fleet_faults`.

The same is tested with short faults (test_fleet_faults.py); with --seconds 30 they are as long as docs/reliability.md
says. The one rule: what is said at the end was measured from outside, by what the daemons list and log.
"""
import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.engine import Engine, Setup, cut_off
from lab.hosts import FAKE4, REAL4, Attempt
from tests.control_client import ask
from tests.gateways import BROKEN, MENDED, SENDERS, STREAM, Fleet, Gateway, fleet, seconds_until, start

SAME_AFTER_S = 20.0  # nobody is missing anywhere
NEW_AFTER_S = 3.0  # a new entry passes
NOTICED_S = 8.0
HOSTS = 300


@dataclass(frozen=True)
class Fault:
    """What is done to an engine, which `setup` sets up, or to the replica beside it as well.

    `who` are the gateways that notice it; `lost`: what was in the stream is gone, so a gateway that comes later shows
    whether it is there again.
    """

    during: Callable[[list[Engine], Gateway, float], Iterator[None]]
    who: str = "ab"
    lost: bool = False
    replica: bool = False


def hanging(engines: list[Engine], one: Gateway, seconds: float) -> Iterator[None]:
    """It answers nobody."""
    with engines[0].paused():
        yield
        time.sleep(seconds)


def cut(engines: list[Engine], one: Gateway, seconds: float) -> Iterator[None]:
    """Nothing passes between one of the gateways and it."""
    with cut_off(one.place):
        yield
        time.sleep(seconds)


def killed(engines: list[Engine], one: Gateway, seconds: float) -> Iterator[None]:
    """It dies, and has what it wrote when it comes back."""
    # What it keeps is written each second.
    time.sleep(1.1)
    engines[0].kill()
    yield
    time.sleep(seconds)
    engines[0].restart()


def emptied(engines: list[Engine], one: Gateway, seconds: float) -> Iterator[None]:
    """It dies, and comes back without anything."""
    engines[0].kill()
    yield
    time.sleep(seconds)
    engines[0].restart(empty=True)


def full(engines: list[Engine], one: Gateway, seconds: float) -> Iterator[None]:
    """It has no memory for anything new."""
    engines[0].do("CONFIG SET", "maxmemory", "1mb")
    yield
    time.sleep(seconds)
    engines[0].do("CONFIG SET", "maxmemory", "0")


def evicting(engines: list[Engine], one: Gateway, seconds: float) -> Iterator[None]:
    """It has a little too little memory, and throws away what it has: the whole stream at once."""
    engine = engines[0]
    length = engine.do("XLEN", STREAM)
    memory = engine.do("INFO", "memory")["used_memory"]
    engine.do("CONFIG SET", "maxmemory-policy", "allkeys-lru")
    while engine.do("XLEN", STREAM) >= length:
        memory -= 4096
        engine.do("CONFIG SET", "maxmemory", str(memory))
    engine.do("CONFIG SET", "maxmemory", "0")
    yield
    time.sleep(seconds)
    engine.do("CONFIG SET", "maxmemory-policy", "noeviction")


def forbidding(engines: list[Engine], one: Gateway, seconds: float) -> Iterator[None]:
    """Nobody may write any more."""
    engines[0].do("ACL SETUSER", "default", "-xadd")
    yield
    time.sleep(seconds)
    engines[0].do("ACL SETUSER", "default", "+xadd")


def locking_out(engines: list[Engine], one: Gateway, seconds: float) -> Iterator[None]:
    """Nobody may log in any more, and who was there is put out."""
    engines[0].do("ACL SETUSER", "default", "off")
    engines[0].do("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
    yield
    time.sleep(seconds)
    engines[0].do("ACL SETUSER", "default", "on")


def failed_over(engines: list[Engine], one: Gateway, seconds: float) -> Iterator[None]:
    """It dies, and Sentinels make its replica the one that takes entries."""
    first, second = engines
    first.kill()
    yield
    seconds_until(second.is_master, 20)


FAULTS = {
    "hangs": Fault(hanging),
    "is-cut-off": Fault(cut, who="a"),
    "is-full": Fault(full),
    "takes-nothing": Fault(forbidding),
    "lets-nobody-in": Fault(locking_out),
    "is-killed": Fault(killed),
    "comes-back-empty": Fault(emptied, lost=True),
    "evicts": Fault(evicting, who="", lost=True),
    "is-replaced": Fault(failed_over, replica=True),
}


class Stage:
    """An engine, or one with a replica and three Sentinels, and two gateways with some entries each."""

    def __init__(self, made: Fleet, *, replica: bool = False) -> None:
        self._made = made
        self._networks = itertools.count(1)
        self._late = itertools.count()
        # It writes each second.
        self.engines = [made.engine("first", Setup(keep=True))]
        if replica:
            self.engines += [made.engine("second", Setup(replica_of=self.engines[0].address))]
            seconds_until(lambda: self.engines[1].is_replica_of(self.engines[0].address), 10)
            sentinels = made.sentinels(self.engines[0])
            seconds_until(lambda: all(one.knows() == (1, 2) for one in sentinels), 20)
        self.a, self.b = self.gateways = [made.gateway(name) for name in "ab"]
        start(*self.gateways)
        self.known: set[str] = set()
        self.meet()
        seconds_until(self.is_same, 10)

    def meet(self, number: int = HOSTS) -> list[str]:
        """New hosts meet the fake server of each gateway; the first one at each."""
        firsts = [f"10.{next(self._networks)}.0.0" for _ in self.gateways]
        for one, first in zip(self.gateways, firsts, strict=True):
            self.known |= one.meet(first, number)
        return firsts

    def is_same(self) -> bool:
        """Whether both list all that met either."""
        return all(one.known().keys() == self.known for one in self.gateways)

    def play(self, fault: Fault, seconds: float) -> dict[str, float]:
        """Do it, and check each promise. The seconds until a new entry passed, and until all were everywhere."""
        before = {one.name: (len(one.said(BROKEN)), len(one.said(MENDED))) for one in self.gateways}
        with contextmanager(fault.during)(self.engines, self.a, seconds):
            if fault.who:
                # Who does not say anything need not notice that nothing can be said.
                _, of_b = self.meet()
                self._remove(of_b)
            for one in self.gateways:
                if one.name in fault.who:
                    one.daemon.wait_for(BROKEN, times=before[one.name][0] + 1, timeout=NOTICED_S)
            self._mail_goes_on()
        ended = time.monotonic()
        of_a, of_b = self.meet(1)
        new_s = seconds_until(lambda: self.b.entry(of_a) and self.a.entry(of_b), NEW_AFTER_S)
        watched = list(self.gateways)
        if fault.lost:
            late = self._made.gateway(f"late{next(self._late)}")
            late.start()
            watched.append(late)
        seconds_until(lambda: all(one.known().keys() == self.known for one in watched),
                      ended + SAME_AFTER_S - time.monotonic())
        same_s = time.monotonic() - ended
        for one in watched[2:]:
            assert one.stop() == 0
        for one in self.gateways:
            broken, mended = before[one.name]
            more = one.name in fault.who
            # It is said once all has been well for a while.
            one.daemon.wait_for(MENDED if more else "", times=mended + more)
            found = len(one.said(BROKEN)) - broken, len(one.said(MENDED)) - mended
            assert found == (more, more), (one.name, one.said("fleet-"))
        return {"new": new_s, "same": same_s}

    def _remove(self, address: str) -> None:
        """An operator removes one of a gateway's new hosts there, and on the other one a host that both have."""
        settled = next(iter(sorted(self.known - {SENDERS[0], address})))
        for host, one in ((address, self.b), (settled, self.a)):
            # The packet path has just entered it.
            seconds_until(lambda: one.entry(host), 5)  # noqa: B023  # it is called at once
            assert ask(one.daemon.control, "DELETE", f"/v1/entries/{host}")[0] == 200
            self.known.discard(host)

    def _mail_goes_on(self) -> None:
        """As on a gateway of its own: a sender that nobody knows is refused, meets the fake server, and gets in."""
        if SENDERS[0] in self.known:
            assert self.a.tries(REAL4, SENDERS[0]) is Attempt.CONNECTED
            return
        self.known.add(SENDERS[0])
        for address, gets in ((REAL4, Attempt.DROPPED), (FAKE4, Attempt.REFUSED), (REAL4, Attempt.CONNECTED)):
            assert self.a.tries(address, SENDERS[0]) is gets

    def end(self) -> None:
        """In order."""
        for one in self.gateways:
            assert one.stop() == 0


def main() -> None:
    """Each of them, or those that are named; a line each."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet_faults", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each lasts (default: %(default)s)")
    parser.add_argument("fault", nargs="*", choices=[*FAULTS, []], help="default: all of them")
    wanted = parser.parse_args()
    for name in wanted.fault or FAULTS:
        with tempfile.TemporaryDirectory() as directory, fleet(Path(directory)) as made:
            seen = Stage(made, replica=FAULTS[name].replica).play(FAULTS[name], wanted.seconds)
        print(f"{name:20} a new entry after {seen['new']:.2f} s, all of them after {seen['same']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
