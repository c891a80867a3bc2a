"""The daemon: the main loop between back end, whitelist, sinks, mirrors and signals.

It reads the rings of the queue threads when they wake it, and hands the events to the whitelist and to every sink.
Nothing here is in the way of a packet: if this loop stopped for good, verdicts would go on and events would be counted
as lost.
"""
import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from mxallowd import __version__, backends
from mxallowd._fastpath import Rules
from mxallowd.engine.events import Event, decode, packed
from mxallowd.engine.events import Kind as EventKind
from mxallowd.engine.wake import Wake
from mxallowd.log import Log, Writer
from mxallowd.metrics import counters
from mxallowd.mirrors import kernel
from mxallowd.mirrors.mirror import Mirror
from mxallowd.process import privileges
from mxallowd.process.supervisor import Supervisor
from mxallowd.settings import Settings, changed, configfile
from mxallowd.settings.loading import Loaded
from mxallowd.settings.options import OPTIONS, Kind
from mxallowd.sinks import Sink
from mxallowd.sinks.hostlines import HostLines
from mxallowd.sinks.log import LogSink
from mxallowd.sinks.stress import Stress
from mxallowd.text import LONGEST_QUOTED
from mxallowd.whitelist import Whitelist

# Events that came in while the loop was handling some are taken together this much later, without a wake-up.
COALESCE_S = 0.02
# In a flood this loop leaves most of its core to the mail server; what the rings cannot hold meanwhile is counted.
PAUSE_FACTOR = 3
LONGEST_PAUSE_S = 0.05
TICK_S = 1.0
# How long a stop and a sweep may take before we say that they did not end.
STOP_TIMEOUT_S = 5.0
SWEEP_TIMEOUT_S = 2.0
DRAIN_EVENTS = 4096
LOST_PERIOD_S = 60.0
DEFECT_PERIOD_S = 60.0
# A configuration that is being written is read when it did not change between two looks; if it always does, it is not.
REST_S = 0.3
RELOAD_AFTER_S = 0.05
MOST_LOOKS = 20

SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


def compile_rules(settings: Settings) -> Rules:
    """The settings that the packet path needs."""
    return Rules(
        [packed(str(server)) for server in settings.fake_mailserver],
        [packed(str(server)) for server in settings.real_mailserver],
        settings.whitelist_time,
    )


class Daemon:
    """One run of the daemon, from the bound queue to the clean stop."""

    def __init__(self, settings: Settings, load: Callable[[], Loaded], log: Log, writer: Writer) -> None:
        self._settings = settings
        self._load = load
        self._log = log
        self._writer = writer
        self._supervisor = Supervisor()
        self._wake = Wake()
        self._backend = backends.create(settings, compile_rules(settings), self._wake)
        self._whitelist = Whitelist(
            self._backend.table, self._backend.clock_us, threads=len(self._backend.fastpaths), defect=self._defect)
        self._stress = Stress(log)
        self._stress.watch("log-queue", writer.fill)
        self._stress.watch("event-ring", lambda: max(len(ring) / ring.capacity for ring in self._backend.rings))
        lines = HostLines(log, writer.leave_out, self._stress)
        self._sinks: list[Sink] = [LogSink(log, lines)]
        if not settings.no_rdns_whitelist:
            # Imported where it is wanted: with -b no query leaves the host, and c-ares is not even there.
            from mxallowd.dns.resolver import Resolver  # noqa: PLC0415
            from mxallowd.sinks.rdns import RdnsSink  # noqa: PLC0415

            resolver = Resolver(asyncio.get_running_loop(), settings.dns_server)
            rdns = RdnsSink(settings, lines, self._whitelist, resolver)
            self._stress.watch("lookups-waiting", rdns.fill)
            self._sinks.append(rdns)
        # In this order they adopt at the start, and who comes first knows best: a disk knows where an entry came from
        # and when it ends, the kernel what stood there until now, other hosts of a fleet only what they were told.
        self._mirrors = [Mirror(target, self._whitelist, log, settings) for target in kernel.create(settings)]
        for mirror in self._mirrors:
            self._stress.watch("kernel-table-dirty", mirror.fill)
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()
        self._sweeps_left = 0
        self._swept = asyncio.Event()
        self._again: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped_by = ""
        self._reload_waits = False
        self._lost_seen = 0
        self._lost_said = 0
        self._lost_said_at = float("-inf")
        self._overflow_said = 0
        self._overflow_said_at = float("-inf")
        self._packets_said = (0, 0)
        self._packets_said_at = float("-inf")
        self._defects = 0
        self._defect_said_at = float("-inf")

    def open(self) -> None:
        """Get hold of packets and of what mirrors keep. Raises StartError."""
        # What the copies hold is read first: from the moment that a queue is bound, packets wait for us.
        for mirror in self._mirrors:
            mirror.open()
        self._backend.open()
        for fastpath in self._backend.fastpaths if self._mirrors else ():
            fastpath.tell_evicted()

    async def run(self, ready: Callable[[], None]) -> int:
        """Serve until a signal or a failure; the exit status. Calls ready() when verdicts are given.

        Raises StartError.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._say_defect)
        loop.add_reader(self._wake.fd, self._woken)
        self._wake.now = self._take_now
        loop.add_signal_handler(signal.SIGTERM, self._stop, "SIGTERM")
        loop.add_signal_handler(signal.SIGINT, self._stop, "SIGINT")
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, self._report)
        # They were blocked from the first moment on, so that none of them could hit a daemon half started.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            warnings = self._backend.start()
            # What is no part of the packet path stands behind it.
            privileges.usual_priority()
            self._writer.start()
            for mirror in self._mirrors:
                mirror.start()
            self._greet(warnings)
            ready()
            self._supervisor.ready()
            self._take_events()
            ticker = asyncio.create_task(self._tick())
            await self._ending.wait()
            ticker.cancel()
            return await self._finish()
        finally:
            loop.remove_reader(self._wake.fd)
            if self._backend.ended():
                self._backend.close()

    def ended(self) -> bool:
        """Whether every thread of the back end has ended."""
        return self._backend.ended()

    # ---- events

    def _woken(self) -> None:
        self._wake.clear()
        self._take_events()

    def _take_now(self) -> None:
        """Who fills a ring on this thread calls when there is something; nothing has to be waited for."""
        self._take_events(at_once=True)

    def _take_events(self, *, at_once: bool = False) -> None:
        taken = 0
        started = time.monotonic()
        self._stress.look()
        for ring in self._backend.rings:
            events = decode(ring.drain(DRAIN_EVENTS))
            taken += len(events)
            if events:
                self._hand_over(events)
        if self._backend.ended() or self._backend.failures():
            self._ended.set()
            self._ending.set()
        # Under load we look again in a while, and the threads need not wake us; else we sleep until they do.
        if (taken and not at_once) or not all(ring.sleep() for ring in self._backend.rings):
            if self._again:
                self._again.cancel()
            spent_s = time.monotonic() - started
            pause_s = min(LONGEST_PAUSE_S, max(COALESCE_S, PAUSE_FACTOR * spent_s))
            self._again = asyncio.get_running_loop().call_later(pause_s, self._take_events)

    def _hand_over(self, events: list[Event]) -> None:
        # Before the sinks: one may change the whitelist because of an event, and followers hear of a change after those
        # that led to it. No copy depends on that order, since a mirror asks the whitelist what is true by then.
        self._safely(partial(self._whitelist.take, events))
        for sink in self._sinks:
            self._safely(partial(sink.handle, events))
        for event in events:
            if event.kind == EventKind.SWEPT:
                self._sweeps_left -= 1
                if self._sweeps_left <= 0:
                    self._swept.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._safely(self._tick_backend)
            for sink in self._sinks:
                self._safely(sink.tick)
            for mirror in self._mirrors:
                self._safely(mirror.tick)
            for step in (self._stress.look, self._say_lost_events, self._say_lost_packets, self._say_overflow):
                self._safely(step)

    def _tick_backend(self) -> None:
        for word, reason in self._backend.tick():
            self._log.warning(word, reason=reason)
        if not self._backend.failures():
            self._supervisor.alive()

    @staticmethod
    def _safely(step: Callable[[], object]) -> None:
        # A mistake in one of them is said as a defect, and takes neither the others nor this loop with it.
        try:
            step()
        except Exception as error:  # noqa: BLE001
            Daemon._defect(error)

    @staticmethod
    def _defect(error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "main loop", "exception": error})

    def _say_lost_events(self) -> None:
        lost = sum(ring.lost for ring in self._backend.rings)
        pressing = sum(ring.lost_pressing for ring in self._backend.rings)
        if pressing > self._lost_seen:
            self._lost_seen = pressing
            self._whitelist.missed()
        now = asyncio.get_running_loop().time()
        if lost > self._lost_said and now - self._lost_said_at >= LOST_PERIOD_S:
            self._log.warning("lost-events", count=lost - self._lost_said)
            self._lost_said, self._lost_said_at = lost, now

    def _say_lost_packets(self) -> None:
        """What the kernel could not hand over, and what came and could not be read: the senders come again."""
        found = self._backend.counters()
        by_kernel, broken = found.get("lost-by-kernel", 0), found.get("broken", 0)
        now = asyncio.get_running_loop().time()
        if by_kernel + broken > sum(self._packets_said) and now - self._packets_said_at >= LOST_PERIOD_S:
            self._log.warning("lost-packets", None, by_kernel=by_kernel - self._packets_said[0],
                              broken=broken - self._packets_said[1])
            self._packets_said, self._packets_said_at = (by_kernel, broken), now

    def _say_overflow(self) -> None:
        """A queue that was full: packets that the kernel decided by itself, at most once a minute."""
        overflow = self._backend.counters().get("overflow", 0)
        now = asyncio.get_running_loop().time()
        if overflow > self._overflow_said and now - self._overflow_said_at >= LOST_PERIOD_S:
            self._log.warning("overload", None, packets=overflow - self._overflow_said,
                              verdict=self._settings.on_overload)
            self._overflow_said, self._overflow_said_at = overflow, now

    def _say_defect(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error that nobody expected in what the loop calls: said, at most once a minute; all else goes on."""
        self._defects += 1
        now = asyncio.get_running_loop().time()
        if now - self._defect_said_at >= DEFECT_PERIOD_S:
            self._defect_said_at = now
            reason = context.get("exception") or context.get("message")
            self._log.error("defect", count=self._defects, reason=repr(reason)[:LONGEST_QUOTED])

    # ---- signals

    def _stop(self, name: str) -> None:
        self._stopped_by = self._stopped_by or name
        self._ending.set()

    def _reload(self) -> None:
        # One that waits will see what this one is about: of thousands of signals some reloads are made.
        if not self._reload_waits:
            self._reload_waits = True
            self._supervisor.reloading()
            asyncio.get_running_loop().call_later(RELOAD_AFTER_S, self._load_at_rest, None, MOST_LOOKS)

    def _load_at_rest(self, before: tuple[int, int, int] | None, looks: int) -> None:
        if self._ending.is_set():
            return
        now = configfile.being_written(self._settings.config)
        at_rest = now in {None, before}
        if not at_rest and looks:
            asyncio.get_running_loop().call_later(REST_S, self._load_at_rest, now, looks - 1)
            return
        self._reload_waits = False
        if at_rest:
            self._load_again()
        else:
            self._log.error("reload-failed", where=self._settings.config, reason="it is still being written")
        self._supervisor.ready()

    def _load_again(self) -> None:
        loaded = self._load()
        settings = loaded.settings
        for problem in loaded.problems:
            if problem.fatal:
                self._log.error("reload-failed", where=problem.where, reason=problem.message)
            else:
                self._log.warning("config", where=problem.where, reason=problem.message)
        if settings is None:
            return
        different = changed(self._settings, settings)
        fixed = [option.name for option in OPTIONS if option.name in different and not option.live]
        if fixed:
            self._log.warning("restart-needed", options=",".join(fixed))
        # What needs a restart stays what it is, so that the next reload is held against what is in force.
        settings = replace(settings, **{
            option.field: getattr(self._settings, option.field) for option in OPTIONS
            if not option.live and option.kind is not Kind.ACTION})
        self._settings = settings
        self._backend.publish(compile_rules(settings))
        self._log.set_quiet(settings.quiet)
        for sink in self._sinks:
            sink.reload(settings)
        for mirror in self._mirrors:
            mirror.reload(settings)
        self._log.info("reloaded", changed=",".join(name for name in different if name not in fixed) or "nothing")

    def _report(self) -> None:
        task = asyncio.create_task(self._sweep_and_report())
        # The loop keeps only a weak reference.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep_and_report(self) -> None:
        self._swept.clear()
        self._sweeps_left = self._backend.sweep()
        if self._sweeps_left:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._swept.wait(), SWEEP_TIMEOUT_S)
        self._backend.table.sweep_admitted(self._backend.clock_us())
        await asyncio.gather(*(mirror.refresh() for mirror in self._mirrors))
        # Asked for, so it is written even where --quiet leaves errors only.
        self._log.notice("counters", None, **counters.collect(
            self._backend, (*self._sinks, *self._mirrors), self._stress))

    # ---- start and end

    def _greet(self, warnings: list[str]) -> None:
        queues = self._settings.queue_num
        where = {}
        if queues:
            where["queue_num"] = f"{queues[0]}:{queues[-1]}" if len(queues) > 1 else str(queues[0])
        if self._settings.pflog_interface:
            where["pflog_interface"] = self._settings.pflog_interface
        self._log.info("start", None, version=__version__, **where, whitelist_time=self._settings.whitelist_time)
        for server in self._settings.fake_mailserver:
            self._log.info("fake-mailserver", str(server))
        for server in self._settings.real_mailserver:
            self._log.info("real-mailserver", str(server))
        for warning in warnings:
            self._log.warning("kernel", reason=warning)

    async def _finish(self) -> int:
        self._supervisor.stopping()
        failures = self._backend.failures()
        for word, reason in failures:
            self._log.error(word, reason=reason)
        self._backend.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wait_for_end(), STOP_TIMEOUT_S)
        # At most what the rings hold: their writers have ended, or are counted as lost.
        for ring in self._backend.rings:
            while events := decode(ring.drain(DRAIN_EVENTS)):
                self._hand_over(events)
        self._lost_said_at = self._packets_said_at = self._overflow_said_at = float("-inf")
        self._say_lost_events()
        self._say_lost_packets()
        self._say_overflow()
        for sink in self._sinks:
            sink.close()
        for mirror in self._mirrors:
            mirror.close()
        if not self._backend.ended():
            self._log.error("stop-failed", reason="a queue thread did not end")
            return 1
        if failures:
            return 1
        received = self._backend.counters()["received"]
        if not self._stopped_by:
            # A rehearsal has come to the end of its file: this is what it was for.
            await self._sweep_and_report()
        self._log.info("stop", signal=self._stopped_by or "none", received=received)
        return 0

    async def _wait_for_end(self) -> None:
        while not self._backend.ended():
            self._ended.clear()
            await self._ended.wait()
