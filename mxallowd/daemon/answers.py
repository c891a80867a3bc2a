"""The answers to what an operator asks by the control socket: each gets the parts of the daemon that it asks.

One line for each class of control/answers/. What an answer needs of the daemon is a field of Parts.
"""
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mxallowd._foresight import Foresight
from mxallowd.backends import Backends
from mxallowd.control.answers.counters import Counters
from mxallowd.control.answers.doctor import Doctor
from mxallowd.control.answers.document import Document
from mxallowd.control.answers.entries import Entries
from mxallowd.control.answers.explain import Explain, Sources
from mxallowd.control.answers.export import Export
from mxallowd.control.answers.findings import Findings
from mxallowd.control.answers.fleet import Fleet, FleetAnswers, summary
from mxallowd.control.answers.hits import HitsShown
from mxallowd.control.answers.importing import Import
from mxallowd.control.answers.listlines import ListLines
from mxallowd.control.answers.lists import ListAnswers
from mxallowd.control.answers.log import LogLines
from mxallowd.control.answers.loglevel import LogLevel
from mxallowd.control.answers.metrics import Metrics
from mxallowd.control.answers.networks import VERDICTS
from mxallowd.control.answers.patience import fill
from mxallowd.control.answers.reload import Reload
from mxallowd.control.answers.sharing import Changes
from mxallowd.control.answers.since import Since
from mxallowd.control.answers.status import Looks, Status
from mxallowd.control.answers.top import Top
from mxallowd.control.answers.trial import TrialAnswers
from mxallowd.control.answers.trust import TrustAnswers
from mxallowd.control.exchange import Route
from mxallowd.daemon.byhand import ByHand
from mxallowd.daemon.reloading import Reloading
from mxallowd.daemon.report import Report
from mxallowd.daemon.restoring import Entering
from mxallowd.daemon.trusted import Trusting
from mxallowd.history.hosts import Hosts
from mxallowd.history.trial import Trial
from mxallowd.lists.composition import DENY
from mxallowd.lists.lists import Lists
from mxallowd.log import Log
from mxallowd.mirrors.contactnetworks import NetworkMirror
from mxallowd.mirrors.disk.state import State
from mxallowd.mirrors.door import Door
from mxallowd.mirrors.kernel import NO_DIRECT, has_direct
from mxallowd.mirrors.mirror import Mirror
from mxallowd.mirrors.networks import Networks
from mxallowd.settings import Settings
from mxallowd.sinks import Sink
from mxallowd.sinks.listhits import ListHits
from mxallowd.sinks.neighbours import Neighbours
from mxallowd.sinks.stress import Stress
from mxallowd.whitelist import Whitelist


@dataclass(frozen=True)
class Parts:
    """Of what answers are made."""

    settings: Callable[[], Settings]  # those in force
    log: Log
    backend: Backends
    whitelist: Whitelist
    sinks: Sequence[Sink]
    mirrors: Sequence[Mirror]
    stress: Stress
    report: Report
    reloading: Reloading
    metrics: Metrics
    queues: Callable[[], Mapping[int, tuple[int, int]]]  # of the kernel: packets that wait, and have room
    network_sets: Sequence[Networks | NetworkMirror]
    lists: Lists
    history: Hosts
    trial: Trial
    state: State | None  # None: a rehearsal keeps nothing
    addresses: Callable[[str], Awaitable[list[bytes]]] | None  # of a name; None: no name server is asked
    neighbours: Neighbours
    broker: Callable[[], str]  # why the broker of the sandbox does not run; empty: it does, or there is none
    trusted: Sequence[Trusting]  # one, or none
    doors: Sequence[Door]  # one, or none
    list_hits: ListHits
    fleets: Sequence[Fleet] = ()  # one, or none


def all_routes(parts: Parts) -> list[Route]:
    """All routes; the first one that matches a request counts."""
    networks = ByHand(parts.lists, parts.neighbours.flush, forgets=lambda: parts.backend.patience)
    findings, changes = Findings(), Changes()
    # Also a reload, new records of trusted senders, and the end of a time.
    parts.lists.follow(changes.note)
    since = Since(parts.history, lambda: parts.settings().whitelist_time)
    hits = HitsShown(
        parts.list_hits, lambda: parts.lists.composition, parts.whitelist.now_us, partial(_sees, parts))
    return changes.noted_by([
        *Document().routes(),
        *_status(parts).routes(),
        *Entries(parts.whitelist, since, networks, lambda: parts.settings().whitelist_time, parts.log,
                 partial(_unkept, parts)).routes(),
        *_doctor(parts, findings).routes(),
        *findings.routes(),
        *Counters(parts.report.recent).routes(),
        *Reload(parts.reloading.ask_and_wait, parts.log).routes(),
        *LogLevel(parts.log).routes(),
        *LogLines(parts.log.recent).routes(),
        *parts.metrics.routes(),
        *ListAnswers(parts.lists, parts.log, hits, parts.whitelist.why_no_entry,
                     lambda: "" if has_direct(parts.settings()) else NO_DIRECT).routes(),
        *ListLines(lambda: parts.lists.composition, hits).routes(),
        *TrustAnswers(parts.trusted, parts.log, hits).routes(),
        *FleetAnswers(parts.fleets).routes(),
        *TrialAnswers(parts.trial, parts.report.recent).routes(),
        *Export(parts.whitelist, since, networks).routes(),
        *Import(parts.whitelist, networks, lambda: (parts.settings().whitelist_time, parts.settings().longest_time),
                parts.log, Entering(parts.backend).enter).routes(),
        *Explain(Sources(
            parts.settings, parts.whitelist, parts.backend.refused,
            [Foresight(fastpath) for fastpath in parts.backend.fastpaths], lambda: parts.lists.composition,
            parts.history, parts.mirrors, parts.addresses, lambda: parts.backend.patience,
            parts.neighbours.let_in, partial(_not_led, parts), partial(_fleet, parts),
            lambda host: next((one.removed(host) for one in parts.fleets), None)), changes).routes(),
        *Top(parts.backend, parts.whitelist, since, parts.report.recent, parts.sinks, parts.queues, changes,
             lambda: fill(parts.backend.patience, parts.settings())).routes(),
    ])


def _doctor(parts: Parts, findings: Findings) -> Doctor:
    return Doctor(
        parts.settings, lambda: [mirror.status() for mirror in parts.mirrors],
        lambda: [one.status() for one in parts.network_sets], parts.backend.counters,
        lambda: {"state": _state(parts), "lists": _lists(parts), "broker": parts.broker() or None,
                 "trust": _trust(parts), "door": _door(parts),
                 "fleet": _fleet(parts), "report": findings.report})


def _fleet(parts: Parts) -> dict[str, object] | None:
    return next((dict(one.status()) for one in parts.fleets), None)


def _state(parts: Parts) -> dict[str, object] | None:
    if parts.state is None:
        return None
    age_s, directory = parts.state.age_s(), parts.state.directory
    return {"directory": str(directory) if directory else None, "age_seconds": None if age_s is None else round(age_s),
            "fault": parts.state.fault or None}


def _unkept(parts: Parts) -> str:
    """Why entries do not survive a restart of mxallowd, as far as is known; empty: they do, by a disk or the kernel."""
    state = parts.state
    if state is None:
        return "a rehearsal keeps nothing"
    if not state.fault or any(not mirror.status()["fault"] for mirror in parts.mirrors):
        return ""
    return f"{state.directory}: {state.fault}" if state.directory else state.fault


def _status(parts: Parts) -> Status:
    backend = parts.backend
    return Status(Looks(
        parts.settings, parts.log,
        {"whitelist": lambda: {"entries": len(parts.whitelist), "room": backend.table.room},
         "refused": lambda: {"hosts": len(backend.refused), "room": backend.refused.max_hosts},
         **({"networks": meetings.status} if (meetings := backend.meetings) is not None else {})},
        lambda: [mirror.status() for mirror in parts.mirrors], lambda: parts.stress.on, lambda: parts.reloading.last,
        lambda: _lists(parts), lambda: _state(parts), parts.broker, lambda: _trust(parts),
        lambda: fill(backend.patience, parts.settings()),
        lambda: next((summary(one.status()) for one in parts.fleets), None), lambda: _door(parts)))


def _trust(parts: Parts) -> dict[str, object] | None:
    return next((one.summary() for one in parts.trusted), None)


def _door(parts: Parts) -> list[dict[str, object]]:
    return [one for door in parts.doors for one in door.status()]


def _not_led(parts: Parts, host: bytes) -> bool:
    """Whether no rule leads a direct host: there are no sets (pf is led by rules of one's own), or it shows."""
    settings = parts.settings()
    return (settings.pf_table is None and not has_direct(settings)) or parts.trial.unled.has(host)


def _sees(parts: Parts, verdict: str, version: int) -> bool:
    """Whether mxallowd is told of connections that this list decides: not where the firewall's sets do it alone.

    Without a queue the rules show what they deny, at least some of it; in a dry run with one their sets deny nobody.
    """
    settings = parts.settings()
    if verdict == DENY and (settings.dry_run or not settings.queue_num):
        return True
    return not any(isinstance(one, Networks) and one.decides(verdict, version) for one in parts.network_sets)


def _lists(parts: Parts) -> dict[str, object]:
    lists = parts.lists
    return {**{verdict: lists.count(verdict) for verdict in VERDICTS}, "direct_not_led": parts.trial.unled.count(),
            "faults": list(lists.faults.values())}
