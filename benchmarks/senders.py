#!/usr/bin/env python3
"""The hosts that come to a gateway during a soak: a program of its own, so that nothing of the soak holds them up.

    python benchmarks/senders.py

Newcomers meet the fake server, then the real one, as a mail transfer agent does. Known hosts are newcomers of some
seconds ago, at the real server again. Spammers try the real server alone. All of them in IPv4 and IPv6, each from an
address of its own, at a steady pace.

Standard input says what is to be expected, a word a line: `blind` (from now on a contact with the fake server may be
seen by nobody), `sees` (that is over), `forgotten` (nobody is known any more), `rest` (nobody comes), `go-on`.
Standard output has a line for each host that is done, KIND BEGUN STALL OUTCOME SOURCE: the time of the monotonic clock,
the seconds that its slowest connection took, and one of

    in          reached the real server
    came-again  the same, after it met the fake server once more: the first time, it may have been seen by nobody
    lost        met the fake server, which was seen, or was known, and did not reach the real one: must never be
    dropped     a spammer who did not reach the real server
    unfiltered  a spammer who did while nobody may have looked
    let-in      a spammer who did at any other time: must never be
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import asyncio
import signal
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, SMTP, Attempt
from lab.nsd import FIRST

SENDERS4, SENDERS6 = FIRST + 1, IPv6Address("2001:db8:1::1")
SPAMMERS4, SPAMMERS6 = IPv4Address("10.64.0.1"), IPv6Address("2001:db8:2::1")
NEWCOMERS_PER_S, KNOWN_PER_S, SPAMMERS_PER_S = 20, 20, 10  # of each family
# Addresses of each family. A sender comes again as a newcomer when he has been forgotten for a while.
LIFETIME_S = 90
SENDERS, SPAMMERS = 4 * LIFETIME_S * NEWCOMERS_PER_S // 3, 60_000
# The kernel sends a SYN again after 1, 3 and 7 seconds.
PATIENCE_S, SPAMMERS_PATIENCE_S = 8.0, 0.8
UNREACHABLE_PAUSE_S = 0.2
# When after his contact a host counts as known: the kernel has it, and its time is not nearly over.
KNOWN_FROM_S, KNOWN_TO_S = 2.0, 50.0
ROUNDS = 4


@dataclass
class State:
    """What is to be expected at the moment. `turn` counts its changes."""

    blind: bool = False
    rests: bool = False
    over: bool = False
    turn: int = 0
    forgotten: int = 0
    # Who was at the real server, and when he met the fake one; the one who was there longest ago comes first.
    known: dict[int, deque[tuple[str, float]]] = field(
        default_factory=lambda: {family: deque() for family in (socket.AF_INET, socket.AF_INET6)})

    def told(self, word: str) -> None:
        """A word from standard input."""
        if word in ("blind", "sees"):
            self.blind = word == "blind"
            self.turn += 1
        elif word == "forgotten":
            self.forgotten += 1
            for pool in self.known.values():
                pool.clear()
        elif word in ("rest", "go-on"):
            self.rests = word == "rest"

    def next_known(self, family: int) -> tuple[str, float] | None:
        """A host that may come again."""
        pool, now = self.known[family], time.monotonic()
        while pool and now - pool[0][1] > KNOWN_TO_S:
            pool.popleft()
        return pool.popleft() if pool and now - pool[0][1] >= KNOWN_FROM_S else None

    def saw(self, turn: int) -> bool:
        """Whether all that happened since this turn was seen."""
        return not self.blind and self.turn == turn


async def connect(source: str, address: str, patience_s: float) -> tuple[Attempt, float]:
    """What became of a connection, and the seconds that it took. An unreachable host is tried again meanwhile."""
    begun = time.monotonic()
    attempt = Attempt.DROPPED
    while (left := patience_s - (time.monotonic() - begun)) > 0:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as one:
            one.setblocking(False)
            one.bind((source, 0))
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(one, (address, SMTP)), left)
                attempt = Attempt.CONNECTED
                break
            except ConnectionRefusedError:
                attempt = Attempt.REFUSED
                break
            except TimeoutError:
                break
            except OSError:
                await asyncio.sleep(UNREACHABLE_PAUSE_S)
    return attempt, time.monotonic() - begun


def tell(kind: str, begun: float, stall_s: float, outcome: str, source: str) -> None:
    """A host is done."""
    sys.stdout.write(f"{kind} {begun:.3f} {stall_s:.3f} {outcome} {source}\n")
    sys.stdout.flush()


async def newcomer(state: State, source: str, family: int) -> None:
    """Meet the fake server, then the real one; again from the start where the contact may not have been seen."""
    fake, real = (FAKE4, REAL4) if family == socket.AF_INET else (FAKE6, REAL6)
    begun = time.monotonic()
    for number in range(ROUNDS):
        turn, met = state.turn, time.monotonic()
        _, met_s = await connect(source, fake, PATIENCE_S)
        seen = state.saw(turn)
        attempt, reached_s = await connect(source, real, PATIENCE_S)
        if attempt is Attempt.CONNECTED:
            tell("newcomer", begun, max(met_s, reached_s), "came-again" if number else "in", source)
            if seen:
                state.known[family].append((source, met))
            return
        if seen:
            break
        while state.blind:
            await asyncio.sleep(UNREACHABLE_PAUSE_S)
    tell("newcomer", begun, PATIENCE_S, "lost", source)


async def known(state: State, source: str, family: int, met: float) -> None:
    """Reach the real server at once."""
    begun, forgotten = time.monotonic(), state.forgotten
    attempt, taken_s = await connect(source, REAL4 if family == socket.AF_INET else REAL6, PATIENCE_S)
    if attempt is Attempt.CONNECTED:
        tell("known", begun, taken_s, "in", source)
        if forgotten == state.forgotten:
            state.known[family].append((source, met))
    elif forgotten == state.forgotten:
        tell("known", begun, taken_s, "lost", source)


async def spammer(state: State, source: str, family: int) -> None:
    """Try the real server alone."""
    begun, turn, seen_before = time.monotonic(), state.turn, not state.blind
    attempt, taken_s = await connect(source, REAL4 if family == socket.AF_INET else REAL6, SPAMMERS_PATIENCE_S)
    if attempt is Attempt.CONNECTED:
        outcome = "let-in" if seen_before and state.saw(turn) else "unfiltered"
    else:
        outcome = "dropped"
    tell("spammer", begun, taken_s, outcome, source)


async def paced(state: State, per_s: int) -> AsyncIterator[int]:
    """Numbers from 0 on, so many a second, until it is over."""
    number, due = 0, time.monotonic()
    while not state.over:
        # What was held up is not made up for.
        due = max(due + 1 / per_s, time.monotonic())
        await asyncio.sleep(due - time.monotonic())
        if not state.rests:
            yield number
            number += 1


async def come(state: State, kind: str, family: int, tasks: set["asyncio.Task[None]"]) -> None:
    """Let hosts of one kind and family come."""
    def begin(task: "asyncio.Task[None]") -> None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    ipv4 = family == socket.AF_INET
    if kind == "newcomer":
        async for number in paced(state, NEWCOMERS_PER_S):
            source = (SENDERS4 if ipv4 else SENDERS6) + number % SENDERS
            begin(asyncio.create_task(newcomer(state, str(source), family)))
    elif kind == "spammer":
        async for number in paced(state, SPAMMERS_PER_S):
            source = (SPAMMERS4 if ipv4 else SPAMMERS6) + number % SPAMMERS
            begin(asyncio.create_task(spammer(state, str(source), family)))
    else:
        async for _ in paced(state, KNOWN_PER_S):
            found = state.next_known(family)
            if found:
                begin(asyncio.create_task(known(state, found[0], family, found[1])))


async def listen(state: State) -> None:
    """Take words from standard input until its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        state.told(line.decode("ascii").strip())
    state.over = True


async def serve() -> None:
    """Let all of them come until the input ends, and those finish who are on their way."""
    state, tasks = State(), set[asyncio.Task[None]]()
    listening = asyncio.create_task(listen(state))
    await asyncio.gather(*(come(state, kind, family, tasks) for kind in ("newcomer", "known", "spammer")
                           for family in (socket.AF_INET, socket.AF_INET6)))
    await listening
    if tasks:
        await asyncio.wait(set(tasks))


def main() -> int:
    # A terminal's interrupt is for the soak, which closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve())
    return 0
