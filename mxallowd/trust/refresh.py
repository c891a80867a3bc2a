"""The networks of the domains in the file, asked for again and again, beside the way of the packets.

A domain is asked for when the time to live of its records is over, at the earliest after an hour and at the latest
after a day. What was learned holds until something else is believed, for however long name servers may be gone, and
across restarts where there is a state directory. A domain without a good answer is asked for again after 5 minutes,
then after twice as long each time, up to an hour.

Each domain has a task of its own while it is asked for, so one whose name servers are slow holds up no other.

Bounds: PARALLEL domains at a time, MOST_S for each; questions of one domain by the limits of RFC 7208. Whom an operator
wants asked for at once is, but not twice within LEAST_PAUSE_S.
"""
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from mxallowd.log import Log
from mxallowd.text import shortened
from mxallowd.trust.answers import LONGEST_LIFE_S, Answer, disbelief, life_s, records_of
from mxallowd.trust.flatten import Flattened
from mxallowd.trust.lines import SPF, TrustLine

PARALLEL = 4
MOST_S = 120.0
FIRST_RETRY_S, LONGEST_RETRY_S = 300.0, 3600.0
LEAST_PAUSE_S = 30.0
NAMED = 3  # reasons of one domain that are logged

Flatten = Callable[[str], Awaitable[Flattened]]


@dataclass
class Known:
    """What is known of a line."""

    line: TrustLine
    answer: Answer | None = None
    due_s: float = 0.0  # seconds since 1970
    failures: int = 0  # in a row
    fault: str = ""  # of the last time; empty: it was good
    left_out: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()  # what of the record is, although it was believed
    asked_s: float = float("-inf")  # the last time, in seconds since 1970


class Refresh:
    """All calls come from the main loop."""

    def __init__(
        self, flatten: Flatten, changed: Callable[[bool], None], log: Log, clock: Callable[[], float] = time.time,
    ) -> None:
        """`changed` is called when an answer was learned; with True where it is another one than before."""
        self._flatten = flatten
        self._changed = changed
        self._log = log
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(PARALLEL)
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.counts = {"trust-learned": 0, "trust-failed": 0}

    def take(self, lines: Iterable[TrustLine], kept: Mapping[str, Answer] | None = None) -> None:
        """These lines hold from now on. Answers to domains that stay are kept; `kept` has those of an earlier run."""
        before, now_s = self._known, self._clock()
        self._known = {}
        for line in lines:
            if line.word != SPF:
                continue
            known = before.get(line.subject) or Known(line)
            known.line = line
            if known.answer is None and kept and (answer := kept.get(line.subject)):
                known.answer, known.due_s = answer, answer.due_s(now_s)
            self._known[line.subject] = known
        self._wake.set()

    def known(self) -> list[Known]:
        """What is known of each line, in their order."""
        return list(self._known.values())

    def answers(self) -> dict[str, Answer]:
        """The last good answers, by domain."""
        return {domain: known.answer for domain, known in self._known.items() if known.answer}

    def ask_soon(self, domain: str | None = None, *, failed_only: bool = False) -> int:
        """Ask for this domain now, or for all; how many are asked for. Others were just now, or are waiting already."""
        now_s, count = self._clock(), 0
        for known in self._known.values():
            wanted = domain in (None, known.line.subject) and (known.fault or not failed_only)
            rested = not 0 <= now_s - known.asked_s < LEAST_PAUSE_S
            if wanted and rested and known.due_s > now_s and known.line.subject not in self._asking:
                known.due_s = now_s
                count += 1
        self._wake.set()
        return count

    def rest_s(self, domain: str | None = None) -> float | None:
        """Seconds until one of these may be asked for again that ask_soon() leaves out; None: it leaves out none."""
        now_s = self._clock()
        return min((known.asked_s + LEAST_PAUSE_S - now_s for known in self._known.values()
                    if domain in (None, known.line.subject) and known.due_s > now_s
                    and known.line.subject not in self._asking and 0 <= now_s - known.asked_s < LEAST_PAUSE_S),
                   default=None)

    def is_asked(self, domain: str) -> bool:
        """Whether it is asked for now, or waits for its turn."""
        return domain in self._asking

    async def run(self) -> None:
        """Ask, until the task is cancelled."""
        try:
            while True:
                self._wake.clear()
                due = self._begin()
                if due is None:
                    await self._wake.wait()
                    continue
                try:
                    # The wall clock may be set meanwhile: look again now and then.
                    await asyncio.wait_for(self._wake.wait(), min(max(due - self._clock(), 0.1), 60.0))
                except TimeoutError:
                    continue
        finally:
            for task in self._asking.values():
                task.cancel()

    async def round(self) -> float | None:
        """Ask for what is due, and wait for it; when the next one is, in seconds since 1970, None: there is none."""
        self._begin()
        while self._asking:
            await asyncio.wait(self._asking.values())
            await asyncio.sleep(0)
        return self._begin()

    def _begin(self) -> float | None:
        """Begin to ask for what is due; when the next one is that is not asked for now."""
        now_s = self._clock()
        for domain, known in self._known.items():
            # So late is none but one of a wall clock that was set back.
            is_due = known.due_s <= now_s or known.due_s > now_s + LONGEST_LIFE_S
            if is_due and domain not in self._asking:
                task = self._asking[domain] = asyncio.get_running_loop().create_task(self._in_turn(known))
                task.add_done_callback(partial(self._ended, domain))
        return min((known.due_s for domain, known in self._known.items() if domain not in self._asking), default=None)

    def _ended(self, domain: str, _: "asyncio.Task[None]") -> None:
        self._asking.pop(domain, None)
        self._wake.set()

    async def _in_turn(self, known: Known) -> None:
        async with self._slots:
            if self._known.get(known.line.subject) is known:
                await self._ask(known)

    async def _ask(self, known: Known) -> None:
        domain = known.line.subject
        known.asked_s = self._clock()
        try:
            found = await asyncio.wait_for(self._flatten(domain), MOST_S)
        except TimeoutError:
            self._fail(known, f"its name servers took more than {MOST_S:.0f} seconds")
            return
        except Exception as error:  # noqa: BLE001  # a defect of ours about one record must not end all refreshes
            self._fail(known, shortened(f"{type(error).__name__}: {error}"))
            return
        if self._known.get(domain) is not known:
            return  # its line has gone
        # Part of an answer takes the place of nothing, never of a whole one.
        if found.unanswered and (known.answer or not found.networks):
            self._fail(known, found.wrong[0])
            return
        if reason := disbelief(found.networks):
            self._fail(known, "; ".join([reason, *found.wrong[:NAMED]]))
            return
        self._learn(known, found)

    def _learn(self, known: Known, found: Flattened) -> None:
        now_s = self._clock()
        answer = Answer(records_of(found.networks), int(now_s), life_s(found.ttl_s), found.chains)
        before, known.answer = known.answer, answer
        known.failures = 0
        self.counts["trust-learned"] += 1
        if found.unanswered:
            self._fail(known, found.wrong[0])
        else:
            known.due_s, known.fault = now_s + answer.life_s, ""
        if before is None or before.records != answer.records or known.left_out != tuple(found.left_out):
            for text in found.left_out[:NAMED]:
                self._log.warning("trust-left-out", where=known.line.where, term=text, terms=len(found.left_out))
            for text in found.wrong[:NAMED]:
                self._log.warning("trust-wrong", where=known.line.where, reason=text)
            self._log.info("trust", None, where=known.line.where, domain=known.line.subject,
                           networks=len(found.networks), seconds=answer.life_s)
        known.left_out, known.wrong = tuple(found.left_out), tuple(found.wrong)
        self._changed(before is None or (before.records, before.chains) != (answer.records, answer.chains))

    def _fail(self, known: Known, reason: str) -> None:
        known.due_s = self._clock() + min(FIRST_RETRY_S * 2.0 ** min(known.failures, 10), LONGEST_RETRY_S)
        known.failures += 1
        self.counts["trust-failed"] += 1
        # Once for each reason, however often it comes.
        if reason != known.fault:
            self._log.warning("trust-failed", where=known.line.where, domain=known.line.subject, reason=reason,
                              holds="yes" if known.answer else "no")
        known.fault = reason
