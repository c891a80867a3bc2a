"""The answers to what an operator asks by the control socket: each gets the parts of the daemon that it asks.

One line for each class of control/answers/. What an answer needs of the daemon is a field of Parts.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mxallowd.backends import Backends
from mxallowd.control.answers.loglevel import LogLevel
from mxallowd.control.answers.metrics import Metrics
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


def answers(parts: Parts) -> list[Route]:
    """All routes; the first one that matches a request counts."""
    return [
        *LogLevel(parts.log).routes(),
        *parts.metrics.routes(),
    ]
