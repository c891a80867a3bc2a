"""What the daemon lost, and its own errors: counted where they happen, and logged here, each at most once a minute.

    lost-events     no room in a ring: sinks have missed what happened to some hosts
    lost-packets    the kernel could not hand over a packet, or it could not be read: the sender comes again
    queue-full      a queue was full, and the kernel decided by itself
    came-again      no rule lets packets go on that --verdict-mark has marked
    not-rejected    no rule rejects packets that --refuse reset has marked
    defect          an error that nobody expected, in what the main loop calls; all else goes on
"""
import asyncio
import time
from collections.abc import Callable
from typing import Any

from mxallowd.backends import Backends
from mxallowd.log import Log
from mxallowd.log.periodic import Grown, Pace
from mxallowd.text import LONGEST_QUOTED


def safely(step: Callable[[], object]) -> None:
    """Do this on the main loop; a mistake in it is said as a defect, and takes nothing else with it."""
    try:
        step()
    except Exception as error:  # noqa: BLE001
        defect(error)


def defect(error: Exception) -> None:
    """Let this error be said as a defect."""
    asyncio.get_running_loop().call_exception_handler({"message": "main loop", "exception": error})


class Losses:
    """Looks at the counters of the back ends once a second, and takes the errors of the loop."""

    def __init__(
        self, backend: Backends, missed: Callable[[], None], log: Log, on_overload: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`missed` is called when pressing events were lost; `on_overload` is the kernel's verdict of a full queue."""
        self._backend = backend
        self._missed = missed
        self._log = log
        self._on_overload = on_overload
        self._pressing = 0
        self._events = Grown(clock)
        self._packets = Grown(clock)
        self._queue_full = Grown(clock)
        self._came_again = Grown(clock)
        self._not_rejected = Grown(clock)
        self._defects = 0
        self._defect = Pace(clock)

    def look(self, *, last: bool = False) -> None:
        """Say what was lost since the last line, once its minute is over; the `last` time at once."""
        safely(self._tell_who_missed_events)
        safely(lambda: self._say_events(last))
        safely(lambda: self._say_packets(last))
        safely(lambda: self._say_queue(last))

    def take_defect(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The handler of the loop's exceptions."""
        self._defects += 1
        if self._defect.due():
            reason = context.get("exception") or context.get("message")
            self._log.error("defect", count=self._defects, reason=repr(reason)[:LONGEST_QUOTED])

    def _tell_who_missed_events(self) -> None:
        pressing = sum(ring.lost_pressing for ring in self._backend.rings)
        if pressing > self._pressing:
            self._pressing = pressing
            self._missed()

    def _say_events(self, last: bool) -> None:
        if grown := self._events.due(sum(ring.lost for ring in self._backend.rings), at_once=last):
            self._log.warning("lost-events", count=grown[0])

    def _say_packets(self, last: bool) -> None:
        found = self._backend.counters()
        if grown := self._packets.due(found.get("lost-by-kernel", 0), found.get("broken", 0), at_once=last):
            self._log.warning("lost-packets", None, by_kernel=grown[0], broken=grown[1])

    def _say_queue(self, last: bool) -> None:
        found = self._backend.counters()
        if grown := self._queue_full.due(found.get("queue-full", 0), at_once=last):
            self._log.warning("queue-full", None, packets=grown[0], verdict=self._on_overload)
        if grown := self._came_again.due(found.get("came-again", 0), at_once=last):
            self._log.warning("came-again", None, packets=grown[0])
        if grown := self._not_rejected.due(found.get("not-rejected", 0), at_once=last):
            self._log.warning("not-rejected", None, packets=grown[0])
