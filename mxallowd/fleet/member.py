"""This gateway in its fleet: one connection after the other to the engine, and what the daemon asks of it.

session.py is one connection, saying.py and hearing.py are what is said and heard, standing.py is what is wrong. Here
they are put together, made anew after each failure, and read again at a reload. Nothing of the packet path waits for
any of it, and a start waits for the load LOADING_S at most, or until the first connection has failed.
"""
import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mxallowd.engine._table import Table
from mxallowd.fleet.clock import EngineClock
from mxallowd.fleet.hearing import Hearing, Terms
from mxallowd.fleet.keys import Keys
from mxallowd.fleet.link import Link, find_master
from mxallowd.fleet.login import Logins
from mxallowd.fleet.opening import LinkError, Way
from mxallowd.fleet.peers import Peer, Peers
from mxallowd.fleet.saying import Saying
from mxallowd.fleet.session import Place, Session, pause_s
from mxallowd.fleet.standing import LINK, Standing
from mxallowd.log import Log
from mxallowd.log.periodic import Pace
from mxallowd.settings.fleet import Engine
from mxallowd.whitelist import Whitelist

LOADING_S = 5.0
DEFECT_S = 1.0  # until a new connection, after an error of this program
DAY_MS = 86_400_000
OTHERS_TIMES = 4  # a peer's whitelist-time counts for what is kept up to so many times ours
KEPT_AGAIN_S = 1.0
SHOWN_PEERS = 200  # in a status


class Site(NamedTuple):
    """Where and who this gateway is."""

    engine: Engine
    name: str
    origin: str
    ways: list[Way]  # to the engine, or to its Sentinels

    @property
    def stream(self) -> str:
        """The key of the stream."""
        return f"mxallowd:{self.name}:log"


class Member:
    """A gateway of a site. All calls come from the main thread."""

    def __init__(  # noqa: PLR0913
        self, site: Site, keys: Keys, logins: Logins, *, whitelist: Whitelist, table: Table, longest_s: int,
        told_room: int, defect: Callable[[Exception], object], log: Log,
    ) -> None:
        """`longest_s`: Settings.longest_time. `told_room`: how many told entries there can be.

        `defect` is told of errors of this program.
        """
        self.site = site
        self._logins = logins
        self._whitelist = whitelist
        self._defect = defect
        self._log = log
        self._longest_s = longest_s
        self._told_room = told_room
        self._clock = EngineClock()
        self._standing = Standing(log)
        self._place = Place(site.stream)
        self._wake = asyncio.Event()
        self.peers = Peers(has_entries=lambda number: whitelist.told_by(number) > 0, room=told_room)
        self.saying = Saying(whitelist, table, site.origin, longest_s)
        self.saying.wake = self._wake.set
        self.saying.wall_ms = self._clock.wall_ms
        self.hearing = Hearing(whitelist, keys, self.peers, self.saying, self._terms())
        self._tried = asyncio.Event()  # the load is complete, or a connection has failed
        self._task: asyncio.Task[None] | None = None
        self._session: asyncio.Task[None] | None = None
        self._twin = Pace(period_s=3600)
        self._refused = Pace()
        self._refused_keys = 0  # messages, when the stream was read again for them
        self._refused_before: dict[str, int] = dict(self.peers.refused)
        self._began_s = 0.0
        self._others_s, self._kept_at_s = 0, float("-inf")  # the longest of their times, and when it was found

    def _terms(self) -> Terms:
        return Terms(self.site.origin, self._longest_s * 1_000_000, self._told_room, self._clock.us)

    # ---- what the daemon does with it

    def follow(self) -> None:
        """Follow the whitelist from now on, before the first packet comes."""
        self.saying.follow()
        self._whitelist.before_flush = self.saying.flushed
        self._whitelist.named = self.saying.named
        self._whitelist.gateway_name = self.peers.gateway_name
        self._whitelist.gateway_number = self.peers.gateway_number

    async def start(self, ending: asyncio.Event) -> None:
        """Connect and load; returns once that is complete or has failed, after LOADING_S, or when `ending` is set.

        It goes on beside.
        """
        self._began_s = time.monotonic()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run())
        waiting = [loop.create_task(event.wait()) for event in (self._tried, ending)]
        await asyncio.wait(waiting, timeout=LOADING_S, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()

    def reload(self, keys: Keys | None, logins: Logins | None, longest_s: int) -> list[str]:
        """Go on with these; None: those that there are. Another login is tried at once.

        It returns the options whose files have something else than before.
        """
        different = []
        if keys is not None and self._change_keys(keys):
            different.append("fleet-key-file")
        if longest_s != self._longest_s:
            self._longest_s = longest_s
            self.hearing.terms = self._terms()
            self.saying.reload(longest_s)
        if logins is not None and logins != self._logins:
            self._logins = logins
            different.append("fleet-login-file")
            self._log.info("fleet-login", None)
            if self._session is not None:
                self._session.cancel()
        return different

    def _change_keys(self, keys: Keys) -> bool:
        """Whether they are others."""
        before, self.hearing.keys = self.hearing.keys, keys
        if keys.numbers() == before.numbers():
            return False
        self._log.info("fleet-keys", None, numbers=",".join(keys.numbers()))
        if keys.first.number != before.first.number:
            # Who has this one alone could not hear anything of what was said before.
            self.saying.missed()
        if set(keys.by_number) - set(before.by_number) and self.peers.refused["key"] > self._refused_keys:
            # What was refused may have been sealed with it.
            self._refused_keys = self.peers.refused["key"]
            self._place.rewind()
        return True

    def tick(self) -> None:
        """Called about once a second: say what was refused."""
        self.hearing.tick()
        refused, before = self.peers.refused, self._refused_before
        if refused != before and self._refused.due():
            grown = {reason: refused[reason] - before[reason] for reason in refused
                     if refused[reason] > before[reason]}
            self._refused_before = dict(refused)
            if grown:
                self._log.warning("fleet-refused", None, count=sum(grown.values()), reasons=",".join(grown))
        if self.hearing.is_twin() and self._twin.due():
            self._log.warning("fleet-origin-shared", None, origin=self.site.origin)

    def close(self) -> None:
        """End it; what was not said is said after the next start."""
        if self._task is not None:
            self._task.cancel()

    # ---- connections

    async def _run(self) -> None:
        while True:
            session = self._session = asyncio.ensure_future(self._connect())
            rest_s = pause_s()
            try:
                await asyncio.wait([session])
            finally:
                session.cancel()
            if session.cancelled():
                # Another login: at once.
                rest_s = 0.0
            elif isinstance(error := session.exception(), LinkError):
                self._standing.fail(LINK, error)
            elif isinstance(error, Exception):
                # The next connection may go well.
                self._defect(error)
                self._standing.fail(LINK, LinkError("an error of mxallowd, which the log has as a defect"))
                rest_s = DEFECT_S
            self.saying.lost()
            self.hearing.lost()
            self._tried.set()
            await asyncio.sleep(rest_s)

    async def _connect(self) -> None:
        engine, site = self.site.engine, self.site
        way = site.ways[0]
        if engine.master is not None:
            way = await find_master(site.ways, engine.master, self._logins.sentinels)
        reader, writer = (Link(way, self._logins.engine, database=engine.database, name=f"mxallowd-{site.origin}")
                          for _ in range(2))
        await Session(
            reader, writer, self._place, self._clock, saying=self.saying, hearing=self.hearing,
            standing=self._standing, kept_ms=self._kept_ms, loaded=self._end_load, wake=self._wake).run()

    def _end_load(self) -> None:
        self.hearing.loaded()
        self._tried.set()
        own = sum(peer.entered for peer in self.peers if peer.name == self.site.origin)
        self._log.info("fleet-joined", None, site=self.site.name, origin=self.site.origin,
                       gateways=self.peers.others(self.site.origin),
                       entries=sum(peer.entered for peer in self.peers) - own, own=own,
                       seconds=round(time.monotonic() - self._began_s, 1))

    def _kept_ms(self) -> int:
        """How long a message is kept: as long as anything in it may live here or elsewhere."""
        # There may be thousands of gateways, and a message each hundredth of a second.
        now_s, most_s = time.monotonic(), OTHERS_TIMES * self._longest_s
        if now_s - self._kept_at_s >= KEPT_AGAIN_S:
            since_ms = self._clock.us() // 1000 - DAY_MS
            self._kept_at_s = now_s
            self._others_s = max((peer.time_s for peer in self.peers if peer.heard_ms > since_ms), default=0)
        return 1000 * max(self._longest_s, min(self._others_s, most_s))

    # ---- what it tells

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        said = self.saying.counters()
        peers = list(self.peers)
        return {
            "fleet-said": said["said"], "fleet-heard": sum(peer.records for peer in peers),
            "fleet-entered": sum(peer.entered for peer in peers), "fleet-removed": sum(peer.removals for peer in peers),
            "fleet-refused": sum(self.peers.refused.values()),
            "fleet-rounds": said["rounds"], "fleet-broken": self._standing.broken,
            "fleet-gateways": self.peers.others(self.site.origin),
            "fleet-waiting": self.saying.waiting}

    def status(self) -> Mapping[str, object]:
        """All that an operator may want to know (control/answers/fleet.py has the form)."""
        standing, place, now_ms = self._standing, self._place, self._clock.us() // 1000
        stream = place.stream
        others = [peer for peer in self.peers if peer.name != self.site.origin]
        heard = max((peer.heard_ms for peer in others), default=0)
        # What is said in our name is told as well: by an earlier run, or by somebody else.
        peers = sorted((peer for peer in self.peers if peer.name != self.site.origin or self._whitelist.told_by(
            peer.number)), key=lambda peer: -peer.heard_ms)
        return {
            "site": self.site.name, "origin": self.site.origin, "engine": str(self.site.engine),
            "origin_shared": self.hearing.is_twin(), "keys": self.hearing.keys.numbers(),
            "connected": standing.connected, "since_seconds": int(standing.since_s()), "fault": standing.fault or None,
            "remedy": standing.remedy or None, "warnings": list(standing.warnings),
            "clock_seconds": self._clock.apart_s(),
            "heard_seconds": _ago(now_ms, heard), "said_seconds": _since(place.said_s),
            "read_seconds": _since(place.read_s), "waiting": self.saying.waiting,
            "told": sum(self._whitelist.told_by(peer.number) for peer in self.peers), "told_room": self._told_room,
            "stream": None if stream is None else {
                "length": stream.length, "first": str(stream.first) if stream.first else None,
                "last": str(stream.last)},
            "longest_seconds": self._longest_s, "refused": dict(self.peers.refused),
            "peers": [self._shown(peer, now_ms) for peer in peers[:SHOWN_PEERS]],
            "peers_left_out": max(0, len(peers) - SHOWN_PEERS),
            "strangers": [{"origin": name, "reason": one.reason, "messages": one.messages,
                           "heard_seconds": _ago(now_ms, one.heard_ms)}
                          for name, one in self.peers.strangers().items()]}

    def _shown(self, peer: Peer, now_ms: int) -> dict[str, object]:
        return {"origin": peer.name, "shared": peer.is_shared(self.peers.now_ms),
                "heard_seconds": _ago(now_ms, peer.heard_ms), "lag_ms": peer.lag_ms,
                "longest_seconds": peer.time_s or None,
                "entries": self._whitelist.told_by(peer.number), "records": peer.records, "epoch": f"{peer.epoch:016x}",
                "refused": dict(peer.refused)}


def _ago(now_ms: int, at_ms: int) -> int | None:
    return max(0, now_ms - at_ms) // 1000 if at_ms else None


def _since(at_s: float | None) -> int | None:
    return None if at_s is None else int(time.monotonic() - at_s)
