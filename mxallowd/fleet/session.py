"""One connection of a gateway to its engine, from the first question to the first failure: it says, hears, and looks.

Two links: what waits for what is new would hold up what is said. Three tasks run until one of them fails: the reader
(XREAD, at most every PAUSE_S), the writer (XADD, likewise), and a look at the stream every CHECK_S. The reader takes so
many messages at once as make some thousands of records, so that the loop is not held.

Which way it fails: any failure ends all of it (LinkError), and whoever runs it connects anew. Where the engine only
takes nothing (no memory, no right, no disk), the reader goes on and the writer tries again; nothing of what was to be
said is lost, since the whitelist has it. Where the memory is full of what still lives, the older half gives way.
"""
import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

from mxallowd.fleet.clock import EngineClock
from mxallowd.fleet.hearing import Hearing
from mxallowd.fleet.link import FIRST, LARGEST, Id, Link, Stream, id_of
from mxallowd.fleet.opening import LinkError
from mxallowd.fleet.saying import Saying
from mxallowd.fleet.standing import ADDING, AHEAD, LINK, STREAM, Standing
from mxallowd.settings.fleet import CLI

PAUSE_S = 0.01
CHECK_S = 5.0  # between two looks at the stream: an engine that evicts does not end connections
STRANGE_S = 2.0  # until the next look, as long as something is wrong with the stream
IDLE_S = 1.0  # the longest rest of the writer: there may be something that nobody woke it for
AGAIN_S = (0.1, 0.5)  # until the next try, by chance between these
BACK_MS = 10_000  # a new connection begins so much before what was heard last
SET_AGAIN_S = 2 * CHECK_S  # after the engine's clock was set: until then all gateways have seen it
AHEAD_MS = 60_000  # the last ID may be ahead of the engine's clock
FEW, MOST = 16, 256  # messages at once
BYTES = 48_000  # of messages at once: 2,000 records
HALVED_S = 10.0
LEAST_HALVED = 64  # messages: where there are fewer, something else fills the memory
FULL = ("the engine's memory (maxmemory) is full of entries that still live: the older half of the stream was dropped, "
        "and each gateway says again what it has; raise maxmemory")
OLDEST = (6, 2)  # of Redis: XADD with MINID. Each Valkey has it
# Errors after which the engine may still be read, and tried again.
REFUSALS = ("OOM", "NOPERM", "MISCONF", "ERR", "WRONGTYPE")


def pause_s() -> float:
    """Until the next try."""
    return random.uniform(*AGAIN_S)  # noqa: S311  # so that gateways do not come all at once


class Place:
    """How far the stream was heard, over all sessions."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.after = FIRST
        self.loaded = False
        self.count = FEW  # messages at once, the next time
        self.stream: Stream | None = None  # at the last look
        self.full: int | None = None  # how long it was when nothing could be added; None: something could
        self.halved_s = float("-inf")
        self.read_s: float | None = None  # when the engine answered last, by time.monotonic
        self.said_s: float | None = None
        self.set_again_s = math.inf  # when to say all again, since the engine's clock was set; by time.monotonic

    def rewind(self) -> None:
        """Read it again from its beginning; what was heard is passed over."""
        self.after = FIRST


class Session:
    """One connection: run() it once."""

    def __init__(  # noqa: PLR0913
        self, reader: Link, writer: Link, place: Place, clock: EngineClock, *, saying: Saying, hearing: Hearing,
        standing: Standing, kept_ms: Callable[[], int], loaded: Callable[[], None], wake: asyncio.Event,
    ) -> None:
        """`kept_ms`: how long the stream keeps a message. `loaded` is called when it was read to its end.

        `wake` is set when there is something to say.
        """
        self._reader, self._writer = reader, writer
        self._place, self._clock = place, clock
        self._saying, self._hearing = saying, hearing
        self._standing = standing
        self._kept_ms = kept_ms
        self._loaded = loaded
        self._wake = wake
        # One question at a time.
        self._writing = asyncio.Lock()
        # Set where the stream is to be looked at now.
        self._strange = asyncio.Event()

    async def run(self) -> None:
        """Go on until it fails. Raises LinkError."""
        try:
            await self._open()
            await _until_one_fails([self._hear(), self._say(), self._look_again()])
        finally:
            self._reader.close()
            self._writer.close()

    async def _open(self) -> None:
        await self._reader.open()
        about = await self._reader.about()
        if (version := _numbers(about.version)) and version < OLDEST:
            raise LinkError(f"{self._reader.way}: it is version {about.version}, and {_text(OLDEST)} is the least")
        if not about.master:
            raise LinkError(f"{self._reader.way}: it is a replica, and takes no entries", "READONLY")
        self._standing.judge(about.policy)
        await self._writer.open()
        self._place.after = Id(max(0, self._place.after.ms - BACK_MS), 0)
        await self._look()

    # ---- the stream itself

    async def _look(self) -> None:
        """Ask for the clock and the stream, and do what they call for."""
        place = self._place
        async with self._writing:
            was_set = await self._clock.ask(self._writer)
            # Asked before, so what is trimmed meanwhile is before its first ID.
            gone = [one for one in self._saying.relied() if not await self._has(one)]
            stream = place.stream = await self._writer.stream(place.key)
        self._note_clock(was_set)
        if stream.last < place.after:
            # One that came back without its end, or another one with its clock behind, would show us nothing.
            place.rewind()
        if stream.last.ms == LARGEST:
            self._standing.fail(STREAM, LinkError(
                f"the last ID of {place.key} is the largest that there is, so nothing can be added any more; the "
                f"remedy is {CLI} del {place.key}"),
                f"{CLI} del {place.key}: each gateway says its entries again")
        else:
            self._standing.mend(STREAM)
        ahead_ms = stream.last.ms - self._clock.us() // 1000
        said = (f"the last ID of {place.key} is {ahead_ms // 1000} s ahead of the engine's clock: entries come "
                "through, and new gateways take them for younger than they are; the remedy, once it is right, is "
                f"{CLI} del {place.key}")
        self._standing.doubt(AHEAD, said if ahead_ms > AHEAD_MS and stream.last.ms < LARGEST else "")
        if place.loaded:
            self._saying.check(stream.first, self._clock.us() // 1000, gone)

    def _note_clock(self, was_set: bool) -> None:
        """Where the engine's clock was set: what was said meanwhile came too late or too early for the others.

        By the new time, what was said before is too old for who hears it later. The others look as often as we do.
        """
        place, now = self._place, time.monotonic()
        if was_set:
            place.set_again_s = now + SET_AGAIN_S
        if was_set or now >= place.set_again_s:
            if not was_set:
                place.set_again_s = math.inf
            self._saying.missed()
        self._standing.judge_clock(self._clock.apart_s(), off=self._clock.is_off())

    async def _has(self, one: tuple[int, int]) -> bool:
        """Whether the stream has a message there."""
        ms, number = one
        before = Id(ms, number - 1) if number else Id(max(ms - 1, 0), LARGEST)
        found = await self._writer.read(self._place.key, before, 1, wait=False)
        return bool(found) and id_of(found[0][0]) == one

    async def _look_again(self) -> None:
        while True:
            await _wait(self._strange, CHECK_S)
            self._strange.clear()
            await self._look()
            if self._standing.is_faulty(STREAM) or self._standing.is_warned(AHEAD):
                # Until somebody has mended it.
                await asyncio.sleep(STRANGE_S)
                self._strange.set()

    # ---- hearing

    async def _hear(self) -> None:
        place = self._place
        while True:
            began = time.monotonic()
            after = place.after
            count, place.count = place.count, 1
            # Where it fails, one by one from here on: it may have been too much at once.
            messages = await self._reader.read(place.key, after, count, wait=place.loaded)
            place.count = count
            place.read_s = time.monotonic()
            self._standing.mend(LINK)
            if messages:
                await self._hearing.hear(messages)
                last = id_of(messages[-1][0])
                if place.after == after:
                    # Else somebody wants it to be read from its beginning meanwhile.
                    place.after = last
                if last.ms - self._clock.us() // 1000 > AHEAD_MS:
                    self._strange.set()
            more = len(messages) == count
            if messages:
                average = sum(len(data or b"") for _, data in messages) / len(messages)
                place.count = max(1, min(MOST, int(BYTES / max(1.0, average)), 2 * count))
            if not (place.loaded or more):
                await self._end_load()
            if not more:
                await asyncio.sleep(max(0.0, began + PAUSE_S - time.monotonic()))
            elif place.loaded:
                # Somebody says more than can be heard: half of the time is for all else.
                await asyncio.sleep(time.monotonic() - began)

    async def _end_load(self) -> None:
        self._loaded()
        await self._look()
        assert self._place.stream is not None
        self._saying.loaded(self._hearing.earlier.shown(), self._place.stream.first, self._clock.us() // 1000)
        self._place.loaded = True

    # ---- saying

    async def _say(self) -> None:
        while True:
            began = time.monotonic()
            # Cleared before it is asked, so that nothing that comes meanwhile is slept over.
            self._wake.clear()
            said = self._saying.take() if self._saying.due() else None
            if said is not None:
                try:
                    data = self._saying.message(said, self._hearing.keys)
                    least_ms = self._clock.us() // 1000 - self._kept_ms()
                    async with self._writing:
                        added = await self._writer.add(self._place.key, data, least_ms)
                except LinkError as error:
                    self._saying.failed(said)
                    await self._refused(error)
                    continue
                except BaseException:
                    self._saying.failed(said)
                    raise
                self._saying.done(said, added)
                if added < self._place.after:
                    self._strange.set()
                self._place.said_s = time.monotonic()
                self._place.full = None
                self._standing.mend(ADDING)
            elif not self._saying.due():
                await _wait(self._wake, IDLE_S)
            await asyncio.sleep(max(0.0, began + PAUSE_S - time.monotonic()))

    async def _refused(self, error: LinkError) -> None:
        if error.code not in REFUSALS:
            raise error
        self._standing.fail(ADDING, error)
        self._strange.set()
        await asyncio.sleep(pause_s())
        if error.code == "OOM":
            # It drops nothing before it adds; who may do it here makes room.
            try:
                async with self._writing:
                    await self._make_room()
            except LinkError as refused:
                if refused.code not in REFUSALS:
                    raise

    async def _make_room(self) -> None:
        """Drop what is too old; where that was not enough, the older half of the stream, once in HALVED_S.

        Each gateway says its entries again that were in it. Where several of them do this at once, they drop the same
        half: how long the stream was, each has asked before it tried to add something once more.
        """
        place = self._place
        length, place.full = place.full, None
        if await self._writer.trim(place.key, self._clock.us() // 1000 - self._kept_ms()):
            return
        now_s = time.monotonic()
        if length is None:
            place.full = (await self._writer.stream(place.key)).length
        elif length >= LEAST_HALVED and now_s - place.halved_s >= HALVED_S:
            place.halved_s = now_s
            if await self._writer.shorten(place.key, length // 2):
                self._standing.warn(FULL)
                self._strange.set()


def _numbers(version: str) -> tuple[int, ...]:
    """Of a version; empty: it has another form."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() and len(part) < 9 for part in parts) else ()


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


async def _wait(event: asyncio.Event, longest_s: float) -> None:
    try:
        async with asyncio.timeout(longest_s):
            await event.wait()
    except TimeoutError:
        return


async def _until_one_fails(work: list[Coroutine[Any, Any, None]]) -> None:
    """Run them side by side; the first failure ends all, and is raised once all have ended."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
