"""The answers to what an operator asks by the control socket: each gets the parts of the daemon that it asks.

One line for each class of control/answers/. What an answer needs of the daemon is a field of Parts.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mxallowd.backends import Backends
from mxallowd.control.answers.counters import Counters
from mxallowd.control.answers.document import Document
from mxallowd.control.answers.entries import Entries
from mxallowd.control.answers.export import Export
from mxallowd.control.answers.importing import Import
from mxallowd.control.answers.loglevel import LogLevel
from mxallowd.control.answers.metrics import Metrics
from mxallowd.control.answers.networks import OwnNetworks
from mxallowd.control.answers.reload import Reload
from mxallowd.control.answers.status import Looks, Status
from mxallowd.control.exchange import Route
from mxallowd.daemon.reloading import Reloading
from mxallowd.daemon.report import Report
from mxallowd.log import Log
from mxallowd.mirrors.mirror import Mirror
from mxallowd.settings import Settings
from mxallowd.sinks import Sink
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
    networks: OwnNetworks | None = None  # who keeps what was added by hand


def answers(parts: Parts) -> list[Route]:
    """All routes; the first one that matches a request counts."""
    return [
        *Document().routes(),
        *_status(parts).routes(),
        *Entries(parts.whitelist, parts.networks, lambda: parts.settings().whitelist_time, parts.log).routes(),
        *Counters(parts.report.recent).routes(),
        *Reload(parts.reloading.ask_and_wait).routes(),
        *LogLevel(parts.log).routes(),
        *parts.metrics.routes(),
        *Export(parts.whitelist, parts.networks).routes(),
        *Import(parts.whitelist, parts.networks, lambda: parts.settings().whitelist_time, parts.log).routes(),
    ]


def _status(parts: Parts) -> Status:
    backend = parts.backend
    return Status(Looks(
        parts.settings, parts.log,
        {"whitelist": lambda: {"entries": len(parts.whitelist), "room": backend.table.max_entries},
         "refused": lambda: {"hosts": len(backend.refused), "room": backend.refused.max_hosts}},
        lambda: [mirror.status() for mirror in parts.mirrors], lambda: parts.stress.on, lambda: parts.reloading.last))
