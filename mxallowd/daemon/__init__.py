"""The daemon: it connects back ends, whitelist, sinks, mirrors and signals, from the start to the clean stop.

    pump        takes events from the rings of the queue threads and hands them to the whitelist and to every sink
    namelookups lets names be looked up
    ticking     calls all parts once a second
    absence     logs that nobody contacts the fake server
    greeting    says at the start what serves
    looking     looks for what around it defeats nolisting
    dryrun      says that a dry run refuses nobody, or that the firewall does all the same
    losses      logs what was lost, and errors of this program
    reloading   reads the configuration again
    report      writes the counters
    answers     what an operator can ask by the control socket
    measures    what monitoring is told
    start       makes a process of all this

No packet waits for anything here. If this loop stopped for good, verdicts would go on and events would be counted as
lost.
"""
import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from mxallowd import backends
from mxallowd.backends.handshakes import Handshakes
from mxallowd.backends.outbound import Outbound, create_outbound
from mxallowd.control.answers.metrics import Metrics
from mxallowd.control.changers import Changers
from mxallowd.control.place import NoPlace, Place
from mxallowd.control.server import Server
from mxallowd.daemon import dryrun
from mxallowd.daemon.answers import Parts, all_routes
from mxallowd.daemon.direct import Direct, network_sets
from mxallowd.daemon.fleet import Fleet, create_fleet
from mxallowd.daemon.greeting import greet
from mxallowd.daemon.losses import Losses, defect, safely
from mxallowd.daemon.measures import Measures
from mxallowd.daemon.namelookups import look_up_names
from mxallowd.daemon.pump import Pump
from mxallowd.daemon.reloading import Reloading, settled
from mxallowd.daemon.report import Report
from mxallowd.daemon.restoring import Shares, restore, share
from mxallowd.daemon.ticking import Ticks
from mxallowd.daemon.trusted import create_trusted
from mxallowd.engine.events import packed
from mxallowd.engine.wake import Wake
from mxallowd.exporter.process import Exporter
from mxallowd.history.hosts import Hosts
from mxallowd.history.trial import Trial
from mxallowd.lists.composition import Composition
from mxallowd.lists.lists import Lists
from mxallowd.lists.own import OwnNetworks
from mxallowd.log import Log
from mxallowd.log.writer import Writer
from mxallowd.mirrors import contactnetworks, kernel
from mxallowd.mirrors.disk.state import State
from mxallowd.mirrors.disk.trial import TrialFile
from mxallowd.mirrors.door import Door, create_doors
from mxallowd.mirrors.mirror import Mirror
from mxallowd.mirrors.networks import Networks
from mxallowd.process import privileges, signals
from mxallowd.process.broker import Broker
from mxallowd.process.supervisor import Supervisor
from mxallowd.settings import Settings
from mxallowd.settings.loading import Loaded
from mxallowd.sinks import Sink
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.listhits import count_hits
from mxallowd.sinks.log import LogSink, Memories
from mxallowd.sinks.neighbours import Neighbours
from mxallowd.sinks.stress import Stress
from mxallowd.whitelist import Whitelist

# How long a stop may take before we say that it did not end.
STOP_TIMEOUT_S = 5.0


class Daemon:
    """One run of the daemon, from the bound queue to the clean stop."""

    def __init__(
        self, settings: Settings, load: Callable[[], Loaded], log: Log, writer: Writer, broker: Broker | None = None
    ) -> None:
        self._log = log
        self._writer = writer
        self._supervisor = Supervisor()
        self._ending = asyncio.Event()
        self._stopped_by = ""
        self._reloading = Reloading(settings, load, self._apply, log, self._supervisor)
        wake = Wake()
        self._backend = backends.create(settings, wake, log)
        self._readable = self._backend.readable()
        whitelist = self._whitelist = Whitelist(
            self._backend.table, self._backend.clock_us, threads=len(self._backend.fastpaths), defect=defect)
        self._set_servers(settings)
        self._lists = Lists(settings, self._hold_lists, log, OwnNetworks(settings.state_dir))
        self._stress = Stress(log)
        self._stress.watch("log-queue", writer.fill)
        self._stress.watch("event-ring", lambda: max(len(ring) / ring.capacity for ring in self._backend.rings))
        hostlog = HostLog(log, writer.count_suppressed, self._stress, lines_per_s=settings.log_hosts)
        self._sinks: list[Sink] = [LogSink(
            log, hostlog, Memories(self._backend.refused, self._backend.listed, self._lists.find),
            lambda: self._backend.clock_us() / 1_000_000, dry_run=settings.dry_run)]
        whitelist.before_end = self._backend.forget_waiting
        self._neighbours = Neighbours(settings, self._backend.meetings, whitelist, hostlog)
        self._history = Hosts(self._backend.clock_us)
        self._trial = Trial(settings, whitelist, self._backend.refused, self._backend.contacts)
        self._sinks += [self._neighbours, self._history, self._trial, list_hits := count_hits(
            self._lists, self._backend.listed, self._backend.clock_us)]
        waiting, addresses = look_up_names(
            settings, self._sinks, log, hostlog=hostlog, whitelist=whitelist, stress=self._stress, trial=self._trial)
        self._direct = Direct(settings, self._lists, log).learn(settings, hostlog, self._sinks, self._trial)
        self._trusted = create_trusted(settings, self._lists, lambda: self._state, self._sinks, log)
        # In this order they adopt at the start, and who comes first knows best: a disk knows where an entry came from
        # and when it ends, the kernel what stood there until now, other hosts of a fleet only what they were told.
        self._mirrors = [Mirror(target, whitelist, log, settings) for target in kernel.create(settings)]
        for mirror in self._mirrors:
            self._stress.watch("kernel-table-dirty", mirror.fill)
        self._contact_networks = contactnetworks.create(settings, self._neighbours, self._backend, log)
        self._network_sets = network_sets(settings, self._lists, log)
        self._doors = create_doors(settings, log)
        # What is made of a capture file is not what is true today.
        self._rehearses = (settings.pflog_interface or "").startswith("file:")
        self._state = None if self._rehearses else State(settings, whitelist, self._backend, log)
        self._shares = Shares([], 0)
        self._fleet = create_fleet(settings, self._backend, whitelist, hostlog, self._trusted)
        self._place, self._changers = Place(settings.control), Changers(log)
        self._reloading.settle = partial(settled, self._lists, self._trusted, self._fleet, self._changers)
        self._handshakes: list[Handshakes] = []
        self._listeners = [] if self._rehearses else self._listen(settings, hostlog)
        self._parts: list[Sink | Mirror | Networks | Door | Handshakes | Outbound | State | TrialFile | Fleet] = [
            *self._sinks, *filter(None, [self._state]), *self._mirrors, *self._contact_networks,
            *self._network_sets, *self._doors, *self._listeners, *self._fleet]
        self._report = Report(
            self._backend, [whitelist.counters, *(part.counters for part in self._parts)],
            [mirror.refresh for mirror in self._mirrors], self._stress, log)
        self._report.dry_run = settings.dry_run
        self._trial_file = TrialFile(self._trial, self._state, self._report.refreshed, log)
        self._parts.insert(len(self._sinks), self._trial_file)  # before the state, which gives its directory back
        self._measures = Measures(
            lambda: self._reloading.settings, self._backend, self._report, writer, self._stress, self._mirrors, waiting,
            state_age=self._state.age_s if self._state else None,
            fake_to_real=self._trial.to_real.histogram.measured,
            refused_later_passed=lambda: self._trial.forecast.later_passed, restoring=lambda: any(self._shares.parts),
            broker=broker.ended if broker else None, trusted=self._trusted, fleets=self._fleet)
        self._metrics = Metrics(self._measures.values, self._measures.unhealthy, self._measures.unready,
                                lambda: [*self._lists.warnings(), *dryrun.warnings(self._mirrors),
                                         *(one for door in self._doors for one in door.warnings()),
                                         *self._measures.warnings()])
        self._exporters = [Exporter(settings, self._metrics.answer, log)] if settings.metrics else []
        self._losses = Losses(self._backend, whitelist.missed, log, settings.on_overload)
        self._ticks = Ticks(self._backend, self._losses, self._supervisor, broker, log)
        # The whitelist before the sinks: one of them may change it because of an event, and followers hear of a change
        # after those that led to it. No copy depends on that order, since a mirror asks what is true by then.
        self._pump = Pump(
            self._backend, wake, [whitelist.take, *(part.handle for part in self._sinks), self._report.handle],
            before=self._stress.look, on_end=self._end)
        self._server = Server(self._place, all_routes(Parts(
            lambda: self._reloading.settings, log, self._backend, whitelist, self._sinks, self._mirrors, self._stress,
            self._report, self._reloading, self._metrics, self._measures.queues,
            [*self._contact_networks, *self._network_sets], self._lists, self._history, self._trial, self._state,
            addresses, self._neighbours, self._measures.broker or str, self._trusted, self._doors, list_hits,
            self._fleet)),
            defect, lambda: self._changers.group)

    def _listen(self, settings: Settings, hostlog: HostLog) -> list[Handshakes | Outbound]:
        """Who hears of connections beside the packets that are decided; a capture file has none."""
        heard = Handshakes(settings, self._whitelist, self._log, self._history.handshake, self._neighbours.connected)
        self._handshakes.append(heard)
        self._direct.hear_of(self._handshakes)
        return [*self._handshakes, *create_outbound(settings, self._whitelist, self._log, hostlog)]

    def open(self) -> None:
        """Get hold of packets and of what mirrors keep. Raises StartError."""
        # What the copies hold is read first: once a queue is bound, packets wait for us. The disk before all others: it
        # knows who was ended, and must not come back from any of them.
        if self._state:
            self._state.open()
        self._trial_file.open()
        for trusted in self._trusted:
            trusted.open()
        for fleet in self._fleet:
            fleet.open()
        # Some of them are in its directory.
        self._lists.load(is_unsafe=self._state is not None and self._state.is_unsafe)
        for mirror in (*self._mirrors, *self._contact_networks):
            mirror.open()
        for networks in self._network_sets:
            networks.open()
        for door in self._doors:
            door.open()
        self._backend.open()
        for listener in self._listeners:
            listener.open()
        for fastpath in self._backend.fastpaths if self._mirrors or self.writable() else ():
            fastpath.tell_evicted()
        if not self._rehearses:
            self._open_control()
        for exporter in self._exporters:
            exporter.open()
        if self._state:
            self._shares = share(self._backend, self._state.take_records())
        if any(self._shares.parts) or self._fleet:
            self._backend.table.refuse_nobody(True)

    def _open_control(self) -> None:
        self._changers.open(self._reloading.settings)
        account = privileges.account_of(self._reloading.settings.user)
        try:
            self._place.take(*((account.user, account.group) if account else (os.geteuid(), os.getegid())))
        except NoPlace as error:
            self._log.warning("control", reason=error)

    def removable(self) -> list[Path]:
        """Directories in which its parts remove files at the end."""
        return [self._place.path.parent] if self._place.listener else []

    def readable(self) -> list[Path]:
        """What its parts read later, besides what belongs to the system."""
        return self._readable

    def writable(self) -> list[int]:
        """Descriptors of the directories in which its parts write."""
        descriptor = self._state.descriptor if self._state else None
        return [] if descriptor is None else [descriptor]

    async def run(self, ready: Callable[[], None]) -> int:
        """Serve until a signal or a failure; the exit status. Calls ready() when verdicts are given.

        Raises StartError.
        """
        try:
            try:
                self._begin()
                await self._restore()
                # Not before: from a copy they take out who is not in the whitelist, or not yet.
                for mirror in (*self._mirrors, *self._contact_networks):
                    mirror.start()
                    await mirror.first_filled()
                self._measures.serves = True
                greet(self._log, self._reloading.settings, self._mirrors)
                ready()
                self._supervisor.ready()
            except BaseException:
                await self._abandon()
                raise
            self._pump.take()
            ticker = asyncio.create_task(self._ticks.run(
                [*self._parts, *self._exporters], self._handshakes, [self._lists.tick, self._stress.look]))
            await self._ending.wait()
            ticker.cancel()
            return await self._finish()
        finally:
            self._pump.close()
            if self._backend.ended():
                self._backend.close()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._losses.take_defect)
        self._pump.start()
        loop.add_signal_handler(signal.SIGTERM, self._stop, "SIGTERM")
        loop.add_signal_handler(signal.SIGINT, self._stop, "SIGINT")
        loop.add_signal_handler(signal.SIGHUP, self._reloading.ask)
        loop.add_signal_handler(signal.SIGUSR1, self._report.ask)
        # They were blocked from the first moment on, so that none of them could hit a daemon half started.
        signals.unblock()
        self._backend.start()
        # What is no part of the packet path stands behind it.
        privileges.usual_priority()
        self._writer.start()
        for part in (*self._network_sets, *self._doors, *self._listeners, *self._trusted):
            part.start()
        self._server.start()
        for exporter in self._exporters:
            exporter.start()
        if self._state:
            self._state.start()
        self._trial_file.start()

    async def _restore(self) -> None:
        """Enter what was saved, then what the fleet has, while verdicts are given.

        Until then nobody is refused who may be among it.
        """
        shares, self._shares = self._shares, Shares([], 0)
        try:
            if self._state and any(shares.parts):
                found = await restore(self._backend, self._whitelist, shares)
                self._state.restored(found.entered, found.known, found.left_out)
                await self._neighbours.begin()
            for fleet in self._fleet:
                await fleet.start(self._ending)
        except Exception as error:  # noqa: BLE001  # mail goes on without it
            defect(error)
        finally:
            if self._state or self._fleet:
                self._backend.table.refuse_nobody(False)
            if self._state:
                self._state.settled()

    async def _abandon(self) -> None:
        """A start that failed half way leaves nothing behind: threads end, what waits is answered, queues go."""
        await self._server.close()
        safely(self._backend.stop)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._pump.wait_for_end(), STOP_TIMEOUT_S)
        for part in [*self._parts, *self._exporters, self._measures]:
            safely(part.close)

    def close(self) -> None:
        """Give everything back where open() or what follows failed, and run() was never called."""
        self._place.release()
        for part in [*self._parts, *self._exporters, self._measures]:
            part.close()
        self._backend.close()

    def ended(self) -> bool:
        """Whether every thread of the back end has ended."""
        return self._backend.ended()

    def _set_servers(self, settings: Settings) -> None:
        fakes, reals = ([packed(str(server)) for server in servers] for servers in (
            settings.fake_mailserver, settings.real_mailserver))
        self._whitelist.set_servers([*fakes, *reals], fakes)
        self._whitelist.set_lifetimes(settings.whitelist_time * 1_000_000, settings.longest_time * 1_000_000)

    def _hold_lists(self, composition: Composition) -> None:
        self._backend.list_networks(composition.networks, self._reloading.settings)

    def _apply(self, settings: Settings) -> None:
        self._set_servers(settings)
        self._backend.publish(settings)
        self._lists.reload(settings)
        self._direct.reload(settings)
        self._changers.reload(settings)
        self._log.set_quiet(settings.quiet)
        for part in self._parts:
            part.reload(settings)

    def _stop(self, name: str) -> None:
        self._stopped_by = self._stopped_by or name
        self._end()

    def _end(self) -> None:
        self._reloading.close()
        self._ending.set()

    async def _finish(self) -> int:
        self._supervisor.stopping()
        # Nobody asks parts that are being closed.
        await self._server.close()
        for exporter in self._exporters:
            exporter.close()
        self._measures.close()
        failed = self._backend.failed()
        await self._trial_file.count()
        self._lists.close()
        self._backend.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._pump.wait_for_end(), STOP_TIMEOUT_S)
        self._pump.drain()
        self._losses.look(last=True)
        for part in self._parts:
            part.close()
        if not self._backend.ended():
            self._log.error("stop-failed", reason="a queue thread did not end")
            return 1
        if not self._stopped_by and (self._rehearses or not failed):
            # A rehearsal has come to the end of its file, or to where it is damaged: this is what it was for.
            await self._report.write()
        if failed:
            self._supervisor.ends("a queue or the capture failed, as the log says")
            return 1
        self._log.info("stop", signal=self._stopped_by or "none", received=self._backend.counters()["received"])
        return 0
